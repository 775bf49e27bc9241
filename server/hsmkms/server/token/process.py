"""One token worker as the front sees it: a process, a socket, and the frames that are under way.

Frames are answered in the order they were sent, so the oldest unanswered one is the one the worker is at: the head. The time that
counts for the watchdog is the time since a frame became the head. A frame holds several jobs of one kind where several wait. How much
is in the pipe is bounded by the time that it takes this worker: about `WORK_IN_PIPE_S`, by what it needed for each item lately.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from hsmkms.core.commands import Outcome, Result, Start
from hsmkms.core.frames import (
    LENGTH,
    MAX_ITEMS,
    MAX_RESPONSE_BYTES,
    FrameError,
    Request,
    decode_response,
    encode_request,
    frame_length,
)
from hsmkms.core.material_commands import Command
from hsmkms.core.startup import ALLOCATOR, TokenDescription, WorkerSettings
from hsmkms.server.token.jobs import Job, budget_s

MAX_FRAMES: Final = 4
"""Most frames in a worker's pipe: enough to keep it busy, few enough that a deadline or a death costs little."""
MAX_ITEMS_IN_PIPE: Final = 32
WORK_IN_PIPE_S: Final = 0.005
FIRST_ITEM_S: Final = 0.0003
"""What an item is taken to need before the first one was measured."""
FASTER_WEIGHT: Final = 0.2
SLOWER_WEIGHT: Final = 0.02
"""How much of the newest measurement goes into the average of what an item needs. Slow ones count for less: for the most part they say
that the processors were busy with something else."""
TOO_FAST_S: Final = 0.00002
"""An item that seems to have needed less was answered together with the frame before it."""
EXIT_WAIT_S: Final = 2.0

_log = structlog.get_logger(__name__)


class WorkerStartError(Exception):
    """A worker could not reach its token.

    Args:
        outcome: Why.
        detail: One line for the operator: what to change.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    jobs: tuple[Job, ...]


class WorkerProcess(asyncio.Protocol):
    """A running worker.

    Args:
        name: For logs: `crypto-3`.
        answered: Called after each answer: the pipe has room.
        lost: Called once when the worker is gone, with the jobs that it had not answered, oldest first.
    """

    def __init__(
        self,
        name: str,
        answered: Callable[[WorkerProcess], None],
        lost: Callable[[WorkerProcess, list[Job]], None],
    ) -> None:
        self.name = name
        self.keys: set[bytes] = set()
        self.retiring = False
        self.killed_because = ""
        self._answered = answered
        self._lost = lost
        self._frames: deque[_Frame] = deque()
        self.items_in_flight = 0
        """Jobs sent and not answered."""
        self._has_none = asyncio.Event()
        self._item_s = FIRST_ITEM_S
        self._items_allowed = _items_in_pipe(FIRST_ITEM_S)
        self._head_since = 0.0
        self._number = 0
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._given_up: list[Job] = []
        self._gone = False

    @property
    def pid(self) -> int:
        """The worker's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def in_flight(self) -> int:
        """Frames sent and not answered."""
        return len(self._frames)

    @property
    def commands(self) -> list[Command]:
        """The commands sent and not answered, the one that the worker is at first."""
        return [job.command for frame in self._frames for job in frame.jobs]

    @property
    def has_room(self) -> bool:
        """Whether another frame may be sent."""
        return (
            len(self._frames) < MAX_FRAMES
            and self.items_in_flight < self._items_allowed
            and not self.retiring
            and not self._gone
        )

    @property
    def frame_room(self) -> int:
        """How many items the next frame may have, 1 at the least: two frames fill the pipe, so that the worker never waits for one."""
        allowed = self._items_allowed
        return max(1, min(MAX_ITEMS, allowed // 2, allowed - self.items_in_flight))

    @property
    def is_usable(self) -> bool:
        """Whether it will answer what it is sent, as far as is known."""
        return not self.retiring and not self._gone

    @property
    def is_alive(self) -> bool:
        """Whether the process is still there."""
        return not self._gone

    async def start(self, settings: WorkerSettings, environment: Mapping[str, str]) -> TokenDescription:
        """Spawn the process, and wait until it is logged in.

        Args:
            settings: What it needs to reach the token.
            environment: Its whole environment.

        Raises:
            WorkerStartError: it could not reach the token, or died on the way.
        """
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "hsmkms.hsm.worker",
                "--fd",
                str(theirs.fileno()),
                "--parent",
                str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=dict(environment),
            )
        except OSError as error:
            ours.close()
            raise WorkerStartError(
                Outcome.UNAVAILABLE, f"the token worker cannot be spawned: {error.strerror}"
            ) from error
        finally:
            theirs.close()
        await loop.create_connection(lambda: self, sock=ours)
        started: asyncio.Future[Result] = loop.create_future()
        self.send(Job(Start(settings.to_json()), started, ""))
        try:
            result = await started
        except BaseException:
            # Not by a signal: SoftHSM writes token.object anew at each login, and one who dies in it leaves an empty file, no token.
            await self.stop()
            raise
        if result.outcome is not Outcome.OK:
            self.kill("start failed")
            raise WorkerStartError(result.outcome, result.value.decode("utf-8", "replace"))
        description = TokenDescription.from_json(result.value)
        self.keys = {bytes.fromhex(cka_id) for cka_id in description.cka_ids}
        return description

    def send(self, *jobs: Job) -> None:
        """Send jobs in one frame.

        Args:
            jobs: 1 to 16, whose commands are of one kind.

        Raises:
            FrameError: the commands do not fit into a frame; nothing was sent.
        """
        number = self._number + 1
        frame = encode_request(
            Request(number, tuple([job.expiry_ns for job in jobs]), tuple([job.command for job in jobs]))
        )
        self._number = number
        if not self._frames:
            self._head_since = time.monotonic()
        self._frames.append(_Frame(number, jobs))
        self.items_in_flight += len(jobs)
        self._has_none.clear()
        if self._transport is not None and not self._gone:
            self._transport.write(frame)

    def overdue(self, now: float) -> bool:
        """Say whether the head has been the head for longer than its budget; `now` is a time of `time.monotonic`."""
        return bool(self._frames) and now - self._head_since > budget_s(self._frames[0].jobs)

    def kill(self, why: str) -> None:
        """End the process at once; `lost` is called when it is gone."""
        self.killed_because = self.killed_because or why
        if self._process is not None and self._process.returncode is None:
            _log.info("token worker killed", worker=self.name, pid=self._process.pid, why=why)
            # Not by asyncio's method: that reaps a process which has just ended, and the loop, which waits for it, then warns of it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    def lower_priority(self, niceness: int) -> None:
        """Let other processes go first when the processors are busy: `niceness` is 0 to 19, as of nice(1)."""
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self.pid, niceness)

    async def finish(self) -> None:
        """Let the worker answer what it was sent, within the time it may take for that, then end it."""
        self.retiring = True
        if self._frames:
            with suppress(TimeoutError):
                async with asyncio.timeout(sum(budget_s(frame.jobs) for frame in self._frames)):
                    await self._has_none.wait()
        await self.stop()

    async def stop(self) -> None:
        """Close the socket, at whose end the worker exits, and wait for that; kill it if it does not."""
        self.retiring = True
        if self._transport is not None:
            self._transport.close()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(EXIT_WAIT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill("did not exit")
            await self._process.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take answers out of what has arrived (asyncio calls this)."""
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            with memoryview(buffer) as view:
                while len(view) - position >= LENGTH.size:
                    length = frame_length(bytes(view[position : position + LENGTH.size]), MAX_RESPONSE_BYTES)
                    end = position + LENGTH.size + length
                    if len(view) < end:
                        break
                    self._take(bytes(view[position + LENGTH.size : end]))
                    position = end
        except FrameError as error:
            self.kill(f"sent no frame: {error}")
            return
        del buffer[:position]
        if position:
            self._answered(self)

    def _take(self, body: bytes) -> None:
        response = decode_response(body)
        results = response.results
        if not self._frames or self._frames[0].number != response.number:
            raise FrameError("an answer to nothing that was asked")
        jobs = self._frames[0].jobs
        if not results or len(results) > len(jobs) or (len(results) < len(jobs) and not response.retiring):
            raise FrameError(f"{len(results)} answers to {len(jobs)} items")
        self._frames.popleft()
        self.items_in_flight -= len(jobs)
        self._measure(jobs)
        self.retiring = self.retiring or response.retiring
        self._given_up += jobs[len(results) :]  # not started: they are queued again as if nothing had happened
        for job, result in zip(jobs, results, strict=False):
            if response.retiring and result.outcome is Outcome.FAILED and job.session_only:
                # The worker gives itself up over this one: it is tried again like a job that a worker died of.
                job.deaths += 1
                self._given_up.append(job)
            elif not job.waiter.done():
                job.waiter.set_result(result)
        if not self._frames:
            self._has_none.set()

    def _measure(self, jobs: tuple[Job, ...]) -> None:
        """Note how long the head took; the next frame is the head now."""
        now = time.monotonic()
        item_s = (now - self._head_since) / len(jobs)
        if jobs[0].session_only and item_s > TOO_FAST_S:
            difference = item_s - self._item_s
            self._item_s += difference * (FASTER_WEIGHT if difference < 0 else SLOWER_WEIGHT)
            self._items_allowed = _items_in_pipe(self._item_s)
        self._head_since = now

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the jobs that are left (asyncio calls this)."""
        del exc
        if self._gone:
            return
        self._gone = True
        if self._frames and not self.retiring:
            for job in self._frames[0].jobs:  # which of them it was at is not known
                job.deaths += 1
        jobs = [*self._given_up, *(job for frame in self._frames for job in frame.jobs)]
        self._frames.clear()
        self.items_in_flight = 0
        self._has_none.set()
        starting = [job for job in jobs if isinstance(job.command, Start)]
        for job in starting:
            if not job.waiter.done():
                detail = self.killed_because or "the token worker ended while it started: see the lines before this one"
                job.waiter.set_result(Result(Outcome.UNAVAILABLE, detail.encode()))
        self._lost(self, [job for job in jobs if job not in starting])


def _items_in_pipe(item_s: float) -> int:
    """Return how many items may be in the pipe of a worker that needs so long for each."""
    return max(MAX_FRAMES, min(MAX_ITEMS_IN_PIPE, int(WORK_IN_PIPE_S / item_s)))


def worker_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's whole environment: a few variables of ours, and those that the configuration names.

    Args:
        extra: Variables for the PKCS#11 module, for example `SOFTHSM2_CONF`.
    """
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "CREDENTIALS_DIRECTORY")
    return ALLOCATOR | {name: os.environ[name] for name in kept if name in os.environ} | dict(extra)
