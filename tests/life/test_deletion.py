"""Scheduling, cancelling, and the end of a key: only after its waiting period has really passed, and then entirely."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.helpers import START, Object
from hsmkms.core.errors import (
    AccessDeniedException,
    DisabledException,
    KMSInvalidStateException,
    NotFoundException,
    ValidationException,
)
from hsmkms.core.model import BackingKeyState, KeyState
from hsmkms.core.service_keys import deployment_label
from life.helpers import DAY_US, Clocks, front


def at(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


async def test_a_scheduled_key_is_unusable_at_once_and_says_until_when(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        blob = (await world.ask("Encrypt", key_id=key.key_id, plaintext=bytes(16))).ciphertext_blob
        answer = await world.ask("ScheduleKeyDeletion", key_id=key.key_id)
        arn = f"arn:aws:kms:eu-central-1:111122223333:key/{key.key_id}"
        assert (answer.key_id, answer.key_state, answer.pending_window_in_days) == (arn, "PendingDeletion", 30)
        assert answer.deletion_date == at(START + 30 * DAY_US)
        described = (await world.ask("DescribeKey", key_id=key.key_id)).key_metadata
        assert (described.key_state, described.enabled) == ("PendingDeletion", False)
        assert described.deletion_date == answer.deletion_date
        for operation, members in (
            ("Encrypt", {"key_id": key.key_id, "plaintext": b"x"}),
            ("Decrypt", {"ciphertext_blob": blob}),
        ):
            with pytest.raises(KMSInvalidStateException) as refused:
                await world.ask(operation, **members)
            assert refused.value.message == f"{arn} is pending deletion."
        with pytest.raises(KMSInvalidStateException):
            await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)


@pytest.mark.parametrize("days", [0, 6, 31, -1])
async def test_a_waiting_period_has_seven_to_thirty_days(path: Path, clocks: Clocks, days: int) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        with pytest.raises(ValidationException) as refused:
            await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=days)
        assert f"Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint" in refused.value.message


async def test_a_cancelled_deletion_leaves_a_disabled_key_that_can_be_enabled(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        blob = (await world.ask("Encrypt", key_id=key.key_id, plaintext=bytes(16))).ciphertext_blob
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.live(6)
        answer = await world.ask("CancelKeyDeletion", key_id=key.key_id)
        assert answer.key_id.endswith(key.key_id)
        cancelled = world.key(key.key_id)
        assert (cancelled.state, cancelled.deletion_date, cancelled.pending_window_days) == (
            KeyState.DISABLED,
            None,
            None,
        )
        with pytest.raises(DisabledException):
            await world.ask("Decrypt", ciphertext_blob=blob)
        await world.live(30)
        await world.ask("EnableKey", key_id=key.key_id)
        assert (await world.ask("Decrypt", ciphertext_blob=blob)).plaintext
        assert world.token.destroyed == []


async def test_the_same_schedule_sent_twice_has_one_effect_and_one_answer(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        first = await world.ask("ScheduleKeyDeletion", key_id=key.key_id, idempotency_key="k")
        clocks.pass_seconds(3600)
        assert await world.ask("ScheduleKeyDeletion", key_id=key.key_id, idempotency_key="k") == first
        await world.ask("CancelKeyDeletion", key_id=key.key_id, idempotency_key="c")
        await world.ask("CancelKeyDeletion", key_id=key.key_id, idempotency_key="c")
        assert world.key(key.key_id).state is KeyState.DISABLED


async def test_after_its_waiting_period_a_key_is_gone_and_so_is_all_that_it_had(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        await world.heartbeat.beat()
        kept, key = await world.create(), await world.create()
        await world.ask("RotateKeyOnDemand", key_id=key.key_id)
        await world.ask("CreateAlias", alias_name="alias/gone", target_key_id=key.key_id)
        await world.ask("CreateAlias", alias_name="alias/kept", target_key_id=kept.key_id)
        blob = (await world.ask("Encrypt", key_id=key.key_id, plaintext=bytes(16))).ciphertext_blob
        await world.keeper.write()
        foreign = Object(key.cka_id(1), deployment_label(world.catalog.deployment_id)[:-1] + b"x", b"theirs")
        world.token.objects.append(foreign)
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)

        await world.live(7)
        assert world.key(key.key_id).state is KeyState.PENDING_DELETION
        await world.live(0.1)
        with pytest.raises(NotFoundException) as refused:
            await world.ask("DescribeKey", key_id=key.key_id)
        assert refused.value.message == (f"Key 'arn:aws:kms:eu-central-1:111122223333:key/{key.key_id}' does not exist")
        with pytest.raises(NotFoundException):
            await world.ask("CancelKeyDeletion", key_id=key.key_id)
        with pytest.raises(NotFoundException):
            await world.ask("DescribeKey", key_id="alias/gone")
        with pytest.raises(AccessDeniedException):
            await world.ask("Decrypt", ciphertext_blob=blob)
        assert [entry.key_id for entry in (await world.ask("ListKeys")).keys] == [kept.key_id]
        assert [entry.alias_name for entry in (await world.ask("ListAliases")).aliases] == ["alias/kept"]
        assert world.objects_of(key) == [foreign]
        states = await world.backing_key_states()
        assert [states[key.cka_id(version)] for version in (1, 2)] == [BackingKeyState.DESTROYED] * 2
        assert (await world.reconciler.run_once()).unknown == ()
        await world.ask("CreateAlias", alias_name="alias/gone", target_key_id=kept.key_id)
    async with front(path, clocks, world.token.objects) as world:
        with pytest.raises(NotFoundException):
            await world.ask("DescribeKey", key_id=key.key_id)
        assert world.catalog.view.key_by_uuid(key.uuid_bytes) is None
        assert world.objects_of(kept)


@pytest.mark.parametrize("jump_days", [30, -30, 400])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_that_jumps_destroys_nothing(path: Path, clocks: Clocks, jump_days: int, restart: bool) -> None:
    objects: list[Object] = []
    async with front(path, clocks, objects) as world:
        await world.heartbeat.beat()
        key = await world.create()
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.live(1)
        clocks.us += jump_days * DAY_US
        if not restart:
            await world.live(4.5)
            assert world.token.destroyed == []
    if restart:
        clocks.seconds = 0.0
        async with front(path, clocks, objects) as world:
            await world.heartbeat.beat()
            await world.live(4.5)
            assert world.token.destroyed == []
            assert world.key(key.key_id).state is KeyState.PENDING_DELETION
            assert any(found.doubts for found in world.beats)


async def test_one_front_of_two_with_a_clock_a_month_ahead_destroys_nothing(path: Path, clocks: Clocks) -> None:
    ahead = Clocks(clocks.us + 30 * DAY_US)
    async with front(path, clocks) as right, front(path, ahead) as wrong:
        wrong.token.objects = right.token.objects
        await right.heartbeat.beat()
        key = await right.create()
        await right.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await right.heartbeat.beat()
        for _ in range(24 * 9):
            clocks.pass_seconds(3600)
            await right.heartbeat.beat()
            await right.catch_up()
            if clocks.us < START + 7 * DAY_US:
                await right.upkeep()
            ahead.pass_seconds(3600)
            await wrong.catch_up()
            await wrong.upkeep()
        assert right.token.destroyed == wrong.token.destroyed == []
        assert any(deletion.held_back for deletion in wrong.deletions)


async def test_a_service_that_is_off_at_night_and_at_weekends_deletes_its_keys_all_the_same(
    path: Path, clocks: Clocks
) -> None:
    objects: list[Object] = []
    async with front(path, clocks, objects) as world:
        await world.heartbeat.beat()
        key = await world.create()
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.heartbeat.beat()
    days = 0
    while objects:
        clocks.pass_seconds(14 * 3600 if days % 7 else 62 * 3600)
        days += 1
        async with front(path, clocks, objects) as world:
            await world.upkeep()
            await world.live(10 / 24)
        assert days < 10
    assert days >= 6


async def test_a_key_whose_material_is_just_being_made_waits(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        await world.heartbeat.beat()
        key = await world.create()
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.live(7.004, step_s=60 * 12)
        await world.execute(
            "INSERT INTO backing_keys SELECT key_id, 2, account, region, :sequence, created, :now, token, suite, x'00', '', "
            "'Creating', origin, expiry, x'', 'ON_DEMAND', NULL, NULL, NULL, NULL FROM backing_keys WHERE key_id = :key_id",
            key_id=key.key_id,
            now=clocks.us,
        )
        clocks.pass_seconds(600)
        await world.upkeep()
        assert world.deletions[-1].held_back
        await world.live(0.1)
        assert world.objects_of(key) == []


async def test_what_the_token_refuses_is_tried_again_and_the_key_stays_deleted(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        await world.heartbeat.beat()
        key = await world.create()
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        world.token.gone = True
        await world.live(7.1)
        assert world.deletions[-1].failed == (key.cka_id(1),)
        with pytest.raises(NotFoundException):
            await world.ask("DescribeKey", key_id=key.key_id)
        assert world.objects_of(key)
        world.token.gone = False
        await world.live(0.1)
        assert world.objects_of(key) == []
        assert world.deletions[-1].failed == ()


async def test_an_older_catalog_put_back_gives_hours_to_cancel_again(
    path: Path, clocks: Clocks, tmp_path: Path
) -> None:
    """The deletion was cancelled after the backup; by the old catalog, the waiting period is nearly over."""
    backup = tmp_path / "backup.db"
    objects: list[Object] = []
    async with front(path, clocks, objects) as world:
        await world.heartbeat.beat()
        key = await world.create()
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.live(6.9)
        with sqlite3.connect(path) as source, sqlite3.connect(backup) as target:
            source.backup(target)
        source.close()
        target.close()
        await world.ask("CancelKeyDeletion", key_id=key.key_id)
        await world.live(2)
    async with front(backup, clocks, objects) as world:
        await world.upkeep()
        await world.live(3.9 / 24, step_s=360)
        assert objects
        await world.ask("CancelKeyDeletion", key_id=key.key_id)


async def test_several_fronts_delete_a_key_once(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as one, front(path, clocks, one.token.objects) as two:
        await one.heartbeat.beat()
        key = await one.create()
        await one.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        for _ in range(8 * 24):
            clocks.pass_seconds(3600)
            await one.upkeep()
            await two.upkeep()
        assert sum(len(deletion.deleted) for deletion in one.deletions + two.deletions) == 1
        assert one.objects_of(key) == []
