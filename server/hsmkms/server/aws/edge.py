"""The AWS endpoint as an ASGI application: AWS JSON 1.1 for KMS, and STS's GetCallerIdentity, on one path.

A request is read whole, within bounds, before anything looks at it; then its operation is looked up, its signature verified, and its body
parsed. What happens in between is `requests`'s. Every answer carries the id under which log and audit records have the request.

Clients of AWS are known by their signature. Where the endpoint requires client certificates as well, certificate and signature must be
the same principal's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, Protocol

import structlog

from hsmkms.core import aws_json
from hsmkms.core.errors import KeyUnavailableException, KmsError, KMSInternalException, UnauthenticatedException
from hsmkms.core.messages import OPERATIONS, Empty
from hsmkms.core.model import Principal
from hsmkms.server.aws import documents, sts
from hsmkms.server.aws.authenticator import Authenticated
from hsmkms.server.aws.repetitions import Repetitions
from hsmkms.server.aws.sigv4 import HttpRequest
from hsmkms.server.aws.status import (
    RequestEntityTooLargeException,
    UnknownOperationException,
    error_answer,
)
from hsmkms.server.identity import Authenticator
from hsmkms.server.requests import Requests
from hsmkms.wire import MAX_MESSAGE_BYTES

MAX_BODY_BYTES: Final = MAX_MESSAGE_BYTES
"""Longest body, the same as of a gRPC message."""
TARGET_PREFIX: Final = "TrentService."
JSON_TYPES: Final = ("application/x-amz-json-1.1", "application/x-amz-json-1.0")
MAX_INVOCATION_ID: Final = 100
NOT_FOUND: Final = 404
CLIENT_CERTIFICATE: Final = "client_cert_chain"
"""Where the ASGI extension for TLS has the client's certificate."""

_INVOCATION_ID: Final = "amz-sdk-invocation-id"

_log = structlog.get_logger(__name__)

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class SignatureAuthenticator(Protocol):
    """Verifies signatures (`hsmkms.server.aws.authenticator.Authenticator`)."""

    async def authenticate(
        self, request: HttpRequest, service: str, certified: Principal | None = None
    ) -> Authenticated:
        """Return who sent a request.

        Raises:
            KmsError: nobody who may come in, or it cannot be told just now.
        """


@dataclass(frozen=True, slots=True)
class _Answer:
    """What goes back.

    Args:
        request_id: The request's id.
        status: HTTP's.
        content_type: Of the body.
        body: The body, maybe empty.
        close: Whether the connection ends with it.
        retry_after_ms: How long to wait at the least before the request is sent again, in milliseconds, or None.
    """

    request_id: str
    status: int
    content_type: str
    body: bytes = field(repr=False)
    close: bool = False
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request as `requests.Asked`.

    Args:
        kind: The operation's request.
        body: The document, unparsed.
        sender: Who signed it, or why that is not known.
        repetitions: Refuses a change that was signed like another one.
    """

    kind: type
    body: bytes = field(repr=False)
    sender: Authenticated | KmsError
    repetitions: Repetitions

    def principal(self) -> Principal:
        """Return who signed it."""
        if isinstance(self.sender, KmsError):
            raise self.sender
        return self.sender.principal

    def seconds(self) -> float | None:
        """Return None: AWS's clients do not say how long they wait."""
        return None

    def idempotency_key(self) -> str | None:
        """Return what the client's SDK calls this call, where that is signed: the same when it tries again. Or else the signature."""
        assert isinstance(self.sender, Authenticated), "`principal` was asked first"
        self.repetitions.require_one_call(self.sender)
        invocation = self.sender.invocation_id
        if (
            invocation
            and _INVOCATION_ID in self.sender.signed.signed_headers
            and len(invocation) <= MAX_INVOCATION_ID
            and invocation.isascii()
            and invocation.isprintable()
        ):
            return f"sdk:{invocation}"
        return self.sender.idempotency_key

    def request(self) -> Any:
        """Return the parsed document."""
        return documents.read(self.kind, self.body)

    def answer(self, response: Any) -> bytes:
        """Return the response's document."""
        return b"" if isinstance(response, Empty) else json.dumps(aws_json.encode(response)).encode()


class AwsEdge:
    """The application.

    Args:
        requests: Carries requests out.
        signatures: Verifies signatures.
        repetitions: Refuses changes that were signed alike.
        certificates: Makes principals of client certificates, or None where clients need none.
        patience_s: How long a signature's verification may wait for the token, in seconds.
    """

    def __init__(
        self,
        requests: Requests,
        signatures: SignatureAuthenticator,
        repetitions: Repetitions,
        certificates: Authenticator | None,
        patience_s: float,
    ) -> None:
        self._requests = requests
        self._signatures = signatures
        self._repetitions = repetitions
        self._certificates = certificates
        self._patience_s = patience_s

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request (the ASGI server calls this)."""
        assert scope["type"] == "http", "the server is told to do nothing else"
        request_id = str(uuid.uuid4())
        try:
            with _nothing_unexpected(request_id):
                answer = await self._answer(scope, receive, request_id)
        except KmsError as error:
            _log.info("refused", request_id=request_id, error=error.code, detail=error.detail)
            answer = _json_error(error, request_id, close=isinstance(error, RequestEntityTooLargeException))
        if answer is not None:
            await _send(answer, send)

    async def _answer(self, scope: _Scope, receive: _Receive, request_id: str) -> _Answer | None:
        """Return the answer, or None if the client went away before the request was here."""
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if scope["method"] != "POST" or scope["raw_path"] != b"/":
            raise UnknownOperationException(NOT_FOUND)
        body = await _body(headers, receive)
        if body is None:
            return None
        request = HttpRequest(scope["method"], scope["raw_path"], scope["query_string"], headers, body)
        if sts.is_query(request.header("content-type")):
            return await self._identify(scope, request, request_id)
        operation = OPERATIONS.get(_operation(request))
        if operation is None:
            raise UnknownOperationException
        attempt = self._requests.attempt(operation.name, _address(scope), request.header("user-agent") or "")
        sender = await self._sender(scope, request, "kms", attempt.request_id)
        asked = _Asked(operation.request, body, sender, self._repetitions)
        try:
            document: bytes = await self._requests.carry_out(attempt, asked)
        except KmsError as error:
            return _json_error(error, attempt.request_id)
        return _Answer(attempt.request_id, 200, JSON_TYPES[0], document)

    async def _identify(self, scope: _Scope, request: HttpRequest, request_id: str) -> _Answer:
        """Answer STS: it has GetCallerIdentity alone."""
        try:
            sts.require_operation(request.body)
            sender = await self._sender(scope, request, "sts", request_id)
            if isinstance(sender, KmsError):
                raise sender
            status, document = 200, sts.get_caller_identity(sender.principal, request_id)
        except KmsError as error:
            _log.info("refused", operation=sts.OPERATION, request_id=request_id, error=error.code, detail=error.detail)
            status, document = sts.error_answer(error, request_id)
        return _Answer(request_id, status, sts.CONTENT_TYPE, document)

    async def _sender(
        self, scope: _Scope, request: HttpRequest, service: str, request_id: str
    ) -> Authenticated | KmsError:
        """Return who sent a request, or the error that it gets for that: once it is recorded, with everything else of it."""
        try:
            with _nothing_unexpected(request_id):
                async with asyncio.timeout(self._patience_s):
                    return await self._signatures.authenticate(request, service, self._certified(scope))
        except TimeoutError:
            return KeyUnavailableException("The signature could not be verified in time. Try again.")
        except KmsError as error:
            return error

    def _certified(self, scope: _Scope) -> Principal | None:
        if self._certificates is None:
            return None
        chain = scope["extensions"]["tls"][CLIENT_CERTIFICATE]
        if not chain:
            raise UnauthenticatedException("A client certificate is required.")
        return self._certificates.principal(chain[0].encode("ascii"))


@contextlib.contextmanager
def _nothing_unexpected(request_id: str) -> Iterator[None]:
    """Make an error of ours of everything else: it is logged, and tells the caller nothing."""
    try:
        yield
    except (KmsError, TimeoutError):
        raise
    except Exception as error:
        _log.exception("unexpected failure", request_id=request_id)
        raise KMSInternalException("An internal error occurred.") from error


def _operation(request: HttpRequest) -> str:
    """Return the name of the operation, or an empty one."""
    content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
    target = request.header("x-amz-target") or ""
    known = content_type in JSON_TYPES and target.startswith(TARGET_PREFIX)
    return target.removeprefix(TARGET_PREFIX) if known else ""


async def _body(headers: Sequence[tuple[bytes, bytes]], receive: _Receive) -> bytes | None:
    """Return the body, or None if the client went away.

    Raises:
        RequestEntityTooLargeException: it is longer than `MAX_BODY_BYTES`.
    """
    for name, value in headers:
        if name == b"content-length" and int(value) > MAX_BODY_BYTES:
            raise RequestEntityTooLargeException(f"A request must have {MAX_BODY_BYTES} bytes at most.")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RequestEntityTooLargeException(f"A request must have {MAX_BODY_BYTES} bytes at most.")
        if not message.get("more_body"):
            return bytes(body)


def _address(scope: _Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _json_error(error: KmsError, request_id: str, *, close: bool = False) -> _Answer:
    status, document = error_answer(error)
    # rounded up, and never 0: sent again within the same second, an equal request would be refused again
    retry_after_ms = int(error.retry_delay_s * 1000) + 1 if error.retryable else None
    return _Answer(request_id, status, JSON_TYPES[0], document, close, retry_after_ms)


async def _send(answer: _Answer, send: _Send) -> None:
    headers = response_headers(answer.request_id, answer.content_type, len(answer.body))
    if answer.close:
        headers.append((b"connection", b"close"))
    if answer.retry_after_ms is not None:
        headers.append((b"x-amz-retry-after", b"%d" % answer.retry_after_ms))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def response_headers(request_id: str, content_type: str, length: int) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has.

    Args:
        request_id: The request's id.
        content_type: Of the body.
        length: Of the body, in bytes.
    """
    return [
        (b"x-amzn-requestid", request_id.encode("ascii")),
        (b"content-type", content_type.encode("ascii")),
        (b"content-length", b"%d" % length),
        (b"date", formatdate(usegmt=True).encode("ascii")),
        (b"cache-control", b"no-cache, no-store, must-revalidate, private"),
    ]
