"""JSON as clients send it: types, texts, and every message there and back through botocore's own serializer and parser."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsmkms.core import aws_json
from hsmkms.core.errors import BY_CODE, UnsupportedOperationException
from hsmkms.core.material_messages import GenerateDataKeyPairRequest
from hsmkms.core.members import aws_name
from hsmkms.core.messages import (
    OPERATIONS,
    CreateGrantRequest,
    DecryptRequest,
    Empty,
    EncryptRequest,
    GenerateRandomRequest,
    ListKeysRequest,
    ReEncryptRequest,
    TagResourceRequest,
)
from hsmkms.core.operations import HANDLERS
from hsmkms.core.operations.inapplicable import refuse
from hsmkms.server.aws import documents
from hsmkms.server.aws.status import STATUSES, SerializationException, error_answer

MODEL = ServiceModel(Loader().load_service_model("kms", "service-2"))
SERIALIZER = create_serializer("json", include_validation=False)
PARSER = create_parser("json")
OURS = [name for name in OPERATIONS if HANDLERS[name] is not refuse]

times = st.integers(0, 4_102_444_800_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + dt.timedelta(milliseconds=ms)
)


def plain(annotation: Any) -> Any:
    return next((option for option in typing.get_args(annotation) if option is not type(None)), annotation)


def values(annotation: Any, *, is_request: bool) -> st.SearchStrategy[Any]:
    """Values of a member, as its annotation has them."""
    options = typing.get_args(annotation)
    if type(None) in options:
        return st.none() | values(plain(annotation), is_request=is_request)
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return st.lists(values(options[0], is_request=is_request), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
    if dataclasses.is_dataclass(annotation):
        return messages(typing.cast("type", annotation), is_request=is_request)
    if issubclass(annotation, StrEnum):
        return st.sampled_from(list(annotation))
    return {
        str: st.text(max_size=20),
        bytes: st.binary(max_size=40),
        int: st.integers(0, 2**31 - 1),
        bool: st.booleans(),
        datetime: times,
    }[annotation]


def messages(kind: type, *, is_request: bool) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(
        kind, **{field.name: values(hints[field.name], is_request=is_request) for field in dataclasses.fields(kind)}
    )


def as_boto_has_it(message: Any) -> dict[str, Any]:
    """A message as a user of boto3 writes it, and as boto3 shows it: without lists of algorithms that the key has none of."""

    def convert(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return as_boto_has_it(value)
        if isinstance(value, tuple):
            return [convert(element) for element in value]
        if isinstance(value, StrEnum):
            return value.value
        return dict(value) if isinstance(value, Mapping) else value

    return {
        aws_name(field.name): convert(value)
        for field in dataclasses.fields(message)
        if (value := getattr(message, field.name)) is not None
        and value != {}
        and not (value == () and field.name.endswith("_algorithms"))
    }


def parsed(body: bytes, shape: Shape | None) -> dict[str, Any]:
    answer = {"status_code": 200, "headers": {}, "body": body}
    found: dict[str, Any] = PARSER.parse(answer, shape)
    found.pop("ResponseMetadata")
    return found


@pytest.mark.parametrize("name", OURS)
def test_a_request_arrives_as_botocore_was_given_it(name: str) -> None:
    operation, model = OPERATIONS[name], MODEL.operation_model(name)

    @given(messages(operation.request, is_request=True))
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    def arrives(request: Any) -> None:
        sent = SERIALIZER.serialize_to_request(as_boto_has_it(request), model)
        assert (sent["url_path"], sent["method"]) == ("/", "POST")
        assert sent["headers"]["X-Amz-Target"] == f"TrentService.{name}"
        assert documents.read(operation.request, sent["body"]) == request

    arrives()


@pytest.mark.parametrize("name", [name for name in OURS if OPERATIONS[name].response is not Empty])
def test_a_response_is_what_botocore_makes_of_it(name: str) -> None:
    operation, model = OPERATIONS[name], MODEL.operation_model(name)

    @given(messages(operation.response, is_request=False))
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    def comes_out(response: Any) -> None:
        body = json.dumps(aws_json.encode(response)).encode()
        assert parsed(body, model.output_shape) == as_boto_has_it(response)

    comes_out()


@pytest.mark.parametrize("code", BY_CODE)
def test_an_error_is_what_botocore_makes_of_it(code: str) -> None:
    for text in ("Why it failed: „x“", ""):
        status, body = error_answer(BY_CODE[code](text))
        answer = {"status_code": status, "headers": {"x-amzn-requestid": "r"}, "body": body}
        error = PARSER.parse(answer, MODEL.operation_model("Encrypt").output_shape)["Error"]
        wanted = "AccessDeniedException" if code == "UnauthenticatedException" else code
        assert (error["Code"], error["Message"]) == (wanted, text)
        assert status == STATUSES[BY_CODE[code]]


NO_JSON = [
    b"{", b"nonsense", b"\xff", b'{"KeyId":"\xff"}', b'{"KeyId":"\\ud800"}', b'{"\\udfff":1}', b'{"NumberOfBytes":NaN}',
    b'{"NumberOfBytes":-Infinity}', b"[" * 100_000, b"\xef\xbb\xbf{}", '{"KeyId":"x"}'.encode("utf-16"), b"{} {}", b"0" * 10_000,
    b'{"NumberOfBytes":' + b"9" * 5_000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", NO_JSON, ids=[repr(body[:24]) for body in NO_JSON])
def test_what_is_no_json_is_refused_without_a_word(body: bytes) -> None:
    with pytest.raises(SerializationException) as refused:
        documents.read(EncryptRequest, body)
    assert refused.value.message in ("", "Expected null")


LIST, STRUCTURE = "Start of list found where not expected", "Start of structure or map found where not expected."


@pytest.mark.parametrize(
    ("kind", "document", "text"),
    [
        (EncryptRequest, {"KeyId": 7}, "NUMBER_VALUE can not be converted to a String"),
        (EncryptRequest, {"KeyId": True}, "TRUE_VALUE can not be converted to a String"),
        (EncryptRequest, {"KeyId": []}, LIST),
        (EncryptRequest, {"KeyId": {}}, STRUCTURE),
        (EncryptRequest, {"Plaintext": 7}, "NUMBER_VALUE can not be converted to a Blob"),
        (EncryptRequest, {"Plaintext": "secret!"}, "STRING_VALUE can not be converted to a Blob: it is not valid Base64"),
        (EncryptRequest, {"Plaintext": "AAA"}, "STRING_VALUE can not be converted to a Blob: it is not valid Base64"),
        (EncryptRequest, {"Plaintext": "AA==\n"}, "STRING_VALUE can not be converted to a Blob: it is not valid Base64"),
        (EncryptRequest, {"Plaintext": "ÄÄ=="}, "STRING_VALUE can not be converted to a Blob: it is not valid Base64"),
        (EncryptRequest, {"Plaintext": {"type": "Buffer", "data": [1]}}, STRUCTURE),
        (EncryptRequest, {"DryRun": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        (EncryptRequest, {"DryRun": 1}, "NUMBER_VALUE can not be converted to a Boolean"),
        (EncryptRequest, {"GrantTokens": "token"}, "Expected list or null"),
        (EncryptRequest, {"GrantTokens": {}}, STRUCTURE),
        (EncryptRequest, {"GrantTokens": [None]}, "NULL_VALUE can not be converted to a String"),
        (EncryptRequest, {"GrantTokens": [["x"]]}, LIST),
        (EncryptRequest, {"EncryptionContext": "a=b"}, "Expected map or null"),
        (EncryptRequest, {"EncryptionContext": []}, LIST),
        (EncryptRequest, {"EncryptionContext": {"a": 1}}, "NUMBER_VALUE can not be converted to a String"),
        (EncryptRequest, {"EncryptionContext": {"a": None}}, "NULL_VALUE can not be converted to a String"),
        (GenerateRandomRequest, {"NumberOfBytes": "32"}, "STRING_VALUE can not be converted to an Integer"),
        (GenerateRandomRequest, {"NumberOfBytes": False}, "FALSE_VALUE can not be converted to an Integer"),
        (GenerateRandomRequest, {"NumberOfBytes": 1.5}, "NUMBER_VALUE can not be converted to an Integer"),
        (GenerateRandomRequest, {"NumberOfBytes": [1]}, LIST),
        (TagResourceRequest, {"Tags": ["x"]}, "Expected null"),
        (TagResourceRequest, {"Tags": [None]}, "Expected null"),
        (TagResourceRequest, {"Tags": [[]]}, LIST),
        (CreateGrantRequest, {"Constraints": "x"}, "Expected null"),
        (EncryptRequest, [], LIST),
        (EncryptRequest, "x", "Expected null"),
        (EncryptRequest, None, "Expected null"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_without_being_repeated(kind: type, document: Any, text: str) -> None:
    with pytest.raises(SerializationException) as refused:
        documents.read(kind, json.dumps(document).encode())
    assert refused.value.message == text


def test_what_is_absent_null_or_unknown_is_absent() -> None:
    for body in (b"", b"{}", b'{"KeyId": null, "Tomorrow": {"a": [1]}}', b' {"keyId": "x"} '):
        assert documents.read(ReEncryptRequest, body) == ReEncryptRequest()


def test_a_whole_number_may_have_a_fraction_of_nothing() -> None:
    assert documents.read(GenerateRandomRequest, b'{"NumberOfBytes": 32.0}').number_of_bytes == 32
    assert documents.read(EncryptRequest, b'{"KeyId": "\\ud83d\\ude00"}').key_id == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (DecryptRequest, {"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}}),
        (GenerateDataKeyPairRequest, {"Recipient": {}}),
        (CreateGrantRequest, {"Constraints": {"SourceArn": "arn:aws:s3:::b"}}),
        (ListKeysRequest, {"ResourceOwners": ["AWS"]}),
    ],
)
def test_what_aws_knows_and_this_service_does_not_is_refused(kind: type, document: Any) -> None:
    with pytest.raises(UnsupportedOperationException, match="does not apply to this service"):
        documents.read(kind, json.dumps(document).encode())
