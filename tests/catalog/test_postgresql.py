"""What only PostgreSQL does: passwords that are nowhere, servers that go away or say nothing, fronts that stand still."""

import asyncio
import contextlib
import time

import pytest
from sqlalchemy import text

from catalog.helpers import SCOPE, Clocks, alias_of, finished_key, mutation, new_key, opened, running, until, watching
from hsmkms.core.errors import KeyUnavailableException, ValidationException
from hsmkms.server.catalog import CatalogError, database, open_catalog, postgresql
from hsmkms.server.catalog.place import place_of
from hsmkms.server.config import Catalog
from support.postgres import running_postgres
from support.proxy import proxy_to

PASSWORD = "correct-horse-4711"


@pytest.fixture
def url(postgres):
    return postgres.url(postgres.new_database())


def refusal(where):
    clocks = Clocks()
    with pytest.raises(CatalogError) as raised:
        open_catalog(where, partition="aws", clock_us=clocks.now_us, monotonic=clocks.monotonic, busy_timeout_s=0.5)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    "where",
    [
        f"postgresql://me:{PASSWORD}@127.0.0.1/kms",
        f"postgresql://127.0.0.1/kms?user=me&password={PASSWORD}",
        f"postgresql://127.0.0.1/kms?sslpassword={PASSWORD}",
        f"postgresql://me:{PASSWORD}@127.0.0.1:port/kms",
        f"postgresql+pg8000://me:{PASSWORD}@127.0.0.1/kms",
        f"postgres://me:{PASSWORD}@127.0.0.1/kms",
        f"mysql://me:{PASSWORD}@127.0.0.1/kms",
    ],
)
def test_a_password_in_the_url_is_refused_and_told_to_nobody(where):
    assert PASSWORD not in refusal(where)
    with pytest.raises(ValueError, match="url") as raised:
        Catalog(url=where)
    assert PASSWORD not in raised.value.errors()[0]["msg"]


def test_a_wrong_password_and_a_missing_server_are_said_in_one_line(postgres, monkeypatch, tmp_path):
    wrong = tmp_path / "pgpass"
    wrong.touch(0o600)
    wrong.write_text(f"*:*:*:*:{PASSWORD}\n")
    monkeypatch.setenv("PGPASSFILE", str(wrong))
    said = refusal(postgres.url("postgres"))
    assert "password authentication failed" in said
    assert PASSWORD not in said
    assert "refused" in refusal("postgresql://hsmkms@127.0.0.1:1/kms")


def test_a_service_file_may_say_where_it_is(postgres, monkeypatch, tmp_path):
    file = tmp_path / "services"
    file.write_text(
        f"[kms]\nhost=127.0.0.1\nport={postgres.port}\nuser=hsmkms\npassword={postgres.password}\n"
        f"dbname={postgres.new_database()}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.delenv("PGPASSFILE")
    asyncio.run(opened("postgresql:///?service=kms").close())


@pytest.mark.parametrize(
    ("where", "mode"),
    [
        ("postgresql://me@db.example.com/kms", "verify-full"),
        ("postgresql://me@192.0.2.7/kms", "verify-full"),
        ("postgresql://me@/kms?host=localhost,db.example.com", "verify-full"),
        ("postgresql://me@db.example.com/kms?sslmode=verify-ca", "verify-ca"),
        ("postgresql://me@127.0.0.1/kms", None),
        ("postgresql://me@[::1]/kms", None),
        ("postgresql://me@/kms?host=/run/postgresql", None),
    ],
)
def test_a_server_elsewhere_must_prove_who_it_is(where, mode):
    assert place_of(where)._url.query.get("sslmode") == mode


def test_another_programs_database_is_refused(postgres):
    name = postgres.new_database()
    postgres.execute("CREATE TABLE songs (name text)", name)
    assert "something else" in refusal(postgres.url(name))


async def test_every_wait_is_bounded_by_the_server_too(url):
    async with running(url, busy_timeout_s=2.5) as catalog:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        found = await catalog._database.read(lambda c: [c.execute(text(f"SHOW {name}")).scalar_one() for name in names])
        assert found == ["2500ms"] * 3
        isolation = await catalog._database.read(lambda c: c.execute(text("SHOW transaction_isolation")).scalar_one())
        read_only = await catalog._database.read(lambda c: c.execute(text("SHOW transaction_read_only")).scalar_one())
        assert (isolation, read_only) == ("repeatable read", "on")


async def test_a_text_that_cannot_be_stored_is_the_callers_mistake(url):
    async with running(url) as catalog:
        with pytest.raises(ValidationException, match=r"U\+0000"):
            await catalog.changes.begin_key(mutation(), new_key(description="a\0b"))


async def test_a_front_that_stands_still_in_a_change_stops_the_others_for_the_bound_only(postgres):
    name = postgres.new_database()
    async with running(postgres.url(name), busy_timeout_s=1.0) as catalog:
        key = await finished_key(catalog)
        with postgres.connect(name) as standing:
            standing.execute("SET idle_in_transaction_session_timeout = '1500ms'")  # every front sets it
            standing.execute("BEGIN")
            standing.execute("UPDATE sequence SET sequence = sequence + 1")
            started = time.monotonic()
            with pytest.raises(KeyUnavailableException):
                await catalog.changes.create_alias(mutation(), alias_of(key, "a"))
            assert time.monotonic() - started < 2
            await asyncio.sleep(1.0)
            await catalog.changes.create_alias(mutation(), alias_of(key, "a"))
            with contextlib.suppress(Exception):
                standing.execute("ROLLBACK")
        assert [alias.name for alias in catalog.view.aliases_after(SCOPE, "", 10)] == ["alias/a"]


async def test_a_change_in_the_way_of_another_is_tried_again(url, monkeypatch):
    async with running(url) as catalog:
        tries = []

        def work(transaction):
            tries.append(transaction.sequence)
            if len(tries) < database.ATTEMPTS:
                transaction.connection.exec_driver_sql("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
            return len(tries)

        assert await catalog._database.change(work) == 3
        assert len(set(tries)) == 1  # what was rolled back takes no number
        tries.clear()

        def never(transaction):
            tries.append(1)
            transaction.connection.exec_driver_sql("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")

        with pytest.raises(KeyUnavailableException):
            await catalog._database.change(never)
        assert len(tries) == database.ATTEMPTS


async def test_connections_that_the_server_closed_are_replaced_without_an_error(postgres):
    name = postgres.new_database()
    async with running(postgres.url(name), busy_timeout_s=3.0) as catalog, watching(catalog):
        key = await finished_key(catalog)
        await asyncio.sleep(0.3)
        for number in range(3):
            postgres.execute(
                f"SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()",
                "postgres",
            )
            await catalog.changes.create_alias(mutation(), alias_of(key, f"{number}"))


async def test_changes_are_announced_and_found_without_an_announcement_too(url, monkeypatch):
    async with running(url) as one, running(url) as other:
        async with watching(other):
            await asyncio.sleep(0.3)
            started = time.monotonic()
            for _ in range(5):
                key = await finished_key(one)
                await until(lambda key=key: other.view.key(SCOPE, key.key_id) is not None)
            assert time.monotonic() - started < 2 * postgresql.POLL_INTERVAL_S  # five polls would take longer
        monkeypatch.setattr(postgresql.Place, "announce", lambda *_: None)
        async with watching(other):
            await asyncio.sleep(0.3)
            key = await finished_key(one)
            started = time.monotonic()
            await until(lambda: other.view.key(SCOPE, key.key_id) is not None)
            assert time.monotonic() - started < 1.0


async def test_a_front_that_is_cut_off_serves_for_its_bound_refuses_changes_and_recovers(postgres):
    """The connections stay open and say nothing: only the front's own bounds can end the waits."""
    clocks = Clocks()
    with proxy_to(postgres.port) as proxy:
        catalog = open_catalog(
            postgres.url(postgres.new_database(), proxy.port),
            partition="aws",
            clock_us=clocks.now_us,
            monotonic=time.monotonic,
            max_staleness_s=2.0,
            busy_timeout_s=1.0,
        )
        async with watching(catalog):
            key = await finished_key(catalog)
            proxy.pause()
            cut_off = time.monotonic()
            changes = [catalog.changes.create_alias(mutation(), alias_of(key, f"{number}")) for number in range(5)]
            results = await asyncio.gather(*changes, return_exceptions=True)
            assert {type(result) for result in results} == {KeyUnavailableException}
            assert time.monotonic() - cut_off < 2.5
            stale_at = None
            while stale_at is None and time.monotonic() - cut_off < 5:
                try:
                    catalog.view.require_fresh()
                except KeyUnavailableException:
                    stale_at = time.monotonic()
                await asyncio.sleep(0.01)
            assert 1.4 < stale_at - cut_off < 2.2  # from the last confirmation on, which was a poll earlier
            assert catalog.view.key(SCOPE, key.key_id) == key

            proxy.resume()
            healed = time.monotonic()

            def fresh():
                with contextlib.suppress(KeyUnavailableException):
                    catalog.view.require_fresh()
                    return True
                return False

            await until(fresh)
            assert time.monotonic() - healed < 4
            await catalog.changes.create_alias(mutation(), alias_of(key, "after"))
        await catalog.close()


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_and_it_goes_on_by_itself():
    with running_postgres() as server:
        url = server.url(server.new_database())
        async with running(url, busy_timeout_s=2.0) as catalog, watching(catalog):
            key = await finished_key(catalog)
            acknowledged, failures = [], set()
            stop = asyncio.Event()

            async def change():
                number = 0
                while not stop.is_set():
                    number += 1
                    name = f"a-{number}"
                    same = mutation("CreateAlias", name, name)
                    for _ in range(200):
                        try:
                            await catalog.changes.create_alias(same, alias_of(key, name))
                            acknowledged.append(f"alias/{name}")
                            await catalog.changes.delete_alias(mutation("D", name, name), SCOPE, f"alias/{name}")
                            acknowledged.append(f"-alias/{name}")
                            break
                        except KeyUnavailableException as error:
                            failures.add(type(error))
                            await asyncio.sleep(0.02)

            changing = asyncio.create_task(change())
            for _ in range(2):
                enough = len(acknowledged) + 20
                await until(lambda enough=enough: len(acknowledged) >= enough)
                before = len(acknowledged)
                await asyncio.to_thread(server.kill)
                catalog.view.require_fresh()
                assert catalog.view.key(SCOPE, key.key_id) is not None
                await asyncio.to_thread(server.start)
                await until(lambda before=before: len(acknowledged) > before + 4)
            stop.set()
            await changing
            assert failures == {KeyUnavailableException}
        async with running(url) as again:
            living = {name for name in acknowledged if name.startswith("alias/") and f"-{name}" not in acknowledged}
            assert {alias.name for alias in again.view.aliases_after(SCOPE, "", 1000)} >= living
            rows = await again._database.read(lambda c: c.execute(text("SELECT count(*) FROM aliases")).scalar_one())
            assert rows >= len({name for name in acknowledged if name.startswith("alias/")})
