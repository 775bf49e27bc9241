"""A request from its arrival to its audit record, whatever the face it came by: gRPC, a batch, the AWS endpoint.

A face says who asks, until when and what was asked (`Asked`), and how the answer or the error goes back. Everything between is here, so
that no face can leave out a judgement, a record or a count. Whatever an operation raises that is no `KmsError` becomes one that
tells nothing.

What changes nothing is driven by the carrier, as the entries of batches and streams are (`server.bulk`, by `begin` and `end`). A change is
a task of its own, since it goes on when its caller is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from hsmkms.core.audit import Event
from hsmkms.core.errors import (
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    ThrottlingException,
)
from hsmkms.core.messages import OPERATIONS, Effect
from hsmkms.core.model import Principal, Scope
from hsmkms.core.operations import Environment, perform
from hsmkms.core.ports import Call
from hsmkms.core.trail import Trail
from hsmkms.server.audit import Auditor
from hsmkms.server.carrier import Carrier, too_late
from hsmkms.server.metrics import Metrics
from hsmkms.server.system import new_id
from hsmkms.server.token.carried import Step

DRAIN_POLL_S: Final = 0.02
MAX_CHANGES_UNDER_WAY: Final = 256
"""A change goes on when its caller is gone; this many at the most."""

_log = structlog.get_logger(__name__)


class Asked(Protocol):
    """What a face knows of one request. Each method is called once at most, in this order; all but the last may raise a `KmsError`."""

    def principal(self) -> Principal:
        """Return who asks. Raises UnauthenticatedException, or what the face calls it."""

    def seconds(self) -> float | None:
        """Return how long the caller waits, in seconds, or None if it does not say."""

    def idempotency_key(self) -> str | None:
        """Return what makes a change repeatable, or None. Asked for changes only."""

    def request(self) -> Any:
        """Return the request as one of `core.messages`, unchecked."""

    def answer(self, response: Any) -> Any:
        """Return a response as the face sends it."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One request, as far as it got: what its audit record is made of, and what the carrier needs to drive it.

    Args:
        operation: AWS's name.
        source_address: The caller's address, without its port.
        user_agent: What the caller says it is.
        request_id: The id that the answer carries.
        time_us: When it arrived, in microseconds since 1970, UTC.
        started: When it arrived, by `time.monotonic`.
        principal: Who asked, once that is known.
        request: The request, once it was read.
        response: Its response, once there is one.
        error: What it was refused with, once it was.
        trail: What it touched.
        goes_on: Whether it is a change that goes on without its caller: it is recorded when it is over.
        batch_id: Of an entry of a batch or stream: the id of that, else empty.
        gives_way: Whether it waits where the token's queue is full, instead of being refused.
        expiry_ns: Until when its caller waits, on CLOCK_MONOTONIC.
        work: What it does, while it does.
        step: What it waits for.
        ended: Is called when it is over.
        asked: What its face knows of it; None of entries.
        answer: Who waits for it; None of entries.
    """

    operation: str
    source_address: str
    user_agent: str
    request_id: str
    time_us: int
    started: float
    principal: Principal | None = None
    request: Any = field(default=None, repr=False)
    response: Any = field(default=None, repr=False)
    error: KmsError | None = None
    trail: Trail = field(default_factory=Trail)
    goes_on: bool = False
    batch_id: str = ""
    gives_way: bool = False
    expiry_ns: int = 0
    work: Coroutine[Any, Any, Any] | None = field(default=None, repr=False)
    step: Step | asyncio.Future[Any] | None = field(default=None, repr=False)
    ended: Callable[[Any], None] | None = field(default=None, repr=False)
    asked: Asked | None = field(default=None, repr=False)
    answer: asyncio.Future[None] | None = None

    def refuse(self, error: KmsError) -> None:
        """Keep an error, without the frames that it was raised through: they know this attempt."""
        self.error = error.with_traceback(None)

    def take_error(self) -> KmsError:
        """Return the error to raise, and keep it no more: the frames that it is raised through know this attempt."""
        error, self.error = self.error, None
        assert error is not None, "it was refused"
        return error


@dataclass(slots=True, eq=False)
class Entry(Attempt):
    """One entry of a batch or stream.

    Args:
        number: Its place in its batch, or the client's number for it in a stream.
        message: What arrived, unread.
    """

    number: int = 0
    message: Any = field(default=None, repr=False)


class Requests:
    """Carries requests out.

    Args:
        environment: What the operations work with.
        scope: The Region of this service, and the account in whose audit records are those that name no principal.
        metrics: Counts requests.
        timeout_s: How long any caller is waited for, in seconds.
        audit: Where every request is recorded.
        carrier: Drives what changes nothing.
        carried: The same as `environment`, with a token for coroutines that the carrier drives.
    """

    def __init__(
        self,
        environment: Environment,
        scope: Scope,
        metrics: Metrics,
        timeout_s: float,
        audit: Auditor,
        carrier: Carrier,
        carried: Environment,
    ) -> None:
        self._environment = environment
        self._carrier = carrier
        self._carried = carried
        self._scopes: dict[str, Scope] = {}
        self._scope = scope
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._audit = audit
        self._changes: set[asyncio.Task[Any]] = set()
        self._under_way = 0
        self._stopping = False
        self._stop_listeners: set[Callable[[], None]] = set()
        self._refusing = asyncio.Event()
        self._refusing.set()

    def attempt(self, operation: str, source_address: str, user_agent: str) -> Attempt:
        """Return a request that has just arrived."""
        now_us = self._environment.clock.now_us()
        return Attempt(operation, source_address, user_agent, new_id(), now_us, time.monotonic())

    async def carry_out(self, attempt: Attempt, asked: Asked) -> Any:
        """Carry out a request, record and count it; a change is recorded on the disk before this returns.

        Args:
            attempt: The request that has arrived.
            asked: What the face knows of it.

        Returns:
            Its response, as the face sends it.

        Raises:
            KmsError: it was refused or failed; recorded, counted and logged.
        """
        self._under_way += 1
        try:
            if OPERATIONS[attempt.operation].effect is Effect.CHANGES:
                return await self._change(attempt, asked)
            return await self._answer(attempt, asked)
        finally:
            self._under_way -= 1

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Let a stop wait for the block: entries of a batch or stream are under way in it, or their results on their way to the client."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @contextmanager
    def told_of_stop(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` when the service begins to stop while the block runs; at once if it does so already."""
        if self._stopping:
            listener()
        self._stop_listeners.add(listener)
        try:
            yield
        finally:
            self._stop_listeners.discard(listener)

    async def refuse_when_stopping(self) -> None:
        """Do nothing unless the service stops.

        Raises:
            KeyUnavailableException: it does; not before late requests are refused.
        """
        if self._stopping:
            await self._refusing.wait()
            raise KeyUnavailableException("The service is stopping. Try again.")

    def entry(self, batch: Attempt) -> Entry:
        """Return an entry of a batch or stream that has just been read, with a request id of its own."""
        return Entry(
            batch.operation,
            batch.source_address,
            batch.user_agent,
            new_id(),
            self._environment.clock.now_us(),
            time.monotonic(),
            batch.principal,
            batch_id=batch.request_id,
            gives_way=True,
        )

    def expiry_ns(self, seconds: float | None) -> int:
        """Return until when a caller is waited for, on CLOCK_MONOTONIC in nanoseconds.

        Args:
            seconds: How long the caller waits, or None if it does not say.
        """
        remaining = self._timeout_s if seconds is None else min(seconds, self._timeout_s)
        return time.monotonic_ns() + int(remaining * 1e9)

    def begin(self, attempt: Attempt) -> None:
        """Have the carrier drive a request, which has its principal, its request and its expiry; `end` is to be called when it is over.

        Raises:
            KmsError: it may not be begun.
        """
        self._audit.require(attempt.operation)
        attempt.work = perform(self._carried, self._call(attempt), attempt.operation, attempt.request)
        self._carrier.start(attempt)

    def end(self, attempt: Attempt) -> None:
        """Record and count what is over, with a response or an error."""
        error = attempt.error
        if error is None:
            self._record(attempt)
            self._count(attempt, "OK")
        else:
            self._record(attempt, error.code, error.message)
            _log_refusal(attempt, error)
            self._count(attempt, error.code)

    def forget(self, attempt: Attempt) -> None:
        """Record and count what was under way when its caller went away."""
        self._carrier.drop(attempt)
        self._record(attempt, "Cancelled", "The caller went away.")
        self._count(attempt, "Cancelled")

    async def drain(self, timeout_s: float) -> None:
        """Refuse every new request from now on, and wait for those under way, `timeout_s` seconds at most."""
        self._stopping = True
        for listener in list(self._stop_listeners):
            listener()
        end = time.monotonic() + timeout_s
        while (self._under_way or self._changes) and time.monotonic() < end:  # noqa: ASYNC110  # two counts, once in a life
            await asyncio.sleep(DRAIN_POLL_S)

    def hold(self) -> None:
        """Let late requests wait for `release` before they are refused."""
        self._refusing.clear()

    def release(self) -> None:
        """Refuse those that were held."""
        self._refusing.set()

    async def _answer(self, attempt: Attempt, asked: Asked) -> Any:
        """Carry out what changes nothing.

        All that there is to do is done in the carrier's turn, for all requests that have arrived meanwhile, one after the other: what they
        have in common is then in the processor's caches.
        """
        if self._stopping:
            return await self._refuse_late(attempt, asked)
        attempt.asked, attempt.ended = asked, self._finish
        attempt.answer = asyncio.get_running_loop().create_future()
        self._carrier.arrived(self._begin_asked, attempt)
        try:
            await attempt.answer
        except asyncio.CancelledError:
            if attempt.answer.cancelled():
                if attempt.principal is None:
                    with suppress(KmsError):
                        attempt.principal = asked.principal()
                self.forget(attempt)
            raise
        if attempt.error is not None:
            raise attempt.take_error()
        return attempt.response

    async def _refuse_late(self, attempt: Attempt, asked: Asked) -> None:
        """Refuse a request that arrived while the service stops."""
        try:
            attempt.principal = asked.principal()
            await self.refuse_when_stopping()
        except KmsError as error:
            attempt.refuse(error)
        except asyncio.CancelledError:
            self.forget(attempt)
            raise
        except Exception as error:  # noqa: BLE001  # its caller and the audit log must hear of it, whatever it is
            attempt.error = unexpected(attempt, error)
        self.end(attempt)
        raise attempt.take_error()

    def _begin_asked(self, attempt: Attempt) -> None:
        """Learn who asks for what, and begin it, unless its caller is gone."""
        asked, answer = attempt.asked, attempt.answer
        assert asked is not None, "it came from a face"
        assert answer is not None, "somebody waits for it"
        if answer.done():
            return
        try:
            attempt.principal = asked.principal()
            attempt.expiry_ns = self.expiry_ns(asked.seconds())
            attempt.request = asked.request()
            self.begin(attempt)
        except KmsError as error:
            attempt.refuse(error)
            self._finish(attempt)
        except Exception as error:  # noqa: BLE001  # its caller and the audit log must hear of it, whatever it is
            attempt.error = unexpected(attempt, error)
            self._finish(attempt)

    def _finish(self, attempt: Attempt) -> None:
        """Record a request that is over, and tell its face, unless the caller is gone: then `_answer` records that."""
        asked, answer = attempt.asked, attempt.answer
        assert asked is not None, "it came from a face"
        assert answer is not None, "somebody waits for it"
        if answer.done():
            return
        message: Any = None
        try:
            if attempt.error is None:
                message = asked.answer(attempt.response)
        except Exception as error:  # noqa: BLE001  # as above
            attempt.error = unexpected(attempt, error)
        try:
            self.end(attempt)
        except Exception as error:  # noqa: BLE001  # as above
            attempt.error = unexpected(attempt, error)
        attempt.response = message
        answer.set_result(None)

    async def _change(self, attempt: Attempt, asked: Asked) -> Any:
        """Carry out a change, and have it recorded on the disk."""
        try:
            try:
                await self._make(attempt, asked)
            except KmsError as error:
                self._record_unless_it_goes_on(attempt, error.code, error.message)
                raise
            except asyncio.CancelledError:
                self._record_unless_it_goes_on(attempt, "Cancelled", "The caller went away.")
                raise
            await self._audit.settle(self._record(attempt))
        except KmsError as error:
            _log_refusal(attempt, error)
            self._count(attempt, error.code)
            raise
        except asyncio.CancelledError:
            self._count(attempt, "Cancelled")
            raise
        assert attempt.principal is not None, "nothing is carried out for nobody"
        _log.info(
            "changed", operation=attempt.operation, request_id=attempt.request_id, principal=attempt.principal.name
        )
        self._count(attempt, "OK")
        return asked.answer(attempt.response)

    async def _make(self, attempt: Attempt, asked: Asked) -> None:
        try:
            await self._admit(attempt, asked)
            key = asked.idempotency_key()
            attempt.request = asked.request()
            self._audit.require(attempt.operation)
            work = perform(self._environment, self._call(attempt, key), attempt.operation, attempt.request)
            async with asyncio.timeout((attempt.expiry_ns - time.monotonic_ns()) / 1e9):
                attempt.response = await self._shielded(attempt, work)
        except TimeoutError:
            raise too_late() from None
        except (KmsError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise unexpected(attempt, error) from error

    async def _admit(self, attempt: Attempt, asked: Asked) -> None:
        """Learn who asks, and until when.

        Raises:
            KmsError: it is refused for that, or the service stops.
        """
        attempt.principal = asked.principal()
        await self.refuse_when_stopping()
        attempt.expiry_ns = self.expiry_ns(asked.seconds())

    def _call(self, attempt: Attempt, idempotency_key: str | None = None) -> Call:
        """Return the circumstances of a request whose principal and expiry are known."""
        principal = attempt.principal
        assert principal is not None, "nothing is carried out for nobody"
        scope = self._scopes.get(principal.account)
        if scope is None:
            scope = self._scopes[principal.account] = Scope(principal.account, self._scope.region)
        return Call(
            principal,
            scope,
            attempt.request_id,
            attempt.expiry_ns,
            idempotency_key,
            attempt.source_address,
            attempt.trail,
        )

    async def _shielded(self, attempt: Attempt, work: Awaitable[Any]) -> Any:
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

    def _record_unless_it_goes_on(self, attempt: Attempt, code: str, message: str) -> None:
        if not attempt.goes_on:
            self._record(attempt, code, message)

    def _record_late(self, attempt: Attempt, task: asyncio.Task[Any]) -> None:
        """Record a change that was finished without its caller: what became of it, not what the caller was told."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            attempt.response = task.result()
            self._record(attempt)
        elif isinstance(error, KmsError):
            self._record(attempt, error.code, error.message)
        else:
            self._record(attempt, KMSInternalException.code, "An internal error occurred.")

    def _count(self, attempt: Attempt, result: str) -> None:
        self._metrics.request_done(attempt.operation, result, time.monotonic() - attempt.started)

    def _record(self, attempt: Attempt, code: str = "", message: str = "") -> int:
        return self._audit.record(
            Event(
                operation=attempt.operation,
                request_id=attempt.request_id,
                event_id=new_id(),
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
                batch_id=attempt.batch_id,
            )
        )


def _take_error(task: asyncio.Task[Any]) -> None:
    """Take note of a change's error, so that it is not reported as forgotten when its caller was gone."""
    if not task.cancelled():
        task.exception()


def unexpected(attempt: Attempt, error: Exception) -> KMSInternalException:
    """Log what no operation raises, and return what its caller is told."""
    _log.error("unexpected failure", operation=attempt.operation, request_id=attempt.request_id, exc_info=error)
    return KMSInternalException("An internal error occurred.")


def _log_refusal(attempt: Attempt, error: KmsError) -> None:
    known = {
        "operation": attempt.operation,
        "request_id": attempt.request_id,
        "error": error.code,
        "detail": error.detail,
    }
    if isinstance(error, KMSInternalException):
        _log.error("failed", **known)
    else:
        _log.info("refused", **known)
