"""What a request's audit record holds: CloudTrail's members under CloudTrail's names, in the order that docs/audit.md lists.

What a record never holds, by the messages' own declarations: members of type bytes (blobs, plaintexts), members declared sensitive,
and those of `LEFT_OUT`. Of a response it holds ids and ARNs of keys and grants, and ids of key material; nothing else.
Every text is cut at the longest its member allows, or at `MAX_TEXT`; a record over `MAX_RECORD_BYTES` loses its request parameters.

Most of a record has been in an earlier one: who asked from where, the parameters, the keys. A record is put together from pieces of
JSON, each rendered once and kept by the values that it was rendered from (`_Pieces` says which are kept, and how many).

Not for several threads.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from types import NoneType
from typing import Any, Final, Generic, TypeVar, cast

from hsmkms.core.audit import Event, RecordType, encode, event_time
from hsmkms.core.members import constraint_of, values_getter, wire_name
from hsmkms.core.messages import OPERATIONS, Effect
from hsmkms.core.model import Principal

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
MAX_KEPT_PIECE: Final = 2048
"""A longer piece of JSON is rendered each time, in characters."""
MAX_KEPT: Final = 4 << 20
"""How much is kept of each kind of piece, in bytes, with what it was rendered from."""
PIECE_OVERHEAD: Final = 1024
"""How many bytes a piece counts for beside its text: what holds it, and a key of few texts."""
TEXT_OVERHEAD: Final = 96
"""How many bytes a text in a key takes beside its characters, with its half of a pair."""

_ANSWERED: Final = frozenset({"key_id", "source_key_id", "key_arn", "arn", "grant_id"})
_MATERIAL: Final = "key_material_id"
_CUT: Final = "…"
_ENCODED_CUT: Final = encode(_CUT)[1:-1]
_IDENTITY_TYPES: Final = {"user": "IAMUser", "role": "Role", "assumed-role": "AssumedRole", "root": "Root"}
_THE_SERVICE: Final = {"type": "AWSService", "invokedBy": "kms.hsm-kms"}

_Piece = TypeVar("_Piece")


class _Pieces(dict[Hashable, _Piece], Generic[_Piece]):
    """Pieces of records by what they were rendered from. When they have become too much, all are forgotten."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def keep(self, key: Hashable, piece: _Piece, text: str, key_bytes: int = 0) -> None:
        """Keep a piece, unless it is long, or has a text in it that was cut: the key has the whole of that, of any length.

        Args:
            key: What it was rendered from. Whatever is equal to it is rendered to the same.
            piece: The piece.
            text: All its text.
            key_bytes: How many bytes the texts of the key take, where there may be many.
        """
        if len(text) > MAX_KEPT_PIECE or _ENCODED_CUT in text:
            return
        size = len(text) + key_bytes + PIECE_OVERHEAD
        if self.size + size > MAX_KEPT:
            self.clear()
            self.size = 0
        self[key] = piece
        self.size += size


@dataclass(frozen=True, slots=True)
class _Frame:
    """What operation and caller say of a record: everything around its other pieces."""

    before_time: str
    after_time: str
    before_resources: str
    after_resources: str


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What response and keys say of a record."""

    alone: str
    """`responseElements` and `additionalEventData` of a request of its own."""
    in_batch: str
    """The same of an entry of a batch or stream; the batch's id and a brace follow."""
    resources: str


class RequestRecords:
    """Renders the records of requests."""

    __slots__ = ("_frames", "_outcomes", "_parameters")

    def __init__(self) -> None:
        self._frames: _Pieces[_Frame] = _Pieces()
        self._parameters: _Pieces[str] = _Pieces()
        self._outcomes: _Pieces[_Outcome] = _Pieces()

    def body(self, event: Event) -> str:
        """Return the JSON of a request's record, without the chain's members and without its opening brace, for `Chain.append`."""
        operation, scope, principal = event.operation, event.scope, event.principal
        who = None if principal is None else (principal.arn, principal.account, principal.name)
        key = (operation, who, event.source_address, event.user_agent, scope.region, scope.account)
        frame = self._frames.get(key)
        if frame is None:
            frame = _frame(event)
            self._frames.keep(key, frame, frame.before_time + frame.after_time + frame.after_resources)

        kind: Any = type(event.response)
        told = _told(kind)
        found = None if told is None else (kind, told(event.response), tuple(event.touched))
        outcome = self._outcomes.get(found)
        if outcome is None:
            outcome = _outcome(event)
            if found is not None:
                self._outcomes.keep(found, outcome, outcome.alone + outcome.in_batch + outcome.resources)
        answered = outcome.alone
        if event.batch_id:
            answered = f"{outcome.in_batch}{encode_basestring_ascii(event.batch_id)}}}"

        failed = ""
        if event.error_code:
            code, message = encode_basestring_ascii(event.error_code), encode_basestring_ascii(event.error_message)
            failed = f',"errorCode":{code},"errorMessage":{message}'
        parameters = "null" if event.request is None else self._request_parameters(event.request)
        time = event_time(event.time_us)
        body = (
            f"{frame.before_time}{time}{frame.after_time}{parameters}{answered}{failed}"
            f',"requestID":{encode_basestring_ascii(event.request_id)},"eventID":{encode_basestring_ascii(event.event_id)}'
            f"{frame.before_resources}{outcome.resources}{frame.after_resources}"
        )
        if len(body) >= MAX_RECORD_BYTES:  # without its opening brace
            start = len(frame.before_time) + len(time) + len(frame.after_time)
            size = len(parameters)
            reason = {"omitted": True, "originalSize": size, "reason": "requestParameters too large"}
            body = f"{body[:start]}{encode(reason)}{body[start + size :]}"
        return body

    def _request_parameters(self, request: Any) -> str:
        kind: Any = type(request)
        plan = _plan(kind)
        try:
            values = plan.get(request)
            if plan.maps:
                listed = list(values)
                for at in plan.maps:
                    listed[at] = tuple(listed[at].items())
                values = tuple(listed)
            key = (kind, values)
            piece = self._parameters.get(key)
        except (AttributeError, TypeError):  # no map where one is declared, or what cannot be a key: not as declared
            return encode(request_parameters(request) or None)
        if piece is None:
            piece = _texts_alone(plan, values)
            if piece is None:
                return encode(request_parameters(request) or None)
            self._parameters.keep(key, piece, piece, _bytes_of_texts(piece))
        return piece


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a message that a record may repeat."""

    name: str
    """Its name in a record."""
    head: str
    """That in JSON, and a colon."""
    longest: int
    """Its longest text."""
    is_map: bool
    """Whether it is declared as a map."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which members of a message a record may repeat."""

    members: tuple[_Member, ...]
    get: Callable[[Any], tuple[Any, ...]]
    """Returns their values."""
    maps: tuple[int, ...]
    """Which of them are declared as maps."""


def request_parameters(request: Any) -> dict[str, Any]:
    """Return what a record repeats of a request: the members that were sent, less those it must not hold."""
    plan = _plan(cast("Hashable", type(request)))
    return {
        member.name: _plain(value, member.longest)
        for member, value in zip(plan.members, plan.get(request), strict=True)
        if value is not None and value != () and value != {}
    }


def _texts_alone(plan: _Plan, values: tuple[Any, ...]) -> str | None:
    """Return the JSON of `request_parameters`, or None unless all are short enough texts, and lists and maps of such texts.

    They alone are kept: a text equals nothing but the same text, while True equals 1, and 1 equals 1.0.

    Args:
        plan: The request's members.
        values: Their values, of a map its pairs.
    """
    pieces = []
    for member, value in zip(plan.members, values, strict=True):
        longest = member.longest
        if value is None or value == ():
            continue
        if isinstance(value, str):
            if len(value) > longest:
                return None
            pieces.append(member.head + encode_basestring_ascii(value))
            continue
        if not isinstance(value, tuple) or len(value) > MAX_ELEMENTS:
            return None
        inner = []
        for element in value:
            texts = element if member.is_map else (element,)
            for text in texts:
                if not isinstance(text, str) or len(text) > longest:
                    return None
            inner.append(":".join(map(encode_basestring_ascii, texts)))
        listed = ",".join(inner)
        pieces.append(f"{member.head}{{{listed}}}" if member.is_map else f"{member.head}[{listed}]")
    return f"{{{','.join(pieces)}}}" if pieces else "null"


def _bytes_of_texts(piece: str) -> int:
    """Return how many bytes the texts in a piece take, at the most, as values by themselves: up to four a character."""
    return piece.count('"') // 2 * TEXT_OVERHEAD + len(piece) * (4 if "\\u" in piece else 1)


@functools.cache
def _plan(kind: Any) -> _Plan:
    hints = typing.get_type_hints(kind)
    members = []
    fields = []
    for field in dataclasses.fields(kind):
        rule = constraint_of(field)
        annotation = hints[field.name]
        holds_bytes = bytes in (annotation, *typing.get_args(annotation))
        if not (holds_bytes or rule.sensitive or field.name in LEFT_OUT):
            is_text = str in (annotation, *typing.get_args(annotation)) and typing.get_origin(annotation) is not tuple
            longest = rule.maximum if is_text and rule.maximum is not None else MAX_TEXT
            name = wire_name(field.name)
            members.append(_Member(name, f"{encode(name)}:", longest, typing.get_origin(annotation) is Mapping))
            fields.append(field.name)
    return _Plan(tuple(members), values_getter(fields), tuple(at for at, member in enumerate(members) if member.is_map))


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


def _frame(event: Event) -> _Frame:
    operation = OPERATIONS.get(event.operation)
    before = {
        "recordType": RecordType.REQUEST,
        "eventVersion": EVENT_VERSION,
        "userIdentity": _THE_SERVICE if operation is None else _identity(event.principal),
    }
    after = {
        "eventSource": "kms.hsm-kms",
        "eventName": event.operation,
        "awsRegion": event.scope.region,
        "sourceIPAddress": _cut(event.source_address, MAX_USER_AGENT),
        "userAgent": _cut(event.user_agent, MAX_USER_AGENT),
    }
    read_only = operation is not None and operation.effect is Effect.READS
    end = {
        "eventType": "AwsServiceEvent" if operation is None else "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": event.scope.account if event.principal is None else event.principal.account,
    }
    return _Frame(
        before_time=f'{encode(before)[1:-1]},"eventTime":"',
        after_time=f'",{encode(after)[1:-1]},"requestParameters":',
        before_resources=f',"readOnly":{encode(read_only)},"resources":',
        after_resources=f",{encode(end)[1:]}",
    )


def _identity(principal: Principal | None) -> dict[str, str]:
    if principal is None:
        return {"type": "Unknown"}
    kind = principal.arn.split(":", 5)[-1].partition("/")[0]
    return {
        "type": _IDENTITY_TYPES.get(kind, "Unknown"),
        "principalId": principal.arn,
        "arn": principal.arn,
        "accountId": principal.account,
        "userName": principal.name,
    }


def _outcome(event: Event) -> _Outcome:
    elements, materials = _answered(event.response)
    arns = list(event.touched)
    arns += [arn for arn in _key_arns(elements) if arn not in arns]
    resources = [{"ARN": arn, "accountId": arn.split(":")[4], "type": "AWS::KMS::Key"} for arn in arns]
    answer = f',"responseElements":{encode(elements or None)}'
    in_batch = encode({**materials, "batchRequestID": ""})[: -len('""}')]
    return _Outcome(
        alone=f'{answer},"additionalEventData":{encode(materials)}' if materials else answer,
        in_batch=f'{answer},"additionalEventData":{in_batch}',
        resources=encode(resources),
    )


@functools.cache
def _answer_plan(kind: Any) -> tuple[tuple[str, str], ...]:
    """Return the name, and that in a record, of the members of a response that a record may tell."""
    return tuple(
        (field.name, wire_name(field.name))
        for field in dataclasses.fields(kind)
        if field.name in _ANSWERED or field.name.endswith(_MATERIAL) or field.name == "key_metadata"
    )


@functools.cache
def _told(kind: Any) -> Callable[[Any], tuple[Any, ...]] | None:
    """Return what returns all that a record may tell of a response, or None where it is in a member of it."""
    if kind is NoneType:
        return values_getter(())
    names = [name for name, _ in _answer_plan(kind)]
    return None if "key_metadata" in names else values_getter(names)


def _answered(response: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the ids and ARNs of a response, and the ids of key material in it."""
    elements: dict[str, Any] = {}
    materials: dict[str, str] = {}
    if response is None:
        return elements, materials
    for field_name, name in _answer_plan(cast("Hashable", type(response))):
        value = getattr(response, field_name)
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
