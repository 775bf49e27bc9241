"""The end of a key, as functions on a transaction. They run in the database's writer thread.

Enabled or Disabled → `schedule` → PendingDeletion → `cancel` → Disabled, or, when the waiting period is over, in this order:

1. `begin_destruction`: the key, its aliases and its grants become tombstones, so that nobody finds them any more, and its backing keys
   Destroying.
2. The token destroys what has their CKA_IDs and this deployment's label (`server.deleter`).
3. `finish_destruction`: the backing keys become Destroyed. Their rows stay, so that their CKA_IDs are never taken for unknown ones.

Whoever is killed after 1 or 2 is followed by another who finds the rows that are Destroying and repeats 2 and 3; both can be repeated.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, select, update

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.errors import ConflictException
from hsmkms.core.model import BackingKeyState, KeyState, KmsKey, Scope
from hsmkms.server.catalog import heartbeats, keys, rows, schema
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
    """Make a key that is PendingDeletion Disabled.

    Raises:
        KMSInvalidStateException: the key is not pending deletion.
        NotFoundException: there is no such key, or it is deleted.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    key_states.require("CancelKeyDeletion", key.state, key_arn(partition, key.scope, key.key_id))
    keys.touch(
        transaction,
        key,
        updated=transaction.now,
        state=KeyState.DISABLED,
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
    why_not = heartbeats.why_not_passed(transaction, key.deletion_date, key.pending_window_days, since)
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


def finish_destruction(transaction: Transaction, cka_id: bytes) -> None:
    """Make a backing key that is Destroying Destroyed; a second time does nothing."""
    table = schema.backing_keys
    transaction.connection.execute(
        update(table)
        .where(table.c.cka_id == cka_id, table.c.state == BackingKeyState.DESTROYING)
        .values(state=BackingKeyState.DESTROYED, sequence=transaction.sequence, updated=transaction.now)
    )
