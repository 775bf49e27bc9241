"""Opening a catalog: its tables, its migrations, and everything that can be wrong with the file."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hatchling.builders.wheel import WheelBuilder
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from catalog.helpers import START, Clocks, finished_key, opened, running, url
from hsmkms.server.catalog import CatalogError, open_catalog, schema

ROOT = Path(__file__).parents[2]


def execute(path: Path, *statements: str):
    connection = sqlite3.connect(path)
    for statement in statements:
        found = connection.execute(statement).fetchall()
    connection.commit()
    connection.close()
    return found


async def test_the_migrations_make_the_tables_of_the_schema(tmp_path):
    await opened(tmp_path / "catalog.db").close()
    engine = create_engine(url(tmp_path / "catalog.db"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.METADATA) == []
    engine.dispose()


def test_every_row_has_account_region_sequence_created_and_updated():
    for table in schema.METADATA.tables.values():
        assert {"account", "region", "sequence", "created", "updated"} <= set(table.columns.keys()), table.name


def test_the_migrations_are_in_the_wheel():
    shipped = {included.distribution_path for included in WheelBuilder(str(ROOT)).recurse_included_files()}
    folder = "hsmkms/server/catalog/migrations"
    assert {f"{folder}/env.py", f"{folder}/script.py.mako", f"{folder}/versions/0001_first_tables.py"} <= shipped


async def test_a_second_start_finds_the_same_deployment_and_its_keys(tmp_path):
    async with running(tmp_path / "catalog.db") as catalog:
        deployment_id = catalog.deployment_id
        key = await finished_key(catalog)
    async with running(tmp_path / "catalog.db") as catalog:
        assert catalog.deployment_id == deployment_id
        assert catalog.view.key(key.scope, key.key_id) == key


async def test_the_file_is_for_its_owner_only(tmp_path):
    async with running(tmp_path / "catalog.db") as catalog:
        await finished_key(catalog)
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_change_is_on_the_disk_before_it_is_acknowledged(tmp_path):
    async with running(tmp_path / "catalog.db") as catalog:
        modes = await catalog._database.read(
            lambda c: [
                c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        )
    assert modes == ["wal", 2, 1]


def refusal(where: str) -> str:
    clocks = Clocks()
    with pytest.raises(CatalogError) as raised:
        open_catalog(where, partition="aws", clock_us=clocks.now_us, monotonic=clocks.monotonic, busy_timeout_s=0.05)
    assert "\n" not in str(raised.value)
    return str(raised.value)


async def test_a_catalog_of_a_newer_service_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "catalog.db"
    await opened(path).close()
    execute(path, "UPDATE catalog SET format = 99", "UPDATE alembic_version SET version_num = '0099'")
    assert "format 99" in refusal(url(path))
    assert execute(path, "SELECT format, updated FROM catalog") == [(99, START)]


async def test_a_revision_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "catalog.db"
    await opened(path).close()
    execute(path, "UPDATE alembic_version SET version_num = '0099'")
    assert "0099" in refusal(url(path))


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    execute(path, "CREATE TABLE songs (name TEXT)")
    assert "something else" in refusal(url(path))
    assert execute(path, "SELECT name FROM sqlite_master") == [("songs",)]


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "catalog.db"
    path.write_bytes(b"not a database at all, " * 100)
    assert "no SQLite database" in refusal(url(path))


def test_a_missing_folder_is_named(tmp_path):
    assert f"{str(tmp_path / 'missing')!r} does not exist" in refusal(url(tmp_path / "missing" / "catalog.db"))


def test_a_folder_in_the_files_place_is_refused(tmp_path):
    assert "cannot be opened for writing" in refusal(url(tmp_path))


def test_a_file_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "catalog.db").touch(0o400)
    tmp_path.chmod(0o555)
    monkeypatch.chdir(tmp_path)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write whatever it likes; nobody may not
    try:
        assert "cannot be opened for writing (Permission denied)" in refusal("sqlite:///catalog.db")
        assert "cannot be opened for writing (Permission denied)" in refusal("sqlite:///new.db")
    finally:
        os.seteuid(user)


def test_a_locked_database_is_said_to_be_locked(tmp_path):
    path = tmp_path / "catalog.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert "lock" in refusal(url(path))
    holder.close()


@pytest.mark.parametrize("where", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "nonsense", ""])
def test_other_urls_are_refused(where):
    assert "sqlite:///path/to/catalog.db" in refusal(where)


def test_the_tables_can_be_made_on_postgresql():
    for table in schema.METADATA.sorted_tables:
        text = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert "BLOB" not in text
        assert "DATETIME" not in text
