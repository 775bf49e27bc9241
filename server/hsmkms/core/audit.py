"""Audit records: what there is to record, and how records are chained.

A record is one line of JSON in ASCII without spaces: first the members of the chain (`chainId`, `sequence`, `previousHash`,
`recordType`), then those of its type. docs/audit.md lists them; `audit_requests` says what a request's record holds and never holds.

Not for several threads.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from hsmkms.core.messages import OPERATIONS, Effect
from hsmkms.core.model import Principal, Scope

NO_HASH: Final = "0" * 64
"""`previousHash` of a chain's first record."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ANCHOR_LABEL: Final = b"hsm-kms/audit-anchor/v1"
_READS: Final = ("Describe", "Get", "List")
_SECONDS_KEPT: Final = 8
"""Requests end in another order than they arrive in: around the turn of a second both are needed."""

encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode
"""Returns a value's JSON as records have it."""


class RecordType(StrEnum):
    """What a record tells of."""

    START = "start"
    """The first of a chain: who writes it, and where the chains before it stood."""
    REQUEST = "request"
    """A request and its outcome."""
    ANCHOR = "anchor"
    """The token's MAC over the chain up to a record."""
    LOST = "lost"
    """How many refused requests could not be recorded while the log could not be written."""
    END = "end"
    """The service stopped in good order; at most an anchor follows."""


@dataclass(slots=True, eq=False)
class Event:
    """A request that is over, or something that the service did to a key of its own accord.

    It lives for one call of `AuditLog.record`, and is not frozen because that would cost as much as a good part of the record.

    Args:
        operation: AWS's name; of the service's own acts `DeleteKey` and `RotateKey`, as CloudTrail names them.
        request_id: The id that its answer carries.
        event_id: An id of the record.
        time_us: When it arrived, in microseconds since 1970, UTC.
        partition: The service's partition.
        scope: The service's account and Region.
        source_address: The caller's address, without its port.
        user_agent: What the caller says it is.
        principal: Who asked, or None where that could not be established.
        request: The request, unchecked, or None where it could not be read.
        response: Its response, or None.
        touched: ARNs of the keys it resolved, in order.
        error_code: What it was refused with, or empty.
        error_message: The text that the caller got.
        batch_id: Of an entry of a batch or stream: the id that the answer of that carries, else empty.
    """

    operation: str
    request_id: str
    event_id: str
    time_us: int
    partition: str
    scope: Scope
    source_address: str = ""
    user_agent: str = ""
    principal: Principal | None = None
    request: Any = None
    response: Any = None
    touched: Sequence[str] = ()
    error_code: str = ""
    error_message: str = ""
    batch_id: str = ""


def needs_log(operation: str) -> bool:
    """Say whether an operation may be carried out only while the audit log can be written: all but those that only tell."""
    return OPERATIONS[operation].effect is Effect.CHANGES or not operation.startswith(_READS)


def event_time(time_us: int) -> str:
    """Return a time as records have it: ISO 8601 in UTC with microseconds.

    Args:
        time_us: Microseconds since 1970, UTC.
    """
    second, part = divmod(time_us, 1_000_000)
    return f"{_second(second)}.{part:06}Z"


@functools.lru_cache(_SECONDS_KEPT)
def _second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:-6]


class Chain:
    """A chain of records: each line holds the SHA-256 of the line before it, without its end of line.

    Args:
        chain_id: 32 hex digits, random.
    """

    __slots__ = ("_prefix", "chain_id", "last_hash", "length")

    def __init__(self, chain_id: str) -> None:
        self.chain_id = chain_id
        self.length = 0
        """How many records it has: the next one's sequence number."""
        self.last_hash = NO_HASH
        self._prefix = f'{{"chainId":"{chain_id}","sequence":'

    def seal(self, record: dict[str, Any]) -> bytes:
        """Return the next line, its end of line included.

        Args:
            record: The record without the chain's members, `recordType` included.
        """
        return self.append(encode(record)[1:])

    def append(self, body: str) -> bytes:
        """Return the next line, its end of line included.

        Args:
            body: The JSON of the record without the chain's members, `recordType` included, and without its opening brace. ASCII.
        """
        line = f'{self._prefix}{self.length},"previousHash":"{self.last_hash}",{body}'.encode("ascii")
        self.last_hash = sha256(line).hexdigest()
        self.length += 1
        return line + b"\n"


def line_hash(line: bytes) -> str:
    """Return a line's hash: SHA-256 of its bytes without the end of line, in hex."""
    return sha256(line).hexdigest()


def anchor_digest(chain_id: str, sequence: int, last_hash: str) -> bytes:
    """Return what the token makes an anchor's MAC over.

    Args:
        chain_id: The chain.
        sequence: The record up to which it is anchored.
        last_hash: That record's hash.
    """
    text = f"{chain_id} {sequence} {last_hash}".encode()
    return sha256(_ANCHOR_LABEL + text).digest()
