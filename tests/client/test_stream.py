"""The client's side of a stream: what goes into a message, what is sent again when a connection breaks, and when it gives up."""

import threading

import grpc
import pytest

from hsmkms.client import Client, errors
from hsmkms.client.bulk import WINDOW
from hsmkms.client.contract import EncryptionAlgorithm, ReEncryptResponse
from hsmkms.core.messages import ReEncryptRequest
from hsmkms.v1 import kms_pb2
from hsmkms.wire import MAX_MESSAGE_BYTES, MAX_STREAM_ENTRIES
from hsmkms.wire.codec import bulk_codec
from support.scripted_server import Refusal

BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "ThrottlingException", retry_delay_s=0.01)
STOPPING = Refusal(grpc.StatusCode.UNAVAILABLE, "KeyUnavailableException", retry_delay_s=0.01)
FILL = bulk_codec("StreamReEncrypt").fill_response
DENIED = Refusal(grpc.StatusCode.PERMISSION_DENIED, "AccessDeniedException")


def requests(count, size=10):
    return [ReEncryptRequest(ciphertext_blob=bytes(size), destination_key_id=f"key-{each}") for each in range(count)]


def answer(entries):
    """Return one answer to entries: each ciphertext is the key's name."""
    message = kms_pb2.StreamReEncryptResponse()
    for entry in entries:
        result = message.results.add(number=entry.number, request_id=f"request-{entry.number}")
        key = entry.request.destination_key_id
        algorithm = EncryptionAlgorithm.SYMMETRIC_DEFAULT
        FILL(result.response, ReEncryptResponse(key.encode(), "source", key, algorithm, algorithm, "", ""))
    return message


def answer_all(messages):
    for message in messages:
        yield answer(message.entries)


def refuse_at_once(refusal):
    def behave(_):
        yield refusal

    return behave


class Recorder:
    """Reads so many entries, answers the first few of them, and refuses; keeps the messages."""

    def __init__(self, count, answered=0, refusal=STOPPING):
        self.messages = []
        self._count = count
        self._answered = answered
        self._refusal = refusal

    def __call__(self, messages):
        entries = []
        while len(entries) < self._count:
            self.messages.append(next(messages))
            entries += self.messages[-1].entries
        if self._answered:
            yield answer(reversed(entries[: self._answered]))
        yield self._refusal

    @property
    def sizes(self):
        return [len(message.entries) for message in self.messages]

    @property
    def numbers(self):
        return [entry.number for message in self.messages for entry in message.entries]


def streamed(client, entries):
    return {result.number: result for result in client.stream_re_encrypt(entries)}


def test_after_a_break_what_has_no_answer_is_sent_again_in_full_messages(make_profile, server):
    first, second = Recorder(230, answered=10), Recorder(220)
    server.streams.extend([first, second, answer_all])
    with Client(make_profile()) as client:
        found = streamed(client, requests(230))
    assert sorted(found) == list(range(230))
    assert [found[number].response.ciphertext_blob for number in range(230)] == [
        b"key-%d" % each for each in range(230)
    ]
    assert {result.request_id for result in found.values()} == {f"request-{number}" for number in range(230)}
    assert first.numbers == list(range(230))
    assert max(first.sizes) <= MAX_STREAM_ENTRIES
    assert second.numbers == list(range(10, 230))
    assert second.sizes == [MAX_STREAM_ENTRIES, MAX_STREAM_ENTRIES, 20], "all of it was at hand"


def test_a_message_is_never_longer_than_the_service_takes(make_profile, server):
    first, second = Recorder(20), Recorder(20)
    server.streams.extend([first, second, answer_all])
    with Client(make_profile()) as client:
        assert len(streamed(client, requests(20, size=60_000))) == 20
    assert all(message.ByteSize() <= MAX_MESSAGE_BYTES for message in first.messages + second.messages)
    assert second.sizes == [4, 4, 4, 4, 4]


def test_an_entry_that_is_too_long_is_refused_here_and_the_others_are_sent(make_profile, server):
    server.streams.append(answer_all)
    entries = requests(3)
    entries[1] = ReEncryptRequest(ciphertext_blob=bytes(MAX_MESSAGE_BYTES))
    with Client(make_profile()) as client:
        found = streamed(client, entries)
    assert isinstance(found[1].error, errors.ValidationException)
    assert not found[1].request_id
    assert [found[number].error for number in (0, 2)] == [None, None]


def test_no_more_than_the_window_is_taken_before_there_are_answers(make_profile, server):
    taken = []
    seen = []
    enough = threading.Event()

    def entries():
        for number, request in enumerate(requests(2 * WINDOW)):
            taken.append(number)
            yield request

    def wait_for_the_window(messages):
        waiting = []
        while len(waiting) < WINDOW:
            waiting += next(messages).entries
        seen.append(len(taken))
        enough.set()
        yield answer(waiting)
        yield from answer_all(messages)

    server.streams.append(wait_for_the_window)
    with Client(make_profile()) as client:
        assert len(streamed(client, entries())) == 2 * WINDOW
    assert enough.is_set()
    assert seen == [WINDOW]


def test_attempts_are_counted_in_a_row(make_profile, server):
    server.streams.extend([refuse_at_once(BUSY)] * 2 + [Recorder(5, answered=1)] + [refuse_at_once(BUSY), answer_all])
    with Client(make_profile(attempts=3)) as client:
        assert sorted(streamed(client, requests(5))) == list(range(5))
    server.streams.extend([refuse_at_once(BUSY)] * 3 + [answer_all])
    with Client(make_profile(attempts=3)) as client, pytest.raises(errors.ThrottlingException):
        streamed(client, requests(5))
    assert len(server.streams) == 1


def test_what_will_not_pass_is_not_tried_again(make_profile, server):
    server.streams.extend([refuse_at_once(DENIED), answer_all])
    with Client(make_profile()) as client, pytest.raises(errors.AccessDeniedException):
        streamed(client, requests(5))
    assert len(server.streams) == 1


def test_an_error_of_the_callers_entries_is_the_callers(make_profile, server):
    mine = errors.ThrottlingException("retryable, and yet not the service's")

    def entries():
        yield from requests(2)
        raise mine

    server.streams.extend([answer_all, answer_all])
    with Client(make_profile()) as client, pytest.raises(errors.ThrottlingException) as raised:
        streamed(client, entries())
    assert raised.value is mine


def test_an_answer_to_what_was_not_asked_is_refused(make_profile, server):
    server.streams.append(lambda messages: (answer(list(message.entries) * 2) for message in messages))
    with Client(make_profile()) as client, pytest.raises(errors.UnexpectedAnswer, match="no answer to come"):
        streamed(client, requests(5))


def test_a_service_that_says_nothing_is_not_waited_for_forever(make_profile, server):
    def silent(_):
        server.released.wait(20)
        yield STOPPING

    server.streams.append(silent)
    with Client(make_profile(timeout_s=0.5)) as client, pytest.raises(errors.DeadlineExceeded, match=r"within 0\.5 s"):
        streamed(client, requests(5))


def test_a_stream_of_nothing_has_no_results(make_profile, server):
    server.streams.append(answer_all)
    with Client(make_profile()) as client:
        assert streamed(client, []) == {}
