"""The reconciler: finishes what a killed process began, and costs nobody a key."""

import asyncio
import sqlite3
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.helpers import (
    CANARY,
    SCOPE,
    SQLITE_ONLY,
    SUITE,
    Clocks,
    Object,
    child,
    deployed,
    mutation,
    new_key,
    opened,
    said,
    until,
)
from hsmkms.core.ciphertext import cka_id
from hsmkms.core.errors import ConflictException, KeyUnavailableException
from hsmkms.core.model import KeyState, RotationType
from hsmkms.core.service_keys import deployment_label
from hsmkms.server.reconciler import Report

GRACE_S = 120
DAY_S = 24 * 60 * 60


@pytest.fixture
def clocks():
    return Clocks()


def copy(source, target):
    """Make a backup of a catalog, as an operator does."""
    for suffix in ("", "-wal", "-shm"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
    with sqlite3.connect(source) as connection, sqlite3.connect(target) as backup:
        connection.backup(backup)
    connection.close()
    backup.close()


@pytest.mark.parametrize("left_behind", [0, 1, 2])
async def test_a_creation_that_was_killed_is_finished(path, clocks, left_behind):
    """Killed after its row was written; after the token made the object; after two attempts that both did."""
    await opened(path).close()
    async with child(path, "begin") as process:
        key_id = await said(process)
        process.kill()
    async with deployed(path, clocks) as world:
        key_cka_id = cka_id(uuid.UUID(key_id).bytes, 1)
        half_made = [Object(key_cka_id, world.token.label, bytes([number])) for number in range(left_behind)]
        world.token.objects.extend(half_made)

        clocks.pass_seconds(GRACE_S)
        assert await world.reconciler.run_once() == Report(duplicates=(key_cka_id,) if left_behind == 2 else ())
        assert world.token.destroyed == []  # the process that began it may be at work still

        clocks.pass_seconds(1)
        assert await world.reconciler.run_once() == Report(finished=(key_cka_id,))
        assert world.token.destroyed == half_made
        assert world.is_usable(key_id)
        assert [found.cka_id for found in world.token.objects] == [key_cka_id]
        assert await world.reconciler.run_once() == Report()


async def test_a_rotation_that_was_killed_is_finished_and_the_older_material_stays(path, clocks):
    async with deployed(path, clocks) as world:
        key = await world.create()
        async with child(path, "rotate", key.key_id) as process:
            assert await said(process) == "2"
            process.kill()
        clocks.pass_seconds(GRACE_S + 1)
        await world.catalog._database.catch_up()
        assert await world.reconciler.run_once() == Report(finished=(key.cka_id(2),))
        assert world.is_usable(key.key_id, 1)
        assert world.is_usable(key.key_id, 2)
        assert world.token.destroyed == []


async def test_the_repetition_of_a_killed_request_gets_the_key_that_the_reconciler_finished(path, clocks):
    await opened(path).close()
    async with child(path, "begin") as process:
        key_id = await said(process)
        process.kill()
    clocks.pass_seconds(GRACE_S + 1)
    async with deployed(path, clocks) as world:
        await world.reconciler.run_once()
        begun = await world.catalog.changes.begin_key(mutation(key="k"), new_key())
        assert (begun.key.key_id, begun.finished, begun.answer) == (key_id, True, b"")


async def test_what_this_process_is_creating_is_left_alone_however_long_it_takes(path, clocks):
    async with deployed(path, clocks) as world:
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        with world.creations.creating(begun):
            canary = await world.token.generate_backing_key(begun.key.cka_id(1), SUITE)
            clocks.pass_seconds(10 * GRACE_S)
            assert await world.reconciler.run_once() == Report()
            await world.catalog.changes.finish_backing_key(mutation(), begun, canary, b"")
        assert world.is_usable(begun.key.key_id)
        assert world.token.destroyed == []


async def test_one_task_at_a_time_creates_a_backing_key(path, clocks):
    async with deployed(path, clocks) as world:
        same = mutation(key="k")
        first = await world.catalog.changes.begin_key(same, new_key())
        second = await world.catalog.changes.begin_key(same, new_key())
        with world.creations.creating(first):
            with pytest.raises(KeyUnavailableException), world.creations.creating(second):
                pytest.fail("two tasks hold it")
            await world.catalog.changes.finish_backing_key(same, first, CANARY, b"")
        # `second` says that it is not finished, but it is by now: generating it anew would destroy a key in use
        with pytest.raises(KeyUnavailableException), world.creations.creating(second):
            pytest.fail("an Active backing key is not created again")


async def test_a_creation_that_failed_is_free_again(path, clocks):
    async with deployed(path, clocks) as world:
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        with pytest.raises(KeyUnavailableException), world.creations.creating(begun):
            raise KeyUnavailableException
        assert not world.creations.holds(begun)
        with world.creations.creating(begun):
            assert world.creations.holds(begun)


async def test_two_processes_reconcile_at_once_and_one_of_them_generates(path, clocks):
    async with deployed(path, clocks) as world, deployed(path, clocks, world.token.objects) as other:
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        await other.catalog._database.catch_up()
        clocks.pass_seconds(GRACE_S + 1)
        reports = await asyncio.gather(world.reconciler.run_once(), other.reconciler.run_once())
        assert sorted(len(report.finished) for report in reports) == [0, 1]
        assert all(report.failed == () for report in reports)
        assert world.token.made + other.token.made == 1
        await world.catalog._database.catch_up()
        assert world.catalog.view.key(SCOPE, begun.key.key_id).state is KeyState.ENABLED


async def test_taking_up_a_creation_that_is_no_longer_one_is_refused(path, clocks):
    async with deployed(path, clocks) as world:
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        clocks.pass_seconds(1)
        with pytest.raises(ConflictException):
            await world.catalog.take_up_creation(begun, begun.key.created)
        await world.catalog.take_up_creation(begun, clocks.us)
        assert await world.catalog.creating_backing_keys(clocks.us) == ()
        await world.catalog.changes.finish_backing_key(mutation(), begun, CANARY, b"")
        clocks.pass_seconds(1)
        with pytest.raises(ConflictException):
            await world.catalog.take_up_creation(begun, clocks.us)


@SQLITE_ONLY
async def test_an_older_catalog_put_back_costs_no_key(path, clocks, tmp_path):
    async with deployed(path, clocks) as world:
        old = await world.create()
        copy(path, tmp_path / "backup.db")
        newer = [await world.create() for _ in range(3)]
        objects = world.token.objects
    copy(tmp_path / "backup.db", path)
    clocks.pass_seconds(30 * DAY_S)
    before = list(objects)
    async with deployed(path, clocks, objects) as world:
        report = await world.reconciler.run_once()
        assert report == Report(unknown=tuple(sorted(key.cka_id(1) for key in newer)))
        assert objects == before
        assert world.token.destroyed == []
        assert world.is_usable(old.key_id)
        assert world.reports == [report]


@SQLITE_ONLY
async def test_an_older_catalog_copied_in_the_middle_of_a_creation_costs_no_key(path, clocks, tmp_path):
    """The row says Creating, and the key has been in use for a day: it looks as if it had been killed."""
    async with deployed(path, clocks) as world:
        begun = await world.catalog.changes.begin_key(mutation(), new_key(created=clocks.us))
        copy(path, tmp_path / "backup.db")
        canary = await world.token.generate_backing_key(begun.key.cka_id(1), SUITE)
        await world.catalog.changes.finish_backing_key(mutation(), begun, canary, b"")
        objects = world.token.objects
    copy(tmp_path / "backup.db", path)
    clocks.pass_seconds(DAY_S + 1)
    before = list(objects)
    async with deployed(path, clocks, objects) as world:
        assert await world.reconciler.run_once() == Report(stale=(begun.key.cka_id(1),))
        assert objects == before
        # once the operator has judged it to be left over and removed it, the creation is finished
        objects.clear()
        assert await world.reconciler.run_once() == Report(finished=(begun.key.cka_id(1),))


async def test_a_clock_that_jumps_destroys_nothing(path, clocks):
    async with deployed(path, clocks) as world:
        await world.create()
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        await world.token.generate_backing_key(begun.key.cka_id(1), SUITE)
        for days in (-60, 30, 60):
            clocks.pass_seconds(days * DAY_S)
            await world.reconciler.run_once()
        assert world.token.destroyed == []


async def test_a_second_deployment_on_the_same_token_is_left_alone(tmp_path, clocks):
    async with (
        deployed(tmp_path / "one.db", clocks) as one,
        deployed(tmp_path / "two.db", clocks, one.token.objects) as two,
    ):
        theirs = [await two.create() for _ in range(2)]
        mine = await one.create()
        half = await two.catalog.changes.begin_key(mutation(), new_key(created=clocks.us))
        await two.token.generate_backing_key(half.key.cka_id(1), SUITE)
        clocks.pass_seconds(GRACE_S + 1)
        assert await one.reconciler.run_once() == Report(foreign=3)
        assert one.token.destroyed == two.token.destroyed == []
        assert await two.reconciler.run_once() == Report(finished=(half.key.cka_id(1),), foreign=1)
        assert one.is_usable(mine.key_id)
        assert all(two.is_usable(key.key_id) for key in theirs)


async def test_a_foreign_object_with_our_cka_id_is_left_alone(path, clocks):
    async with deployed(path, clocks) as world:
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        foreign = Object(begun.key.cka_id(1), deployment_label(uuid.uuid4()), b"theirs")
        world.token.objects.append(foreign)
        clocks.pass_seconds(GRACE_S + 1)
        assert await world.reconciler.run_once() == Report(finished=(begun.key.cka_id(1),), foreign=1)
        assert foreign in world.token.objects
        assert world.is_usable(begun.key.key_id)


async def test_service_keys_are_left_alone_also_half_made_ones(path, clocks):
    async with deployed(path, clocks) as world:
        for purpose in ("health", "markers"):
            begun = await world.catalog.begin_service_key(purpose, SUITE, "t")
            canary = await world.token.generate_backing_key(begun.cka_id, SUITE)
        await world.catalog.finish_service_key("markers", canary)
        before = list(world.token.objects)
        clocks.pass_seconds(DAY_S)
        assert await world.reconciler.run_once() == Report()
        assert world.token.objects == before


async def test_backing_keys_that_the_token_lost_are_reported(path, clocks):
    async with deployed(path, clocks) as world:
        lost, kept = await world.create(), await world.create()
        world.token.objects[:] = [found for found in world.token.objects if found.cka_id == kept.cka_id(1)]
        assert await world.reconciler.run_once() == Report(missing=(lost.cka_id(1),))
        key = world.catalog.view.key(SCOPE, lost.key_id)
        assert key == lost  # nothing in the catalog is changed for it


async def test_two_objects_of_one_active_key_are_reported_and_left_alone(path, clocks):
    async with deployed(path, clocks) as world:
        key = await world.create()
        world.token.objects.append(Object(key.cka_id(1), world.token.label, b"a second one"))
        assert await world.reconciler.run_once() == Report(duplicates=(key.cka_id(1),))
        assert len(world.token.objects) == 2


async def test_a_creation_that_fails_again_is_tried_again_after_the_grace(path, clocks):
    async with deployed(path, clocks) as world:
        begun = await world.catalog.changes.begin_key(mutation(), new_key())
        clocks.pass_seconds(GRACE_S + 1)
        generate = world.token.generate_backing_key

        async def fail(cka_id, suite):
            raise KeyUnavailableException

        world.token.generate_backing_key = fail
        assert await world.reconciler.run_once() == Report(failed=(begun.key.cka_id(1),))
        world.token.generate_backing_key = generate
        assert await world.reconciler.run_once() == Report()
        clocks.pass_seconds(GRACE_S + 1)
        assert await world.reconciler.run_once() == Report(finished=(begun.key.cka_id(1),))
        assert world.is_usable(begun.key.key_id)


async def test_it_runs_at_once_and_goes_on_when_the_token_comes_back(path, clocks):
    async with deployed(path, clocks) as world:
        world.token.gone = True
        with pytest.raises(KeyUnavailableException):
            await world.reconciler.run_once()
        loop = asyncio.create_task(world.reconciler.run(interval_s=0.01))
        await asyncio.sleep(0)
        world.token.gone = False
        await until(lambda: len(world.reports) >= 2)
        loop.cancel()


OBJECTS = st.lists(st.tuples(st.sampled_from(range(6)), st.booleans()), max_size=12)


@settings(max_examples=25, deadline=None)
@given(objects=OBJECTS, age_s=st.sampled_from([0, GRACE_S + 1, 2 * DAY_S]))
def test_only_own_objects_of_creations_under_a_day_old_are_ever_destroyed(tmp_path_factory, objects, age_s):
    """Whatever lies on the token: ids of two Active keys, two Creating ones and two that nobody knows, ours and others'."""

    async def run():
        clocks = Clocks()
        async with deployed(tmp_path_factory.mktemp("any") / "catalog.db", clocks) as world:
            active = [(await world.create()).cka_id(1) for _ in range(2)]
            begun = [await world.catalog.changes.begin_key(mutation(), new_key()) for _ in range(2)]
            rotating = await world.create()
            await world.catalog.changes.begin_rotation(mutation(), rotating, SUITE, RotationType.ON_DEMAND)
            creating = [found.key.cka_id(1) for found in begun]
            ids = active + creating + [cka_id(uuid.uuid4().bytes, 1) for _ in range(2)]
            for number, (which, own) in enumerate(objects):
                label = world.token.label if own else deployment_label(uuid.UUID(int=which))
                world.token.objects.append(Object(ids[which], label, bytes([number])))
            before = list(world.token.objects)
            clocks.pass_seconds(age_s)
            await world.reconciler.run_once()
            destroyable = creating if age_s == GRACE_S + 1 else []
            for found in before:
                may_go = found.label == world.token.label and found.cka_id in destroyable
                assert (found in world.token.objects) is not may_go

    asyncio.run(run())
