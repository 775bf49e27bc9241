"""How the entries of a batch are driven: how many at a time, in which order they end, and what one does to the others: nothing."""

import asyncio
import itertools
import time
from types import SimpleNamespace

import pytest

from hsmkms.core.commands import Outcome, Random, Result
from hsmkms.core.errors import (
    DependencyTimeoutException,
    DisabledException,
    KeyUnavailableException,
    KMSInternalException,
    ValidationException,
)
from hsmkms.server.bulk import STRIDE, Bulk, Entry
from hsmkms.server.requests import Attempt
from hsmkms.server.token.bulk import Step

WINDOW = 20
FAR = time.monotonic_ns() + 10**15  # longer than any run of the tests


class Pool:
    """Keeps what is posted; the test answers."""

    def __init__(self):
        self.jobs = []
        self.posts = []
        self.withdrawn = []
        self.room = 10**6

    def post(self, jobs):
        self.posts.append(len(jobs))
        for job in jobs:
            if len(self.jobs) < self.room:
                self.jobs.append(job)
            else:
                job.give_way(job)

    def withdraw(self, job):
        self.withdrawn.append(job)

    def answer(self, *jobs):
        for job in jobs or tuple(self.jobs):
            self.jobs.remove(job)
            if not job.waiter.done():
                job.waiter.set_result(Result(Outcome.OK, str(job.command.length).encode()))


class Requests:
    """Judges as it is told by the request, which is a function from its number to a coroutine; notes what is recorded."""

    def __init__(self):
        self.ended = []
        self.forgotten = []

    def begin(self, attempt, expiry_ns):
        del expiry_ns
        return attempt.request(attempt)

    def end(self, attempt, seconds, error=None):
        assert seconds >= 0
        self.ended.append((attempt.request_id, error))

    def forget(self, attempt, seconds):
        del seconds
        self.forgotten.append(attempt.request_id)


async def ask(attempt):
    result = await Step(Random(int(attempt.request_id)), "a", frozenset(), 0)
    return result.value


@pytest.fixture
async def world():
    world = SimpleNamespace(pool=Pool(), requests=Requests(), over=[])
    world.bulk = Bulk(world.requests, world.pool, WINDOW, world.over.append)
    return world


def add(world, number, work=ask, expiry_ns=FAR):
    def read():
        if isinstance(work, Exception):
            raise work
        return work

    entry = Entry(number, Attempt("ReEncrypt", "", "", str(number), 0), read, expiry_ns)
    world.bulk.add(entry)
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
    assert [entry.attempt.response for entry in entries] == [str(number).encode() for number in range(50)]
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
