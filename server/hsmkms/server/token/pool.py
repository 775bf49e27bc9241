"""The token workers: who is there, who gets which job, and what happens when one dies, hangs or grows.

Roles: `workers` active ones do the cryptography; one admin worker generates, destroys and lists; one warm spare has logged in and
holds its keys, to step in at once. The keeper, one task, starts workers one after the other; the teacher gives them new keys;
the collector fetches their counters and replaces those that have grown.

A job goes to a worker that has its keys. What dies with a worker is tried once more elsewhere if it made session objects only and
was at the head of the pipe; what stood behind the head is queued again as if nothing had happened.

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

from hsmkms.core.ciphertext import CKA_ID_BYTES
from hsmkms.core.commands import Command, Load, Outcome, Result, Statistics
from hsmkms.core.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KMSInternalException,
    ThrottlingException,
)
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.server.token.jobs import MAX_DEATHS, FairQueue, Job
from hsmkms.server.token.process import WorkerProcess, WorkerStartError, worker_environment

MAX_LOGIN_REFUSALS: Final = 3
"""A real HSM locks itself after a few wrong PINs: after so many refusals nothing is tried until the service is started again."""
ADMIN_QUEUE: Final = 64
ADMIN_NICENESS: Final = 10
"""Who waits for a new key waits anyway; who re-encrypts beside it should not notice."""
KEEPER_INTERVAL_S: Final = 0.25
STATISTICS_INTERVAL_S: Final = 2.0
FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 0.5
SEARCH_PAUSE_S: Final = 1.0
"""How long a key that could not be found is not looked for again: looking reads every object of the token."""
FIND_ATTEMPTS: Final = 3
MAX_LOAD: Final = 4096
"""Most keys in one search; the frame has room for more."""
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
    """

    def __init__(self, settings: PoolSettings, observer: PoolObserver) -> None:
        self.description: TokenDescription | None = None
        self._settings = settings
        self._observer = observer
        self._active: list[WorkerProcess] = []
        self._spare: WorkerProcess | None = None
        self._admin: WorkerProcess | None = None
        self._retiring: set[WorkerProcess] = set()
        self._queue = FairQueue(settings.max_queued)
        self._admin_queue = FairQueue(ADMIN_QUEUE)
        self._known: set[bytes] = set()
        self._paused: dict[bytes, float] = {}
        self._loading: dict[bytes, asyncio.Task[bool]] = {}
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
        for cka_id in needed - self._known:
            await self._require(cka_id)
        job = Job(command, asyncio.get_running_loop().create_future(), principal, needed, expiry_ns, admin)
        queue = self._admin_queue if admin else self._queue
        displaced = queue.push(job)
        if displaced is not None:
            _fail(displaced, ThrottlingException("The service is busy. Try again later."))
        self._dispatch()
        try:
            async with asyncio.timeout(_seconds_until(expiry_ns)):
                result = await job.future
        except TimeoutError:
            raise DependencyTimeoutException("The token did not answer in time. Try again.") from None
        finally:
            if not job.future.done() or job.future.cancelled():
                queue.discard(job)
        if result.outcome is Outcome.KEY_NOT_LOADED:
            self._forget(needed)
        return result

    async def make_usable(self, cka_id: bytes) -> None:
        """Return when at least one worker has a backing key that was just generated; the others get it in the background.

        Raises:
            KeyUnavailableException: it cannot be found on the token, or the token is out of reach.
        """
        self._paused.pop(cka_id, None)
        self._known.discard(cka_id)
        for worker in self._workers():
            worker.keys.discard(cka_id)
        await self._require(cka_id)  # the teacher gives it to the others at its next turn, several keys in one search

    @property
    def queued(self) -> int:
        """Jobs that wait in the front."""
        return len(self._queue) + len(self._admin_queue)

    @property
    def ready(self) -> bool:
        """Whether a crypto worker is there."""
        return bool(self._active) and not self._down

    @property
    def trouble(self) -> str:
        """Why the token is out of reach, for the operator, or nothing."""
        return self._down

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the workers by name."""
        return {worker.name: worker.pid for worker in self._workers()}

    # Start and end

    async def start(self) -> TokenDescription:
        """Start the first worker, and the keeper for the others.

        Raises:
            WorkerStartError: the token cannot be used; its detail says what to change.
        """
        self._tasks.append(asyncio.create_task(self._guard(), name="token watchdog"))
        self._active.append(await self._start_worker("crypto"))
        self._tasks.append(asyncio.create_task(self._keep(), name="token keeper"))
        self._tasks.append(asyncio.create_task(self._repeat(self._spread), name="token teacher"))
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
        await asyncio.gather(*(worker.stop() for worker in [*self._workers(), *self._starting]))

    # Who gets what

    def _workers(self) -> list[WorkerProcess]:
        others = [worker for worker in (self._spare, self._admin) if worker is not None]
        return list({worker.name: worker for worker in [*self._active, *others, *self._retiring]}.values())

    def _dispatch(self) -> None:
        for worker in sorted(self._active, key=lambda worker: worker.in_flight):
            self._fill(worker, self._queue, worker.keys.issuperset)
        if self._queue and self._spare is not None:
            spare = self._spare
            elsewhere = [worker.keys for worker in self._active]
            self._fill(
                spare,
                self._queue,
                lambda keys: spare.keys.issuperset(keys) and not any(held.issuperset(keys) for held in elsewhere),
            )
        admin = self._admin_worker()
        if admin is not None and admin.in_flight == 0:
            self._fill(admin, self._admin_queue, lambda _: admin.in_flight == 0)

    def _fill(self, worker: WorkerProcess, queue: FairQueue, serves: Callable[[frozenset[bytes]], bool]) -> None:
        while worker.has_room and len(queue):
            job = queue.pop(lambda job: serves(job.keys))
            if job is None:
                return
            if not job.future.done():
                worker.send(job)

    def _admin_worker(self) -> WorkerProcess | None:
        if self._plan()[1]:
            return self._admin
        return self._active[0] if self._active else None

    def _plan(self) -> tuple[int, bool, bool]:
        """Return how many active workers, and whether an admin worker and a spare, the token's session limit leaves room for."""
        limit = self.description.max_sessions if self.description else None
        workers, admin, spare = self._settings.workers, True, self._settings.spare
        if limit is None:
            return workers, admin, spare
        admin = limit > 1
        workers = max(1, min(workers, limit - admin))
        return workers, admin, spare and limit > workers + admin

    # Keys

    async def _require(self, cka_id: bytes) -> None:
        """Have a worker find a key; several callers wait for one search, and a vain one is not repeated at once."""
        if not self._is_paused(cka_id):
            task = self._loading.get(cka_id)
            if task is None:
                task = asyncio.create_task(self._find(cka_id))
                self._loading[cka_id] = task
                task.add_done_callback(lambda _: self._loading.pop(cka_id, None))
            if await asyncio.shield(task):
                return
        raise KeyUnavailableException("The key material is not on the token.", detail=f"CKA_ID {cka_id.hex()}")

    async def _find(self, cka_id: bytes) -> bool:
        for _ in range(FIND_ATTEMPTS):
            worker = self._spare or min(self._active, key=lambda worker: worker.in_flight, default=None)
            if worker is None:
                await asyncio.sleep(FIRST_RETRY_S)
                continue
            await self._load(worker, {cka_id})
            if cka_id in worker.keys:
                self._dispatch()
                return True
            if worker.is_alive:
                break
        self._pause(cka_id)
        return False

    async def _load(self, worker: WorkerProcess, cka_ids: set[bytes]) -> None:
        loop = asyncio.get_running_loop()
        # A short question first: a worker that stands still is found out by its short budget, not by that of a search.
        question = Job(Statistics(), loop.create_future(), "")
        job = Job(Load(b"".join(sorted(cka_ids))), loop.create_future(), "")
        worker.send(question)
        worker.send(job)
        with suppress(KeyUnavailableException):
            result = await job.future
            if result.outcome is Outcome.OK:
                found = {result.value[i : i + CKA_ID_BYTES] for i in range(0, len(result.value), CKA_ID_BYTES)}
                worker.keys |= found
                self._known |= found

    async def _spread(self) -> None:
        """Give every active worker the keys it lacks: the spare learns them aside, then changes places with one that lacks them."""
        if self._spare is not None:
            await self._teach(self._spare)
        for worker in list(self._active):
            lacking = self._lacking(worker)
            if not lacking or worker not in self._active:
                continue
            spare = self._spare
            if spare is not None and not spare.retiring and lacking <= spare.keys:
                self._active[self._active.index(worker)] = spare
                self._spare = worker
                self._dispatch()
            await self._teach(worker)

    async def _teach(self, worker: WorkerProcess) -> None:
        lacking = set(sorted(self._lacking(worker))[:MAX_LOAD])
        if not lacking or not worker.is_usable:
            return
        await self._load(worker, lacking)
        if not worker.is_usable:
            return  # it says nothing about the keys
        for cka_id in lacking - worker.keys:
            self._pause(cka_id)
            _log.warning(
                "a worker cannot find key material that was on the token", worker=worker.name, cka_id=cka_id.hex()
            )

    def _lacking(self, worker: WorkerProcess) -> set[bytes]:
        lacking = self._known - worker.keys
        return {cka_id for cka_id in lacking if not self._is_paused(cka_id)} if lacking else lacking

    def _forget(self, cka_ids: frozenset[bytes]) -> None:
        """A worker has no handle for one of these after all: look for them again, but not at once."""
        for cka_id in cka_ids:
            if not self._is_paused(cka_id):
                self._known.discard(cka_id)
                for worker in self._workers():
                    worker.keys.discard(cka_id)

    def _pause(self, cka_id: bytes) -> None:
        self._paused[cka_id] = time.monotonic() + SEARCH_PAUSE_S

    def _is_paused(self, cka_id: bytes) -> bool:
        until = self._paused.get(cka_id)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._paused[cka_id]
        return False

    # Workers come and go

    async def _start_worker(self, role: str) -> WorkerProcess:
        self._started += 1
        worker = WorkerProcess(f"{role}-{self._started}", self._answered, self._lost)
        known = self.description.capabilities if self.description else None
        settings = replace(self._settings.worker, capabilities=known, load_keys=role == "crypto")
        self._starting.add(worker)
        try:
            description = await worker.start(settings, worker_environment(self._settings.environment))
        finally:
            self._starting.discard(worker)
        if self.description is None:
            self.description = description
        if role == "crypto":
            self._known |= worker.keys
        else:
            worker.lower_priority(ADMIN_NICENESS)
        self._refusals = 0
        self._observer.worker_started(worker.name, description.startup_ms)
        _log.info("token worker ready", worker=worker.name, pid=worker.pid, keys=len(worker.keys))
        return worker

    def _answered(self, worker: WorkerProcess) -> None:
        if worker.retiring and worker in self._active:
            self._remove(worker)
            self._promote_spare()
        self._dispatch()

    def _lost(self, worker: WorkerProcess, jobs: list[Job]) -> None:
        had_role = self._remove(worker)
        self._retiring.discard(worker)
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
        waiting = [job for job in jobs if not job.future.done()]
        if waiting and waiting[0] is jobs[0] and not worker.retiring:
            waiting[0].deaths += 1
        for job in reversed(waiting):
            self._take_back(job)
        self._promote_spare()
        if not self._active and self._refusals >= MAX_LOGIN_REFUSALS:
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

    def _remove(self, worker: WorkerProcess) -> bool:
        held = worker in self._active or worker in (self._spare, self._admin)
        if worker in self._active:
            self._active.remove(worker)
        if worker is self._spare:
            self._spare = None
        if worker is self._admin:
            self._admin = None
        if held and worker.is_alive:
            self._retiring.add(worker)
        return held

    def _promote_spare(self) -> None:
        if self._spare is not None and len(self._active) < self._plan()[0]:
            self._active.append(self._spare)
            self._spare = None
            self._wake.set()

    def _missing_role(self) -> str | None:
        workers, admin, spare = self._plan()
        if len(self._active) < workers:
            return "crypto"
        if admin and self._admin is None:
            return "admin"
        return "crypto" if spare and self._spare is None else None

    # The keeper, the teacher, the collector and the watchdog

    async def _keep(self) -> None:
        pause = FIRST_RETRY_S
        while True:
            role = self._missing_role() if self._refusals < MAX_LOGIN_REFUSALS else None
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
        if role == "admin":
            self._admin = worker
        elif len(self._active) < self._plan()[0]:
            self._active.append(worker)
        else:
            self._spare = worker
        self._dispatch()
        return True

    def _start_failed(self, error: WorkerStartError) -> None:
        _log.error("token worker could not start", outcome=error.outcome.name, detail=error.detail)
        if error.outcome is Outcome.PIN_REFUSED:
            self._refusals += 1
            if self._refusals >= MAX_LOGIN_REFUSALS:
                _log.critical("the token refuses the PIN: nothing more is tried until the service is started again")
        self._clear_suspects(error.detail)
        if not self._active:
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
            for worker in [*self._workers(), *self._starting]:
                if worker.overdue(now):
                    worker.kill("a token call took longer than its budget")

    async def _collect(self) -> None:
        """Fetch every worker's counters, and replace those that have grown."""
        now = time.monotonic()
        if now - self._statistics_at < STATISTICS_INTERVAL_S:
            return
        self._statistics_at = now
        for worker in self._workers():
            if not worker.is_usable:
                continue
            # Sent whether or not the pipe has room: under full load it never has, and that is when workers grow.
            job = Job(Statistics(), asyncio.get_running_loop().create_future(), "")
            worker.send(job)
            with suppress(TimeoutError, KeyUnavailableException):
                async with asyncio.timeout(KEEPER_INTERVAL_S):
                    result = await job.future
                    if result.outcome is Outcome.OK:
                        self._grown(worker, WorkerStatistics.from_json(result.value))

    def _grown(self, worker: WorkerProcess, statistics: WorkerStatistics) -> None:
        self._observer.statistics(worker.name, statistics)
        limits = self._settings
        grown = (
            statistics.objects >= limits.replace_after_objects
            or statistics.resident_bytes >= limits.replace_after_bytes
        )
        replaceable = worker in self._active and (self._spare is not None or not self._plan()[2])
        if grown and replaceable:
            _log.info("token worker is replaced", worker=worker.name, objects=statistics.objects)
            self._observer.worker_ended(worker.name, "replaced")
            self._remove(worker)
            self._promote_spare()
            self._wake.set()
            task = asyncio.create_task(worker.finish())
            task.add_done_callback(lambda _: self._retiring.discard(worker))


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)


def _seconds_until(expiry_ns: int) -> float | None:
    return None if not expiry_ns else max(0.0, (expiry_ns - time.monotonic_ns()) / 1e9)
