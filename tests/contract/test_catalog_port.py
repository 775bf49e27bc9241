"""The contract of `core.ports.CatalogView` and `CatalogChanges`, for the simulator of the unit tests and for the catalog on SQLite."""

import hashlib
import time
import uuid
from dataclasses import replace

import pytest

from hsmkms.core.ciphertext import CANARY_BYTES, Suite, key_material_id
from hsmkms.core.errors import KmsError
from hsmkms.core.model import (
    Alias,
    BackingKey,
    BackingKeyState,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    RotationType,
    Tag,
)
from hsmkms.core.ports import Mutation
from hsmkms.server.catalog import open_catalog
from support.simulator import ALICE, OTHER_SCOPE, PARTITION, SCOPE, START_US, SimulatedCatalog, SimulatedClock

SUITE = Suite.AES_CBC_ENCRYPT_DATA
CANARY = bytes(range(CANARY_BYTES))


class Subject:
    """A catalog of either kind, and short ways to change it."""

    def __init__(self, view, changes):
        self.view, self.changes = view, changes

    async def key(self, number=1, mutation=None, **values):
        new = new_key(number, **values)
        mutation = mutation or mutation_of()
        begun = await self.changes.begin_key(mutation, new)
        return await self.changes.finish_backing_key(mutation, begun, CANARY, b"answer")

    async def rotate(self, key, mutation=None):
        mutation = mutation or mutation_of("RotateKeyOnDemand")
        begun = await self.changes.begin_rotation(mutation, key, SUITE, RotationType.ON_DEMAND)
        canary = bytes([begun.version]) * CANARY_BYTES
        return await self.changes.finish_backing_key(mutation, begun, canary, b"")

    async def alias(self, name, key, mutation=None):
        alias = Alias(key.scope, name, key.key_id, START_US, START_US)
        await self.changes.create_alias(mutation or mutation_of("CreateAlias"), alias)


@pytest.fixture(params=["simulator", "SQLite"])
async def catalog(request, tmp_path):
    clock = SimulatedClock()
    if request.param == "simulator":
        simulated = SimulatedCatalog(clock)
        yield Subject(simulated, simulated)
        return
    opened = open_catalog(
        f"sqlite:///{tmp_path / 'catalog.db'}",
        partition=PARTITION,
        clock_us=clock.now_us,
        monotonic=time.monotonic,
        token="test/0001",
    )
    try:
        yield Subject(opened.view, opened.changes)
    finally:
        await opened.close()


def new_key(number, scope=SCOPE, **values):
    first = BackingKey(1, SUITE, BackingKeyState.CREATING, b"", "", START_US)
    key = KmsKey(
        scope=scope,
        key_id=f"{number:08x}-0000-4000-8000-000000000000",
        state=KeyState.CREATING,
        description="",
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        origin=Origin.AWS_KMS,
        multi_region=MultiRegionKind.SINGLE,
        current_version=0,
        backing_keys={1: first},
        created=START_US,
        updated=START_US,
    )
    return replace(key, **values)


def mutation_of(operation="CreateKey", key=None, request=""):
    return Mutation(SCOPE, ALICE.arn, operation, key, hashlib.sha256(request.encode()).digest())


async def refusal_of(work):
    with pytest.raises(KmsError) as refused:
        await work
    return refused.value.code, refused.value.message


def arn(key):
    return f"arn:aws:kms:eu-central-1:111122223333:key/{key.key_id}"


async def test_a_key_is_creating_until_its_material_is_there(catalog):
    tags = (Tag("a", "1"), Tag("b", ""))
    begun = await catalog.changes.begin_key(mutation_of(), new_key(1, tags=tags, description="d"))
    seen = catalog.view.key(SCOPE, begun.key.key_id)
    assert (begun.version, begun.finished, begun.answer) == (1, False, b"")
    assert (seen.state, seen.current, seen.tags, seen.description) == (KeyState.CREATING, None, tags, "d")
    finished = await catalog.changes.finish_backing_key(mutation_of(), begun, CANARY, b"answer")
    assert finished == catalog.view.key(SCOPE, begun.key.key_id)
    assert (finished.state, finished.current_version) == (KeyState.ENABLED, 1)
    assert finished.current == replace(
        begun.key.backing_keys[1],
        state=BackingKeyState.ACTIVE,
        canary=CANARY,
        material_id=key_material_id(CANARY),
        created=finished.current.created,
    )


async def test_keys_are_found_by_id_and_uuid_each_in_its_account(catalog):
    ours, theirs = await catalog.key(1), await catalog.key(2, scope=OTHER_SCOPE)
    assert catalog.view.key(SCOPE, ours.key_id) == ours
    assert catalog.view.key(SCOPE, theirs.key_id) is None
    assert catalog.view.key_by_uuid(theirs.uuid_bytes) == theirs
    assert catalog.view.key_by_uuid(uuid.uuid4().bytes) is None
    assert catalog.view.keys_after(SCOPE, "", 10) == [ours]


async def test_lists_are_in_order_and_go_on_after_a_name(catalog):
    keys = [await catalog.key(number) for number in (3, 1, 2)]
    in_order = sorted(keys, key=lambda key: key.key_id)
    assert catalog.view.keys_after(SCOPE, "", 2) == in_order[:2]
    assert catalog.view.keys_after(SCOPE, in_order[0].key_id, 10) == in_order[1:]
    for name, key in (("alias/b", keys[0]), ("alias/a", keys[1]), ("alias/c", keys[0])):
        await catalog.alias(name, key)
    assert [alias.name for alias in catalog.view.aliases_after(SCOPE, "", 2)] == ["alias/a", "alias/b"]
    of_one = catalog.view.aliases_after(SCOPE, "alias/a", 10, keys[0].key_id)
    assert [alias.name for alias in of_one] == ["alias/b", "alias/c"]
    assert catalog.view.aliases_after(OTHER_SCOPE, "", 10) == []


async def test_a_rotation_adds_material_and_keeps_the_old(catalog):
    key = await catalog.key()
    begun = await catalog.changes.begin_rotation(mutation_of("R"), key, SUITE, RotationType.ON_DEMAND)
    assert (begun.version, begun.key.current_version) == (2, 1)
    busy = await refusal_of(catalog.changes.begin_rotation(mutation_of("R"), key, SUITE, RotationType.ON_DEMAND))
    assert busy == ("ConflictException", f"A rotation of {arn(key)} is in progress.")
    rotated = await catalog.changes.finish_backing_key(mutation_of("R"), begun, bytes(CANARY_BYTES), b"")
    assert (rotated.current_version, sorted(rotated.backing_keys)) == (2, [1, 2])
    assert rotated.backing_keys[1] == key.backing_keys[1]
    assert (rotated.current.rotated, rotated.current.rotation_type) == (START_US, RotationType.ON_DEMAND)


async def test_25_rotations_on_demand(catalog):
    key = await catalog.key()
    for _ in range(25):
        key = await catalog.rotate(key)
    limit = ("LimitExceededException", f"{arn(key)} has reached its limit of 25 on-demand rotations.")
    assert await refusal_of(catalog.rotate(key)) == limit


async def test_a_state_is_set_and_a_key_that_is_creating_has_none_to_set(catalog):
    key = await catalog.key()
    for state in (KeyState.DISABLED, KeyState.DISABLED, KeyState.ENABLED):
        await catalog.changes.set_state(mutation_of("S"), key, state)
        assert catalog.view.key(SCOPE, key.key_id).state is state
    begun = await catalog.changes.begin_key(mutation_of(), new_key(2))
    refused = await refusal_of(catalog.changes.set_state(mutation_of("S"), begun.key, KeyState.DISABLED))
    assert refused == ("KMSInvalidStateException", f"{arn(begun.key)} is creating.")
    missing = await refusal_of(catalog.changes.set_state(mutation_of("S"), new_key(3), KeyState.DISABLED))
    assert missing == ("NotFoundException", f"Key '{arn(new_key(3))}' does not exist")


async def test_a_disabled_key_is_not_rotated(catalog):
    key = await catalog.key()
    await catalog.changes.set_state(mutation_of("S"), key, KeyState.DISABLED)
    assert await refusal_of(catalog.rotate(key)) == ("DisabledException", f"{arn(key)} is disabled.")


async def test_aliases_are_unique_movable_and_gone_when_deleted(catalog):
    one, other = await catalog.key(1), await catalog.key(2)
    await catalog.alias("alias/a", one)
    full = "arn:aws:kms:eu-central-1:111122223333:alias/a"
    taken = await refusal_of(catalog.alias("alias/a", other))
    assert taken == ("AlreadyExistsException", f"An alias with the name {full} already exists")
    await catalog.changes.update_alias(mutation_of("U"), SCOPE, "alias/a", other.key_id)
    assert catalog.view.alias(SCOPE, "alias/a").key_id == other.key_id
    await catalog.changes.delete_alias(mutation_of("D"), SCOPE, "alias/a")
    assert catalog.view.alias(SCOPE, "alias/a") is None
    gone = ("NotFoundException", f"Alias {full} is not found.")
    assert await refusal_of(catalog.changes.delete_alias(mutation_of("D"), SCOPE, "alias/a")) == gone
    update = catalog.changes.update_alias(mutation_of("U"), SCOPE, "alias/a", one.key_id)
    assert await refusal_of(update) == gone
    await catalog.alias("alias/a", one)
    assert catalog.view.alias(SCOPE, "alias/a").key_id == one.key_id


async def test_50_aliases_a_key(catalog):
    key = await catalog.key()
    for number in range(50):
        await catalog.alias(f"alias/{number}", key)
    limit = ("LimitExceededException", f"{arn(key)} has reached its limit of 50 aliases.")
    assert await refusal_of(catalog.alias("alias/50", key)) == limit


async def test_the_same_change_again_is_made_once_and_answers_as_it_did(catalog):
    once = mutation_of(key="once")
    key = await catalog.key(1, once)
    again = await catalog.changes.begin_key(once, new_key(2))
    assert (again.key.key_id, again.finished, again.answer) == (key.key_id, True, b"answer")
    assert catalog.view.key(SCOPE, new_key(2).key_id) is None
    for _ in range(2):
        await catalog.alias("alias/a", key, mutation_of("CreateAlias", "once"))
    for _ in range(2):
        await catalog.changes.delete_alias(mutation_of("DeleteAlias", "once"), SCOPE, "alias/a")
    for _ in range(2):
        begun = await catalog.changes.begin_rotation(mutation_of("R", "once"), key, SUITE, RotationType.ON_DEMAND)
        assert (begun.version, begun.finished) == (2, False)


async def test_an_idempotency_key_is_for_one_request(catalog):
    await catalog.key(1, mutation_of(key="once"))
    code, _ = await refusal_of(catalog.changes.begin_key(mutation_of(key="once", request="another"), new_key(2)))
    assert code == "ValidationException"
    bobs = replace(mutation_of(key="once", request="another"), principal="bob")
    assert not (await catalog.changes.begin_key(bobs, new_key(2))).finished


async def test_a_refused_change_leaves_its_idempotency_key_free(catalog):
    key = await catalog.key()
    once = mutation_of("DeleteAlias", "once")
    assert (await refusal_of(catalog.changes.delete_alias(once, SCOPE, "alias/a")))[0] == "NotFoundException"
    await catalog.alias("alias/a", key)
    await catalog.changes.delete_alias(once, SCOPE, "alias/a")
    assert catalog.view.alias(SCOPE, "alias/a") is None
