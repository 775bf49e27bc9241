"""What a request must have to count as signed, and AWS's error for each way of not having it."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from aws.helpers import BODY, NOW, REGION, changed, signed, with_authorization
from hsmkms.server.aws import sigv4
from hsmkms.server.aws.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)

INCOMPLETE, INVALID = IncompleteSignatureException, InvalidSignatureException
CREDENTIAL = "AKIAABCDEFGHIJKLMNOP/20260102/eu-central-1/kms/aws4_request"
NO_PARAMETERS = (
    "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
    "Authorization header requires 'SignedHeaders' parameter."
)


def refused(request, kind):
    with pytest.raises(kind) as caught:
        sigv4.parse(request)
    return caught.value.message


def test_what_is_not_signed_at_all():
    assert refused(changed(signed(), authorization=None), MissingAuthenticationTokenException) == (
        "Missing Authentication Token"
    )


@pytest.mark.parametrize("text", ["", "Bearer eyJ", "Basic QWxhZGRpbg==", "AWS AKID:abc=", "AWS4-HMAC-SHA256"])
def test_what_is_signed_in_another_way(text):
    assert refused(changed(signed(), authorization=text), INCOMPLETE) == NO_PARAMETERS


def test_without_any_date():
    request = changed(signed(), authorization="", x_amz_date=None)
    assert refused(request, INCOMPLETE) == (
        f"{NO_PARAMETERS} Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
    )


@pytest.mark.parametrize("name", ["AWS4-ECDSA-P256-SHA256", "AWS4-HMAC-SHA1", "AWS4-HMAC-SHA256-PAYLOAD"])
def test_other_algorithms_are_refused_by_name(name):
    request = with_authorization(signed(), "AWS4-HMAC-SHA256", name)
    assert refused(request, INCOMPLETE) == f"Unsupported AWS 'algorithm': '{name}'. Only AWS4-HMAC-SHA256 is accepted."


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SignedHeaders=", "SignedHeader="),
        ("Signature=", "Signature"),
        ("Credential=", "Credential=x, Credential="),
        ("SignedHeaders=content", "SignedHeaders=Content"),
        ("content-type;host", "host;content-type"),
        ("content-type;host", "content-type;content-type;host"),
        ("content-type;host", "content-type;;host"),
        ("aws4_request,", "aws4_request/x,"),
        (CREDENTIAL, "AKIA"),
        ("AKIAABCDEFGHIJKLMNOP/", "/"),
        ("AKIAABCDEFGHIJKLMNOP/", "A" * 129 + "/"),
        ("AKIAABCDEFGHIJKLMNOP/", "AKIA\xe9/"),
        ("/20260102/", "/2026010/"),
        ("/20260102/", "/202601\xb2\xb2/"),
        ("Signature=", "Signature=" + "0" * 8192),
        ("content-type;host", ";".join(f"a{number:03}" for number in range(101))),
    ],
)
def test_an_authorization_header_of_another_form(old, new):
    assert refused(with_authorization(signed(), old, new), INCOMPLETE)


def test_an_error_repeats_nothing_unprintable_or_long():
    text = refused(with_authorization(signed(), CREDENTIAL, "<\x01\xe9>" + "x" * 1000), INCOMPLETE)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize("signature", ["", "0" * 63, "0" * 65, "G" * 64, "0" * 63 + "\xb2"])
def test_a_signature_of_another_form(signature):
    request = signed()
    right = (request.header("authorization") or "").partition("Signature=")[2]
    kind = INVALID if signature else INCOMPLETE
    assert refused(with_authorization(request, right, signature), kind)


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("host;", "'Host' or ':authority'"),
        (";x-amz-date", "'X-Amz-Date'"),
        (";x-amz-target", "'X-Amz-Target'"),
    ],
)
def test_what_must_be_signed(left_out, told):
    request = with_authorization(signed(), left_out, "")
    assert refused(request, INVALID) == f"{told} must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize("name", ["x-amz-anything", "X-Amz-Content-Sha256", "x-amz-security-token"])
def test_a_header_of_amazons_that_was_added_later(name):
    assert "must be a 'SignedHeader'" in refused(changed(signed(), **{name.replace("-", "_"): "x"}), INVALID)


def test_what_need_not_be_signed():
    php = changed(
        with_authorization(signed(), "content-type;", ""), x_amz_user_agent="aws-sdk-php", x_amzn_trace_id="Root=1"
    )
    assert sigv4.parse(php).signed_headers == ("host", "x-amz-date", "x-amz-target")


def test_a_signed_header_that_is_not_there():
    request = with_authorization(signed(), ";host", ";cookie;host")
    assert refused(request, INVALID) == "The signed header 'Cookie' is not in the request."


@pytest.mark.parametrize("name", [b"Host", b"authorization", b"X-AMZ-Date", b"x-amz-target", b"content-type", b"date"])
def test_headers_that_must_not_be_there_twice(name):
    request = signed()
    twice = replace(request, headers=[*request.headers, (name, b"x"), (name.lower(), b"x")])
    assert "must not be there twice" in refused(twice, INCOMPLETE)


@pytest.mark.parametrize("query", [b"X-Amz-Signature=0", b"a=1&x-amz-algorithm=AWS4-HMAC-SHA256", b"X-Amz-Credential"])
def test_presigned_urls(query):
    request = replace(signed(), query=query)
    assert refused(request, INCOMPLETE) == "Presigned URLs are not accepted: sign with the Authorization header."
    assert refused(changed(request, authorization=None), INCOMPLETE).startswith("Presigned")


def test_the_body_is_what_its_header_says():
    told = {"X-Amz-Target": "TrentService.X", "X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()}
    assert sigv4.parse(signed(headers=told))
    for wrong in ("UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", hashlib.sha256(b"").hexdigest(), ""):
        assert "the body must be signed, whole" in refused(
            changed(signed(headers=told), x_amz_content_sha256=wrong), INVALID
        )


# Dates


def test_the_date_may_be_in_the_date_header():
    request = signed(headers={"Date": "is replaced"})
    assert request.header("x-amz-date") is None
    assert sigv4.parse(request).time == NOW
    assert sigv4.parse(changed(request, date="20260102T030405Z")).time == NOW
    assert sigv4.parse(changed(request, date="Fri, 02 Jan 2026 04:04:05 +0100")).time == NOW
    text = refused(with_authorization(request, "date;", ""), INVALID)
    assert text == "'Date' must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize(
    "date",
    ["", "20260102", "2026-01-02T03:04:05Z", "20261302T030405Z", "00000101T000000Z", "Fri, 02 Jan 2026 03:04:05 GMT"],
)
def test_dates_of_another_form(date):
    assert "must be in ISO-8601 'basic format'" in refused(changed(signed(), x_amz_date=date), INCOMPLETE)


@pytest.mark.parametrize("date", ["Fri, 99 Jan 2026", "x", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_date_headers_of_another_form(date):
    assert "basic format" in refused(changed(signed(headers={"Date": "x"}), date=date), INCOMPLETE)


def test_the_date_in_the_scope_is_the_signatures():
    request = with_authorization(signed(), "/20260102/", "/20260103/")
    assert refused(request, INVALID).startswith(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version"
    )


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_five_minutes_are_not_too_much(seconds):
    sigv4.require_current(NOW + timedelta(seconds=seconds), NOW)


def test_more_than_five_minutes_are():
    with pytest.raises(INVALID) as stale:
        sigv4.require_current(NOW - timedelta(seconds=301), NOW)
    assert stale.value.message == (
        "Signature expired: 20260102T025904Z is now earlier than 20260102T025905Z (20260102T030405Z - 5 min.)"
    )
    with pytest.raises(INVALID) as early:
        sigv4.require_current(NOW + timedelta(seconds=301), NOW)
    assert early.value.message == (
        "Signature not yet current: 20260102T030906Z is still later than 20260102T030905Z (20260102T030405Z + 5 min.)"
    )


# Scopes


def test_another_region_another_service_another_terminator():
    with pytest.raises(INVALID, match="Credential should be scoped to a valid region, not 'us-east-1'"):
        sigv4.require_scope(sigv4.parse(signed(region="us-east-1")).scope, REGION, "kms")
    with pytest.raises(INVALID, match="Credential should be scoped to correct service: 'kms'"):
        sigv4.require_scope(sigv4.parse(signed(service="s3")).scope, REGION, "kms")
    text = refused(with_authorization(signed(), "/aws4_request", "/aws4_reques"), INVALID)
    assert text == "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws4_reques'."


def test_no_repr_shows_a_signature_a_header_or_a_body():
    request = changed(signed(), cookie="biscuit")
    shown = repr(request) + repr(sigv4.parse(request))
    assert "alias/a" not in shown
    assert "biscuit" not in shown
    assert sigv4.parse(request).signature not in shown
