"""How the entries of a batch are driven: how many at a time, in which order they end, and what one does to the others: nothing."""

import asyncio
import itertools
import time
from types import SimpleNamespace

import pytest

from hsmkms.core.commands import Random
from hsmkms.core.errors import (
    DependencyTimeoutException,
    DisabledException,
    KeyUnavailableException,
    KMSInternalException,
    ValidationException,
)
from hsmkms.server.bulk import Bulk
from hsmkms.server.carrier import LEAST_SHARE, POST_AGAIN_S, STRIDE, Carrier
from hsmkms.server.requests import Attempt, Entry
from hsmkms.server.token.carried import Step
from support.carried import Pool

WINDOW = 20
FAR = time.monotonic_ns() + 10**15  # longer than any run of the tests


class Requests:
    """Judges as it is told by the request, which is a function from its number to a coroutine; notes what is recorded."""

    def __init__(self, carrier):
        self.carrier = carrier
        self.ended = []
        self.forgotten = []

    def begin(self, attempt):
        attempt.work = attempt.request(attempt)
        self.carrier.start(attempt)

    def end(self, attempt):
        self.ended.append((attempt.request_id, attempt.error))

    def forget(self, attempt):
        self.carrier.drop(attempt)
        self.forgotten.append(attempt.request_id)


async def ask(attempt):
    result = await Step(Random(int(attempt.request_id)), "a", frozenset(), 0)
    return result.value


@pytest.fixture
async def world():
    world = SimpleNamespace(pool=Pool(), over=[])
    world.carrier = Carrier(world.pool)
    world.requests = Requests(world.carrier)
    world.bulk = bulk_of(world)
    return world


def bulk_of(world, ended=None):
    return Bulk(world.requests, world.carrier, WINDOW, read, ended or world.over.append)


def read(message):
    if isinstance(message, Exception):
        raise message
    return message


def add(world, number, work=ask, expiry_ns=FAR, bulk=None):
    entry = Entry(
        "ReEncrypt", "", "", str(number), 0, 0.0, gives_way=True, number=number, message=work, expiry_ns=expiry_ns
    )
    (bulk or world.bulk).add(entry)
    return entry


async def turns(count=4):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_than_the_window_is_under_way_and_what_is_ready_together_is_posted_together(world):
    entries = [add(world, number) for number in range(50)]
    await turns()
    assert world.pool.posts == [STRIDE, WINDOW - STRIDE]
    while world.pool.jobs:
        world.pool.answer(*world.pool.jobs[:7])
        await turns()
        assert len(world.pool.jobs) <= WINDOW
    assert [entry.number for entry in world.over] == list(range(50))
    assert [entry.response for entry in entries] == [str(number).encode() for number in range(50)]
    assert world.requests.ended == [(str(number), None) for number in range(50)]
    assert world.bulk.unfinished == 0


async def test_a_batch_larger_than_the_window_leaves_the_loop_to_others_in_between(world):
    async def at_once(_):
        return b""

    seen = []
    for number in range(100):
        add(world, number, at_once)
    while world.bulk.unfinished:
        seen.append(len(world.over))
        await asyncio.sleep(0)
    assert max(after - before for before, after in itertools.pairwise(seen)) <= STRIDE


async def test_one_entrys_failure_is_its_own(world):
    async def refuse(_):
        raise DisabledException("it is disabled")

    async def fail(_):
        raise RuntimeError("unforeseen")

    kinds = [ask, refuse, ask, fail, ValidationException("not read"), ask]
    for number, work in enumerate(kinds):
        add(world, number, work)
    await turns()
    world.pool.jobs[1].waiter.set_exception(KeyUnavailableException("its worker is gone"))
    world.pool.answer(world.pool.jobs[2], world.pool.jobs[0])
    await turns()
    errors = {entry.number: type(entry.error) for entry in world.over}
    assert errors == {
        0: type(None), 1: DisabledException, 2: KeyUnavailableException, 3: KMSInternalException, 4: ValidationException,
        5: type(None),
    }  # fmt: skip
    assert [entry.error.message for entry in world.over if entry.number == 3] == ["An internal error occurred."]
    assert len(world.requests.ended) == len(kinds)


async def test_at_their_expiry_entries_end_whether_begun_or_not_and_what_is_done_stays_done(world):
    soon = time.monotonic_ns() + 50_000_000
    for number in range(30):
        add(world, number, expiry_ns=soon)
    await turns()
    world.pool.answer(*world.pool.jobs[:3])
    async with asyncio.timeout(5):
        while world.bulk.unfinished:  # noqa: ASYNC110 - the expiry is what is waited for
            await asyncio.sleep(0.005)
    errors = [type(entry.error) for entry in sorted(world.over, key=lambda entry: entry.number)]
    assert errors == [type(None)] * 3 + [DependencyTimeoutException] * 27
    assert all(job.waiter.cancelled() for job in world.pool.withdrawn)
    world.pool.answer()
    await turns()
    assert len(world.over) == 30, "a late answer is nobody's"


async def test_where_the_queue_is_full_entries_wait_and_are_not_refused(world):
    world.pool.room = 5
    for number in range(12):
        add(world, number)
    async with asyncio.timeout(5):
        while world.bulk.unfinished:
            await asyncio.sleep(0.005)
            world.pool.answer()
    assert sorted(entry.number for entry in world.over) == list(range(12))
    assert not [entry.error for entry in world.over if entry.error]


async def test_when_the_caller_is_gone_what_was_begun_is_recorded_and_nothing_else_is_done(world):
    for number in range(30):
        add(world, number)
    await turns()
    world.pool.answer(world.pool.jobs[0])
    world.bulk.close()
    await turns()
    assert world.over == []
    assert world.requests.forgotten == [str(number) for number in range(WINDOW)]
    assert all(job.waiter.done() for job in world.pool.withdrawn)
    world.pool.answer()
    await turns()
    assert world.over == []


async def test_an_entry_may_wait_for_something_else_than_a_step(world):
    """A backing key that no worker has yet is looked for on the token: that is a future of asyncio's."""
    found = asyncio.get_running_loop().create_future()

    async def search(attempt):
        await asyncio.shield(found)
        return await ask(attempt)

    add(world, 1, search)
    add(world, 2)
    await turns()
    assert len(world.pool.jobs) == 1
    found.set_result(None)
    await turns()
    world.pool.answer()
    await turns()
    assert sorted(entry.number for entry in world.over) == [1, 2]


# A request by itself


def alone(world, number, work=ask, expiry_ns=FAR):
    attempt = Attempt("ReEncrypt", "", "", str(number), 0, 0.0, expiry_ns=expiry_ns)
    attempt.request = work
    answer = attempt.answer = asyncio.get_running_loop().create_future()
    attempt.ended = lambda _: answer.set_result(None)
    world.requests.begin(attempt)
    return attempt


async def test_requests_of_different_callers_share_a_post(world):
    attempts = [alone(world, number) for number in range(5)]
    add(world, 9)
    await turns()
    assert world.pool.posts == [6]
    world.pool.answer()
    await asyncio.gather(*(attempt.answer for attempt in attempts))
    assert [attempt.response for attempt in attempts] == [str(number).encode() for number in range(5)]


async def test_what_needs_nothing_of_the_token_is_over_at_once(world):
    async def at_once(_):
        return b"known"

    attempt = alone(world, 1, at_once)
    assert attempt.response == b"known"
    assert attempt.work is None
    assert attempt.answer.done()


async def test_each_request_ends_at_its_own_expiry_whichever_came_first(world):
    now = time.monotonic_ns()
    late, soon, never = (
        alone(world, number, expiry_ns=now + after) for number, after in enumerate((60_000_000, 20_000_000, 10**13))
    )
    await asyncio.wait_for(soon.answer, 5)
    assert not late.answer.done()
    await asyncio.wait_for(late.answer, 5)
    assert time.monotonic_ns() >= now + 60_000_000
    assert {type(attempt.error) for attempt in (late, soon)} == {DependencyTimeoutException}
    world.pool.answer()
    await asyncio.wait_for(never.answer, 5)
    assert never.error is None


async def test_an_error_keeps_no_frames(world):
    async def refuse(_):
        raise DisabledException("it is disabled")

    attempt = alone(world, 1, refuse)
    assert attempt.error.__traceback__ is None
    assert isinstance(attempt.take_error(), DisabledException)
    assert attempt.error is None


async def test_what_is_dropped_is_told_nothing_more(world):
    cleaned = []

    async def with_an_end(attempt):
        try:
            return await ask(attempt)
        finally:
            cleaned.append(attempt.request_id)

    attempt = alone(world, 1, with_an_end)
    await turns()
    world.requests.forget(attempt)
    world.requests.forget(attempt)
    assert cleaned == ["1"]
    world.pool.answer()
    await turns()
    assert not attempt.answer.done()


async def test_many_batches_share_the_queue_so_that_none_of_them_overflows_it(world):
    world.pool.capacity = 100
    world.carrier = world.requests.carrier = Carrier(world.pool)
    bulks = [bulk_of(world) for _ in range(10)]
    for bulk in bulks:
        for number in range(30):
            add(world, number, bulk=bulk)
    await turns(30)
    assert len(world.pool.jobs) == 70, "three quarters of 100 places for ten batches: seven each"
    while world.pool.jobs:
        world.pool.answer(world.pool.jobs[0])
        await turns()
        assert len(world.pool.jobs) <= 70
    assert len(world.over) == 300
    for bulk in bulks[2:]:
        bulk.close()
    for number in range(60):
        add(world, number, bulk=bulks[0])
    await turns(30)
    assert len(world.pool.jobs) == WINDOW, "where there are few batches, the window is what bounds one"


async def test_however_many_batches_there_are_each_goes_on(world):
    world.pool.capacity = 8
    world.carrier = world.requests.carrier = Carrier(world.pool)
    bulks = [bulk_of(world) for _ in range(5)]
    for bulk in bulks:
        for number in range(10):
            add(world, number, bulk=bulk)
    await turns(30)
    assert len(world.pool.jobs) == 5 * LEAST_SHARE


# Full queues, and idle batches


async def test_what_gave_way_goes_before_what_is_begun_later(world):
    world.pool.room = 1
    for number in range(8):
        add(world, number)
    order = []
    async with asyncio.timeout(5):
        while world.bulk.unfinished:
            await asyncio.sleep(0.002)
            if world.pool.jobs:
                order.append(world.pool.jobs[0].command.length)
                world.pool.answer()
    assert order == list(range(8))


async def test_a_full_queue_is_tried_now_and_then_however_much_else_is_going_on(world):
    async def at_once(_):
        return b""

    world.pool.room = 0
    for number in range(WINDOW):
        add(world, number)
    began = time.monotonic()
    while time.monotonic() < began + 0.2:
        world.carrier.go_on(None)  # turns that others cause
        await asyncio.sleep(0)
    assert 3 <= len(world.pool.posts) <= 2 + 0.4 / POST_AGAIN_S
    world.bulk.close()


async def test_a_batch_that_has_nothing_to_do_takes_no_share(world):
    world.pool.capacity = 40
    world.carrier = world.requests.carrier = Carrier(world.pool)
    idle, busy = [bulk_of(world) for _ in range(9)], bulk_of(world)
    for bulk in idle:
        add(world, 0, bulk=bulk)
    await turns()
    world.pool.answer()
    await turns()
    for number in range(50):
        add(world, number, bulk=busy)
    await turns(20)
    assert len(world.pool.jobs) == WINDOW


async def test_what_cannot_be_told_harms_nobody_else(world):
    def fail(_):
        raise RuntimeError("unforeseen")

    first = bulk_of(world, fail)
    add(world, 1, bulk=first)
    add(world, 2)
    await turns()
    world.pool.answer()
    await turns()
    assert [entry.number for entry in world.over] == [2]
    assert first.unfinished == 0


async def test_what_is_read_wrongly_is_that_entrys_alone(world):
    entries = [add(world, number, work) for number, work in enumerate([RuntimeError("unforeseen"), ask])]
    await turns()
    world.pool.answer()
    await turns()
    assert isinstance(entries[0].error, KMSInternalException)
    assert entries[1].response == b"1"
    assert world.bulk.unfinished == 0


async def test_an_operation_that_waits_for_what_nobody_can_drive_fails(world):
    async def gives_up_its_turn(_):
        await asyncio.sleep(0)

    attempt = alone(world, 1, gives_up_its_turn)
    assert isinstance(attempt.error, KMSInternalException)


async def test_a_turn_that_goes_wrong_is_not_the_last_one(world, monkeypatch):
    def fail(_):
        raise RuntimeError("unforeseen")

    noticed = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noticed.append(context["exception"]))
    with monkeypatch.context() as broken:
        broken.setattr(world.pool, "post", fail)
        add(world, 1)
        await turns()
    add(world, 2)
    await turns()
    world.pool.answer()
    await turns()
    assert [entry.number for entry in world.over] == [2]
    assert len(noticed) == 1


async def test_what_an_entry_spoils_at_its_beginning_is_posted_in_the_next_turn(world, monkeypatch):
    """The record of one cannot be made, in the turn in which another has just been begun: that one's command is on its way."""

    def fail(_):
        raise RuntimeError("unforeseen")

    noticed = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noticed.append(context["exception"]))
    add(world, 1)
    add(world, 2, DisabledException("refused when it is read"))
    with monkeypatch.context() as broken:
        broken.setattr(world.requests, "end", fail)
        await turns()
    assert [job.command.length for job in world.pool.jobs] == [1]
    assert len(noticed) == 1
    world.pool.answer()
    await turns()
    assert [entry.number for entry in world.over] == [2, 1]
    assert world.bulk.unfinished == 0
