"""Messages as AWS JSON 1.1 has them: members in AWS's spelling, blobs in base64, times as seconds since 1970.

Used for the command line's output and for the answers kept under idempotency keys. `encode` and `decode` are each other's
inverse for every message in `messages`; times are exact to the microsecond until the year 2242.
"""

from __future__ import annotations

import base64
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from hsmkms.core.members import aws_name

Message = TypeVar("Message")

_EMPTY: Final[dict[str, str]] = {}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_seconds(time: datetime) -> float:
    """Return a time as AWS JSON has it: seconds since 1970."""
    return (time - _EPOCH) / timedelta(seconds=1)


def encode(message: Any, *, write_time: Callable[[datetime], Any] = epoch_seconds) -> dict[str, Any]:
    """Return a message as a JSON object; members that are None are left out, and so are empty maps: absent is the same.

    Empty lists of an answer are left out where none is the default, as AWS does with the algorithms of a key's other usages. The lists
    that an operation is for are there, if empty.

    Args:
        message: A message of `messages`.
        write_time: How a time is written; `decode` reads the default.
    """
    return {
        aws_name(field.name): _encode(value, write_time)
        for field in dataclasses.fields(message)
        if (value := getattr(message, field.name)) is not None and value != _EMPTY and not _is_absent_list(field, value)
    }


def _is_absent_list(field: dataclasses.Field[Any], value: Any) -> bool:
    # a request's members have metadata, and stay: fingerprints under idempotency keys outlive an upgrade
    return value == () and field.default == () and not field.metadata


def _encode(value: Any, write_time: Callable[[datetime], Any]) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return write_time(value)
    if isinstance(value, tuple):
        return [_encode(element, write_time) for element in value]
    if isinstance(value, Mapping):
        return dict(value)
    return encode(value, write_time=write_time) if dataclasses.is_dataclass(value) else value


def decode(kind: type[Message], document: Mapping[str, Any]) -> Message:
    """Return the message of that kind which `document` holds.

    Raises:
        ValueError: a member has a value that its type cannot hold.
        TypeError: a member that the type requires is missing.
    """
    values = {
        name: _decode(annotation, document[aws_name(name)])
        for name, annotation in _annotations(kind).items()
        if document.get(aws_name(name)) is not None
    }
    return kind(**values)


def _annotations(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: _without_none(hints[field.name]) for field in dataclasses.fields(kind)}


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(option for option in typing.get_args(annotation) if option is not type(None))
    return annotation


def _decode(annotation: Any, value: Any) -> Any:
    if annotation is bytes:
        return base64.b64decode(value, validate=True)
    if annotation is datetime:
        seconds, part = divmod(value, 1)  # apart: a product of both would lose microseconds from the year 2106 on
        try:
            return _EPOCH + timedelta(seconds=seconds, microseconds=round(part * 1_000_000))
        except OverflowError as error:
            raise ValueError("a time is out of range") from error
    if typing.get_origin(annotation) is tuple:
        return tuple(_decode(typing.get_args(annotation)[0], element) for element in value)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return annotation(value)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return decode(annotation, value)
    return value
