"""Batches and streams over TLS: every entry is answered as a call of its own would be, is recorded as one, and harms no other."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from hsmkms.client import Client, errors
from hsmkms.core.messages import DecryptRequest, EncryptRequest, GenerateDataKeyRequest, ReEncryptRequest
from hsmkms.v1 import kms_pb2
from hsmkms.wire import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, MAX_STREAM_ENTRIES, method_path
from support.service import ACCOUNT, REGION, Service, eventually

CONTEXT = {"tenant": "1"}
ENTRIES = 1000


@pytest.fixture(scope="module")
def mixed(client: Client) -> list[ReEncryptRequest]:
    """A thousand requests, every one of which would be answered in one of a dozen ways."""
    sealed = [
        client.encrypt(key_id="alias/source", plaintext=os.urandom(size), encryption_context=CONTEXT).ciphertext_blob
        for size in (1, 32, 256, 4096)
    ]
    disabled = client.create_key(description="disabled").key_metadata.key_id
    client.disable_key(key_id=disabled)
    foreign = f"arn:aws:kms:{REGION}:444455556666:key/11111111-2222-4333-8444-555555555555"

    def entry(number: int) -> ReEncryptRequest:
        blob = sealed[number // 12 % len(sealed)]
        good = {
            "ciphertext_blob": blob, "source_encryption_context": CONTEXT, "destination_key_id": "alias/destination",
        }  # fmt: skip
        kinds: tuple[dict[str, object], ...] = (
            {},
            {"destination_encryption_context": {"row": str(number)}},
            {"source_key_id": "alias/source"},
            {"source_encryption_context": {"tenant": "2"}},
            {"ciphertext_blob": b"no ciphertext"},
            {"ciphertext_blob": blob[:-1] + bytes([blob[-1] ^ 1])},
            {"destination_key_id": "alias/nobody"},
            {"destination_key_id": foreign},
            {"destination_key_id": disabled},
            {"source_key_id": "alias/destination"},
            {"dry_run": True},
            {"ciphertext_blob": None, "destination_key_id": None, "source_encryption_algorithm": "RSAES_OAEP_SHA_256"},
        )
        return ReEncryptRequest(**{**good, **kinds[number % len(kinds)]})

    return [entry(number) for number in range(ENTRIES)]


def unary(client: Client, request: ReEncryptRequest) -> tuple[object, ...]:
    """Return what a call answers, as far as two answers to one request agree."""
    try:
        response = client.re_encrypt(**{name: getattr(request, name) for name in request.__dataclass_fields__})
    except errors.KmsError as error:
        return error.code, error.message, error.retryable
    return _same(response)


def _same(response: object) -> tuple[object, ...]:
    kept = ("source_key_id", "key_id", "source_key_material_id", "destination_key_material_id")
    return len(response.ciphertext_blob), *(getattr(response, name) for name in kept)  # type: ignore[attr-defined]


def outcome(result: object) -> tuple[object, ...]:
    """Return the same of a result."""
    error = result.error  # type: ignore[attr-defined]
    return (error.code, error.message, error.retryable) if error else _same(result.response)  # type: ignore[attr-defined]


def test_each_of_a_thousand_entries_is_answered_as_its_call_would_be(
    client: Client, mixed: list[ReEncryptRequest]
) -> None:
    results = client.batch_re_encrypt(mixed)
    assert [result.number for result in results] == list(range(ENTRIES))
    expected = [unary(client, request) for request in mixed[:48]]  # each way to be answered, for each size
    for number, result in enumerate(results):
        assert outcome(result) == expected[number % 48], (number, mixed[number].destination_key_id)
    assert len(Counter(outcome(result)[0] for result in results)) >= 10, "every way occurs"
    assert len({result.request_id for result in results}) == ENTRIES
    for number in (1, 13, 25, 37):
        opened = client.decrypt(
            ciphertext_blob=results[number].response.ciphertext_blob, encryption_context={"row": str(number)}
        )
        before = client.decrypt(ciphertext_blob=mixed[number].ciphertext_blob, encryption_context=CONTEXT)
        assert opened.plaintext == before.plaintext


def test_a_stream_answers_every_entry_once_and_as_its_call_would_be(
    client: Client, mixed: list[ReEncryptRequest]
) -> None:
    expected = [unary(client, request) for request in mixed[:48]]
    found = {}
    for result in client.stream_re_encrypt(iter(mixed)):
        assert result.number not in found
        found[result.number] = outcome(result)
    assert sorted(found) == list(range(ENTRIES))
    assert all(what == expected[number % 48] for number, what in found.items())


def test_every_entry_has_a_record_of_its_own_that_names_its_batch(
    service: Service, mixed: list[ReEncryptRequest]
) -> None:
    client = service.client("caller-7")
    results = client.batch_re_encrypt(mixed[:36])
    streamed = list(client.stream_re_encrypt(mixed[:12]))
    ids = {result.request_id: result for result in (*results, *streamed)}

    def recorded() -> list[dict[str, object]] | None:
        files = sorted((service.deployment.folder / "audit").glob("*.jsonl"))
        found = [
            record
            for path in files
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n") and (record := json.loads(line)).get("requestID") in ids
        ]
        return found if len(found) >= len(ids) else None

    records = eventually(recorded, what="a record of each entry")
    assert Counter(record["requestID"] for record in records) == Counter(list(ids))
    for record in records:
        result = ids[record["requestID"]]
        assert record["eventName"] == "ReEncrypt"
        assert record["userIdentity"]["userName"] == "spiffe://test/caller-7"
        assert record.get("errorCode") == (result.error.code if result.error else None)
        assert bool(record["requestParameters"])
    batches = Counter(record["additionalEventData"]["batchRequestID"] for record in records)
    assert sorted(batches.values()) == [12, 36]
    assert not batches.keys() & ids.keys()


def test_metrics_count_entries_as_requests(service: Service, client: Client, mixed: list[ReEncryptRequest]) -> None:
    def counted() -> tuple[float, float, float]:
        return (
            service.metric("hsm_kms_requests_total", operation="ReEncrypt"),
            service.metric("hsm_kms_batch_entries_count", operation="BatchReEncrypt"),
            service.metric("hsm_kms_batch_entries_sum", operation="BatchReEncrypt"),
        )

    before = counted()
    client.batch_re_encrypt(mixed[:24])
    list(client.stream_re_encrypt(mixed[:12]))
    assert [after - then for after, then in zip(counted(), before, strict=True)] == [36, 1, 24]
    eventually(lambda: service.metric("hsm_kms_bulks_under_way") == 0, what="the end of the stream")


def test_who_may_not_is_refused_entry_by_entry(service: Service, client: Client, mixed: list[ReEncryptRequest]) -> None:
    with pytest.raises(errors.AccessDeniedException):
        service.client("not-in-the-table").batch_re_encrypt(mixed[:3])
    key = client.create_key(
        description="closed",
        policy=f'{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{ACCOUNT}:user/operator"}},'
        '"Action":"kms:*","Resource":"*"}]}',
    ).key_metadata.key_id
    blob = client.encrypt(key_id=key, plaintext=b"x").ciphertext_blob
    closed = ReEncryptRequest(ciphertext_blob=blob, destination_key_id="alias/destination")
    denied, fine = service.client("caller-8").batch_re_encrypt([closed, mixed[0]])
    assert isinstance(denied.error, errors.AccessDeniedException)
    assert fine.error is None


def test_encrypt_decrypt_and_data_keys_come_in_batches_too(client: Client) -> None:
    plaintexts = [os.urandom(number + 1) for number in range(40)]
    sealed = client.batch_encrypt([EncryptRequest(key_id="alias/source", plaintext=text) for text in plaintexts])
    opened = client.batch_decrypt([DecryptRequest(ciphertext_blob=each.response.ciphertext_blob) for each in sealed])
    assert [each.response.plaintext for each in opened] == plaintexts
    keys = client.batch_generate_data_key([GenerateDataKeyRequest(key_id="alias/source", key_spec="AES_256")] * 20)
    read = client.batch_decrypt([DecryptRequest(ciphertext_blob=each.response.ciphertext_blob) for each in keys])
    assert [each.response.plaintext for each in keys] == [each.response.plaintext for each in read]
    assert len({each.response.plaintext for each in keys}) == 20
    assert isinstance(client.batch_encrypt([EncryptRequest()])[0].error, errors.ValidationException)
    assert client.batch_encrypt([]) == ()


# Limits of a batch as a whole


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    profile = service.profile()
    credentials = grpc.ssl_channel_credentials(
        profile.ca_file.read_bytes(), profile.private_key_file.read_bytes(), profile.certificate_file.read_bytes()
    )
    with grpc.secure_channel(service.address, credentials) as channel:
        yield channel


def refusal(channel: grpc.Channel, data: bytes, name: str = "BatchReEncrypt") -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method_path(name))(data, timeout=10)
    return refused.value.code(), refused.value.details()


def test_none_too_many_and_what_is_no_message_are_refused(channel: grpc.Channel) -> None:
    code, text = refusal(channel, b"")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "greater than or equal to 1" in text
    many = kms_pb2.BatchReEncryptRequest(entries=[kms_pb2.ReEncryptRequest()] * 1001).SerializeToString()
    code, text = refusal(channel, many)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "less than or equal to 1000; it has 1001" in text
    assert refusal(channel, b"\xff\xff")[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_a_batch_or_message_that_is_too_long_is_refused(channel: grpc.Channel) -> None:
    assert refusal(channel, bytes(MAX_BATCH_BYTES + 1))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    code, text = refusal(channel, bytes(MAX_MESSAGE_BYTES + 1), "ReEncrypt")
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MAX_MESSAGE_BYTES) in text


def test_a_batch_of_the_largest_entries_fits_with_grpcs_usual_settings(channel: grpc.Channel, client: Client) -> None:
    blob = client.encrypt(key_id="alias/source", plaintext=os.urandom(4096)).ciphertext_blob
    entry = kms_pb2.ReEncryptRequest(ciphertext_blob=blob, destination_key_id="alias/destination")
    count = MAX_BATCH_BYTES // (entry.ByteSize() + 8)
    message = kms_pb2.BatchReEncryptRequest(entries=[entry] * count)
    answer = kms_pb2.BatchReEncryptResponse.FromString(
        channel.unary_unary(method_path("BatchReEncrypt"))(message.SerializeToString(), timeout=30)
    )
    assert len(answer.results) == count
    assert all(result.HasField("response") for result in answer.results)


def test_a_batch_that_has_more_than_fits_is_split_by_the_client(client: Client) -> None:
    blob = client.encrypt(key_id="alias/source", plaintext=os.urandom(4096)).ciphertext_blob
    entries = [ReEncryptRequest(ciphertext_blob=blob, destination_key_id="alias/destination")] * 900
    results = client.batch_re_encrypt(entries)
    assert [result.number for result in results] == list(range(900))
    assert not [result.error for result in results if result.error]


# Messages of a stream


def message(*entries: kms_pb2.ReEncryptRequest, first: int = 0) -> bytes:
    """Return a message of a stream, its entries numbered from `first`."""
    numbered = [
        kms_pb2.StreamReEncryptEntry(number=number, request=entry) for number, entry in enumerate(entries, first)
    ]
    return kms_pb2.StreamReEncryptRequest(entries=numbered).SerializeToString()


def results_of(data: bytes) -> list[kms_pb2.StreamReEncryptResult]:
    """Return the results in an answer of a stream, after a look at its limits."""
    answer = kms_pb2.StreamReEncryptResponse.FromString(data)
    assert 1 <= len(answer.results) <= MAX_STREAM_ENTRIES
    assert len(data) <= MAX_MESSAGE_BYTES
    return list(answer.results)


def open_stream(channel: grpc.Channel, *messages: bytes) -> Iterator[bytes]:
    """Send messages on a stream, and then its end."""
    call: Iterator[bytes] = channel.stream_stream(method_path("StreamReEncrypt"))(iter(messages), timeout=30)
    return call


def on_the_wire(blob: bytes) -> kms_pb2.ReEncryptRequest:
    """Return a request that moves a ciphertext of alias/source without a context."""
    return kms_pb2.ReEncryptRequest(ciphertext_blob=blob, destination_key_id="alias/destination")


@pytest.fixture(scope="module")
def large(client: Client) -> bytes:
    """A ciphertext of the most that there is to encrypt."""
    return client.encrypt(key_id="alias/source", plaintext=os.urandom(4096)).ciphertext_blob


def test_messages_of_one_entry_and_of_a_hundred_are_answered_alike(channel: grpc.Channel, client: Client) -> None:
    good = on_the_wire(client.encrypt(key_id="alias/source", plaintext=b"x").ciphertext_blob)
    bad = on_the_wire(b"no ciphertext")
    messages = [
        message(good, first=1 << 63),
        message(*[good, bad] * (MAX_STREAM_ENTRIES // 2)),
        message(bad, good, bad, first=1000),
        message(good, first=7),  # a number a second time is the caller's affair
    ]
    found = [result for data in open_stream(channel, *messages) for result in results_of(data)]
    refused = [1 + 2 * pair for pair in range(MAX_STREAM_ENTRIES // 2)] + [1000, 1002]
    assert Counter(result.number for result in found) == Counter(
        [1 << 63, *range(MAX_STREAM_ENTRIES), 1000, 1001, 1002, 7]
    )
    assert sorted(result.number for result in found if result.HasField("error")) == refused
    assert {result.error.code for result in found if result.HasField("error")} == {"InvalidCiphertextException"}
    assert len({result.request_id for result in found}) == len(found)
    for result in found:
        assert (
            result.HasField("error")
            or client.decrypt(ciphertext_blob=result.response.ciphertext_blob).plaintext == b"x"
        )


def test_answers_of_the_largest_results_keep_to_the_limit(channel: grpc.Channel, large: bytes) -> None:
    entries = [on_the_wire(large)] * (MAX_MESSAGE_BYTES // (on_the_wire(large).ByteSize() + 19))
    assert len(entries) > 50
    messages = [message(*entries, first=number * len(entries)) for number in range(4)]
    numbers = [result.number for data in open_stream(channel, *messages) for result in results_of(data)]
    assert sorted(numbers) == list(range(4 * len(entries)))


@pytest.mark.parametrize(
    ("wrong", "code", "text"),
    [
        (b"", grpc.StatusCode.INVALID_ARGUMENT, "greater than or equal to 1"),
        (
            message(*[kms_pb2.ReEncryptRequest()] * (MAX_STREAM_ENTRIES + 1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "less than or equal to 100; it has 101: send several messages",
        ),
        (bytes(MAX_MESSAGE_BYTES + 1), grpc.StatusCode.RESOURCE_EXHAUSTED, str(MAX_MESSAGE_BYTES)),
        (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "not a valid protobuf message"),
    ],
    ids=["empty", "too many", "too long", "no message"],
)
def test_a_message_against_the_limits_ends_the_stream_when_what_came_before_is_answered(
    channel: grpc.Channel, client: Client, wrong: bytes, code: grpc.StatusCode, text: str
) -> None:
    good = on_the_wire(client.encrypt(key_id="alias/source", plaintext=b"x").ciphertext_blob)
    call = open_stream(channel, message(*[good] * 5), wrong, message(good, first=100))
    found: list[int] = []

    def read() -> None:
        for data in call:
            found.extend(result.number for result in results_of(data) if result.HasField("response"))

    with pytest.raises(grpc.RpcError) as refused:
        read()
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert refused.value.code() is code
    assert text in refused.value.details()


def test_who_waits_for_each_answer_before_sending_more_is_answered(channel: grpc.Channel, client: Client) -> None:
    """Each time everything that was sent is over: no result waits for others."""
    good = on_the_wire(client.encrypt(key_id="alias/source", plaintext=b"x").ciphertext_blob)
    answered = threading.Semaphore()
    sizes = [1, 1, 3, 1, MAX_STREAM_ENTRIES, 2, 1]

    def turns() -> Iterator[bytes]:
        for size in sizes:
            assert answered.acquire(timeout=20)
            yield message(*[good] * size)

    left = list(sizes)
    for data in channel.stream_stream(method_path("StreamReEncrypt"))(turns(), timeout=30):
        left[0] -= len(results_of(data))
        if left[0] == 0:
            left.pop(0)
            answered.release()
    assert not left


# Streams and their readers


def test_one_who_stops_iterating_leaves_nothing_behind(service: Service, mixed: list[ReEncryptRequest]) -> None:
    client = service.client("caller-9")
    taken = []

    def endless() -> Iterator[ReEncryptRequest]:
        while True:
            taken.append(1)
            yield mixed[0]

    results = client.stream_re_encrypt(endless())
    for _ in range(10):
        assert next(results).error is None
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 1000
    eventually(lambda: service.metric("hsm_kms_bulks_under_way") == 0, what="the end of the stream")
    assert not [thread for thread in threading.enumerate() if thread.name == "hsm-kms StreamReEncrypt"]


def test_one_who_sends_and_does_not_read_is_read_no_further_and_slows_nobody(
    service: Service, channel: grpc.Channel, client: Client, mixed: list[ReEncryptRequest], large: bytes
) -> None:
    data = message(*[on_the_wire(large)] * 10)
    stop = threading.Event()
    sent = []

    def flood() -> Iterator[bytes]:
        while not stop.is_set():
            sent.append(1)
            yield data

    before = service.metric("hsm_kms_requests_total", operation="ReEncrypt")
    call = channel.stream_stream(method_path("StreamReEncrypt"))(flood())
    try:
        seen = eventually(_steady(sent), 20, "the end of its reading")
        assert seen < 500, "what is under way and in gRPC's windows, and no more"
        carried_out = service.metric("hsm_kms_requests_total", operation="ReEncrypt") - before
        assert carried_out < 10 * seen, "some of it was not read"
        assert [result.error for result in client.batch_re_encrypt([mixed[0]] * 50)] == [None] * 50
        answered = 0
        while answered < 10 * seen // 2:
            answered += len(results_of(next(call)))
        eventually(lambda: len(sent) > seen, what="further reading")
    finally:
        stop.set()
        call.cancel()
    eventually(lambda: service.metric("hsm_kms_bulks_under_way") == 0, what="the end of the stream")


def _steady(sent: list[int]) -> object:
    """Return a condition: a number that has been the same for half a second."""
    last = [0, 0]

    def condition() -> int:
        last[1] = last[1] + 1 if last[0] == len(sent) and last[0] else 0
        last[0] = len(sent)
        return last[0] if last[1] > 25 else 0

    return condition


def test_no_more_than_sixteen_batches_and_streams_of_one(service: Service, mixed: list[ReEncryptRequest]) -> None:
    client = service.client("caller-10", attempts=1)
    waiting = threading.Event()

    def slow() -> Iterator[ReEncryptRequest]:
        yield mixed[0]
        waiting.wait(30)

    def hold() -> None:
        for _ in client.stream_re_encrypt(slow()):
            pass

    threads = [threading.Thread(target=hold, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: service.metric("hsm_kms_bulks_under_way") == 16, what="sixteen streams")
        with pytest.raises(errors.ThrottlingException):
            client.batch_re_encrypt(mixed[:1])
        assert service.client("caller-11").batch_re_encrypt(mixed[:1])[0].error is None
    finally:
        waiting.set()
        for thread in threads:
            thread.join(10)
