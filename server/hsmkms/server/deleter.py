"""The deleter: destroys the backing keys of deleted KMS keys, imported material that expired or was deleted, and nothing else.

The order survives being killed at any step (`hsmkms.server.catalog.deletion`): rows first, then the token, then the rows again. Whether
a waiting period, or the time of imported material, has really passed is judged in the first transaction, by clocks and heartbeats
(docs/adr/0008); the token destroys by deployment label and CKA_ID. Several fronts may do this at a time: each backing key is claimed
before it is destroyed, since imported material may come back under the same CKA_ID. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from hsmkms.core.arns import key_arn
from hsmkms.core.creations import Creations
from hsmkms.core.errors import ConflictException, KmsError, KMSInvalidStateException, NotFoundException
from hsmkms.core.model import KmsKey
from hsmkms.core.ports import Clock
from hsmkms.server.catalog import Catalog

INTERVAL_S: Final = 60.0
MAX_KEYS: Final = 20
"""Most KMS keys deleted in one run, and most backing keys destroyed: the rest waits for the next one."""

_log = structlog.get_logger(__name__)


class TokenDestroyer(Protocol):
    """What the deleter needs of the token."""

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        """Destroy every object of that CKA_ID and this deployment's label, and return how many there were."""


@dataclass(frozen=True, slots=True)
class Deletions:
    """What one run did.

    Args:
        deleted: KMS keys that are deleted now.
        expired: KMS keys whose imported material has expired and goes now.
        destroyed: CKA_IDs of backing keys that are destroyed now.
        held_back: KMS keys whose date has come, or their material's, and that are kept, since it is not certain that the time has passed.
        failed: CKA_IDs of backing keys that could not be destroyed just now.
    """

    deleted: tuple[KmsKey, ...] = ()
    expired: tuple[KmsKey, ...] = ()
    destroyed: tuple[bytes, ...] = ()
    held_back: tuple[KmsKey, ...] = ()
    failed: tuple[bytes, ...] = ()


class Deleter:
    """Carries out the deletions that are due.

    Args:
        catalog: The catalog.
        token: The token's destroying side.
        creations: The imports and deletions in flight in this process, shared with the operations.
        clock: The time.
        observe: Called with what each run did, for metrics and audit, also when the run failed in its middle.
        require: Called before each run; raises a KmsError when nothing may be destroyed now, because it could not be recorded.
    """

    def __init__(
        self,
        catalog: Catalog,
        token: TokenDestroyer,
        creations: Creations,
        clock: Clock,
        observe: Callable[[Deletions], None] = lambda _deletions: None,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        self._require = require
        self._catalog = catalog
        self._token = token
        self._creations = creations
        self._clock = clock
        self._observe = observe
        self._held_back: dict[str, str] = {}

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Run at once and then at that interval, in seconds, until cancelled; a run that fails is logged, and the next one tries again."""
        while True:
            try:
                await self.run_once()
            except KmsError as error:
                _log.warning("deleter failed", error=error.code, message=error.message, detail=error.detail)
            await asyncio.sleep(interval_s)

    async def run_once(self) -> Deletions:
        """Delete what is due, and finish what an earlier run began.

        Raises:
            KmsError: the catalog could not be read or changed.
        """
        self._require()
        deleted: list[KmsKey] = []
        expired: list[KmsKey] = []
        held_back: list[KmsKey] = []
        destroyed: list[bytes] = []
        failed: list[bytes] = []
        try:
            await self._delete_keys(deleted, held_back)
            await self._expire_material(expired, held_back)
            self._held_back = {key.key_id: self._held_back[key.key_id] for key in held_back}
            await self._destroy_backing_keys(destroyed, failed)
        finally:
            deletions = Deletions(tuple(deleted), tuple(expired), tuple(destroyed), tuple(held_back), tuple(failed))
            self._observe(deletions)
        return deletions

    async def _delete_keys(self, deleted: list[KmsKey], held_back: list[KmsKey]) -> None:
        for key in await self._catalog.keys_past_their_date(self._clock.now_us(), MAX_KEYS):
            try:
                await self._catalog.begin_destruction(key)
            except ConflictException as error:
                held_back.append(key)
                self._log_held_back(key, error.detail)
            except (NotFoundException, KMSInvalidStateException):
                continue  # another front has deleted it, or its deletion was cancelled
            else:
                deleted.append(key)
                arn = key_arn(self._catalog.changes.partition, key.scope, key.key_id)
                _log.warning("key deleted", key=arn, backing_keys=len(key.backing_keys))

    async def _expire_material(self, expired: list[KmsKey], held_back: list[KmsKey]) -> None:
        for key, version in await self._catalog.expired_material(self._clock.now_us(), MAX_KEYS):
            try:
                await self._catalog.begin_expiry(key, version)
            except ConflictException as error:
                held_back.append(key)
                self._log_held_back(key, error.detail)
            except NotFoundException:
                continue  # another front has deleted the key
            else:
                expired.append(key)
                arn = key_arn(self._catalog.changes.partition, key.scope, key.key_id)
                _log.warning("imported key material expired", key=arn)

    def _log_held_back(self, key: KmsKey, why: str) -> None:
        if self._held_back.get(key.key_id) != why:
            _log.warning("deletion held back", key_id=key.key_id, why=why)
        self._held_back[key.key_id] = why

    async def _destroy_backing_keys(self, destroyed: list[bytes], failed: list[bytes]) -> None:
        for cka_id in await self._catalog.destroying_cka_ids(MAX_KEYS):
            try:
                with self._creations.destroying(cka_id):
                    await self._catalog.claim_destruction(cka_id)
                    objects = await self._token.destroy_backing_keys(cka_id)
                    await self._catalog.finish_destruction(cka_id)
            except ConflictException:
                continue  # another task or front destroys it, or an import that it was taken from is not over
            except KmsError as error:
                failed.append(cka_id)
                detail = error.detail or error.message
                _log.warning("backing key not destroyed", cka_id=cka_id.hex(), error=error.code, detail=detail)
            else:
                destroyed.append(cka_id)
                _log.warning("backing key destroyed", cka_id=cka_id.hex(), objects=objects)
