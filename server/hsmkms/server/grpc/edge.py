"""One RPC for each operation: who calls, until when, what was asked, and how the answer or the error goes back.

Nothing a caller sends is trusted before it has been through here: messages are parsed by hand so that bytes that are no message get
an answer of ours, and whatever an operation raises that is no `KmsError` becomes one that tells nothing.
"""

from __future__ import annotations

import asyncio
import time
import urllib.parse
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from hsmkms.core.audit import Event
from hsmkms.core.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    ThrottlingException,
    UnauthenticatedException,
    ValidationException,
)
from hsmkms.core.messages import OPERATIONS, Effect
from hsmkms.core.model import Principal, Scope
from hsmkms.core.operations import Environment, perform
from hsmkms.core.ports import Call
from hsmkms.core.trail import Trail
from hsmkms.server.audit import Auditor
from hsmkms.server.grpc.status import CODES, trailers
from hsmkms.server.identity import Authenticator
from hsmkms.server.metrics import Metrics
from hsmkms.wire import IDEMPOTENCY_METADATA, REQUEST_ID_METADATA, SERVICE
from hsmkms.wire.codec import OperationCodec, operation_codec

MAX_IDEMPOTENCY_KEY: Final = 128
DEADLINE_MARGIN_S: Final = 0.05
"""How much earlier than its caller's deadline a request ends here, so that the error still arrives."""
DEADLINE_MARGIN_PART: Final = 0.1
DRAIN_POLL_S: Final = 0.02
HOLD_S: Final = 0.1
TOO_LATE_S: Final = 0.001
"""A request with less time left than this is not begun: nothing could be done in it, and trying would cost others theirs."""
MAX_CHANGES_UNDER_WAY: Final = 256
"""A change goes on when its caller is gone; this many at the most."""

_log = structlog.get_logger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True, eq=False)
class _Attempt:
    """One request, as far as it got: what its audit record is made of.

    Args:
        operation: AWS's name.
        source_address: The caller's address, without its port.
        user_agent: What the caller says it is.
        request_id: The id that the answer carries.
        time_us: When it arrived, in microseconds since 1970, UTC.
        principal: Who asked, once that is known.
        request: The request, once it was read.
        response: Its response, once there is one.
        trail: What it touched.
        goes_on: Whether it is a change that goes on without its caller: it is recorded when it is over.
    """

    operation: str
    source_address: str
    user_agent: str
    request_id: str
    time_us: int
    principal: Principal | None = None
    request: Any = None
    response: Any = None
    trail: Trail = field(default_factory=Trail)
    goes_on: bool = False


class Edge:
    """The handlers of all RPCs.

    Args:
        environment: What the operations work with.
        authenticator: Makes principals from certificates.
        scope: The Region of this service, and the account in whose audit records are those that name no principal.
        metrics: Counts requests.
        timeout_s: How long a caller without a deadline is waited for.
        audit: Where every request is recorded.
    """

    def __init__(
        self,
        environment: Environment,
        authenticator: Authenticator,
        scope: Scope,
        metrics: Metrics,
        timeout_s: float,
        audit: Auditor,
    ) -> None:
        self._environment = environment
        self._authenticator = authenticator
        self._scope = scope
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._audit = audit
        self._changes: set[asyncio.Task[Any]] = set()
        self._under_way = 0
        self._stopping = False
        self._refusing = asyncio.Event()
        self._refusing.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers for a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: grpc.unary_unary_rpc_method_handler(self._rpc(name)) for name in OPERATIONS}
        )

    async def drain(self, timeout_s: float) -> None:
        """Refuse every new request from now on, and wait for those under way, `timeout_s` seconds at most."""
        self._stopping = True
        end = time.monotonic() + timeout_s
        while (self._under_way or self._changes) and time.monotonic() < end:  # noqa: ASYNC110  # two counts, once in a life
            await asyncio.sleep(DRAIN_POLL_S)

    async def close(self, stop: Coroutine[Any, Any, None]) -> None:
        """Stop the server while late requests are held, then refuse those too.

        gRPC's stop drops, with CANCELLED, what has arrived and has not reached its handler. Callers who wait for an answer send nothing
        more, so that there is next to nothing to drop.

        Args:
            stop: Stops the server, with a grace.
        """
        self._refusing.clear()
        await asyncio.sleep(HOLD_S)
        stopping = asyncio.ensure_future(stop)
        await asyncio.sleep(DRAIN_POLL_S)
        self._refusing.set()
        await stopping

    def _rpc(self, name: str) -> Callable[[bytes, _Context], Awaitable[bytes]]:
        codec = operation_codec(name)
        changes = OPERATIONS[name].effect is Effect.CHANGES

        async def rpc(data: bytes, context: _Context) -> bytes:
            started = time.monotonic()
            attempt = self._attempt(name, context)
            request_id = attempt.request_id
            result = "OK"
            self._under_way += 1
            try:
                answer = await self._answer(attempt, codec, changes, data, context)
            except KmsError as error:
                result = error.code
                await _abort(context, name, request_id, error)
                raise  # abort has raised: this line tells the type checker so
            except asyncio.CancelledError:
                result = "Cancelled"
                raise
            finally:
                self._under_way -= 1
                self._metrics.request_done(name, result, time.monotonic() - started)
            context.set_trailing_metadata(((REQUEST_ID_METADATA, request_id),))
            return answer

        return rpc

    def _attempt(self, name: str, context: _Context) -> _Attempt:
        now = self._environment.clock.now_us()
        agent = next((value for key, value in context.invocation_metadata() or () if key == "user-agent"), "")
        user_agent = agent if isinstance(agent, str) else ""
        return _Attempt(name, _address(context.peer()), user_agent, uuid.uuid4().hex, now)

    async def _answer(
        self, attempt: _Attempt, codec: OperationCodec, changes: bool, data: bytes, context: _Context
    ) -> bytes:
        """Carry out a request and record it, whatever becomes of it; a change is recorded on the disk before this returns."""
        try:
            await self._perform(attempt, codec, changes, data, context)
        except KmsError as error:
            self._record_unless_it_goes_on(attempt, error.code, error.message)
            raise
        except asyncio.CancelledError:
            self._record_unless_it_goes_on(attempt, "Cancelled", "The caller went away.")
            raise
        number = self._record(attempt)
        if changes:
            await self._audit.settle(number)
            assert attempt.principal is not None, "nothing is carried out for nobody"
            _log.info(
                "changed",
                operation=attempt.operation,
                request_id=attempt.request_id,
                principal=attempt.principal.name,
            )
        answer: bytes = codec.encode_response(attempt.response).SerializeToString()
        return answer

    async def _perform(
        self, attempt: _Attempt, codec: OperationCodec, changes: bool, data: bytes, context: _Context
    ) -> None:
        try:
            attempt.principal = self._principal(context)
            await self._refuse_when_stopping()
            remaining = self._seconds(context)
            call = Call(
                principal=attempt.principal,
                scope=Scope(attempt.principal.account, self._scope.region),
                request_id=attempt.request_id,
                expiry_ns=time.monotonic_ns() + int(remaining * 1e9),
                idempotency_key=_idempotency_key(context) if changes else None,
                source_address=attempt.source_address,
                trail=attempt.trail,
            )
            attempt.request = codec.decode_request(_parse(codec, data))
            self._audit.require(attempt.operation)
            work = perform(self._environment, call, attempt.operation, attempt.request)
            async with asyncio.timeout(remaining):
                attempt.response = await (self._shielded(attempt, work) if changes else work)
        except TimeoutError:
            raise DependencyTimeoutException("The request could not be carried out in time. Try again.") from None
        except (KmsError, asyncio.CancelledError):
            raise
        except Exception as error:
            _log.exception("unexpected failure", operation=attempt.operation, request_id=attempt.request_id)
            raise KMSInternalException("An internal error occurred.") from error

    async def _refuse_when_stopping(self) -> None:
        if self._stopping:
            await self._refusing.wait()
            raise KeyUnavailableException("The service is stopping. Try again.")

    async def _shielded(self, attempt: _Attempt, work: Awaitable[Any]) -> Any:
        """Carry out a change to its end, whether or not its caller waits for it."""
        if len(self._changes) >= MAX_CHANGES_UNDER_WAY:
            assert hasattr(work, "close")
            work.close()
            raise ThrottlingException("Too many changes are under way. Try again later.")
        task = asyncio.ensure_future(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        task.add_done_callback(_take_error)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            attempt.goes_on = True
            task.add_done_callback(lambda done: self._record_late(attempt, done))
            raise

    def _record_unless_it_goes_on(self, attempt: _Attempt, code: str, message: str) -> None:
        if not attempt.goes_on:
            self._record(attempt, code, message)

    def _record_late(self, attempt: _Attempt, task: asyncio.Task[Any]) -> None:
        """Record a change that was finished without its caller: what became of it, not what the caller was told."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            attempt.response = task.result()
            self._record(attempt)
        elif isinstance(error, KmsError):
            self._record(attempt, error.code, error.message)
        else:
            self._record(attempt, KMSInternalException.code, "An internal error occurred.")

    def _record(self, attempt: _Attempt, code: str = "", message: str = "") -> int:
        return self._audit.record(
            Event(
                operation=attempt.operation,
                request_id=attempt.request_id,
                event_id=str(uuid.uuid4()),
                time_us=attempt.time_us,
                partition=self._environment.partition,
                scope=self._scope,
                source_address=attempt.source_address,
                user_agent=attempt.user_agent,
                principal=attempt.principal,
                request=attempt.request,
                response=None if code else attempt.response,
                touched=attempt.trail.keys,
                error_code=code,
                error_message=message,
            )
        )

    def _principal(self, context: _Context) -> Principal:
        certificates = context.auth_context().get("x509_pem_cert", ())
        for certificate in certificates:
            return self._authenticator.principal(certificate)
        raise UnauthenticatedException("A client certificate is required.")

    def _seconds(self, context: _Context) -> float:
        remaining = context.time_remaining()
        if remaining is None:
            return self._timeout_s
        if remaining < TOO_LATE_S:
            raise DependencyTimeoutException("The request came too late for its deadline. Give it more time.")
        margin = min(DEADLINE_MARGIN_S, remaining * DEADLINE_MARGIN_PART)
        return float(min(max(remaining - margin, 0.0), self._timeout_s))


def _address(peer: str) -> str:
    """Return the address in what gRPC says of a peer: `ipv4:192.0.2.1:1234`, `ipv6:%5B2001:db8::1%5D:1234`, `unix:…`."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return peer
    return urllib.parse.unquote(rest).rpartition(":")[0].strip("[]")


def _parse(codec: OperationCodec, data: bytes) -> Any:
    try:
        return codec.request_type.FromString(data)
    except DecodeError:
        raise ValidationException("The request is not a valid protobuf message of this operation.") from None


def _idempotency_key(context: _Context) -> str | None:
    for name, value in context.invocation_metadata() or ():
        if name == IDEMPOTENCY_METADATA:
            if not isinstance(value, str) or not 1 <= len(value) <= MAX_IDEMPOTENCY_KEY or not value.isprintable():
                raise ValidationException(
                    f"The metadata {IDEMPOTENCY_METADATA} must have 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."
                )
            return value
    return None


def _take_error(task: asyncio.Task[Any]) -> None:
    """Take note of a change's error, so that it is not reported as forgotten when its caller was gone."""
    if not task.cancelled():
        task.exception()


async def _abort(context: _Context, name: str, request_id: str, error: KmsError) -> None:
    if isinstance(error, KMSInternalException):
        _log.error("failed", operation=name, request_id=request_id, error=error.code, detail=error.detail)
    else:
        _log.info("refused", operation=name, request_id=request_id, error=error.code, detail=error.detail)
    await context.abort(CODES[type(error)], error.message, trailers(error, request_id))
