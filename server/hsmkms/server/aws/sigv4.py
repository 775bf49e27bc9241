"""Signature Version 4, from the side that verifies: pure functions from the bytes of a request.

Source: "AWS Signature Version 4 for API requests" (IAM User Guide), the way in which every service but S3 uses it: the path is normalised
and encoded once more, and the body's hash is always the body's. AWS's own test suite and botocore's signer agree with this module
(tests/aws/test_sigv4_vectors.py, tests/aws/test_sigv4_botocore.py).

What must be signed: `host`, the date, and every `x-amz-*` header that is there, `x-amz-user-agent` excepted, which some SDKs add later and
which nothing depends on. `content-type` need not be: AWS's own SDK for PHP does not sign it. Headers on which the meaning of a request
depends must not be there twice. Only the Authorization header is read: presigned URLs are refused, and so are chunked and unsigned
bodies, and Signature Version 4A.

Every bound is stated; time and secrets come from the caller. Comparisons with what a sender cannot know take constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn
from urllib.parse import quote_from_bytes, unquote_to_bytes

from hsmkms.server.aws.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
MAX_SKEW: Final = timedelta(minutes=5)
"""How far the signature's time may be from the service's, in both directions. AWS KMS's own bound."""
MAX_AUTHORIZATION_BYTES: Final = 8192
MAX_SIGNED_HEADERS: Final = 100
MAX_CREDENTIAL_PART: Final = 128
"""Longest access key id, Region or service in a credential, in characters."""

_UNSIGNED_ALLOWED: Final = frozenset({b"x-amz-user-agent"})
_ONCE: Final = frozenset({b"host", b"date", b"authorization", b"content-type", b"content-length", b"content-encoding"})
"""Headers that must not be there twice, beside every `x-amz-*` header."""
_PRESIGNED: Final = frozenset({b"x-amz-algorithm", b"x-amz-credential", b"x-amz-signature"})
_PARAMETERS: Final = ("Credential", "Signature", "SignedHeaders")
_TIMESTAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SCOPE_DATE: Final = re.compile(r"[0-9]{8}", re.ASCII)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+", re.ASCII)
_HEX_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_UNRESERVED: Final = "-_.~"
_NO_DATE: Final = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
_NO_MATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it came, nothing decoded.

    Args:
        method: For example `POST`.
        path: The path of the request target, for example `/`.
        query: What follows its question mark, without it.
        headers: The headers in their order; of HTTP/2, `:authority` as `host`.
        body: The whole body.
    """

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the value of a header that is there at most once, without spaces around it, or None."""
        wanted = name.lower().encode("ascii")
        found = [value for key, value in self.headers if key.lower() == wanted]
        return found[0].decode("latin-1").strip() if found else None


@dataclass(frozen=True, slots=True)
class CredentialScope:
    """What a signature says of itself: whose key, and what for.

    Args:
        access_key_id: The access key.
        date: Eight digits.
        region: The Region.
        service: The service, for example `kms`.
    """

    access_key_id: str
    date: str
    region: str
    service: str

    def __str__(self) -> str:
        """The scope as the string to sign has it, without the access key."""
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature has the right form. Whether it is the right one, `matches` says.

    Args:
        scope: Whose, and what for.
        time: When it was signed, UTC.
        signed_headers: The signed headers' names, in order.
        string_to_sign: What the signature must be of.
        signature: 64 hex digits.
    """

    scope: CredentialScope
    time: datetime
    signed_headers: tuple[str, ...]
    string_to_sign: bytes = field(repr=False)
    signature: str = field(repr=False)


def parse(request: HttpRequest) -> Signed:
    """Return what a request's signature says, once its form is right and everything is signed that must be.

    Raises:
        MissingAuthenticationTokenException: there is no signature.
        IncompleteSignatureException: it has not the form of Signature Version 4, or is of a kind that is not accepted.
        InvalidSignatureException: it leaves out what must be signed, or the body is another one.
    """
    headers = _headers(request)
    presigned = not _PRESIGNED.isdisjoint(part.partition(b"=")[0].lower() for part in request.query.split(b"&"))
    if presigned:
        raise IncompleteSignatureException("Presigned URLs are not accepted: sign with the Authorization header.")
    _require_once(headers)
    if b"authorization" not in headers:
        raise MissingAuthenticationTokenException("Missing Authentication Token")
    parameters = _parameters(headers)
    scope = _scope(parameters["Credential"])
    signed_headers = _signed_headers(parameters["SignedHeaders"], headers)
    if not _HEX_SHA256.fullmatch(parameters["Signature"]):
        refuse("the signature is not 64 hex digits")
    time = _time(headers, signed_headers)
    timestamp = time.strftime("%Y%m%dT%H%M%SZ")
    if scope.date != timestamp[:8]:
        raise InvalidSignatureException(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope.date}' != '{timestamp[:8]}', from '{timestamp}'."
        )
    body_hash = _body_hash(headers, request.body)
    canonical = _canonical_request(request, headers, signed_headers, body_hash)
    digest = hashlib.sha256(canonical).hexdigest()
    string_to_sign = "\n".join((ALGORITHM, timestamp, str(scope), digest)).encode("ascii")
    return Signed(scope, time, signed_headers, string_to_sign, parameters["Signature"])


def require_scope(scope: CredentialScope, region: str, service: str) -> None:
    """Do nothing if a signature is for this Region and service.

    Raises:
        InvalidSignatureException: it is for another.
    """
    if scope.region != region:
        raise InvalidSignatureException(f"Credential should be scoped to a valid region, not '{scope.region}'. ")
    if scope.service != service:
        raise InvalidSignatureException(f"Credential should be scoped to correct service: '{service}'. ")


def require_current(time: datetime, now: datetime) -> None:
    """Do nothing if a signature was made within 5 minutes of now.

    Args:
        time: When it was made, UTC.
        now: The time, UTC.

    Raises:
        InvalidSignatureException: it is older, or of the future.
    """
    minutes = int(MAX_SKEW.total_seconds() // 60)
    if time < now - MAX_SKEW:
        raise InvalidSignatureException(
            f"Signature expired: {_stamp(time)} is now earlier than {_stamp(now - MAX_SKEW)} ({_stamp(now)} - {minutes} min.)"
        )
    if time > now + MAX_SKEW:
        raise InvalidSignatureException(
            f"Signature not yet current: {_stamp(time)} is still later than {_stamp(now + MAX_SKEW)} "
            f"({_stamp(now)} + {minutes} min.)"
        )


def signing_key(secret: bytes, scope: CredentialScope) -> bytes:
    """Return the 32 bytes that signatures of one scope are made with.

    Args:
        secret: The secret access key.
        scope: Date, Region and service count.
    """
    key = b"AWS4" + secret
    for part in (scope.date, scope.region, scope.service, TERMINATOR):
        key = hmac.digest(key, part.encode("ascii"), "sha256")
    return key


def matches(signed: Signed, key: bytes) -> bool:
    """Say in constant time whether a signature was made with a signing key."""
    expected = hmac.digest(key, signed.string_to_sign, "sha256").hex()
    return hmac.compare_digest(expected.encode("ascii"), signed.signature.encode("ascii"))


def refuse(detail: str) -> NoReturn:
    """Refuse a signature that does not match.

    Args:
        detail: For the log.

    Raises:
        InvalidSignatureException: always.
    """
    raise InvalidSignatureException(_NO_MATCH, detail=detail)


def canonical_request(request: HttpRequest, signed_headers: Sequence[str]) -> bytes:
    """Return the canonical request ("Create a canonical request").

    Args:
        request: The request.
        signed_headers: The signed headers' names in lower case and in order; each is there.
    """
    body_hash = hashlib.sha256(request.body).hexdigest()
    return _canonical_request(request, _headers(request), signed_headers, body_hash)


def _canonical_request(
    request: HttpRequest, headers: Mapping[bytes, Sequence[bytes]], signed_headers: Sequence[str], body_hash: str
) -> bytes:
    lines = [request.method.encode("ascii", "replace"), _canonical_path(request.path), _canonical_query(request.query)]
    for name in signed_headers:
        key = name.encode("ascii")
        lines.append(key + b":" + b",".join(b" ".join(value.split()) for value in headers[key]))
    lines += [b"", ";".join(signed_headers).encode("ascii"), body_hash.encode("ascii")]
    return b"\n".join(lines)


def _canonical_path(path: bytes) -> bytes:
    """Return the path without empty and dot segments (RFC 3986, section 6.2.2.3), and encoded once more."""
    segments: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    normal = b"/" + b"/".join(segments)
    if segments and path.endswith(b"/"):
        normal += b"/"
    return quote_from_bytes(normal, safe="/" + _UNRESERVED).encode("ascii")


def _canonical_query(query: bytes) -> bytes:
    pairs = []
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_encoded(name), _encoded(value)))
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))


def _encoded(text: bytes) -> bytes:
    return quote_from_bytes(unquote_to_bytes(text), safe=_UNRESERVED).encode("ascii")


def _headers(request: HttpRequest) -> Mapping[bytes, Sequence[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _require_once(headers: Mapping[bytes, Sequence[bytes]]) -> None:
    for name, values in headers.items():
        if len(values) > 1 and (name in _ONCE or name.startswith(b"x-amz-")):
            raise IncompleteSignatureException(
                f"The header '{_title(name.decode('latin-1'))}' must not be there twice."
            )


def _parameters(headers: Mapping[bytes, Sequence[bytes]]) -> Mapping[str, str]:
    """Return the parameters of the Authorization header, each of which is there once."""
    raw = headers[b"authorization"][0].strip()
    if len(raw) > MAX_AUTHORIZATION_BYTES:
        raise IncompleteSignatureException(
            f"The Authorization header must have {MAX_AUTHORIZATION_BYTES} bytes at most."
        )
    algorithm, _, rest = raw.decode("latin-1").partition(" ")
    if algorithm != ALGORITHM:
        if algorithm.startswith("AWS4-"):
            raise IncompleteSignatureException(
                f"Unsupported AWS 'algorithm': '{_shown(algorithm)}'. Only {ALGORITHM} is accepted."
            )
        rest = ""
    found: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if name and (not equals or name not in _PARAMETERS or name in found):
            raise IncompleteSignatureException(
                f"'{_shown(name)}' is not a parameter of the Authorization header, or is there twice."
            )
        found[name] = value
    wrong = [f"Authorization header requires '{name}' parameter." for name in _PARAMETERS if not found.get(name)]
    if b"x-amz-date" not in headers and b"date" not in headers:
        wrong.append(_NO_DATE)
    if wrong:
        raise IncompleteSignatureException(" ".join(wrong))
    return found


def _scope(credential: str) -> CredentialScope:
    parts = credential.split("/")
    if len(parts) != len(("keyid", "date", "region", "service", "term")):
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{_shown(credential)}'"
        )
    access_key_id, date, region, service, terminator = parts
    if not all(part.isascii() and part.isprintable() and 1 <= len(part) <= MAX_CREDENTIAL_PART for part in parts):
        raise IncompleteSignatureException(
            f"Each element of the Credential must have 1 to {MAX_CREDENTIAL_PART} printable ASCII characters."
        )
    if not _SCOPE_DATE.fullmatch(date):
        raise IncompleteSignatureException(f"Date in Credential scope must be YYYYMMDD, got '{_shown(date)}'.")
    if terminator != TERMINATOR:
        raise InvalidSignatureException(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{_shown(terminator)}'."
        )
    return CredentialScope(access_key_id, date, region, service)


def _signed_headers(text: str, headers: Mapping[bytes, Sequence[bytes]]) -> tuple[str, ...]:
    """Return the names of the signed headers, once they are in order and nothing is missing among them."""
    names = text.split(";")
    if len(names) > MAX_SIGNED_HEADERS:
        raise IncompleteSignatureException(f"SignedHeaders must name {MAX_SIGNED_HEADERS} headers at most.")
    if not all(_HEADER_NAME.fullmatch(name) for name in names) or names != sorted(set(names)):
        raise IncompleteSignatureException("SignedHeaders must be names in lower case, in order, each one once.")
    for name in names:
        if name.encode("ascii") not in headers:
            raise InvalidSignatureException(f"The signed header '{_shown(_title(name))}' is not in the request.")
    if "host" not in names:
        _must_be_signed("'Host' or ':authority'")
    for header in sorted(headers):
        if header.startswith(b"x-amz-") and header not in _UNSIGNED_ALLOWED:
            unsigned = header.decode("latin-1")
            if unsigned not in names:
                _must_be_signed(f"'{_shown(_title(unsigned))}'")
    return tuple(names)


def _must_be_signed(what: str) -> NoReturn:
    raise InvalidSignatureException(f"{what} must be a 'SignedHeader' in the AWS Authorization.")


def _time(headers: Mapping[bytes, Sequence[bytes]], signed_headers: Sequence[str]) -> datetime:
    """Return the time of the signature: X-Amz-Date, or else Date, in either of the forms that signers write."""
    name = "x-amz-date" if b"x-amz-date" in headers else "date"
    text = headers[name.encode("ascii")][0].decode("latin-1").strip()
    if name not in signed_headers:
        _must_be_signed(f"'{_title(name)}'")
    try:
        if _TIMESTAMP.fullmatch(text):
            return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if name == "date":
            time = parsedate_to_datetime(text)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise IncompleteSignatureException(
        f"Date must be in ISO-8601 'basic format'. Got '{_shown(text)}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def _body_hash(headers: Mapping[bytes, Sequence[bytes]], body: bytes) -> str:
    """Return the body's hash; what the sender says of it must be true."""
    actual = hashlib.sha256(body).hexdigest()
    said = headers.get(b"x-amz-content-sha256")
    if said is not None and not hmac.compare_digest(said[0].strip(), actual.encode("ascii")):
        raise InvalidSignatureException(
            "The provided 'x-amz-content-sha256' header does not match what was computed: the body must be signed, whole."
        )
    return actual


def _stamp(time: datetime) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ")


def _title(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _shown(text: str) -> str:
    """Return what an error may repeat of a request: printable, and not long."""
    cut = text[:MAX_CREDENTIAL_PART]
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in cut)
