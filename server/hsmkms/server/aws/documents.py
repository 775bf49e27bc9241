"""JSON documents as clients send them, read into requests: each member must have the JSON type that its annotation in core stands for.

What a request may hold beyond that is `core.members.check`'s to say. Members that nobody knows are ignored and null is absent, as at AWS;
members that AWS knows and this service does not are refused, since without them the request would mean something else. Texts are those
that AWS's services give, without the value: it may be a plaintext. Integers are exact, strings are valid Unicode, and null is nowhere in a
list or a map.

Source: AWS JSON 1.1 protocol (Smithy specification), and the answers of AWS's services for the texts.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, TypeVar

from hsmkms.core import material_messages, messages
from hsmkms.core.errors import UnsupportedOperationException
from hsmkms.core.members import aws_name
from hsmkms.server.aws.status import SerializationException

Message = TypeVar("Message")

_Reader = Callable[[Any], Any]
_READERS: Final[dict[type, _Reader]] = {}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
INAPPLICABLE: Final[Mapping[type, Mapping[str, str]]] = {
    messages.CreateGrantRequest: {
        "GranteeServicePrincipal": "no AWS service calls on anybody's behalf",
        "RetiringServicePrincipal": "no AWS service calls on anybody's behalf",
    },
    messages.DecryptRequest: {"Recipient": "no attested enclaves are known here"},
    material_messages.DeriveSharedSecretRequest: {"Recipient": "no attested enclaves are known here"},
    material_messages.GenerateDataKeyPairRequest: {"Recipient": "no attested enclaves are known here"},
    messages.GenerateDataKeyRequest: {"Recipient": "no attested enclaves are known here"},
    messages.GenerateRandomRequest: {"Recipient": "no attested enclaves are known here"},
    messages.GrantConstraintsMember: {"SourceArn": "no AWS service calls on anybody's behalf"},
    messages.ListGrantsRequest: {"GranteeServicePrincipal": "no AWS service calls on anybody's behalf"},
    messages.ListKeysRequest: {"ResourceOwners": "keys are an account's own"},
    messages.ListRetirableGrantsRequest: {"RetiringServicePrincipal": "no AWS service calls on anybody's behalf"},
}
"""Members of AWS's requests that this service does not have, and why."""

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def read(kind: type[Message], body: bytes) -> Message:
    """Return the request that a body holds; an empty body stands for an empty document.

    Args:
        kind: The operation's request, a class of `core.messages`.
        body: The body.

    Raises:
        SerializationException: it is no JSON document, or a member has another type than the request's.
        UnsupportedOperationException: it has a member of AWS's that does not apply to this service.
    """
    message: Message = _structure(kind)(_parsed(body) if body else {})
    return message


def _parsed(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
        document = json.loads(text, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode("utf-8")  # half a pair is no Unicode
    except (ValueError, RecursionError):
        raise SerializationException from None
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _structure(kind: type) -> _Reader:
    reader = _READERS.get(kind)
    if reader is None:
        reader = _READERS[kind] = _new_structure(kind)
    return reader


def _new_structure(kind: type) -> _Reader:
    hints = typing.get_type_hints(kind)
    members = tuple(
        (field.name, aws_name(field.name), _reader(hints[field.name])) for field in dataclasses.fields(kind)
    )

    inapplicable = INAPPLICABLE.get(kind, {})

    def read_structure(value: Any) -> Any:
        if type(value) is not dict:
            _refuse_structure(value)
        for name, reason in inapplicable.items():
            if value.get(name) is not None:
                raise UnsupportedOperationException(f"{name} does not apply to this service: {reason}.")
        return kind(**{name: reader(value[key]) for name, key, reader in members if value.get(key) is not None})

    return read_structure


def _reader(annotation: Any) -> _Reader:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        annotation = next(option for option in typing.get_args(annotation) if option is not type(None))
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return _list(_reader(typing.get_args(annotation)[0]))
    if origin is Mapping:
        return _map
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _structure(annotation)
    return _SCALARS[annotation]


def _list(element: _Reader) -> _Reader:
    def read_list(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            _refuse_structure(value, "Expected list or null")
        return tuple(element(item) for item in value)

    return read_list


def _map(value: Any) -> Mapping[str, str]:
    if type(value) is not dict:
        _refuse_structure(value, "Expected map or null")
    return {key: _string(item) for key, item in value.items()}


def _string(value: Any) -> str:
    return value if type(value) is str else _refuse(value, "a String")


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else _refuse(value, "an Integer")


def _boolean(value: Any) -> bool:
    return value if type(value) is bool else _refuse(value, "a Boolean")


def _blob(value: Any) -> bytes:
    if type(value) is not str:
        _refuse(value, "a Blob")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise SerializationException("STRING_VALUE can not be converted to a Blob: it is not valid Base64") from None


def _time(value: Any) -> datetime:
    if type(value) not in (int, float):
        _refuse(value, "milliseconds since epoch")
    try:
        return _EPOCH + timedelta(milliseconds=round(value * 1000))
    except OverflowError:
        _refuse(value, "milliseconds since epoch")


_SCALARS: Final[Mapping[Any, _Reader]] = {
    str: _string,
    int: _integer,
    bool: _boolean,
    bytes: _blob,
    datetime: _time,
}


def _refuse(value: Any, wanted: str) -> NoReturn:
    """Refuse a value that is not of the wanted type."""
    if isinstance(value, dict | list):
        _refuse_structure(value)
    raise SerializationException(f"{_token(value)} can not be converted to {wanted}")


def _refuse_structure(value: Any, expected: str = "Expected null") -> NoReturn:
    """Refuse a value that is not of the wanted form, or that has a form where there should be none."""
    if isinstance(value, dict):
        raise SerializationException("Start of structure or map found where not expected.")
    if isinstance(value, list):
        raise SerializationException("Start of list found where not expected")
    raise SerializationException(expected)


def _token(value: Any) -> str:
    """Return what AWS calls a JSON value of this type."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    if value is None:
        return "NULL_VALUE"
    return "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
