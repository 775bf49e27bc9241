"""A command that workers die of: it is tried on one more worker and then refused, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hsmkms.core.commands import Outcome, Random
from hsmkms.core.errors import KMSInternalException
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.server.token.pool import PoolSettings, TokenPool
from support.softhsm import make_token

WAIT_S = 20.0


class Ends:
    """Notes which workers ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def worker_started(self, name: str, milliseconds: float) -> None:
        pass

    def worker_ended(self, name: str, reason: str) -> None:
        self.ended.append(name)

    def statistics(self, worker: str, statistics: WorkerStatistics) -> None:
        pass


@pytest.fixture
async def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[TokenPool, Ends]]:
    """A pool of two crypto workers, an admin worker and a spare; nobody asks for their counters meanwhile."""
    monkeypatch.setattr("hsmkms.server.token.pool.STATISTICS_INTERVAL_S", 1e9)
    softhsm = make_token(tmp_path / "softhsm")
    ends = Ends()
    pool = TokenPool(PoolSettings(softhsm.settings(), {"SOFTHSM2_CONF": str(softhsm.conf)}), ends)
    try:
        await pool.start()
        await until(lambda: len(pool.pids) == 4, "four workers")
        yield pool, ends
    finally:
        await pool.close()


async def until(condition, what: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    assert condition(), what


async def test_what_two_workers_died_of_is_refused_and_costs_no_third(pool: tuple[TokenPool, Ends]) -> None:
    workers, ends = pool
    before = dict(workers.pids)
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)  # so that the command is at the head of a pipe for as long as it takes
    deadly = asyncio.create_task(workers.submit(Random(16), principal="poisoner"))
    for deaths in (1, 2):
        await until(lambda: _holder(workers) is not None, "the command at a worker")
        holder = _holder(workers)
        os.kill(holder.pid, signal.SIGKILL)
        await until(lambda: len(ends.ended) == deaths, "the worker's end")  # noqa: B023 - awaited at once
    for name, pid in before.items():
        if name not in ends.ended:
            os.kill(pid, signal.SIGCONT)
    with pytest.raises(KMSInternalException) as refused:
        await asyncio.wait_for(deadly, WAIT_S)
    assert refused.value.detail == "two token workers died of it"
    assert len(ends.ended) == 2
    assert (await workers.submit(Random(16), principal="somebody else")).outcome is Outcome.OK


def _holder(pool: TokenPool):
    """Return the crypto worker that has a command of a caller's, or None."""
    crypto = [worker for worker in pool.roster.active if worker.is_alive]
    return next((worker for worker in crypto if worker.commands and isinstance(worker.commands[0], Random)), None)
