"""Records of JSON Lines and CSV files.

A record that stays as it is keeps every byte. In a JSON line only the characters of the one value change. A CSV record that changes is
written anew: with quotes where they are needed, and the line end that it had.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # what JSONDecoder reads keys with; typeshed omits it
from typing import Any, BinaryIO, Final, Protocol

from hsmkms.reencryption.rows import StoreProblem

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class RecordProblem(Exception):
    """A record cannot be read: the text says why, and repeats nothing of it."""


class Format(Protocol):
    """How a file's records are read and written."""

    name: str

    def begin(self, file: BinaryIO) -> bytes:
        """Read what stands before the first record, and return it.

        Raises:
            StoreProblem: the file has no such form.
        """

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the records from where the file stands, each with its line end."""

    def read(self, record: bytes) -> tuple[str | None, Mapping[str, Any]]:
        """Return the ciphertext's text, None where there is none, and all columns.

        Raises:
            RecordProblem: it cannot be read.
        """

    def changed(self, record: bytes, text: str) -> bytes:
        """Return the record with another ciphertext."""


class JsonLines:
    """One JSON object on each line.

    Args:
        field: The member that holds the ciphertext in base64.
    """

    name = "JSON Lines"

    def __init__(self, field: str) -> None:
        self._field = field

    def begin(self, file: BinaryIO) -> bytes:
        """Return nothing: the first line is a record."""
        return b""

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the lines."""
        while line := _line(file):
            yield line

    def read(self, record: bytes) -> tuple[str | None, Mapping[str, Any]]:
        """Return the ciphertext's text and all members; an empty line has neither."""
        if not record.strip():
            return None, {}
        try:
            document = json.loads(record.decode(), object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError):
            raise RecordProblem("is not a JSON object with each member once") from None
        if not isinstance(document, dict):
            raise RecordProblem("is not a JSON object")
        text = document.get(self._field)
        if text is not None and not isinstance(text, str):
            raise RecordProblem(f"'{self._field}' is not a text")
        return text, document

    def changed(self, record: bytes, text: str) -> bytes:
        """Return the line with the characters of the one value replaced."""
        line = record.decode()
        start, end = _span(line, self._field)
        return (line[:start] + json.dumps(text) + line[end:]).encode()


class Csv:
    """CSV (RFC 4180) with a header.

    Args:
        field: The column that holds the ciphertext in base64.
        delimiter: What stands between columns, one character.
    """

    name = "CSV"

    def __init__(self, field: str, delimiter: str) -> None:
        self._field = field
        self._delimiter = delimiter
        self._names: list[str] = []

    def begin(self, file: BinaryIO) -> bytes:
        """Read the header, and return it."""
        header = next(self.records(file), b"")
        try:
            names = self._cells(header.removeprefix(b"\xef\xbb\xbf"))
        except RecordProblem as problem:
            raise StoreProblem(f"the first line of the CSV file {problem}") from problem
        if self._field not in names or len(set(names)) != len(names):
            raise StoreProblem(
                f"the first line of the CSV file must name each column once, '{self._field}' among them; it has: "
                + (", ".join(names)[:300] or "nothing")
            )
        self._names = names
        return header

    def records(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the records; a quoted cell may have line ends in it."""
        while record := _line(file):
            # A quote that is open at the line's end is an odd number of quotes: escaped ones are two.
            quotes = record.count(b'"')
            while quotes % 2:
                more = _line(file)
                if not more:
                    break
                quotes += more.count(b'"')
                record += more
                if len(record) > MAX_RECORD_BYTES:
                    raise StoreProblem(f"a CSV record has more than {MAX_RECORD_BYTES} bytes: is a quote not closed?")
            yield record

    def read(self, record: bytes) -> tuple[str | None, Mapping[str, Any]]:
        """Return the ciphertext's text and all columns; an empty cell or line has none."""
        if not record.strip():
            return None, {}
        cells = self._cells(record)
        if len(cells) != len(self._names):
            raise RecordProblem(f"has {len(cells)} columns; the header names {len(self._names)}")
        columns = dict(zip(self._names, cells, strict=True))
        return columns[self._field] or None, columns

    def changed(self, record: bytes, text: str) -> bytes:
        """Return the record with another cell, and the line end that it had."""
        cells = self._cells(record)
        cells[self._names.index(self._field)] = text
        end = record[len(record.rstrip(b"\r\n")) :]
        written = io.StringIO()
        csv.writer(written, delimiter=self._delimiter, lineterminator="").writerow(cells)
        return written.getvalue().encode() + end

    def _cells(self, record: bytes) -> list[str]:
        try:
            rows = list(csv.reader(io.StringIO(record.decode(), newline=""), delimiter=self._delimiter, strict=True))
        except (csv.Error, ValueError):
            raise RecordProblem("is not CSV in UTF-8") from None
        if len(rows) > 1:
            raise RecordProblem("is not one CSV record: a quote stands where none may be")
        return rows[0] if rows else []


def _line(file: BinaryIO) -> bytes:
    line = file.readline(MAX_RECORD_BYTES + 1)
    if len(line) > MAX_RECORD_BYTES:
        raise StoreProblem(f"a line has more than {MAX_RECORD_BYTES} bytes")
    return line


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member stands there twice")
    return dict(pairs)


def _span(line: str, field: str) -> tuple[int, int]:
    """Return where the value of a member stands in the text of a JSON object that has it."""
    decoder = json.JSONDecoder()
    position = _skip(line, line.index("{") + 1)
    while True:
        name, position = scanstring(line, position + 1)
        start = _skip(line, _skip(line, position) + 1)  # beyond the colon
        _, end = decoder.raw_decode(line, start)
        if name == field:
            return start, end
        position = _skip(line, _skip(line, end) + 1)  # beyond the comma


def _skip(line: str, position: int) -> int:
    match = _SPACE.match(line, position)
    assert match is not None
    return match.end()
