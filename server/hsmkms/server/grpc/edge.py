"""One RPC for each operation: who calls, until when, what was asked, and how the answer or the error goes back.

Nothing a caller sends is trusted before it has been through here: messages are parsed by hand so that bytes that are no message get
an answer of ours, and whatever an operation raises that is no `KmsError` becomes one that tells nothing.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

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


class Edge:
    """The handlers of all RPCs.

    Args:
        environment: What the operations work with.
        authenticator: Makes principals from certificates.
        scope: Account and Region of this service.
        metrics: Counts requests.
        timeout_s: How long a caller without a deadline is waited for.
    """

    def __init__(
        self, environment: Environment, authenticator: Authenticator, scope: Scope, metrics: Metrics, timeout_s: float
    ) -> None:
        self._environment = environment
        self._authenticator = authenticator
        self._scope = scope
        self._metrics = metrics
        self._timeout_s = timeout_s
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
            request_id = uuid.uuid4().hex
            result = "OK"
            self._under_way += 1
            try:
                answer = await self._answer(name, codec, changes, data, context, request_id)
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

    async def _answer(
        self, name: str, codec: OperationCodec, changes: bool, data: bytes, context: _Context, request_id: str
    ) -> bytes:
        principal = self._principal(context)
        if self._stopping:
            await self._refusing.wait()
            raise KeyUnavailableException("The service is stopping. Try again.")
        remaining = self._seconds(context)
        call = Call(
            principal=principal,
            scope=self._scope,
            request_id=request_id,
            expiry_ns=time.monotonic_ns() + int(remaining * 1e9),
            idempotency_key=_idempotency_key(context) if changes else None,
            source_address=context.peer(),
        )
        request = codec.decode_request(_parse(codec, data))
        work = perform(self._environment, call, name, request)
        try:
            async with asyncio.timeout(remaining):
                response = await (self._shielded(work) if changes else work)
        except TimeoutError:
            raise DependencyTimeoutException("The request could not be carried out in time. Try again.") from None
        except (KmsError, asyncio.CancelledError):
            raise
        except Exception as error:
            _log.exception("unexpected failure", operation=name, request_id=request_id)
            raise KMSInternalException("An internal error occurred.") from error
        if changes:
            _log.info("changed", operation=name, request_id=request_id, principal=principal.name)
        answer: bytes = codec.encode_response(response).SerializeToString()
        return answer

    async def _shielded(self, work: Awaitable[Any]) -> Any:
        """Carry out a change to its end, whether or not its caller waits for it."""
        if len(self._changes) >= MAX_CHANGES_UNDER_WAY:
            assert hasattr(work, "close")
            work.close()
            raise ThrottlingException("Too many changes are under way. Try again later.")
        task = asyncio.ensure_future(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        task.add_done_callback(_take_error)
        return await asyncio.shield(task)

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
