"""Keeping the last use of keys, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update

from hsmkms.core.usage import KeyUse
from hsmkms.server.catalog import schema
from hsmkms.server.catalog.database import Transaction


def record_uses(transaction: Transaction, uses: Sequence[KeyUse]) -> None:
    """Write the last uses of these keys, where none that is later is written; keys that are deleted are left out."""
    key_ids = [use.key_id for use in uses]
    table = schema.key_usage
    known = {
        row.key_id: row.used
        for row in transaction.connection.execute(
            select(table.c.key_id, table.c.used).where(table.c.key_id.in_(key_ids))
        )
    }
    living = {
        row.key_id: row
        for row in transaction.connection.execute(
            select(schema.keys).where(schema.keys.c.key_id.in_(key_ids), schema.keys.c.deleted.is_(None))
        )
    }
    for use in uses:
        if use.key_id not in living or known.get(use.key_id, -1) >= use.used:
            continue
        values = {
            "sequence": transaction.sequence,
            "updated": transaction.now,
            "operation": use.operation,
            "used": use.used,
            "request_id": use.request_id,
        }
        if use.key_id in known:
            transaction.connection.execute(update(table).where(table.c.key_id == use.key_id).values(values))
        else:
            key = living[use.key_id]
            first = {"key_id": key.key_id, "account": key.account, "region": key.region, "created": use.recorded_since}
            transaction.connection.execute(insert(table).values(first | values))
