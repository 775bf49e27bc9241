"""Answers on standard output, as the AWS CLI writes them.

    json    indented JSON with AWS's names; blobs in base64, times in ISO 8601 (UTC)
    text    tab-separated; a scalar alone is its value and a newline; nested names in capitals at the start of a line
    raw     one blob, its bytes and nothing else (this is ours: it spares `| base64 --decode`)

`--query` is a JMESPath expression over the answer. An answer without members prints nothing.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.client import contract

FORMATS: Final = ("json", "text", "raw")


@dataclasses.dataclass(frozen=True, slots=True)
class Printer:
    """How an operation's answer is written.

    Args:
        form: One of `FORMATS`.
        query: A JMESPath expression, or None.
        blobs: AWS's names of the answer's blobs.
    """

    form: str
    query: str | None
    blobs: tuple[str, ...]

    def check(self) -> None:
        """Refuse what cannot be written, before anything is sent.

        Raises:
            CommandFailed: the query is not JMESPath, or raw output is asked for and there is not one blob to write.
        """
        if self.query is not None:
            try:
                jmespath.compile(self.query)
            except JMESPathError as error:
                raise CommandFailed(_bad_query(self.query, error), ExitCode.USAGE) from error
        if self.form == "raw" and not self.blobs:
            raise CommandFailed("--output raw writes a blob, and this command's answer has none", ExitCode.USAGE)
        if self.form == "raw" and self.query is None and len(self.blobs) > 1:
            raise CommandFailed(
                f"--output raw writes one blob: say with --query which of {', '.join(self.blobs)}", ExitCode.USAGE
            )

    def render(self, document: Mapping[str, Any]) -> bytes:
        """Return what is printed of an answer.

        Raises:
            CommandFailed: the query does not fit the answer.
        """
        query = self.blobs[0] if self.form == "raw" and self.query is None else self.query
        result: Any = document
        if query is not None:
            try:
                result = jmespath.search(query, document)
            except JMESPathError as error:
                raise CommandFailed(_bad_query(query, error)) from error
        if self.form == "raw":
            if result is None or result not in [document.get(blob) for blob in self.blobs]:
                raise CommandFailed(f"--output raw writes one blob: --query {' or '.join(self.blobs)}")
            return base64.b64decode(result)
        if self.form == "text":
            return "".join(f"{line}\n" for line in text_lines(result)).encode()
        return b"" if result == {} else (json.dumps(result, indent=4, ensure_ascii=False) + "\n").encode()


def _bad_query(query: str, error: JMESPathError) -> str:
    return f"bad value for --query {query}: {str(error).splitlines()[0].rstrip(' :')}"


def blob_names(response: type) -> tuple[str, ...]:
    """Return AWS's names of a response's blobs."""
    hints = typing.get_type_hints(response)
    return tuple(contract.aws_name(each.name) for each in dataclasses.fields(response) if hints[each.name] is bytes)


def document_of(message: Any) -> dict[str, Any]:
    """Return a message as the AWS CLI shows it."""
    return contract.to_aws_json(message, write_time=datetime.isoformat)


def write(data: bytes) -> None:
    """Write to standard output.

    Raises:
        CommandFailed: it cannot be written to.
        BrokenPipeError: nobody reads it any more.
    """
    if sys.stdout is None:
        raise CommandFailed("standard output is closed: the answer is lost")
    with writing():
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Make what goes wrong with standard output in the block one clear error.

    Raises:
        CommandFailed: it cannot be written to.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"cannot write to standard output: {error.strerror}") from error


def text_lines(item: Any, name: str | None = None, scalars: Iterable[str] | None = None) -> Iterator[str]:
    """Yield the lines of a value in AWS's text format.

    Args:
        item: A value as of JSON.
        name: What it is called in the object around it.
        scalars: In a list of objects: the names of all their scalars, which are the columns.
    """
    if isinstance(item, Mapping):
        columns = sorted(key for key in item if not _is_nested(item[key])) if scalars is None else scalars
        cells = [str(item.get(key, "")) for key in columns]
        if cells:
            yield "\t".join(([name.upper()] if name is not None else []) + cells)
        for key in sorted(set(item) - set(columns)):
            yield from text_lines(item[key], key)
    elif isinstance(item, list):
        yield from _list_lines(item, name)
    else:
        yield str(item)


def _list_lines(items: list[Any], name: str | None) -> Iterator[str]:
    if any(isinstance(item, Mapping) for item in items):
        objects = [item for item in items if isinstance(item, Mapping)]
        columns = sorted({key for each in objects for key in each if not _is_nested(each[key])})
        for item in items:
            yield from text_lines(item, name, columns)
        return
    plain = [str(item) for item in items if not isinstance(item, list)]
    if plain and name is not None:
        yield from (f"{name.upper()}\t{item}" for item in plain)
    elif plain:
        yield "\t".join(plain)
    for item in items:
        if isinstance(item, list):
            yield from text_lines(item, name)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)
