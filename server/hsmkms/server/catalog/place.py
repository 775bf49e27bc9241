"""Where a catalog is: what differs between SQLite (`sqlite.py`) and PostgreSQL (`postgresql.py`), behind one protocol.

Both promise the same: changes run one after the other in the order of their sequence numbers, a reading sees the catalog as of one
moment, an acknowledged change is durable, and every wait is bounded.
"""

from __future__ import annotations

import os
import socket
import threading
from enum import Enum, auto
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError


class Access(Enum):
    """What a connection is for."""

    READ = auto()
    """One reading transaction: everything in it as of one moment."""
    CHANGE = auto()
    """One change: it waits until no other change is under way."""
    PREPARE = auto()
    """Opening: migrations, by one process at a time."""


class Failure(Enum):
    """What a driver's error means."""

    UNREACHABLE = auto()
    """The database cannot be reached, is locked, full, or starting: try again later."""
    CONFLICT = auto()
    """Another transaction was in the way: try again at once."""
    UNSTORABLE = auto()
    """A text holds a character that the database cannot store."""
    OTHER = auto()


class Line:
    """The connection that a thread waits on, so that the event loop can end a wait that nothing else bounds.

    A server that is cut off without a word leaves its client waiting for ever, and no timeout of the server's helps. Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._was_cut = False

    def hold(self, descriptor: int | None) -> None:
        """Let this socket be the one that is cut; None for a connection that needs no cutting.

        Raises:
            OSError: the time is over already.
        """
        with self._lock:
            self._drop()
            if self._was_cut:
                raise OSError("the database did not answer in time")
            # A copy: the driver may close its own, and the number may be another file's by the time of the cut.
            self._descriptor = None if descriptor is None else os.dup(descriptor)

    def release(self) -> None:
        """Forget the socket."""
        with self._lock:
            self._drop()

    def cut(self) -> None:
        """Shut the socket down, so that whoever waits on it fails; a later `hold` fails too."""
        with self._lock:
            self._was_cut = True
            if self._descriptor is not None:
                with socket.socket(fileno=os.dup(self._descriptor)) as copy:
                    try:
                        copy.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        return  # it is closed already

    def _drop(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Watcher(Protocol):
    """Notices what other processes commit. `wait` belongs to a thread of its own, the rest to the reader's."""

    def changed(self) -> bool:
        """Say whether anything may have been committed since the last call.

        Raises:
            OSError: the database cannot be asked.
        """

    def wait(self, position: int, timeout_s: float, line: Line) -> None:
        """Return when something after that position was committed, or after that time. Never raises."""

    def forget(self) -> None:
        """Have the next call of `changed` say yes, on a new connection: the old one may be broken."""

    def close(self) -> None:
        """Close the connection; nobody may be in another method."""


class Place(Protocol):
    """A catalog's database."""

    @property
    def name(self) -> str:
        """What error texts and logs call it. Holds no password."""

    @property
    def poll_interval_s(self) -> float:
        """How often to look for others' changes, in seconds, whatever `Watcher.wait` notices."""

    def engine(self, busy_timeout_s: float) -> Engine:
        """Return an engine whose connections may be used by one thread at a time, whichever it is.

        Args:
            busy_timeout_s: Longest wait for another process's lock where a transaction states no other, in seconds.
        """

    def connect(self, engine: Engine, access: Access, wait_s: float) -> Connection:
        """Return a connection whose next transaction is of that kind and waits for locks that long, in seconds."""

    def descriptor(self, connection: Connection) -> int | None:
        """Return the connection's socket, if it has one."""

    def watcher(self, engine: Engine) -> Watcher:
        """Return a watcher; one for each process that serves."""

    def require_same(self) -> None:
        """Refuse to go on with another database than the one that was opened.

        Raises:
            OSError: it was moved away or replaced.
        """

    def lock_for_migration(self, connection: Connection) -> None:
        """Wait until no other process migrates the catalog, and keep others from it until the transaction ends."""

    def announce(self, connection: Connection, sequence: int) -> None:
        """Have other processes told of this change when it is committed."""

    def failure(self, error: DBAPIError) -> Failure:
        """Say what an error of the driver means."""

    def advice(self, error: Exception) -> str:
        """Return what the operator is told when the catalog cannot be opened: one line, no password."""


def place_of(url: str) -> Place:
    """Return the place that a URL names; a SQLite file is made if it is not there.

    Args:
        url: `sqlite:///` and a path, or `postgresql://` as libpq has it, without a password.

    Raises:
        CatalogError: it names none, or one that cannot be used.
    """
    from hsmkms.server.catalog import postgresql, sqlite

    if url.startswith(("postgresql:", "postgres:", "postgresql+")):
        return postgresql.Place(url)
    return sqlite.Place(url)


__all__ = ["Access", "Failure", "Line", "Place", "Watcher", "place_of"]
