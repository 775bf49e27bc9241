"""Two equal calls of one second are two calls, although botocore signs them alike; one call that comes again is one."""

from datetime import UTC, datetime

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from aws.helpers import ACCESS_KEY_ID, NOW_US, REGION, SECRET
from hsmkms.core.errors import ThrottlingException
from hsmkms.core.model import Principal
from hsmkms.server.aws import repetitions, sigv4
from hsmkms.server.aws.authenticator import Authenticated, idempotency_key
from hsmkms.server.aws.repetitions import Repetitions
from hsmkms.server.aws.sigv4 import HttpRequest

ALICE = Principal("alice", "111122223333", "arn:aws:iam::111122223333:user/alice")


class Clock:
    us = NOW_US

    def go(self, seconds):
        self.us += int(seconds * 1_000_000)

    def __call__(self):
        return self.us


class Raw:
    def __init__(self, body):
        self.body = body

    def stream(self):
        yield self.body


def sender_of(request):
    host = ("host", request.url.split("/")[2])
    headers = [(name.encode(), value if isinstance(value, bytes) else value.encode())
               for name, value in (host, *request.headers.items())]  # fmt: skip
    wire = HttpRequest(request.method, b"/", b"", headers, request.body)
    signed = sigv4.parse(wire)
    assert sigv4.matches(signed, sigv4.signing_key(SECRET.encode(), signed.scope))
    return Authenticated(ALICE, ACCESS_KEY_ID, signed, idempotency_key(signed), wire.header("amz-sdk-invocation-id"))


def sender(key, invocation_id):
    return Authenticated(ALICE, ACCESS_KEY_ID, None, key, invocation_id)


def test_botocore_does_its_two_calls_in_the_end(monkeypatch):
    """What botocore really sends, and does when it is throttled: it signs anew, a little later."""
    clock = Clock()
    monkeypatch.setattr(
        "botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(clock.us // 1_000_000, UTC)
    )
    monkeypatch.setattr("botocore.endpoint.time.sleep", clock.go)
    guard = Repetitions(clock)
    made, throttled = [], []

    def answer(request, **_):
        found = sender_of(request)
        try:
            guard.require_one_call(found)
        except ThrottlingException as error:
            throttled.append(found)
            document = b'{"__type": "ThrottlingException", "message": "' + error.message.encode() + b'"}'
            return AWSResponse(request.url, 400, {}, Raw(document))
        made.append(found.idempotency_key)
        return AWSResponse(request.url, 200, {}, Raw(b"{}"))

    session = botocore.session.get_session()
    session.set_credentials(ACCESS_KEY_ID, SECRET)
    settings = Config(retries={"mode": "standard", "max_attempts": 9})
    client = session.create_client("kms", REGION, endpoint_url="https://kms.example.test", config=settings)
    client.meta.events.register("before-send.kms", answer)
    for _ in range(3):
        client.create_key()
    assert len(set(made)) == 3
    assert len(throttled) >= 2, "calls of one second are signed alike but for the invocation id, which is not signed"


def test_one_call_that_comes_again():
    guard = Repetitions(Clock())
    for invocation_id in ("a", "a", "a"):
        guard.require_one_call(sender("1", invocation_id))
    for _ in range(2):
        guard.require_one_call(sender("2", None))
    with pytest.raises(ThrottlingException):
        guard.require_one_call(sender("2", "a"))
    with pytest.raises(ThrottlingException):
        guard.require_one_call(sender("1", None))
    guard.require_one_call(sender("1", "a"))


def test_the_refusal_says_how_long_the_second_lasts():
    clock = Clock()
    clock.us = NOW_US - NOW_US % 1_000_000 + 250_000
    guard = Repetitions(clock)
    guard.require_one_call(sender("1", "a"))
    with pytest.raises(ThrottlingException) as refused:
        guard.require_one_call(sender("1", "b"))
    assert refused.value.retry_delay_s == 0.75


def test_calls_are_forgotten_when_their_signatures_are_stale_or_there_are_too_many(monkeypatch):
    monkeypatch.setattr(repetitions, "MAX_REMEMBERED", 3)
    clock = Clock()
    guard = Repetitions(clock)
    for number in range(10):
        guard.require_one_call(sender(str(number), "a"))
    assert len(guard._seen) == 3
    clock.us += repetitions.REMEMBERED_US
    with pytest.raises(ThrottlingException):
        guard.require_one_call(sender("9", "b"))
    clock.us += 1
    guard.require_one_call(sender("9", "b"))
    assert len(guard._seen) == 1
