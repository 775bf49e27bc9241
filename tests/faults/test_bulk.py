"""Batches and streams while workers die and while the service stops: no entry is lost."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator

from hsmkms.client.bulk import ReEncryptResult
from hsmkms.client.errors import DependencyTimeoutException, KeyUnavailableException
from hsmkms.core.messages import ReEncryptRequest
from support.load import make_keys, seal
from support.service import Service, eventually

KILLS = 8


def test_a_stream_survives_the_death_of_its_workers(service: Service) -> None:
    sealed = seal(make_keys(service), os.urandom(32))
    request = ReEncryptRequest(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
    client = service.client("patient")
    stop = threading.Event()
    sent = 0

    def entries() -> Iterator[ReEncryptRequest]:
        nonlocal sent
        while not stop.is_set():
            sent += 1
            yield request

    def kill() -> None:
        for _ in range(KILLS):
            crypto = [pid for name, pid in service.workers().items() if name.startswith("crypto")]
            os.kill(random.choice(crypto), signal.SIGKILL)
            time.sleep(0.5)  # so that a spare is there again: what is tested is a death, not their absence
        stop.set()

    killer = threading.Thread(target=kill)
    killer.start()
    results = list(client.stream_re_encrypt(entries()))
    killer.join()
    assert [result.error for result in results if result.error] == []
    assert len(results) == sent > 200
    assert service.metric("hsm_kms_worker_ends_total", reason="died") == KILLS


def test_results_that_are_ready_do_not_wait_for_a_token_that_hangs(service: Service) -> None:
    sealed = seal(make_keys(service), os.urandom(32))
    good = ReEncryptRequest(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
    bad = ReEncryptRequest(ciphertext_blob=b"no ciphertext", destination_key_id="alias/destination")
    client = service.client("patient")
    assert client.batch_re_encrypt([good])[0].error is None
    crypto = [pid for name, pid in service.workers().items() if name.startswith("crypto")]
    for pid in crypto:
        os.kill(pid, signal.SIGSTOP)
    try:
        results = client.stream_re_encrypt([*[good] * 20, bad, bad, bad])
        first = {next(results).number for _ in range(3)}
    finally:
        for pid in crypto:
            os.kill(pid, signal.SIGCONT)
    assert first == {20, 21, 22}, "fewer than what is under way, and yet they came"
    assert sorted(result.number for result in results if not result.error) == list(range(20))


def test_at_its_deadline_a_batch_answers_what_is_done_and_ends_the_rest(service: Service) -> None:
    sealed = seal(make_keys(service), os.urandom(4096))
    request = ReEncryptRequest(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
    client = service.client("patient", attempts=1, timeout_s=3.0)
    workers = itertools.cycle([pid for name, pid in service.workers().items() if name.startswith("crypto")])
    results: list[ReEncryptResult] = []

    def some_are_late() -> bool:
        stopped = next(workers)  # one of the three is the spare, and gets nothing
        os.kill(stopped, signal.SIGSTOP)  # what it gets is late, what the others get is done
        try:
            results[:] = client.batch_re_encrypt([request] * 600)
        finally:
            os.kill(stopped, signal.SIGCONT)
        return any(result.error for result in results)

    eventually(some_are_late, 30, "a batch of which the stopped worker got a part")
    late = [result for result in results if result.error]
    assert len(results) == 600
    assert len(late) < 600
    assert {type(result.error) for result in late} == {DependencyTimeoutException}
    assert all(result.error.retryable for result in late)
    assert client.batch_re_encrypt([request])[0].error is None


def test_a_stop_answers_what_a_stream_had_sent_and_then_ends_it(service: Service) -> None:
    sealed = seal(make_keys(service), os.urandom(32))
    request = ReEncryptRequest(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
    client = service.client("patient", attempts=1)
    ended: list[Exception] = []
    answered: list[ReEncryptResult] = []

    def entries() -> Iterator[ReEncryptRequest]:
        while True:
            yield request

    def consume() -> None:
        try:
            for result in client.stream_re_encrypt(entries()):
                answered.append(result)  # noqa: PERF402 - what came before an error is to be kept
        except Exception as error:
            ended.append(error)

    reader = threading.Thread(target=consume)
    reader.start()
    eventually(lambda: len(answered) > 200, what="answers")
    service.process.send_signal(signal.SIGTERM)
    reader.join(20)
    assert service.process.wait(20) == 0
    [error] = ended
    assert isinstance(error, KeyUnavailableException), error  # the service's own word, not a broken connection
    assert error.retryable
    assert [result.error for result in answered if result.error] == []


def test_a_batch_under_way_is_answered_by_a_service_that_stops(service: Service) -> None:
    sealed = seal(make_keys(service), os.urandom(32))
    request = ReEncryptRequest(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
    client = service.client("patient", attempts=1, timeout_s=20)
    results: list[ReEncryptResult] = []
    caller = threading.Thread(target=lambda: results.extend(client.batch_re_encrypt([request] * 1000)))
    caller.start()
    eventually(lambda: service.metric("hsm_kms_bulks_under_way") == 1, what="the batch")
    service.process.send_signal(signal.SIGTERM)
    caller.join(20)
    assert service.process.wait(20) == 0
    assert len(results) == 1000
    assert [result.error for result in results if result.error] == []
