"""Frames of several items, as the pool makes and retries them.

The workers here are their sockets alone: the test answers, and dies, for them.
"""

import asyncio
import time
from types import SimpleNamespace

import pytest

from hsmkms.core.ciphertext import CKA_ID_BYTES
from hsmkms.core.commands import Load, Outcome, Random, Result, Statistics
from hsmkms.core.errors import DependencyTimeoutException, KeyUnavailableException, KMSInternalException
from hsmkms.core.frames import LENGTH, MAX_ITEMS, decode_request, encode_response
from hsmkms.server.token.jobs import Job
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.process import MAX_FRAMES, MAX_ITEMS_IN_PIPE, WorkerProcess

OK = Outcome.OK


class Bare(WorkerProcess):
    """A worker without a process: what is written to it is kept."""

    def __init__(self, name, pool):
        super().__init__(name, pool._answered, pool._lost)
        self.frames = []
        self._transport = SimpleNamespace(write=self._written, close=lambda: None)

    def _written(self, data):
        assert LENGTH.unpack(data[:4])[0] == len(data) - 4
        self.frames.append(decode_request(data[4:]))

    def answer(self, *results, retiring=False):
        """Answer the oldest frame: with these results, or with the length that was asked for of each item."""
        frame = self.frames.pop(0)
        values = results or [Result(OK, item.length.to_bytes(2, "big")) for item in frame.items]
        self.data_received(encode_response(frame.number, values, retiring=retiring))
        return frame

    def die(self):
        self.connection_lost(None)
        self.frames.clear()


@pytest.fixture
async def world(monkeypatch):
    ended = SimpleNamespace(worker_started=lambda *_: None, worker_ended=lambda *_: None, statistics=lambda *_: None)
    pool = TokenPool(PoolSettings(None, {}, workers=2, spare=False, max_queued=100), ended)

    async def start(role):
        return Bare(role, pool)

    monkeypatch.setattr(pool, "_start_worker", start)
    workers = [Bare(f"crypto-{number}", pool) for number in range(2)]
    for worker in workers:
        pool.roster.place(worker, "crypto")
    return SimpleNamespace(pool=pool, workers=workers, loop=asyncio.get_running_loop())


def post(world, *commands, principal="a", expiry_ns=0):
    jobs = [Job(command, world.loop.create_future(), principal, expiry_ns=expiry_ns) for command in commands]
    world.pool.post(jobs)
    return jobs


def asked(worker):
    return [[item.length for item in frame.items] for frame in worker.frames]


def lengths(first, count):
    return [Random(number) for number in range(first, first + count)]


def values(jobs):
    return [int.from_bytes(job.waiter.result().value, "big") for job in jobs]


async def test_what_waits_is_shared_out_and_answered_each_by_its_own_result(world):
    jobs = post(world, *lengths(1, 16))
    first, second = world.workers
    assert [len(frame.items) for frame in first.frames] == [len(frame.items) for frame in second.frames] == [8]
    assert sorted(asked(first)[0] + asked(second)[0]) == list(range(1, 17))
    second.answer()
    first.answer()
    assert values(jobs) == list(range(1, 17))


async def test_a_pipe_holds_no_more_than_a_few_milliseconds_of_work(world):
    post(world, *lengths(1, 100))
    for worker in world.workers:
        assert worker.items_in_flight <= MAX_ITEMS_IN_PIPE
        assert len(worker.frames) <= MAX_FRAMES
        assert all(len(frame.items) <= MAX_ITEMS for frame in worker.frames)
        assert worker.items_in_flight == 16, "5 ms at the 0.3 ms that an item is taken to need"
    assert world.pool.queued == 68


async def test_a_slow_token_gets_small_frames(world, monkeypatch):
    """20 ms for each item: nothing but the item that is worked on, and a few that wait."""
    clock = [time.monotonic()]
    monkeypatch.setattr("hsmkms.server.token.process.time", SimpleNamespace(monotonic=lambda: clock[0]))
    post(world, *lengths(1, 100))
    post(world, *lengths(1, 100))
    worker = world.workers[0]
    for _ in range(40):
        if not worker.frames:
            break
        clock[0] += 0.02 * len(worker.frames[0].items)
        worker.answer()
        post(world, *lengths(1, 4))
    assert max(len(frame.items) for frame in worker.frames) <= 2
    assert worker.items_in_flight <= MAX_FRAMES


async def test_principals_share_a_frame_in_turn(world):
    world.workers[1].retiring = True
    jobs = [Job(Random(99), world.loop.create_future(), "a")]  # the worker is at it while the others come
    jobs += [Job(Random(number), world.loop.create_future(), "a") for number in (1, 2, 3)]
    jobs += [Job(Random(number), world.loop.create_future(), "b") for number in (11, 12, 13)]
    world.pool.post(jobs[:1])
    world.pool.post(jobs[1:])
    worker = world.workers[0]
    assert asked(worker) == [[99]]
    worker.answer()
    assert asked(worker) == [[1, 11, 2, 12, 3, 13]]


async def test_commands_of_different_kinds_do_not_share_a_frame(world):
    world.workers[1].retiring = True
    post(world, Random(99))
    post(world, Random(1), Random(2), Load(b""), Random(3))
    for expected in ([Random(99)], [Random(1), Random(2)], [Load(b"")], [Random(3)]):
        assert [list(frame.items) for frame in world.workers[0].frames] == [expected]
        world.workers[0].answer(*[Result(OK, b"\0\0")] * len(expected))


async def test_each_item_of_a_frame_has_its_own_expiry(world):
    world.workers[1].retiring = True
    post(world, Random(1))
    early, late = time.monotonic_ns() + 10**9, time.monotonic_ns() + 10**10
    jobs = post(world, Random(2), expiry_ns=early) + post(world, Random(3), expiry_ns=late)
    world.workers[0].answer()
    [frame] = world.workers[0].frames
    assert frame.expiries_ns == (early, late)
    world.workers[0].answer(Result(Outcome.EXPIRED, b""), Result(OK, b"\0\3"))
    assert [job.waiter.result().outcome for job in jobs] == [Outcome.EXPIRED, OK]


async def test_a_caller_whose_deadline_passes_is_told_and_its_job_leaves_the_queue(world):
    for worker in world.workers:
        worker.retiring = True
    with pytest.raises(DependencyTimeoutException):
        await world.pool.submit(Random(1), principal="a", expiry_ns=time.monotonic_ns() + 20_000_000)
    assert world.pool.queued == 0


# Deaths


async def test_what_was_behind_the_head_is_queued_again_and_the_head_alone_counts_a_death(world):
    jobs = post(world, *lengths(1, 32))
    first = world.workers[0]
    head, behind = (frame.items for frame in first.frames)
    first.die()
    by_length = {job.command.length: job for job in jobs}
    assert {by_length[item.length].deaths for item in head} == {1}
    assert {by_length[item.length].deaths for item in behind} == {0}
    second = world.workers[1]
    while second.frames:
        second.answer()
    assert values(jobs) == list(range(1, 33))


async def test_of_a_frame_that_a_worker_died_of_each_item_is_tried_alone(world):
    """One of eight kills: it is refused when a second worker has died of it; the seven that shared its frame are answered."""
    first, second = world.workers
    second.retiring = True
    post(world, Random(999))
    jobs = post(world, *lengths(1, 8))
    first.answer()
    assert asked(first) == [[1, 2, 3, 4, 5, 6, 7, 8]]
    second.retiring = False
    first.die()
    died_again = False
    while second.frames:
        assert [len(frame.items) for frame in second.frames] == [1] * len(second.frames), "each alone"
        if second.frames[0].items[0].length == 5:
            died_again = True
            second.die()
            break
        second.answer()
    assert died_again
    await world.pool._fill_role("crypto")  # the next worker: it was the command, not the token
    [third] = world.pool.roster.active
    while third.frames:
        assert third.frames[0].items[0].length != 5
        third.answer()
    assert values(job for job in jobs if job.command.length != 5) == [1, 2, 3, 4, 6, 7, 8]
    [poison] = (job for job in jobs if job.command.length == 5)
    with pytest.raises(KMSInternalException):
        poison.waiter.result()


async def test_what_a_retiring_worker_did_not_start_is_queued_again_at_no_cost(world):
    first, second = world.workers
    second.retiring = True
    post(world, Random(999))
    jobs = post(world, *lengths(1, 6))
    first.answer()
    second.retiring = False
    first.answer(Result(OK, b"\0\1"), Result(Outcome.FAILED, b"CKR"), retiring=True)
    assert values(jobs[:1]) == [1]
    first.die()
    assert [job.deaths for job in jobs] == [0, 1, 0, 0, 0, 0]
    while second.frames:
        second.answer()
    assert values(jobs) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("count", [0, 2, 9])
async def test_a_wrong_number_of_answers_is_no_frame(world, count, monkeypatch):
    killed = []
    worker = world.workers[0]
    monkeypatch.setattr(worker, "kill", killed.append)
    post(world, *lengths(1, 6))
    assert [len(frame.items) for frame in worker.frames] == [3]
    frame = worker.frames[0]
    worker.data_received(encode_response(frame.number, [Result(OK, b"")] * count))
    assert killed


async def test_the_watchdog_gives_a_frame_more_time_for_more_items_and_less_than_ten_seconds(world):
    worker = world.workers[0]
    post(world, *lengths(1, 32))
    began = worker._head_since
    assert not worker.overdue(began + 5.5)
    assert worker.overdue(began + 9.0)


async def test_when_nobody_waits_any_more_an_admin_job_is_not_done_again(world):
    """What the carrier drives is not a task: it ends by being closed, while its job may be in a worker's pipe."""
    admin = Bare("admin-1", world.pool)
    world.pool.roster.place(admin, "admin")
    waiting = world.pool.submit(Random(7), principal="a", admin=True)
    waiting.send(None)
    assert asked(admin) == [[7]]
    waiting.close()
    admin.die()
    assert world.pool.queued == 0


async def test_a_job_whose_key_came_into_doubt_is_refused_once_the_key_is_not_found(world):
    key = bytes(CKA_ID_BYTES)
    world.pool.keys.known.add(key)
    job = Job(Random(7), world.loop.create_future(), "a", frozenset({key}))
    world.pool.post([job])
    world.pool.keys.doubt(frozenset({key}))
    looking = asyncio.create_task(world.pool._find_what_is_waited_for())
    searched = 0
    async with asyncio.timeout(5):
        while not looking.done():
            for worker in world.workers:
                if worker.frames:
                    asks = worker.frames[0].items[0]
                    searched += isinstance(asks, Load)
                    worker.answer(Result(OK, b"{}" if isinstance(asks, Statistics) else b""))
            await asyncio.sleep(0)
    await looking
    assert searched == 1
    with pytest.raises(KeyUnavailableException):
        job.waiter.result()
    assert world.pool.queued == 0
