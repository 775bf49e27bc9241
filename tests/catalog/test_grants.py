"""Grants in the catalog: found by what an authorisation has in hand, counted, made once under a name, and gone for good when they end."""

import dataclasses
import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.helpers import OTHER_SCOPE, SCOPE, START, Clocks, finished_key, mutation, running, until, watching
from hsmkms.core.errors import (
    DisabledException,
    InvalidGrantIdException,
    LimitExceededException,
    NotFoundException,
    ValidationException,
)
from hsmkms.core.model import Grant, GrantOperation, KeyState
from hsmkms.server.catalog import grants as changes_of_grants
from hsmkms.server.catalog import rows
from hsmkms.server.catalog.grant_index import ENDED_KEPT_S, GrantIndex
from hsmkms.server.catalog.rows import GrantRow

USER = "arn:aws:iam::111122223333:user/billing"
ROLE = "arn:aws:iam::111122223333:role/team/billing"
SESSIONS = "arn:aws:sts::111122223333:assumed-role/billing"
RETIRING = "arn:aws:iam::444455556666:user/auditor"
numbers = itertools.count()


def new_grant(key_id, **changes):
    grant = Grant(
        scope=SCOPE,
        key_id=key_id,
        grant_id=hashlib.sha256(str(next(numbers)).encode()).hexdigest(),
        name="",
        grantee_principal=USER,
        retiring_principal=RETIRING,
        issuing_account="arn:aws:iam::111122223333:root",
        operations=(GrantOperation.DECRYPT, GrantOperation.RE_ENCRYPT_FROM),
        context_equals=None,
        context_subset={"tenant": "a", "naïve": '"\0\U0001f511'},
        created=START,
    )
    return dataclasses.replace(grant, **changes)


def answer(grant):
    return grant.grant_id.encode()


async def created(catalog, grant, key=None, request=""):
    return await catalog.changes.create_grant(mutation("CreateGrant", key, request), grant, answer)


async def ended(catalog, grant, key=None):
    await catalog.changes.end_grant(mutation("RevokeGrant", key), grant.scope, grant.key_id, grant.grant_id)


def contents(view, key_id):
    return (
        view.grants_after(key_id, "", 100),
        view.grants_after(key_id, "", 100, USER),
        view.grants_to(key_id, USER),
        view.retirable_grants_after(SCOPE.region, RETIRING, "", 100),
    )


async def test_a_grant_is_found_by_id_key_grantee_and_retiring_principal_at_once_and_after_a_restart(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        grant = new_grant(key.key_id)
        equals = new_grant(key.key_id, grantee_principal=ROLE, context_subset=None, context_equals={"a": "1"})
        for each in (grant, equals):
            assert await created(catalog, each) == each.grant_id.encode()
        here = catalog.view
        async with running(path) as again:
            for view in (here, again.view):
                assert view.grant(SCOPE, key.key_id, grant.grant_id) == grant
                assert view.grant(OTHER_SCOPE, key.key_id, grant.grant_id) is None
                assert view.grant(SCOPE, "another", grant.grant_id) is None
                assert list(view.grants_to(key.key_id, USER)) == [grant]
                assert list(view.grants_to(key.key_id, ROLE)) == [equals] == list(view.grants_to(key.key_id, SESSIONS))
                assert list(view.grants_to("another", USER)) == []
                assert view.grants_after(key.key_id, "", 9, ROLE) == [equals]
                in_order = sorted((grant, equals), key=lambda each: each.grant_id)
                assert view.grants_after(key.key_id, "", 9) == in_order
                assert view.grants_after(key.key_id, in_order[0].grant_id, 9) == in_order[1:]
                assert view.retirable_grants_after(SCOPE.region, RETIRING, "", 1) == in_order[:1]
                assert view.retirable_grants_after("us-east-1", RETIRING, "", 1) == []


async def test_an_ended_grant_is_gone_everywhere_and_known_to_have_ended(path):
    async with running(path) as catalog, running(path) as front, watching(front):
        key = await finished_key(catalog)
        kept, grant = new_grant(key.key_id), new_grant(key.key_id)
        await created(catalog, kept)
        await created(catalog, grant)
        await until(lambda: front.view.grant(SCOPE, key.key_id, grant.grant_id) is not None)
        await ended(catalog, grant)
        await until(lambda: front.view.grant_has_ended(grant.grant_id))
        async with running(path) as started_later:
            for view in (catalog.view, front.view, started_later.view):
                assert view.grant(SCOPE, key.key_id, grant.grant_id) is None
                assert view.grant_has_ended(grant.grant_id)
                assert not view.grant_has_ended(kept.grant_id)
                assert [list(found) for found in contents(view, key.key_id)] == [[kept]] * 4
        with pytest.raises(InvalidGrantIdException):
            await ended(catalog, grant)


async def test_a_grant_is_ended_through_its_own_key_only(path):
    async with running(path) as catalog:
        key, other = await finished_key(catalog), await finished_key(catalog)
        grant = new_grant(key.key_id)
        await created(catalog, grant)
        for wrong in ({"key_id": other.key_id}, {"scope": OTHER_SCOPE}, {"grant_id": "0" * 64}):
            with pytest.raises(InvalidGrantIdException):
                await ended(catalog, dataclasses.replace(grant, **wrong))
        assert catalog.view.grant(SCOPE, key.key_id, grant.grant_id) == grant


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"created": START + 1}, True),
        ({"name": "other"}, False),
        ({"name": ""}, False),
        ({"grantee_principal": ROLE}, False),
        ({"retiring_principal": ""}, False),
        ({"issuing_account": "arn:aws:iam::444455556666:root"}, False),
        ({"operations": (GrantOperation.DECRYPT,)}, False),
        ({"context_subset": None}, False),
        ({"context_subset": {"tenant": "a"}}, False),
        ({"context_subset": None, "context_equals": {"tenant": "a"}}, False),
    ],
)
async def test_a_name_finds_the_grant_that_is_the_same_in_all_else(path, change, same):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        first = new_grant(key.key_id, name="billing")
        second = dataclasses.replace(new_grant(key.key_id, name="billing"), **change)
        await created(catalog, first)
        found = await created(catalog, second)
        assert found == (first if same else second).grant_id.encode()
        assert len(catalog.view.grants_after(key.key_id, "", 9)) == (1 if same else 2)


async def test_a_name_is_free_again_when_its_grant_has_ended(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        first, second = new_grant(key.key_id, name="billing"), new_grant(key.key_id, name="billing")
        await created(catalog, first)
        await ended(catalog, first)
        assert await created(catalog, second) == second.grant_id.encode()


async def test_under_one_idempotency_key_one_grant_is_made_and_ended_once_with_one_answer(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        grant = new_grant(key.key_id)
        first = await created(catalog, grant, "k")
        assert await created(catalog, new_grant(key.key_id), "k") == first
        with pytest.raises(ValidationException):
            await created(catalog, new_grant(key.key_id), "k", "another request")
        assert len(catalog.view.grants_after(key.key_id, "", 9)) == 1
        assert await catalog.changes.recall(mutation("RevokeGrant", "e")) is None
        await ended(catalog, grant, "e")
        await ended(catalog, grant, "e")
        assert await catalog.changes.recall(mutation("RevokeGrant", "e")) == b"{}"
        assert await catalog.changes.recall(mutation("RevokeGrant")) is None


async def test_limits_for_a_key_and_for_a_grantee_count_living_grants(path, monkeypatch):
    monkeypatch.setattr(changes_of_grants, "MAX_GRANTS_PER_KEY", 3)
    monkeypatch.setattr(changes_of_grants, "MAX_GRANTS_PER_GRANTEE", 2)
    async with running(path) as catalog:
        key, other = await finished_key(catalog), await finished_key(catalog)
        first = new_grant(key.key_id, name="first")
        await created(catalog, first)
        await created(catalog, new_grant(key.key_id))
        with pytest.raises(LimitExceededException, match=f"2 grants to {USER}"):
            await created(catalog, new_grant(key.key_id))
        assert await created(catalog, new_grant(key.key_id, name="first")) == first.grant_id.encode()
        await created(catalog, new_grant(key.key_id, grantee_principal=ROLE))
        with pytest.raises(LimitExceededException, match="limit of 3 grants\\."):
            await created(catalog, new_grant(key.key_id, grantee_principal=RETIRING))
        await created(catalog, new_grant(other.key_id))
        await ended(catalog, first)
        await created(catalog, new_grant(key.key_id))


async def test_the_keys_state_is_judged_in_the_transaction(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        grant = new_grant(key.key_id)
        await created(catalog, grant)
        await catalog.changes.set_state(mutation("DisableKey"), key, KeyState.DISABLED)
        with pytest.raises(DisabledException):
            await created(catalog, new_grant(key.key_id))
        with pytest.raises(NotFoundException):
            await created(catalog, new_grant("1234abcd-12ab-4cd5-8fab-1234567890ab"))
        await ended(catalog, grant)


async def test_a_start_leaves_out_grants_that_ended_long_ago(path, monkeypatch):
    monkeypatch.setattr(rows, "RECENT_CHANGES", 1)
    clocks = Clocks()
    async with running(path, clocks) as catalog:
        key = await finished_key(catalog)
        old, young, grant = new_grant(key.key_id), new_grant(key.key_id), new_grant(key.key_id)
        for each in (old, young, grant):
            await created(catalog, each)
        await ended(catalog, old)
        clocks.pass_seconds(23 * 3600)
        await ended(catalog, young)
        clocks.pass_seconds(2 * 3600)
        await finished_key(catalog)
        async with running(path, clocks) as started:
            assert not started.view.grant_has_ended(old.grant_id)
            assert started.view.grant_has_ended(young.grant_id)
            assert started.view.grants_after(key.key_id, "", 9) == [grant]


CHANGES = st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30)
GRANTS = [
    new_grant(
        "k" if number < 3 else "l",
        grantee_principal=[USER, ROLE][number % 2],
        retiring_principal=["", RETIRING][number % 2],
    )
    for number in range(5)
]


def places(index):
    return (
        [index.after(key, "", 9, None) for key in "kl"],
        [index.after(key, "", 9, who) for key in "kl" for who in (USER, ROLE)],
        [sorted(g.grant_id for g in index.to(key, who)) for key in "kl" for who in (USER, ROLE, SESSIONS)],
        index.retirable_after(SCOPE.region, RETIRING, "", 9),
        [index.has_ended(grant.grant_id) for grant in GRANTS],
    )


@given(CHANGES, st.randoms(use_true_random=False))
def test_changes_give_the_same_index_in_any_order_and_any_number_of_times(changes, rng):
    ended_ones = {number for number, is_end in changes if is_end}
    applied = [GrantRow(sequence, GRANTS[number], is_end) for sequence, (number, is_end) in enumerate(changes)]
    newest = {
        row.grant.grant_id: dataclasses.replace(row, ended=GRANTS.index(row.grant) in ended_ones) for row in applied
    }
    shuffled, loaded = GrantIndex(lambda: 0.0), GrantIndex(lambda: 0.0)
    mixed = applied * 2
    rng.shuffle(mixed)
    shuffled.apply(mixed)
    loaded.load(list(newest.values()))
    assert places(shuffled) == places(loaded)
    living = [grant for grant in GRANTS if grant.grant_id in newest and not newest[grant.grant_id].ended]
    found = sorted((grant for page in places(loaded)[0] for grant in page), key=GRANTS.index)
    assert found == living
    loaded.apply([GrantRow(99, grant, ended=True) for grant in GRANTS])
    assert not any((loaded._rows, loaded._to, loaded._of_key, loaded._to_in_order, loaded._retirable))


def test_ids_of_ended_grants_are_forgotten_after_a_day():
    now = [0.0]
    index = GrantIndex(lambda: now[0])
    index.apply([GrantRow(1, GRANTS[0], ended=True)])
    now[0] = 10.0
    index.apply([GrantRow(2, GRANTS[1], ended=True)])
    now[0] = ENDED_KEPT_S + 5
    index.apply([GrantRow(3, GRANTS[2], ended=False)])
    assert [index.has_ended(grant.grant_id) for grant in GRANTS[:2]] == [False, True]


def test_an_authorisation_costs_one_dictionary_access_among_50_000_grants():
    index = GrantIndex(lambda: 0.0)
    index.load(
        [GrantRow(1, new_grant("k", grantee_principal=f"{USER}{number}"), ended=False) for number in range(50_000)]
    )
    assert type(index._to) is dict
    assert [grant.grantee_principal for grant in index.to("k", f"{USER}77")] == [f"{USER}77"]
