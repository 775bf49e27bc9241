"""The service stops: what is under way is answered, what comes late is refused, and no worker outlives it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from hsmkms.client.errors import ConnectionFailed, KeyUnavailableException
from hsmkms.v1 import kms_pb2
from hsmkms.wire import method_path
from support.load import Load, callers, make_keys, re_encrypting, seal
from support.memory import state_of
from support.service import Service, eventually, make_deployment, running

CLIENTS = 16


def test_every_request_under_way_is_answered_and_late_ones_find_nobody(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(32))]
    calls = callers(service, CLIENTS, re_encrypting, sealed, attempts=1, timeout_s=20.0)
    workers = service.workers()
    crypto = [pid for name, pid in workers.items() if name.startswith("crypto")]
    with Load(calls) as load:
        eventually(lambda: load.count() > 200)
        for pid in crypto:  # so that requests are under way, and known to be
            os.kill(pid, signal.SIGSTOP)
        eventually(lambda: load.under_way_for(0.5) == CLIENTS, what="a request of every caller under way")
        before = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        eventually(lambda: service.logged("stopping"), what="the stop")
        for pid in crypto:
            os.kill(pid, signal.SIGCONT)
        assert service.process.wait(20) == 0
        _wait_for_late_calls(load, before)
    under_way = [sample for sample in load.samples if sample.began < before]
    assert not [sample.error for sample in under_way if sample.error], load.tally()
    late = [sample for sample in load.samples if sample.began >= before]
    assert late
    assert {type(sample.error) for sample in late} <= {ConnectionFailed, KeyUnavailableException}, load.tally()
    assert not _alive(workers.values())


def _wait_for_late_calls(load: Load, after: float) -> None:
    eventually(lambda: any(sample.began > after and sample.error for sample in load.samples), 5, "a late call")


def test_a_stop_under_load_fails_no_request_that_the_service_had_taken(service: Service) -> None:
    operator = make_keys(service)
    sealed = seal(operator, os.urandom(32))
    request = kms_pb2.ReEncryptRequest(ciphertext_blob=sealed.blob, destination_key_id="alias/destination")
    codes: list[tuple[grpc.StatusCode, str]] = []
    calls = [_bare_call(service, request, codes) for _ in range(CLIENTS)]
    with Load(calls) as load:
        eventually(lambda: load.count() > 500)
        assert service.stop() == 0
        eventually(lambda: codes, 5, "a late call")
        threading.Event().wait(0.2)
    # UNAVAILABLE is the code of a connection that is gone or of a service that takes nothing more; gRPC itself repeats on another
    # connection what the service has not taken. Everything else would be a request that was taken and then dropped.
    assert {code for code, _ in codes} == {grpc.StatusCode.UNAVAILABLE}, codes[:5]
    dropped = [details for _, details in codes if "Socket closed" in details or "reset" in details.lower()]
    assert not dropped, (len(dropped), dropped[:3])


def _bare_call(
    service: Service, request: kms_pb2.ReEncryptRequest, codes: list[tuple[grpc.StatusCode, str]]
) -> Callable[[], None]:
    """Return a call without the client library, which would try again."""
    profile = service.profile()
    credentials = grpc.ssl_channel_credentials(
        profile.ca_file.read_bytes(), profile.private_key_file.read_bytes(), profile.certificate_file.read_bytes()
    )
    channel = grpc.secure_channel(service.address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])
    stub = channel.unary_unary(
        method_path("ReEncrypt"),
        request_serializer=kms_pb2.ReEncryptRequest.SerializeToString,
        response_deserializer=kms_pb2.ReEncryptResponse.FromString,
    )

    def call() -> None:
        try:
            stub(request, timeout=20)
        except grpc.RpcError as error:
            codes.append((error.code(), error.details()))
            time.sleep(0.01)

    return call


def test_the_workers_die_with_a_front_that_is_killed(tmp_path: Path) -> None:
    with running(make_deployment(tmp_path)) as service:
        workers = service.wait_for_workers(4)
        operator = make_keys(service)
        with Load(callers(service, 4, re_encrypting, [seal(operator, os.urandom(32))], timeout_s=2.0)) as load:
            eventually(lambda: load.count() > 50)
            service.process.kill()
            eventually(lambda: not _alive(workers.values()), 2, "the end of the workers")
        service.process.wait(5)


def _alive(pids: object) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and state_of(pid) != "Z"]
