"""A process's memory, searched while the process stands still."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.service import eventually

PIECE = 16 << 20


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for the length of a `with`."""
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: state_of(pid) == "T", 5, "the stop")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    """Return the state letter of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def readable_maps(pid: int) -> list[tuple[int, int, str]]:
    """Return start, end and name of every readable mapping."""
    maps = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in fields[0].split("-"))
        if fields[1].startswith("r") and (name := fields[5] if len(fields) > 5 else "") not in ("[vvar]", "[vsyscall]"):
            maps.append((start, end, name))
    return maps


def search(pid: int, *wanted: bytes) -> tuple[int, list[str]]:
    """Search all of a process's memory.

    Args:
        pid: The process.
        wanted: What to look for.

    Returns:
        How many bytes were searched, and where something was found.
    """
    searched, found = 0, []
    overlap = max(map(len, wanted)) - 1
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end, name in readable_maps(pid):
            position, tail = start, b""
            while position < end:
                memory.seek(position)
                try:
                    piece = memory.read(min(PIECE, end - position))
                except OSError:
                    assert not name or name.startswith(("/dev", "[")) or name.endswith("(deleted)"), name
                    break
                if not piece:
                    break
                together = tail + piece
                found += [f"{item!r} at {position:#x} in {name or 'memory'}" for item in wanted if item in together]
                tail = together[-overlap:] if overlap else b""
                position += len(piece)
                searched += len(piece)
    return searched, found
