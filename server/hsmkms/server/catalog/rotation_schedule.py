"""When a key rotates by itself: the dates in its row, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from sqlalchemy import Connection, select

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.model import KeyState, KmsKey
from hsmkms.server.catalog import keys, rows, schema
from hsmkms.server.catalog.database import Transaction


def enable_rotation(transaction: Transaction, partition: str, key: KmsKey, period_days: int) -> None:
    """Let a key rotate by itself, first after one period from now; one that has that period already keeps its next date.

    Raises:
        DisabledException, KMSInvalidStateException: the key is not Enabled.
        NotFoundException: there is no such key.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    key_states.require("EnableKeyRotation", key.state, key_arn(partition, key.scope, key.key_id))
    if key.rotation_period_days != period_days:
        next_rotation = transaction.now + period_days * keys.DAY_US
        keys.touch(
            transaction,
            key,
            updated=transaction.now,
            rotation_period_days=period_days,
            next_rotation=next_rotation,
        )


def disable_rotation(transaction: Transaction, partition: str, key: KmsKey) -> None:
    """Let a key rotate by itself no longer.

    Raises:
        DisabledException, KMSInvalidStateException: the key is not Enabled.
        NotFoundException: there is no such key.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    key_states.require("DisableKeyRotation", key.state, key_arn(partition, key.scope, key.key_id))
    keys.touch(transaction, key, updated=transaction.now, rotation_period_days=None, next_rotation=None)


def due_rotations(connection: Connection, now: int, limit: int) -> tuple[KmsKey, ...]:
    """Return at most `limit` Enabled keys whose rotation is due, the longest due first."""
    table = schema.keys
    query = (
        select(table.c.key_id)
        .where(table.c.next_rotation <= now, table.c.state == KeyState.ENABLED, table.c.deleted.is_(None))
        .order_by(table.c.next_rotation)
        .limit(limit)
    )
    found = connection.execute(query).scalars().all()
    return tuple(key for key_id in found if (key := rows.read_key(connection, key_id)) is not None)
