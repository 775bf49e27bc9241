"""Whether the service can do its work: a canary re-encrypted under a key of the service's own, and the audit log, once a second.

With its folder gone a token may still answer with random bytes and session keys, so nothing less than unwrapping with a token key
counts (docs/operations.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from hsmkms.core.ciphertext import KEY_UUID_BYTES, canary_digest
from hsmkms.core.commands import KeyRef, Rewrap
from hsmkms.core.errors import KmsError
from hsmkms.server.token.port import WorkerToken

INTERVAL_S: Final = 1.0
PATIENCE_S: Final = 2.0

_log = structlog.get_logger(__name__)


class HealthMonitor:
    """Asks the token, and tells when the answer changes.

    Args:
        token: The token.
        key: A service key, whose canary is re-encrypted.
        changed: Is told when the service becomes ready or stops being so.
        other_trouble: Why the service is not ready for reasons beside the token, or an empty text.
    """

    def __init__(
        self,
        token: WorkerToken,
        key: KeyRef,
        changed: Callable[[bool], Awaitable[None]],
        other_trouble: Callable[[], str] = str,
    ) -> None:
        self._token = token
        digest = canary_digest(key.cka_id[:KEY_UUID_BYTES])
        self._canary = key.canary
        self._rewrap = Rewrap(key, digest, key.canary, key, digest)
        self._changed = changed
        self._other_trouble = other_trouble
        self._trouble = "starting"

    @property
    def trouble(self) -> str:
        """Why the service is not ready, or an empty text. Tells nothing of the token beyond that."""
        return self._trouble

    async def check(self) -> bool:
        """Ask the token once; return whether it did what it should, and nothing else is in the way."""
        trouble = ""
        try:
            async with asyncio.timeout(PATIENCE_S):
                canary = await self._token.service_rewrap(self._rewrap)
            if canary != self._canary:
                trouble = "the token gave a wrong answer"
        except TimeoutError:
            trouble = "the token does not answer"
        except KmsError as error:
            trouble = "the token cannot be used"
            _log.debug("health check failed", error=error.code, detail=error.detail)
        trouble = trouble or self._other_trouble()
        await self._report(trouble)
        return not trouble

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(INTERVAL_S)

    async def stopping(self) -> None:
        """Report that the service is on its way out."""
        await self._report("stopping")

    async def _report(self, trouble: str) -> None:
        was, self._trouble = self._trouble, trouble
        if bool(was) != bool(trouble):
            _log.warning("not ready", why=trouble) if trouble else _log.info("ready")
            await self._changed(not trouble)
