"""Conversion between core's messages and protobuf, by the names of their fields.

Both sides are declared once (`core.messages` and kms.proto); a test holds them together field by field. A converter is compiled for
each pair on first use. In requests an enumeration travels as its text, so that an unknown number reaches the validation, which
says what is wrong with it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message as ProtoMessage

from hsmkms.core import model
from hsmkms.core.errors import ValidationException
from hsmkms.core.members import values_getter, wire_name
from hsmkms.core.messages import BULKS, OPERATIONS
from hsmkms.v1 import kms_pb2

Message = TypeVar("Message")
Convert = Callable[[Any], Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """One member on its two ways.

    Args:
        name: On both sides.
        number: Of the protobuf field.
        has_presence: Whether the protobuf field can be absent.
        read: From protobuf to core; None where the value stays as it is.
        write: From core to what the protobuf field is set to; None where the value stays as it is.
        put: Instead of `write`, for what cannot be set: takes the protobuf message and core's value.
    """

    name: str
    number: int
    has_presence: bool
    read: Convert | None
    write: Convert | None = None
    put: Callable[[Any, Any], None] | None = None


class _Pair:
    """A message of core and its protobuf message.

    Args:
        kind: Core's class.
        proto: The protobuf class.
        members: Every member of core's class.
        always: Those that are read whether or not they are in the message: what has no presence, and no default in core.
    """

    __slots__ = ("_always", "_get", "_kind", "_reads", "_writes", "proto")

    def __init__(
        self, kind: type, proto: type[ProtoMessage], members: Sequence[_Member], always: Sequence[_Member]
    ) -> None:
        self.proto = proto
        self._kind = kind
        self._reads = {member.number: (member.name, member.read) for member in members}
        self._always = tuple((member.name, member.read) for member in always)
        self._get = values_getter([member.name for member in members])
        self._writes = tuple((member.name, member.write, member.put) for member in members)

    def from_proto(self, message: Any) -> Any:
        known = {}
        for field, value in message.ListFields():
            name, read = self._reads[field.number]
            known[name] = value if read is None else read(value)
        for name, read in self._always:
            if name not in known:
                value = getattr(message, name)
                known[name] = value if read is None else read(value)
        return self._kind(**known)

    def fill(self, target: Any, message: Any) -> None:
        for value, (name, write, put) in zip(self._get(message), self._writes, strict=True):
            if value is None:
                continue
            if put is not None:
                put(target, value)
            else:
                setattr(target, name, value if write is None else write(value))

    def to_proto(self, message: Any) -> ProtoMessage:
        target = self.proto()
        self.fill(target, message)
        return target


@dataclasses.dataclass(frozen=True, slots=True)
class OperationCodec:
    """The converters of one operation.

    Args:
        request_type: The protobuf class of its request.
        response_type: The protobuf class of its response.
        decode_request: From protobuf to core.
        encode_request: From core to protobuf; raises ValidationException for a text that is in no enumeration.
        decode_response: From protobuf to core; raises ValueError or TypeError for what a newer service may have said.
        encode_response: From core to protobuf.
    """

    request_type: type[ProtoMessage]
    response_type: type[ProtoMessage]
    decode_request: Convert
    encode_request: Convert
    decode_response: Convert
    encode_response: Convert


def operation_codec(name: str) -> OperationCodec:
    """Return the converters of the operation of that name."""
    operation = OPERATIONS[name]
    request = _pair(operation.request, getattr(kms_pb2, f"{name}Request"))
    response = _pair(operation.response, getattr(kms_pb2, f"{name}Response"))
    return OperationCodec(
        request.proto, response.proto, request.from_proto, request.to_proto, response.from_proto, response.to_proto
    )


@dataclasses.dataclass(frozen=True, slots=True)
class BulkCodec:
    """The converters of a batch or stream.

    Args:
        request_type: The protobuf class of its request; of a stream, that of one message.
        response_type: The protobuf class of its response; of a stream, that of one message.
        decode_entry: An entry's request from protobuf to core.
        encode_entry: An entry's request from core to protobuf; raises ValidationException for a text that is in no enumeration.
        decode_response: An entry's response from protobuf to core; raises ValueError or TypeError for what a newer service may have said.
        fill_response: An entry's response from core into the protobuf message of its result.
    """

    request_type: type[ProtoMessage]
    response_type: type[ProtoMessage]
    decode_entry: Convert
    encode_entry: Convert
    decode_response: Convert
    fill_response: Callable[[Any, Any], None]


def bulk_codec(name: str) -> BulkCodec:
    """Return the converters of the batch or stream of that name."""
    operation = OPERATIONS[BULKS[name].operation]
    request = _pair(operation.request, getattr(kms_pb2, f"{operation.name}Request"))
    response = _pair(operation.response, getattr(kms_pb2, f"{operation.name}Response"))
    return BulkCodec(
        getattr(kms_pb2, f"{name}Request"),
        getattr(kms_pb2, f"{name}Response"),
        request.from_proto,
        request.to_proto,
        response.from_proto,
        response.fill,
    )


def _pair(kind: type, proto: Any) -> _Pair:
    descriptor: Descriptor = proto.DESCRIPTOR
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    members = tuple(_member(field.name, hints[field.name], descriptor.fields_by_name[field.name]) for field in fields)
    defaults = {
        field.name
        for field in fields
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    repeated = {field.name for field in descriptor.fields if field.is_repeated}
    always = tuple(
        member
        for member in members
        if not member.has_presence and not (member.name in defaults and member.name in repeated)
    )
    return _Pair(kind, proto, members, always)


def _member(name: str, annotation: Any, field: FieldDescriptor) -> _Member:
    annotation = _without_none(annotation)
    if typing.get_origin(annotation) is tuple:
        return _repeated(name, typing.get_args(annotation)[0], field)
    if typing.get_origin(annotation) is Mapping:
        return _Member(name, field.number, False, dict, put=lambda target, value: getattr(target, name).update(value))
    if annotation is datetime:
        return _Member(
            name,
            field.number,
            True,
            _read_time,
            put=lambda target, value: getattr(target, name).FromMicroseconds(_microseconds(value)),
        )
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        pair = _pair(annotation, _proto_class(field))

        def fill_one(target: Any, value: Any) -> None:
            getattr(target, name).SetInParent()  # a structure without members is there all the same
            pair.fill(getattr(target, name), value)

        return _Member(name, field.number, True, pair.from_proto, put=fill_one)
    read, write = _scalar(name, annotation, field)
    return _Member(name, field.number, field.has_presence, read, write)


def _repeated(name: str, element: Any, field: FieldDescriptor) -> _Member:
    if dataclasses.is_dataclass(element) and isinstance(element, type):
        pair = _pair(element, _proto_class(field))

        def fill(target: Any, values: Any) -> None:
            for value in values:
                pair.fill(getattr(target, name).add(), value)

        return _Member(name, field.number, False, lambda values: tuple(map(pair.from_proto, values)), put=fill)
    read, write = _scalar(name, element, field)
    return _Member(
        name,
        field.number,
        False,
        tuple if read is None else lambda values: tuple(map(read, values)),
        put=lambda target, values: getattr(target, name).extend(values if write is None else map(write, values)),
    )


def _scalar(name: str, annotation: Any, field: FieldDescriptor) -> tuple[Convert | None, Convert | None]:
    enum = field.enum_type
    if enum is None:
        return None, None
    return (
        (_read_member(annotation, enum), _write_member(annotation, enum))
        if isinstance(annotation, type) and issubclass(annotation, StrEnum)
        else (_read_text(enum), _write_text(name, enum))
    )


def _prefix(enum: EnumDescriptor) -> str:
    return enum.values[0].name.removesuffix("UNSPECIFIED")


def _texts(enum: EnumDescriptor) -> dict[int, str]:
    """Return the texts of an enumeration's numbers: AWS's spelling where it is not that of the contract (`ReEncryptFrom`)."""
    kind = getattr(model, enum.name, None)
    spelled = {member.name: member.value for member in kind} if kind else {}
    names = {value.number: value.name.removeprefix(_prefix(enum)) for value in enum.values if value.number}
    return {number: spelled.get(name, name) for number, name in names.items()}


def _read_text(enum: EnumDescriptor) -> Convert:
    texts = _texts(enum)
    return lambda number: texts.get(number) or (str(number) if number else None)


def _write_text(member: str, enum: EnumDescriptor) -> Convert:
    numbers = {text: number for number, text in _texts(enum).items()}

    def write(text: str) -> int:
        number = numbers.get(text)
        if number is None:
            raise ValidationException(
                f"1 validation error detected: Value '{text}' at '{wire_name(member)}' failed to satisfy constraint: "
                f"Member must satisfy enum value set: [{', '.join(numbers)}]"
            )
        return number

    return write


def _read_member(kind: type[StrEnum], enum: EnumDescriptor) -> Convert:
    names = {value.number: value.name.removeprefix(_prefix(enum)) for value in enum.values if value.number}

    def read(number: int) -> StrEnum:
        name = names.get(number)
        if name is None or name not in kind.__members__:
            raise ValueError(f"{kind.__name__} number {number} is unknown")
        return kind[name]

    return read


def _write_member(kind: type[StrEnum], enum: EnumDescriptor) -> Convert:
    numbers = {value.name.removeprefix(_prefix(enum)): value.number for value in enum.values}
    return {member: numbers[name] for name, member in kind.__members__.items() if name in numbers}.__getitem__


def _read_time(value: Any) -> datetime:
    """Return a time; one that no calendar here has becomes the first or the last that it has, which no rule of the service allows."""
    microseconds = value.seconds * 1_000_000 + value.nanos // 1000
    return _EPOCH + timedelta(microseconds=min(max(microseconds, _FIRST_US), _LAST_US))


def _microseconds(value: datetime) -> int:
    return (value - _EPOCH) // timedelta(microseconds=1)


def _proto_class(field: FieldDescriptor) -> Any:
    assert field.message_type is not None
    return getattr(kms_pb2, field.message_type.name)


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(option for option in typing.get_args(annotation) if option is not type(None))
    return annotation
