"""Imported key material: what its importer says of it, when it came, and since when its time is observed.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for it."""
    op.add_column("backing_keys", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("backing_keys", sa.Column("imported", sa.BigInteger(), nullable=True))
    op.add_column("backing_keys", sa.Column("observed_since", sa.BigInteger(), nullable=True))
    op.create_index(op.f("ix_backing_keys_expiry"), "backing_keys", ["expiry"], unique=False)
