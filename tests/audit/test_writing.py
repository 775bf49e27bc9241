"""The audit log on the disk: what is there when, and what happens when the disk does not take it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hsmkms.core.audit import Chain, Event
from hsmkms.core.audit_verification import Report, verify
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.model import Scope
from hsmkms.server.audit import AuditLog
from hsmkms.server.audit.files import ChainFiles, last_records, make_folder

SCOPE = Scope("111122223333", "eu-central-1")


class Counts:
    """An observer that counts."""

    def __init__(self) -> None:
        self.records = self.lost = self.failures = 0

    def audit_recorded(self, kind: str) -> None:
        del kind
        self.records += 1

    def audit_lost(self) -> None:
        self.lost += 1

    def audit_failed(self) -> None:
        self.failures += 1


class Disk:
    """A disk that can be filled: it takes `room` bytes more, then part of a write and no more."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.broken_flush = False

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        piece = data[: self.room]
        self.room -= len(piece)
        return os.pwrite(descriptor, piece, offset)

    def flush(self, descriptor: int) -> None:
        if self.broken_flush:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(descriptor)


class Bench:
    """A log in a folder, on a disk of its own."""

    def __init__(self, folder: Path, *, max_file_bytes: int = 1 << 20, max_pending_bytes: int = 1 << 20) -> None:
        self.folder = folder
        self.disk = Disk()
        self.counts = Counts()
        chain = Chain(os.urandom(16).hex())
        files = ChainFiles(folder, chain.chain_id, max_file_bytes, write=self.disk.write, flush=self.disk.flush)
        files.begin_next()
        self.log = AuditLog(chain, files, lambda: 0, self.counts, max_pending_bytes=max_pending_bytes)
        self.log.start({"deploymentId": "d"})
        self.number = 0

    def record(self, operation: str = "Decrypt", error: str = "") -> int:
        self.number += 1
        return self.log.record(
            Event(operation, f"request {self.number}", "e", self.number, "aws", SCOPE, error_code=error)
        )

    async def close(self) -> None:
        async def mac(digest: bytes) -> bytes:
            return digest

        await self.log.close(mac)

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def report(self) -> Report:
        return verify([(path.name, path.read_bytes().splitlines(keepends=True)) for path in self.files()])

    def requests(self) -> list[str]:
        lines = b"".join(path.read_bytes() for path in self.files()).splitlines()
        return [record["requestID"] for record in map(json.loads, lines) if record["recordType"] == "request"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a thread and in files
            await asyncio.sleep(0.01)


async def test_a_settled_record_is_in_the_file(bench: Bench) -> None:
    number = bench.record("CreateAlias")
    await bench.log.settle(number)
    assert bench.requests() == ["request 1"]
    assert bench.files()[0].stat().st_mode & 0o777 == 0o600


async def test_other_records_follow_without_anybody_waiting(bench: Bench) -> None:
    bench.record()
    await until(lambda: bench.requests() == ["request 1"])
    await until(lambda: bench.log.pending_bytes == 0)


async def test_a_chain_over_several_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_file_bytes=4096)
    for _ in range(40):
        await bench.log.settle(bench.record("CreateAlias"))
    await bench.close()
    assert len(bench.files()) > 3
    assert all(path.stat().st_size <= 4096 for path in bench.files())
    assert len(bench.requests()) == 40
    assert bench.report().findings == []


async def test_a_full_disk_refuses_and_recovers_and_loses_nothing(bench: Bench) -> None:
    await bench.log.settle(bench.record("CreateAlias"))
    bench.disk.room = 300  # less than a record: a part of one is written
    bench.record()
    await until(lambda: bench.log.trouble)
    assert bench.log.trouble == "the audit log cannot be written"
    assert bench.files()[0].read_bytes().endswith(b"}\n"), "no part of a record is left"
    for operation in ("Decrypt", "ReEncrypt", "GenerateRandom", "CreateKey", "ScheduleKeyDeletion"):
        with pytest.raises(KeyUnavailableException) as refused:
            bench.log.require(operation)
        assert str(bench.folder) not in refused.value.message
    bench.log.require("DescribeKey")
    bench.record(error="KeyUnavailableException")

    bench.disk.room = 1 << 40
    await until(lambda: not bench.log.trouble)
    bench.log.require("Decrypt")
    await bench.log.settle(bench.record("CreateAlias"))
    assert bench.requests() == [f"request {number}" for number in range(1, 5)]
    assert bench.report().findings == []
    assert bench.counts.failures > 0


async def test_a_failed_flush_writes_again_what_may_be_missing(bench: Bench) -> None:
    await bench.log.settle(bench.record("CreateAlias"))
    bench.disk.broken_flush = True
    waiting = asyncio.create_task(bench.log.settle(bench.record("CreateAlias")))
    await until(lambda: bench.log.trouble)
    assert not waiting.done(), "what is not durable is not told to be"
    bench.disk.broken_flush = False
    await waiting
    assert bench.requests() == ["request 1", "request 2"]
    assert bench.report().findings == []


async def test_a_change_that_cannot_be_recorded_in_time_is_not_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsmkms.server.audit.log.STALL_S", 0.2)
    bench.disk.room = 0
    with pytest.raises(KeyUnavailableException, match="may have been carried out"):
        await bench.log.settle(bench.record("CreateAlias"))
    bench.disk.room = 1 << 40


async def test_refusals_beyond_the_bound_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_pending_bytes=3000)
    bench.disk.room = 0
    while not bench.log.pending_bytes >= 3000:
        bench.record()
    carried_out = bench.number
    with pytest.raises(KeyUnavailableException):
        bench.log.require("DescribeKey")
    for _ in range(5):
        bench.record(error="KeyUnavailableException")
    assert bench.counts.lost == 5
    bench.record()  # was carried out already when the bound was reached
    bench.disk.room = 1 << 40
    await until(lambda: not bench.log.trouble)
    bench.record()
    await bench.close()
    assert len(bench.requests()) == carried_out + 2
    lost = [json.loads(line) for line in bench.files()[0].read_bytes().splitlines() if b'"lost"' in line]
    assert [record["refusedRequests"] for record in lost] == [5]
    assert bench.report().findings == []


async def test_a_file_that_was_moved_away_is_followed_by_a_new_one(bench: Bench, tmp_path: Path) -> None:
    await bench.log.settle(bench.record("CreateAlias"))
    bench.files()[0].rename(tmp_path / "audit-0-moved.jsonl")
    await bench.log.settle(bench.record("CreateAlias"))
    assert len(bench.files()) == 2
    assert bench.requests() == ["request 1", "request 2"]
    assert bench.report().findings == []


async def test_the_next_chain_finds_where_the_last_one_stood(tmp_path: Path) -> None:
    make_folder(tmp_path / "audit")
    first = Bench(tmp_path / "audit")
    await first.log.settle(first.record("CreateAlias"))
    await first.close()
    with first.files()[0].open("ab") as file:
        file.write(b'{"chainId":"torn')
    [(name, line)] = last_records(tmp_path / "audit")
    assert name == first.files()[0].name
    assert json.loads(line)["recordType"] == "anchor"


async def test_anchors_come_while_there_is_something_new(bench: Bench) -> None:
    digests: list[bytes] = []

    async def mac(digest: bytes) -> bytes:
        digests.append(digest)
        if len(digests) == 1:
            raise KeyUnavailableException("the token is away")
        return b"m" * 40

    task = asyncio.create_task(bench.log.run(mac, 0.05))
    bench.record()
    await until(lambda: len(digests) == 2)
    await asyncio.sleep(0.3)
    assert len(digests) == 2, "nothing new, no anchor"
    bench.record()
    await until(lambda: len(digests) == 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: the kernel itself refuses to write on."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bench = Bench(tmp_path)
    try:
        await bench.log.settle(bench.record("CreateAlias"))
        size = bench.files()[0].stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, before[1]))
        bench.record()
        await until(lambda: bench.log.trouble)
        assert bench.files()[0].stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    await until(lambda: not bench.log.trouble)
    await bench.close()
    assert len(bench.requests()) == 2
    assert bench.report().findings == []
