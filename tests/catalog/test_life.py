"""Heartbeat, deletion, rotation by date and last use on both databases, by the clocks that there really are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from catalog.helpers import Clocks
from hsmkms.core.errors import NotFoundException
from hsmkms.server.catalog.heartbeats import Doubt
from life.helpers import DAY_US, front


@pytest.fixture
def clocks() -> Clocks:
    return Clocks(us=time.time_ns() // 1000)


async def test_a_key_lives_and_ends(path: Path | str, clocks: Clocks) -> None:
    async with front(path, clocks) as world:  # type: ignore[arg-type]
        assert (await world.heartbeat.beat()).doubts == ()
        key = await world.create()
        await world.ask("EnableKeyRotation", key_id=key.key_id)
        await world.execute("UPDATE keys SET next_rotation = :due", due=clocks.us)
        await world.scheduler.run_once()
        await world.ask("Encrypt", key_id=key.key_id, plaintext=b"x")
        await world.keeper.write()
        use = world.catalog.view.last_use(key.key_id)
        assert use is not None
        assert use.operation == "Encrypt"
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.heartbeat.beat()
        await world.execute("UPDATE keys SET deletion_date = :now", now=clocks.us - 1)
        await world.deleter.run_once()
        assert world.deletions[-1].held_back
        await world.execute("UPDATE keys SET pending_since = pending_since - :days", days=8 * DAY_US)
        await world.deleter.run_once()
        assert world.objects_of(key) == []
        with pytest.raises(NotFoundException):
            await world.ask("DescribeKey", key_id=key.key_id)


@pytest.mark.parametrize("path", ["postgresql"], indirect=True)
async def test_a_front_whose_clock_is_not_the_databases_is_in_doubt(path: str, clocks: Clocks) -> None:
    clocks.us += 30 * DAY_US
    async with front(path, clocks) as world:  # type: ignore[arg-type]
        beat = await world.heartbeat.beat()
        assert (beat.doubts, beat.observed, beat.settled) == ((Doubt.DISAGREEMENT,), 0, False)
        key = await world.create()
        await world.ask("ScheduleKeyDeletion", key_id=key.key_id, pending_window_in_days=7)
        await world.heartbeat.beat()
        await world.execute("UPDATE keys SET deletion_date = 1, pending_since = pending_since - :days", days=8 * DAY_US)
        await world.execute("UPDATE heartbeat SET doubted = NULL")
        await world.deleter.run_once()
        assert world.deletions[-1].held_back
        assert world.objects_of(key)
