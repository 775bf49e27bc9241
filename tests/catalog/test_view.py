"""The view: sorted lists that follow every change, one dictionary access for a name, and its bound on staleness."""

import random
from bisect import bisect_right
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.helpers import CANARY, OTHER_SCOPE, SCOPE, START, SUITE, new_key
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.model import Alias, BackingKeyState, Grant, GrantOperation
from hsmkms.core.service_keys import ServiceKey
from hsmkms.core.usage import KeyUse
from hsmkms.server.catalog import grant_index, names
from hsmkms.server.catalog import view as view_module
from hsmkms.server.catalog.rows import AliasRow, ChangedRows, GrantRow, KeyRow, ServiceKeyRow, UsageRow
from hsmkms.server.catalog.view import SortedNames, View

KEYS = [new_key() for _ in range(3)] + [new_key(OTHER_SCOPE)]
NAMES = [f"alias/{letter}" for letter in "abcde"]
GRANT = Grant(
    SCOPE, KEYS[1].key_id, "g" * 64, "", "arn:aws:iam::111122223333:user/a", "", "arn:aws:iam::111122223333:root",
    (GrantOperation.ENCRYPT,), None, None, START,
)  # fmt: skip
CHANGES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(KEYS[:3]), st.booleans()), max_size=40)


def rows(position, keys=(), aliases=(), service_keys=()):
    return ChangedRows(position, keys, aliases, service_keys)


def alias_rows(changes):
    return [
        AliasRow(number, Alias(SCOPE, name, key.key_id, START, number), deleted)
        for number, (name, key, deleted) in enumerate(changes, 1)
    ]


def contents(view):
    return (
        view.aliases_after(SCOPE, "", 100),
        [view.aliases_after(SCOPE, "", 100, key.key_id) for key in KEYS[:3]],
        [view.alias(SCOPE, name) for name in NAMES],
    )


def with_keys():
    view = View(lambda: 0.0)
    view.load(rows(0, [KeyRow(0, key) for key in KEYS]))
    return view


@given(CHANGES, st.randoms(use_true_random=False))
def test_changes_give_the_same_view_in_any_order_and_any_number_of_times(changes, rng):
    applied = alias_rows(changes)
    expected = {row.alias.name: row for row in applied}
    living = sorted((row.alias for row in expected.values() if not row.deleted), key=lambda alias: alias.name)
    wanted = (
        living,
        [[alias for alias in living if alias.key_id == key.key_id] for key in KEYS[:3]],
        [next((alias for alias in living if alias.name == name), None) for name in NAMES],
    )

    one_by_one, shuffled, at_once = with_keys(), with_keys(), View(lambda: 0.0)
    for row in applied:
        one_by_one.apply(rows(row.sequence, aliases=[row]))
    mixed = applied * 2
    rng.shuffle(mixed)
    shuffled.apply(rows(len(applied), aliases=mixed))
    at_once.load(rows(len(applied), [KeyRow(0, key) for key in KEYS], list(expected.values())))

    assert contents(one_by_one) == contents(shuffled) == contents(at_once) == wanted


@given(st.sets(st.text(max_size=3)), st.text(max_size=3), st.integers(1, 5))
def test_a_page_is_what_sorts_after_its_marker(names, marker, limit):
    held = SortedNames()
    for name in names:
        held.add(name)
    in_order = sorted(names)
    assert held.after(marker, limit) == in_order[bisect_right(in_order, marker) :][:limit]


def test_keys_are_found_by_id_in_their_own_account_and_by_uuid_in_any():
    view = with_keys()
    mine, other = KEYS[0], KEYS[3]
    assert view.key(SCOPE, mine.key_id) == mine
    assert view.key(SCOPE, other.key_id) is None
    assert view.key_by_uuid(other.uuid_bytes) == other
    assert view.keys_after(SCOPE, "", 100) == sorted(KEYS[:3], key=lambda key: key.key_id)
    assert view.aliases_after(SCOPE, "", 100, other.key_id) == []


def test_an_older_row_never_replaces_a_newer_one():
    view = with_keys()
    newer = new_key()
    view.apply(rows(5, [KeyRow(5, newer)]))
    view.apply(rows(4, [KeyRow(4, KEYS[0])], service_keys=[]))
    assert view.position == 5
    active = ServiceKey("health", b"i" * 20, SUITE, "t", BackingKeyState.ACTIVE, CANARY)
    creating = ServiceKey("health", b"i" * 20, SUITE, "t", BackingKeyState.CREATING, b"")
    view.apply(rows(6, service_keys=[ServiceKeyRow(6, active)]))
    view.apply(rows(6, service_keys=[ServiceKeyRow(5, creating)]))
    assert view.service_key("health") == active


def test_the_revision_is_another_one_after_every_change_that_a_judgement_may_depend_on():
    view = View(lambda: 0.0)
    seen = [view.revision]
    view.load(rows(0, [KeyRow(0, key) for key in KEYS]))
    seen.append(view.revision)
    active = ServiceKey("health", b"i" * 20, SUITE, "t", BackingKeyState.ACTIVE, CANARY)
    for changed in (
        rows(1, [KeyRow(1, KEYS[0], deleted=True)]),
        rows(2, aliases=[AliasRow(2, Alias(SCOPE, NAMES[0], KEYS[1].key_id, START, START), deleted=False)]),
        rows(3, service_keys=[ServiceKeyRow(3, active)]),
        replace(rows(4), grants=[GrantRow(4, GRANT, ended=False)]),
        replace(rows(5), grants=[GrantRow(5, GRANT, ended=True)]),
    ):
        view.apply(changed)
        seen.append(view.revision)
    assert len(set(seen)) == len(seen)
    view.apply(rows(6))
    view.apply(replace(rows(7), usages=[UsageRow(7, KeyUse(KEYS[1].key_id, "Encrypt", START, "r", START))]))
    assert (view.revision, view.position) == (seen[-1], 7), "uses are written every minute, and change no judgement"


def test_a_change_that_fails_half_way_has_another_revision_all_the_same():
    view = with_keys()
    before = view.revision
    with pytest.raises(AttributeError):
        view.apply(rows(1, [KeyRow(1, KEYS[0], deleted=True), None]))
    assert view.key(SCOPE, KEYS[0].key_id) is None
    assert view.revision != before


def test_a_view_serves_for_thirty_seconds_after_it_was_last_confirmed():
    now = [0.0]
    view = View(lambda: now[0])
    with pytest.raises(KeyUnavailableException):
        view.require_fresh()
    view.confirm(0.0)
    now[0] = 30.0
    view.require_fresh()
    now[0] = 30.001
    with pytest.raises(KeyUnavailableException):
        view.require_fresh()
    view.confirm(30.0)
    view.confirm(2.0)  # a slow, older confirmation takes nothing back
    now[0] = 60.0
    view.require_fresh()


class Counted(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    comparisons = 0

    def __lt__(self, other):
        Counted.comparisons += 1
        return str.__lt__(self, other)


def test_a_name_costs_the_same_among_100_000_aliases_and_10_000_keys():
    keys = [new_key() for _ in range(10_000)]
    aliases = [
        AliasRow(1, Alias(SCOPE, f"alias/{number:06}", keys[number % 10_000].key_id, START, START), deleted=False)
        for number in range(100_000)
    ]
    random.Random(1).shuffle(aliases)
    view = View(lambda: 0.0)
    view.load(rows(1, [KeyRow(1, key) for key in keys], aliases))

    # a lookup is one access to a dictionary: nothing is compared in order, nothing is read from a database
    assert type(view._aliases) is dict
    assert type(view._keys) is dict
    assert type(view._keys_by_uuid) is dict
    names = view._alias_names[SCOPE]._names
    names[:] = [Counted(name) for name in names]
    Counted.comparisons = 0
    found = view.alias(SCOPE, "alias/077777")
    assert found is not None
    assert view.key(SCOPE, found.key_id) == keys[7_777]
    assert view.key_by_uuid(keys[5].uuid_bytes) == keys[5]
    assert Counted.comparisons == 0

    # a page is found, and a change is put in its place, with a binary search: 17 comparisons for 100,000
    page = view.aliases_after(SCOPE, Counted("alias/050000"), 3)
    assert [alias.name for alias in page] == ["alias/050001", "alias/050002", "alias/050003"]
    assert Counted.comparisons <= 18
    Counted.comparisons = 0
    added = Alias(SCOPE, Counted("alias/050000x"), keys[0].key_id, START, START)
    view.apply(rows(2, aliases=[AliasRow(2, added, deleted=False)]))
    view.apply(rows(3, aliases=[AliasRow(3, added, deleted=True)]))
    assert Counted.comparisons <= 60


def test_only_loading_sorts():
    source = "".join(module.__loader__.get_source(module.__name__) for module in (names, view_module, grant_index))
    assert source.count("sorted(") == 1
    assert ".sort(" not in source
