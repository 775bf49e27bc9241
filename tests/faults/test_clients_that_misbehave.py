"""Clients that send what is no request, too much, too hastily, or nothing at all, and those beside them who do not notice."""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hsmkms.client import Client
from hsmkms.wire import MAX_MESSAGE_BYTES, method_path
from support.load import Load, callers, make_keys, percentile, re_encrypting, seal
from support.service import Service, eventually

HASTY = 10_000
HASTY_CLIENTS = 8
SILENT = 64
HANDSHAKE_TIMEOUT_S = 5.0


@pytest.fixture
def channel(service: Service) -> Iterator[grpc.Channel]:
    """A channel without the client library."""
    profile = service.profile()
    credentials = grpc.ssl_channel_credentials(
        profile.ca_file.read_bytes(), profile.private_key_file.read_bytes(), profile.certificate_file.read_bytes()
    )
    with grpc.secure_channel(service.address, credentials) as channel:
        yield channel


def _send(channel: grpc.Channel, operation: str, data: bytes) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method_path(operation))(data, timeout=5)
    return refused.value


def _reason(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in rpc_status.from_call(error).details:
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
    return info.reason


def test_bytes_that_are_no_message_are_a_validation_exception(service: Service, channel: grpc.Channel) -> None:
    workers = service.workers()
    for garbage in (
        b"\xff",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x00" * 100,
        b"\x0b\x0b\x0b",
        os.urandom(64) + b"\xff" * 10,
    ):
        error = _send(channel, "ReEncrypt", garbage)
        assert (error.code(), _reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "ValidationException"), garbage
    assert service.workers() == workers
    assert service.is_ready()


def test_a_message_that_is_too_long_is_refused_before_it_is_read(service: Service, channel: grpc.Channel) -> None:
    error = _send(channel, "Encrypt", bytes(MAX_MESSAGE_BYTES + 1))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.client().list_keys().keys == ()


def test_ten_thousand_deadlines_of_a_millisecond_cost_no_worker(service: Service) -> None:
    operator = make_keys(service)
    sealed = seal(operator, os.urandom(32))
    workers = service.workers()
    results: Counter[str] = Counter()

    def hurry(client: Client) -> None:
        ends = Counter()
        for _ in range(HASTY // HASTY_CLIENTS):
            try:
                client.re_encrypt(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
                ends["OK"] += 1
            except Exception as error:
                ends[type(error).__name__] += 1
        results.update(ends)

    clients = [service.client(f"hasty-{number}", timeout_s=0.001, attempts=1) for number in range(HASTY_CLIENTS)]
    threads = [threading.Thread(target=hurry, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert operator.decrypt(ciphertext_blob=sealed.blob).plaintext == sealed.plaintext
        time.sleep(0.02)
    assert results.total() == HASTY
    assert set(results) <= {"OK", "DeadlineExceeded", "DependencyTimeoutException"}, results
    assert service.workers() == workers
    assert service.metric("hsm_kms_worker_ends_total") == 0
    eventually(lambda: service.metric("hsm_kms_token_queue_depth") == 0, what="an empty queue")
    print(dict(results))


def test_connections_that_say_nothing_hurt_nobody_and_are_closed(service: Service) -> None:
    operator = make_keys(service)
    calls = callers(service, 4, re_encrypting, [seal(operator, os.urandom(32))])
    with Load(calls):
        time.sleep(0.5)
    alone, beside = [], []
    host, _, port = service.address.rpartition(":")
    for _ in range(3):
        alone.append(_p99(calls))
        with ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(SILENT)]
            beside.append(_p99(calls))
    assert statistics.median(beside) < 2 * statistics.median(alone), (alone, beside)
    with socket.create_connection((host, int(port))) as silent:
        silent.settimeout(HANDSHAKE_TIMEOUT_S + 3)
        while silent.recv(1 << 16):
            pass
    assert service.is_ready()


def _p99(calls: list) -> float:
    with Load(calls) as load:
        time.sleep(1)
    load.assert_no_errors()
    return percentile([sample.seconds for sample in load.samples], 0.99)
