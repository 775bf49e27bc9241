"""Idempotency keys: one effect and one answer, also for repetitions at the same time and after a restart."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from catalog.helpers import (
    CANARY,
    OTHER_SCOPE,
    SCOPE,
    SUITE,
    Clocks,
    alias_of,
    finished_key,
    mutation,
    new_key,
    running,
)
from hsmkms.core.errors import AlreadyExistsException, KMSInvalidStateException, NotFoundException, ValidationException
from hsmkms.core.model import KeyState, RotationType
from hsmkms.core.ports import Mutation
from hsmkms.server.catalog import schema

DAY_S = 24 * 60 * 60


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
async def catalog(path, clocks):
    async with running(path, clocks) as catalog:
        yield catalog


async def kept(catalog):
    return await catalog._database.read(
        lambda c: c.execute(select(func.count()).select_from(schema.idempotency)).scalar_one()
    )


async def test_a_creation_sent_twice_makes_one_key_and_gives_one_answer(catalog):
    same = mutation(key="k")
    begun = await catalog.changes.begin_key(same, new_key())
    again = await catalog.changes.begin_key(same, new_key())
    assert again == begun
    assert not again.finished

    await catalog.changes.finish_backing_key(same, begun, CANARY, b'{"answer": 1}')
    replayed = await catalog.changes.begin_key(same, new_key())
    assert (replayed.finished, replayed.answer, replayed.version) == (True, b'{"answer": 1}', 1)
    assert replayed.key.state is KeyState.ENABLED
    assert len(catalog.view.keys_after(SCOPE, "", 10)) == 1


async def test_the_first_answer_stays(catalog):
    same = mutation(key="k")
    begun = await catalog.changes.begin_key(same, new_key())
    await catalog.changes.finish_backing_key(same, begun, CANARY, b"")  # as the reconciler does: no answer
    assert (await catalog.changes.begin_key(same, new_key())).answer == b""
    for answer in (b"first", b"second"):
        await catalog.changes.finish_backing_key(same, begun, CANARY, answer)
    assert (await catalog.changes.begin_key(same, new_key())).answer == b"first"


async def test_a_rotation_sent_twice_rotates_once_though_the_key_has_changed_since(catalog):
    key = await finished_key(catalog)
    same = mutation("RotateKeyOnDemand", "k")
    begun = await catalog.changes.begin_rotation(same, key, SUITE, RotationType.ON_DEMAND)
    await catalog.changes.finish_backing_key(same, begun, CANARY, b"x")
    await catalog.changes.set_state(mutation("DisableKey"), key, KeyState.DISABLED)
    again = await catalog.changes.begin_rotation(same, key, SUITE, RotationType.ON_DEMAND)
    assert (again.version, again.finished, again.answer) == (2, True, b"x")
    assert len(again.key.backing_keys) == 2


async def test_concurrent_repetitions_have_one_effect(catalog):
    same = mutation(key="k")
    begun = await asyncio.gather(*(catalog.changes.begin_key(same, new_key()) for _ in range(20)))
    assert len({found.key.key_id for found in begun}) == 1
    assert len(catalog.view.keys_after(SCOPE, "", 100)) == 1
    await catalog.changes.finish_backing_key(same, begun[0], CANARY, b"")
    alias = alias_of(begun[0].key, "a")
    results = await asyncio.gather(
        *(catalog.changes.create_alias(mutation("CreateAlias", "a"), alias) for _ in range(20)), return_exceptions=True
    )
    assert results == [None] * 20


async def test_the_other_changes_simply_return_and_undo_nothing_that_came_after(catalog):
    key = await finished_key(catalog)
    create, delete = mutation("CreateAlias", "k"), mutation("DeleteAlias", "k")
    disable = mutation("DisableKey", "k")
    await catalog.changes.create_alias(create, alias_of(key, "a"))
    await catalog.changes.delete_alias(delete, SCOPE, "alias/a")
    await catalog.changes.create_alias(create, alias_of(key, "a"))
    assert catalog.view.alias(SCOPE, "alias/a") is None
    await catalog.changes.delete_alias(delete, SCOPE, "alias/a")
    await catalog.changes.set_state(disable, key, KeyState.DISABLED)
    await catalog.changes.set_state(mutation("EnableKey", "k"), key, KeyState.ENABLED)
    await catalog.changes.set_state(disable, key, KeyState.DISABLED)
    enabled = catalog.view.key(SCOPE, key.key_id)
    assert enabled is not None
    assert enabled.state is KeyState.ENABLED


async def test_another_request_under_the_same_key_is_told_to_use_a_new_one(catalog):
    key = await finished_key(catalog)
    await catalog.changes.create_alias(mutation("CreateAlias", "k", "one"), alias_of(key, "one"))
    with pytest.raises(ValidationException, match="Use a new idempotency key"):
        await catalog.changes.create_alias(mutation("CreateAlias", "k", "two"), alias_of(key, "two"))
    assert catalog.view.alias(SCOPE, "alias/two") is None


async def test_keys_of_other_principals_operations_and_accounts_never_meet(catalog):
    await catalog.changes.begin_key(mutation(key="k"), new_key())
    others = [
        mutation(key="k", principal="you", request="another"),
        mutation("AnotherOperation", "k", "another"),
        Mutation(OTHER_SCOPE, "me", "CreateKey", "k", b"another"),
    ]
    made = [(await catalog.changes.begin_key(other, new_key())).key.key_id for other in others]
    assert len(set(made)) == 3


async def test_without_a_key_nothing_is_recognised_and_nothing_kept(catalog):
    for _ in range(2):
        await catalog.changes.begin_key(mutation(), new_key())
    assert len(catalog.view.keys_after(SCOPE, "", 10)) == 2
    assert await kept(catalog) == 0


async def test_a_refusal_is_not_kept_the_repetition_is_judged_anew(catalog):
    begun = await catalog.changes.begin_key(mutation(), new_key())
    same = mutation("DisableKey", "k")
    with pytest.raises(KMSInvalidStateException):
        await catalog.changes.set_state(same, begun.key, KeyState.DISABLED)
    await catalog.changes.finish_backing_key(mutation(), begun, CANARY, b"")
    await catalog.changes.set_state(same, begun.key, KeyState.DISABLED)
    key = catalog.view.key(SCOPE, begun.key.key_id)
    assert key is not None
    assert key.state is KeyState.DISABLED


async def test_after_24_hours_it_is_another_request(catalog, clocks):
    key = await finished_key(catalog)
    same = mutation("CreateAlias", "k")
    await catalog.changes.create_alias(same, alias_of(key, "a"))
    clocks.pass_seconds(DAY_S - 1)
    await catalog.changes.create_alias(same, alias_of(key, "a"))
    clocks.pass_seconds(1)
    with pytest.raises(AlreadyExistsException):
        await catalog.changes.create_alias(same, alias_of(key, "a"))


async def test_expired_rows_are_purged_a_bounded_number_at_a_time(catalog, clocks):
    for number in range(5):
        await catalog.changes.begin_key(mutation(key=f"old-{number}"), new_key())
    clocks.pass_seconds(DAY_S)
    await catalog.changes.begin_key(mutation(key="new"), new_key())
    assert [await catalog.purge(3), await catalog.purge(3), await catalog.purge(3)] == [3, 2, 0]
    assert await kept(catalog) == 1


async def test_a_restart_forgets_nothing(path):
    same = mutation(key="k")
    async with running(path) as catalog:
        begun = await catalog.changes.begin_key(same, new_key())
    async with running(path) as catalog:
        assert await catalog.changes.begin_key(same, new_key()) == begun


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("cud"), st.sampled_from("xyz"), st.sampled_from("123")), max_size=20))
def test_any_history_has_the_effect_of_its_first_requests(tmp_path_factory, history):
    """Against a model: requests with the outcome they had when they were first let through."""

    async def run():
        async with running(tmp_path_factory.mktemp("history") / "catalog.db") as catalog:
            key, other = await finished_key(catalog), await finished_key(catalog)
            model, done = {}, {}
            for kind, name, idempotency_key in history:
                operation, request = {"c": "CreateAlias", "u": "UpdateAlias", "d": "DeleteAlias"}[kind], name
                same = mutation(operation, idempotency_key, request)
                expected = None
                earlier = done.get((operation, idempotency_key))
                if earlier is not None:
                    expected = None if earlier == request else ValidationException
                elif (kind == "c") == (name in model):
                    expected = AlreadyExistsException if kind == "c" else NotFoundException
                else:
                    done[operation, idempotency_key] = request
                    if kind == "d":
                        del model[name]
                    else:
                        model[name] = key.key_id if kind == "c" else other.key_id
                try:
                    if kind == "c":
                        await catalog.changes.create_alias(same, alias_of(key, name))
                    elif kind == "u":
                        await catalog.changes.update_alias(same, SCOPE, f"alias/{name}", other.key_id)
                    else:
                        await catalog.changes.delete_alias(same, SCOPE, f"alias/{name}")
                    outcome = None
                except (AlreadyExistsException, NotFoundException, ValidationException) as error:
                    outcome = type(error)
                assert outcome is expected
            found = {a.name.removeprefix("alias/"): a.key_id for a in catalog.view.aliases_after(SCOPE, "", 10)}
            assert found == model

    asyncio.run(run())
