"""The endpoint as HTTP: headers, errors that come before any operation, and what is in the audit log of it."""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import time
from typing import Any

import pytest

from hsmkms.server.aws.edge import MAX_BODY_BYTES
from support.aws import CONTENT_TYPE, AccessKey, Answer, post, read, send, signed_headers, target, tls
from support.service import Service, eventually

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def records(service: Service, request_id: str) -> list[dict[str, Any]]:
    """The audit records of a request."""
    files = sorted((service.deployment.folder / "audit").iterdir())
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if line.get("requestID") == request_id]


def has_the_usual_headers(answer: Answer) -> bool:
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert abs(email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 60
    assert "server" not in answer.headers
    assert "no-store" in answer.headers["cache-control"]
    return answer.headers["content-type"] == CONTENT_TYPE


def test_an_answer_has_awss_headers_and_the_audit_records_its_id(
    service: Service, operator: AccessKey, key_id: str
) -> None:
    document = {"KeyId": key_id, "Plaintext": "aGVsbG8="}
    headers = {**target("Encrypt"), "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"}
    answer = post(service, operator, "Encrypt", document, headers=headers)
    assert answer.status == 200
    assert has_the_usual_headers(answer)
    request_id = answer.headers["x-amzn-requestid"]
    (record,) = eventually(lambda: records(service, request_id), what="the audit record")
    assert record["eventName"] == "Encrypt"
    assert record["userIdentity"]["arn"].endswith(":user/operator")
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert answer.document["KeyId"].endswith(key_id)


def test_an_operation_that_answers_nothing_has_an_empty_body(
    service: Service, operator: AccessKey, key_id: str
) -> None:
    answer = post(
        service, operator, "UpdateKeyDescription", {"KeyId": key_id, "Description": "for all tests of the AWS endpoint"}
    )
    assert (answer.status, answer.body) == (200, b"")
    assert has_the_usual_headers(answer)


def test_times_are_seconds_and_blobs_base64(service: Service, operator: AccessKey, key_id: str) -> None:
    metadata = post(service, operator, "DescribeKey", {"KeyId": key_id}).document["KeyMetadata"]
    assert abs(metadata["CreationDate"] - time.time()) < 600
    random = post(service, operator, "GenerateRandom", {"NumberOfBytes": 3}).document["Plaintext"]
    assert re.fullmatch(r"[A-Za-z0-9+/]{4}", random)


CONSTRAINT = "failed to satisfy constraint: Member must"
TOO_SHORT = (
    f"1 validation error detected: Value '0' at 'numberOfBytes' {CONSTRAINT} have value greater than or equal to 1"
)
NOTHING = (
    f"2 validation errors detected: Value null at 'keyId' {CONSTRAINT} not be null; Value null at 'plaintext' {CONSTRAINT} "
    "not be null"
)
NO_TAGS = f"1 validation error detected: Value null at 'tags' {CONSTRAINT} not be null"
NO_ALIAS = "Alias arn:aws:kms:eu-central-1:111122223333:alias/none is not found."


@pytest.mark.parametrize(
    ("operation", "document", "code", "text"),
    [
        ("Encrypt", {}, "ValidationException", NOTHING),
        ("GenerateRandom", {"NumberOfBytes": 0}, "ValidationException", TOO_SHORT),
        ("DescribeKey", {"KeyId": "alias/none"}, "NotFoundException", NO_ALIAS),
        ("CreateKey", {"MultiRegion": True}, "UnsupportedOperationException", None),
        ("ReEncrypt", {"CiphertextBlob": "AAAA", "DestinationKeyId": "alias/none"}, "InvalidCiphertextException", ""),
        ("Decrypt", {"CiphertextBlob": "AAAA", "Recipient": {}}, "UnsupportedOperationException", None),
        ("TagResource", {"KeyId": "x"}, "ValidationException", NO_TAGS),
        ("ConnectCustomKeyStore", {"CustomKeyStoreId": "cks-1"}, "UnsupportedOperationException", None),
    ],
)
def test_errors_have_awss_names_texts_and_statuses(
    service: Service, operator: AccessKey, operation: str, document: Any, code: str, text: str | None
) -> None:
    answer = post(service, operator, operation, document)
    assert answer.error == (400, code)
    assert has_the_usual_headers(answer)
    if text is not None:
        assert answer.document == ({"__type": code, "message": text} if text else {"__type": code})


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b'{"Plaintext": 7}', b'{"Plaintext": "no base64!"}'])
def test_a_document_that_cannot_be_read_is_a_serialization_exception_and_recorded(
    service: Service, operator: AccessKey, body: bytes
) -> None:
    answer = post(service, operator, "Encrypt", body)
    assert answer.error == (400, "SerializationException")
    assert has_the_usual_headers(answer)
    (record,) = eventually(lambda: records(service, answer.headers["x-amzn-requestid"]), what="the audit record")
    assert record["errorCode"] == "SerializationException"
    assert b"no base64!" not in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": CONTENT_TYPE},
        {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "TrentService.MakeCoffee"},
        {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "TrentService."},
        {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "DynamoDB_20120810.ListTables"},
        {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "TrentService.Sign\u00e9"},
        {"Content-Type": "application/json", "X-Amz-Target": "TrentService.ListKeys"},
        {"Content-Type": "application/cbor", "X-Amz-Target": "TrentService.ListKeys"},
        {"X-Amz-Target": "TrentService.ListKeys"},
    ],
    ids=str,
)
def test_what_names_no_operation_is_unknown(service: Service, headers: dict[str, str]) -> None:
    answer = send(service, b"{}", headers)
    assert answer.error == (400, "UnknownOperationException")
    assert has_the_usual_headers(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("PUT", "/"),
        ("POST", "/keys"),
        ("POST", "//"),
        ("OPTIONS", "/"),
        ("POST", "/service/TrentService/operation/ListKeys"),
    ],
)
def test_there_is_one_path_and_one_method(service: Service, operator: AccessKey, method: str, path: str) -> None:
    headers = signed_headers(service, operator, b"{}", target("ListKeys"), path=path)
    answer = send(service, b"{}", headers, method=method, path=path)
    assert answer.error == (404, "UnknownOperationException")
    assert has_the_usual_headers(answer)


def test_the_content_type_may_have_parameters_and_be_that_of_json_1_0(service: Service, operator: AccessKey) -> None:
    for content_type in (f"{CONTENT_TYPE}; charset=utf-8", "APPLICATION/X-AMZ-JSON-1.1", "application/x-amz-json-1.0"):
        headers = {**target("ListKeys"), "Content-Type": content_type}
        assert post(service, operator, "ListKeys", {}, headers=headers).status == 200


def test_the_longest_policy_fits_however_it_is_written(service: Service, operator: AccessKey, key_id: str) -> None:
    policy = '{"Version": "2012-10-17", "Statement": []}'.ljust(32768)
    escaped = json.dumps({"KeyId": key_id, "Policy": "\x00"}).encode()
    body = escaped.replace(b"\\u0000", "".join(f"\\u{ord(character):04x}" for character in policy).encode())
    assert len(body) > 190_000
    answer = post(service, operator, "PutKeyPolicy", body)
    assert answer.error == (400, "MalformedPolicyDocumentException")  # it was read whole, and has no statement


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(service: Service, chunked: bool) -> None:
    connection = http.client.HTTPSConnection(service.aws_address, timeout=20, context=tls(service))
    connection.putrequest("POST", "/")
    for name, value in target("ListKeys").items():
        connection.putheader(name, value)
    connection.putheader(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(10**12))))
    connection.endheaders()
    if chunked:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            connection.send(b"%x\r\n%s\r\n" % (65536, b" " * 65536))
    answer = read(connection.getresponse())
    assert answer.error == (413, "RequestEntityTooLargeException")
    assert answer.headers["connection"] == "close"
    assert has_the_usual_headers(answer)
    connection.close()
