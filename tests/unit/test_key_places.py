"""Which worker has which key, as the front keeps it. The workers here answer what the test says."""

import asyncio
from types import SimpleNamespace

import pytest

from hsmkms.core.ciphertext import CKA_ID_BYTES
from hsmkms.core.commands import Load, Outcome, Result
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.server.token import key_places
from hsmkms.server.token.key_places import KeyPlaces
from hsmkms.server.token.roster import Roster


class Worker:
    """A worker whose searches wait for `find`."""

    def __init__(self, name, *keys):
        self.name = name
        self.keys = set(keys)
        self.is_usable = self.is_alive = True
        self.in_flight = 0
        self.loads = []

    def send(self, job):
        if isinstance(job.command, Load):
            self.loads.append(job)

    def find(self, *keys):
        """Answer the oldest search: these are there."""
        self.loads.pop(0).waiter.set_result(Result(Outcome.OK, b"".join(sorted(keys))))

    def asked_for(self):
        joined = self.loads[0].command.cka_ids
        return {joined[at : at + CKA_ID_BYTES] for at in range(0, len(joined), CKA_ID_BYTES)}


def key(number):
    return number.to_bytes(CKA_ID_BYTES, "big")


A, B, C = key(1), key(2), key(3)


@pytest.fixture
def world(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(key_places.time, "monotonic", lambda: clock.now)
    roster = Roster(2, spare=True)
    roster.active = [Worker("one", A), Worker("two", A)]
    roster.spare = Worker("spare", A)
    roster.admin = Worker("admin", A)
    places = KeyPlaces(roster, lambda: None)
    places.known = {A}
    return SimpleNamespace(places=places, roster=roster, clock=clock)


async def searching(task, worker):
    while not worker.loads:
        assert not task.done(), "nobody searches"
        await asyncio.sleep(0)


async def learn(world, *found, took_s=0.2, waiting=()):
    """Let the workers learn these, one after the other; return who searched."""
    task = asyncio.create_task(world.places.spread(waiting))
    searched = []
    while not task.done():
        for worker in world.roster.everybody():
            if worker.loads:
                searched.append(worker.name)
                world.clock.now += took_s
                worker.find(*worker.asked_for() & set(found))
        await asyncio.sleep(0)
    await task
    return searched


async def test_the_maker_has_its_key_without_a_search(world):
    await world.places.make_usable(B, world.roster.admin)
    assert B in world.roster.admin.keys
    assert B in world.places.known
    assert not any(worker.loads for worker in world.roster.everybody())


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_maker_that_is_gone_or_not_certain_is_not_relied_on(world, is_gone):
    world.roster.admin.is_usable = not is_gone
    task = asyncio.create_task(world.places.make_usable(B, world.roster.admin if is_gone else None))
    await searching(task, world.roster.spare)
    world.roster.spare.find(B)
    await task
    assert B in world.roster.spare.keys
    assert B not in world.roster.admin.keys


async def test_what_is_forgotten_during_a_search_is_not_taken_for_found(world):
    task = asyncio.create_task(world.places.require(B))
    await searching(task, world.roster.spare)
    world.places.forget(B)
    world.roster.spare.find(B)
    with pytest.raises(KeyUnavailableException):
        await task
    assert B not in world.roster.spare.keys | world.places.known


async def test_the_spare_learns_aside_and_changes_places_until_everybody_has_the_key(world):
    await world.places.make_usable(B, world.roster.admin)
    await world.places.make_usable(C, world.roster.admin)
    assert await learn(world, B, C) == ["spare", "one", "two"]
    assert {worker.name for worker in world.roster.active} == {"spare", "one"}
    assert world.places.are_everywhere
    assert await learn(world, B, C) == []


@pytest.mark.parametrize(
    ("rest", "waiting"),
    [
        (key_places.REST_OTHERWISE, []),
        (key_places.REST_IN_DEMAND, [frozenset([B])]),
        (key_places.REST_WAITED_FOR, [frozenset([A, C])]),
    ],
    ids=["nobody asked", "asked", "nobody else has it"],
)
async def test_a_worker_rests_from_a_search_the_longer_the_less_a_key_is_wanted(world, rest, waiting):
    """B is with the spare and not with the active ones; C with the admin worker alone."""
    for worker in world.roster.everybody():
        world.places._searched[worker] = (world.clock.now, 0.2)
    world.roster.spare.keys.add(B)
    world.places.known |= {B, C}
    world.roster.admin.keys |= {B, C}
    began = world.clock.now
    world.clock.now = began + rest * 0.2 - 0.01
    assert await learn(world, B, C, waiting=waiting) == []
    world.clock.now = began + rest * 0.2 + 0.01
    assert await learn(world, B, C, waiting=waiting)


async def test_a_key_that_cannot_be_found_does_not_keep_others_from_spreading(world):
    """A was destroyed by another front, and a new worker has not found it."""
    world.roster.spare.keys.clear()
    await world.places.make_usable(B, world.roster.admin)
    await learn(world, B)
    assert all(B in worker.keys for worker in world.roster.active)


async def test_a_key_is_in_demand_until_every_active_worker_has_it(world):
    await world.places.make_usable(B, world.roster.admin)
    world.places.ask_for([B])
    for worker in world.roster.everybody():
        world.places._searched[worker] = (world.clock.now, 0.2)
    world.clock.now += key_places.REST_IN_DEMAND * 0.2 + 0.01
    assert await learn(world, B) == ["spare", "one", "two"]
    await world.places.make_usable(C, world.roster.admin)
    world.clock.now += key_places.REST_IN_DEMAND * 0.2 + 0.01
    assert await learn(world, C) == []


async def test_what_nobody_has_and_nobody_finds_is_not_known_any_more(world):
    """Only the admin worker had it, and is gone; another front has destroyed it meanwhile."""
    await world.places.make_usable(B, world.roster.admin)
    world.roster.admin = None
    assert await learn(world) == ["spare"]
    assert world.places.known == {A}
    assert world.places.are_everywhere
