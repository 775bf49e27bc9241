"""Two fronts on one port, clients that need a certificate beside their access key, and the end of a service under load."""

from __future__ import annotations

import http.client
import json
import re
import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.aws import AccessKey, Answer, make_access_key, post, send, signed_headers, target, tls
from support.service import Service, eventually, make_deployment, running, with_workers


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two fronts whose AWS endpoint requires client certificates."""
    folder = tmp_path_factory.mktemp("fronts")
    deployment = make_deployment(
        folder, aws={"address": "127.0.0.1:0", "client_ca_file": str(folder / "tls" / "ca.pem")}
    )
    with running(with_workers(deployment, 2), "--fronts", "2") as service:
        eventually(lambda: service.logged("all fronts serve"), 60, "the second front")
        yield service


@pytest.fixture(scope="module")
def operator(fronts: Service) -> AccessKey:
    """The access key of who may do everything."""
    return make_access_key(fronts, "operator")


def certified(service: Service, name: str) -> ssl.SSLContext:
    context = tls(service)
    issued = service.deployment.certificate(name)
    context.load_cert_chain(issued.certificate_file, issued.private_key_file)
    return context


def ask(service: Service, access_key: AccessKey, context: ssl.SSLContext) -> Answer:
    body = b'{"NumberOfBytes": 8}'
    return send(service, body, signed_headers(service, access_key, body, target("GenerateRandom")), context=context)


def requests_of(probes: str) -> int:
    """How many requests a front has answered."""
    connection = http.client.HTTPConnection(probes, timeout=5)
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    found = re.search(
        r'^hsm_kms_requests_total{operation="GenerateRandom",result="OK"} ([0-9.]+)$', metrics, re.MULTILINE
    )
    return int(float(found[1])) if found else 0


def test_both_fronts_answer_on_one_port(fronts: Service, operator: AccessKey) -> None:
    serving = [line for line in list(fronts.log) if line.get("event") == "serving"]
    assert {line["aws"] for line in serving} == {fronts.aws_address}
    context = certified(fronts, "operator")
    for _ in range(3):  # until the news of the access key is on every front
        eventually(lambda: ask(fronts, operator, context).status == 200)
    for _ in range(20):  # new connections, over which the kernel spreads
        assert ask(fronts, operator, context).status == 200
    assert all(requests_of(line["probes"]) > 0 for line in serving)


def test_certificate_and_access_key_must_be_the_same_principals(fronts: Service, operator: AccessKey) -> None:
    assert ask(fronts, operator, certified(fronts, "operator")).status == 200
    other = ask(fronts, operator, certified(fronts, "reader"))
    assert other.error == (400, "AccessDeniedException")
    assert "not of the same principal" in other.document["Message"]
    unknown = ask(fronts, operator, certified(fronts, "not-in-the-table"))
    assert unknown.error == (400, "AccessDeniedException")


def test_without_a_certificate_nobody_comes_in(fronts: Service, operator: AccessKey) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        ask(fronts, operator, tls(fronts))


def test_a_stop_under_load_answers_what_it_has_taken(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, aws={"address": "127.0.0.1:0"})
    with running(with_workers(deployment, 1)) as service:
        access_key = make_access_key(service, "operator")
        answers: list[Answer] = []
        broken: list[Exception] = []
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    answers.append(post(service, access_key, "GenerateRandom", {"NumberOfBytes": 8}))
                except ConnectionRefusedError:
                    return
                except (OSError, http.client.HTTPException) as error:
                    broken.append(error)

        eventually(
            lambda: post(service, access_key, "GenerateRandom", {"NumberOfBytes": 8}).status == 200
        )  # the first one
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answers) > 40, what="answers")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
        stop.set()
        for thread in threads:
            thread.join()
    refused = {answer.error for answer in answers if answer.status != 200}
    assert refused <= {(500, "KeyUnavailableException")}, refused
    # a connection may be reset before its request was sent; whatever was carried out was answered
    assert all(isinstance(error, ConnectionError | ssl.SSLError) for error in broken), broken
    done = [
        line for line in audit_lines(tmp_path) if line.get("eventName") == "GenerateRandom" and "errorCode" not in line
    ]
    assert len(done) == len([answer for answer in answers if answer.status == 200]) + 1


def audit_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in (folder / "audit").iterdir() for line in file.read_text().splitlines()]
