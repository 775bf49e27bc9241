"""A request from its arrival to its audit record, whatever the face it came by: gRPC, a batch, the AWS endpoint.

A face says who asks, until when and what was asked (`Asked`), and how the answer or the error goes back. Everything between is here, so
that no face can leave out a judgement, a record or a count. Whatever an operation raises that is no `KmsError` becomes one that
tells nothing.

The entries of a batch or stream go another way to the same places: `server.bulk` drives them, by `begin` and `end`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from hsmkms.core.audit import Event
from hsmkms.core.errors import (
    DependencyTimeoutException,
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
from hsmkms.server.metrics import Metrics
from hsmkms.server.system import new_id

DRAIN_POLL_S: Final = 0.02
MAX_CHANGES_UNDER_WAY: Final = 256
"""A change goes on when its caller is gone; this many at the most."""

_log = structlog.get_logger(__name__)


class Asked(Protocol):
    """What a face knows of one request. Each method is called once, in this order, and may raise a `KmsError`."""

    def principal(self) -> Principal:
        """Return who asks. Raises UnauthenticatedException, or what the face calls it."""

    def seconds(self) -> float | None:
        """Return how long the caller waits, in seconds, or None if it does not say."""

    def idempotency_key(self) -> str | None:
        """Return what makes a change repeatable, or None. Asked for changes only."""

    def request(self) -> Any:
        """Return the request as one of `core.messages`, unchecked."""


@dataclass(slots=True, eq=False)
class Attempt:
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
        batch_id: Of an entry of a batch or stream: the id of that, else empty.
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
    batch_id: str = ""


class Requests:
    """Carries requests out.

    Args:
        environment: What the operations work with.
        scope: The Region of this service, and the account in whose audit records are those that name no principal.
        metrics: Counts requests.
        timeout_s: How long any caller is waited for, in seconds.
        audit: Where every request is recorded.
        bulk_environment: The same for entries of batches and streams: its token is for coroutines that `server.bulk` drives.
    """

    def __init__(
        self,
        environment: Environment,
        scope: Scope,
        metrics: Metrics,
        timeout_s: float,
        audit: Auditor,
        bulk_environment: Environment | None = None,
    ) -> None:
        self._environment = environment
        self._bulk_environment = bulk_environment or environment
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
        now = self._environment.clock.now_us()
        return Attempt(operation, source_address, user_agent, new_id(), now)

    async def carry_out(self, attempt: Attempt, asked: Asked) -> Any:
        """Carry out a request, record and count it; a change is recorded on the disk before this returns.

        Args:
            attempt: The request that has arrived.
            asked: What the face knows of it.

        Returns:
            Its response.

        Raises:
            KmsError: it was refused or failed; recorded, counted and logged.
        """
        started = time.monotonic()
        result = "OK"
        self._under_way += 1
        try:
            return await self._recorded(attempt, asked)
        except KmsError as error:
            result = error.code
            _log_refusal(attempt, error)
            raise
        except asyncio.CancelledError:
            result = "Cancelled"
            raise
        finally:
            self._under_way -= 1
            self._metrics.request_done(attempt.operation, result, time.monotonic() - started)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Let a stop wait for the block: a batch, or a stream's entries, are under way in it."""
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

    def entry(self, batch: Attempt) -> Attempt:
        """Return an entry of a batch or stream that has just been read, with a request id of its own."""
        return Attempt(
            batch.operation,
            batch.source_address,
            batch.user_agent,
            new_id(),
            self._environment.clock.now_us(),
            batch.principal,
            batch_id=batch.request_id,
        )

    def expiry_ns(self, seconds: float | None) -> int:
        """Return until when a caller is waited for, on CLOCK_MONOTONIC in nanoseconds.

        Args:
            seconds: How long the caller waits, or None if it does not say.
        """
        remaining = self._timeout_s if seconds is None else min(seconds, self._timeout_s)
        return time.monotonic_ns() + int(remaining * 1e9)

    def begin(self, attempt: Attempt, expiry_ns: int) -> Coroutine[Any, Any, Any]:
        """Return the work of an entry, which is to be driven by `server.bulk`; `end` is to be called when it is over.

        Args:
            attempt: The entry, with its principal and its request.
            expiry_ns: Until when its caller waits.

        Raises:
            KmsError: it may not be begun.
        """
        assert attempt.principal is not None, "nothing is carried out for nobody"
        self._audit.require(attempt.operation)
        call = Call(
            principal=attempt.principal,
            scope=Scope(attempt.principal.account, self._scope.region),
            request_id=attempt.request_id,
            expiry_ns=expiry_ns,
            source_address=attempt.source_address,
            trail=attempt.trail,
        )
        return perform(self._bulk_environment, call, attempt.operation, attempt.request)

    def end(self, attempt: Attempt, seconds: float, error: KmsError | None = None) -> None:
        """Record and count an entry, or a whole batch that was refused.

        Args:
            attempt: The entry, with its response if it has one.
            seconds: How long it took.
            error: What it was refused with, or None.
        """
        if error is None:
            self._record(attempt)
        else:
            self._record(attempt, error.code, error.message)
            _log_refusal(attempt, error)
        self._metrics.request_done(attempt.operation, error.code if error is not None else "OK", seconds)

    def forget(self, attempt: Attempt, seconds: float) -> None:
        """Record and count an entry whose caller went away while it was under way."""
        self._record(attempt, "Cancelled", "The caller went away.")
        self._metrics.request_done(attempt.operation, "Cancelled", seconds)

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

    async def _recorded(self, attempt: Attempt, asked: Asked) -> Any:
        changes = OPERATIONS[attempt.operation].effect is Effect.CHANGES
        try:
            await self._perform(attempt, asked, changes=changes)
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
        return attempt.response

    async def _perform(self, attempt: Attempt, asked: Asked, *, changes: bool) -> None:
        try:
            attempt.principal = asked.principal()
            await self.refuse_when_stopping()
            seconds = asked.seconds()
            remaining = self._timeout_s if seconds is None else min(seconds, self._timeout_s)
            call = Call(
                principal=attempt.principal,
                scope=Scope(attempt.principal.account, self._scope.region),
                request_id=attempt.request_id,
                expiry_ns=time.monotonic_ns() + int(remaining * 1e9),
                idempotency_key=asked.idempotency_key() if changes else None,
                source_address=attempt.source_address,
                trail=attempt.trail,
            )
            attempt.request = asked.request()
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
