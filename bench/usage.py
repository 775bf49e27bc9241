"""Processor time and memory of a service's processes: the front, and the token workers that are its children. Linux.

Processor time is the process's clock as the kernel has it, in nanoseconds, for all its threads, and needs no help from the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LOOK_EVERY_S: Final = 2.0
_SCHED: Final = 2
"""CPUCLOCK_SCHED of the kernel's posix-timers: clock ids of other processes are made of it, as clock_getcpuclockid(3) does."""
_PARENT_FIELD: Final = 1
_CHILDREN_FIELDS: Final = slice(13, 15)
"""cutime and cstime, of /proc/PID/stat counted after the command's name."""


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a living process has used. Raises OSError when it is gone."""
    return time.clock_gettime((~pid << 3) | _SCHED)


def children(pid: int) -> list[int]:
    """Return a process's children, by looking at every process: not each kernel lists them."""
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            fields = _fields(int(entry.name))
        except OSError:
            continue  # it has just ended
        if int(fields[_PARENT_FIELD]) == pid and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, or 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a service had used at one moment.

    Args:
        front_s: Processor seconds of the front.
        workers_s: Processor seconds of each living worker, by process id.
        ended_s: Processor seconds of the workers that have ended.
    """

    front_s: float
    workers_s: dict[int, float]
    ended_s: float

    def since(self, before: Usage, without: Collection[int] = ()) -> tuple[float, float]:
        """Return the processor seconds of front and workers since an earlier moment, those of workers that have ended among them.

        Args:
            before: The earlier moment.
            without: Process ids of workers that do not count.
        """
        workers = sum(
            seconds - before.workers_s.get(pid, 0.0) for pid, seconds in self.workers_s.items() if pid not in without
        )
        gone = sum(seconds for pid, seconds in before.workers_s.items() if pid not in self.workers_s)
        return self.front_s - before.front_s, workers + max(0.0, self.ended_s - before.ended_s - gone)


def usage(pid: int) -> Usage:
    """Return what a front and its workers have used."""
    ended = sum(map(int, _fields(pid)[_CHILDREN_FIELDS])) / os.sysconf("SC_CLK_TCK")
    workers: dict[int, float] = {}
    for child in children(pid):
        try:
            workers[child] = cpu_seconds(child)
        except OSError:
            continue
    return Usage(cpu_seconds(pid), workers, ended)


class Memory:
    """What the processes of a service hold, looked at again and again during a `with`; it begins when the service is at rest.

    Args:
        pid: The front.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.front_at_rest, self.worker_at_rest = self._look()
        self.front_most, self.worker_most = self.front_at_rest, self.worker_at_rest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> tuple[int, int]:
        return resident_bytes(self._pid), max(map(resident_bytes, children(self._pid)), default=0)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            front, worker = self._look()
            self.front_most, self.worker_most = max(self.front_most, front), max(self.worker_most, worker)
