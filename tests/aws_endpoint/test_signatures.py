"""Requests whose sender is not who they say, at a running service: each gets AWS's error, and is recorded for nobody."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from support.aws import AccessKey, boto_client, post, send, signed_headers, target
from support.service import ACCOUNT, Service

BODY = b'{"NumberOfBytes": 16}'
HEADERS = target("GenerateRandom")
Tampered = tuple[bytes, dict[str, str]]


def signed(service: Service, access_key: AccessKey, at: datetime | None = None, **changes: Any) -> dict[str, str]:
    now = (at or datetime.now(UTC)).replace(tzinfo=None)
    with patch("botocore.auth.get_current_datetime", lambda: now):
        return signed_headers(service, access_key, BODY, HEADERS, **changes)


def test_what_is_signed_rightly_is_answered(service: Service, operator: AccessKey) -> None:
    assert send(service, BODY, signed(service, operator)).status == 200


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() != name.lower()}


TAMPERED: dict[str, tuple[Callable[[dict[str, str]], Tampered], str]] = {
    "the body": (lambda headers: (BODY.replace(b"16", b"17"), headers), "InvalidSignatureException"),
    "the operation": (lambda headers: (BODY, {**headers, **target("ListKeys")}), "InvalidSignatureException"),
    "the time": (
        lambda headers: (BODY, {**headers, "X-Amz-Date": datetime.now(UTC).strftime("%Y%m%dT235959Z")}),
        "InvalidSignatureException",
    ),
    "the host": (lambda headers: (BODY, {**headers, "Host": "elsewhere"}), "InvalidSignatureException"),
    "the signature": (
        lambda headers: (BODY, {**headers, "Authorization": headers["Authorization"][:-64] + "0" * 64}),
        "InvalidSignatureException",
    ),
    "no signature": (lambda headers: (BODY, without(headers, "Authorization")), "MissingAuthenticationTokenException"),
    "half a signature": (
        lambda headers: (BODY, {**headers, "Authorization": headers["Authorization"].partition(", Signature")[0]}),
        "IncompleteSignatureException",
    ),
    "another scheme": (
        lambda headers: (BODY, {**headers, "Authorization": "Bearer x"}),
        "IncompleteSignatureException",
    ),
    "a header that is not signed": (
        lambda headers: (BODY, {**headers, "X-Amz-Something": "x"}),
        "InvalidSignatureException",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_on_the_way_is_refused(service: Service, operator: AccessKey, what: str) -> None:
    tamper, code = TAMPERED[what]
    body, headers = tamper(signed(service, operator))
    answer = send(service, body, headers)
    assert answer.error == (400, code)
    assert operator.secret.encode() not in answer.body
    assert answer.document["message"]


@pytest.mark.parametrize("minutes", [-6, 6, -60 * 24])
def test_what_was_signed_at_another_time_is_refused(service: Service, operator: AccessKey, minutes: int) -> None:
    answer = send(service, BODY, signed(service, operator, datetime.now(UTC) + timedelta(minutes=minutes)))
    assert answer.error == (400, "InvalidSignatureException")


@pytest.mark.parametrize("changes", [{"region": "us-east-1"}, {"name": "sts"}, {"name": "s3"}], ids=str)
def test_what_was_signed_for_another_region_or_service_is_refused(
    service: Service, operator: AccessKey, changes: dict[str, str]
) -> None:
    assert send(service, BODY, signed(service, operator, **changes)).error == (400, "InvalidSignatureException")


def test_an_unknown_access_key_and_a_wrong_secret_are_refused(service: Service, operator: AccessKey) -> None:
    unknown = AccessKey("AKIAABCDEFGHIJKLMNOP", operator.secret)
    assert send(service, BODY, signed(service, unknown)).error == (400, "UnrecognizedClientException")
    wrong = AccessKey(operator.access_key_id, "x" * 40)
    assert send(service, BODY, signed(service, wrong)).error == (400, "InvalidSignatureException")


def test_boto3_reads_these_errors(service: Service, operator: AccessKey) -> None:
    wrong = boto_client(service, AccessKey(operator.access_key_id, "x" * 40))
    with pytest.raises(ClientError) as refused:
        wrong.list_keys()
    error = refused.value.response
    assert error["Error"]["Code"] == "InvalidSignatureException"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        boto_client(service, operator, aws_session_token="x").list_keys()


def test_a_replayed_change_is_made_once(service: Service, operator: AccessKey) -> None:
    body = json.dumps({"Description": f"replayed {uuid.uuid4()}"}).encode()
    headers = signed_headers(service, operator, body, target("CreateKey"))
    first, second = send(service, body, headers), send(service, body, headers)
    assert first.status == second.status == 200
    assert first.document == second.document
    assert first.headers["x-amzn-requestid"] != second.headers["x-amzn-requestid"]


def test_a_replay_under_another_invocation_id_changes_nothing(service: Service, operator: AccessKey) -> None:
    body = json.dumps({"Description": f"replayed {uuid.uuid4()}"}).encode()
    headers = signed_headers(service, operator, body, target("CreateKey"))
    assert send(service, body, {**headers, "amz-sdk-invocation-id": str(uuid.uuid4())}).status == 200
    again = send(service, body, {**headers, "amz-sdk-invocation-id": str(uuid.uuid4())})
    assert again.error == (400, "ThrottlingException")


def test_a_second_attempt_that_signs_its_invocation_id_gets_the_first_answer(
    service: Service, operator: AccessKey
) -> None:
    """As the SDKs for Java and Rust do it when an answer was lost: another signature, the same id, one key."""
    body = json.dumps({"Description": f"tried again {uuid.uuid4()}"}).encode()
    sent = {**target("CreateKey"), "amz-sdk-invocation-id": str(uuid.uuid4())}
    now = datetime.now(UTC).replace(tzinfo=None)
    answers = []
    for attempt, seconds in (("attempt=1; max=3", 0), ("attempt=2; max=3", 1)):
        with patch("botocore.auth.get_current_datetime", lambda seconds=seconds: now + timedelta(seconds=seconds)):
            headers = signed_headers(service, operator, body, {**sent, "amz-sdk-request": attempt})
        answers.append(send(service, body, headers))
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].document == answers[1].document


def test_two_equal_calls_of_boto3_within_a_second_are_two(kms: Any) -> None:
    made = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)}
    assert len(made) == 3


def test_who_may_do_nothing_is_told_so_in_awss_words(service: Service, nobody: AccessKey, key_id: str) -> None:
    answer = post(service, nobody, "Encrypt", {"KeyId": key_id, "Plaintext": "AAAA"})
    assert answer.error == (400, "AccessDeniedException")
    assert answer.document["Message"].startswith(
        f"User: arn:aws:iam::{ACCOUNT}:user/nobody is not authorized to perform: kms:Encrypt"
    )


def test_sts_says_who_one_is(service: Service, operator: AccessKey) -> None:
    identity = boto_client(service, operator, "sts").get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/operator"
    assert identity["Account"] == ACCOUNT
    with pytest.raises(ClientError, match="SignatureDoesNotMatch") as refused:
        boto_client(service, AccessKey(operator.access_key_id, "x" * 40), "sts").get_caller_identity()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError, match="InvalidAction"):
        boto_client(service, operator, "sts").get_session_token()
