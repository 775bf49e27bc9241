"""The heartbeat of this process: tells the catalog, about once a minute, how much time has really passed (docs/adr/0008).

A clock that jumps, or that is not the database's, is an alarm: a critical log line and `hsm_kms_clock_doubts_total`. Nothing is
destroyed for some hours after it. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from hsmkms.core.errors import KmsError
from hsmkms.core.ports import Clock
from hsmkms.server.catalog import Catalog
from hsmkms.server.catalog.heartbeats import Beat, Doubt, Since

INTERVAL_S: Final = 60.0

_MICROSECONDS: Final = 1_000_000
_WHAT: Final = {
    Doubt.GAP: "there was no heartbeat for a long time, or the clock jumped while the service was off",
    Doubt.BEHIND: "the database's clock is behind the heartbeat before",
    Doubt.JUMP: "a clock jumped",
    Doubt.DISAGREEMENT: "this machine's clock and the database's differ",
}

_log = structlog.get_logger(__name__)


class Heartbeat:
    """Heartbeats of one process.

    Args:
        catalog: The catalog.
        clock: The time.
        monotonic: A clock in seconds that only goes forward.
        observe: Called with each heartbeat, for the metrics.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        monotonic: Callable[[], float],
        observe: Callable[[Beat], None] = lambda _beat: None,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._monotonic = monotonic
        self._observe = observe
        self._last: tuple[int, int, int] | None = None

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Beat at that interval, in seconds, until cancelled; what fails is logged and tried again."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.beat()
            except KmsError as error:
                _log.warning("no heartbeat", error=error.code, detail=error.detail)

    async def beat(self) -> Beat:
        """Beat once. Call it before serving: what was missed while no front ran is counted then.

        Raises:
            KmsError: the catalog cannot be reached; what passes until the next heartbeat is counted then.
        """
        # Taken before the transaction: waiting for it is counted at the next heartbeat, and never twice.
        monotonic_us, clock_us = int(self._monotonic() * _MICROSECONDS), self._clock.now_us()
        since = None
        if self._last is not None:
            observed, last_monotonic_us, last_clock_us = self._last
            since = Since(observed, monotonic_us - last_monotonic_us, clock_us - last_clock_us)
        beat = await self._catalog.beat(since)
        self._last = beat.observed, monotonic_us, clock_us
        if beat.doubts:
            _log.critical(
                "clock in doubt: nothing is destroyed for now",
                doubts=[str(doubt) for doubt in beat.doubts],
                what="; ".join(_WHAT[doubt] for doubt in beat.doubts),
            )
        self._observe(beat)
        return beat
