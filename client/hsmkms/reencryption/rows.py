"""A row and its key, what becomes of it, and what a store of rows can do."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias

from hsmkms.core.ciphertext import HEADER_BYTES, parse_header
from hsmkms.core.errors import InvalidCiphertextException

Key: TypeAlias = tuple[Any, ...]
"""Which row: the values of its primary key; in a file the record's number and where it ends."""


class StoreProblem(Exception):
    """The table or file cannot be worked with: the text says why and what to do.

    Args:
        message: The text.
        may_pass: Whether trying again may help: the connection broke, or a transaction had to give way.
    """

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.may_pass = may_pass


class Encoding(Enum):
    """How a ciphertext is held."""

    RAW = "raw"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class Material:
    """The key material that a ciphertext is under, as its header says.

    Args:
        key_id: The KMS key's id.
        version: The material's version, 1 for the first.
    """

    key_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was read.

    Args:
        key: Which one.
        stored: What the column or field holds: to compare with, never to show.
        ciphertext: The ciphertext blob; None where there is none, or where it cannot be read.
        columns: The columns that encryption contexts are made from.
        problem: Why the ciphertext cannot be read, or an empty text.
        record: In a file: the record, as it stands there.
    """

    key: Key
    stored: Any = field(repr=False)
    ciphertext: bytes | None = field(repr=False)
    columns: Mapping[str, Any] = field(repr=False)
    problem: str = ""
    record: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be written of a row.

    Args:
        row: The row.
        ciphertext: Its new ciphertext blob, or None where it stays as it is.
    """

    row: Row
    ciphertext: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the store did not take.

    Args:
        row: The row.
        reason: Why, in words of the database; empty where it does not hold any more what was read.
    """

    row: Row
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that was not moved, and why.

    Args:
        key: The row's primary key, or line, by name.
        code: The service's error, or `RowChanged`, `RowUnreadable`, `RowRefused`.
        message: In words.
        request_id: The service's, where it answered.
    """

    key: Mapping[str, Any]
    code: str
    message: str
    request_id: str = ""

    def to_line(self) -> bytes:
        """Return the line for the failures file."""
        document = {"Key": self.key, "Code": self.code, "Message": self.message, "RequestId": self.request_id}
        return json.dumps(document, ensure_ascii=False, default=str).encode() + b"\n"


@dataclass(slots=True)
class Tally:
    """How many rows came to what.

    Args:
        moved: Rows with a new ciphertext, by the material they are under now.
        there: Rows that were under the destination's newest material already.
        empty: Rows without a ciphertext.
        gone: Rows that were deleted between reading and writing.
        failed: Rows that are in the failures file.
        read_again: Rows that had changed between reading and writing and were read once more; each counts above as well.
    """

    moved: Counter[Material] = field(default_factory=Counter)
    there: int = 0
    empty: int = 0
    gone: int = 0
    failed: int = 0
    read_again: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return self.moved.total() + self.there + self.empty + self.gone + self.failed

    @property
    def told(self) -> str:
        """What they came to, in words."""
        counts = {
            "moved": self.moved.total(),
            "already there": self.there,
            "empty": self.empty,
            "gone": self.gone,
            "failed": self.failed,
        }
        shown = [f"{count} {name}" for name, count in counts.items() if count or name == "moved"]
        return ", ".join(shown)

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.moved.update(other.moved)
        self.there += other.there
        self.empty += other.empty
        self.gone += other.gone
        self.failed += other.failed
        self.read_again += other.read_again


class Rows(Protocol):
    """Rows with ciphertexts, in an order of their keys. Threads: `read` and `write` may be called from several."""

    @property
    def remark(self) -> str:
        """What to tell about it before a run, or an empty text."""

    def count(self, after: Key | None) -> int | None:
        """Return how many rows there are beyond a key, or None where nobody knows."""

    def read(self, after: Key | None, limit: int, *, until: Key | None = None, settled: bool = False) -> Sequence[Row]:
        """Return the next rows.

        Args:
            after: The key that they come after; None for the start.
            limit: How many at most.
            until: The last key that is wanted; None for no end.
            settled: Wait for whoever is writing these rows.

        Raises:
            StoreProblem: they cannot be read.
        """

    def shown(self, key: Key) -> Mapping[str, Any]:
        """Return a key for people."""

    def close(self) -> None:
        """Let go of everything."""


class UpdatedRows(Rows, Protocol):
    """Rows that are updated in place, while others may update them too."""

    @property
    def is_copy(self) -> Literal[False]:
        """Tells the two kinds apart."""

    def new_value(self, outcome: Outcome) -> Any:
        """Return what the column will hold."""

    def write(self, outcomes: Sequence[Outcome]) -> Sequence[Refused]:
        """Write all outcomes of a batch, durably, and return the rows that were not written.

        Raises:
            StoreProblem: nothing is written, or whether it is written is not known.
        """

    def read_again(self, keys: Sequence[Key]) -> Sequence[Row]:
        """Return the rows of these keys that are still there."""


class CopiedRows(Rows, Protocol):
    """Rows that are appended to a copy, batch after batch in their order, which can be cut where a mark is. Nobody else writes either."""

    @property
    def is_copy(self) -> Literal[True]:
        """Tells the two kinds apart."""

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write all outcomes of a batch, durably.

        Raises:
            StoreProblem: how much of it is written is not known.
        """

    def mark(self) -> int:
        """Return what `resume` needs to cut off what is written after this moment."""


Store: TypeAlias = UpdatedRows | CopiedRows
"""Where a run finds rows, and writes them."""


def decoded(stored: str | bytes, encoding: Encoding) -> bytes:
    """Return the ciphertext blob that is held; base64 may have white space in it.

    Raises:
        ValueError: it is not base64.
    """
    if encoding is Encoding.RAW:
        assert isinstance(stored, bytes)
        return stored
    try:
        text = stored.decode("ascii") if isinstance(stored, bytes) else stored
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None


def digest_of(stored: Any) -> bytes:
    """Return by what a journal recognises a value: SHA-256 of it."""
    return hashlib.sha256(stored.encode() if isinstance(stored, str) else bytes(stored)).digest()


def material_of(ciphertext: bytes) -> Material | None:
    """Return the material that a ciphertext names; None for a ciphertext of a format that this version does not know."""
    try:
        header = parse_header(ciphertext[:HEADER_BYTES])
    except InvalidCiphertextException:
        return None
    return Material(str(uuid.UUID(bytes=header.key_uuid)), header.version)


_KINDS: Final[tuple[tuple[str, type, Callable[[Any], Any], Callable[[Any], Any]], ...]] = (
    ("boolean", bool, bool, bool),
    ("integer", int, int, int),
    ("text", str, str, str),
    ("bytes", bytes, lambda value: base64.b64encode(value).decode(), base64.b64decode),
    ("uuid", uuid.UUID, str, uuid.UUID),
    ("decimal", decimal.Decimal, str, decimal.Decimal),
    ("time", dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
    ("date", dt.date, dt.date.isoformat, dt.date.fromisoformat),
)
"""Types of primary keys: name, type, to JSON, from JSON. The first that fits is taken."""


def key_to_text(key: Key) -> str:
    """Return a key as the journal keeps it.

    Raises:
        StoreProblem: it has a type that the journal cannot keep exactly.
    """
    parts = []
    for value in key:
        for name, kind, to_json, _ in _KINDS:
            if isinstance(value, kind):
                parts.append([name, to_json(value)])
                break
        else:
            raise StoreProblem(
                f"a primary key of Python's type {type(value).__name__} cannot be kept in the journal; it must be one of "
                + ", ".join(each[0] for each in _KINDS)
            )
    return json.dumps(parts)


def key_from_text(text: str) -> Key:
    """Return the key that `key_to_text` made a text of."""
    readers = {name: from_json for name, _, _, from_json in _KINDS}
    return tuple(readers[name](value) for name, value in json.loads(text))
