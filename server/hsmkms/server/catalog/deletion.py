"""The end of a key, as functions on a transaction. They run in the database's writer thread.

Enabled or Disabled → `schedule` → PendingDeletion → `cancel` → Disabled, or, when the waiting period is over, in this order:

1. `begin_destruction`: the key, its aliases and its grants become tombstones, so that nobody finds them any more, and its backing keys
   Destroying.
2. `claim_destruction`, for each backing key: nobody else destroys it, or imports anything in its place, until 4.
3. The token destroys what has their CKA_IDs and this deployment's label (`server.deleter`).
4. `finish_destruction`: the backing keys become Destroyed. Their rows stay, so that their CKA_IDs are never taken for unknown ones.

Whoever is killed after 1, 2 or 3 is followed by another who finds the rows that are Destroying and repeats the rest; all of it can be
repeated.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, and_, delete, select, update

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.errors import ConflictException, KeyUnavailableException
from hsmkms.core.model import BackingKeyState, KeyState, KmsKey, Origin, Scope
from hsmkms.server.catalog import claims, heartbeats, keys, rows, schema
from hsmkms.server.catalog.database import Transaction

CREATION_REST_US: Final = 60 * 60 * 1_000_000
"""A backing key that was begun or taken up so lately may be on its way to the token: its KMS key is not destroyed yet."""


def schedule(transaction: Transaction, partition: str, key: KmsKey, deletion_date: int, window_days: int) -> None:
    """Make a key PendingDeletion. Its waiting period begins to be observed at the next heartbeat.

    Raises:
        KMSInvalidStateException: the key's state does not allow it.
        NotFoundException: there is no such key.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    key_states.require("ScheduleKeyDeletion", key.state, key_arn(partition, key.scope, key.key_id))
    keys.touch(
        transaction,
        key,
        updated=transaction.now,
        state=KeyState.PENDING_DELETION,
        deletion_date=deletion_date,
        pending_window_days=window_days,
        pending_since=None,
    )


def cancel(transaction: Transaction, partition: str, key: KmsKey) -> None:
    """Make a key that is PendingDeletion Disabled, or PendingImport if its material was deleted meanwhile.

    Raises:
        KMSInvalidStateException: the key is not pending deletion.
        NotFoundException: there is no such key, or it is deleted.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    key_states.require("CancelKeyDeletion", key.state, key_arn(partition, key.scope, key.key_id))
    lacks_material = key.origin is Origin.EXTERNAL and key.current is None
    keys.touch(
        transaction,
        key,
        updated=transaction.now,
        state=KeyState.PENDING_IMPORT if lacks_material else KeyState.DISABLED,
        deletion_date=None,
        pending_window_days=None,
        pending_since=None,
    )


def keys_past_their_date(connection: Connection, now: int, limit: int) -> tuple[KmsKey, ...]:
    """Return at most `limit` keys whose deletion date has come by this clock, the oldest date first; more is not said by this."""
    table = schema.keys
    query = (
        select(table.c.key_id)
        .where(table.c.deletion_date <= now, table.c.state == KeyState.PENDING_DELETION, table.c.deleted.is_(None))
        .order_by(table.c.deletion_date)
        .limit(limit)
    )
    found = connection.execute(query).scalars().all()
    return tuple(key for key_id in found if (key := rows.read_key(connection, key_id)) is not None)


def begin_destruction(transaction: Transaction, partition: str, scope: Scope, key_id: str) -> None:
    """Delete a key whose waiting period has really passed (docs/adr/0008), and mark its backing keys as Destroying.

    Raises:
        ConflictException: it has not passed, or that is in doubt, or key material is just being made; its detail says what.
        KMSInvalidStateException: the key is not pending deletion.
        NotFoundException: there is no such key, or it is deleted.
    """
    key = keys.require_key(transaction, partition, scope, key_id)
    arn = key_arn(partition, scope, key_id)
    key_states.require("CancelKeyDeletion", key.state, arn)
    table = schema.keys
    since = transaction.connection.execute(select(table.c.pending_since).where(table.c.key_id == key_id)).scalar_one()
    window_us = None if key.pending_window_days is None else key.pending_window_days * keys.DAY_US
    why_not = heartbeats.why_not_passed(transaction, key.deletion_date, window_us, since)
    why_not = why_not or _why_creating(transaction, key)
    if why_not:
        raise ConflictException(f"{arn} cannot be deleted yet.", detail=why_not)
    changed = {"sequence": transaction.sequence, "updated": transaction.now}
    transaction.connection.execute(
        update(schema.backing_keys)
        .where(schema.backing_keys.c.key_id == key_id, schema.backing_keys.c.state != BackingKeyState.DESTROYED)
        .values(state=BackingKeyState.DESTROYING, **changed)
    )
    transaction.connection.execute(
        update(schema.aliases)
        .where(schema.aliases.c.key_id == key_id, schema.aliases.c.deleted.is_(False))
        .values(deleted=True, **changed)
    )
    transaction.connection.execute(
        update(schema.grants)
        .where(schema.grants.c.key_id == key_id, schema.grants.c.deleted.is_(False))
        .values(deleted=True, **changed)
    )
    transaction.connection.execute(delete(schema.tags).where(schema.tags.c.key_id == key_id))
    transaction.connection.execute(delete(schema.key_usage).where(schema.key_usage.c.key_id == key_id))
    keys.touch(
        transaction,
        key,
        updated=transaction.now,
        deleted=transaction.now,
        description="",
        policy=None,
        current_version=0,
    )


def _why_creating(transaction: Transaction, key: KmsKey) -> str:
    table = schema.backing_keys
    query = select(table.c.version).where(
        table.c.key_id == key.key_id,
        table.c.state == BackingKeyState.CREATING,
        table.c.updated > transaction.now - CREATION_REST_US,
    )
    return "key material is being created" if transaction.connection.execute(query).first() else ""


def destroying_cka_ids(connection: Connection, limit: int) -> tuple[bytes, ...]:
    """Return at most `limit` CKA_IDs of backing keys that are Destroying."""
    table = schema.backing_keys
    query = select(table.c.cka_id).where(table.c.state == BackingKeyState.DESTROYING).order_by(table.c.updated)
    return tuple(connection.execute(query.limit(limit)).scalars())


def claim_destruction(transaction: Transaction, cka_id: bytes) -> None:
    """Claim the destruction of a backing key on the token; the token is to be asked at once (`claims`).

    Raises:
        ConflictException: it is not Destroying any more, or another process imports or destroys it.
    """
    scope = _destroying(transaction.connection, cka_id)
    if scope is None:
        raise ConflictException("This key material is not to be destroyed any more.")
    try:
        claims.claim(transaction, scope, cka_id)
    except KeyUnavailableException as error:
        raise ConflictException(error.message) from error


def _destroying(connection: Connection, cka_id: bytes) -> Scope | None:
    """Return the scope of a backing key that is Destroying, or None if it is not."""
    table = schema.backing_keys
    query = select(table.c.account, table.c.region).where(
        table.c.cka_id == cka_id, table.c.state == BackingKeyState.DESTROYING
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Scope(row.account, row.region)


def finish_destruction(transaction: Transaction, cka_id: bytes) -> None:
    """Make a backing key that is Destroying Destroyed, or PendingImport if only its material goes; a second time does nothing.

    Raises:
        ConflictException: another process has taken it up.
    """
    if _destroying(transaction.connection, cka_id) is None:
        return
    claims.require(transaction, cka_id)
    claims.release(transaction, cka_id)
    table = schema.backing_keys
    is_kept = select(schema.keys.c.key_id).where(
        schema.keys.c.key_id == table.c.key_id, schema.keys.c.deleted.is_(None)
    )
    destroying = and_(table.c.cka_id == cka_id, table.c.state == BackingKeyState.DESTROYING)
    changed = {"sequence": transaction.sequence, "updated": transaction.now}
    kept = transaction.connection.execute(
        update(table)
        .where(destroying, table.c.origin == Origin.EXTERNAL, is_kept.exists())
        .values(state=BackingKeyState.PENDING_IMPORT, **changed)
        .returning(table.c.key_id)
    ).scalars()
    for key_id in kept.all():
        transaction.connection.execute(
            update(schema.keys).where(schema.keys.c.key_id == key_id).values(sequence=transaction.sequence)
        )
    transaction.connection.execute(update(table).where(destroying).values(state=BackingKeyState.DESTROYED, **changed))
