"""Transactions on the catalog, away from the event loop.

Changes run one after the other in one thread, readings in another, and a third waits for news of other processes. A change is
committed, and its rows and those of other processes that came before it are in the view, before `Database.change` returns; a caller
that is cancelled while it waits does not tear it. All waits are bounded: for the thread and for the database's lock together,
`busy_timeout_s`; for a server that does not answer, half a second more; changes that wait, `MAX_PENDING`.

A change whose connection broke, or that another transaction was in the way of, is tried again at once, unless its commit had begun:
whether that was carried out nobody knows, and only its caller's idempotency key can tell.

Methods belong to one event loop; the functions handed to them run in the threads and must not touch the view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hsmkms.core.errors import (
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    ThrottlingException,
    ValidationException,
)
from hsmkms.server.catalog import rows, schema
from hsmkms.server.catalog.place import Access, Failure, Line, Place
from hsmkms.server.catalog.rows import ChangedRows
from hsmkms.server.catalog.view import View

BUSY_TIMEOUT_S: Final = 5.0
MAX_PENDING: Final = 1000
"""Changes that may wait at a time: at a few milliseconds each, more would not be done within the busy timeout."""
ATTEMPTS: Final = 3
"""How often one change is tried at the most."""
CUT_MARGIN_S: Final = 0.5
"""How much longer than its bound a wait may take before its connection is cut: the database's own timeouts come first."""

_FAILURES: Final = (SQLAlchemyError, OSError, ValueError)
"""What a transaction may fail with beside a `KmsError`; ValueError: a row holds what this version cannot read."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One change, inside its transaction.

    Args:
        connection: The connection.
        sequence: The change's sequence number.
        now: The time in microseconds since 1970, UTC.
        claimant: Who makes the change (`claims`).
    """

    connection: Connection
    sequence: int
    now: int
    claimant: str


@dataclass(slots=True)
class _Attempt:
    """How far one attempt at a change has come."""

    committing: bool = False


def translate(place: Place, error: Exception) -> KmsError:
    """Return what a caller is told of a failed transaction."""
    detail = " ".join(str(error).split())
    if isinstance(error, DBAPIError):
        failure = place.failure(error)
        if failure is Failure.UNSTORABLE:
            return ValidationException("A text of the request holds a character that cannot be stored: U+0000.")
        unreachable = failure in (Failure.UNREACHABLE, Failure.CONFLICT)
    else:
        unreachable = isinstance(error, OSError | PoolTimeoutError)
    if unreachable:
        return KeyUnavailableException("The key catalog cannot be reached. Try again later.", detail=detail)
    return KMSInternalException("The key catalog failed.", detail=detail)


class Database:
    """The catalog's database, behind three threads.

    Args:
        place: Where the catalog is.
        engine: Of that place.
        view: Where changed rows go.
        clock_us: The time in microseconds since 1970, UTC.
        monotonic: A clock in seconds that only goes forward.
        claimant: Who this process is in `claims`.
        busy_timeout_s: Longest wait of one change or reading, in seconds.
    """

    def __init__(
        self,
        place: Place,
        engine: Engine,
        view: View,
        clock_us: Callable[[], int],
        monotonic: Callable[[], float],
        claimant: str,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._place = place
        self._engine = engine
        self._view = view
        self._clock_us = clock_us
        self._monotonic = monotonic
        self._claimant = claimant
        self._busy_timeout_s = busy_timeout_s
        self._writer = ThreadPoolExecutor(1, "catalog-writer")
        self._reader = ThreadPoolExecutor(1, "catalog-reader")
        self._listener = ThreadPoolExecutor(1, "catalog-listener")
        self._watcher = place.watcher(engine)
        self._pending: set[asyncio.Task[object]] = set()
        self._closed = False

    def now_us(self) -> int:
        """Return the time in microseconds since 1970, UTC, as rows are stamped with it."""
        return self._clock_us()

    async def change(self, work: Callable[[Transaction], Result]) -> Result:
        """Run a function in a transaction of its own and return its result, once committed and in the view.

        Raises:
            KeyUnavailableException: the database cannot be reached, or is locked for longer than the bound.
            KMSInternalException: the database fails otherwise.
            ThrottlingException: too many changes wait.
            KmsError: what `work` raises; nothing is changed then.
        """
        self._require_open()
        if len(self._pending) >= MAX_PENDING:
            raise ThrottlingException("Too many changes of the key catalog are under way. Try again later.")
        task = asyncio.get_running_loop().create_task(self._change(work))
        self._pending.add(task)
        task.add_done_callback(self._settle)
        return await asyncio.shield(task)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run a function in a reading transaction of its own and return its result.

        Raises:
            KeyUnavailableException: the database cannot be reached.
            KMSInternalException: the database fails otherwise.
        """
        self._require_open()
        try:
            return await self._within_bound(self._reader, lambda line: self._read(work, line))
        except _FAILURES as error:
            raise translate(self._place, error) from error

    async def catch_up(self) -> None:
        """Take what other processes committed into the view, and confirm the view.

        Raises:
            KeyUnavailableException: the database cannot be reached.
            KMSInternalException: the database fails otherwise.
        """
        self._require_open()
        started = self._monotonic()
        try:
            changes = await self._within_bound(self._reader, self._poll)
        except _FAILURES as error:
            raise translate(self._place, error) from error
        if changes is not None:
            self._view.apply(changes)
        self._view.confirm(started)

    async def wait_for_news(self, *, reachable: bool) -> None:
        """Return when another process has committed something, or when it is time to look anyway.

        Args:
            reachable: Whether the database answered lately; one that did not is not listened to.
        """
        interval_s = self._place.poll_interval_s
        if not reachable:
            await asyncio.sleep(interval_s)
            return
        await self._within_bound(
            self._listener, lambda line: self._watcher.wait(self._view.position, interval_s, line), interval_s
        )

    async def close(self) -> None:
        """Wait for the changes under way and close every connection."""
        self._closed = True
        if self._pending:
            await asyncio.wait(self._pending)
        for executor in (self._writer, self._reader, self._listener):
            # The watcher's connection is one of theirs: whatever still runs there ends first.
            await asyncio.to_thread(executor.shutdown)
        self._watcher.close()
        self._engine.dispose()

    def _require_open(self) -> None:
        if self._closed:
            raise KeyUnavailableException("The service is shutting down.")

    def _settle(self, task: asyncio.Task[object]) -> None:
        self._pending.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if the caller has gone

    async def _change(self, work: Callable[[Transaction], Result]) -> Result:
        expiry = self._monotonic() + self._busy_timeout_s
        try:
            result, changes, started = await self._within_bound(
                self._writer, lambda line: self._transact(work, expiry, line)
            )
        except _FAILURES as error:
            raise translate(self._place, error) from error
        self._view.apply(changes)
        self._view.confirm(started)
        return result

    async def _within_bound(
        self, thread: ThreadPoolExecutor, work: Callable[[Line], Result], bound_s: float = 0.0
    ) -> Result:
        """Run a function in a thread; cut the connection that it holds when its time is over."""
        loop = asyncio.get_running_loop()
        line = Line()
        timer = loop.call_later(bound_s + self._busy_timeout_s + CUT_MARGIN_S, line.cut)

        def run() -> Result:
            try:
                return work(line)
            finally:
                line.release()

        future = loop.run_in_executor(thread, run)
        # The work goes on when its caller is cancelled, and so does its time.
        future.add_done_callback(lambda _: timer.cancel())
        return await future

    def _transact(
        self, work: Callable[[Transaction], Result], expiry: float, line: Line
    ) -> tuple[Result, ChangedRows, float]:
        for left in reversed(range(ATTEMPTS)):
            attempt = _Attempt()
            started = self._monotonic()
            if started >= expiry:
                raise KeyUnavailableException("The key catalog is busy. Try again later.")
            try:
                result, changes = self._attempt(work, expiry - started, line, attempt)
            except DBAPIError as error:
                in_the_way = error.connection_invalidated or self._place.failure(error) is Failure.CONFLICT
                if attempt.committing or not in_the_way or not left:
                    raise
            else:
                return result, changes, started
        raise AssertionError("the last attempt returns or raises")

    def _attempt(
        self, work: Callable[[Transaction], Result], wait_s: float, line: Line, attempt: _Attempt
    ) -> tuple[Result, ChangedRows]:
        self._place.require_same()
        with self._connect(Access.CHANGE, wait_s, line) as connection, connection.begin():
            transaction = self._start(connection)
            result = work(transaction)
            changes = rows.read_changes(connection, self._view.position)
            self._place.announce(connection, transaction.sequence)
            attempt.committing = True
        return result, changes

    def _start(self, connection: Connection) -> Transaction:
        now = self._clock_us()
        # First of all: on PostgreSQL this row's lock is what puts changes one after the other, before they read anything.
        counter = update(schema.sequence).values(sequence=schema.sequence.c.sequence + 1, updated=now)
        number = connection.execute(counter.returning(schema.sequence.c.sequence)).scalar_one()
        return Transaction(connection, number, now, self._claimant)

    def _read(self, work: Callable[[Connection], Result], line: Line) -> Result:
        with self._connect(Access.READ, self._busy_timeout_s, line) as connection, connection.begin():
            return work(connection)

    def _poll(self, line: Line) -> ChangedRows | None:
        try:
            self._place.require_same()
            if not self._watcher.changed():
                return None
            return self._read(lambda c: rows.read_changes(c, self._view.position), line)
        except BaseException:
            self._watcher.forget()
            raise

    @contextmanager
    def _connect(self, access: Access, wait_s: float, line: Line) -> Iterator[Connection]:
        with self._place.connect(self._engine, access, wait_s) as connection:
            line.hold(self._place.descriptor(connection))
            yield connection
