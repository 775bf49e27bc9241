"""New keys in the pool: usable at once, without a search, and with the other workers soon, by few searches."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.commands import KeyRef, Result, Statistics
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import (
    GenerateKeyPair,
    KeyPairRef,
    Mac,
    MacHash,
    MacKeyRef,
    PairSpec,
    PairUse,
    Sign,
    Signing,
)
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.server.token.jobs import Job
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.port import WorkerToken
from support.sealing import encrypt, sealed
from support.simulator import call_of
from support.softhsm import make_token

WAIT_S = 20.0
CALL = call_of()
SUITE = Suite.AES_CBC_ENCRYPT_DATA


class Silent:
    """An observer of the pool that keeps nothing."""

    def worker_started(self, name: str, milliseconds: float) -> None:
        pass

    def worker_ended(self, name: str, reason: str) -> None:
        pass

    def statistics(self, worker: str, statistics: WorkerStatistics) -> None:
        pass


class Running:
    """A pool of two active workers, a spare and an admin worker on a token of its own."""

    def __init__(self, pool: TokenPool, token: WorkerToken) -> None:
        self.pool = pool
        self.token = token

    async def key(self) -> KeyRef:
        identifier = cka_id(os.urandom(16), 1)
        return KeyRef(identifier, SUITE, await self.token.generate_backing_key(identifier, SUITE))

    async def round_trip(self, key: KeyRef) -> None:
        command = encrypt(key, b"0123456789abcdef")
        made = sealed(command, await self.token.encrypt(CALL, command))
        assert await self.token.decrypt(CALL, made.decrypt()) == b"0123456789abcdef"

    async def searches(self, *, by_admin: bool = True) -> int:
        """Return how many searches the workers have begun."""
        total = 0
        for worker in self.pool.roster.everybody():
            if by_admin or worker is not self.pool.roster.admin:
                counted: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
                worker.send(Job(Statistics(), counted, ""))
                total += WorkerStatistics.from_json((await counted).value).calls["C_FindObjectsInit"].count
        return total

    def is_with_all(self, *keys: KeyRef) -> bool:
        """Whether each crypto worker has them."""
        roster = self.pool.roster
        crypto = [*roster.active, *([roster.spare] if roster.spare else [])]
        return len(crypto) == 3 and all(worker.keys.issuperset([key.cka_id for key in keys]) for worker in crypto)

    def is_with_crypto(self, key: KeyRef) -> bool:
        """Whether any crypto worker has it."""
        roster = self.pool.roster
        return any(key.cka_id in worker.keys for worker in [*roster.active, roster.spare] if worker is not None)


@pytest.fixture
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A pool in which nobody asks for counters but the test."""
    monkeypatch.setattr("hsmkms.server.token.pool.STATISTICS_INTERVAL_S", 1e9)
    softhsm = make_token(tmp_path / "softhsm")
    pool = TokenPool(PoolSettings(softhsm.settings(), softhsm.variables), Silent())
    try:
        description = await pool.start()
        await until(lambda: len(pool.pids) == 4, "four workers")
        features = TokenFeatures.from_capabilities(description.capabilities)
        yield Running(pool, WorkerToken(pool, SUITE, b"hsm-kms/new-keys", features))
    finally:
        await pool.close()


@pytest.fixture
async def unhurried(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """A pool whose workers have learnt one key, and rest from that until a key is asked for."""
    first = await running.key()
    await until(lambda: running.is_with_all(first), "the first key with every worker")
    monkeypatch.setattr("hsmkms.server.token.key_places.REST_OTHERWISE", 1e9)
    return running


async def until(condition, what: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    assert condition(), what


async def test_a_new_key_serves_at_once_and_nobody_searches_for_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await running.key()
    await until(lambda: running.is_with_all(old), "the old key with every worker")
    for rest in ("REST_WAITED_FOR", "REST_IN_DEMAND", "REST_OTHERWISE"):  # the others may learn it afterwards
        monkeypatch.setattr(f"hsmkms.server.token.key_places.{rest}", 1e9)
    new, identifier = await running.key(), cka_id(os.urandom(16), 1)
    mac_key = MacKeyRef(identifier, await running.token.generate_mac_key(identifier, 32))
    before = await running.searches()
    await running.round_trip(new)
    command = encrypt(old, b"0123456789abcdef")
    made = sealed(command, await running.token.encrypt(CALL, command))
    rewrap, header = made.rewrap(new)
    moved = made.rewrapped(new, header, await running.token.rewrap(CALL, rewrap))
    assert await running.token.decrypt(CALL, moved.decrypt()) == b"0123456789abcdef"
    assert len(await running.token.mac(CALL, Mac(mac_key, MacHash.SHA_256, b"message"))) == 32
    assert await running.searches() == before
    assert not running.is_with_crypto(new)


async def test_keys_that_nobody_has_asked_for_are_learnt_together(unhurried: Running) -> None:
    before = await unhurried.searches(by_admin=False)
    keys = [await unhurried.key() for _ in range(20)]
    assert await unhurried.searches(by_admin=False) == before
    await unhurried.round_trip(keys[0])
    await until(lambda: unhurried.is_with_all(*keys), "every key with every worker")
    assert await unhurried.searches(by_admin=False) - before <= 3


async def test_a_new_key_that_is_in_use_reaches_every_active_worker(unhurried: Running) -> None:
    key = await unhurried.key()
    assert not unhurried.is_with_crypto(key)
    async with asyncio.timeout(WAIT_S):
        while not all(key.cka_id in worker.keys for worker in unhurried.pool.roster.active):
            await unhurried.round_trip(key)


async def test_a_new_key_is_used_while_its_maker_is_at_an_rsa_key(unhurried: Running) -> None:
    key = await unhurried.key()
    admin = unhurried.pool.roster.admin
    assert admin is not None
    pair = cka_id(os.urandom(16), 1)
    generation = asyncio.create_task(unhurried.token.generate_key_pair(pair, PairSpec.RSA_4096, PairUse.SIGN))
    await until(lambda: any(isinstance(one, GenerateKeyPair) for one in admin.commands), "the generation")
    os.kill(admin.pid, signal.SIGSTOP)  # so that it takes as long as this takes
    try:
        await asyncio.wait_for(unhurried.round_trip(key), WAIT_S)
    finally:
        os.kill(admin.pid, signal.SIGCONT)
    made = KeyPairRef(pair, PairSpec.RSA_4096, PairUse.SIGN, await asyncio.wait_for(generation, 60))
    assert len(await unhurried.token.sign(CALL, Sign(made, Signing.RSASSA_PSS_SHA_256, bytes(32)))) == 512


async def test_what_only_a_dead_admin_worker_had_is_found_again(unhurried: Running) -> None:
    keys = [await unhurried.key() for _ in range(2)]
    admin = unhurried.pool.roster.admin
    assert admin is not None
    assert not any(map(unhurried.is_with_crypto, keys))
    os.kill(admin.pid, signal.SIGKILL)
    for key in keys:
        await asyncio.wait_for(unhurried.round_trip(key), WAIT_S)
    await until(lambda: len(unhurried.pool.pids) == 4, "a new admin worker")
    assert unhurried.pool.roster.admin is not admin


async def test_a_new_key_that_is_destroyed_is_gone_for_its_maker_too(unhurried: Running) -> None:
    key = await unhurried.key()
    await unhurried.round_trip(key)
    assert await unhurried.token.destroy_backing_keys(key.cka_id) == 1
    with pytest.raises(KeyUnavailableException):
        await unhurried.round_trip(key)


async def test_a_key_that_is_made_anew_replaces_the_old_one_everywhere(running: Running) -> None:
    old = await running.key()
    await until(lambda: running.is_with_all(old), "the old key with every worker")
    new = KeyRef(old.cka_id, SUITE, await running.token.generate_backing_key(old.cka_id, SUITE))
    assert new.canary != old.canary
    await until(lambda: running.is_with_all(new), "the new key with every worker")
    await asyncio.gather(*(running.round_trip(new) for _ in range(50)))
