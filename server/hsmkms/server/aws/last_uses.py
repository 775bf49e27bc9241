"""Keeps the last uses of access keys in the catalog: in batches, about once a minute and when the service stops.

Noting a use costs a dictionary entry and never waits; a process that is killed forgets the uses of the last minute. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from hsmkms.core.access_keys import AccessKeyUse
from hsmkms.core.errors import KmsError

INTERVAL_S: Final = 60.0
BATCH: Final = 500
"""Most access keys in one transaction."""

_log = structlog.get_logger(__name__)


class LastUses:
    """Moves uses from memory to the catalog.

    Args:
        record: Writes some uses (`Catalog.record_access_key_uses`).
    """

    def __init__(self, record: Callable[[Sequence[AccessKeyUse]], Awaitable[None]]) -> None:
        self._record = record
        self._uses: dict[str, AccessKeyUse] = {}

    def note(self, access_key_id: str, service: str, used: int) -> None:
        """Note a use of an access key that exists, at a time in microseconds since 1970, UTC."""
        self._uses[access_key_id] = AccessKeyUse(access_key_id, service, used)

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Write at that interval, in seconds, until cancelled; what fails is logged and tried again."""
        while True:
            await asyncio.sleep(interval_s)
            await self.write()

    async def write(self) -> None:
        """Write everything that was noted before this call; if the catalog fails, what is left is written next time."""
        noted = list(self._uses.values())
        for start in range(0, len(noted), BATCH):
            batch = noted[start : start + BATCH]
            try:
                await self._record(batch)
            except KmsError as error:
                _log.warning("last uses of access keys not kept", error=error.code, detail=error.detail)
                return
            for use in batch:
                if self._uses.get(use.access_key_id) is use:
                    del self._uses[use.access_key_id]
