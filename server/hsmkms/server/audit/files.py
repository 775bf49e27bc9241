"""The files of one chain: whole lines are appended, and a failure leaves no part of one.

`audit-START-CHAIN.jsonl`, START being when the file was begun (UTC), mode 0600, never written again once the next one is begun.
For the writer's thread alone; every method may block on the disk.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

PATTERN: Final = "audit-*.jsonl"
MAX_PREVIOUS_CHAINS: Final = 16
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_TAIL_BYTES: Final = 512 * 1024
"""Longer than the longest record: the last whole line of a file is in its last so many bytes."""


class ChainFiles:
    """Where a chain is written to.

    Args:
        folder: The folder; it is there.
        chain_id: The chain.
        max_bytes: A new file is begun rather than write beyond this.
        now: The time, UTC.
        write: What writes bytes at an offset: `os.pwrite`.
        flush: What makes them durable: `os.fsync`.
    """

    def __init__(
        self,
        folder: Path,
        chain_id: str,
        max_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        write: Callable[[int, memoryview, int], int] = os.pwrite,
        flush: Callable[[int], None] = os.fsync,
    ) -> None:
        self._folder = folder
        self._chain_id = chain_id
        self._max_bytes = max_bytes
        self._now = now
        self._write = write
        self._flush = flush
        self._descriptor = -1
        self._end = 0
        self._durable_end = 0
        self._has_rest = False
        self.path: Path | None = None
        """The file that is written now."""

    def needs_next(self, length: int) -> bool:
        """Say whether the next file is to be begun before that many bytes: it would be too long, or was moved or deleted.

        Raises:
            OSError: that cannot be found out.
        """
        return bool(self._end and self._end + length > self._max_bytes) or not self._is_in_place()

    def begin_next(self) -> None:
        """Begin the first file or the next one; the one before is closed once that succeeded. Call `sync` before.

        Raises:
            OSError: it cannot be made.
        """
        start = self._now().strftime("%Y%m%dT%H%M%S.%fZ")
        path = self._folder / f"audit-{start}-{self._chain_id}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        try:
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            raise
        self.close()
        self._descriptor, self.path = descriptor, path
        self._end = self._durable_end = 0
        self._has_rest = False

    def append(self, lines: bytes) -> None:
        """Write whole lines; they are durable after `sync`.

        Raises:
            OSError: they were not all written; call `rewind` and write again whatever was not synced.
        """
        if self._has_rest:
            os.ftruncate(self._descriptor, self._durable_end)
            self._has_rest = False
        view = memoryview(lines)
        while view:
            written = self._write(self._descriptor, view, self._end)
            self._end += written
            view = view[written:]

    def sync(self) -> None:
        """Make durable what was appended.

        Raises:
            OSError: it may not be durable; call `rewind` and write it again.
        """
        self._flush(self._descriptor)
        self._durable_end = self._end

    def rewind(self) -> None:
        """Forget what was appended since the last `sync`, after a failure."""
        self._end = self._durable_end
        self._has_rest = True
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # `append` tries again before it writes
                os.ftruncate(self._descriptor, self._durable_end)
                self._has_rest = False

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_in_place(self) -> bool:
        assert self.path is not None, "a file was begun"
        try:
            there, own = self.path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def make_folder(folder: Path) -> None:
    """Make the folder of audit logs, for this user alone, if it is not there. The folder above it must be.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=_FOLDER_MODE)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: they may not be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_records(folder: Path) -> Sequence[tuple[str, bytes]]:
    """Return name and last whole line of the newest file of each chain in a folder, newest chain first, `MAX_PREVIOUS_CHAINS` at most.

    Chains of other processes that are being written are among them: where they stand now is worth recording too.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    found: dict[str, tuple[str, bytes]] = {}
    for path in sorted(folder.glob(PATTERN), reverse=True):
        chain_id = path.stem.rpartition("-")[2]
        if chain_id not in found and len(found) < MAX_PREVIOUS_CHAINS:
            line = _last_line(path)
            if line:
                found[chain_id] = (path.name, line)
    return list(found.values())


def read_record(line: bytes) -> dict[str, Any] | None:
    """Return the record that a line holds, or None."""
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().split(b"\n")
    whole = lines[:-1]  # what follows the last end of line is no whole line
    return whole[-1] if whole else b""
