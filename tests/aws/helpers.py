"""Requests as AWS clients send them: signed by botocore, or by hand where botocore would not do it so."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from hsmkms.server.aws.sigv4 import HttpRequest, Signed

ACCESS_KEY_ID = "AKIAABCDEFGHIJKLMNOP"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
URL = "https://kms.example.test/"
BODY = b'{"KeyId": "alias/a"}'
KMS_HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.DescribeKey"}
FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def signed(
    *,
    method: str = "POST",
    url: str = URL,
    headers: dict[str, str] | None = None,
    body: bytes = BODY,
    access_key_id: str = ACCESS_KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    region: str = REGION,
    service: str = "kms",
    at: datetime = NOW,
) -> HttpRequest:
    """A request that botocore signed."""
    request = AWSRequest(method=method, url=url, data=body, headers=KMS_HEADERS if headers is None else headers)
    signer = botocore.auth.SigV4Auth(Credentials(access_key_id, secret, token), service, region)
    with patch("botocore.auth.get_current_datetime", lambda: at.replace(tzinfo=None)):
        signer.add_auth(request)
    parts = urlsplit(url)
    wire = [(b"host", parts.netloc.encode())]
    wire += [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    return HttpRequest(method, parts.path.encode() or b"/", parts.query.encode(), wire, body)


def changed(request: HttpRequest, **headers: str | None) -> HttpRequest:
    """The request with other headers: `x_amz_date="…"`, or None to leave one out."""
    changes = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    kept = [(name, value) for name, value in request.headers if name.lower() not in changes]
    kept += [(name, value.encode("latin-1")) for name, value in changes.items() if value is not None]
    return HttpRequest(request.method, request.path, request.query, kept, request.body)


def with_authorization(request: HttpRequest, old: str, new: str) -> HttpRequest:
    """The request with a part of its Authorization header replaced."""
    text = request.header("authorization")
    assert text is not None
    assert old in text
    return changed(request, authorization=text.replace(old, new))


def signature_of(signed_request: Signed, secret: str) -> str:
    """The right signature, computed here once more."""
    key = b"AWS4" + secret.encode()
    scope = signed_request.scope
    for part in (scope.date, scope.region, scope.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, signed_request.string_to_sign, hashlib.sha256).hexdigest()
