"""The catalog as the service holds it: opened once, read in memory, changed in transactions, watched for others' changes."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
import structlog
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from hsmkms.core.access_keys import AccessKey, AccessKeyStatus, AccessKeyUse
from hsmkms.core.ciphertext import Suite
from hsmkms.core.errors import KmsError
from hsmkms.core.model import BackingKeyState, KmsKey
from hsmkms.core.ports import Begun
from hsmkms.core.service_keys import ServiceKey
from hsmkms.core.usage import KeyUse
from hsmkms.server.catalog import (
    access_keys,
    claims,
    deletion,
    heartbeats,
    idempotency,
    imports,
    keys,
    migrate,
    rotation_schedule,
    rows,
    schema,
    service_keys,
    usage,
)
from hsmkms.server.catalog.database import BUSY_TIMEOUT_S, Database
from hsmkms.server.catalog.errors import CatalogError
from hsmkms.server.catalog.heartbeats import Beat, Since
from hsmkms.server.catalog.place import Access, Place, place_of
from hsmkms.server.catalog.store import Store
from hsmkms.server.catalog.view import MAX_STALENESS_S, View

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
        claimant: Who this process is in `claims`; gives up its claims when the catalog is closed.
    """

    def __init__(self, deployment_id: uuid.UUID, view: View, changes: Store, database: Database, claimant: str) -> None:
        self.deployment_id: Final = deployment_id
        self.view: Final = view
        self.changes: Final = changes
        self._database = database
        self._claimant = claimant

    def use_token(self, token: str) -> None:
        """Say on which token new backing keys are made: its label and serial number."""
        self.changes.token = token

    async def watch(self) -> None:
        """Take other processes' changes into the view as they come, until cancelled; failures are logged and tried again.

        On SQLite they are looked for every 0.1 s. On PostgreSQL they announce themselves, and are looked for every 0.5 s besides.
        """
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
            await self._database.wait_for_news(reachable=not failing)

    async def close(self) -> None:
        """Wait for the changes under way, close the database, and give up what this process has claimed. Cancel `watch` first."""
        await self._database.close()
        claims.end(self._claimant)

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

        Raises:
            KeyUnavailableException: another process is making it; try again to find it finished.
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

    async def beat(self, since: Since | None) -> Beat:
        """Write a heartbeat (`hsmkms.server.catalog.heartbeats`).

        Args:
            since: What this process knows from its own last heartbeat, or None for its first one.
        """
        return await self._database.change(lambda transaction: heartbeats.beat(transaction, since))

    async def due_rotations(self, now: int, limit: int) -> tuple[KmsKey, ...]:
        """Return at most `limit` keys that are due to rotate by themselves at that time, in microseconds since 1970."""
        return await self._database.read(lambda connection: rotation_schedule.due_rotations(connection, now, limit))

    async def keys_past_their_date(self, now: int, limit: int) -> tuple[KmsKey, ...]:
        """Return at most `limit` keys whose deletion date has come by that time, in microseconds since 1970."""
        return await self._database.read(lambda connection: deletion.keys_past_their_date(connection, now, limit))

    async def begin_destruction(self, key: KmsKey) -> None:
        """Delete a key whose waiting period has really passed: nobody finds it any more, and its backing keys are Destroying.

        Raises:
            ConflictException: it has not passed, or that is in doubt; the detail says why.
            KMSInvalidStateException: the key is not pending deletion.
            NotFoundException: it is deleted.
        """
        partition = self.changes.partition
        await self._database.change(
            lambda transaction: deletion.begin_destruction(transaction, partition, key.scope, key.key_id)
        )

    async def destroying_cka_ids(self, limit: int) -> tuple[bytes, ...]:
        """Return at most `limit` CKA_IDs of backing keys that are Destroying."""
        return await self._database.read(lambda connection: deletion.destroying_cka_ids(connection, limit))

    async def claim_destruction(self, cka_id: bytes) -> None:
        """Claim the destruction of a backing key that is Destroying; the token is to be asked at once.

        Raises:
            ConflictException: it is not Destroying any more, or another process imports or destroys it.
        """
        await self.changes.claim_destruction(cka_id)

    async def finish_destruction(self, cka_id: bytes) -> None:
        """Note that nothing of that CKA_ID is on the token any more.

        Raises:
            ConflictException: another process has taken its destruction up.
        """
        await self.changes.finish_destruction(cka_id)

    async def expired_material(self, now: int, limit: int) -> tuple[tuple[KmsKey, int], ...]:
        """Return at most `limit` keys and versions of imported material whose time has come by that clock, in microseconds since 1970."""
        return await self._database.read(lambda connection: imports.expired(connection, now, limit))

    async def begin_expiry(self, key: KmsKey, version: int) -> None:
        """Take imported material out of use whose time has really come: it is Destroying, and its key PendingImport.

        Raises:
            ConflictException: its time has not come, or that is in doubt; the detail says why.
            NotFoundException: there is no such key or material.
        """
        partition = self.changes.partition
        await self._database.change(lambda transaction: imports.begin_expiry(transaction, partition, key, version))

    async def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Keep the last uses of these keys."""
        await self._database.change(lambda transaction: usage.record_uses(transaction, uses))

    async def create_access_key(self, access_key: AccessKey) -> None:
        """Write a new access key.

        Raises:
            AlreadyExistsException: there is, or was, one of that id.
            LimitExceededException: its principal has two.
        """
        await self._database.change(lambda transaction: access_keys.create_access_key(transaction, access_key))

    async def set_access_key_status(self, access_key_id: str, status: AccessKeyStatus) -> None:
        """Make an access key Active or Inactive; one that is so already stays so.

        Raises:
            NotFoundException: there is none of that id.
        """
        await self._database.change(
            lambda transaction: access_keys.set_access_key_status(transaction, access_key_id, status)
        )

    async def delete_access_key(self, access_key_id: str) -> None:
        """Delete an access key and its secret.

        Raises:
            NotFoundException: there is none of that id.
        """
        await self._database.change(lambda transaction: access_keys.delete_access_key(transaction, access_key_id))

    async def record_access_key_uses(self, uses: Sequence[AccessKeyUse]) -> None:
        """Keep the last uses of these access keys."""
        await self._database.change(lambda transaction: access_keys.record_access_key_uses(transaction, uses))

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
        url: `sqlite:///` and the path of the file, or `postgresql://` without a password.
        partition: The partition of ARNs, for example `aws`.
        clock_us: The time in microseconds since 1970, UTC.
        monotonic: A clock in seconds that only goes forward.
        token: Label and serial number of the token, if known already; else `Catalog.use_token`.
        max_staleness_s: How long reading goes on while the database cannot be reached, in seconds.
        busy_timeout_s: Longest wait for another process's lock, in seconds.

    Raises:
        CatalogError: it cannot be opened; the text is one line and says what to do.
    """
    place = place_of(url)
    engine = place.engine(busy_timeout_s)
    view = View(monotonic, max_staleness_s)
    with _opening(place, engine):
        deployment_id = _prepare(place, engine, view, clock_us, monotonic, busy_timeout_s)
    claimant = claims.new_claimant()
    database = Database(place, engine, view, clock_us, monotonic, claimant, busy_timeout_s)
    return Catalog(deployment_id, view, Store(database, partition, token), database, claimant)


@contextmanager
def _opening(place: Place, engine: Engine) -> Iterator[None]:
    """Close the engine and raise a CatalogError that names the place when what is done in the block fails."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        engine.dispose()
        raise CatalogError(f"The catalog {place.name!r} cannot be used: {place.advice(error)}") from error
    except CatalogError as error:
        engine.dispose()
        raise CatalogError(f"{place.name}: {error}") from error


def _prepare(
    place: Place,
    engine: Engine,
    view: View,
    clock_us: Callable[[], int],
    monotonic: Callable[[], float],
    busy_timeout_s: float,
) -> uuid.UUID:
    with place.connect(engine, Access.PREPARE, busy_timeout_s) as connection, connection.begin():
        place.lock_for_migration(connection)
        migrate.upgrade(connection, clock_us())
        started = monotonic()
        # No change may be committed between two of the queries that fill the view.
        connection.execute(select(schema.sequence.c.sequence).with_for_update())
        view.load(rows.read_changes(connection, rows.FROM_THE_START))
        view.confirm(started)
        return rows.read_deployment_id(connection)


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
