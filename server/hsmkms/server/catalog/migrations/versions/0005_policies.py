"""Key policies; a key without one has its account's default policy.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for the policy of a key."""
    op.add_column("keys", sa.Column("policy", sa.Text(), nullable=True))
