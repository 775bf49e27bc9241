"""SIGKILL at each step of creating, rotating, importing and deleting: nothing acknowledged is lost, nothing deleted usable, no orphan."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.helpers import SCOPE, START
from hsmkms.core.errors import IncorrectKeyMaterialException, KMSInvalidStateException, NotFoundException
from hsmkms.core.model import BackingKeyState, KeyState
from life.child import Objects
from life.helpers import DAY_S, Clocks, Front, front

TIMES = 12
CREATION = (
    "before:begin_{}",
    "after:begin_{}",
    "before:generate_backing_key",
    "after:generate_backing_key",
    "before:finish_backing_key",
    "after:finish_backing_key",
)
DELETION = (
    "before:begin_destruction",
    "after:begin_destruction",
    "before:destroy_backing_keys",
    "after:destroy_backing_keys",
    "before:finish_destruction",
    "after:finish_destruction",
)

IMPORT = (
    "before:begin_import",
    "after:begin_import",
    "before:import_key",
    "after:import_key",
    "before:finish_import",
    "after:finish_import",
)
DELETION_OF_IMPORTED = (
    "before:delete_imported",
    "after:delete_imported",
    "before:claim_destruction",
    "after:claim_destruction",
    "before:destroy_backing_keys",
    "after:destroy_backing_keys",
    "before:finish_destruction",
    "after:finish_destruction",
)
FEW = 3
"""Imports cost a key pair each."""


class Children:
    """The process that forks those that are killed."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        self.process = subprocess.Popen(
            [sys.executable, str(here / "child.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(here.parent)},
            text=True,
        )

    def run(self, *order: object) -> tuple[str, int]:
        """Return what the process was answered, or nothing, and how it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*order, file=self.process.stdin, flush=True)
        answered = ""
        while True:
            said, value = self.process.stdout.readline().split()
            if said == "ended":
                return answered, int(value)
            answered = value


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    made = Children()
    with made.process:
        yield made
        assert made.process.stdin is not None
        made.process.stdin.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    folder = tmp_path / "token"
    folder.mkdir()
    return folder


async def recovered(world: Front) -> None:
    """Let the upkeep put everything right, and see that catalog and token agree."""
    world.clocks.pass_seconds(121)
    await world.reconciler.run_once()
    await world.upkeep()
    await world.upkeep()
    report = await world.reconciler.run_once()
    assert (report.unknown, report.missing, report.duplicates, report.stale, report.failed) == ((), (), (), (), ())
    active = {cka for cka, state in (await world.backing_key_states()).items() if state is BackingKeyState.ACTIVE}
    assert {found.cka_id for found in world.token.objects} == active


def is_usable(world: Front, key_id: str) -> bool:
    key = world.catalog.view.key(SCOPE, key_id)
    return (
        key is not None
        and key.state is KeyState.ENABLED
        and all(world.token.canary(key.cka_id(version)) == found.canary for version, found in key.backing_keys.items())
    )


@pytest.mark.parametrize("step", [step.format("key") for step in CREATION])
async def test_creating(children: Children, path: Path, token: Path, clocks: Clocks, step: str) -> None:
    async with front(path, clocks):
        pass
    answers = {}
    for number in range(TIMES):
        answers[f"k{number}"], code = children.run(path, token, clocks.us, "create", step, f"k{number}")
        assert code == -9
    answers["whole"], code = children.run(path, token, clocks.us, "create", "never", "whole")
    assert code == 0
    async with front(path, clocks, Objects(token)) as world:
        await recovered(world)
        for request, answered in answers.items():
            again = (await world.ask("CreateKey", idempotency_key=request)).key_metadata.key_id
            assert answered in ("", again)
            assert is_usable(world, again)
        assert len((await world.ask("ListKeys")).keys) == TIMES + 1
        await recovered(world)


@pytest.mark.parametrize("what", ["rotate", "rotate-by-date"])
@pytest.mark.parametrize("step", [step.format("rotation") for step in CREATION])
async def test_rotating(children: Children, path: Path, token: Path, clocks: Clocks, step: str, what: str) -> None:
    async with front(path, clocks, Objects(token)) as world:
        keys = [(await world.create()).key_id for _ in range(TIMES)]
        blobs = {}
        for key_id in keys:
            blobs[key_id] = (await world.ask("Encrypt", key_id=key_id, plaintext=bytes(16))).ciphertext_blob
            if what == "rotate-by-date":
                await world.ask("EnableKeyRotation", key_id=key_id, rotation_period_in_days=90)
    clocks.us += 90 * DAY_S * 1_000_000
    codes = {children.run(path, token, clocks.us, what, step, key_id, key_id)[1] for key_id in keys}
    assert codes <= {-9, 0}
    assert -9 in codes
    async with front(path, clocks, Objects(token)) as world:
        await recovered(world)
        for key_id in keys:
            if what == "rotate":
                await world.ask("RotateKeyOnDemand", key_id=key_id, idempotency_key=key_id)
            assert is_usable(world, key_id)
            assert len((await world.ask("ListKeyRotations", key_id=key_id)).rotations) == 1
            assert (await world.ask("Decrypt", ciphertext_blob=blobs[key_id])).plaintext
        await recovered(world)


@pytest.mark.parametrize("step", DELETION)
async def test_deleting(children: Children, path: Path, token: Path, clocks: Clocks, step: str) -> None:
    async with front(path, clocks, Objects(token)) as world:
        await world.heartbeat.beat()
        kept = (await world.create()).key_id
        keys = [(await world.create()).key_id for _ in range(TIMES // 2)]
        for key_id in keys:
            await world.ask("RotateKeyOnDemand", key_id=key_id)
            await world.ask("ScheduleKeyDeletion", key_id=key_id, pending_window_in_days=7)
        await world.heartbeat.beat()
        clocks.pass_seconds(7 * DAY_S + 1200)
        await world.heartbeat.beat()
    for _ in range(TIMES):
        _, code = children.run(path, token, clocks.us, "delete", step, "-")
        assert code in (-9, 0)
        async with front(path, clocks, Objects(token)) as world:
            for key_id in keys:
                key = world.catalog.view.key(SCOPE, key_id)
                assert key is None or key.state is KeyState.PENDING_DELETION
                assert key is None or len(world.objects_of(key)) == 2, "it can be cancelled still"
    assert clocks.us > START
    async with front(path, clocks, Objects(token)) as world:
        await world.heartbeat.beat()
        await recovered(world)
        for key_id in keys:
            with pytest.raises(NotFoundException):
                await world.ask("DescribeKey", key_id=key_id)
        assert is_usable(world, kept)
        assert len(world.token.objects) == 1


async def external_keys(world: Front) -> dict[str, bytes]:
    """Make keys without material, and return for each what will be imported."""
    return {(await world.ask("CreateKey", origin="EXTERNAL")).key_metadata.key_id: os.urandom(32) for _ in range(FEW)}


async def reads(world: Front, key_id: str, blob: bytes) -> bool:
    """Say whether a key decrypts; if it does not, it waits for its material."""
    try:
        await world.ask("Decrypt", ciphertext_blob=blob)
    except KMSInvalidStateException:
        assert world.key(key_id).state is KeyState.PENDING_IMPORT
        return False
    return True


@pytest.mark.parametrize("is_there", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("step", IMPORT)
async def test_importing(
    children: Children, path: Path, token: Path, clocks: Clocks, step: str, *, is_there: bool
) -> None:
    """Into a key that waits for its material, and into one that has it and is in use."""
    async with front(path, clocks, Objects(token)) as world:
        keys = await external_keys(world)
        if is_there:
            for key_id, material in keys.items():
                await world.import_into(key_id, material)
    for key_id, material in keys.items():
        assert children.run(path, token, clocks.us, "import", step, material.hex(), key_id) == ("", -9)
    *_, whole = keys
    if not is_there:
        assert children.run(path, token, clocks.us, "import", "never", keys[whole].hex(), whole) == (whole, 0)
    async with front(path, clocks, Objects(token)) as world:
        done = set(keys) if is_there or step == "after:finish_import" else {whole}
        assert {key_id for key_id in keys if is_usable(world, key_id)} == done, "a key in use stays so"
        await recovered(world)
        for key_id, material in keys.items():
            assert (world.key(key_id).state is KeyState.ENABLED) == (key_id in done)
            await world.import_into(key_id, material)
            assert is_usable(world, key_id)
            assert len(world.objects_of(world.key(key_id))) == 1
        await recovered(world)


@pytest.mark.parametrize("step", DELETION_OF_IMPORTED)
async def test_deleting_imported_material(
    children: Children, path: Path, token: Path, clocks: Clocks, step: str
) -> None:
    async with front(path, clocks, Objects(token)) as world:
        keys = await external_keys(world)
        blobs = {}
        for key_id, material in keys.items():
            await world.import_into(key_id, material)
            blobs[key_id] = (await world.ask("Encrypt", key_id=key_id, plaintext=bytes(16))).ciphertext_blob
    for key_id in keys:
        assert children.run(path, token, clocks.us, "delete-imported", step, "-", key_id) == ("", -9)
    async with front(path, clocks, Objects(token)) as world:
        stays = step == "before:delete_imported"
        for key_id, blob in blobs.items():
            assert await reads(world, key_id, blob) == stays
        await recovered(world)
        assert len(world.token.objects) == (FEW if stays else 0)
        for key_id, material in keys.items():
            assert await reads(world, key_id, blobs[key_id]) == stays
            if not stays:
                with pytest.raises(IncorrectKeyMaterialException):
                    await world.import_into(key_id, bytes(32))
            await world.import_into(key_id, material)
            assert await reads(world, key_id, blobs[key_id])
        await recovered(world)
