"""Alembic's environment: migrations run on a connection, and in a transaction, that the service gives.

To write a new revision, from the repository's root: change schema.py, then copy the newest file of versions/ to the next number and
write what changed; tests/catalog/test_migrations.py compares the two.
"""

from __future__ import annotations

from alembic import context

from hsmkms.server.catalog import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.METADATA,
    # SQLite can alter tables in a transaction when the driver is kept from committing first; sqlite.py does that.
    transactional_ddl=True,
    # SQLite cannot alter a column: batch mode copies the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
