"""Sixteen callers re-encrypt while one creates keys and one sends deadlines that nothing can meet: they hardly notice, no worker dies."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.load import Call, Load, Sealed, callers, make_keys, percentile, re_encrypting, seal
from support.service import Service

CLIENTS = 16
ROUNDS = 12
PHASE_S = 1.2
FACTOR = 2.0
TESTS = Path(__file__).resolve().parents[1]


def test_key_creation_and_tiny_deadlines_do_not_starve_the_others(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(length)) for length in (32, 4096)]
    workers = service.workers()
    calls = callers(service, CLIENTS, re_encrypting, sealed)
    alone: list[float] = []
    beside: list[float] = []
    ends: list[str] = []
    _p99(calls)  # what is warmed up is measured
    for _ in range(ROUNDS):
        alone.append(_p99(calls))
        with disturbed(service, sealed[0], ends):
            beside.append(_p99(calls))
    ratio = statistics.median(beside) / statistics.median(alone)
    print(f"p99 alone {_ms(alone)}, beside the two {_ms(beside)}, {ratio:.2f} times; the two: {ends}")
    assert service.workers() == workers, "a worker was lost"
    assert service.metric("hsm_kms_worker_ends_total") == 0
    for end in map(json.loads, ends):
        assert set(end["create"]) == {"OK"}, ends
        assert sum(end["hurry"].values()) > 50, ends
    assert ratio < FACTOR, (alone, beside)


@contextmanager
def disturbed(service: Service, sealed: Sealed, ends: list[str]) -> Iterator[None]:
    """Let the two disturb for the length of a `with`, from a process of their own."""
    profile = service.profile("disturber")
    names = ("endpoint", "ca_file", "certificate_file", "private_key_file")
    settings = json.dumps({name: str(getattr(profile, name)) for name in names})
    with subprocess.Popen(
        [sys.executable, "-m", "support.disturb", settings, sealed.blob.hex(), "create", "hurry"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "prepared\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        yield
        process.stdin.close()
        ends.append(process.stdout.read())


def _p99(calls: list[Call]) -> float:
    with Load(calls) as load:
        time.sleep(PHASE_S)
    load.assert_no_errors()
    return percentile([sample.seconds for sample in load.samples], 0.99)


def _ms(seconds: list[float]) -> list[int]:
    return [round(1000 * value) for value in seconds]
