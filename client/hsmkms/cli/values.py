r"""From what is typed to the values of request members, in the AWS CLI's forms.

    blob        fileb://PATH, - for standard input, or base64
    time        2027-01-31T12:00:00Z, or seconds since 1970
    map         KEY=VALUE,KEY=VALUE or a JSON object
    list        one argument for each element, or one JSON list
    structure   Member=VALUE,Member=VALUE or a JSON object; a member that is a map: Member={KEY=VALUE,KEY=VALUE}
    structures  one argument for each: Member=VALUE,Member=VALUE or a JSON object; or one JSON list of objects

In `KEY=VALUE,…` a value with a comma is quoted ("a,b" or 'a,b') or its comma escaped (\,). Anything may stand in a file instead:
file://PATH (a blob in base64). Files and standard input are read up to 256 KiB. What a member's value must satisfy, the service judges.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Final

from hsmkms.client.contract import aws_name

MAX_INPUT_BYTES: Final = 256 * 1024
_SECONDS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_INT32: Final = range(-(2**31), 2**31)
_PAIR: Final = re.compile(
    r"""(?P<key>[^=,]+)=(?:"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>(?:\\.|[^'\\])*)'|(?P<bare>(?!["'])(?:\\,|[^,])*))(?:,|$)""",
    re.DOTALL,
)
_MAP_PAIR: Final = re.compile(
    r"""(?P<key>[^=,]+)=\{(?P<map>(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^{}"'])*)\}(?:,|$)""", re.DOTALL
)


class ValueProblem(Exception):
    """A value is not in the form that its option takes. The text does not repeat it: it may be secret."""


class Kind(Enum):
    """The forms of values."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    BLOB = "blob"
    TIME = "time"
    MAP = "map"
    LIST = "list"
    STRUCTURE = "structure"


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How a member is typed.

    Args:
        kind: Its form.
        structure: For structures and lists of structures: their dataclass.
    """

    kind: Kind
    structure: type | None = None


_SCALARS: Final[Mapping[Any, Kind]] = {
    str: Kind.TEXT,
    int: Kind.INTEGER,
    bool: Kind.BOOLEAN,
    bytes: Kind.BLOB,
    datetime: Kind.TIME,
}


def form_of(annotation: Any) -> Form:
    """Return the form of a member by its type."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
    if typing.get_origin(annotation) is tuple:
        element = typing.get_args(annotation)[0]
        is_structure = isinstance(element, type) and dataclasses.is_dataclass(element)
        return Form(Kind.LIST, element if is_structure else None)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return Form(Kind.STRUCTURE, annotation)
    return Form(Kind.MAP if typing.get_origin(annotation) is Mapping else _SCALARS[annotation])


def read_value(form: Form, typed: Any) -> Any:
    """Return the value that was typed.

    Args:
        form: The member's form.
        typed: A text; for lists the list of texts; for booleans the boolean.

    Raises:
        ValueProblem: it is not in that form, or a file cannot be read.
    """
    return _READERS[form.kind](form, typed)


def _read_text(_form: Form, typed: str) -> str:
    try:
        text = _content(typed)
        text.encode()
    except UnicodeError as error:
        raise ValueProblem("is not UTF-8") from error
    return text


def _read_integer(form: Form, typed: str) -> int:
    try:
        number = int(_read_text(form, typed))
    except ValueError as error:
        raise ValueProblem("is not a whole number") from error
    if number not in _INT32:
        raise ValueProblem("is out of range")
    return number


def _read_blob(form: Form, typed: str) -> bytes:
    if typed == "-":
        return _standard_input()
    if typed.startswith("fileb://"):
        return _file(typed.removeprefix("fileb://"))
    try:
        return base64.b64decode("".join(_read_text(form, typed).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueProblem(
            "is not base64; write fileb://PATH for the content of a file, - for standard input"
        ) from error


def _read_time(form: Form, typed: str) -> datetime:
    """Read a time as AWS's command line does: ISO 8601, in UTC if it says nothing else, or seconds since 1970."""
    text = _read_text(form, typed).strip()
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueProblem("is no time; write for example 2027-01-31T12:00:00Z, or seconds since 1970") from error


def _read_map(form: Form, typed: str) -> dict[str, str]:
    text = _read_text(form, typed)
    return _texts(_json(text) if text.lstrip().startswith("{") else _pairs(text))


def _read_list(form: Form, typed: Sequence[str]) -> tuple[Any, ...]:
    texts = [_read_text(form, each) for each in typed]
    elements: Sequence[Any] = texts
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        elements = _json(texts[0])
    if form.structure is not None:
        structure = form.structure
        return tuple(_structure(structure, each) for each in elements)
    if not all(isinstance(each, str) for each in elements):
        raise ValueProblem("is not a list of texts")
    return tuple(elements)


def _read_structure(form: Form, typed: str) -> Any:
    assert form.structure is not None
    return _structure(form.structure, _read_text(form, typed))


_READERS: Final[Mapping[Kind, Callable[[Form, Any], Any]]] = {
    Kind.TEXT: _read_text,
    Kind.INTEGER: _read_integer,
    Kind.BOOLEAN: lambda _form, typed: typed,
    Kind.BLOB: _read_blob,
    Kind.TIME: _read_time,
    Kind.MAP: _read_map,
    Kind.LIST: _read_list,
    Kind.STRUCTURE: _read_structure,
}


def _structure(kind: type, element: Any) -> Any:
    if isinstance(element, str):
        element = _json(element) if element.lstrip().startswith("{") else _pairs(element, maps=True)
    if not isinstance(element, dict):
        raise ValueProblem("is not an object whose values are texts")
    hints = typing.get_type_hints(kind)
    fields = {aws_name(field.name): field.name for field in dataclasses.fields(kind)}
    maps = {name for name, field in fields.items() if form_of(hints[field]).kind is Kind.MAP}
    for name in element:
        if name not in fields:
            shown = (f"{each}={{KEY=VALUE}}" if each in maps else f"{each}=VALUE" for each in fields)
            raise ValueProblem(f"has no member '{name}'; write {','.join(shown)}")
    _texts({name: value for name, value in element.items() if name not in maps})
    return kind(**{fields[name]: _texts(value) if name in maps else value for name, value in element.items()})


def _pairs(text: str, *, maps: bool = False) -> dict[str, Any]:
    """Return the pairs of a text; with `maps` a value may be pairs in braces."""
    pairs: dict[str, Any] = {}
    position = 0
    while position < len(text):
        nested = _MAP_PAIR.match(text, position) if maps else None
        match = nested or _PAIR.match(text, position)
        if match is None:
            raise ValueProblem("is neither KEY=VALUE,KEY=VALUE nor JSON; put a value with a comma in quotes")
        key = match["key"]
        if key in pairs:
            raise ValueProblem(f"has '{key}' twice")
        if nested is not None:
            pairs[key] = _pairs(nested["map"])
            position = nested.end()
            continue
        bare = match["bare"]
        quoted = match["double"] if match["double"] is not None else match["single"]
        pairs[key] = bare.replace("\\,", ",") if bare is not None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        position = match.end()
    return pairs


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ValueProblem(f"is not JSON: {error}") from error


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueProblem("has a key twice")
    return dict(pairs)


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ValueProblem("is not an object whose values are texts")
    return value


def _content(typed: str) -> str:
    return _file(typed.removeprefix("file://")).decode() if typed.startswith("file://") else typed


def _file(name: str) -> bytes:
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            return _bounded(file, str(path))
    except OSError as error:
        raise ValueProblem(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueProblem(f"names no file: {error}") from error


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise ValueProblem("standard input is closed")
    try:
        return _bounded(sys.stdin.buffer, "standard input")
    except OSError as error:
        raise ValueProblem(f"cannot read standard input: {error.strerror}") from error


def _bounded(file: BinaryIO, name: str) -> bytes:
    data = file.read(MAX_INPUT_BYTES + 1)
    if len(data) > MAX_INPUT_BYTES:
        raise ValueProblem(f"{name} holds more than {MAX_INPUT_BYTES} bytes")
    return data
