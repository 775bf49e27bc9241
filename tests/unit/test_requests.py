"""One request and its record: exactly one, whatever happens to its caller, to its answer and to the requests beside it."""

import asyncio
from types import SimpleNamespace

import pytest

from hsmkms.core.commands import Random
from hsmkms.core.errors import DisabledException, KeyUnavailableException, KMSInternalException
from hsmkms.core.model import Principal, Scope
from hsmkms.server import requests as requests_module
from hsmkms.server.carrier import Carrier
from hsmkms.server.requests import Requests
from hsmkms.server.token.carried import Step
from support.carried import Pool

ANA = Principal("spiffe://test/ana", "111122223333", "arn:aws:iam::111122223333:user/ana")


class Asked:
    """A face's request: its number is what it asks the token for."""

    def __init__(self, number, answer=None):
        self.number = number
        self.make_answer = answer or (lambda response: response)

    def principal(self):
        return ANA

    def seconds(self):
        return 5.0

    def request(self):
        return self.number

    def answer(self, response):
        return self.make_answer(response)


class Audit:
    def __init__(self):
        self.events = []
        self.refuses = set()

    def require(self, operation):
        pass

    def record(self, event):
        if event.request in self.refuses:
            raise RuntimeError("unforeseen")
        self.events.append((event.request, event.error_code))
        return len(self.events)


@pytest.fixture
async def world(monkeypatch):
    async def perform(_environment, call, _operation, number):
        if number < 0:
            raise DisabledException("it is disabled")
        return (await Step(Random(number), call.principal.arn, frozenset(), call.expiry_ns)).value

    monkeypatch.setattr(requests_module, "perform", perform)
    world = SimpleNamespace(pool=Pool(), audit=Audit(), counted=[])
    environment = SimpleNamespace(partition="aws", clock=SimpleNamespace(now_us=lambda: 5))
    metrics = SimpleNamespace(request_done=lambda _operation, result, _seconds: world.counted.append(result))
    world.carrier = Carrier(world.pool)
    scope = Scope("111122223333", "eu-central-1")
    world.requests = Requests(environment, scope, metrics, 30.0, world.audit, world.carrier, environment)
    return world


def ask(world, asked):
    attempt = world.requests.attempt("ReEncrypt", "192.0.2.1", "tests/1")
    return asyncio.create_task(world.requests.carry_out(attempt, asked))


async def turns(count=4):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_requests_that_arrive_together_are_posted_together_and_answered_each_as_its_face_says(world):
    tasks = [ask(world, Asked(number, lambda response: response * 2)) for number in range(3)]
    await turns()
    assert world.pool.posts == [3]
    world.pool.answer()
    assert await asyncio.gather(*tasks) == [b"00", b"11", b"22"]
    assert world.audit.events == [(0, ""), (1, ""), (2, "")]


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 4])
async def test_whenever_its_caller_goes_away_a_request_has_one_record(world, rounds):
    task = ask(world, Asked(7))
    await turns(rounds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()
    world.pool.answer()
    await turns()
    begun = rounds > 0
    assert [code for _, code in world.audit.events] == ["Cancelled"] * begun
    assert world.counted == ["Cancelled"] * begun


async def test_an_answer_and_its_callers_end_in_one_turn_are_one_record(world):
    task = ask(world, Asked(7))
    await turns()
    world.pool.answer()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.audit.events == [(7, "Cancelled")]
    assert world.counted == ["Cancelled"]


async def test_a_caller_who_goes_away_before_the_turn_is_known_all_the_same(world, monkeypatch):
    who = []
    monkeypatch.setattr(world.audit, "record", lambda event: who.append(event.principal))
    task = ask(world, Asked(7))
    await turns(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert who == [ANA]
    await turns()
    assert world.pool.jobs == []


async def test_an_answer_that_cannot_be_made_is_that_requests_alone(world):
    def fail(_):
        raise RuntimeError("unforeseen")

    tasks = [ask(world, Asked(1, fail)), ask(world, Asked(2))]
    await turns()
    world.pool.answer()
    wrong, right = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(wrong, KMSInternalException)
    assert right == b"2"
    assert world.audit.events == [(1, KMSInternalException.code), (2, "")]


async def test_a_record_that_cannot_be_made_is_that_requests_alone(world):
    world.audit.refuses = {-1, 1}
    tasks = [ask(world, Asked(number)) for number in (-1, 1, 2)]
    await turns()
    world.pool.answer()
    refused, wrong, right = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(refused, KMSInternalException)
    assert isinstance(wrong, KMSInternalException)
    assert right == b"2"


async def test_a_refusal_keeps_nothing_alive(world):
    [error] = await asyncio.gather(ask(world, Asked(-1)), return_exceptions=True)
    assert isinstance(error, DisabledException)
    assert world.audit.events == [(-1, DisabledException.code)]


async def test_while_the_service_stops_requests_are_refused_and_recorded(world):
    await world.requests.drain(0.0)
    [error] = await asyncio.gather(ask(world, Asked(7)), return_exceptions=True)
    assert isinstance(error, KeyUnavailableException)
    assert [code for _, code in world.audit.events] == [KeyUnavailableException.code]


async def test_no_repr_shows_what_a_request_carries(world):
    attempt = world.requests.attempt("Encrypt", "192.0.2.1", "tests/1")
    entry = world.requests.entry(attempt)
    attempt.request = attempt.response = entry.message = attempt.asked = b"a plaintext"
    assert "a plaintext" not in repr(attempt) + repr(entry)
