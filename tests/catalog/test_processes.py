"""Several processes on one file, locks that others hold, callers that go away, files that are moved."""

import asyncio
import contextlib
import sqlite3
import time

import pytest
from sqlalchemy import func, select

from catalog.helpers import (
    CANARY,
    SCOPE,
    SQLITE_ONLY,
    SUITE,
    Clocks,
    alias_of,
    child,
    finished_key,
    mutation,
    new_key,
    opened,
    running,
    said,
    until,
    watching,
)
from hsmkms.core.errors import KeyUnavailableException, KMSInternalException, ThrottlingException
from hsmkms.core.model import KeyState, RotationType
from hsmkms.server.catalog import database, open_catalog, schema


async def test_what_another_process_changes_is_seen_here(path):
    async with running(path) as catalog, watching(catalog):
        key = await finished_key(catalog)
        await catalog.changes.create_alias(mutation(), alias_of(key, "old"))
        async with child(path, "change", key.key_id) as process:
            made = await said(process)
        await until(lambda: catalog.view.alias(SCOPE, "alias/new") is not None)
        disabled, new = catalog.view.key(SCOPE, key.key_id), catalog.view.key(SCOPE, made)
        assert disabled is not None
        assert new is not None
        assert (disabled.state, new.state) == (KeyState.DISABLED, KeyState.ENABLED)
        assert catalog.view.alias(SCOPE, "alias/old") is None
        assert [alias.key_id for alias in catalog.view.aliases_after(SCOPE, "", 10)] == [made]


async def test_processes_that_change_at_once_lose_nothing_and_agree(path):
    async with running(path, busy_timeout_s=5.0) as catalog, watching(catalog):
        keys = [await finished_key(catalog) for _ in range(2)]
        key = max(keys, key=lambda key: key.key_id)
        async with child(path, "count", "theirs", "30") as process:
            for number in range(30):
                await catalog.changes.create_alias(mutation(), alias_of(key, f"mine-{number}"))
            assert await said(process) == "done"
        await until(lambda: len(catalog.view.aliases_after(SCOPE, "", 100)) == 60)
    reopened = opened(path)
    assert reopened.view.aliases_after(SCOPE, "", 100) == catalog.view.aliases_after(SCOPE, "", 100)
    assert reopened.view.position == catalog.view.position
    await reopened.close()


async def test_a_change_sees_what_others_did_before_it_even_if_nobody_watches(path):
    async with running(path) as one, running(path) as other:
        key = await finished_key(other)
        assert one.view.key(SCOPE, key.key_id) is None
        await one.changes.create_alias(mutation(), alias_of(key, "a"))
        assert one.view.key(SCOPE, key.key_id) == key


async def test_processes_that_start_at_once_agree_on_one_deployment(path):
    def open_one():
        return opened(path, busy_timeout_s=5.0)

    catalogs = await asyncio.gather(*(asyncio.to_thread(open_one) for _ in range(4)))
    assert len({catalog.deployment_id for catalog in catalogs}) == 1
    for catalog in catalogs:
        await catalog.close()


@SQLITE_ONLY
async def test_a_lock_that_another_holds_is_a_retryable_error_within_the_bound_and_reading_goes_on(path):
    clocks = Clocks()
    catalog = open_catalog(
        f"sqlite:///{path}", partition="aws", clock_us=clocks.now_us, monotonic=time.monotonic, busy_timeout_s=0.3
    )
    key = await finished_key(catalog)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    async with watching(catalog):
        changes = [catalog.changes.create_alias(mutation(), alias_of(key, f"{number}")) for number in range(20)]
        started = time.monotonic()
        results = await asyncio.gather(*changes, return_exceptions=True)
        # the bound holds for the last in the queue too: 20 waits of 0.3 s one after the other would be 6 s
        assert time.monotonic() - started < 3
        assert {type(result) for result in results} == {KeyUnavailableException}
        assert KeyUnavailableException.retryable
        catalog.view.require_fresh()
        assert catalog.view.key(SCOPE, key.key_id) == key
        await catalog._database.catch_up()

        holder.execute("ROLLBACK")
        holder.close()
        await catalog.changes.create_alias(mutation(), alias_of(key, "after"))
        assert [alias.name for alias in catalog.view.aliases_after(SCOPE, "", 100)] == ["alias/after"]
    await catalog.close()


@SQLITE_ONLY
async def test_a_full_disk_is_retryable_loses_nothing_and_heals(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)

        async def limit(pages):
            await catalog._database.change(
                lambda t: t.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()
            )

        await limit(1)  # as many pages as there are
        big = new_key(description="x" * 8192)
        with contextlib.suppress(KeyUnavailableException):
            for _ in range(20):  # fills what is left of the pages
                await catalog.changes.begin_key(mutation(), new_key(description="x" * 8192))
        with pytest.raises(KeyUnavailableException):
            await catalog.changes.begin_key(mutation(), big)
        assert catalog.view.key(SCOPE, big.key_id) is None
        engine = catalog._database._engine
        engine.dispose()  # a new connection has room again
        begun = await catalog.changes.begin_key(mutation(), big)
        assert catalog.view.key(SCOPE, big.key_id) == begun.key
        assert catalog.view.key(SCOPE, key.key_id) == key


@SQLITE_ONLY
async def test_a_catalog_that_was_moved_away_serves_for_its_bound_and_takes_no_change(path, tmp_path):
    clocks = Clocks()
    async with running(path, clocks) as catalog:
        key = await finished_key(catalog)
        path.rename(tmp_path / "elsewhere.db")
        for _ in range(2):
            with pytest.raises(KeyUnavailableException):
                await catalog._database.catch_up()
            with pytest.raises(KeyUnavailableException):
                await catalog.changes.set_state(mutation(), key, KeyState.DISABLED)
            path.write_bytes(b"")  # neither does another file in its place
        clocks.pass_seconds(30)
        catalog.view.require_fresh()
        clocks.pass_seconds(1)
        with pytest.raises(KeyUnavailableException):
            catalog.view.require_fresh()
        (tmp_path / "elsewhere.db").rename(path)
        await catalog._database.catch_up()
        catalog.view.require_fresh()
        await catalog.changes.set_state(mutation(), key, KeyState.DISABLED)


@SQLITE_ONLY
async def test_the_watch_goes_on_after_failures_and_confirms_the_view(path, tmp_path):
    clocks = Clocks()
    async with running(path, clocks) as catalog, watching(catalog):
        path.rename(tmp_path / "elsewhere.db")
        await until(lambda: catalog._database._watcher._connection is None)
        clocks.pass_seconds(31)
        with pytest.raises(KeyUnavailableException):
            catalog.view.require_fresh()
        (tmp_path / "elsewhere.db").rename(path)

        def fresh():
            with contextlib.suppress(KeyUnavailableException):
                catalog.view.require_fresh()
                return True
            return False

        await until(fresh)


async def test_a_caller_that_goes_away_does_not_tear_a_change(path):
    async with running(path) as catalog:
        key = new_key()
        caller = asyncio.create_task(catalog.changes.begin_key(mutation(), key))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await until(lambda: catalog.view.key(SCOPE, key.key_id) is not None)
        count = select(func.count()).select_from(schema.backing_keys)
        assert await catalog._database.read(lambda c: c.execute(count).scalar_one()) == 1


async def test_a_caller_cancelled_at_any_moment_leaves_the_view_equal_to_the_database(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        for steps in range(40):
            changes = catalog.changes
            caller = asyncio.create_task(changes.create_alias(mutation(), alias_of(key, f"{steps:02}")))
            for _ in range(steps % 8):
                await asyncio.sleep(0)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await caller
        await until(lambda: not catalog._database._pending)
    reopened = opened(path)
    assert reopened.view.aliases_after(SCOPE, "", 100) == catalog.view.aliases_after(SCOPE, "", 100)
    await reopened.close()


async def test_closing_waits_for_changes_and_takes_no_more(path):
    catalog = opened(path)
    key = new_key()
    under_way = asyncio.create_task(catalog.changes.begin_key(mutation(), key))
    await asyncio.sleep(0)
    await catalog.close()
    assert (await under_way).key.key_id == key.key_id
    with pytest.raises(KeyUnavailableException, match="shutting down"):
        await catalog.changes.begin_key(mutation(), new_key())


async def test_no_more_changes_wait_than_can_be_made(path, monkeypatch):
    monkeypatch.setattr(database, "MAX_PENDING", 3)
    async with running(path) as catalog:
        begun = [catalog.changes.begin_key(mutation(), new_key()) for _ in range(6)]
        results = await asyncio.gather(*begun, return_exceptions=True)
        assert sum(isinstance(result, ThrottlingException) for result in results) == 3
        await catalog.changes.begin_key(mutation(), new_key())


async def test_a_killed_process_leaves_either_the_whole_change_or_nothing(path):
    await opened(path).close()
    async with child(path, "begin") as process:
        key_id = await said(process)
        process.kill()
    async with running(path) as catalog:
        key = catalog.view.key(SCOPE, key_id)
        assert key is not None
        assert key.state is KeyState.CREATING
        again = await catalog.changes.begin_key(mutation(key="k"), new_key())
        assert again.key == key
        finished = await catalog.changes.finish_backing_key(mutation(key="k"), again, CANARY, b"answer")
        assert finished.state is KeyState.ENABLED
        await catalog.changes.begin_rotation(mutation(), finished, SUITE, RotationType.ON_DEMAND)


@SQLITE_ONLY
async def test_a_connection_that_breaks_under_the_watch_is_replaced(path):
    async with running(path) as one, running(path) as other:
        await one._database.catch_up()
        one._database._watcher._connection.dbapi_connection.close()
        with pytest.raises(KeyUnavailableException):
            await one._database.catch_up()
        key = await finished_key(other)
        await one._database.catch_up()
        assert one.view.key(SCOPE, key.key_id) == key


@SQLITE_ONLY
async def test_a_row_that_this_version_cannot_read_is_an_internal_error_not_a_crash(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE keys SET state = 'Sleeping', sequence = sequence + 1")
            connection.execute("UPDATE sequence SET sequence = sequence + 1")
        connection.close()
        for attempt in (catalog._database.catch_up(), catalog.changes.set_state(mutation(), key, KeyState.DISABLED)):
            with pytest.raises(KMSInternalException):
                await attempt
        assert catalog.view.key(SCOPE, key.key_id) == key
