"""Where a catalog is: the same tests on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A new catalog's place: the path of a file, or the URL of an empty database."""
    if request.param == "sqlite":
        return tmp_path / "catalog.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.new_database())
