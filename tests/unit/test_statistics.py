"""Counters of token calls: what is noted first and counted later is counted as if it had been at once."""

import random

from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core.statistics import BUCKETS, NOTED, CallStatistics, SequenceStatistics, WorkerStatistics

FUNCTIONS = ("C_DeriveKey", "C_UnwrapKey", "C_DeriveKey", "C_DestroyObject")


def times(*lasting):
    """When a sequence of calls that last so long begins and when each ends."""
    found = [random.Random(4711).randrange(1 << 40)]
    for nanoseconds in lasting:
        found.append(found[-1] + nanoseconds)
    return found


def one_by_one(sequences):
    calls = {name: CallStatistics() for name in FUNCTIONS}
    for sequence in sequences:
        for name, lasting in zip(FUNCTIONS, sequence, strict=False):
            calls[name].observe(lasting)
    return calls


lasting = st.one_of(st.integers(0, 5000), st.integers(0, 1 << 40))


@given(st.lists(st.tuples(*[lasting] * len(FUNCTIONS)), max_size=3 * NOTED))
def test_sequences_are_counted_as_their_calls_one_by_one(sequences):
    statistics = WorkerStatistics()
    sequence = SequenceStatistics(statistics, FUNCTIONS)
    for each in sequences:
        sequence.note(times(*each))
    statistics.settle()
    assert statistics.calls == one_by_one(sequences)
    statistics.settle()
    assert statistics.calls == one_by_one(sequences), "counted once"


@given(st.lists(lasting, max_size=len(FUNCTIONS)))
def test_a_sequence_that_was_broken_off_is_counted_as_far_as_it_went(calls):
    statistics = WorkerStatistics()
    SequenceStatistics(statistics, FUNCTIONS).count(times(*calls))
    assert statistics.calls == one_by_one([calls])


def test_what_is_noted_is_counted_before_it_is_much():
    statistics = WorkerStatistics()
    sequence = SequenceStatistics(statistics, FUNCTIONS)
    for number in range(10 * NOTED):
        assert statistics.calls["C_UnwrapKey"].count == number // NOTED * NOTED
        sequence.note(times(1000, 1000, 1000, 1000))


def test_a_reset_leaves_nothing_to_be_counted_later():
    statistics = WorkerStatistics()
    SequenceStatistics(statistics, FUNCTIONS).note(times(1, 2, 3, 4))
    statistics.reset()
    statistics.settle()
    assert all(counters == CallStatistics() for counters in statistics.calls.values())


def test_counters_come_back_from_json_as_they_were():
    statistics = WorkerStatistics(objects=3, resident_bytes=1 << 20)
    counters = statistics.calls.setdefault("C_WrapKey", CallStatistics())
    counters.observe(1 << 62)
    counters.errors["CKR_DEVICE_ERROR"] = 1
    assert counters.buckets[BUCKETS - 1] == 1
    assert WorkerStatistics.from_json(statistics.to_json()) == statistics
