"""Several fronts on one catalog: no number is skipped, no change is overtaken, and no two of them generate one backing key."""

import asyncio
import os
import subprocess
import sys
import uuid

import pytest
from sqlalchemy import select, update

from catalog.helpers import (
    CANARY,
    SCOPE,
    SUITE,
    Clocks,
    Token,
    alias_of,
    child,
    finished_key,
    mutation,
    new_key,
    running,
    said,
    until,
    watching,
)
from hsmkms.core.creations import Creations
from hsmkms.core.errors import ConflictException, KeyUnavailableException
from hsmkms.core.model import BackingKeyState, KeyState
from hsmkms.core.service_keys import PURPOSES, deployment_label
from hsmkms.server import service_keys
from hsmkms.server.catalog import claims, rows, schema

ANOTHER_CANARY = b"\1" * len(CANARY)


async def age_claims(catalog, seconds):
    """Make every claim older than it is."""
    older = update(schema.claims).values(updated=schema.claims.c.updated - seconds * 1_000_000)
    await catalog._database.change(lambda t: t.connection.execute(older) and None)


async def claim_as(catalog, claimant):
    await catalog._database.change(
        lambda t: t.connection.execute(update(schema.claims).values(claimant=claimant)) and None
    )


async def test_one_idempotency_key_on_two_fronts_at_once_generates_once(path):
    """The token destroys what has the same CKA_ID when it generates: were both to do so, one canary would be a dead key's."""
    async with running(path, busy_timeout_s=5.0) as one, running(path, busy_timeout_s=5.0) as other:
        token = Token(deployment_label(one.deployment_id))
        answers = []

        async def create(catalog, same):
            """As `operations.backing.generate` does, repeated as a client repeats it."""
            while True:
                try:
                    begun = await catalog.changes.begin_key(same, new_key())
                    if begun.finished:
                        return begun.answer, begun.key.key_id
                    with Creations(catalog.view).creating(begun):
                        canary = await token.generate_backing_key(begun.key.cka_id(1), SUITE)
                        await asyncio.sleep(0.01)
                        key = await catalog.changes.finish_backing_key(same, begun, canary, b"the answer")
                        return b"the answer", key.key_id
                except KeyUnavailableException:
                    await asyncio.sleep(0.002)

        for number in range(10):
            same = mutation(key=f"k{number}")
            answers.append(await asyncio.gather(create(one, same), create(other, same)))
        assert all(first == second for first, second in answers)
        assert token.made == 10
        assert token.destroyed == []
        for (_, key_id), _ in answers:
            await one._database.catch_up()
            key = one.view.key(SCOPE, key_id)
            assert key.backing_keys[1].canary == token.canary(key.cka_id(1))


async def test_a_change_gives_the_view_another_revision_here_at_once_and_elsewhere_as_soon_as_it_is_seen(path):
    async with running(path) as one, running(path) as other:
        key = await finished_key(one)
        await other._database.catch_up()
        before = one.view.revision, other.view.revision
        await one.changes.set_state(mutation("DisableKey"), key, KeyState.DISABLED)
        assert one.view.revision != before[0]
        assert other.view.revision == before[1]
        await other._database.catch_up()
        assert other.view.key(SCOPE, key.key_id).state is KeyState.DISABLED
        assert other.view.revision != before[1]
        now = one.view.revision, other.view.revision
        await one._database.catch_up()
        await other._database.catch_up()
        assert (one.view.revision, other.view.revision) == now, "nothing has changed since"


async def test_a_claim_is_held_by_one_process_until_it_ends(path):
    same = mutation(key="k")
    async with running(path) as one:
        async with running(path) as other:
            begun = await other.changes.begin_key(same, new_key())
            with pytest.raises(KeyUnavailableException, match="Another request is working"):
                await one.changes.begin_key(same, new_key())
            with pytest.raises(ConflictException):
                await one.take_up_creation(begun, Clocks().us * 2)
            with pytest.raises(ConflictException):  # it did not claim it, so what it has made may be gone
                await one.changes.finish_backing_key(same, begun, CANARY, b"")
            assert await other.changes.begin_key(same, new_key()) == begun
        # the other front is closed: its claim is free at once
        taken = await one.changes.begin_key(same, new_key())
        assert (taken.key.key_id, taken.finished) == (begun.key.key_id, False)
        await one.changes.finish_backing_key(same, taken, CANARY, b"")
        assert await one._database.read(lambda c: c.execute(select(schema.claims)).all()) == []


async def test_a_claim_of_a_killed_process_is_free_at_once(path):
    async with running(path) as catalog, child(path, "begin") as process:
        await said(process)
        with pytest.raises(KeyUnavailableException):
            await catalog.changes.begin_key(mutation(key="k"), new_key())
        process.kill()
        await process.wait()
        assert not (await catalog.changes.begin_key(mutation(key="k"), new_key())).finished


async def test_a_claim_of_another_machine_lasts_its_time_and_its_claimant_cannot_finish_after_that(path):
    same = mutation(key="k")
    async with running(path) as one, running(path) as other:
        begun = await other.changes.begin_key(same, new_key())
        elsewhere = f"{uuid.uuid4()}/pid:[1] 1 1 {uuid.uuid4().hex}"
        await claim_as(one, elsewhere)
        for seconds in (claims.CLAIM_S - 10, 5):
            with pytest.raises(KeyUnavailableException):
                await one.changes.begin_key(same, new_key())
            await age_claims(one, seconds)
        await age_claims(one, 10)
        await one.changes.begin_key(same, new_key())
        with pytest.raises(ConflictException):
            await other.changes.finish_backing_key(same, begun, ANOTHER_CANARY, b"")
        await one.changes.finish_backing_key(same, begun, CANARY, b"")


async def test_a_service_key_that_two_fronts_need_at_their_first_start_is_made_by_one(path):
    async with running(path) as one, running(path) as other:
        begun = await one.begin_service_key("service", SUITE, "t")
        with pytest.raises(KeyUnavailableException):
            await other.begin_service_key("service", SUITE, "t")
        with pytest.raises(ConflictException):
            await other.finish_service_key("service", ANOTHER_CANARY)
        finished = await one.finish_service_key("service", CANARY)
        assert await other.begin_service_key("service", SUITE, "t") == finished
        assert (begun.state, finished.state) == (BackingKeyState.CREATING, BackingKeyState.ACTIVE)


def test_every_service_key_is_one_that_a_rebuilt_catalog_knows():
    made = (
        service_keys.SERVICE_KEY,
        service_keys.AUDIT_KEY,
        service_keys.IMPORT_KEY,
        service_keys.CREDENTIALS_KEY,
    )
    assert sorted(PURPOSES) == sorted(made)


def test_who_has_ended():
    mine = claims.new_claimant()
    assert not claims.is_gone(mine)
    claims.end(mine)
    assert claims.is_gone(mine)
    host, _, _ = mine.partition(" ")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        theirs = f"{host} {process.pid} {claims._started(process.pid)} x"
        assert not claims.is_gone(theirs)
        assert claims.is_gone(f"{host} {process.pid} 1 x")  # the same id, but another process
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert claims.is_gone(theirs)  # dead, though nobody has waited for it
        process.communicate()
    assert claims.is_gone(theirs)
    assert not claims.is_gone(f"{uuid.uuid4()}/pid:[1] 999999999 1 x")  # another machine's
    assert not claims.is_gone("hsm-kms catalog rebuild")


async def test_numbers_have_no_gaps_and_nobody_sees_a_number_before_all_up_to_it(path):
    """Two processes change at full speed while a third reads: each reading has every change up to its position."""
    async with running(path, busy_timeout_s=5.0) as catalog:
        key = await finished_key(catalog)
        first = catalog.view.position
        async with child(path, "count", "theirs", "20") as process:

            async def change():
                for number in range(20):
                    await catalog.changes.create_alias(mutation(), alias_of(key, f"mine-{number}"))

            changing = asyncio.create_task(change())
            readings = 0
            async with running(path, busy_timeout_s=5.0) as reader:
                while not (changing.done() and process.returncode is not None):
                    changes = await reader._database.read(lambda c: rows.read_changes(c, first))
                    numbers = sorted(row.sequence for row in changes.aliases)
                    assert numbers == list(range(first + 1, changes.position + 1))
                    readings += 1
            await changing
        assert readings > 3
        await catalog._database.catch_up()
        assert catalog.view.position == first + 40


async def test_a_key_disabled_on_one_front_is_disabled_on_the_others_within_a_second(path):
    async with running(path) as one, running(path) as other, watching(other):
        key = await finished_key(one)
        await until(lambda: other.view.key(SCOPE, key.key_id) is not None)
        loop = asyncio.get_running_loop()
        longest = 0.0
        for state in (KeyState.DISABLED, KeyState.ENABLED) * 5:
            await one.changes.set_state(mutation(), key, state)
            acknowledged = loop.time()
            await until(lambda state=state: other.view.key(SCOPE, key.key_id).state is state)
            longest = max(longest, loop.time() - acknowledged)
        assert longest < 1.0
