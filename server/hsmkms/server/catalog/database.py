"""Transactions on the catalog, away from the event loop.

Changes run one after the other in one thread, readings in another. A change is committed, and its rows and those of other processes
that came before it are in the view, before `Database.change` returns; a caller that is cancelled while it waits does not tear it.
All waits are bounded: for the thread and for the database's lock together, `busy_timeout_s`; changes that wait, `MAX_PENDING`.

Methods belong to one event loop; the functions handed to them run in the threads and must not touch the view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from hsmkms.core.errors import KeyUnavailableException, KmsError, KMSInternalException, ThrottlingException
from hsmkms.server.catalog import rows, schema, sqlite
from hsmkms.server.catalog.rows import ChangedRows
from hsmkms.server.catalog.view import View

BUSY_TIMEOUT_S: Final = 5.0
MAX_PENDING: Final = 1000
"""Changes that may wait at a time: at a few milliseconds each, more would not be done within the busy timeout."""

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
    """

    connection: Connection
    sequence: int
    now: int


def translate(error: Exception) -> KmsError:
    """Return what a caller is told of a failed transaction."""
    detail = " ".join(str(error).split())
    if isinstance(error, DBAPIError):
        known = getattr(error.orig, "sqlite_errorcode", None) is not None
        unreachable = (
            sqlite.is_out_of_reach(error.orig) if known else isinstance(error, OperationalError | InterfaceError)
        )
    else:
        unreachable = isinstance(error, OSError)
    if unreachable:
        return KeyUnavailableException("The key catalog cannot be reached. Try again later.", detail=detail)
    return KMSInternalException("The key catalog failed.", detail=detail)


class Database:
    """The catalog's database, behind two threads.

    Args:
        place: The catalog's file.
        engine: Of that file.
        view: Where changed rows go.
        clock_us: The time in microseconds since 1970, UTC.
        monotonic: A clock in seconds that only goes forward.
        busy_timeout_s: Longest wait of one change or reading, in seconds.
    """

    def __init__(
        self,
        place: sqlite.Place,
        engine: Engine,
        view: View,
        clock_us: Callable[[], int],
        monotonic: Callable[[], float],
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self._place = place
        self._engine = engine
        self._view = view
        self._clock_us = clock_us
        self._monotonic = monotonic
        self._busy_timeout_s = busy_timeout_s
        self._writer = ThreadPoolExecutor(1, "catalog-writer")
        self._reader = ThreadPoolExecutor(1, "catalog-reader")
        self._watcher = sqlite.Watcher(engine)
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
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reader, self._read, work)
        except _FAILURES as error:
            raise translate(error) from error

    async def catch_up(self) -> None:
        """Take what other processes committed into the view, and confirm the view.

        Raises:
            KeyUnavailableException: the database cannot be reached.
            KMSInternalException: the database fails otherwise.
        """
        self._require_open()
        started = self._monotonic()
        try:
            changes = await asyncio.get_running_loop().run_in_executor(self._reader, self._poll)
        except _FAILURES as error:
            raise translate(error) from error
        if changes is not None:
            self._view.apply(changes)
        self._view.confirm(started)

    async def close(self) -> None:
        """Wait for the changes under way and close every connection."""
        self._closed = True
        if self._pending:
            await asyncio.wait(self._pending)
        for executor in (self._writer, self._reader):
            # The watcher's connection is the reader's: whatever still runs there ends first.
            await asyncio.to_thread(executor.shutdown)
        self._watcher.forget()
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
        loop = asyncio.get_running_loop()
        try:
            result, changes, started = await loop.run_in_executor(self._writer, self._transact, work, expiry)
        except _FAILURES as error:
            raise translate(error) from error
        self._view.apply(changes)
        self._view.confirm(started)
        return result

    def _transact(self, work: Callable[[Transaction], Result], expiry: float) -> tuple[Result, ChangedRows, float]:
        started = self._monotonic()
        if started >= expiry:
            raise KeyUnavailableException("The key catalog is busy. Try again later.")
        self._place.require_same_file()
        with self._connect("BEGIN IMMEDIATE", expiry - started) as connection, connection.begin():
            transaction = self._start(connection)
            result = work(transaction)
            changes = rows.read_changes(connection, self._view.position)
        return result, changes, started

    def _start(self, connection: Connection) -> Transaction:
        now = self._clock_us()
        # First of all: on PostgreSQL this row's lock is what puts changes one after the other, before they read anything.
        counter = update(schema.sequence).values(sequence=schema.sequence.c.sequence + 1, updated=now)
        number = connection.execute(counter.returning(schema.sequence.c.sequence)).scalar_one()
        return Transaction(connection, number, now)

    def _read(self, work: Callable[[Connection], Result]) -> Result:
        with self._connect("BEGIN", self._busy_timeout_s) as connection, connection.begin():
            return work(connection)

    def _poll(self) -> ChangedRows | None:
        try:
            self._place.require_same_file()
            return self._read(lambda c: rows.read_changes(c, self._view.position)) if self._watcher.changed() else None
        except BaseException:
            self._watcher.forget()
            raise

    def _connect(self, begin: str, busy_s: float) -> Connection:
        options = {sqlite.BEGIN_OPTION: begin, sqlite.BUSY_OPTION: max(1, int(busy_s * 1000))}
        return self._engine.connect().execution_options(**options)
