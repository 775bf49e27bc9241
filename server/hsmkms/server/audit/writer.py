"""The thread that writes the audit log.

It takes batches of lines in their order and writes them, several at a time; they are reported when they are durable. A batch that
somebody waits for is made durable at once, others within `SYNC_EVERY_S`. When writing fails, whatever is not durable is kept and
written again from the last durable record on, every `RETRY_S` seconds, until it works: no record is lost while the process lives,
and none is in the file twice. What it keeps is bounded by who gives it work (`AuditLog.require`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hsmkms.server.audit.files import ChainFiles

RETRY_S: Final = 0.5
SYNC_EVERY_S: Final = 1.0
MAX_UNSYNCED_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines to write.

    Args:
        lines: Whole lines.
        last: The sequence number of the last of them.
        urgent: Whether somebody waits until they are durable.
    """

    lines: bytes
    last: int
    urgent: bool


class Writer:
    """The thread.

    Args:
        files: Where it writes; its first file is begun.
        durable: Is told the last durable sequence number. In the writer's thread.
        failed: Is told why writing fails, or an empty text when it works again. In the writer's thread.
    """

    def __init__(self, files: ChainFiles, durable: Callable[[int], None], failed: Callable[[str], None]) -> None:
        self._files = files
        self._durable = durable
        self._failed = failed
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._waiting: deque[Batch] = deque()
        self._unsynced: list[Batch] = []
        self._unsynced_bytes = 0
        self._sync_at = 0.0
        self._retry_at = 0.0
        self._failing = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Hand over a batch; never blocks."""
        self._queue.put(batch)

    def close(self, timeout_s: float) -> bool:
        """Write what is left, and end. Blocks.

        Args:
            timeout_s: How long to wait, in seconds.

        Returns:
            Whether all was written.
        """
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._waiting and not self._unsynced

    def _run(self) -> None:
        while True:
            self._take()
            if self._failing and time.monotonic() < self._retry_at and not self._closing:
                continue
            try:
                self._write()
            except OSError as error:
                self._fail(error)
            if self._closing:
                self._files.close()
                return

    def _take(self) -> None:
        """Wait for a batch as long as nothing else is to be done, and take all there are."""
        batch: Batch | None
        try:
            batch = self._queue.get(timeout=self._patience())
            while True:
                if batch is None:
                    self._closing = True
                else:
                    self._waiting.append(batch)
                batch = self._queue.get_nowait()
        except queue.Empty:
            return

    def _patience(self) -> float | None:
        if self._failing:
            return max(0.0, self._retry_at - time.monotonic())
        return max(0.0, self._sync_at - time.monotonic()) if self._unsynced else None

    def _write(self) -> None:
        urgent = self._closing or self._failing
        if self._waiting:
            lines = b"".join(batch.lines for batch in self._waiting)
            if self._files.needs_next(len(lines)):
                self._sync()
                self._files.begin_next()
            self._files.append(lines)
            urgent = urgent or any(batch.urgent for batch in self._waiting)
            if not self._unsynced:
                self._sync_at = time.monotonic() + SYNC_EVERY_S
            self._unsynced += self._waiting
            self._unsynced_bytes += len(lines)
            self._waiting.clear()
        is_due = self._unsynced_bytes >= MAX_UNSYNCED_BYTES or time.monotonic() >= self._sync_at
        if urgent or is_due:
            self._sync()
        if self._failing:
            self._failing = False
            self._failed("")

    def _sync(self) -> None:
        if self._unsynced:
            self._files.sync()
            last = self._unsynced[-1].last
            self._unsynced.clear()
            self._unsynced_bytes = 0
            self._durable(last)

    def _fail(self, error: OSError) -> None:
        self._files.rewind()
        self._waiting.extendleft(reversed(self._unsynced))
        self._unsynced.clear()
        self._unsynced_bytes = 0
        self._retry_at = time.monotonic() + RETRY_S
        self._failing = True
        self._failed(f"{error.filename or self._files.path}: {error.strerror or error}")
