"""Imported key material in the catalog: it comes, expires, is deleted and comes back; and what is left behind is cleared away."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from catalog.helpers import CANARY, SCOPE, SECOND, SUITE, Clocks, Object, Token, deployed, mutation, new_key, running
from hsmkms.core.ciphertext import key_material_id
from hsmkms.core.creations import Creations
from hsmkms.core.errors import ConflictException, DisabledException, KeyUnavailableException
from hsmkms.core.model import BackingKeyState, KeyState, KmsKey, Origin
from hsmkms.core.ports import Import
from hsmkms.core.service_keys import deployment_label
from hsmkms.server.catalog import Catalog
from hsmkms.server.catalog.heartbeats import Since
from hsmkms.server.deleter import Deleter

DAY_S = 24 * 60 * 60
FOREVER = Import(1, SUITE, None, None)
OTHER_CANARY = bytes([1]) * len(CANARY)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


async def external_key(catalog: Catalog) -> KmsKey:
    key = dataclasses.replace(new_key(), state=KeyState.PENDING_IMPORT, origin=Origin.EXTERNAL, backing_keys={})
    assert await catalog.changes.create_key_without_material(mutation(), key, b"answer") == b"answer"
    return known(catalog, key)


def known(catalog: Catalog, key: KmsKey) -> KmsKey:
    found = catalog.view.key(SCOPE, key.key_id)
    assert found is not None
    return found


async def imported(catalog: Catalog, key: KmsKey, what: Import = FOREVER, canary: bytes = CANARY) -> KmsKey:
    begun = await catalog.changes.begin_import(mutation("ImportKeyMaterial"), key, what)
    return await catalog.changes.finish_import(mutation("ImportKeyMaterial"), begun, what, canary, b"{}")


async def beaten(catalog: Catalog, clocks: Clocks, seconds: float) -> None:
    """Let that time pass under a front that beats."""
    observed = (await catalog.beat(None)).observed
    clocks.pass_seconds(seconds)
    await catalog.beat(Since(observed, int(seconds * SECOND), int(seconds * SECOND)))


async def test_a_key_waits_for_its_material_and_is_enabled_by_it(path, clocks):
    async with running(path, clocks) as catalog:
        key = await external_key(catalog)
        assert (key.state, key.current, key.backing_keys) == (KeyState.PENDING_IMPORT, None, {})
        expiry = clocks.us + DAY_S * SECOND
        begun = await catalog.changes.begin_import(mutation(), key, Import(1, SUITE, expiry, "from the vault"))
        assert begun.key.backing_keys[1].state is BackingKeyState.CREATING
        assert known(catalog, key).state is KeyState.PENDING_IMPORT
        done = await catalog.changes.finish_import(
            mutation(), begun, Import(1, SUITE, expiry, "from the vault"), CANARY, b"{}"
        )
        assert done.state is KeyState.ENABLED
        assert done == known(catalog, key)
        assert done.current is not None
        assert (done.current.canary, done.current.expiry, done.current.description) == (
            CANARY,
            expiry,
            "from the vault",
        )


async def test_a_refused_import_leaves_nothing(path, clocks):
    async with running(path, clocks) as catalog:
        key = await external_key(catalog)
        begun = await catalog.changes.begin_import(mutation(), key, FOREVER)
        await catalog.changes.abandon_import(begun)
        assert known(catalog, key).backing_keys == {}
        assert (await imported(catalog, key)).state is KeyState.ENABLED


async def test_the_same_material_again_changes_its_expiry_while_the_key_is_in_use(path, clocks):
    async with running(path, clocks) as catalog:
        key = await imported(catalog, await external_key(catalog))
        expiry = clocks.us + DAY_S * SECOND
        begun = await catalog.changes.begin_import(mutation(), key, Import(1, SUITE, expiry, None))
        assert known(catalog, key).state is KeyState.ENABLED
        assert known(catalog, key).backing_keys[1].state is BackingKeyState.ACTIVE
        with pytest.raises(ConflictException):
            await catalog.changes.finish_import(mutation(), begun, Import(1, SUITE, expiry, None), OTHER_CANARY, b"{}")
        again = await catalog.changes.finish_import(mutation(), begun, Import(1, SUITE, expiry, None), CANARY, b"{}")
        assert again.backing_keys[1].expiry == expiry


async def test_deleted_material_comes_back_and_other_material_does_not(path, clocks):
    async with running(path, clocks) as catalog:
        key = await imported(catalog, await external_key(catalog))
        cka_id = key.cka_id(1)
        assert await catalog.changes.delete_imported(mutation("DeleteImportedKeyMaterial"), key, 1, b"gone") == b"gone"
        assert known(catalog, key).state is KeyState.PENDING_IMPORT
        assert await catalog.destroying_cka_ids(10) == (cka_id,)
        await catalog.changes.claim_destruction(cka_id)
        await catalog.changes.finish_destruction(cka_id)
        assert await catalog.destroying_cka_ids(10) == ()
        waiting = known(catalog, key)
        assert waiting.backing_keys[1].state is BackingKeyState.PENDING_IMPORT
        assert waiting.backing_keys[1].material_id == key_material_id(CANARY)
        begun = await catalog.changes.begin_import(mutation(), key, FOREVER)
        with pytest.raises(ConflictException):
            await catalog.changes.finish_import(mutation(), begun, FOREVER, OTHER_CANARY, b"{}")
        await catalog.changes.abandon_import(begun)
        assert known(catalog, key).backing_keys[1].state is BackingKeyState.PENDING_IMPORT
        assert (await imported(catalog, key)).state is KeyState.ENABLED


async def deleted(catalog: Catalog, key: KmsKey) -> bytes:
    """Take imported material out of use, and return its CKA_ID, which is to be destroyed."""
    await catalog.changes.delete_imported(mutation("DeleteImportedKeyMaterial"), key, 1, b"{}")
    return key.cka_id(1)


async def test_one_front_at_a_time_destroys_and_nothing_comes_back_before_it_has_finished(path):
    """Else a front that is late would destroy on the token what another has let in again."""
    async with running(path, busy_timeout_s=5.0) as one, running(path, busy_timeout_s=5.0) as other:
        key = await imported(one, await external_key(one))
        cka_id = await deleted(one, key)
        await one.claim_destruction(cka_id)
        with pytest.raises(ConflictException):
            await other.claim_destruction(cka_id)
        with pytest.raises(ConflictException):
            await other.finish_destruction(cka_id)
        for catalog in (one, other):
            with pytest.raises(KeyUnavailableException, match="is being deleted"):
                await catalog.changes.begin_import(mutation(), key, FOREVER)
        await one.claim_destruction(cka_id)  # the token failed: it tries again
        await one.finish_destruction(cka_id)
        again = await imported(other, key)
        assert again.state is KeyState.ENABLED
        for catalog in (one, other):
            with pytest.raises(ConflictException):
                await catalog.claim_destruction(cka_id)
            await catalog.finish_destruction(cka_id)
        assert (await external_state(one, key)) is BackingKeyState.ACTIVE


async def external_state(catalog: Catalog, key: KmsKey) -> BackingKeyState:
    return (await catalog.known_cka_ids())[key.cka_id(1)]


async def test_a_destruction_that_was_left_behind_is_taken_up_by_another_front(path):
    async with running(path, busy_timeout_s=5.0) as other:
        async with running(path, busy_timeout_s=5.0) as one:
            key = await imported(one, await external_key(one))
            cka_id = await deleted(one, key)
            await one.claim_destruction(cka_id)
        await other.claim_destruction(cka_id)
        await other.finish_destruction(cka_id)
        assert (await external_state(other, key)) is BackingKeyState.PENDING_IMPORT


async def test_what_is_deleted_during_an_import_goes_when_the_import_is_over(path):
    """The import may put its object on the token after the deletion: it is not destroyed before that cannot happen any more."""
    async with running(path, busy_timeout_s=5.0) as other:
        async with running(path, busy_timeout_s=5.0) as one:
            key = await imported(one, await external_key(one))
            begun = await one.changes.begin_import(mutation(), key, FOREVER)
            cka_id = await deleted(other, key)
            with pytest.raises(ConflictException):
                await other.claim_destruction(cka_id)
            with pytest.raises(ConflictException):
                await one.changes.finish_import(mutation(), begun, FOREVER, CANARY, b"{}")
            assert (await external_state(one, key)) is BackingKeyState.DESTROYING
        await other.claim_destruction(cka_id)
        await other.finish_destruction(cka_id)
        assert (await external_state(other, key)) is BackingKeyState.PENDING_IMPORT


@dataclasses.dataclass
class LateToken(Token):
    """Holds a destruction back until it is let go."""

    reached: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    go: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        self.reached.set()
        await self.go.wait()
        return await super().destroy_backing_keys(cka_id)


async def test_a_deleter_that_is_late_does_not_destroy_what_came_back(path, clocks):
    """The deleters of two fronts, and a front that imports again as soon as it may."""
    async with running(path, clocks, 5.0) as one, running(path, clocks, 5.0) as other:
        label = deployment_label(one.deployment_id)
        late = LateToken(label)
        quick = Token(label, late.objects)
        key = await imported(one, await external_key(one))
        late.objects.append(Object(key.cka_id(1), label, b"first"))
        await deleted(one, key)
        slow = Deleter(one, late, Creations(one.view), clocks)
        task = asyncio.create_task(slow.run_once())
        await late.reached.wait()
        assert (await Deleter(other, quick, Creations(other.view), clocks).run_once()).destroyed == ()
        with pytest.raises(KeyUnavailableException):
            await other.changes.begin_import(mutation(), key, FOREVER)
        late.go.set()
        assert (await task).destroyed == (key.cka_id(1),)
        begun = await other.changes.begin_import(mutation(), key, FOREVER)
        quick.objects.append(Object(key.cka_id(1), label, b"again"))
        await other.changes.finish_import(mutation(), begun, FOREVER, CANARY, b"{}")
        assert (await slow.run_once()).destroyed == ()
        assert [found.value for found in quick.objects] == [b"again"]


async def test_cancelling_the_deletion_of_a_key_without_material_lets_it_wait_for_it(path, clocks):
    async with running(path, clocks) as catalog:
        key = await imported(catalog, await external_key(catalog))
        await catalog.changes.schedule_deletion(mutation("ScheduleKeyDeletion"), key, clocks.us, 7, b"{}")
        await catalog.changes.delete_imported(mutation("DeleteImportedKeyMaterial"), key, 1, b"{}")
        assert known(catalog, key).state is KeyState.PENDING_DELETION
        await catalog.changes.cancel_deletion(mutation("CancelKeyDeletion"), key, b"{}")
        assert known(catalog, key).state is KeyState.PENDING_IMPORT


async def test_nothing_is_imported_into_a_key_that_is_disabled(path, clocks):
    async with running(path, clocks) as catalog:
        key = await imported(catalog, await external_key(catalog))
        await catalog.changes.set_state(mutation("DisableKey"), key, KeyState.DISABLED)
        with pytest.raises(DisabledException, match="is disabled"):
            await catalog.changes.begin_import(mutation(), key, FOREVER)


@pytest.mark.parametrize("path", ["sqlite"], indirect=True)  # the clock of PostgreSQL cannot be set by hand
async def test_material_goes_at_its_end_and_not_because_a_clock_says_so(path, clocks):
    async with running(path, clocks) as catalog:
        await catalog.beat(None)
        expiry = clocks.us + 2 * DAY_S * SECOND
        key = await imported(catalog, await external_key(catalog), Import(1, SUITE, expiry, None))
        await catalog.beat(None)
        clocks.us += 30 * DAY_S * SECOND
        await catalog.beat(Since(0, SECOND, 30 * DAY_S * SECOND))
        assert await catalog.expired_material(clocks.us, 10) == ((known(catalog, key), 1),)
        with pytest.raises(ConflictException) as held:
            await catalog.begin_expiry(key, 1)
        assert held.value.detail == "a clock was in doubt lately"
        assert known(catalog, key).state is KeyState.ENABLED
        clocks.us -= 30 * DAY_S * SECOND
        await catalog.beat(None)
        await beaten(catalog, clocks, 2 * DAY_S + 3600)
        await catalog.begin_expiry(key, 1)
        assert known(catalog, key).state is KeyState.PENDING_IMPORT
        assert await catalog.destroying_cka_ids(10) == (key.cka_id(1),)


async def test_an_import_that_was_killed_is_cleared_away(path, clocks):
    async with deployed(path, clocks) as world:
        key = await external_key(world.catalog)
        await world.catalog.changes.begin_import(mutation(), key, FOREVER)
        world.token.objects += [
            Object(key.cka_id(1), world.token.label, b"half"),
            Object(key.cka_id(1), b"other", b"theirs"),
        ]
        clocks.pass_seconds(121)
        report = await world.reconciler.run_once()
        assert report.finished == (key.cka_id(1),)
        assert known(world.catalog, key).backing_keys == {}
        assert [found.value for found in world.token.objects] == [b"theirs"]


@pytest.mark.parametrize("path", ["sqlite"], indirect=True)
async def test_a_reimport_that_was_killed_keeps_what_it_is_recognised_by(path, clocks):
    async with deployed(path, clocks) as world:
        key = await imported(world.catalog, await external_key(world.catalog))
        await world.catalog.changes.delete_imported(mutation("DeleteImportedKeyMaterial"), key, 1, b"{}")
        await world.catalog.changes.claim_destruction(key.cka_id(1))
        await world.catalog.changes.finish_destruction(key.cka_id(1))
        await world.catalog.changes.begin_import(mutation(), key, FOREVER)
        clocks.pass_seconds(121)
        await world.reconciler.run_once()
        backing_key = known(world.catalog, key).backing_keys[1]
        assert (backing_key.state, backing_key.canary) == (BackingKeyState.PENDING_IMPORT, CANARY)
