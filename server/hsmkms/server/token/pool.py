"""The token workers: who is there, who gets which job, and what happens when one dies, hangs or grows.

Roles: `workers` active ones do the cryptography; one admin worker generates, destroys and lists; one warm spare has logged in and
holds its keys, to step in at once. The keeper, one task, starts workers one after the other; the teacher gives them new keys;
the collector fetches their counters and replaces those that have grown.

A job goes to a worker that has its keys: an active one; else the spare, or the admin worker while it is idle, for that has what it made.
Jobs of one kind that wait for the same worker share a frame. What dies with a worker is tried once more elsewhere if it made session
objects only and was in the frame at the head of the pipe; what stood behind the head is queued again as if nothing had happened.
Whatever a worker died with gets a frame of its own then, so that what kills workers is told from what only shared a frame with it.

Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from hsmkms.core.commands import Load, Outcome, Result, Statistics
from hsmkms.core.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KMSInternalException,
    ThrottlingException,
)
from hsmkms.core.frames import MAX_ITEMS, FrameError
from hsmkms.core.material_commands import Command
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.server.token.jobs import MAX_DEATHS, FairQueue, Job
from hsmkms.server.token.key_places import KeyPlaces
from hsmkms.server.token.process import WorkerProcess, WorkerStartError, worker_environment
from hsmkms.server.token.roster import Roster

MAX_LOGIN_REFUSALS: Final = 3
"""A real HSM locks itself after a few wrong PINs: after so many refusals nothing is tried until the service is started again."""
ADMIN_QUEUE: Final = 64
ADMIN_NICENESS: Final = 10
"""Who waits for a new key waits anyway; who re-encrypts beside it should not notice."""
KEEPER_INTERVAL_S: Final = 0.25
STATISTICS_INTERVAL_S: Final = 2.0
FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 0.5
UNAVAILABLE_TEXT: Final = "The token is out of reach. Try again."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many workers, and when they are replaced.

    Args:
        worker: What each worker needs to reach its token.
        environment: Variables for the PKCS#11 module.
        workers: Active crypto workers, 1 to 64.
        spare: Whether to keep a warm spare.
        max_queued: Most jobs that wait in the front.
        replace_after_objects: Session objects after which a worker is replaced (SoftHSM leaks some 205 bytes for each).
        replace_after_bytes: Resident memory at which a worker is replaced.
    """

    worker: WorkerSettings
    environment: Mapping[str, str]
    workers: int = 2
    spare: bool = True
    max_queued: int = 512
    replace_after_objects: int = 600_000
    replace_after_bytes: int = 300 << 20


class PoolObserver(Protocol):
    """Is told of what happens to workers."""

    def worker_started(self, name: str, milliseconds: float) -> None:
        """A worker is ready."""

    def worker_ended(self, name: str, reason: str) -> None:
        """A worker is gone: `died`, `killed`, `retired` or `replaced`."""

    def statistics(self, worker: str, statistics: WorkerStatistics) -> None:
        """A worker's counters since its start; the last ones stay when it is gone."""


class TokenPool:
    """The pool.

    Args:
        settings: How many workers, and when they are replaced.
        observer: Is told of what happens to workers.

    Its `roster` says who has which role, its `keys` which worker has which backing key.
    """

    def __init__(self, settings: PoolSettings, observer: PoolObserver) -> None:
        self.description: TokenDescription | None = None
        self._settings = settings
        self._observer = observer
        self.roster = Roster(settings.workers, spare=settings.spare)
        self.keys = KeyPlaces(self.roster, self._dispatch)
        self._queue = FairQueue(settings.max_queued)
        self._admin_queue = FairQueue(ADMIN_QUEUE)
        self._starting: set[WorkerProcess] = set()
        self._suspects: list[Job] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._down = ""
        self._refusals = 0
        self._started = 0
        self._closing = False
        self._statistics_at = 0.0

    # What the operations ask for

    async def submit(
        self, command: Command, *, principal: str, keys: Iterable[bytes] = (), expiry_ns: int = 0, admin: bool = False
    ) -> Result:
        """Have a command carried out.

        Args:
            command: The command.
            principal: Whose turn it takes in the queue.
            keys: CKA_IDs of the backing keys it needs.
            expiry_ns: CLOCK_MONOTONIC in nanoseconds after which nobody waits for it; 0 for no limit.
            admin: Whether it is for the admin worker.

        Returns:
            Its result, whatever the outcome.

        Raises:
            KeyUnavailableException: no worker can reach the token, or the token does not have a key.
            ThrottlingException: too much waits already.
            DependencyTimeoutException: `expiry_ns` passed.
            KMSInternalException: two workers died of it.
        """
        if self._down or self._closing:
            raise KeyUnavailableException(UNAVAILABLE_TEXT, detail=self._down or "the service is stopping")
        needed = frozenset(keys)
        for cka_id in needed - self.keys.known:
            await self.keys.require(cka_id)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        job = Job(command, future, principal, needed, expiry_ns, admin)
        queue = self._admin_queue if admin else self._queue
        self._push(queue, job)
        self._dispatch()
        # The loop's clock is CLOCK_MONOTONIC; a timer for each job costs less than asyncio.timeout.
        timer = loop.call_at(expiry_ns / 1e9, _expire, job) if expiry_ns else None
        try:
            result = await future
        except DependencyTimeoutException:
            queue.discard(job)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if not future.done():
                future.cancel()  # whoever drove this went away: nobody does it again for nobody when a worker dies
            if future.cancelled():
                queue.discard(job)
        if result.outcome is Outcome.KEY_NOT_LOADED:
            self.keys.doubt(needed)
        return result

    def post(self, jobs: Iterable[Job]) -> None:
        """Queue jobs whose waiters are told by and by. Never waits.

        Args:
            jobs: Jobs for crypto workers. Their keys are known (`keys.require`); their expiry is their waiters' affair.
        """
        if self._down or self._closing:
            for job in jobs:
                _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail=self._down or "the service is stopping"))
            return
        for job in jobs:
            self._push(self._queue, job)
        self._dispatch()

    def withdraw(self, job: Job) -> None:
        """Take a job out of the queue, if it is still there: nobody waits for it."""
        self._queue.discard(job)

    def _push(self, queue: FairQueue, job: Job) -> None:
        displaced = queue.push(job)
        if displaced is None:
            return
        if displaced.give_way is not None:
            displaced.give_way(displaced)
        else:
            _fail(displaced, ThrottlingException("The service is busy. Try again later."))

    @property
    def capacity(self) -> int:
        """Most jobs that wait in the front."""
        return self._settings.max_queued

    @property
    def queued(self) -> int:
        """Jobs that wait in the front."""
        return len(self._queue) + len(self._admin_queue)

    @property
    def ready(self) -> bool:
        """Whether a crypto worker is there."""
        return bool(self.roster.active) and not self._down

    @property
    def trouble(self) -> str:
        """Why the token is out of reach, for the operator, or nothing."""
        return self._down

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the workers by name."""
        return {worker.name: worker.pid for worker in self.roster.everybody()}

    # Start and end

    async def start(self) -> TokenDescription:
        """Start the first worker, and the keeper for the others.

        Raises:
            WorkerStartError: the token cannot be used; its detail says what to change.
        """
        self._tasks.append(asyncio.create_task(self._guard(), name="token watchdog"))
        self.roster.place(await self._start_worker("crypto"), "crypto")
        self._tasks.append(asyncio.create_task(self._keep(), name="token keeper"))
        self._tasks.append(asyncio.create_task(self._repeat(self._teach), name="token teacher"))
        self._tasks.append(asyncio.create_task(self._repeat(self._collect), name="token collector"))
        assert self.description is not None
        return self.description

    async def close(self) -> None:
        """End every worker. Jobs that wait are refused."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._queue.drain() + self._admin_queue.drain() + self._suspects:
            _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail="the service is stopping"))
        await asyncio.gather(*(worker.stop() for worker in [*self.roster.everybody(), *self._starting]))

    # Who gets what

    def _dispatch(self) -> None:
        workers = [worker for worker in self.roster.active if worker.has_room] if self._queue else []
        while workers and self._queue:
            # In turn, and to each its share of what waits: none goes without while another's pipe is filled.
            worker = min(workers, key=_items_in_flight)
            idle = sum([not worker.in_flight for worker in workers])
            share = -(-len(self._queue) // (idle or len(workers)))
            # A worker that is at something gets a frame beside it if that is a full one. Else what waits is joined by what comes
            # meanwhile, and goes when the worker answers: many small frames would cost the front more than their items.
            is_worth_it = not worker.in_flight or share >= worker.frame_room
            if (
                not is_worth_it
                or not self._send_next(worker, self._queue, worker.keys.issuperset, share)
                or not worker.has_room
            ):
                workers.remove(worker)
        admin = self.roster.admin_worker()
        if admin is not None and admin.in_flight == 0:
            self._fill(admin, self._admin_queue, lambda _: admin.in_flight == 0)
        if self._queue and not self.keys.are_everywhere:
            self._dispatch_aside()

    def _dispatch_aside(self) -> None:
        """Give jobs whose keys no active worker has to the spare, or to the admin worker if it is idle: it has the keys that it made."""
        elsewhere = [worker.keys for worker in self.roster.active]

        def serves(worker: WorkerProcess) -> Callable[[frozenset[bytes]], bool]:
            def takes(keys: frozenset[bytes]) -> bool:
                for held in elsewhere:
                    if held.issuperset(keys):
                        return False
                if not worker.keys.issuperset(keys):
                    return False
                self.keys.ask_for(keys)
                return True

            return takes

        spare, admin = self.roster.spare, self.roster.admin
        if spare is not None:
            self._fill(spare, self._queue, serves(spare))
        if admin is not None and admin.is_usable and not admin.in_flight:
            # One frame: who waits for a new key has its turn after it.
            self._send_next(admin, self._queue, serves(admin), MAX_ITEMS)

    def _fill(self, worker: WorkerProcess, queue: FairQueue, serves: Callable[[frozenset[bytes]], bool]) -> None:
        while worker.has_room and self._send_next(worker, queue, serves, MAX_ITEMS):
            pass

    def _send_next(
        self, worker: WorkerProcess, queue: FairQueue, serves: Callable[[frozenset[bytes]], bool], most: int
    ) -> bool:
        """Send a worker one frame of what comes next, `most` jobs at the most; return whether there was any."""
        jobs = queue.take(serves, min(most, worker.frame_room))
        if not jobs:
            return False
        wanted = [job for job in jobs if not job.waiter.done()]
        if wanted:
            _send(worker, wanted)
        return True

    # Workers come and go

    async def _start_worker(self, role: str) -> WorkerProcess:
        self._started += 1
        worker = WorkerProcess(f"{role}-{self._started}", self._answered, self._lost)
        known = self.description.capabilities if self.description else None
        settings = replace(self._settings.worker, capabilities=known)
        self._starting.add(worker)
        try:
            description = await worker.start(settings, worker_environment(self._settings.environment))
        finally:
            self._starting.discard(worker)
        if self.description is None:
            self.description = description
            self.roster.max_sessions = description.max_sessions
        self.keys.known |= worker.keys
        if role == "admin":
            worker.lower_priority(ADMIN_NICENESS)
        self._refusals = 0
        self._observer.worker_started(worker.name, description.startup_ms)
        _log.info("token worker ready", worker=worker.name, pid=worker.pid, keys=len(worker.keys))
        return worker

    def _answered(self, worker: WorkerProcess) -> None:
        if worker.retiring and worker in self.roster.active:
            self.roster.remove(worker)
            self._step_in()
        self._dispatch()

    def _lost(self, worker: WorkerProcess, jobs: list[Job]) -> None:
        had_role = self.roster.remove(worker)
        self.roster.retiring.discard(worker)
        self.keys.left(worker)
        if self._closing:
            for job in jobs:
                _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail="the service is stopping"))
            return
        reason = "killed" if worker.killed_because else "retired" if worker.retiring else "died"
        if had_role or jobs:
            _log.warning(
                "token worker gone", worker=worker.name, reason=reason, why=worker.killed_because, jobs=len(jobs)
            )
            self._observer.worker_ended(worker.name, reason)
        for job in reversed([job for job in jobs if not job.waiter.done()]):
            self._take_back(job)
        self._step_in()
        if not self.roster.active and self._refusals >= MAX_LOGIN_REFUSALS:
            self._out_of_reach("the token refuses the PIN, and nobody tries again")
        self._wake.set()
        self._dispatch()

    def _take_back(self, job: Job) -> None:
        """Queue a dead worker's job again, or refuse it.

        A job that two workers died of is a suspect until the next start of a worker tells whether it was the job or the token.
        """
        if job.command.opcode in (Load.opcode, Statistics.opcode):
            _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail="the token worker ended"))
        elif job.deaths == 0 or (job.session_only and job.deaths < MAX_DEATHS):
            (self._admin_queue if job.admin else self._queue).push_front(job)
        elif job.session_only:
            self._suspects.append(job)
        else:
            _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail="the token worker died of it"))

    def _step_in(self) -> None:
        if self.roster.promote_spare():
            self._wake.set()

    # The keeper, the teacher, the collector and the watchdog

    async def _keep(self) -> None:
        pause = FIRST_RETRY_S
        while True:
            role = self.roster.missing() if self._refusals < MAX_LOGIN_REFUSALS else None
            if role is not None:
                if await self._fill_role(role):
                    pause = FIRST_RETRY_S
                else:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_RETRY_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(KEEPER_INTERVAL_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _teach(self) -> None:
        await self._find_what_is_waited_for()
        await self.keys.spread(job.keys for job in self._queue)

    async def _find_what_is_waited_for(self) -> None:
        """Look for the keys of jobs that wait which came into doubt meanwhile; refuse the jobs if they are not there any more."""
        for cka_id in {cka_id for job in self._queue for cka_id in job.keys} - self.keys.known:
            try:
                await self.keys.require(cka_id)
            except KeyUnavailableException as error:
                for job in [job for job in self._queue if cka_id in job.keys]:
                    self._queue.discard(job)
                    _fail(job, error)

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again. Each in a task of its own: none may wait because another waits for a worker that hangs."""
        while True:
            await work()
            await asyncio.sleep(KEEPER_INTERVAL_S)

    async def _fill_role(self, role: str) -> bool:
        try:
            worker = await self._start_worker(role)
        except WorkerStartError as error:
            self._start_failed(error)
            return False
        self._down = ""
        for job in self._suspects:
            _fail(job, KMSInternalException("The request failed in the token.", detail="two token workers died of it"))
        self._suspects.clear()
        self.roster.place(worker, role)
        self._dispatch()
        return True

    def _start_failed(self, error: WorkerStartError) -> None:
        _log.error("token worker could not start", outcome=error.outcome.name, detail=error.detail)
        if error.outcome is Outcome.PIN_REFUSED:
            self._refusals += 1
            if self._refusals >= MAX_LOGIN_REFUSALS:
                _log.critical("the token refuses the PIN: nothing more is tried until the service is started again")
        self._clear_suspects(error.detail)
        if not self.roster.active:
            self._out_of_reach(error.detail)

    def _out_of_reach(self, why: str) -> None:
        self._down = why
        self._clear_suspects(why)
        for job in self._queue.drain() + self._admin_queue.drain():
            _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail=why))

    def _clear_suspects(self, why: str) -> None:
        """It was the token, not the jobs: their callers may try again."""
        for job in self._suspects:
            _fail(job, KeyUnavailableException(UNAVAILABLE_TEXT, detail=why))
        self._suspects.clear()

    async def _guard(self) -> None:
        """Kill workers whose head is overdue, also while another one starts."""
        while True:
            await asyncio.sleep(KEEPER_INTERVAL_S)
            now = time.monotonic()
            for worker in [*self.roster.everybody(), *self._starting]:
                if worker.overdue(now):
                    worker.kill("a token call took longer than its budget")

    async def _collect(self) -> None:
        """Fetch every worker's counters, and replace those that have grown."""
        now = time.monotonic()
        if now - self._statistics_at < STATISTICS_INTERVAL_S:
            return
        self._statistics_at = now
        for worker in self.roster.everybody():
            if not worker.is_usable:
                continue
            # Sent whether or not the pipe has room: under full load it never has, and that is when workers grow.
            counted: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            worker.send(Job(Statistics(), counted, ""))
            with suppress(TimeoutError, KeyUnavailableException):
                async with asyncio.timeout(KEEPER_INTERVAL_S):
                    result = await counted
                    if result.outcome is Outcome.OK:
                        self._grown(worker, WorkerStatistics.from_json(result.value))

    def _grown(self, worker: WorkerProcess, statistics: WorkerStatistics) -> None:
        self._observer.statistics(worker.name, statistics)
        limits = self._settings
        grown = (
            statistics.objects >= limits.replace_after_objects
            or statistics.resident_bytes >= limits.replace_after_bytes
        )
        if grown and self.roster.can_do_without(worker):
            _log.info("token worker is replaced", worker=worker.name, objects=statistics.objects)
            self._observer.worker_ended(worker.name, "replaced")
            self.roster.remove(worker)
            self._step_in()
            self._wake.set()
            task = asyncio.create_task(worker.finish())
            task.add_done_callback(lambda _: self.roster.retiring.discard(worker))


def _items_in_flight(worker: WorkerProcess) -> int:
    return worker.items_in_flight


def _send(worker: WorkerProcess, jobs: list[Job]) -> None:
    """Send jobs in one frame; where they do not fit, each in its own, and refuse what fits into none."""
    try:
        worker.send(*jobs)
    except FrameError as error:
        if len(jobs) == 1:
            _fail(jobs[0], KMSInternalException("An internal error occurred.", detail=f"no frame: {error}"))
            return
        for job in jobs:
            _send(worker, [job])


def _fail(job: Job, error: Exception) -> None:
    if not job.waiter.done():
        job.waiter.set_exception(error)


def _expire(job: Job) -> None:
    _fail(job, DependencyTimeoutException("The token did not answer in time. Try again."))
