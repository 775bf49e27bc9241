"""Keeps the last uses of keys in the catalog: in batches, about once a minute and when the service stops. For one event loop."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from hsmkms.core.errors import KmsError
from hsmkms.core.usage import KeyUses
from hsmkms.server.catalog import Catalog

INTERVAL_S: Final = 60.0
BATCH: Final = 500
"""Most keys in one transaction."""

_log = structlog.get_logger(__name__)


class UsageKeeper:
    """Moves uses from memory to the catalog.

    Args:
        catalog: The catalog.
        uses: What the operations note.
    """

    def __init__(self, catalog: Catalog, uses: KeyUses) -> None:
        self._catalog = catalog
        self._uses = uses

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Write at that interval, in seconds, until cancelled; what fails is logged and tried again."""
        while True:
            await asyncio.sleep(interval_s)
            await self.write()

    async def write(self) -> None:
        """Write everything that was noted before this call; if the catalog fails, what is left is written next time."""
        for _ in range(len(self._uses) // BATCH + 1):
            batch = self._uses.first(BATCH)
            if not batch:
                return
            try:
                await self._catalog.record_uses(batch)
            except KmsError as error:
                _log.warning("last uses not kept", keys=len(self._uses), error=error.code, detail=error.detail)
                return
            self._uses.written(batch)
