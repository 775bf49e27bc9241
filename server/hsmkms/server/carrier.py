"""Requests on their way to the token and back, without a task, a future or a timer for each.

What an operation does is a coroutine, and nobody runs it as a task. The carrier drives it to where it needs the token
(`token.carried.Step`), and on from there when the answer is here. What becomes ready in one turn of the event loop, whosever it is, is
driven on in the next, and what all of it needs of the token is posted together: so it shares frames, and turns.

- A request by itself is begun in the turn after it has `arrived`. The entries of batches and streams (`Feed`) are begun by the carrier, at
  most `STRIDE` in a turn, so that other requests are served in between, and only while there is room for them in the token's queue.
- Where the queue is full all the same, an entry gives way and is posted again later; it is not refused. A request by itself is.
- Each ends at its expiry with DependencyTimeoutException, begun or not. What is done stays done.

Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import structlog

from hsmkms.core.errors import DependencyTimeoutException, KmsError, KMSInternalException
from hsmkms.server.token.carried import Step
from hsmkms.server.token.jobs import Job

STRIDE: Final = 16
"""Most entries of batches and streams that are begun in one turn of the event loop."""
POST_AGAIN_S: Final = 0.01
"""When what gave way is posted again, in seconds, if nothing ends before."""
FEEDS_PART: Final = 0.75
"""The most of the queue, of 1, that batches and streams share; the rest is for requests by themselves."""
LEAST_SHARE: Final = 4
"""How many entries a batch or stream may have under way, however many of them there are."""
_NEVER_NS: Final = (1 << 63) - 1

_log = structlog.get_logger(__name__)


class Driven(Protocol):
    """What is carried: one request that was begun.

    Attributes:
        operation: AWS's name, for the log.
        request_id: Its id, for the log.
        expiry_ns: Until when its caller waits, on CLOCK_MONOTONIC.
        gives_way: Whether it waits where the token's queue is full, instead of being refused.
        work: What it does.
        step: What it waits for.
        response: Its response, once there is one.
        error: What it was refused with, once it was.
        ended: Is called once, when there is a response or an error.
    """

    operation: str
    request_id: str
    expiry_ns: int
    gives_way: bool
    work: Coroutine[Any, Any, Any] | None
    step: Step | asyncio.Future[Any] | None
    response: Any
    error: KmsError | None
    ended: Callable[[Any], None] | None


DrivenT = TypeVar("DrivenT")


class Feed(Protocol):
    """Entries that wait for their turn: of a batch or a stream."""

    def begin(self, most: int, share: int) -> int:
        """Begin entries (`Carrier.start`).

        Args:
            most: How many at most.
            share: How many may be under way at most.

        Returns:
            How many were begun.
        """

    def wants(self, share: int) -> bool:
        """Say whether an entry waits that may be begun."""

    def oldest_ns(self) -> int | None:
        """Return the expiry of the entry that has waited longest, or None if none waits."""


class Post(Protocol):
    """What this needs of the token pool."""

    @property
    def capacity(self) -> int:
        """Most jobs that wait in its queue."""

    def post(self, jobs: list[Job]) -> None:
        """Queue jobs whose waiters are told by and by."""

    def withdraw(self, job: Job) -> None:
        """Take a job out of the queue, if it is still there."""


class Carrier:
    """Drives requests.

    Args:
        pool: The token's workers.
    """

    def __init__(self, pool: Post) -> None:
        self._pool = pool
        self._places = int(pool.capacity * FEEDS_PART)
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[Driven, None] = {}
        self._arrived: list[tuple[Callable[[Any], None], Any]] = []
        self._ready: list[Driven] = []
        self._jobs: list[Job] = []
        self._gave_way: list[Job] = []
        self._again: asyncio.TimerHandle | None = None
        self._may_post_again = False
        self._feeds: set[Feed] = set()
        self._hungry: dict[Feed, None] = {}
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = _NEVER_NS

    def arrived(self, begin: Callable[[DrivenT], None], request: DrivenT) -> None:
        """Begin a request by itself in the next turn, with all that arrive until then.

        Args:
            begin: Calls `start`, or ends the request at once. It raises nothing.
            request: The request.
        """
        self._arrived.append((begin, request))
        self._wake()

    def start(self, driven: Driven) -> None:
        """Drive a request, with its work and its expiry, to where it waits for the token, or to its end."""
        self._under_way[driven] = None
        if driven.expiry_ns < self._due_ns:
            self._set_timer(driven.expiry_ns)
        self._advance(driven)

    def drop(self, driven: Driven) -> None:
        """Give up a request, if it is not over yet: its caller went away. It is not told of its end."""
        if driven in self._under_way:
            del self._under_way[driven]
            self._leave_step(driven)
            assert driven.work is not None, "it was begun"
            driven.work.close()

    def rest(self, feed: Feed) -> None:
        """Take nothing of a feed until it feeds again: it has no entry that waits or is under way, or gave them up."""
        self._feeds.discard(feed)
        self._hungry.pop(feed, None)

    def feed(self, feed: Feed, expiry_ns: int) -> None:
        """Begin entries of a feed as soon as it is their turn.

        Args:
            feed: The feed.
            expiry_ns: No entry of it that waits expires before this.
        """
        self._feeds.add(feed)
        self._hungry[feed] = None
        if expiry_ns < self._due_ns and expiry_ns > time.monotonic_ns():  # what is late ends when it is begun
            self._set_timer(expiry_ns)
        self._wake()

    def go_on(self, driven: Driven) -> None:
        """Drive a request on in the next turn: what it waited for is here (`Step` calls this)."""
        self._ready.append(driven)
        self._wake()

    def take_back(self, job: Job) -> None:
        """Keep a job for which there is no room in the queue (the pool calls this)."""
        self._gave_way.append(job)
        if self._again is None:
            self._again = self._loop.call_later(POST_AGAIN_S, self._post_again)

    def _post_again(self) -> None:
        self._again = None
        self._may_post_again = True
        self._wake()

    @property
    def _share(self) -> int:
        """How many entries one feed may have under way."""
        return max(LEAST_SHARE, self._places // max(1, len(self._feeds)))

    def _wake(self) -> None:
        if self._turn is None:
            self._turn = self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Take one turn: go on with what has an answer, begin what there is room for, post what that needs of the token."""
        try:
            ready, self._ready = self._ready, []
            for driven in ready:
                if driven in self._under_way:
                    self._advance(driven)
            arrived, self._arrived = self._arrived, []
            for begin, request in arrived:
                _on_its_own(begin, request)
            if self._hungry:
                self._feed_on()
            if self._gave_way and self._may_post_again:
                again, self._gave_way = self._gave_way, []
                self._jobs[:0] = [job for job in again if not job.waiter.done()]  # they have waited longest
            self._may_post_again = False
            if self._jobs:
                jobs, self._jobs = self._jobs, []
                self._pool.post(jobs)
        finally:
            self._turn = None  # not before: what this turn does would call for another one
            if self._ready or self._arrived or self._hungry or self._jobs:
                self._wake()

    def _feed_on(self) -> None:
        """Begin entries of the feeds, in turn."""
        left, share = STRIDE, self._share
        for feed in list(self._hungry):
            del self._hungry[feed]
            left -= feed.begin(left, share)
            if feed.wants(share):
                self._hungry[feed] = None
            if not left:
                break

    def _advance(self, driven: Driven, error: Exception | None = None) -> None:
        """Drive a request to where it waits again, or to its end."""
        work = driven.work
        assert work is not None, "it was begun"
        try:
            waits_for = work.send(None) if error is None else work.throw(error)
        except StopIteration as end:
            driven.response = end.value
        except KmsError as raised:
            # The frames of its traceback know the request, which knows the error: they would be left to the garbage collector.
            driven.error = raised.with_traceback(None)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001  # whatever it is, it is this request's alone
            _log.exception("unexpected failure", operation=driven.operation, request_id=driven.request_id)
            driven.error = KMSInternalException("An internal error occurred.")
        else:
            driven.step = waits_for
            if isinstance(waits_for, Step):
                waits_for.carrier, waits_for.driven = self, driven
                if driven.gives_way:
                    waits_for.job.give_way = self.take_back
                self._jobs.append(waits_for.job)
                self._wake()
            elif isinstance(waits_for, asyncio.Future):  # a backing key is looked for on the token
                waits_for._asyncio_future_blocking = False  # noqa: SLF001  # the protocol of `Future.__await__`; asyncio.Task does the same
                waits_for.add_done_callback(lambda _: self.go_on(driven))
            else:
                self._advance(driven, RuntimeError(f"it waits for {type(waits_for).__name__}"))
            return
        del self._under_way[driven]
        driven.step = driven.work = None
        self._may_post_again = True
        assert driven.ended is not None, "somebody waits for it"
        _on_its_own(driven.ended, driven)

    def _set_timer(self, due_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_ns = due_ns
        self._timer = self._loop.call_at(due_ns / 1e9, self._tick)

    def _tick(self) -> None:
        """End what has expired, and set the timer for what expires next."""
        self._timer = None
        self._due_ns = _NEVER_NS
        now_ns = time.monotonic_ns()
        for driven in [driven for driven in self._under_way if driven.expiry_ns <= now_ns]:
            self._leave_step(driven)
            self._advance(driven, too_late())
        waiting = {feed: oldest for feed in self._feeds if (oldest := feed.oldest_ns()) is not None}
        for feed, oldest_ns in waiting.items():
            if oldest_ns <= now_ns:
                self._hungry[feed] = None
        expiries_ns = [*(driven.expiry_ns for driven in self._under_way), *waiting.values()]
        due_ns = min([expiry_ns for expiry_ns in expiries_ns if expiry_ns > now_ns], default=_NEVER_NS)
        if due_ns < self._due_ns:
            self._set_timer(due_ns)
        self._wake()

    def _leave_step(self, driven: Driven) -> None:
        """Do not wait any more for what a request waits for."""
        step, driven.step = driven.step, None
        if isinstance(step, Step):
            self._pool.withdraw(step.job)
            step.cancel()


def _on_its_own(work: Callable[[DrivenT], None], request: DrivenT) -> None:
    """Do something for one request. Whatever goes wrong in it, the others of the turn go on."""
    try:
        work(request)
    except Exception:  # noqa: BLE001  # as the docstring says
        _log.exception("unexpected failure in the carrier's turn")


def too_late() -> DependencyTimeoutException:
    """Return the error of what has expired."""
    return DependencyTimeoutException("The request could not be carried out in time. Try again.")
