"""A worker that hangs costs its callers some seconds at most; when all hang, the service says so and answers what it can."""

from __future__ import annotations

import os
import signal
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hsmkms.client.errors import DependencyTimeoutException
from support.load import Load, callers, make_keys, re_encrypting_and_reading, seal
from support.memory import state_of
from support.service import Service, eventually

CLIENTS = 16
KILLED_WITHIN_S = 10.0


def test_a_hanging_worker_is_killed_and_its_calls_are_answered_by_others(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(length)) for length in (32, 100)]
    workers = service.workers()
    with Load(callers(service, CLIENTS, re_encrypting_and_reading, sealed, timeout_s=30.0)) as load:
        eventually(lambda: load.count() > 100)
        for name in [name for name in workers if name.startswith("crypto")]:
            if name not in service.workers():
                continue
            os.kill(workers[name], signal.SIGSTOP)
            began, before = time.monotonic(), load.count()
            eventually(
                lambda name=name: name not in (now := service.workers()) and len(now) == 4,
                KILLED_WITHIN_S,
                f"the end of {name}, which hangs, and its replacement",
            )
            print(f"{name} replaced after {time.monotonic() - began:.1f} s, {load.count() - before} calls meanwhile")
            assert load.count() > before + 50, "the service stood still"
            assert service.is_ready()
    load.assert_no_errors()


def test_a_call_on_a_hanging_worker_ends_at_its_deadline(service: Service) -> None:
    operator = make_keys(service)
    sealed = seal(operator, os.urandom(32))
    pids = [*service.workers().values()]  # with the admin worker, which has made the key and may be asked to use it
    patient, hasty = service.client("patient", timeout_s=30.0), service.client("hasty", timeout_s=1.0, attempts=1)
    for client in (patient, hasty):
        client.list_keys()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    eventually(lambda: all(state_of(pid) == "T" for pid in pids))
    began = time.monotonic()

    with pytest.raises(DependencyTimeoutException):
        hasty.decrypt(ciphertext_blob=sealed.blob)
    took = time.monotonic() - began
    assert 0.8 < took < 1.1, took
    eventually(lambda: not service.is_ready(), 5, "/readyz 503")
    assert service.get("/livez")[0] == 200
    assert _health(service) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert hasty.describe_key(key_id="alias/source").key_metadata.enabled
    assert len(hasty.list_keys().keys) == 2
    assert all(state_of(pid) == "T" for pid in pids), (
        "this was too slow to prove anything: the workers are gone already"
    )

    assert patient.decrypt(ciphertext_blob=sealed.blob).plaintext == sealed.plaintext
    eventually(
        lambda: not set(pids) & set(service.workers().values()),
        KILLED_WITHIN_S - (time.monotonic() - began),
        "the end of the workers that hang",
    )
    eventually(service.is_ready, 5, "readiness by itself")
    assert _health(service) == health_pb2.HealthCheckResponse.SERVING
    service.wait_for_workers(4)


def test_a_hanging_spare_does_not_hold_up_key_creation_for_long(service: Service) -> None:
    operator = service.client(timeout_s=30.0)
    operator.create_key()
    spare = max((int(name.partition("-")[2]), pid) for name, pid in service.workers().items())[1]
    os.kill(spare, signal.SIGSTOP)
    began = time.monotonic()
    operator.create_key()
    assert time.monotonic() - began < KILLED_WITHIN_S
    eventually(lambda: spare not in service.workers().values(), KILLED_WITHIN_S, "the end of the spare that hangs")
    service.wait_for_workers(4)


def _health(service: Service) -> int:
    profile = service.profile()
    credentials = grpc.ssl_channel_credentials(
        profile.ca_file.read_bytes(), profile.private_key_file.read_bytes(), profile.certificate_file.read_bytes()
    )
    with grpc.secure_channel(service.address, credentials) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return int(answer.status)
