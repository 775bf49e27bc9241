"""Rotation by date: on the day, once, by whichever front; and old ciphertexts open for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.helpers import START, Object
from hsmkms.core.errors import DisabledException, KeyUnavailableException, LimitExceededException, ValidationException
from hsmkms.core.model import BackingKeyState, KmsKey, RotationType
from life.helpers import DAY_S, DAY_US, Clocks, Front, front


def day(number: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START + int(number * DAY_US))


async def rotating(world: Front, days: int | None = 90) -> KmsKey:
    key = await world.create()
    await world.ask("EnableKeyRotation", key_id=key.key_id, rotation_period_in_days=days)
    return world.key(key.key_id)


def automatic(world: Front, key: KmsKey) -> int:
    backing_keys = world.key(key.key_id).backing_keys.values()
    return sum(backing_key.rotation_type is RotationType.AUTOMATIC for backing_key in backing_keys)


async def test_the_status_before_during_and_after(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        status = await world.ask("GetKeyRotationStatus", key_id=key.key_id)
        assert (status.key_rotation_enabled, status.rotation_period_in_days, status.next_rotation_date) == (
            False,
            None,
            None,
        )
        await world.ask("EnableKeyRotation", key_id=key.key_id)
        status = await world.ask("GetKeyRotationStatus", key_id=key.key_id)
        assert (status.key_rotation_enabled, status.rotation_period_in_days) == (True, 365)
        assert status.next_rotation_date == day(365)
        clocks.pass_seconds(DAY_S)
        await world.ask("EnableKeyRotation", key_id=key.key_id, rotation_period_in_days=365)
        assert (await world.ask("GetKeyRotationStatus", key_id=key.key_id)).next_rotation_date == day(365)
        await world.ask("EnableKeyRotation", key_id=key.key_id, rotation_period_in_days=90)
        assert (await world.ask("GetKeyRotationStatus", key_id=key.key_id)).next_rotation_date == day(91)
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id)
        status = await world.ask("GetKeyRotationStatus", key_id=key.key_id)
        assert (status.key_rotation_enabled, status.next_rotation_date) == (False, None)
        await world.ask("CancelKeyDeletion", key_id=key.key_id)
        assert (await world.ask("GetKeyRotationStatus", key_id=key.key_id)).next_rotation_date == day(91)
        await world.ask("EnableKey", key_id=key.key_id)
        await world.ask("DisableKeyRotation", key_id=key.key_id)
        assert not (await world.ask("GetKeyRotationStatus", key_id=key.key_id)).key_rotation_enabled


async def test_the_status_tells_a_rotation_on_demand_that_is_under_way(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        world.token.gone = True
        with pytest.raises(KeyUnavailableException):
            await world.ask("RotateKeyOnDemand", key_id=key.key_id)
        status = await world.ask("GetKeyRotationStatus", key_id=key.key_id)
        assert status.on_demand_rotation_start_date == day(0)


@pytest.mark.parametrize("days", [0, 89, 2561])
async def test_a_period_has_ninety_to_2560_days(path: Path, clocks: Clocks, days: int) -> None:
    async with front(path, clocks) as world:
        with pytest.raises(ValidationException, match="rotationPeriodInDays"):
            await rotating(world, days)


async def test_a_key_rotates_on_its_day_and_every_period_thereafter(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await rotating(world)
        still = await world.create()
        blobs = []
        for period in range(1, 4):
            blobs.append((await world.ask("Encrypt", key_id=key.key_id, plaintext=bytes(16))).ciphertext_blob)
            clocks.pass_seconds(90 * DAY_S - 3600)
            await world.scheduler.run_once()
            assert automatic(world, key) == period - 1
            clocks.pass_seconds(3600)
            await world.scheduler.run_once()
            await world.scheduler.run_once()
            assert automatic(world, key) == period
        for blob in blobs:
            assert (await world.ask("Decrypt", ciphertext_blob=blob)).plaintext
        listed = (await world.ask("ListKeyRotations", key_id=key.key_id)).rotations
        assert [entry.rotation_type for entry in listed] == ["AUTOMATIC"] * 3
        assert [entry.rotation_date for entry in listed] == [day(90), day(180), day(270)]
        assert automatic(world, still) == 0


async def test_rotations_on_demand_are_limited_and_leave_the_dates_alone(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await rotating(world)
        clocks.pass_seconds(90 * DAY_S)
        await world.scheduler.run_once()
        for _ in range(25):
            await world.ask("RotateKeyOnDemand", key_id=key.key_id)
        with pytest.raises(LimitExceededException):
            await world.ask("RotateKeyOnDemand", key_id=key.key_id)
        assert (await world.ask("GetKeyRotationStatus", key_id=key.key_id)).next_rotation_date == day(180)
        clocks.pass_seconds(90 * DAY_S)
        await world.scheduler.run_once()
        assert automatic(world, key) == 2


@pytest.mark.parametrize("operation", ["DisableKey", "ScheduleKeyDeletion"])
async def test_a_key_that_cannot_be_used_rotates_when_it_can_again(path: Path, clocks: Clocks, operation: str) -> None:
    async with front(path, clocks) as world:
        key = await rotating(world)
        await world.ask(operation, key_id=key.key_id)
        clocks.pass_seconds(200 * DAY_S)
        await world.scheduler.run_once()
        assert automatic(world, key) == 0
        with pytest.raises(Exception, match=r"disabled|pending"):
            await world.ask("EnableKeyRotation", key_id=key.key_id)
        if operation == "ScheduleKeyDeletion":
            await world.ask("CancelKeyDeletion", key_id=key.key_id)
            with pytest.raises(DisabledException):
                await world.ask("DisableKeyRotation", key_id=key.key_id)
        await world.ask("EnableKey", key_id=key.key_id)
        await world.scheduler.run_once()
        await world.scheduler.run_once()
        assert automatic(world, key) == 1
        assert (await world.ask("GetKeyRotationStatus", key_id=key.key_id)).next_rotation_date == day(270)


async def test_several_fronts_at_once_rotate_once(path: Path, clocks: Clocks) -> None:
    objects: list[Object] = []
    async with (
        front(path, clocks, objects) as one,
        front(path, clocks, objects) as two,
        front(path, clocks, objects) as three,
    ):
        fronts = (one, two, three)
        keys = [await rotating(one) for _ in range(5)]
        for period in range(1, 4):
            clocks.pass_seconds(90 * DAY_S)
            for world in fronts:
                await world.catch_up()
            await asyncio.gather(*(world.scheduler.run_once() for world in fronts))
            await one.catch_up()
            assert [automatic(one, key) for key in keys] == [period] * 5
        assert sum(len(found.rotated) for world in fronts for found in world.rotations) == 15
        assert len(objects) == 5 * 4


async def test_a_front_whose_clock_is_a_month_ahead_rotates_nothing_twice(path: Path, clocks: Clocks) -> None:
    objects: list[Object] = []
    ahead = Clocks(clocks.us + 30 * DAY_US)
    async with front(path, clocks, objects) as right, front(path, ahead, objects) as wrong:
        key = await rotating(right, 90)
        for _ in range(200):
            for world in (right, wrong):
                world.clocks.pass_seconds(DAY_S)
                await world.catch_up()
                await world.upkeep()
        await right.catch_up()
        assert automatic(right, key) == 2  # days 90 and 180, each a month early by the wrong clock, and not again


@pytest.mark.parametrize("jump_days", [30, 1000, -30])
async def test_a_clock_that_jumps_there_and_back_rotates_at_most_once(
    path: Path, clocks: Clocks, jump_days: int
) -> None:
    async with front(path, clocks) as world:
        key = await rotating(world)
        clocks.pass_seconds(80 * DAY_S)
        for _ in range(5):
            clocks.us += jump_days * DAY_US
            await world.scheduler.run_once()
            clocks.us -= jump_days * DAY_US
            await world.scheduler.run_once()
        assert automatic(world, key) == (1 if jump_days > 0 else 0)


async def test_a_rotation_that_the_token_fails_is_finished_by_the_reconciler(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await rotating(world)
        clocks.pass_seconds(90 * DAY_S)
        world.token.gone = True
        await world.scheduler.run_once()
        assert world.rotations[-1].failed
        world.token.gone = False
        clocks.pass_seconds(121)
        await world.scheduler.run_once()
        await world.reconciler.run_once()
        rotated = world.key(key.key_id)
        assert {backing_key.state for backing_key in rotated.backing_keys.values()} == {BackingKeyState.ACTIVE}
        assert rotated.current_version == 2
