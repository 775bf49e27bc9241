"""The catalog as the service holds it: opened once, read in memory, changed in transactions, watched for others' changes."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from hsmkms.core.ciphertext import Suite
from hsmkms.core.errors import KmsError
from hsmkms.core.model import BackingKeyState
from hsmkms.core.ports import Begun
from hsmkms.core.service_keys import ServiceKey
from hsmkms.server.catalog import idempotency, keys, migrate, rows, schema, service_keys, sqlite
from hsmkms.server.catalog.database import BUSY_TIMEOUT_S, Database
from hsmkms.server.catalog.errors import CatalogError
from hsmkms.server.catalog.store import Store
from hsmkms.server.catalog.view import MAX_STALENESS_S, View

POLL_INTERVAL_S: Final = 0.1
PURGE_LIMIT: Final = 1000
MAX_CREATIONS: Final = 100
"""How many unfinished creations one reading lists."""

_log = structlog.get_logger(__name__)


class Catalog:
    """An open catalog. Everything belongs to the event loop's thread.

    Args:
        deployment_id: The deployment's id, given when the catalog was made.
        view: The catalog in memory.
        changes: Changes of keys and aliases.
        database: Behind both.
    """

    def __init__(self, deployment_id: uuid.UUID, view: View, changes: Store, database: Database) -> None:
        self.deployment_id: Final = deployment_id
        self.view: Final = view
        self.changes: Final = changes
        self._database = database

    def use_token(self, token: str) -> None:
        """Say on which token new backing keys are made: its label and serial number."""
        self.changes.token = token

    async def watch(self) -> None:
        """Take other processes' changes into the view, every 0.1 s, until cancelled; failures are logged and tried again."""
        failing = False
        while True:
            try:
                await self._database.catch_up()
            except KmsError as error:
                if not failing:
                    _log.warning("catalog unreachable", error=error.code, detail=error.detail)
                failing = True
            else:
                if failing:
                    _log.info("catalog reachable again")
                failing = False
            await asyncio.sleep(POLL_INTERVAL_S)

    async def close(self) -> None:
        """Wait for the changes under way and close the database. Cancel `watch` first."""
        await self._database.close()

    def service_key(self, purpose: str) -> ServiceKey | None:
        """Return the service key of that purpose, or None when it was never begun."""
        return self.view.service_key(purpose)

    async def begin_service_key(self, purpose: str, suite: Suite, token: str) -> ServiceKey:
        """Write a service key as Creating, unless there is one.

        Args:
            purpose: What it is for.
            suite: The derivation to generate it for.
            token: Label and serial number of the token.

        Returns:
            The key; generate it on the token and call `finish_service_key` only when its state is Creating.
        """
        return await self._database.change(
            lambda transaction: service_keys.begin_service_key(transaction, purpose, suite, token)
        )

    async def finish_service_key(self, purpose: str, canary: bytes) -> ServiceKey:
        """Make a service key Active.

        Raises:
            ConflictException: it is Active with another canary.
            NotFoundException: it was not begun.
        """
        return await self._database.change(
            lambda transaction: service_keys.finish_service_key(transaction, purpose, canary)
        )

    async def creating_backing_keys(self, older_than_us: int) -> tuple[Begun, ...]:
        """Return backing keys that are Creating and were begun, or last taken up, before that time; at most 100, oldest first."""
        return await self._database.read(lambda connection: _creating(connection, older_than_us))

    async def take_up_creation(self, begun: Begun, older_than_us: int) -> Begun:
        """Note that an unfinished creation is being made anew, so that no other process does the same at the same time.

        Raises:
            ConflictException: it was finished, or taken up by another, since it was listed.
        """
        return await self._database.change(
            lambda transaction: keys.take_up_creation(transaction, self.changes.partition, begun, older_than_us)
        )

    async def known_cka_ids(self) -> Mapping[bytes, BackingKeyState]:
        """Return the CKA_IDs of all backing keys and service keys, with their states, as the database has them now."""
        return await self._database.read(_known_cka_ids)

    async def purge(self, limit: int = PURGE_LIMIT) -> int:
        """Delete at most `limit` expired idempotency rows and return how many it were."""
        return await self._database.change(lambda transaction: idempotency.purge(transaction, limit))


def open_catalog(
    url: str,
    *,
    partition: str,
    clock_us: Callable[[], int],
    monotonic: Callable[[], float],
    token: str = "",
    max_staleness_s: float = MAX_STALENESS_S,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Catalog:
    """Open a catalog, make it or bring it to this version's tables, and load it. Blocks; call it before serving.

    Args:
        url: `sqlite:///` and the path of the file.
        partition: The partition of ARNs, for example `aws`.
        clock_us: The time in microseconds since 1970, UTC.
        monotonic: A clock in seconds that only goes forward.
        token: Label and serial number of the token, if known already; else `Catalog.use_token`.
        max_staleness_s: How long reading goes on while the database cannot be reached, in seconds.
        busy_timeout_s: Longest wait for another process's lock, in seconds.

    Raises:
        CatalogError: it cannot be opened; the text is one line and says what to do.
    """
    place = sqlite.Place(url)
    engine = place.engine(busy_timeout_s)
    view = View(monotonic, max_staleness_s)
    try:
        deployment_id = _prepare(engine, view, clock_us, monotonic, busy_timeout_s)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise CatalogError(f"The catalog {str(place.path)!r} cannot be used: {_advice(error)}") from error
    except CatalogError as error:
        engine.dispose()
        raise CatalogError(f"{place.path}: {error}") from error
    database = Database(place, engine, view, clock_us, monotonic, busy_timeout_s)
    return Catalog(deployment_id, view, Store(database, partition, token), database)


def _prepare(
    engine: Engine, view: View, clock_us: Callable[[], int], monotonic: Callable[[], float], busy_timeout_s: float
) -> uuid.UUID:
    options = {sqlite.BEGIN_OPTION: "BEGIN IMMEDIATE", sqlite.BUSY_OPTION: int(busy_timeout_s * 1000)}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        migrate.upgrade(connection, clock_us())
        started = monotonic()
        view.load(rows.read_changes(connection, rows.FROM_THE_START))
        view.confirm(started)
        return rows.read_deployment_id(connection)


def _advice(error: Exception) -> str:
    driver = getattr(error, "orig", None) or error
    code = getattr(driver, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_NOTADB:
        return "the file is no SQLite database; name another one in the catalog's URL"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process holds its lock; end that process and start again"
    return " ".join(str(driver).split())


def _creating(connection: Connection, older_than_us: int) -> tuple[Begun, ...]:
    table = schema.backing_keys
    query = (
        select(table.c.key_id, table.c.version)
        .where(table.c.state == BackingKeyState.CREATING, table.c.updated < older_than_us)
        .order_by(table.c.updated)
        .limit(MAX_CREATIONS)
    )
    found = connection.execute(query).all()
    return tuple(Begun(key, row.version) for row in found if (key := rows.read_key(connection, row.key_id)) is not None)


def _known_cka_ids(connection: Connection) -> Mapping[bytes, BackingKeyState]:
    return {
        row.cka_id: BackingKeyState(row.state)
        for table in (schema.backing_keys, schema.service_keys)
        for row in connection.execute(select(table.c.cka_id, table.c.state))
    }
