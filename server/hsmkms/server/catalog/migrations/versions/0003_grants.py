"""Grants.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of grants."""
    op.create_table(
        "grants",
        sa.Column("grant_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("grantee_principal", sa.String(), nullable=False),
        sa.Column("retiring_principal", sa.String(), nullable=False),
        sa.Column("issuing_account", sa.String(), nullable=False),
        sa.Column("operations", sa.String(), nullable=False),
        sa.Column("context_equals", sa.String(), nullable=True),
        sa.Column("context_subset", sa.String(), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name=op.f("fk_grants_key_id")),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_sequence"), "grants", ["sequence"], unique=False)
    op.create_index(
        op.f("ix_grants_key_id_deleted_grantee_principal"),
        "grants",
        ["key_id", "deleted", "grantee_principal"],
        unique=False,
    )
