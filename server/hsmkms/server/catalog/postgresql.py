"""What is particular to PostgreSQL (`place.Place`): how it is reached, what bounds each wait, and how changes are announced.

- A change begins with the update of the one row of `sequence`. Its lock is held until the commit, so changes run one after the other
  and are committed in the order of their numbers: whoever sees a number sees every change up to it. READ COMMITTED is the right
  isolation for them: what comes after the lock reads what was committed before it; a snapshot taken earlier would fail instead.
- A reading is one REPEATABLE READ transaction: everything as of one moment.
- `NOTIFY` goes with the change's commit. It is a hint and no more: a poll comes behind it every half second.
- The server bounds statements, waits for locks and idle transactions (a front that stands still must not keep the others from
  changing anything); TCP notices a peer that is gone; what neither sees, `place.Line` cuts.

The password is never part of the URL: libpq takes it from a pass file (`~/.pgpass`, PGPASSFILE), a service file or PGPASSWORD.
"""

from __future__ import annotations

import ipaddress
import os
import time
from typing import Any, Final

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from hsmkms.server.catalog.errors import CatalogError
from hsmkms.server.catalog.place import Access, Failure, Line

POLL_INTERVAL_S: Final = 0.5
CHANNEL: Final = "hsm_kms_catalog"
APPLICATION: Final = "hsm-kms"
CONNECTIONS: Final = 2
"""The writer's and the reader's; the watcher has a third one of its own."""
MIGRATION_WAIT_S: Final = 60

_MIGRATION_LOCK: Final = 0x68736D2D6B6D73  # "hsm-kms"
_SECRETS: Final = frozenset({"password", "sslpassword"})
_BACKENDS: Final = ("postgresql", "postgresql+psycopg")
_HINT: Final = "use postgresql://USER@HOST/DATABASE"
_KEEPALIVE: Final = {"keepalives_idle": "2", "keepalives_interval": "1", "keepalives_count": "3"}
_CONFLICTS: Final = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_UNREACHABLE_CLASSES: Final = ("08", "28", "53", "57", "58")
"""Classes of SQLSTATE: connection, authorisation, resources, operator intervention (cancelled or shutting down), system errors."""
_UNREACHABLE: Final = frozenset({"25006", "25P03", "55P03", "3D000"})
"""A standby takes no changes; idle in a transaction for too long; a lock not granted in time; no such database (it is being restored)."""


class Place:
    """A catalog in a PostgreSQL database of its own.

    Args:
        url: `postgresql://` as libpq has it. Without `sslmode`, the server's certificate is verified unless it is on this host.

    Raises:
        CatalogError: the URL cannot be used. Its text does not repeat the URL, which might hold a password.
    """

    poll_interval_s: Final = POLL_INTERVAL_S

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:
            raise CatalogError(f"The catalog's URL is no URL: {_HINT}") from error
        if parsed.drivername not in _BACKENDS:
            raise CatalogError(f"The catalog's URL names a database of an unknown kind: {_HINT}")
        if parsed.password is not None or _SECRETS & set(parsed.query):
            raise CatalogError(
                "The catalog's URL holds a password: put it into a pass file (~/.pgpass, or PGPASSFILE), "
                "and take it out of the URL"
            )
        self._url: Final = _with_defaults(parsed)
        self.name: Final = parsed.set(drivername="postgresql", query={}).render_as_string()

    def engine(self, busy_timeout_s: float) -> Engine:
        """Return an engine with two connections at most, each of which bounds its own waits."""
        milliseconds = max(1, int(busy_timeout_s * 1000))
        settings = {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
        }
        options = [f"-c {name}={value}" for name, value in settings.items()]
        query = dict(self._url.query)
        query["options"] = " ".join([*options, *_texts(query.get("options", ()))])
        query.setdefault("connect_timeout", str(max(2, int(busy_timeout_s))))
        query.setdefault("tcp_user_timeout", str(milliseconds))
        for name, value in {**_KEEPALIVE, "application_name": APPLICATION}.items():
            query.setdefault(name, value)
        return create_engine(
            self._url.set(query=query),
            poolclass=QueuePool,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=busy_timeout_s,
            use_native_hstore=False,
            hide_parameters=True,
        )

    def connect(self, engine: Engine, access: Access, wait_s: float) -> Connection:
        """Return a connection whose next transaction is of that kind; it waits as long as the engine says."""
        del wait_s
        connection = engine.connect()
        if access is Access.READ:
            return connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return connection.execution_options(isolation_level="READ COMMITTED")

    def descriptor(self, connection: Connection) -> int | None:
        """Return the connection's socket."""
        return _driver(connection.connection.driver_connection).fileno()

    def watcher(self, engine: Engine) -> Watcher:
        """Return a watcher."""
        return Watcher(engine)

    def require_same(self) -> None:
        """Do nothing: it is the server that says which database this is."""

    def lock_for_migration(self, connection: Connection) -> None:
        """Wait until no other process migrates the catalog, a minute at most, and let migrations take their time."""
        for name, value in (("statement_timeout", 0), ("lock_timeout", MIGRATION_WAIT_S * 1000)):
            connection.execute(text(f"SET LOCAL {name} = {value}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})

    def announce(self, connection: Connection, sequence: int) -> None:
        """Have other fronts told of this change when it is committed, and make sure that its commit waits for the disk."""
        connection.execute(
            text(
                "SELECT pg_notify(:channel, :sequence), set_config('synchronous_commit', "
                "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"
            ),
            {"channel": CHANNEL, "sequence": str(sequence)},
        )

    def failure(self, error: DBAPIError) -> Failure:
        """Say what an error of the driver means, by its SQLSTATE where the server gave one."""
        driver = error.orig
        state = getattr(driver, "sqlstate", None)
        if state in _CONFLICTS:
            return Failure.CONFLICT
        if state is not None:
            unreachable = state in _UNREACHABLE or state[:2] in _UNREACHABLE_CLASSES
            return Failure.UNREACHABLE if unreachable else Failure.OTHER
        if isinstance(driver, psycopg.DataError) and "NUL" in str(driver):
            return Failure.UNSTORABLE
        # No SQLSTATE: the connection failed, or could not be made.
        return Failure.UNREACHABLE if isinstance(driver, psycopg.OperationalError) else Failure.OTHER

    def advice(self, error: Exception) -> str:
        """Return what the operator is told when the catalog cannot be opened: what libpq says, which holds no password."""
        return " ".join(str(getattr(error, "orig", None) or error).split())


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _driver(connection: Any) -> psycopg.Connection[Any]:
    assert isinstance(connection, psycopg.Connection)
    return connection


def _with_defaults(url: URL) -> URL:
    url = url.set(drivername="postgresql+psycopg")
    hosts = [
        host for value in (url.host or "", *_texts(url.query.get("host", ()))) for host in value.split(",") if host
    ]
    says_itself = {"sslmode", "service"} & set(url.query) or {"PGSSLMODE", "PGSERVICE"} & set(os.environ)
    if says_itself or all(_is_local(host) for host in hosts):
        return url
    return url.update_query_dict({"sslmode": "verify-full"})


def _is_local(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Watcher:
    """Listens for announcements on a connection of its own.

    Args:
        engine: Of the catalog.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: psycopg.Connection[Any] | None = None
        self._broken = False

    def changed(self) -> bool:
        """Say yes: asking for the counter costs as little as asking whether to."""
        return True

    def wait(self, position: int, timeout_s: float, line: Line) -> None:
        """Return when a change after that position was announced, or after that time."""
        deadline = time.monotonic() + timeout_s
        try:
            connection = self._listening(line)
            while (left := deadline - time.monotonic()) > 0:
                for notice in connection.notifies(timeout=left, stop_after=1):
                    if not notice.payload.isdigit() or int(notice.payload) > position:
                        return
        except (psycopg.Error, SQLAlchemyError, OSError):
            # The poll behind this says what is wrong, if anything is.
            self._close()
            time.sleep(max(0.0, deadline - time.monotonic()))

    def forget(self) -> None:
        """Listen on a new connection from the next `wait` on: this one may be dead without knowing it."""
        self._broken = True

    def close(self) -> None:
        """Close the connection."""
        self._close()

    def _listening(self, line: Line) -> psycopg.Connection[Any]:
        if self._broken:
            self._close()
            self._broken = False
        if self._connection is None:
            pooled = self._engine.raw_connection()
            self._connection = _driver(pooled.driver_connection)
            pooled.detach()
            line.hold(self._connection.fileno())
            self._connection.autocommit = True
            self._connection.execute(f"LISTEN {CHANNEL}")
        line.hold(self._connection.fileno())
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
