"""The heartbeat counts the time that has really passed; what the clocks say does not matter (docs/adr/0008)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsmkms.server.catalog.heartbeats import DOUBT_US, Doubt
from life.helpers import DAY_S, DAY_US, Clocks, Front, front

MINUTE_US = 60_000_000


async def beat(world: Front, clock_s: float = 60, monotonic_s: float = 60) -> tuple[int, tuple[Doubt, ...]]:
    """Let the clock and the monotonic clock go on, and beat; return what was observed, and what is in doubt."""
    world.clocks.us += int(clock_s * 1_000_000)
    world.clocks.seconds += monotonic_s
    found = await world.heartbeat.beat()
    return found.observed, found.doubts


async def test_it_counts_from_nothing_by_the_monotonic_clock(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        assert await beat(world) == (0, ())
        assert await beat(world) == (MINUTE_US, ())
        assert await beat(world, clock_s=3600, monotonic_s=3600) == (61 * MINUTE_US, ())
        assert world.beats[-1].settled


@pytest.mark.parametrize("days", [-30, -0.01, 0.01, 30])
async def test_a_clock_that_jumps_under_a_running_front_counts_nothing(path: Path, clocks: Clocks, days: float) -> None:
    async with front(path, clocks) as world:
        await beat(world)
        observed, doubts = await beat(world, clock_s=60 + days * DAY_S)
        assert observed == MINUTE_US
        assert Doubt.JUMP in doubts
        assert not world.beats[-1].settled
        assert await beat(world) == (2 * MINUTE_US, ())


async def test_doubt_ends_after_hours_of_steady_clocks(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        await beat(world)
        await beat(world, clock_s=DAY_S)
        for _ in range(DOUBT_US // (30 * MINUTE_US) - 1):
            await beat(world, 1800, 1800)
            assert not world.beats[-1].settled
        await beat(world, 1800, 1800)
        assert world.beats[-1].settled


@pytest.mark.parametrize(
    ("off_s", "counted_us", "doubts"),
    [
        (30, 30_000_000, ()),
        (3600, 60 * MINUTE_US, ()),
        (3 * 3600, 180 * MINUTE_US, (Doubt.GAP,)),
        (DAY_S, DAY_US, (Doubt.GAP,)),
        (30 * DAY_S, DAY_US, (Doubt.GAP,)),
        (-30 * DAY_S, 0, (Doubt.BEHIND,)),
    ],
)
async def test_time_without_a_front_counts_a_day_at_most(
    path: Path, clocks: Clocks, off_s: int, counted_us: int, doubts: tuple[Doubt, ...]
) -> None:
    async with front(path, clocks) as world:
        await beat(world)
    clocks.us += off_s * 1_000_000
    clocks.seconds = 5.0  # another boot
    async with front(path, clocks) as world:
        found = await world.heartbeat.beat()
        assert (found.observed, found.doubts) == (counted_us, doubts)


async def test_a_service_that_restarts_again_and_again_with_a_clock_that_flips_gains_a_day_once(
    path: Path, clocks: Clocks
) -> None:
    right = clocks.us
    for _ in range(20):
        for shown in (right, right + 30 * DAY_US):
            async with front(path, Clocks(shown)) as world:
                found = await world.heartbeat.beat()
    assert found.observed == DAY_US
    assert not found.settled


async def test_fronts_side_by_side_do_not_add_up(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as one, front(path, clocks) as two, front(path, clocks) as three:
        for _ in range(100):
            for world in (one, two, three):
                observed, doubts = await beat(world, 20, 20)
                assert doubts == ()
    assert observed == 299 * 20_000_000


async def test_one_front_whose_clock_is_a_month_ahead_puts_all_in_doubt_and_counts_nothing(
    path: Path, clocks: Clocks
) -> None:
    ahead = Clocks(clocks.us + 30 * DAY_US)
    async with front(path, clocks) as right, front(path, ahead) as wrong:
        await beat(right)
        await beat(wrong)
        first = wrong.beats[-1].observed
        assert first <= DAY_US  # it has just started: for all that it knows, nobody ran for a month
        for _ in range(600):
            await beat(right)
            observed, doubts = await beat(wrong)
            assert doubts
        assert observed - first <= 601 * MINUTE_US
        assert not wrong.beats[-1].settled
        assert not right.beats[-1].settled


async def test_what_passes_while_the_database_is_away_is_counted_once(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        await beat(world)
        clocks.pass_seconds(5 * DAY_S)  # five days of heartbeats that failed
        assert await beat(world) == (5 * DAY_US + MINUTE_US, ())
