"""One stream, without gRPC around it: how far it reads, and what goes into one answer."""

import asyncio
import contextlib
from types import SimpleNamespace

import grpc
import pytest

from hsmkms.core.errors import KeyUnavailableException, ValidationException
from hsmkms.core.messages import EncryptionAlgorithm, ReEncryptResponse
from hsmkms.server.carrier import Carrier
from hsmkms.server.grpc.batches import LONGEST_HOLD_S, WORTH_AN_ANSWER, _Stream
from hsmkms.server.requests import Attempt, Entry
from hsmkms.v1 import kms_pb2
from hsmkms.wire import MAX_MESSAGE_BYTES, MAX_STREAM_ENTRIES
from hsmkms.wire.codec import bulk_codec

WINDOW = 64
ALGORITHM = EncryptionAlgorithm.SYMMETRIC_DEFAULT


class Requests:
    """Carries entries out when the test says so. An entry's ciphertext is its number, and its answer is `size` bytes long."""

    def __init__(self, carrier):
        self.carrier = carrier
        self.begun = {}
        self.recorded = []
        self.forgotten = 0
        self.size = 8
        self.listeners = []
        self._ids = 0

    def entry(self, batch):
        self._ids += 1
        return Entry(batch.operation, "", "", f"request-{self._ids}", 0, 0.0, batch_id=batch.request_id)

    def expiry_ns(self, seconds):
        assert seconds is None
        return 1 << 62

    def begin(self, attempt):
        number = int(attempt.request.ciphertext_blob)
        self.begun[number] = asyncio.get_running_loop().create_future()
        attempt.work = self._answer(number)
        self.carrier.start(attempt)

    async def _answer(self, number):
        await self.begun[number]
        return ReEncryptResponse(bytes(self.size), "source", "destination", ALGORITHM, ALGORITHM, "", "")

    def end(self, attempt):
        self.recorded.append((attempt.request_id, attempt.error))

    def forget(self, attempt):
        self.carrier.drop(attempt)
        self.forgotten += 1

    @contextlib.contextmanager
    def under_way(self):
        yield

    @contextlib.contextmanager
    def told_of_stop(self, listener):
        self.listeners.append(listener)
        yield

    def carry_out(self, *numbers):
        for number in numbers:
            self.begun.pop(number).set_result(None)


class Context:
    """The client: what it sent waits to be read, and an answer is written when it is `reading`."""

    def __init__(self):
        self.sent = asyncio.Queue()
        self.answers = []
        self.lengths = []
        self.reading = asyncio.Event()
        self.reading.set()

    @property
    def answered(self):
        return [number for answer in self.answers for number in answer]

    def time_remaining(self):
        return None

    async def read(self):
        return await self.sent.get()

    async def write(self, data):
        await self.reading.wait()
        self.answers.append([result.number for result in kms_pb2.StreamReEncryptResponse.FromString(data).results])
        self.lengths.append(len(data))

    def send(self, *numbers):
        entries = [
            kms_pb2.StreamReEncryptEntry(
                number=number, request=kms_pb2.ReEncryptRequest(ciphertext_blob=str(number).encode())
            )
            for number in numbers
        ]
        self.sent.put_nowait(kms_pb2.StreamReEncryptRequest(entries=entries).SerializeToString())

    def finish(self):
        self.sent.put_nowait(grpc.aio.EOF)


@pytest.fixture
async def world():
    carrier = Carrier(SimpleNamespace(capacity=1000))
    requests, context = Requests(carrier), Context()
    attempt = Attempt("ReEncrypt", "", "", "stream", 0, 0.0)
    stream = _Stream(requests, carrier, WINDOW, bulk_codec("StreamReEncrypt"), context, attempt)
    task = asyncio.create_task(stream.run())
    yield SimpleNamespace(requests=requests, context=context, task=task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def turns(count=40):
    """Let everything go as far as it goes without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_message_is_read_when_there_is_room_for_one_entry_and_is_taken_whole(world):
    world.context.send(*range(WINDOW - 1))
    world.context.send(*range(100, 100 + MAX_STREAM_ENTRIES))
    world.context.send(500)
    await turns()
    assert world.context.sent.qsize() == 1, "the last one is not read"
    assert len(world.requests.begun) == WINDOW, "the rest waits for its turn"
    world.context.reading.clear()
    world.requests.carry_out(*range(WINDOW - 1))
    await turns()
    assert world.context.sent.qsize() == 1, "what is answered and not taken counts"
    world.context.reading.set()
    await turns()
    assert sorted(world.context.answered) == list(range(WINDOW - 1))
    assert world.context.sent.qsize() == 1, "there are still more than the window"
    world.requests.carry_out(*range(100, 100 + WINDOW))
    await turns()
    assert world.context.sent.qsize() == 0
    assert 500 in world.requests.begun


async def test_a_client_that_takes_nothing_is_sent_nothing_and_read_no_further(world):
    world.context.reading.clear()
    for first in range(0, 1000, 50):
        world.context.send(*range(first, first + 50))
    while world.requests.begun or not world.requests.recorded:
        world.requests.carry_out(*list(world.requests.begun))
        await turns()
    assert len(world.requests.recorded) == 100, "two messages: less than the window, and one more"
    assert not world.context.answers
    world.context.reading.set()
    while world.requests.begun or world.context.sent.qsize():
        world.requests.carry_out(*list(world.requests.begun))
        await turns()
    assert sorted(world.context.answered) == list(range(1000))


async def test_who_has_nothing_else_under_way_is_answered_at_once(world):
    for number in range(5):
        world.context.send(number)
        await turns()
        world.requests.carry_out(number)
        await turns()
        assert world.context.answers[-1] == [number]


async def test_results_go_together_in_the_order_in_which_their_entries_end(world):
    world.context.send(*range(60))
    await turns()
    ended = list(range(WORTH_AN_ANSWER - 1, 0, -1))
    world.requests.carry_out(*ended[:20])
    await turns()
    assert not world.context.answers, "more are under way than are ready"
    world.requests.carry_out(*ended[20:], 40)
    await turns()
    assert world.context.answers == [[*ended, 40]]
    world.requests.carry_out(0, *range(WORTH_AN_ANSWER, 40), 41, 42, 43, 44, 45)
    await turns()
    assert len(world.context.answered) == WORTH_AN_ANSWER + 14, "as many as are still under way"


async def test_no_result_waits_for_long(world):
    world.context.send(*range(60))
    await turns()
    world.requests.carry_out(3)
    await turns()
    assert not world.context.answers
    async with asyncio.timeout(50 * LONGEST_HOLD_S):
        while not world.context.answers:  # noqa: ASYNC110 - that time passes is what is tested
            await asyncio.sleep(LONGEST_HOLD_S / 10)
    assert world.context.answers == [[3]]
    assert len(world.requests.begun) == 59


async def test_what_does_not_fit_into_one_answer_comes_in_the_next(world):
    world.requests.size = 6000
    world.context.reading.clear()
    world.context.send(*range(60))
    world.context.send(*range(60, 160))
    await turns()
    while world.requests.begun:
        world.requests.carry_out(*list(world.requests.begun))
        await turns()
    world.context.reading.set()
    await turns()
    assert sorted(world.context.answered) == list(range(160))
    assert max(world.context.lengths) <= MAX_MESSAGE_BYTES
    assert max(world.context.lengths) > MAX_MESSAGE_BYTES - (16 << 10)
    assert max(map(len, world.context.answers)) < MAX_STREAM_ENTRIES


@pytest.mark.parametrize("count", [0, MAX_STREAM_ENTRIES + 1])
async def test_a_wrong_message_ends_the_stream_and_what_came_before_is_answered(world, count):
    world.context.send(1, 2)
    world.context.send(*range(1000, 1000 + count))
    world.context.send(3)
    await turns()
    assert not world.task.done()
    world.requests.carry_out(1)
    await turns()
    world.requests.carry_out(2)
    with pytest.raises(ValidationException, match="at 'entries'"):
        await world.task
    assert world.context.answered == [1, 2]
    assert len(world.requests.recorded) == 2, "nothing of it was begun"


async def test_a_stop_ends_the_stream_when_what_was_read_is_answered(world):
    world.context.send(1, 2, 3)
    await turns()
    [stop] = world.requests.listeners
    stop()
    world.context.send(4)
    world.requests.carry_out(2, 1, 3)
    with pytest.raises(KeyUnavailableException):
        await world.task
    assert world.context.answered == [2, 1, 3]
    assert world.context.sent.qsize() == 1


async def test_when_the_client_is_gone_what_was_begun_is_recorded_and_the_rest_forgotten(world):
    world.context.send(*range(60))
    world.context.send(*range(60, 120))
    await turns()
    world.requests.carry_out(0, 1)
    await turns()
    world.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await world.task
    assert len(world.requests.recorded) == 2
    assert world.requests.forgotten == WINDOW


async def test_the_end_comes_when_all_is_answered(world):
    world.context.send(1, 2)
    world.context.finish()
    await turns()
    assert not world.task.done()
    world.requests.carry_out(1, 2)
    await world.task
    assert world.context.answered == [1, 2]
    assert [error for _, error in world.requests.recorded] == [None, None]
