"""Audit records: what a request's record holds, and how records are chained.

A record is one line of JSON in ASCII without spaces: first the members of the chain (`chainId`, `sequence`, `previousHash`,
`recordType`), then, in a record of type `request`, CloudTrail's members under CloudTrail's names. docs/audit.md lists them.

What a record never holds, by the messages' own declarations: members of type bytes (blobs, plaintexts), members declared sensitive,
and those of `LEFT_OUT`. Of a response it holds ids and ARNs of keys and grants, and ids of key material; nothing else.
Every text is cut at the longest its member allows, or at `MAX_TEXT`; a record over `MAX_RECORD_BYTES` loses its request parameters.

Not for several threads.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import operator
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, cast

from hsmkms.core.members import constraint_of, wire_name
from hsmkms.core.messages import OPERATIONS, Effect
from hsmkms.core.model import Principal, Scope

EVENT_VERSION: Final = "1.11"
"""The version of CloudTrail's record whose names are used."""
MAX_TEXT: Final = 8192
"""Longest text of a record, in characters, where its member's declaration does not say another."""
MAX_ELEMENTS: Final = 1000
"""Most elements of a list or pairs of a map that a record repeats."""
MAX_USER_AGENT: Final = 256
MAX_RECORD_BYTES: Final = 256 * 1024
LEFT_OUT: Final = frozenset({"grant_token", "grant_tokens", "marker"})
"""Request members that are credentials of a kind: whoever reads the log must not be able to use them."""
NO_HASH: Final = "0" * 64
"""`previousHash` of a chain's first record."""

_REMEMBERED: Final = 4096
"""Principals and keys whose part of a record is kept. Nobody changes it."""
_ANSWERED: Final = frozenset({"key_id", "source_key_id", "key_arn", "arn", "grant_id"})
_MATERIAL: Final = "key_material_id"
_CUT: Final = "…"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ANCHOR_LABEL: Final = b"hsm-kms/audit-anchor/v1"
_READS: Final = ("Describe", "Get", "List")
_IDENTITY_TYPES: Final = {"user": "IAMUser", "role": "Role", "assumed-role": "AssumedRole", "root": "Root"}

_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode


_THE_SERVICE: Final = MappingProxyType({"type": "AWSService", "invokedBy": "kms.hsm-kms"})


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


@dataclass(frozen=True, slots=True)
class Event:
    """A request that is over, or something that the service did to a key of its own accord.

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
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds")[:-6] + "Z"


def request_record(event: Event) -> dict[str, Any]:
    """Return the record of a request, without the chain's members."""
    elements, materials = _answered(event.response)
    arns = list(event.touched)
    arns += [arn for arn in _key_arns(elements) if arn not in arns]
    account = event.principal.account if event.principal is not None else event.scope.account
    operation = OPERATIONS.get(event.operation)
    record: dict[str, Any] = {
        "recordType": "request",
        "eventVersion": EVENT_VERSION,
        "userIdentity": dict(_THE_SERVICE) if operation is None else _identity(event.principal),
        "eventTime": event_time(event.time_us),
        "eventSource": "kms.hsm-kms",
        "eventName": event.operation,
        "awsRegion": event.scope.region,
        "sourceIPAddress": _cut(event.source_address, MAX_USER_AGENT),
        "userAgent": _cut(event.user_agent, MAX_USER_AGENT),
        "requestParameters": None if event.request is None else request_parameters(event.request) or None,
        "responseElements": elements or None,
    }
    if event.batch_id:
        materials["batchRequestID"] = event.batch_id
    if materials:
        record["additionalEventData"] = materials
    if event.error_code:
        record["errorCode"] = event.error_code
        record["errorMessage"] = event.error_message
    record["requestID"] = event.request_id
    record["eventID"] = event.event_id
    record["readOnly"] = operation is not None and operation.effect is Effect.READS
    record["resources"] = [_resource(arn) for arn in arns]
    record["eventType"] = "AwsServiceEvent" if operation is None else "AwsApiCall"
    record["managementEvent"] = True
    record["eventCategory"] = "Management"
    record["recipientAccountId"] = account
    return record


def request_parameters(request: Any) -> dict[str, Any]:
    """Return what a record repeats of a request: the members that were sent, less those it must not hold."""
    parameters: dict[str, Any] = {}
    for name, get, longest in _plan(cast("Hashable", type(request))):
        value = get(request)
        if value is not None and value != () and value != {}:
            parameters[name] = _plain(value, longest)
    return parameters


@functools.cache
def _plan(kind: Any) -> tuple[tuple[str, Callable[[Any], Any], int], ...]:
    """Return name, getter and longest text of the members of a message that a record may repeat."""
    hints = typing.get_type_hints(kind)
    plan = []
    for field in dataclasses.fields(kind):
        rule = constraint_of(field)
        annotation = hints[field.name]
        holds_bytes = bytes in (annotation, *typing.get_args(annotation))
        if not (holds_bytes or rule.sensitive or field.name in LEFT_OUT):
            is_text = str in (annotation, *typing.get_args(annotation)) and typing.get_origin(annotation) is not tuple
            longest = rule.maximum if is_text and rule.maximum is not None else MAX_TEXT
            plan.append((wire_name(field.name), operator.attrgetter(field.name), longest))
    return tuple(plan)


def _plain(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return _cut(value, longest)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ELEMENTS]
        return {_cut(key, longest): _plain(element, longest) for key, element in pairs}
    if isinstance(value, tuple):
        return [_plain(element, longest) for element in value[:MAX_ELEMENTS]]
    return request_parameters(value) if dataclasses.is_dataclass(value) else None


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + _CUT


@functools.lru_cache(_REMEMBERED)
def _resource(arn: str) -> dict[str, str]:
    return {"ARN": arn, "accountId": arn.split(":")[4], "type": "AWS::KMS::Key"}


@functools.cache
def _answer_plan(kind: Any) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    """Return name, name in a record and getter of the members of a response that a record may tell."""
    return tuple(
        (field.name, wire_name(field.name), operator.attrgetter(field.name))
        for field in dataclasses.fields(kind)
        if field.name in _ANSWERED or field.name.endswith(_MATERIAL) or field.name == "key_metadata"
    )


def _answered(response: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the ids and ARNs of a response, and the ids of key material in it."""
    elements: dict[str, Any] = {}
    materials: dict[str, str] = {}
    if response is None:
        return elements, materials
    for field_name, name, get in _answer_plan(cast("Hashable", type(response))):
        value = get(response)
        if isinstance(value, str):
            if field_name in _ANSWERED:
                elements[name] = value
            elif field_name.endswith(_MATERIAL):
                materials[name] = value
        elif field_name == "key_metadata":
            inner, inner_materials = _answered(value)
            elements[name] = inner
            materials.update(inner_materials)
    return elements, materials


def _key_arns(elements: Mapping[str, Any]) -> list[str]:
    found = []
    for value in elements.values():
        if isinstance(value, Mapping):
            found += _key_arns(value)
        elif value.startswith("arn:") and ":key/" in value:
            found.append(value)
    return found


def _identity(principal: Principal | None) -> dict[str, str]:
    return (
        {"type": "Unknown"} if principal is None else _known_identity(principal.arn, principal.account, principal.name)
    )


@functools.lru_cache(_REMEMBERED)
def _known_identity(arn: str, account: str, name: str) -> dict[str, str]:
    kind = arn.split(":", 5)[-1].partition("/")[0]
    return {
        "type": _IDENTITY_TYPES.get(kind, "Unknown"),
        "principalId": arn,
        "arn": arn,
        "accountId": account,
        "userName": name,
    }


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
            record: The record without the chain's members, `recordType` included; its request parameters go if it is too long.
        """
        body = _encode(record)
        if len(body) > MAX_RECORD_BYTES:
            size = len(_encode(record.get("requestParameters")))
            reason = {"omitted": True, "originalSize": size, "reason": "requestParameters too large"}
            body = _encode({**record, "requestParameters": reason})
        line = f'{self._prefix}{self.length},"previousHash":"{self.last_hash}",{body[1:]}'.encode("ascii")
        self.last_hash = line_hash(line)
        self.length += 1
        return line + b"\n"


def line_hash(line: bytes) -> str:
    """Return a line's hash: SHA-256 of its bytes without the end of line, in hex."""
    return hashlib.sha256(line).hexdigest()


def anchor_digest(chain_id: str, sequence: int, last_hash: str) -> bytes:
    """Return what the token makes an anchor's MAC over.

    Args:
        chain_id: The chain.
        sequence: The record up to which it is anchored.
        last_hash: That record's hash.
    """
    text = f"{chain_id} {sequence} {last_hash}".encode()
    return hashlib.sha256(_ANCHOR_LABEL + text).digest()
