"""The audit log as the service sees it: records in, refusals when it cannot be written, anchors on the way.

- A request that is carried out has a record: `require` refuses before anything is done, `record` never does. What may be missing is
  a refused request while the log cannot be written and what waits is at its bound; a record says how many they were.
- `settle` returns when the record of a change is on the disk. Other records are handed to the writer within `HAND_OVER_S` and are on
  the disk a second later: a process that is killed, or a host that fails, may lose so many of them, never one of a change that was
  answered.
- Everything here belongs to the event loop. Building and chaining a record happens on it, writing does not.
"""

from __future__ import annotations

import asyncio
import platform
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from hsmkms.core.audit import Chain, Event, RecordType, anchor_digest, event_time, line_hash, needs_log
from hsmkms.core.audit_requests import RequestRecords
from hsmkms.core.errors import KeyUnavailableException, KmsError
from hsmkms.server.audit.files import ChainFiles, last_records, make_folder, read_record
from hsmkms.server.audit.writer import Batch, Writer

HAND_OVER_S: Final = 0.01
"""How long records are collected before the writer's thread is woken for them."""
MAX_PENDING_BYTES: Final = 32 << 20
STALL_S: Final = 5.0
"""A disk that takes so long counts as one that cannot be written; also how long a change waits for its record."""
CLOSE_S: Final = 10.0
DISTRIBUTION: Final = "hsm-kms"

_REQUEST: Final = RecordType.REQUEST.value
_CANNOT: Final = "The service cannot record requests just now. Try again later."
_MAY_BE_DONE: Final = (
    "The request could not be recorded in time. It may have been carried out: repeat it with the same idempotency key."
)

_log = structlog.get_logger(__name__)

Mac = Callable[[bytes], Awaitable[bytes]]
"""Makes the token's MAC over 32 bytes. Raises KmsError when it cannot."""


class AuditObserver(Protocol):
    """Is told what happens, and counts it."""

    def audit_recorded(self, kind: str) -> None:
        """A record was made."""

    def audit_lost(self) -> None:
        """A refused request could not be recorded."""

    def audit_failed(self) -> None:
        """Writing failed."""


class Auditor(Protocol):
    """What the edge needs of an audit log."""

    def require(self, operation: str) -> None:
        """Do nothing if the operation may be carried out as far as the log goes, or raise KeyUnavailableException."""

    def record(self, event: Event) -> int:
        """Record a request that is over; return a number to wait for."""

    async def settle(self, number: int) -> None:
        """Return when the record of that number is on the disk. Raises KeyUnavailableException when that takes too long."""


class NoAudit:
    """No audit log: the configuration says so."""

    def require(self, operation: str) -> None:
        """Do nothing."""

    def record(self, event: Event) -> int:
        """Record nothing."""
        del event
        return 0

    async def settle(self, number: int) -> None:
        """Wait for nothing."""


class AuditLog:
    """One chain, and the writer behind it.

    Args:
        chain: The chain.
        files: Its files; the first is begun.
        clock_us: The time in microseconds since 1970, UTC.
        observer: Counts.
        anchor_every_records: An anchor is made after so many requests.
        max_pending_bytes: How much may wait for the disk before requests are refused.
    """

    def __init__(
        self,
        chain: Chain,
        files: ChainFiles,
        clock_us: Callable[[], int],
        observer: AuditObserver,
        *,
        anchor_every_records: int = 10_000,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        self._chain = chain
        self._requests = RequestRecords()
        self._clock_us = clock_us
        self._observer = observer
        self._anchor_every = anchor_every_records
        self._max_pending_bytes = max_pending_bytes
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(files, self._tell_durable, self._tell_failed)
        self._collected: list[bytes] = []
        self._has_urgent = False
        self._hand_over_timer: asyncio.TimerHandle | None = None
        self._handed_over: deque[tuple[int, int, float]] = deque()
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._durable = -1
        self._failure = ""
        self._lost = 0
        self._since_anchor = 0
        self._anchor_due = asyncio.Event()
        self.pending_bytes = 0
        """What is not durable yet."""

    def start(self, start_record: dict[str, Any]) -> None:
        """Start the writer and record the chain's beginning."""
        self._writer.start()
        self._seal({"recordType": RecordType.START.value, **self._now(), **start_record})

    @property
    def trouble(self) -> str:
        """Why the log cannot be written, in words for /readyz, or an empty text."""
        if self._failure or self._is_stalled():
            return "the audit log cannot be written"
        return "too much waits for the audit log" if self._is_full() else ""

    def require(self, operation: str) -> None:
        """Do nothing if the operation may be carried out as far as the log goes.

        While the log cannot be written, only operations that tell about keys are carried out; while too much waits, none.

        Raises:
            KeyUnavailableException: it may not.
        """
        if self._is_full() or ((self._failure or self._is_stalled()) and needs_log(operation)):
            raise KeyUnavailableException(_CANNOT, detail=f"audit log: {self._failure or self.trouble}")

    def record(self, event: Event) -> int:
        """Record a request that is over.

        Returns:
            The record's sequence number, for `settle`.
        """
        if event.error_code and self._is_full():
            self._lost += 1
            self._observer.audit_lost()
            return self._durable
        if self._lost:
            lost, self._lost = self._lost, 0
            self._seal({"recordType": RecordType.LOST.value, **self._now(), "refusedRequests": lost})
        self._add(self._chain.append(self._requests.body(event)), _REQUEST)
        self._since_anchor += 1
        if self._since_anchor >= self._anchor_every:
            self._anchor_due.set()
        return self._chain.length - 1

    async def settle(self, number: int) -> None:
        """Return when the record of that number, and all before it, are on the disk.

        Raises:
            KeyUnavailableException: they are not within `STALL_S` seconds.
        """
        if number <= self._durable:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((self._chain.length - 1, future))
        self._has_urgent = True
        self._hand_over()
        try:
            async with asyncio.timeout(STALL_S):
                await future
        except TimeoutError:
            raise KeyUnavailableException(
                _MAY_BE_DONE, detail=f"audit log: {self._failure or 'the disk is slow'}"
            ) from None

    async def run(self, mac: Mac, every_s: float) -> None:
        """Anchor the chain again and again while there is something new, until cancelled.

        Args:
            mac: Makes the token's MAC.
            every_s: Longest time between a record and an anchor, in seconds.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._anchor_due.wait()
            if self._since_anchor and not await self.anchor(mac):
                await asyncio.sleep(min(1.0, every_s))

    async def anchor(self, mac: Mac) -> bool:
        """Anchor the chain as it stands; return whether the token could."""
        sequence, last_hash, new = self._chain.length - 1, self._chain.last_hash, self._since_anchor
        self._anchor_due.clear()
        try:
            made = await mac(anchor_digest(self._chain.chain_id, sequence, last_hash))
        except KmsError as error:
            _log.warning("the audit log could not be anchored", error=error.code, detail=error.detail)
            return False
        self._since_anchor -= new
        anchored = {"anchoredSequence": sequence, "anchoredHash": last_hash, "mac": made.hex()}
        self._seal({"recordType": RecordType.ANCHOR.value, **self._now(), **anchored})
        return True

    async def close(self, mac: Mac) -> None:
        """End the chain, anchor it, and wait until all is on the disk, `CLOSE_S` seconds at most."""
        self._seal({"recordType": RecordType.END.value, **self._now()})
        with suppress(TimeoutError):
            async with asyncio.timeout(STALL_S):
                await self.anchor(mac)
        self._hand_over()
        if not await asyncio.to_thread(self._writer.close, CLOSE_S):
            _log.critical("the end of the audit log could not be written", why=self._failure, bytes=self.pending_bytes)

    def _now(self) -> dict[str, Any]:
        return {"eventTime": event_time(self._clock_us())}

    def _is_full(self) -> bool:
        return self.pending_bytes >= self._max_pending_bytes

    def _is_stalled(self) -> bool:
        return bool(self._handed_over) and time.monotonic() - self._handed_over[0][2] > STALL_S

    def _seal(self, record: dict[str, Any]) -> None:
        self._add(self._chain.seal(record), record["recordType"])

    def _add(self, line: bytes, kind: str) -> None:
        self.pending_bytes += len(line)
        self._observer.audit_recorded(kind)
        self._collected.append(line)
        if self._hand_over_timer is None:
            self._hand_over_timer = self._loop.call_later(HAND_OVER_S, self._hand_over)

    def _hand_over(self) -> None:
        """Give the writer what was collected; an empty batch makes it sync."""
        if self._hand_over_timer is not None:
            self._hand_over_timer.cancel()
            self._hand_over_timer = None
        if not self._collected and not self._has_urgent:
            return
        lines = b"".join(self._collected)
        last = self._chain.length - 1
        self._collected.clear()
        self._handed_over.append((last, len(lines), time.monotonic()))
        self._writer.put(Batch(lines, last, self._has_urgent))
        self._has_urgent = False

    def _tell_durable(self, last: int) -> None:
        self._in_loop(self._take_durable, last)

    def _tell_failed(self, why: str) -> None:
        self._in_loop(self._take_failure, why)

    def _in_loop(self, work: Callable[..., None], argument: int | str) -> None:
        """Have something done in the loop; called by the writer's thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(work, argument)

    def _take_durable(self, last: int) -> None:
        self._durable = last
        while self._handed_over and self._handed_over[0][0] <= last:
            self.pending_bytes -= self._handed_over.popleft()[1]
        while self._waiters and self._waiters[0][0] <= last:
            future = self._waiters.popleft()[1]
            if not future.done():
                future.set_result(None)

    def _take_failure(self, why: str) -> None:
        if why:
            self._observer.audit_failed()
            if not self._failure:
                _log.critical(
                    "the audit log cannot be written: cryptographic requests and changes are refused", why=why
                )
        elif self._failure:
            _log.warning("the audit log can be written again")
        self._failure = why


def open_audit_log(
    folder: Path,
    *,
    max_file_bytes: int,
    anchor_every_records: int,
    clock_us: Callable[[], int],
    observer: AuditObserver,
    facts: dict[str, Any],
) -> AuditLog:
    """Begin a chain in a folder, and start its writer.

    Args:
        folder: Where; it is made if it is not there.
        max_file_bytes: A new file is begun rather than write beyond this.
        anchor_every_records: An anchor is made after so many requests.
        clock_us: The time in microseconds since 1970, UTC.
        observer: Counts.
        facts: What the chain's first record says beside the usual.

    Raises:
        OSError: folder or file cannot be made.
    """
    make_folder(folder)
    chain = Chain(uuid.uuid4().hex)
    before = []
    for name, line in last_records(folder):
        record = read_record(line)
        if record is not None:
            link = {"chainId": record.get("chainId"), "sequence": record.get("sequence")}
            before.append({"file": name, **link, "hash": line_hash(line)})
    files = ChainFiles(folder, chain.chain_id, max_file_bytes)
    files.begin_next()
    log = AuditLog(chain, files, clock_us, observer, anchor_every_records=anchor_every_records)
    log.start(
        {
            "serviceVersion": metadata.version(DISTRIBUTION),
            "host": platform.node(),
            **facts,
            "previousChains": before,
        }
    )
    return log
