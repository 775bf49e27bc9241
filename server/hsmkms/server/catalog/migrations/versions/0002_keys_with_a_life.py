"""Deletion and rotation of keys by time, their last use, and the heartbeat.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of format 2. The use of keys that are there is recorded from now on."""
    for name in ("pending_window_days", "pending_since", "rotation_period_days", "next_rotation", "deleted"):
        op.add_column("keys", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_keys_deletion_date"), "keys", ["deletion_date"], unique=False)
    op.create_index(op.f("ix_keys_next_rotation"), "keys", ["next_rotation"], unique=False)
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("beaten", sa.BigInteger(), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.BigInteger(), nullable=False),
        sa.Column("doubted", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heartbeat")),
    )
    op.create_table(
        "key_usage",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name=op.f("fk_key_usage_key_id")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_key_usage")),
    )
    op.create_index(op.f("ix_key_usage_sequence"), "key_usage", ["sequence"], unique=False)
    now = sa.bindparam("now", time.time_ns() // 1000, sa.BigInteger())
    op.get_bind().execute(
        sa.text(
            "INSERT INTO key_usage"
            " (key_id, account, region, sequence, created, updated, operation, used, request_id)"
            " SELECT key_id, account, region, sequence, :now, :now, '', 0, '' FROM keys"
        ).bindparams(now)
    )
