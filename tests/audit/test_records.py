"""What a request's audit record holds, and what it never does."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest

from hsmkms.core.audit import Chain, Event, event_time, needs_log
from hsmkms.core.audit_requests import LEFT_OUT, MAX_RECORD_BYTES, RequestRecords, request_parameters
from hsmkms.core.members import constraint_of
from hsmkms.core.messages import (
    OPERATIONS,
    CreateKeyRequest,
    DecryptRequest,
    PutKeyPolicyRequest,
    ReEncryptRequest,
    ReEncryptResponse,
)
from hsmkms.core.model import EncryptionAlgorithm, Principal, Scope

SCOPE = Scope("111122223333", "eu-central-1")
ANA = Principal("spiffe://test/ana", "444455556666", "arn:aws:iam::444455556666:user/spiffe://test/ana")
SOURCE = "arn:aws:kms:eu-central-1:111122223333:key/11111111-1111-4111-8111-111111111111"
DESTINATION = "arn:aws:kms:eu-central-1:444455556666:key/22222222-2222-4222-8222-222222222222"
SECRET = "MARKER-OF-A-SECRET"
BLOB = b"MARKER-OF-A-BLOB"


def event(operation: str, **members: Any) -> Event:
    usual = {
        "request_id": "r" * 32,
        "event_id": "e",
        "time_us": 1_700_000_000_123_456,
        "partition": "aws",
        "scope": SCOPE,
    }
    return Event(operation, **{**usual, **members})


def recorded(operation: str, **members: Any) -> dict[str, Any]:
    line = Chain("c" * 32).append(RequestRecords().body(event(operation, **members)))
    assert line.count(b"\n") == 1
    assert line.isascii()
    document: dict[str, Any] = json.loads(line)
    return document


def test_reencrypt_has_both_keys_source_first_both_contexts_and_both_materials() -> None:
    request = ReEncryptRequest(
        ciphertext_blob=BLOB,
        source_key_id="alias/source",
        source_encryption_context={"tenant": "blue"},
        destination_key_id=DESTINATION,
        destination_encryption_context={"tenant": "grün\u2028"},
        destination_encryption_algorithm="SYMMETRIC_DEFAULT",
        grant_tokens=(SECRET,),
    )
    symmetric = EncryptionAlgorithm.SYMMETRIC_DEFAULT
    response = ReEncryptResponse(BLOB, SOURCE, DESTINATION, symmetric, symmetric, "a" * 64, "b" * 64)

    record = recorded(
        "ReEncrypt",
        request=request,
        response=response,
        touched=[SOURCE, DESTINATION],
        principal=ANA,
        source_address="192.0.2.7",
        user_agent="grpc-python/1.80",
    )

    assert record == {
        "chainId": "c" * 32,
        "sequence": 0,
        "previousHash": "0" * 64,
        "recordType": "request",
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": ANA.arn,
            "arn": ANA.arn,
            "accountId": "444455556666",
            "userName": "spiffe://test/ana",
        },
        "eventTime": "2023-11-14T22:13:20.123456Z",
        "eventSource": "kms.hsm-kms",
        "eventName": "ReEncrypt",
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "192.0.2.7",
        "userAgent": "grpc-python/1.80",
        "requestParameters": {
            "sourceEncryptionContext": {"tenant": "blue"},
            "sourceKeyId": "alias/source",
            "destinationKeyId": DESTINATION,
            "destinationEncryptionContext": {"tenant": "grün\u2028"},
            "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        },
        "responseElements": {"sourceKeyId": SOURCE, "keyId": DESTINATION},
        "additionalEventData": {"sourceKeyMaterialId": "a" * 64, "destinationKeyMaterialId": "b" * 64},
        "requestID": "r" * 32,
        "eventID": "e",
        "readOnly": True,
        "resources": [
            {"ARN": SOURCE, "accountId": "111122223333", "type": "AWS::KMS::Key"},
            {"ARN": DESTINATION, "accountId": "444455556666", "type": "AWS::KMS::Key"},
        ],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": "444455556666",
    }


def test_a_failure_of_somebody_unknown() -> None:
    record = recorded(
        "Decrypt", error_code="UnauthenticatedException", error_message="A client certificate is required."
    )
    assert record["userIdentity"] == {"type": "Unknown"}
    assert record["errorCode"] == "UnauthenticatedException"
    assert record["errorMessage"] == "A client certificate is required."
    assert record["requestParameters"] is None
    assert record["responseElements"] is None
    assert record["resources"] == []
    assert record["recipientAccountId"] == SCOPE.account


def test_a_dry_run_is_one() -> None:
    assert request_parameters(DecryptRequest(key_id="k", dry_run=True, dry_run_modifiers=("IGNORE_CIPHERTEXT",))) == {
        "keyId": "k",
        "dryRun": True,
        "dryRunModifiers": ["IGNORE_CIPHERTEXT"],
    }


def test_what_is_read_only() -> None:
    assert recorded("CreateAlias")["readOnly"] is False
    assert recorded("Encrypt")["readOnly"] is True


def test_what_needs_a_log_that_can_be_written() -> None:
    told = {name for name in OPERATIONS if not needs_log(name)}
    assert {"DescribeKey", "ListKeys", "ListAliases", "ListKeyRotations"} <= told
    assert not told & {"ReEncrypt", "Decrypt", "Encrypt", "GenerateRandom", "CreateKey", "ScheduleKeyDeletion"}


def test_long_texts_are_cut() -> None:
    parameters = request_parameters(CreateKeyRequest(description="x" * 10_000, custom_key_store_id="y" * 100))
    assert parameters["description"] == "x" * 8192 + "…"
    assert parameters["customKeyStoreId"] == "y" * 64 + "…"


def test_a_policy_is_recorded_whole() -> None:
    policy = json.dumps({"Statement": "s" * 30_000})
    assert request_parameters(PutKeyPolicyRequest(key_id="k", policy=policy))["policy"] == policy


def test_a_record_that_would_be_too_long_loses_its_parameters() -> None:
    context = {f"{number:04}" + "€" * 60: "€" * 60 for number in range(1000)}
    body = RequestRecords().body(event("Decrypt", request=DecryptRequest(encryption_context=context)))
    line = Chain("c" * 32).append(body)
    assert len(line) < MAX_RECORD_BYTES
    assert json.loads(line)["requestParameters"]["omitted"] is True


def test_times_always_have_microseconds() -> None:
    assert event_time(0) == "1970-01-01T00:00:00.000000Z"


def filled(annotation: Any, *, text: str) -> Any:
    """Return a value of that type in which every text is `text` and every byte string the blob."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return (filled(arguments[0], text=text),)
    if origin is Mapping:
        return {text: text}
    if arguments:
        return filled(next(kind for kind in arguments if kind is not type(None)), text=text)
    if annotation is bytes:
        return BLOB
    if annotation is bool:
        return True
    if annotation is int:
        return 7
    if annotation is datetime:
        return datetime(2025, 1, 1, tzinfo=UTC)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return next(iter(annotation))
    return message(annotation, text=text) if dataclasses.is_dataclass(annotation) else text


def message(kind: Any, *, text: str = "plain") -> Any:
    """Return a message whose secret members hold `SECRET`."""
    hints = typing.get_type_hints(kind)
    values = {}
    for field in dataclasses.fields(kind):
        is_secret = constraint_of(field).sensitive or field.name in LEFT_OUT or not field.repr
        values[field.name] = filled(hints[field.name], text=SECRET if is_secret else text)
    return kind(**values)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_s_record_holds_a_blob_or_a_secret(name: str) -> None:
    operation = OPERATIONS[name]
    request, response = message(operation.request), message(operation.response)
    record = recorded(name, request=request, response=response, touched=[SOURCE], principal=ANA)

    text = json.dumps(record)
    for hidden in (SECRET, BLOB.decode(), BLOB.hex(), "TUFSS0VSLU9G"):  # the last is the markers' start in base64
        assert hidden not in text
    parameters = record["requestParameters"] or {}
    for field in dataclasses.fields(operation.request):
        hidden_member = constraint_of(field).sensitive or field.name in LEFT_OUT
        if typing.get_type_hints(operation.request)[field.name] == (bytes | None) or hidden_member:
            continue
        assert field.name.replace("_", "") in {key.lower() for key in parameters}, "what is no secret is recorded"


@pytest.mark.parametrize("name", OPERATIONS)
def test_of_a_response_ids_and_arns_are_recorded_and_nothing_else(name: str) -> None:
    kind = OPERATIONS[name].response
    elements = recorded(name, response=message(kind, text="told"))["responseElements"] or {}
    assert set(elements) <= {"keyId", "sourceKeyId", "grantId", "keyMetadata"}
    assert set(elements.get("keyMetadata", {})) <= {"keyId", "arn"}


def test_a_new_key_is_among_the_resources() -> None:
    response = message(OPERATIONS["CreateKey"].response, text=SOURCE)
    assert recorded("CreateKey", response=response)["resources"][0]["ARN"] == SOURCE
