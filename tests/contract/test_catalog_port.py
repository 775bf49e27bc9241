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
    Grant,
    GrantOperation,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    RotationType,
    Tag,
)
from hsmkms.core.ports import Import, Mutation
from hsmkms.server.catalog import open_catalog
from support.simulated_catalog import DAY_US, PARTITION, START_US, SimulatedCatalog, SimulatedClock
from support.simulator import ALICE, OTHER_SCOPE, SCOPE

ROOT = f"arn:aws:iam::{SCOPE.account}:root"
ROLE = f"arn:aws:iam::{SCOPE.account}:role/team/reader"
SESSION = f"arn:aws:sts::{SCOPE.account}:assumed-role/reader"
SUITE = Suite.AES_CBC_ENCRYPT_DATA
CANARY = bytes(range(CANARY_BYTES))


class Subject:
    """A catalog of either kind, and short ways to change it."""

    def __init__(self, view, changes, clock):
        self.view, self.changes, self.clock = view, changes, clock

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

    def now(self, key):
        return self.view.key(key.scope, key.key_id)

    async def grant(self, grant, mutation=None):
        answer = await self.changes.create_grant(mutation or mutation_of("CreateGrant"), grant, id_of)
        return answer.decode()

    async def end(self, grant, mutation=None, **named):
        named = {"scope": grant.scope, "key_id": grant.key_id, "grant_id": grant.grant_id} | named
        await self.changes.end_grant(mutation or mutation_of("RetireGrant"), **named)

    async def alias(self, name, key, mutation=None):
        alias = Alias(key.scope, name, key.key_id, START_US, START_US)
        await self.changes.create_alias(mutation or mutation_of("CreateAlias"), alias)


@pytest.fixture(params=["simulator", "SQLite"])
async def catalog(request, tmp_path):
    clock = SimulatedClock()
    if request.param == "simulator":
        simulated = SimulatedCatalog(clock)
        yield Subject(simulated, simulated, clock)
        return
    opened = open_catalog(
        f"sqlite:///{tmp_path / 'catalog.db'}",
        partition=PARTITION,
        clock_us=clock.now_us,
        monotonic=time.monotonic,
        token="test/0001",
    )
    try:
        yield Subject(opened.view, opened.changes, clock)
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


def new_grant(key, number=1, **values):
    grant = Grant(
        scope=key.scope,
        key_id=key.key_id,
        grant_id=f"{number:064x}",
        name="",
        grantee_principal=ROLE,
        retiring_principal=ALICE.arn,
        issuing_account=ROOT,
        operations=(GrantOperation.DECRYPT, GrantOperation.RETIRE_GRANT),
        context_equals=None,
        context_subset={"tenant": "a", "purpose": "b"},
        created=START_US + number,
    )
    return replace(grant, **values)


def id_of(grant):
    return grant.grant_id.encode()


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


async def test_an_answer_is_recalled_for_24_hours_and_only_for_its_own_request(catalog):
    once = mutation_of(key="once")
    assert await catalog.changes.recall(once) is None
    begun = await catalog.changes.begin_key(once, new_key(1))
    assert await catalog.changes.recall(once) is None, "it is not finished"
    key = await catalog.changes.finish_backing_key(once, begun, CANARY, b"answer")
    aliased = mutation_of("CreateAlias", "once")
    await catalog.alias("alias/a", key, aliased)
    assert await catalog.changes.recall(once) == b"answer"
    assert await catalog.changes.recall(aliased) == b"{}", "there was nothing to say"
    assert await catalog.changes.recall(mutation_of(key="once", request="another")) is None
    assert await catalog.changes.recall(mutation_of("R", "once")) is None
    assert await catalog.changes.recall(mutation_of()) is None
    catalog.clock.us += DAY_US
    assert await catalog.changes.recall(once) is None
    assert (await catalog.changes.begin_key(once, new_key(2))).key.key_id == new_key(2).key_id


async def test_a_deletion_is_scheduled_and_cancelled_and_answers_as_it_did(catalog):
    key = await catalog.key()
    once, date = mutation_of("ScheduleKeyDeletion", "once"), START_US + 7 * DAY_US
    assert await catalog.changes.schedule_deletion(once, key, date, 7, b"first") == b"first"
    pending = catalog.now(key)
    assert (pending.state, pending.deletion_date, pending.pending_window_days) == (KeyState.PENDING_DELETION, date, 7)
    refused = ("KMSInvalidStateException", f"{arn(key)} is pending deletion.")
    again = mutation_of("ScheduleKeyDeletion")
    assert await refusal_of(catalog.changes.schedule_deletion(again, key, date, 30, b"again")) == refused
    cancel = mutation_of("CancelKeyDeletion", "once")
    assert await catalog.changes.cancel_deletion(cancel, pending, b"kept") == b"kept"
    kept = catalog.now(key)
    assert (kept.state, kept.deletion_date, kept.pending_window_days) == (KeyState.DISABLED, None, None)
    assert await catalog.changes.schedule_deletion(once, key, date + 1, 8, b"second") == b"first"
    assert await catalog.changes.cancel_deletion(cancel, key, b"more") == b"kept"
    assert catalog.now(key) == kept
    refused = ("KMSInvalidStateException", f"{arn(key)} is not pending deletion.")
    assert await refusal_of(catalog.changes.cancel_deletion(mutation_of("CancelKeyDeletion"), key, b"")) == refused


async def test_a_key_that_is_pending_deletion_keeps_what_it_has_and_gets_no_more(catalog):
    key = await catalog.key(1)
    other = await catalog.key(2)
    await catalog.alias("alias/a", key)
    await catalog.alias("alias/b", other)
    grant = new_grant(key)
    await catalog.grant(grant)
    await catalog.changes.schedule_deletion(mutation_of("S"), key, START_US + 7 * DAY_US, 7, b"answer")
    assert catalog.view.alias_names(SCOPE, key.key_id)
    assert catalog.view.grants_to(key.key_id, ROLE)
    refused = ("KMSInvalidStateException", f"{arn(key)} is pending deletion.")
    changes = catalog.changes
    for change in (
        catalog.rotate(key),
        catalog.alias("alias/c", key),
        changes.update_alias(mutation_of("U"), SCOPE, "alias/b", key.key_id),
        changes.set_state(mutation_of("S"), key, KeyState.ENABLED),
        changes.enable_rotation(mutation_of("E"), key, 90),
        changes.disable_rotation(mutation_of("D"), key),
        changes.set_description(mutation_of("D"), key, "new"),
        changes.tag(mutation_of("T"), key, (Tag("a", "b"),)),
        changes.untag(mutation_of("T"), key, ("a",)),
        catalog.grant(new_grant(key, 2)),
    ):
        assert await refusal_of(change) == refused
    await changes.set_policy(mutation_of("P"), key, "{}")
    await catalog.end(grant)
    await changes.delete_alias(mutation_of("D"), SCOPE, "alias/a")


async def test_a_rotation_schedule_keeps_its_date_while_its_period_stays(catalog):
    key = await catalog.key()
    await catalog.changes.enable_rotation(mutation_of("E"), key, 90)
    first = catalog.now(key)
    assert (first.rotation_period_days, first.next_rotation) == (90, START_US + 90 * DAY_US)
    catalog.clock.us += DAY_US
    await catalog.changes.enable_rotation(mutation_of("E"), key, 90)
    assert catalog.now(key).next_rotation == first.next_rotation
    await catalog.changes.enable_rotation(mutation_of("E"), key, 91)
    assert catalog.now(key).next_rotation == START_US + (1 + 91) * DAY_US
    await catalog.changes.disable_rotation(mutation_of("D"), key)
    assert (catalog.now(key).rotation_period_days, catalog.now(key).next_rotation) == (None, None)
    await catalog.changes.set_state(mutation_of("S"), key, KeyState.DISABLED)
    for change in (
        catalog.changes.enable_rotation(mutation_of("E"), key, 90),
        catalog.changes.disable_rotation(mutation_of("D"), key),
    ):
        assert await refusal_of(change) == ("DisabledException", f"{arn(key)} is disabled.")


async def test_an_automatic_rotation_is_made_when_it_is_due_and_once(catalog):
    key = await catalog.key()

    def begin():
        return catalog.changes.begin_rotation(mutation_of("R"), key, SUITE, RotationType.AUTOMATIC)

    not_due = ("ConflictException", f"{arn(key)} is not due for rotation.")
    assert await refusal_of(begin()) == not_due
    await catalog.changes.enable_rotation(mutation_of("E"), key, 90)
    catalog.clock.us = START_US + 90 * DAY_US - 1
    assert await refusal_of(begin()) == not_due
    catalog.clock.us = START_US + (2 * 90 + 1) * DAY_US
    begun = await begin()
    await catalog.changes.finish_backing_key(mutation_of("R"), begun, bytes(CANARY_BYTES), b"")
    rotated = catalog.now(key)
    assert (rotated.current_version, rotated.current.rotation_type) == (2, RotationType.AUTOMATIC)
    assert rotated.next_rotation == START_US + 3 * 90 * DAY_US, "whole periods after the date that it was due for"
    assert await refusal_of(begin()) == not_due


async def test_description_and_policy(catalog):
    key = await catalog.key()
    for text in ("new", ""):
        await catalog.changes.set_description(mutation_of("D"), key, text)
        assert catalog.now(key).description == text
    await catalog.changes.set_policy(mutation_of("P"), key, '{"a": 1}')
    assert catalog.now(key).policy == '{"a": 1}'
    missing = ("NotFoundException", f"Key '{arn(new_key(9))}' does not exist")
    assert await refusal_of(catalog.changes.set_policy(mutation_of("P"), new_key(9), "{}")) == missing
    assert await refusal_of(catalog.changes.set_description(mutation_of("D"), new_key(9), "")) == missing


async def test_tags_are_replaced_by_key_taken_away_and_50_at_most(catalog):
    key = await catalog.key(tags=(Tag("b", "1"), Tag("d", "1")))
    await catalog.changes.tag(mutation_of("T"), key, (Tag("c", "2"), Tag("b", "2"), Tag("B", "2")))
    assert catalog.now(key).tags == (Tag("B", "2"), Tag("b", "2"), Tag("c", "2"), Tag("d", "1"))
    await catalog.changes.untag(mutation_of("U"), key, ("c", "B", "none"))
    assert catalog.now(key).tags == (Tag("b", "2"), Tag("d", "1"))
    await catalog.changes.tag(mutation_of("T"), key, [Tag(f"n{number}", "") for number in range(48)])
    limit = ("LimitExceededException", f"{arn(key)} would have more than 50 tags.")
    full = catalog.now(key)
    assert await refusal_of(catalog.changes.tag(mutation_of("T"), key, (Tag("b", "3"), Tag("e", "")))) == limit
    assert catalog.now(key) == full
    await catalog.changes.tag(mutation_of("T"), key, (Tag("b", "3"),))
    assert catalog.now(key).tags[0] == Tag("b", "3")


async def test_a_change_sent_twice_undoes_nothing_that_came_between(catalog):
    key = await catalog.key()
    changes = catalog.changes
    for first, second in (
        (
            lambda m: changes.set_description(m, key, "first"),
            lambda: changes.set_description(mutation_of("x"), key, "second"),
        ),
        (lambda m: changes.set_policy(m, key, "first"), lambda: changes.set_policy(mutation_of("x"), key, "second")),
        (lambda m: changes.enable_rotation(m, key, 90), lambda: changes.enable_rotation(mutation_of("x"), key, 91)),
        (
            lambda m: changes.tag(m, key, (Tag("a", "first"),)),
            lambda: changes.tag(mutation_of("x"), key, (Tag("a", "second"),)),
        ),
        (
            lambda m: changes.untag(m, key, ("a",)),
            lambda: changes.tag(mutation_of("x"), key, (Tag("a", "again"),)),
        ),
        (lambda m: changes.disable_rotation(m, key), lambda: changes.enable_rotation(mutation_of("x"), key, 92)),
    ):
        once = mutation_of("once", str(first))
        await first(once)
        await second()
        after = catalog.now(key)
        await first(once)
        assert catalog.now(key) == after


async def test_the_names_of_a_keys_aliases(catalog):
    key, other = await catalog.key(1), await catalog.key(2)
    for name in ("alias/b", "alias/a"):
        await catalog.alias(name, key)
    assert list(catalog.view.alias_names(SCOPE, key.key_id)) == ["alias/a", "alias/b"]
    assert list(catalog.view.alias_names(SCOPE, other.key_id)) == []
    assert list(catalog.view.alias_names(OTHER_SCOPE, key.key_id)) == []
    await catalog.changes.update_alias(mutation_of("U"), SCOPE, "alias/a", other.key_id)
    assert list(catalog.view.alias_names(SCOPE, key.key_id)) == ["alias/b"]
    assert list(catalog.view.alias_names(SCOPE, other.key_id)) == ["alias/a"]


async def test_of_a_key_that_was_never_used_there_is_no_last_use(catalog):
    assert catalog.view.last_use((await catalog.key()).key_id) is None


async def test_a_grant_is_found_by_id_by_every_name_of_its_grantee_and_by_who_may_retire_it(catalog):
    key, other = await catalog.key(1), await catalog.key(2)
    first, second = new_grant(key, 1), new_grant(key, 2, grantee_principal=ALICE.arn, retiring_principal="")
    elsewhere = new_grant(other, 3)
    for grant in (second, elsewhere, first):
        assert await catalog.grant(grant) == grant.grant_id
    view = catalog.view
    assert view.grant(SCOPE, key.key_id, first.grant_id) == first
    assert view.grant(SCOPE, other.key_id, first.grant_id) is None
    assert view.grant(OTHER_SCOPE, key.key_id, first.grant_id) is None
    for name in (ROLE, SESSION):
        assert list(view.grants_to(key.key_id, name)) == [first]
    assert list(view.grants_to(key.key_id, ALICE.arn)) == [second]
    assert list(view.grants_to(key.key_id, ROOT)) == []
    assert list(view.grants_after(key.key_id, "", 10)) == [first, second]
    assert list(view.grants_after(key.key_id, "", 1)) == [first]
    assert list(view.grants_after(key.key_id, first.grant_id, 10)) == [second]
    assert list(view.grants_after(key.key_id, "", 10, ALICE.arn)) == [second]
    assert list(view.grants_after(key.key_id, "", 10, SESSION)) == [], "a list is of what the grants say"
    assert list(view.retirable_grants_after(SCOPE.region, ALICE.arn, "", 10)) == [first, elsewhere]
    assert list(view.retirable_grants_after(SCOPE.region, ALICE.arn, first.grant_id, 10)) == [elsewhere]
    assert list(view.retirable_grants_after("us-east-1", ALICE.arn, "", 10)) == []
    assert list(view.retirable_grants_after(SCOPE.region, "", "", 10)) == []


async def test_a_grant_ends_once_and_by_its_own_key_only(catalog):
    key, other = await catalog.key(1), await catalog.key(2)
    grant = new_grant(key)
    await catalog.grant(grant)
    missing = ("InvalidGrantIdException", f"Grant ID {grant.grant_id} is not found.")
    for named in ({"key_id": other.key_id}, {"scope": OTHER_SCOPE}):
        assert await refusal_of(catalog.end(grant, **named)) == missing
    assert not catalog.view.grant_has_ended(grant.grant_id)
    once = mutation_of("RetireGrant", "once")
    for _ in range(2):
        await catalog.end(grant, once)
    assert await refusal_of(catalog.end(grant)) == missing
    assert catalog.view.grant_has_ended(grant.grant_id)
    assert catalog.view.grant(SCOPE, key.key_id, grant.grant_id) is None
    assert not catalog.view.grants_to(key.key_id, ROLE)
    assert not catalog.view.grants_after(key.key_id, "", 10)
    assert not catalog.view.retirable_grants_after(SCOPE.region, ALICE.arn, "", 10)


async def test_a_name_makes_a_grant_repeatable_while_all_else_is_the_same(catalog):
    key = await catalog.key()
    first = new_grant(key, 1, name="n")
    assert await catalog.grant(first) == first.grant_id
    assert await catalog.grant(new_grant(key, 2, name="n")) == first.grant_id
    different = new_grant(key, 3, name="n", context_subset={"tenant": "b"})
    assert await catalog.grant(different) == different.grant_id
    unnamed = [new_grant(key, number) for number in (4, 5)]
    assert [await catalog.grant(grant) for grant in unnamed] == [grant.grant_id for grant in unnamed]
    await catalog.end(first)
    anew = new_grant(key, 6, name="n")
    assert await catalog.grant(anew) == anew.grant_id


async def test_under_one_idempotency_key_one_grant_is_made(catalog):
    key = await catalog.key()
    once = mutation_of("CreateGrant", "once")
    assert await catalog.grant(new_grant(key, 1), once) == await catalog.grant(new_grant(key, 2), once)
    assert len(catalog.view.grants_after(key.key_id, "", 10)) == 1


async def test_a_grant_needs_an_enabled_key(catalog):
    key = await catalog.key()
    await catalog.changes.set_state(mutation_of("S"), key, KeyState.DISABLED)
    assert await refusal_of(catalog.grant(new_grant(key))) == ("DisabledException", f"{arn(key)} is disabled.")
    missing = ("NotFoundException", f"Key '{arn(new_key(9))}' does not exist")
    assert await refusal_of(catalog.grant(new_grant(new_key(9)))) == missing


async def test_500_grants_to_one_principal_on_one_key(catalog):
    key = await catalog.key()
    for number in range(500):
        await catalog.grant(new_grant(key, number))
    limit = ("LimitExceededException", f"{arn(key)} has reached its limit of 500 grants to {ROLE}.")
    assert await refusal_of(catalog.grant(new_grant(key, 500))) == limit
    await catalog.grant(new_grant(key, 501, grantee_principal=ALICE.arn))
    await catalog.end(new_grant(key, 0))
    await catalog.grant(new_grant(key, 500))


# Imported material


def external_key(number=1, **values):
    return new_key(number, state=KeyState.PENDING_IMPORT, origin=Origin.EXTERNAL, backing_keys={}, **values)


async def external(catalog, number=1, **values):
    key = external_key(number, **values)
    await catalog.changes.create_key_without_material(mutation_of(), key, b"answer")
    return catalog.now(key)


async def import_into(catalog, key, canary=CANARY, mutation=None, **values):
    imported = Import(**({"version": 1, "suite": SUITE, "expiry": None, "description": None} | values))
    mutation = mutation or mutation_of("ImportKeyMaterial")
    begun = await catalog.changes.begin_import(mutation, key, imported)
    return await catalog.changes.finish_import(mutation, begun, imported, canary, b"answer")


async def test_a_key_without_material_is_pending_import_and_written_once(catalog):
    tags = (Tag("a", "1"),)
    mutation = mutation_of(key="once")
    answers = [
        await catalog.changes.create_key_without_material(mutation, external_key(number, tags=tags), answer)
        for number, answer in ((1, b"first"), (2, b"second"))
    ]
    assert answers == [b"first", b"first"]
    assert await catalog.changes.recall(mutation) == b"first"
    (key,) = catalog.view.keys_after(SCOPE, "", 10)
    assert (key.state, key.origin, key.tags) == (KeyState.PENDING_IMPORT, Origin.EXTERNAL, tags)
    assert (dict(key.backing_keys), key.current) == ({}, None)


async def test_imported_material_makes_its_key_enabled(catalog):
    key = await external(catalog)
    imported = Import(1, SUITE, START_US + DAY_US, "what it is")
    begun = await catalog.changes.begin_import(mutation_of("I"), key, imported)
    assert (begun.version, begun.finished) == (1, False)
    seen = catalog.now(key)
    assert (seen.state, seen.current) == (KeyState.PENDING_IMPORT, None)
    assert seen.backing_keys[1].state is BackingKeyState.CREATING
    finished = await catalog.changes.finish_import(mutation_of("I"), begun, imported, CANARY, b"answer")
    assert finished == catalog.now(key)
    assert (finished.state, finished.current_version) == (KeyState.ENABLED, 1)
    material = finished.current
    assert (material.state, material.canary) == (BackingKeyState.ACTIVE, CANARY)
    assert material.material_id == key_material_id(CANARY)
    assert (material.expiry, material.description) == (START_US + DAY_US, "what it is")
    assert (material.rotated, material.rotation_type) == (None, None)


async def test_an_import_keeps_its_answer_when_it_is_finished(catalog):
    key = await external(catalog)
    mutation = mutation_of("ImportKeyMaterial", key="once")
    begun = await catalog.changes.begin_import(mutation, key, Import(1, SUITE, None, None))
    assert await catalog.changes.recall(mutation) is None
    await catalog.changes.finish_import(mutation, begun, Import(1, SUITE, None, None), CANARY, b"answer")
    assert await catalog.changes.recall(mutation) == b"answer"


async def test_the_same_material_again_replaces_expiry_and_keeps_its_description(catalog):
    key = await external(catalog)
    await import_into(catalog, key, expiry=START_US + DAY_US, description="what it is")
    begun = await catalog.changes.begin_import(mutation_of("I"), key, Import(1, SUITE, None, None))
    during = catalog.now(key)
    assert (during.state, during.current.state) == (KeyState.ENABLED, BackingKeyState.ACTIVE), "it stays in use"
    again = await catalog.changes.finish_import(mutation_of("I"), begun, Import(1, SUITE, None, None), CANARY, b"")
    assert (again.current.expiry, again.current.description) == (None, "what it is")


async def test_other_material_is_not_finished_over_the_first(catalog):
    key = await external(catalog)
    await import_into(catalog, key)
    code, _ = await refusal_of(import_into(catalog, key, bytes(CANARY_BYTES)))
    assert code == "ConflictException"
    assert catalog.now(key).current.canary == CANARY


async def test_an_abandoned_import_leaves_what_was_before(catalog):
    key = await external(catalog)
    begun = await catalog.changes.begin_import(mutation_of("I"), key, Import(1, SUITE, None, "d"))
    for _ in range(2):
        await catalog.changes.abandon_import(begun)
        assert (catalog.now(key).state, dict(catalog.now(key).backing_keys)) == (KeyState.PENDING_IMPORT, {})
    active = await import_into(catalog, key, expiry=START_US + DAY_US)
    begun = await catalog.changes.begin_import(mutation_of("I"), key, Import(1, SUITE, None, None))
    await catalog.changes.abandon_import(begun)
    assert catalog.now(key).current == active.current


async def test_deleted_material_can_only_come_back_as_it_was(catalog):
    key = await external(catalog)
    await import_into(catalog, key, expiry=START_US + DAY_US)
    mutation = mutation_of("DeleteImportedKeyMaterial", key="once")
    for _ in range(2):
        assert await catalog.changes.delete_imported(mutation, key, 1, b"answer") == b"answer"
    gone = catalog.now(key)
    assert (gone.state, gone.current) == (KeyState.PENDING_IMPORT, None)
    assert gone.backing_keys[1].state is BackingKeyState.DESTROYING
    assert await refusal_of(import_into(catalog, key)) == (
        "KeyUnavailableException",
        f"The key material of {arn(key)} is being deleted. Try again.",
    )
    assert (await refusal_of(catalog.changes.finish_destruction(key.cka_id(1))))[0] == "ConflictException", "no claim"
    for _ in range(2):
        await catalog.changes.claim_destruction(key.cka_id(1))
    for _ in range(2):
        await catalog.changes.finish_destruction(key.cka_id(1))
    assert (await refusal_of(catalog.changes.claim_destruction(key.cka_id(1))))[0] == "ConflictException"
    waiting = catalog.now(key).backing_keys[1]
    assert (waiting.state, waiting.canary) == (BackingKeyState.PENDING_IMPORT, CANARY)
    begun = await catalog.changes.begin_import(mutation_of("I"), key, Import(1, SUITE, None, None))
    await catalog.changes.abandon_import(begun)
    assert catalog.now(key).backing_keys[1].state is BackingKeyState.PENDING_IMPORT
    assert (await refusal_of(import_into(catalog, key, bytes(CANARY_BYTES))))[0] == "ConflictException"
    assert (await import_into(catalog, key)).state is KeyState.ENABLED


async def test_deletion_of_what_is_gone_changes_nothing(catalog):
    key = await external(catalog)
    await import_into(catalog, key)
    await catalog.changes.delete_imported(mutation_of("D"), key, 1, b"")
    await catalog.changes.claim_destruction(key.cka_id(1))
    await catalog.changes.finish_destruction(key.cka_id(1))
    before = catalog.now(key)
    await catalog.changes.delete_imported(mutation_of("D"), key, 1, b"")
    assert catalog.now(key).backing_keys == before.backing_keys
    assert catalog.now(key).state is before.state
    assert (await refusal_of(catalog.changes.delete_imported(mutation_of("D"), key, 2, b"")))[0] == "NotFoundException"


async def test_material_that_is_on_its_way_in_is_not_deleted(catalog):
    key = await external(catalog)
    await catalog.changes.begin_import(mutation_of("I"), key, Import(1, SUITE, None, None))
    assert await refusal_of(catalog.changes.delete_imported(mutation_of("D"), key, 1, b"")) == (
        "ConflictException",
        f"An import into {arn(key)} is in progress.",
    )


async def test_a_key_pending_deletion_takes_no_material_and_can_lose_it(catalog):
    key = await external(catalog)
    await import_into(catalog, key)
    await catalog.changes.schedule_deletion(mutation_of("S"), key, START_US + 7 * DAY_US, 7, b"answer")
    assert await refusal_of(import_into(catalog, key)) == (
        "KMSInvalidStateException",
        f"{arn(key)} is pending deletion.",
    )
    await catalog.changes.delete_imported(mutation_of("D"), key, 1, b"")
    assert catalog.now(key).state is KeyState.PENDING_DELETION
    assert catalog.now(key).backing_keys[1].state is BackingKeyState.DESTROYING


@pytest.mark.parametrize(
    ("spec", "usage", "good", "bad"),
    [
        (KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, bytes(294), bytes(1025)),
        (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY, bytes(91), b""),
        (KeySpec.HMAC_512, KeyUsage.GENERATE_VERIFY_MAC, bytes(32), bytes(40)),
        (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, bytes(40), bytes(32)),
    ],
    ids=["RSA", "EC", "HMAC", "symmetric"],
)
async def test_each_kind_of_key_has_a_canary_of_its_own_length(catalog, spec, usage, good, bad):
    suite = SUITE if spec is KeySpec.SYMMETRIC_DEFAULT else Suite.NONE
    first = BackingKey(1, suite, BackingKeyState.CREATING, b"", "", START_US)
    key = new_key(1, spec=spec, usage=usage, backing_keys={1: first})
    begun = await catalog.changes.begin_key(mutation_of(), key)
    assert (await refusal_of(catalog.changes.finish_backing_key(mutation_of(), begun, bad, b"")))[0] == (
        "KMSInternalException"
    )
    finished = await catalog.changes.finish_backing_key(mutation_of(), begun, good, b"")
    assert (finished.spec, finished.usage, finished.current.suite) == (spec, usage, suite)
    assert (finished.state, finished.current.canary) == (KeyState.ENABLED, good)
