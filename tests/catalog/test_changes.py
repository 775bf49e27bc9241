"""Changes: what they do, what they refuse and with which words, and that they are in the view when they return."""

import pytest
from sqlalchemy import update

from catalog.helpers import (
    CANARY,
    OTHER_SCOPE,
    SCOPE,
    SECOND,
    START,
    SUITE,
    Clocks,
    alias_of,
    finished_key,
    mutation,
    new_key,
    opened,
    running,
)
from hsmkms.core.ciphertext import key_material_id
from hsmkms.core.errors import (
    AlreadyExistsException,
    ConflictException,
    DisabledException,
    KMSInternalException,
    KMSInvalidStateException,
    LimitExceededException,
    NotFoundException,
)
from hsmkms.core.model import BackingKeyState, KeyState, RotationType, Tag
from hsmkms.core.ports import Begun, CatalogChanges, CatalogView
from hsmkms.core.service_keys import service_key_cka_id
from hsmkms.server.catalog import schema

ANOTHER_CANARY = b"\1" * len(CANARY)
DAY_S = 24 * 60 * 60


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
async def catalog(path, clocks):
    async with running(path, clocks) as catalog:
        yield catalog


def arn(key):
    return f"arn:aws:kms:{key.scope.region}:{key.scope.account}:key/{key.key_id}"


def stored(catalog, key):
    found = catalog.view.key(key.scope, key.key_id)
    assert found is not None
    return found


async def put_state(catalog, key, state):
    """Write a state that no change of this version writes."""
    await catalog._database.change(
        lambda t: (
            t.connection.execute(
                update(schema.keys).where(schema.keys.c.key_id == key.key_id).values(state=state, sequence=t.sequence)
            )
            and None
        )
    )


async def rotate(catalog, key, rotation_type=RotationType.ON_DEMAND):
    begun = await catalog.changes.begin_rotation(mutation("RotateKeyOnDemand"), key, SUITE, rotation_type)
    return await catalog.changes.finish_backing_key(mutation(), begun, ANOTHER_CANARY, b"")


async def test_it_is_what_the_operations_ask_for(catalog):
    changes: CatalogChanges = catalog.changes
    view: CatalogView = catalog.view
    assert changes is not view


async def test_a_key_is_creating_until_its_backing_key_is_on_the_token(catalog, clocks):
    key = new_key(tags=(Tag("b", "2"), Tag("B", ""), Tag("a", "1")), description="für Akten")
    begun = await catalog.changes.begin_key(mutation(), key)
    assert begun == Begun(stored(catalog, key), 1)
    assert begun.key.state is KeyState.CREATING
    assert begun.key.current is None
    assert begun.key.tags == (Tag("B", ""), Tag("a", "1"), Tag("b", "2"))

    clocks.pass_seconds(2)
    finished = await catalog.changes.finish_backing_key(mutation(), begun, CANARY, b"")
    assert finished == stored(catalog, key) == catalog.view.key_by_uuid(key.uuid_bytes)
    assert finished.state is KeyState.ENABLED
    assert finished.description == "für Akten"
    assert (finished.created, finished.updated) == (START, START + 2 * SECOND)
    assert finished.current is not None
    assert finished.current.state is BackingKeyState.ACTIVE
    assert finished.current.material_id == key_material_id(CANARY)
    assert finished.current.rotated is None


async def test_a_rotation_keeps_the_older_material(catalog, clocks):
    key = await finished_key(catalog)
    clocks.pass_seconds(5)
    begun = await catalog.changes.begin_rotation(mutation(), key, SUITE, RotationType.ON_DEMAND)
    assert stored(catalog, key).current_version == 1  # until it is on the token
    clocks.pass_seconds(1)
    rotated = await catalog.changes.finish_backing_key(mutation(), begun, ANOTHER_CANARY, b"")
    assert rotated.current_version == 2
    assert rotated.backing_keys[1] == key.backing_keys[1]
    assert rotated.backing_keys[2].rotation_type is RotationType.ON_DEMAND
    assert rotated.backing_keys[2].rotated == START + 6 * SECOND


async def test_a_key_disabled_during_its_rotation_stays_disabled(catalog):
    key = await finished_key(catalog)
    begun = await catalog.changes.begin_rotation(mutation(), key, SUITE, RotationType.ON_DEMAND)
    await catalog.changes.set_state(mutation("DisableKey"), key, KeyState.DISABLED)
    rotated = await catalog.changes.finish_backing_key(mutation(), begun, ANOTHER_CANARY, b"")
    assert (rotated.state, rotated.current_version) == (KeyState.DISABLED, 2)


async def test_one_rotation_at_a_time(catalog):
    key = await finished_key(catalog)
    await catalog.changes.begin_rotation(mutation(), key, SUITE, RotationType.ON_DEMAND)
    with pytest.raises(ConflictException):
        await catalog.changes.begin_rotation(mutation(), key, SUITE, RotationType.ON_DEMAND)


async def test_twenty_five_rotations_on_demand_and_as_many_automatic_ones_as_it_takes(catalog, clocks):
    key = await finished_key(catalog)
    for _ in range(25):
        await rotate(catalog, key)
    with pytest.raises(LimitExceededException):
        await rotate(catalog, key)
    await catalog.changes.enable_rotation(mutation("EnableKeyRotation"), key, 90)
    for version in (27, 28):
        clocks.pass_seconds(90 * DAY_S)
        assert (await rotate(catalog, key, RotationType.AUTOMATIC)).current_version == version


async def test_only_an_enabled_key_is_rotated_whatever_the_caller_saw(catalog):
    seen = await finished_key(catalog)
    await catalog.changes.set_state(mutation("DisableKey"), seen, KeyState.DISABLED)
    with pytest.raises(DisabledException, match=f"^{arn(seen)} is disabled.$"):
        await rotate(catalog, seen)
    await put_state(catalog, seen, KeyState.PENDING_DELETION)
    with pytest.raises(KMSInvalidStateException, match=f"^{arn(seen)} is pending deletion.$"):
        await rotate(catalog, seen)
    with pytest.raises(NotFoundException, match="does not exist"):
        await rotate(catalog, new_key())


async def test_finishing_twice_is_finishing_once_but_never_with_another_canary(catalog):
    begun = await catalog.changes.begin_key(mutation(), new_key())
    first = await catalog.changes.finish_backing_key(mutation(), begun, CANARY, b"")
    assert await catalog.changes.finish_backing_key(mutation(), begun, CANARY, b"") == first
    with pytest.raises(ConflictException):
        await catalog.changes.finish_backing_key(mutation(), begun, ANOTHER_CANARY, b"")
    assert stored(catalog, begun.key) == first


async def test_what_is_no_canary_finishes_nothing(catalog):
    begun = await catalog.changes.begin_key(mutation(), new_key())
    with pytest.raises(KMSInternalException):
        await catalog.changes.finish_backing_key(mutation(), begun, b"", b"")
    assert stored(catalog, begun.key).state is KeyState.CREATING


async def test_enable_and_disable(catalog, clocks):
    key = await finished_key(catalog)
    clocks.pass_seconds(1)
    for state in (KeyState.DISABLED, KeyState.DISABLED, KeyState.ENABLED):
        await catalog.changes.set_state(mutation(), key, state)
        assert stored(catalog, key).state is state
    assert stored(catalog, key).updated == START + SECOND


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (KeyState.CREATING, "is creating"),
        (KeyState.PENDING_DELETION, "is pending deletion"),
        (KeyState.PENDING_IMPORT, "is pending import"),
        (KeyState.UNAVAILABLE, "is unavailable"),
        (KeyState.UPDATING, "is updating"),
    ],
)
async def test_other_states_allow_neither(catalog, state, words):
    key = await finished_key(catalog)
    await put_state(catalog, key, state)
    for wanted in (KeyState.ENABLED, KeyState.DISABLED):
        with pytest.raises(KMSInvalidStateException, match=f"^{arn(key)} {words}.$"):
            await catalog.changes.set_state(mutation(), key, wanted)
    assert stored(catalog, key).state is state


async def test_an_alias_lives_moves_dies_and_lives_again(catalog):
    first, second = await finished_key(catalog), await finished_key(catalog)
    changes, view = catalog.changes, catalog.view
    await changes.create_alias(mutation(), alias_of(first, "a"))
    assert view.alias(SCOPE, "alias/a") == alias_of(first, "a")
    await changes.update_alias(mutation(), SCOPE, "alias/a", second.key_id)
    assert view.aliases_after(SCOPE, "", 10, first.key_id) == []
    assert [alias.name for alias in view.aliases_after(SCOPE, "", 10, second.key_id)] == ["alias/a"]
    await changes.delete_alias(mutation(), SCOPE, "alias/a")
    assert view.alias(SCOPE, "alias/a") is None
    await changes.create_alias(mutation(), alias_of(first, "a", START + 1))
    assert view.alias(SCOPE, "alias/a") == alias_of(first, "a", START + 1)


async def test_what_aliases_refuse(catalog):
    key, foreign = await finished_key(catalog), await finished_key(catalog, OTHER_SCOPE)
    changes = catalog.changes
    await changes.create_alias(mutation(), alias_of(key, "a"))
    alias_arn = "arn:aws:kms:eu-central-1:111122223333:alias/"
    with pytest.raises(AlreadyExistsException, match=f"^An alias with the name {alias_arn}a already exists$"):
        await changes.create_alias(mutation(), alias_of(key, "a"))
    with pytest.raises(NotFoundException, match=f"^Alias {alias_arn}b is not found.$"):
        await changes.update_alias(mutation(), SCOPE, "alias/b", key.key_id)
    with pytest.raises(NotFoundException, match=f"^Alias {alias_arn}b is not found.$"):
        await changes.delete_alias(mutation(), SCOPE, "alias/b")
    with pytest.raises(NotFoundException, match=r"^Key 'arn:aws:kms:eu-central-1:111122223333:key/.*' does not exist$"):
        await changes.update_alias(mutation(), SCOPE, "alias/a", foreign.key_id)
    await changes.delete_alias(mutation(), SCOPE, "alias/a")
    with pytest.raises(NotFoundException):
        await changes.delete_alias(mutation(), SCOPE, "alias/a")
    await put_state(catalog, key, KeyState.PENDING_DELETION)
    with pytest.raises(KMSInvalidStateException, match=f"^{arn(key)} is pending deletion.$"):
        await changes.create_alias(mutation(), alias_of(key, "c"))


async def test_fifty_aliases_of_one_key(catalog):
    full, other = await finished_key(catalog), await finished_key(catalog)
    for number in range(50):
        await catalog.changes.create_alias(mutation(), alias_of(full, f"{number}"))
    await catalog.changes.create_alias(mutation(), alias_of(other, "other"))
    with pytest.raises(LimitExceededException, match="50"):
        await catalog.changes.create_alias(mutation(), alias_of(full, "one-more"))
    with pytest.raises(LimitExceededException):
        await catalog.changes.update_alias(mutation(), SCOPE, "alias/other", full.key_id)
    await catalog.changes.update_alias(mutation(), SCOPE, "alias/7", full.key_id)  # it is there already
    await catalog.changes.delete_alias(mutation(), SCOPE, "alias/7")
    await catalog.changes.create_alias(mutation(), alias_of(full, "one-more"))


async def test_service_keys(catalog):
    assert catalog.service_key("markers") is None
    begun = await catalog.begin_service_key("markers", SUITE, "first/1")
    assert begun.state is BackingKeyState.CREATING
    assert begun.cka_id == service_key_cka_id(catalog.deployment_id, "markers")
    assert (await catalog.begin_service_key("markers", SUITE, "second/2")).token == "second/2"
    finished = await catalog.finish_service_key("markers", CANARY)
    assert finished == catalog.service_key("markers") == await catalog.finish_service_key("markers", CANARY)
    assert (await catalog.begin_service_key("markers", SUITE, "third/3")) == finished
    with pytest.raises(ConflictException):
        await catalog.finish_service_key("markers", ANOTHER_CANARY)
    with pytest.raises(NotFoundException):
        await catalog.finish_service_key("unknown", CANARY)
    assert await catalog.known_cka_ids() == {finished.cka_id: BackingKeyState.ACTIVE}


async def test_everything_is_there_after_a_restart(path):
    async with running(path) as catalog:
        keys = [await finished_key(catalog) for _ in range(3)]
        await rotate(catalog, keys[0])
        for number, key in enumerate(keys):
            await catalog.changes.create_alias(mutation(), alias_of(key, f"{number}"))
        await catalog.changes.delete_alias(mutation(), SCOPE, "alias/1")
        await catalog.begin_service_key("markers", SUITE, "t")
        before = catalog.view
    after = opened(path)
    assert after.view.keys_after(SCOPE, "", 100) == before.keys_after(SCOPE, "", 100)
    assert after.view.aliases_after(SCOPE, "", 100) == before.aliases_after(SCOPE, "", 100)
    assert after.view.service_keys == before.service_keys
    assert after.view.position == before.position
    await after.close()
