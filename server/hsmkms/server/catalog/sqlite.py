"""What is particular to SQLite (`place.Place`): where the file is, how it is opened, and how changes of other processes are noticed.

Connections are made here and nowhere else, with write-ahead log, `synchronous=FULL` (a change is on the disk before it is
acknowledged), foreign keys, and every transaction begun by us: `BEGIN IMMEDIATE` for changes, `BEGIN` for reading.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import tenacity
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from hsmkms.server.catalog.errors import CatalogError
from hsmkms.server.catalog.place import Access, Failure, Line

BEGIN_OPTION: Final = "hsmkms_begin"
BUSY_OPTION: Final = "hsmkms_busy_ms"
POLL_INTERVAL_S: Final = 0.1
SWITCH_WAIT_S: Final = 5.0

_PRIMARY_CODE: Final = 0xFF
"""SQLite's extended result codes hold the primary one in their low byte (sqlite.org/rescode.html)."""
_OUT_OF_REACH: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


def is_out_of_reach(error: BaseException | None) -> bool:
    """Say whether an error of the driver means that the file cannot be reached just now: locked, full, or not there."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY_CODE in _OUT_OF_REACH


def path_of(url: str) -> Path | None:
    """Return the file that a URL names, or None if it is no SQLite URL. Makes nothing."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


class Place:
    """The catalog's file.

    Args:
        url: `sqlite:///` and a path.

    Raises:
        CatalogError: the URL is of another kind, or the file can neither be opened for writing nor made.
    """

    poll_interval_s: Final = POLL_INTERVAL_S

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            # Not the text itself: a password may be in it.
            raise CatalogError("The catalog's URL is no URL: use sqlite:///path/to/catalog.db") from error
        if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
            raise CatalogError(
                f"The catalog's URL {parsed.set(query={}).render_as_string()!r} names no SQLite file: "
                "use sqlite:///path/to/catalog.db, or postgresql://HOST/DATABASE"
            )
        self.path: Final = Path(parsed.database or "")
        self._make_file()
        self._identity = self._identify()

    def _make_file(self) -> None:
        """Open the file for writing, and make it readable for its owner only if it is not there; SQLite's own files follow it."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except FileNotFoundError as error:
            raise CatalogError(
                f"The catalog's folder {str(self.path.parent)!r} does not exist: create it, or name another in the catalog's URL"
            ) from error
        except OSError as error:
            raise CatalogError(
                f"The catalog {str(self.path)!r} cannot be opened for writing ({error.strerror}): "
                "check its owner and mode, or name another in the catalog's URL"
            ) from error

    def _identify(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_dev, status.st_ino

    @property
    def name(self) -> str:
        """What error texts and logs call it."""
        return str(self.path)

    def require_same(self) -> None:
        """Refuse to go on with a file that was moved away or replaced: what is written to it would be lost.

        Raises:
            OSError: another file, or none, is at the path now.
        """
        if self._identify() != self._identity:
            raise OSError(f"the catalog {str(self.path)!r} was replaced while the service runs: restart the service")

    def engine(self, busy_timeout_s: float) -> Engine:
        """Return an engine whose connections may be used by one thread at a time, whichever it is.

        Args:
            busy_timeout_s: Longest wait for another process's lock where a transaction states no other, in seconds.
        """
        arguments = {"check_same_thread": False, "timeout": busy_timeout_s}
        engine = create_engine(f"sqlite:///{self.path}", connect_args=arguments, hide_parameters=True)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine

    def connect(self, engine: Engine, access: Access, wait_s: float) -> Connection:
        """Return a connection whose next transaction is of that kind and waits for locks that long, in seconds."""
        begin = "BEGIN" if access is Access.READ else "BEGIN IMMEDIATE"
        options = {BEGIN_OPTION: begin, BUSY_OPTION: max(1, int(wait_s * 1000))}
        return engine.connect().execution_options(**options)

    def descriptor(self, connection: Connection) -> None:
        """Return None: a file needs no cutting."""
        del connection

    def watcher(self, engine: Engine) -> Watcher:
        """Return a watcher."""
        return Watcher(engine)

    def lock_for_migration(self, connection: Connection) -> None:
        """Do nothing: `BEGIN IMMEDIATE` has waited already."""
        del connection

    def announce(self, connection: Connection, sequence: int) -> None:
        """Do nothing: `PRAGMA data_version` tells the others."""
        del connection, sequence

    def failure(self, error: DBAPIError) -> Failure:
        """Say what an error of the driver means."""
        return Failure.UNREACHABLE if is_out_of_reach(error.orig) else Failure.OTHER

    def advice(self, error: Exception) -> str:
        """Return what the operator is told when the catalog cannot be opened."""
        driver = getattr(error, "orig", None) or error
        code = getattr(driver, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_NOTADB:
            return "the file is no SQLite database; name another one in the catalog's URL"
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return "another process holds its lock; end that process and start again"
        return " ".join(str(driver).split())


def _prepare(connection: Any, _record: Any) -> None:
    # The driver's own idea of when a transaction begins is switched off: `_begin` says it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        _PATIENTLY(cursor.execute, f"PRAGMA {pragma}")
    cursor.close()


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


_PATIENTLY: Final = tenacity.Retrying(
    retry=tenacity.retry_if_exception(_is_busy),
    stop=tenacity.stop_after_delay(SWITCH_WAIT_S),
    wait=tenacity.wait_fixed(0.02),
    reraise=True,
)
"""The first switch of a file to WAL is refused at once where another process makes it too: SQLite does not wait there."""


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if (busy_ms := options.get(BUSY_OPTION)) is not None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(busy_ms)}")
    connection.exec_driver_sql(options.get(BEGIN_OPTION, "BEGIN"))


class Watcher:
    """Notices commits of other connections, by `PRAGMA data_version` on a connection of its own. For one thread at a time.

    Args:
        engine: Of the catalog's file.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        self._version: int | None = None

    def changed(self) -> bool:
        """Say whether anything was committed since the last call; the first call on a connection says that it was.

        Raises:
            OSError: the file cannot be read.
        """
        if self._connection is None:
            self._connection = self._engine.raw_connection()
            # Version numbers of two connections cannot be compared.
            self._version = None
        try:
            cursor = self._connection.cursor()
            (version,) = cursor.execute("PRAGMA data_version").fetchone()
            cursor.close()
        except sqlite3.Error as error:
            raise OSError(f"the catalog cannot be read: {error}") from error
        changed: bool = version != self._version
        self._version = version
        return changed

    def wait(self, position: int, timeout_s: float, line: Line) -> None:
        """Return after that time: `changed` costs so little that nothing is gained by being told."""
        del position, line
        time.sleep(timeout_s)

    def forget(self) -> None:
        """Have the next call of `changed` say yes, and close the connection."""
        if self._connection is not None:
            self._connection.invalidate()  # not back to the pool: it may be broken
            self._connection = None

    def close(self) -> None:
        """Close the connection."""
        self.forget()
