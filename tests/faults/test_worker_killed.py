"""A token worker is killed every two seconds for a minute, under load: nobody notices."""

from __future__ import annotations

import os
import random
import signal
import time

from support.load import Load, callers, make_keys, re_encrypting_and_reading, seal
from support.service import Service, eventually

WORKERS = 4
CLIENTS = 16
MINUTE_S = 60.0
EVERY_S = 2.0


def test_a_worker_killed_every_two_seconds_costs_no_caller_an_error(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(length), number=str(length)) for length in (16, 32, 256, 1, 13, 100, 4096)]
    chance = random.Random(4711)
    killed: list[str] = []
    back_after: list[float] = []
    with Load(callers(service, CLIENTS, re_encrypting_and_reading, sealed)) as load:
        end = time.monotonic() + MINUTE_S
        tick = time.monotonic()
        while (tick := tick + EVERY_S) <= end:
            workers = service.workers()
            # The admin worker has nothing to do in this load; killing it too often would spare the others.
            name = chance.choice([name for name in workers if name.startswith("crypto")] * 3 + list(workers))
            killed.append(name)
            began = time.monotonic()
            os.kill(workers[name], signal.SIGKILL)
            eventually(
                lambda gone=name: gone not in (now := service.workers()) and len(now) == WORKERS,
                EVERY_S,
                f"the return of a worker after {name} was killed",
            )
            back_after.append(time.monotonic() - began)
            time.sleep(max(0.0, tick - time.monotonic()))
    load.assert_no_errors()
    assert len(killed) >= MINUTE_S / EVERY_S - 1
    eventually(
        lambda: service.metric("hsm_kms_worker_ends_total", reason="died") == len(killed), what="the count of the dead"
    )
    assert service.is_ready()
    print(
        f"{load.count()} re-encryptions, {len(killed)} workers killed, back after {max(back_after):.2f} s at the most,"
        f" {max(sample.seconds for sample in load.samples):.2f} s the slowest call"
    )
