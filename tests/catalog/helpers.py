"""A small world for the catalog's tests: clocks that are set by hand, a token that refuses as tokens do, and short names."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hsmkms.core.ciphertext import CANARY_BYTES, CKA_ID_BYTES, Suite
from hsmkms.core.creations import Creations
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.model import (
    Alias,
    BackingKey,
    BackingKeyState,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    Scope,
    Tag,
)
from hsmkms.core.ports import Mutation
from hsmkms.core.service_keys import deployment_label
from hsmkms.server.catalog import Catalog, open_catalog
from hsmkms.server.reconciler import Reconciler, Report

SCOPE = Scope("111122223333", "eu-central-1")
OTHER_SCOPE = Scope("444455556666", "eu-central-1")
SQLITE_ONLY = pytest.mark.parametrize("path", ["sqlite"], indirect=True)
"""For tests that look into the file, or do something to it."""
SUITE = Suite.AES_CBC_ENCRYPT_DATA
SECOND = 1_000_000
START = 1_700_000_000 * SECOND
CANARY = bytes(CANARY_BYTES)


@dataclass
class Clocks:
    us: int = START
    seconds: float = 1000.0

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.seconds

    def pass_seconds(self, seconds: float) -> None:
        self.us += int(seconds * SECOND)
        self.seconds += seconds


def url(path: Path | str) -> str:
    return path if isinstance(path, str) else f"sqlite:///{path}"


def opened(path: Path | str, clocks: Clocks | None = None, busy_timeout_s: float | None = None) -> Catalog:
    clocks = clocks or Clocks()
    if busy_timeout_s is None:
        busy_timeout_s = 0.3 if isinstance(path, Path) else 5.0  # a server has to be connected to first
    return open_catalog(
        url(path),
        partition="aws",
        clock_us=clocks.now_us,
        monotonic=clocks.monotonic,
        token="test/0001",
        busy_timeout_s=busy_timeout_s,
    )


@asynccontextmanager
async def running(
    path: Path | str, clocks: Clocks | None = None, busy_timeout_s: float | None = None
) -> AsyncIterator[Catalog]:
    catalog = opened(path, clocks, busy_timeout_s)
    try:
        yield catalog
    finally:
        await catalog.close()


@asynccontextmanager
async def watching(catalog: Catalog) -> AsyncIterator[None]:
    task = asyncio.create_task(catalog.watch())
    try:
        yield
    finally:
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for at most 10 seconds until something is true."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true within 10 seconds")


def new_key(scope: Scope = SCOPE, tags: tuple[Tag, ...] = (), description: str = "", created: int = START) -> KmsKey:
    first = BackingKey(1, SUITE, BackingKeyState.CREATING, b"", "", created)
    return KmsKey(
        scope,
        str(uuid.uuid4()),
        KeyState.CREATING,
        description,
        KeySpec.SYMMETRIC_DEFAULT,
        KeyUsage.ENCRYPT_DECRYPT,
        Origin.AWS_KMS,
        MultiRegionKind.SINGLE,
        0,
        {1: first},
        created,
        created,
        tags=tags,
    )


def mutation(
    operation: str = "CreateKey", key: str | None = None, request: str = "", principal: str = "me"
) -> Mutation:
    return Mutation(SCOPE, principal, operation, key, hashlib.sha256(request.encode()).digest())


def alias_of(key: KmsKey, name: str, created: int = START) -> Alias:
    return Alias(key.scope, f"alias/{name}", key.key_id, created, created)


async def finished_key(catalog: Catalog, scope: Scope = SCOPE) -> KmsKey:
    begun = await catalog.changes.begin_key(mutation(), new_key(scope))
    return await catalog.changes.finish_backing_key(mutation(), begun, CANARY, b"")


@dataclass(frozen=True)
class Object:
    cka_id: bytes
    label: bytes
    value: bytes


def canary_of(found: Object) -> bytes:
    """What an object makes, as far as these tests' tokens go."""
    return (hashlib.sha256(found.value).digest() * 2)[:CANARY_BYTES]


@dataclass
class Token:
    """A token in memory, as one deployment's workers use it.

    Like a token it holds several objects of one CKA_ID without complaint, finds what it is asked for and nothing else, refuses ids
    of a wrong length and every call while it is gone, and never gives a value away: canaries are all that can be seen of a key.
    """

    label: bytes
    objects: list[Object] = field(default_factory=list)
    gone: bool = False
    destroyed: list[Object] = field(default_factory=list)
    made: int = 0

    def of_other(self, label: bytes) -> Token:
        return Token(label, self.objects)

    async def list_backing_keys(self) -> list[tuple[bytes, bytes]]:
        self._require()
        return [(found.cka_id, found.label) for found in self.objects]

    async def generate_backing_key(self, cka_id: bytes, suite: Suite) -> bytes:
        self._require()
        if len(cka_id) != CKA_ID_BYTES or suite is not SUITE:
            raise KeyUnavailableException
        for found in [found for found in self.objects if (found.cka_id, found.label) == (cka_id, self.label)]:
            self.objects.remove(found)
            self.destroyed.append(found)
        await asyncio.sleep(0)
        self.made += 1
        self.objects.append(Object(cka_id, self.label, hashlib.sha256(self.label + bytes([self.made])).digest()))
        return self.canary(cka_id)

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        self._require()
        own = [found for found in self.objects if (found.cka_id, found.label) == (cka_id, self.label)]
        for found in own:
            self.objects.remove(found)
            self.destroyed.append(found)
        return len(own)

    def canary(self, cka_id: bytes) -> bytes:
        """What the one object of that id makes; as on a token, two objects of one id are an error to whoever uses them."""
        (found,) = [found for found in self.objects if (found.cka_id, found.label) == (cka_id, self.label)]
        return canary_of(found)

    def _require(self) -> None:
        if self.gone:
            raise KeyUnavailableException


@dataclass
class Deployment:
    """A catalog, the token it uses, and the reconciler between them."""

    catalog: Catalog
    token: Token
    clocks: Clocks
    creations: Creations
    reconciler: Reconciler
    reports: list[Report]

    async def create(self) -> KmsKey:
        begun = await self.catalog.changes.begin_key(mutation(), new_key(created=self.clocks.us))
        with self.creations.creating(begun):
            canary = await self.token.generate_backing_key(begun.key.cka_id(1), SUITE)
            return await self.catalog.changes.finish_backing_key(mutation(), begun, canary, b"")

    def is_usable(self, key_id: str, version: int = 1) -> bool:
        key = self.catalog.view.key(SCOPE, key_id)
        assert key is not None
        return key.state is KeyState.ENABLED and key.backing_keys[version].canary == self.token.canary(
            key.cka_id(version)
        )


@asynccontextmanager
async def deployed(path: Path | str, clocks: Clocks, objects: list[Object] | None = None) -> AsyncIterator[Deployment]:
    async with running(path, clocks) as catalog:
        token = Token(deployment_label(catalog.deployment_id), [] if objects is None else objects)
        creations = Creations(catalog.view)
        reports: list[Report] = []
        reconciler = Reconciler(catalog, token, creations, clocks, reports.append)
        yield Deployment(catalog, token, clocks, creations, reconciler, reports)


@asynccontextmanager
async def child(path: Path | str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process on the same catalog; killed at the end if it has not ended."""
    here = Path(__file__).parent
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(here / "child.py"),
        str(path),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(here.parent)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process) -> str:
    """The next line that a child says."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()
