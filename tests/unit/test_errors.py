"""Errors: their texts fit, every one has its gRPC status, and the trailers arrive whatever is in them."""

import base64
import urllib.parse

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core.errors import BY_CODE, MAX_MESSAGE_BYTES, KmsError, NotFoundException
from hsmkms.server.grpc.status import CODES, trailers
from hsmkms.wire import ERROR_DOMAIN, REQUEST_ID_METADATA, STATUS_DETAILS_METADATA

MAX_TRAILERS = 8 * 1024
REQUEST_ID = "0123456789abcdef" * 2
EVERY_ERROR = pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)

BEHAVIOUR = {
    "NotFoundException": "NOT_FOUND",
    "AccessDeniedException": "PERMISSION_DENIED",
    "UnauthenticatedException": "UNAUTHENTICATED",
    "ValidationException": "INVALID_ARGUMENT",
    "InvalidCiphertextException": "INVALID_ARGUMENT",
    "IncorrectKeyException": "INVALID_ARGUMENT",
    "InvalidArnException": "INVALID_ARGUMENT",
    "InvalidGrantTokenException": "INVALID_ARGUMENT",
    "DisabledException": "FAILED_PRECONDITION",
    "KMSInvalidStateException": "FAILED_PRECONDITION",
    "InvalidKeyUsageException": "FAILED_PRECONDITION",
    "DryRunOperationException": "FAILED_PRECONDITION",
    "AlreadyExistsException": "ALREADY_EXISTS",
    "LimitExceededException": "RESOURCE_EXHAUSTED",
    "ThrottlingException": "RESOURCE_EXHAUSTED",
    "KeyUnavailableException": "UNAVAILABLE",
    "DependencyTimeoutException": "DEADLINE_EXCEEDED",
    "UnsupportedOperationException": "UNIMPLEMENTED",
    "KMSInternalException": "INTERNAL",
}
"""Which gRPC code each error has: written down a second time."""


def status_of(error):
    found = dict(trailers(error, REQUEST_ID))
    assert found[REQUEST_ID_METADATA] == REQUEST_ID
    return Status.FromString(found[STATUS_DETAILS_METADATA])


def detail_of(status, kind):
    found = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    if not found:
        return None
    (packed,) = found
    detail = kind()
    packed.Unpack(detail)
    return detail


# Texts


@given(st.text(max_size=40), st.integers(0, 200), st.sampled_from(["", "a", "é", "€", "\U0001f511"]))
def test_a_text_is_whole_or_cut_at_a_character(start, count, filler):
    text = start + filler * count * 4
    message = KmsError(text).message
    if len(text.encode()) <= MAX_MESSAGE_BYTES:
        assert message == text
    else:
        assert len(message.encode()) <= MAX_MESSAGE_BYTES
        assert message.endswith("…")
        assert text.startswith(message[:-1])
        assert len(message.encode()) > MAX_MESSAGE_BYTES - 4 - len("…".encode())


@pytest.mark.parametrize("filler", ["a", "é", "€", "\U0001f511"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
@pytest.mark.parametrize("over", range(-4, 5))
def test_texts_about_as_long_as_the_limit(filler, over):
    text = "x" * (MAX_MESSAGE_BYTES + over - len(filler.encode())) + filler
    message = KmsError(text).message
    assert (message == text) == (over <= 0)
    assert len(message.encode()) <= MAX_MESSAGE_BYTES


def test_what_no_transport_can_carry_becomes_a_question_mark():
    assert NotFoundException("Invalid keyId '\ud800'").message == "Invalid keyId '?'"
    assert status_of(NotFoundException("\udfff")).message == "?"


def test_the_detail_is_never_part_of_the_text():
    error = NotFoundException("text", detail="for the operator")
    assert "operator" not in str(error) + repr(error)
    assert "operator" not in str(trailers(error, REQUEST_ID))


# Status


@EVERY_ERROR
def test_every_error_has_a_status(kind):
    assert isinstance(CODES[kind], grpc.StatusCode)
    if kind.__name__ in BEHAVIOUR:
        assert CODES[kind].name == BEHAVIOUR[kind.__name__]


def test_the_tables_are_complete():
    assert set(CODES) == set(BY_CODE.values())
    assert BEHAVIOUR.keys() <= BY_CODE.keys()
    assert all(kind.code == code == kind.__name__ for code, kind in BY_CODE.items())


@EVERY_ERROR
def test_an_error_says_its_name_and_whether_to_try_again(kind):
    status = status_of(kind("a text"))
    assert status.message == "a text"
    assert status.code == CODES[kind].value[0]
    info = detail_of(status, ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (kind.__name__, ERROR_DOMAIN, {"request_id": REQUEST_ID})
    retry = detail_of(status, RetryInfo)
    assert (retry is not None) == kind.retryable
    if retry is not None:
        assert 0 < retry.retry_delay.ToMilliseconds() <= 1000


def test_what_is_worth_trying_again():
    retryable = {code for code, kind in BY_CODE.items() if kind.retryable}
    assert retryable == {"DependencyTimeoutException", "KeyUnavailableException", "ThrottlingException"}


# Trailers


def size_on_the_wire(error):
    """As HTTP/2 counts a header list (RFC 9113, section 6.5.2): name, value and 32 bytes each; binary ones in base64."""
    fields = {
        "grpc-status": "16",
        "grpc-message": urllib.parse.quote(error.message, safe=""),
        **{
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in trailers(error, REQUEST_ID)
        },
    }
    return sum(len(name) + len(value) + 32 for name, value in fields.items())


@pytest.mark.parametrize("filler", ["%", "\n", "\0", "é", "€", "\U0001f511"], ids=ascii)
@EVERY_ERROR
def test_the_longest_text_in_the_worst_encoding_still_arrives(kind, filler):
    error = kind(filler * 10_000)
    assert size_on_the_wire(error) < MAX_TRAILERS
