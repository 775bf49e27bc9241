"""A deployment with as many keys as wanted, and what they cost: requests, requests while keys are created, start, memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.calls import Keys, Maker
from bench.figures import BenchError, Cell, Results
from bench.subjects import START_S, Endpoint, deploy
from bench.usage import children, cpu_seconds, resident_bytes
from hsmkms.client import Client
from support.service import Deployment, Service, eventually, running
from support.softhsm import SoftHsm, make_folder, make_token

USED_KEYS: Final = 250
"""Keys that requests are spread over, evenly chosen among all."""
FILL_S: Final = 300.0
READY_S: Final = 120.0
CLIENTS: Final = 16


def filled_token(folder: Path, count: int) -> SoftHsm:
    """Make a token folder whose token has so many backing keys. They are made in memory, where the machine offers that, and moved."""
    memory = Path("/dev/shm")  # noqa: S108  # SoftHSM writes each object many times; nothing secret outlives the bench
    with tempfile.TemporaryDirectory(
        prefix="hsm-kms-bench-", dir=memory if os.access(memory, os.W_OK) else None
    ) as name:
        made = make_token(Path(name) / "softhsm")
        _run([sys.executable, "-m", "bench.fill", made.settings().to_json().decode(), str(count)], made)
        token = make_folder(folder)
        shutil.copytree(made.tokens, token.tokens, dirs_exist_ok=True)
    return token


def filled_deployment(folder: Path, count: int, workers: int) -> Deployment:
    """Make a deployment whose token and catalog have so many keys, all of them disabled."""
    deployment = deploy(folder, filled_token(folder / "softhsm", count), workers=workers)
    rebuild = [sys.executable, "-m", "hsmkms.server.cli", "catalog", "rebuild", "--config", str(deployment.config_file)]
    _run(rebuild, deployment.token)
    return deployment


def _run(command: list[str], token: SoftHsm) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=token.environment(), timeout=FILL_S, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[2:5])}: {done.stderr.strip()[-500:]}")


def enabled_keys(client: Client, count: int) -> Keys:
    """Enable so many keys, evenly chosen among all."""
    ids = [entry.key_id for entry in client.iterate_keys(limit=1000)]
    chosen = ids[:: max(1, len(ids) // count)][:count]
    for key_id in chosen:
        client.enable_key(key_id=key_id)
    return Keys(client, chosen)


class ManyKeys:
    """A running service with many keys.

    Args:
        service: The service.
        count: How many keys it has.
    """

    def __init__(self, service: Service, count: int) -> None:
        self._service = service
        self._count = count
        self._endpoint = Endpoint.of(service)
        pid = service.process.pid
        self._at_rest = resident_bytes(pid), max(map(resident_bytes, children(pid)))
        self._calls = Maker(service, enabled_keys(service.client(timeout_s=60.0), USED_KEYS), USED_KEYS).make(
            "ReEncrypt", 32
        )

    def measure(self, results: Results, seconds: float, *, creating: bool) -> None:
        """Measure ReEncrypt, also while keys are created.

        The requests are for keys that every active worker has, so all that the admin worker does is to make keys. That is not part of a
        ReEncrypt: it does not count, and is noted by itself, for each key.
        """
        (admin,) = [pid for name, pid in self._service.workers().items() if name.startswith("admin")]
        variant = f"{self._count:,} keys" + (", creating" if creating else "")
        with _creating(self._service) if creating else _nothing() as created:
            began, used_before = time.monotonic(), cpu_seconds(admin)
            results.measure(
                Cell("ReEncrypt", clients=CLIENTS, variant=variant),
                lambda: self._endpoint.load(self._calls, CLIENTS, seconds, without={admin}),
            )
            if creating:
                results.facts[f"created per second/{self._count}"] = created[0] / (time.monotonic() - began)
                if created[0]:
                    used_ms = (cpu_seconds(admin) - used_before) * 1000
                    results.facts[f"creation milliseconds/{self._count}"] = used_ms / created[0]

    def facts(self, results: Results) -> None:
        """Note the memory at rest, and look at the time that a new worker takes: one is killed for it."""
        pids = self._service.workers()
        results.facts["many keys"] = self._count
        results.facts[f"front bytes/{self._count}"], results.facts[f"worker bytes/{self._count}"] = self._at_rest
        victim = next(name for name in pids if name.startswith("crypto"))
        began = time.monotonic()
        os.kill(pids[victim], signal.SIGKILL)
        eventually(lambda: set(self._service.workers()) - set(pids), READY_S, "a new worker")
        results.facts[f"worker ready seconds/{self._count}"] = time.monotonic() - began


@contextmanager
def running_with(folder: Path, count: int, workers: int) -> Iterator[ManyKeys]:
    """Run a service with so many keys, for the length of a `with`."""
    with running(filled_deployment(folder, count, workers), start_s=START_S) as service:
        service.wait_for_workers(workers + 2)
        yield ManyKeys(service, count)


@contextmanager
def _nothing() -> Iterator[list[int]]:
    yield [0]


@contextmanager
def _creating(service: Service) -> Iterator[list[int]]:
    """Create one key after the other; the list's one number counts them."""
    created, stop = [0], threading.Event()
    client = service.client("creator", timeout_s=60.0)

    def create() -> None:
        while not stop.is_set():
            with suppress(Exception):  # the bench counts what was created
                client.create_key(description="one of many")
                created[0] += 1

    thread = threading.Thread(target=create)
    thread.start()
    try:
        yield created
    finally:
        stop.set()
        thread.join()
