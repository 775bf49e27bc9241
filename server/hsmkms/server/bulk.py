"""The entries of a batch or stream on their way: judged, recorded and counted each as a request of its own.

What each entry does is what `requests` and the operations do for a single request. Only how it waits is another: an entry is a
coroutine and no task. It is driven to where it needs the token (`token.bulk.Step`), and on from there when the answer is here. So a
thousand entries cost neither tasks nor timers, and what is ready at the same time shares frames and turns of the event loop.

- At most `window` entries are under way at a time; what a batch holds beyond that waits here and takes nobody's place in the queue.
- At most `STRIDE` entries are begun in one turn of the event loop, so that other requests are served in between.
- Where the queue of the token is full, an entry gives way and is posted again later; it is not refused.
- Each entry ends at its expiry with DependencyTimeoutException, begun or not. What is done stays done.

Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from hsmkms.core.errors import DependencyTimeoutException, KmsError, KMSInternalException
from hsmkms.server.requests import Attempt, Requests
from hsmkms.server.token.bulk import Step
from hsmkms.server.token.jobs import Job

STRIDE: Final = 16
POST_AGAIN_S: Final = 0.01
"""When entries that gave way are posted again, in seconds, if no other one of the same batch ends before."""

_log = structlog.get_logger(__name__)


class Post(Protocol):
    """What this needs of the token pool."""

    def post(self, jobs: list[Job]) -> None:
        """Queue jobs whose waiters are told by and by."""

    def withdraw(self, job: Job) -> None:
        """Take a job out of the queue, if it is still there."""


class Entry:
    """One entry.

    Args:
        number: The face's number for it.
        attempt: What its record is made of; its request is set when it is begun.
        read: Returns its request, or raises a KmsError.
        expiry_ns: Until when its caller waits, on CLOCK_MONOTONIC.
    """

    __slots__ = ("attempt", "error", "expiry_ns", "number", "read", "started", "step", "work")

    def __init__(self, number: int, attempt: Attempt, read: Callable[[], Any], expiry_ns: int) -> None:
        self.number = number
        self.attempt = attempt
        self.read = read
        self.expiry_ns = expiry_ns
        self.started = time.monotonic()
        self.work: Coroutine[Any, Any, Any] | None = None
        self.step: Step | asyncio.Future[Any] | None = None
        self.error: KmsError | None = None
        """Why it has no response, once it is over."""


class Bulk:
    """The entries of one batch or one stream.

    Args:
        requests: Judges, records and counts.
        pool: The token's workers.
        window: Most entries under way at a time.
        ended: Called with each entry that is over, in the order in which they end.
    """

    def __init__(self, requests: Requests, pool: Post, window: int, ended: Callable[[Entry], None]) -> None:
        self._requests = requests
        self._pool = pool
        self._window = window
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Entry] = deque()
        self._under_way: dict[Entry, None] = {}
        self._ready: deque[Entry] = deque()
        self._gave_way: list[Job] = []
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def unfinished(self) -> int:
        """Entries that are not over yet."""
        return len(self._waiting) + len(self._under_way)

    def add(self, entry: Entry) -> None:
        """Take an entry; it is begun as soon as its turn comes. Entries are added in the order of their expiries."""
        self._waiting.append(entry)
        self._wake()

    def close(self) -> None:
        """Give up whatever is not over: the caller went away. What was begun is recorded."""
        self._is_closed = True
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        for entry in list(self._under_way):
            self._drop_step(entry)
            if entry.work is not None:
                entry.work.close()
            self._requests.forget(entry.attempt, time.monotonic() - entry.started)
        self._under_way.clear()
        self._waiting.clear()

    def _wake(self) -> None:
        if self._turn is None and not self._is_closed:
            self._turn = self._loop.call_soon(self._run)

    def _run(self) -> None:
        """Take one turn: go on with what has an answer, begin what there is room for, post what that needs of the token."""
        self._turn = None
        jobs: list[Job] = []
        while self._ready:
            entry = self._ready.popleft()
            if entry in self._under_way:
                self._advance(entry, jobs)
        begun = 0
        while self._waiting and len(self._under_way) < self._window and begun < STRIDE:
            begun += 1
            self._begin(self._waiting.popleft(), jobs)
        if begun == STRIDE:
            self._wake()
        gave_way, self._gave_way = self._gave_way, []
        jobs += [job for job in gave_way if not job.waiter.done()]
        if jobs:
            self._pool.post(jobs)
        self._set_timer()

    def _begin(self, entry: Entry, jobs: list[Job]) -> None:
        self._under_way[entry] = None
        try:
            entry.attempt.request = entry.read()
            if time.monotonic_ns() >= entry.expiry_ns:
                raise _too_late()
            entry.work = self._requests.begin(entry.attempt, entry.expiry_ns)
        except KmsError as error:
            self._end(entry, error)
        else:
            self._advance(entry, jobs)

    def _advance(self, entry: Entry, jobs: list[Job], error: KmsError | None = None) -> None:
        """Drive an entry's work to where it waits again, or to its end."""
        assert entry.work is not None, "it was begun"
        try:
            waits_for = entry.work.send(None) if error is None else entry.work.throw(error)
        except StopIteration as end:
            entry.attempt.response = end.value
            self._end(entry)
        except KmsError as raised:
            self._end(entry, raised)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  # whatever it is, it is this entry's alone
            _log.exception("unexpected failure", operation=entry.attempt.operation, request_id=entry.attempt.request_id)
            failure = KMSInternalException("An internal error occurred.")
            failure.__cause__ = raised
            self._end(entry, failure)
        else:
            entry.step = waits_for
            if isinstance(waits_for, Step):
                waits_for.told = lambda: self._go_on(entry)
                waits_for.job.give_way = self._take_back
                jobs.append(waits_for.job)
            else:  # an asyncio.Future: a backing key is looked for on the token
                waits_for._asyncio_future_blocking = False  # noqa: SLF001  # the protocol of `Future.__await__`; asyncio.Task does the same
                waits_for.add_done_callback(lambda _: self._go_on(entry))

    def _go_on(self, entry: Entry) -> None:
        if not self._is_closed:
            self._ready.append(entry)
            self._wake()

    def _take_back(self, job: Job) -> None:
        """Keep a job for which there is no room in the queue."""
        self._gave_way.append(job)
        self._set_timer()

    def _end(self, entry: Entry, error: KmsError | None = None) -> None:
        del self._under_way[entry]
        entry.step = None
        entry.error = error
        self._requests.end(entry.attempt, time.monotonic() - entry.started, error)
        self._ended(entry)
        if self._waiting:
            self._wake()

    def _set_timer(self) -> None:
        """Have `_tick` called when the oldest entry expires, or when it is time to post again what gave way."""
        oldest = next(iter(self._under_way or self._waiting), None)
        due = oldest.expiry_ns / 1e9 if oldest is not None else None
        if self._gave_way:
            again = self._loop.time() + POST_AGAIN_S
            due = again if due is None else min(due, again)
        if self._timer is not None:
            if due is not None and self._timer.when() <= due and not self._timer.cancelled():
                return  # it comes early enough, and sets the next one
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic_ns()
        jobs: list[Job] = []
        for entry in [entry for entry in self._under_way if entry.expiry_ns <= now]:
            self._drop_step(entry)
            self._advance(entry, jobs, _too_late())
        if jobs:
            self._pool.post(jobs)
        self._wake()

    def _drop_step(self, entry: Entry) -> None:
        """Do not wait any more for what an entry waits for."""
        if isinstance(entry.step, Step):
            entry.step.told = None
            entry.step.cancel()
            self._pool.withdraw(entry.step.job)
        entry.step = None


def _too_late() -> DependencyTimeoutException:
    return DependencyTimeoutException("The request could not be carried out in time. Try again.")
