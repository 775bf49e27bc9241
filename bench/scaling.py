"""What each further token worker adds where the token is a network HSM: SoftHSM behind a module that waits in each call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.calls import Keys, Maker
from bench.figures import Cell, Results
from bench.programs import build
from bench.subjects import START_S, Endpoint, create_keys, deploy
from support.service import running
from support.softhsm import MODULE, SoftHsm

WAIT_US: Final = 1000
SHORTEST_S: Final = 2.0
"""One slow worker does some 130 rewraps a second: less time would measure the first and the last answers."""
CLIENTS: Final = {"ReEncrypt": 64, "BatchReEncrypt": 4}


def measure(results: Results, folder: Path, token: SoftHsm, counts: Sequence[int], seconds: float, rounds: int) -> None:
    """Measure ReEncrypt, unary and in batches, with each number of workers; each needs a start of the service.

    Args:
        results: Where the samples go.
        folder: For the deployment on the slowed token.
        token: The token behind the slow module.
        counts: Numbers of workers.
        seconds: Length of a measurement.
        rounds: Measurements of each.
    """
    environment = {
        "SOFTHSM2_CONF": str(token.conf), "HSM_KMS_BENCH_MODULE": MODULE, "HSM_KMS_BENCH_WAIT_US": str(WAIT_US),
    }  # fmt: skip
    slowed: dict[str, Any] = {"module": str(build("slow_module.so")), "environment": environment, "spare": False}
    deployment = deploy(folder, token, **slowed, workers=1)
    ids = create_keys(deployment, 2)
    for workers in counts:
        deployment.settings = {**deployment.settings, "token": {**slowed, "workers": workers}}
        deployment.write_config()
        with running(deployment, start_s=START_S) as service:
            service.wait_for_workers(workers + 1)
            maker = Maker(service, Keys(service.client(timeout_s=60.0), ids))
            calls = {operation: maker.make(operation, 32) for operation in CLIENTS}
            for _ in range(rounds):
                for operation, clients in CLIENTS.items():
                    cell = Cell(operation, clients=clients, variant=f"{workers} slow workers")
                    load = partial(Endpoint.of(service).load, calls[operation], clients, max(seconds, SHORTEST_S))
                    results.measure(cell, load)
