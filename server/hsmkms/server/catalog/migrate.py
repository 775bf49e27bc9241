"""Bringing a catalog to this service's format when it is opened.

Everything happens in one transaction of the caller's, so that a service that dies here, or two that start at once, leave a catalog
that is either the old one or the new one.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, insert, inspect, select, update

from hsmkms.server.catalog import schema
from hsmkms.server.catalog.errors import CatalogError

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection that is in a transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, now: int, deployment_id: uuid.UUID | None = None) -> None:
    """Make the tables, or bring them to the newest revision.

    Args:
        connection: In a transaction.
        now: The time in microseconds since 1970, UTC.
        deployment_id: The deployment of a catalog that is made; by default a new one.

    Raises:
        CatalogError: the database is no catalog, or one of a newer service.
    """
    tables = set(inspect(connection).get_table_names())
    if tables and schema.catalog.name not in tables:
        raise CatalogError("The database holds tables of something else: name another one in the catalog's URL")
    if tables:
        _require_known_format(connection)
    try:
        command.upgrade(configuration(connection), "head")
    except CommandError as error:
        raise CatalogError(f"The catalog cannot be brought to this version's tables: {error}") from error
    if tables:
        newer = schema.catalog.c.format < schema.FORMAT
        connection.execute(update(schema.catalog).where(newer).values(format=schema.FORMAT, updated=now))
    else:
        _write_first_rows(connection, now, deployment_id or uuid.uuid4())


def _require_known_format(connection: Connection) -> None:
    found = connection.execute(select(schema.catalog.c.format)).scalar_one()
    if found > schema.FORMAT:
        raise CatalogError(
            f"The catalog has format {found} and this version knows formats up to {schema.FORMAT}: "
            "install the version that wrote it, or a newer one"
        )


def _write_first_rows(connection: Connection, now: int, deployment_id: uuid.UUID) -> None:
    common = {"id": schema.ONLY_ROW, "account": "", "region": "", "sequence": 0, "created": now, "updated": now}
    connection.execute(insert(schema.sequence).values(common))
    connection.execute(
        insert(schema.catalog).values(common | {"format": schema.FORMAT, "deployment_id": str(deployment_id)})
    )
