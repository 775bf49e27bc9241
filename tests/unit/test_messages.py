"""One contract, declared twice: core's messages and kms.proto hold each other, and nothing is lost between them or in JSON."""

import dataclasses
import datetime as dt
import json
import subprocess
import sys
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core import aws_json, members
from hsmkms.core.errors import ValidationException
from hsmkms.core.messages import (
    BULKS,
    OPERATIONS,
    AliasListEntry,
    DescribeKeyResponse,
    ListAliasesResponse,
    ReEncryptRequest,
)
from hsmkms.core.operations import HANDLERS
from hsmkms.v1 import kms_pb2
from hsmkms.wire import SERVICE, method_path
from hsmkms.wire.codec import operation_codec

PROTO = Path(__file__).resolve().parents[2] / "proto"
SERVICE_DESCRIPTOR = kms_pb2.DESCRIPTOR.services_by_name["KeyManagementService"]
EVERY_OPERATION = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)

times = st.integers(0, 272 * 365 * 86_400_000_000).map(
    lambda us: datetime(1970, 1, 1, tzinfo=UTC) + dt.timedelta(microseconds=us)
)
"""To the microsecond, until the year 2241."""


def is_optional(annotation):
    return typing.get_origin(annotation) in (types.UnionType, typing.Union)


def without_none(annotation):
    return typing.get_args(annotation)[0] if is_optional(annotation) else annotation


def is_message(annotation):
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def texts_of(enum):
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return [value.name.removeprefix(prefix) for value in enum.values if value.number]


def awss_texts_of(enum):
    """AWS's spelling: that of the contract, but for grant operations, which AWS writes like the operations (`ReEncryptFrom`)."""
    texts = texts_of(enum)
    if enum.name == "GrantOperation":
        return ["".join(word.capitalize() for word in text.split("_")) for text in texts]
    return texts


def values_of(annotation, field):
    """Values of a member: what its type in core and its type on the wire both can hold."""
    if is_optional(annotation):
        return st.none() | values_of(without_none(annotation), field)
    if typing.get_origin(annotation) is tuple:
        return st.lists(values_of(typing.get_args(annotation)[0], field), max_size=3).map(tuple)
    if typing.get_origin(annotation) is Mapping:
        return st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
    if is_message(annotation):
        return messages_of(annotation, field.message_type)
    if annotation is datetime:
        return times
    if issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    if annotation is str and field.enum_type is not None:
        return st.sampled_from(awss_texts_of(field.enum_type))
    return {
        str: st.text(max_size=20),
        bytes: st.binary(max_size=20),
        bool: st.booleans(),
        int: st.integers(-(1 << 31), (1 << 31) - 1),
    }[annotation]


def messages_of(kind, descriptor):
    hints = typing.get_type_hints(kind)
    return st.builds(
        kind,
        **{
            field.name: values_of(hints[field.name], descriptor.fields_by_name[field.name])
            for field in dataclasses.fields(kind)
        },
    )


def pairs_of(kind, descriptor):
    """A message's dataclass and descriptor, and those of the messages in it."""
    yield kind, descriptor
    for name, annotation in typing.get_type_hints(kind).items():
        inner = without_none(annotation)
        if typing.get_origin(inner) is tuple:
            inner = typing.get_args(inner)[0]
        if is_message(inner):
            yield from pairs_of(inner, descriptor.fields_by_name[name].message_type)


def every_pair(operation):
    for side, kind in (("Request", operation.request), ("Response", operation.response)):
        yield from pairs_of(kind, kms_pb2.DESCRIPTOR.message_types_by_name[operation.name + side])


# One contract


def test_the_operations_are_the_services_methods():
    assert OPERATIONS.keys() == HANDLERS.keys() == set(SERVICE_DESCRIPTOR.methods_by_name) - BULKS.keys()
    assert SERVICE_DESCRIPTOR.full_name == SERVICE
    for name, method in SERVICE_DESCRIPTOR.methods_by_name.items():
        assert (method.input_type.name, method.output_type.name) == (f"{name}Request", f"{name}Response")
        assert method_path(name) == f"/hsmkms.v1.KeyManagementService/{name}"


@EVERY_OPERATION
def test_members_and_fields_have_the_same_names(operation):
    for kind, descriptor in every_pair(operation):
        assert {field.name for field in dataclasses.fields(kind)} == set(descriptor.fields_by_name), descriptor.name


@EVERY_OPERATION
def test_what_can_be_absent_in_core_can_be_absent_on_the_wire(operation):
    for kind, descriptor in every_pair(operation):
        for name, annotation in typing.get_type_hints(kind).items():
            field = descriptor.fields_by_name[name]
            assert not is_optional(annotation) or field.has_presence, f"{descriptor.name}.{name}"


@EVERY_OPERATION
def test_every_value_of_an_enumeration_has_its_number(operation):
    for kind, descriptor in every_pair(operation):
        for name, annotation in typing.get_type_hints(kind).items():
            enum = descriptor.fields_by_name[name].enum_type
            inner = without_none(annotation)
            if typing.get_origin(inner) is tuple:
                inner = typing.get_args(inner)[0]
            if isinstance(inner, type) and issubclass(inner, StrEnum):
                assert {member.name for member in inner} <= set(texts_of(enum))
            if enum is not None:
                assert enum.values[0].name.endswith("_UNSPECIFIED")
                assert enum.values[0].number == 0


@EVERY_OPERATION
def test_what_the_validation_allows_can_be_said_on_the_wire_and_the_other_way_round(operation):
    descriptor = kms_pb2.DESCRIPTOR.message_types_by_name[f"{operation.name}Request"]
    for field in dataclasses.fields(operation.request):
        rule = members.constraint_of(field)
        choices = rule.choices or (rule.each.choices if rule.each else ())
        if choices:
            assert set(choices) == set(awss_texts_of(descriptor.fields_by_name[field.name].enum_type)), field.name


# There and back


@EVERY_OPERATION
def test_requests_and_responses_come_back_as_they_were(operation):
    codec = operation_codec(operation.name)

    @given(messages_of(operation.request, codec.request_type.DESCRIPTOR))
    def request_comes_back(request):
        sent = codec.encode_request(request).SerializeToString()
        assert codec.decode_request(codec.request_type.FromString(sent)) == request

    @given(messages_of(operation.response, codec.response_type.DESCRIPTOR))
    def response_comes_back(response):
        sent = codec.encode_response(response).SerializeToString()
        assert codec.decode_response(codec.response_type.FromString(sent)) == response

    request_comes_back()
    response_comes_back()


@EVERY_OPERATION
def test_json_comes_back_as_it_was(operation):
    @given(messages_of(operation.request, kms_pb2.DESCRIPTOR.message_types_by_name[f"{operation.name}Request"]))
    def request_comes_back(request):
        assert aws_json.decode(operation.request, json.loads(json.dumps(aws_json.encode(request)))) == request

    @given(messages_of(operation.response, kms_pb2.DESCRIPTOR.message_types_by_name[f"{operation.name}Response"]))
    def response_comes_back(response):
        assert aws_json.decode(operation.response, json.loads(json.dumps(aws_json.encode(response)))) == response

    request_comes_back()
    response_comes_back()


@EVERY_OPERATION
def test_equal_responses_have_equal_hashes(operation):
    assert operation.response.__hash__ is not None
    descriptor = kms_pb2.DESCRIPTOR.message_types_by_name[f"{operation.name}Response"]
    if any(typing.get_origin(hint) is Mapping for kind, _ in pairs_of(operation.response, descriptor)
           for hint in typing.get_type_hints(kind).values()):  # fmt: skip
        return  # a map in it has no hash

    @given(messages_of(operation.response, descriptor))
    def can_be_hashed(response):
        assert len({response, dataclasses.replace(response)}) == 1

    can_be_hashed()


@pytest.mark.parametrize("microsecond", [0, 1, 999_999])
@pytest.mark.parametrize("year", [1970, 2025, 2106, 2241])
def test_times_are_exact_to_the_microsecond(year, microsecond):
    time = datetime(year, 12, 31, 23, 59, 59, microsecond, UTC)
    entry = AliasListEntry("alias/a", "arn", "key", time, time + dt.timedelta(microseconds=1))
    response = ListAliasesResponse((entry,))
    codec = operation_codec("ListAliases")
    assert codec.decode_response(codec.encode_response(response)) == response
    assert aws_json.decode(ListAliasesResponse, aws_json.encode(response)) == response


def test_an_absent_member_is_not_an_empty_one():
    codec = operation_codec("ReEncrypt")
    absent = codec.decode_request(codec.request_type())
    assert absent == ReEncryptRequest()
    assert absent.destination_key_id is None
    present = codec.decode_request(codec.request_type(destination_key_id="", ciphertext_blob=b"", dry_run=False))
    assert (present.destination_key_id, present.ciphertext_blob, present.dry_run) == ("", b"", False)


# What the other side knows and this one does not


@pytest.mark.parametrize("number", [99, -1])
def test_an_unknown_number_in_a_request_reaches_the_validation(number):
    codec = operation_codec("ReEncrypt")
    message = codec.request_type(destination_key_id="x", source_encryption_algorithm=number, dry_run_modifiers=[number])
    request = codec.decode_request(codec.request_type.FromString(message.SerializeToString()))
    with pytest.raises(ValidationException) as refused:
        members.check(request)
    assert (
        f"Value '{number}' at 'sourceEncryptionAlgorithm' failed to satisfy constraint: Member must satisfy enum"
        in (refused.value.message)
    )
    assert f"Value '[{number}]' at 'dryRunModifiers' failed" in refused.value.message


def test_unspecified_is_absent_and_in_a_list_it_is_wrong():
    codec = operation_codec("ReEncrypt")
    request = codec.decode_request(codec.request_type(source_encryption_algorithm=0, destination_key_id="x"))
    assert request.source_encryption_algorithm is None
    request = codec.decode_request(codec.request_type(dry_run_modifiers=[0], destination_key_id="x"))
    with pytest.raises(ValidationException, match=r"Value '\[null\]' at 'dryRunModifiers' failed"):
        members.check(request)


@pytest.mark.parametrize("number", [0, 99])
def test_an_unknown_number_in_a_response_is_an_error_of_the_caller_s_library(number):
    codec = operation_codec("DescribeKey")
    message = codec.response_type()
    message.key_metadata.key_state = number
    with pytest.raises((ValueError, TypeError)):
        codec.decode_response(message)
    with pytest.raises(TypeError):
        codec.decode_response(codec.response_type())
    assert DescribeKeyResponse.__dataclass_fields__.keys() == {"key_metadata"}


def test_a_text_of_no_enumeration_is_refused_before_it_is_sent():
    codec = operation_codec("ReEncrypt")
    with pytest.raises(ValidationException) as refused:
        codec.encode_request(ReEncryptRequest(destination_key_id="x", source_encryption_algorithm="ROT13"))
    assert refused.value.message == (
        "1 validation error detected: Value 'ROT13' at 'sourceEncryptionAlgorithm' failed to satisfy constraint: "
        "Member must satisfy enum value set: [SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, SM2PKE]"
    )


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("ReEncrypt", {"CiphertextBlob": "no base64!"}),
        ("ListAliases", {"Aliases": [{"AliasName": "alias/a"}]}),
        ("DescribeKey", {}),
    ],
)
def test_json_that_is_no_such_message_is_refused(kind, document):
    with pytest.raises((ValueError, TypeError)):
        aws_json.decode(OPERATIONS[kind].response, document)


# The contract explains itself


def test_everything_in_the_contract_has_a_comment(tmp_path):
    output = tmp_path / "kms.desc"
    includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            *includes,
            "--include_source_info",
            f"--descriptor_set_out={output}",
            str(PROTO / "hsmkms" / "v1" / "kms.proto"),
        ],
        check=True,
        timeout=60,
    )
    (file,) = FileDescriptorSet.FromString(output.read_bytes()).file
    commented = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}
    named = {}
    for group, children, number in (
        (file.message_type, "field", 4),
        (file.enum_type, "value", 5),
        (file.service, "method", 6),
    ):
        for position, outer in enumerate(group):
            named[number, position] = outer.name
            for child, inner in enumerate(getattr(outer, children)):
                named[number, position, 2, child] = f"{outer.name}.{inner.name}"
    assert len(named) > 150
    assert [name for path, name in named.items() if path not in commented] == []
