"""The rotation scheduler: gives keys new material when their day has come, once, however many fronts do it.

A rotation is begun in a transaction that requires it to be due and moves its date on by whole periods. So no second front, no restart
and no clock that goes back and forth rotates a key twice for one date. What dies after that is finished by the reconciler. For one
event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from hsmkms.core.errors import (
    ConflictException,
    DisabledException,
    KmsError,
    KMSInvalidStateException,
    NotFoundException,
)
from hsmkms.core.messages import RotateKeyOnDemandResponse
from hsmkms.core.model import KmsKey, RotationType
from hsmkms.core.operations.backing import generate
from hsmkms.core.operations.environment import Environment
from hsmkms.core.ports import Mutation
from hsmkms.server.catalog import Catalog

INTERVAL_S: Final = 60.0
MAX_KEYS: Final = 20
"""Most keys rotated in one run: the rest waits for the next one."""
_PRINCIPAL: Final = "hsm-kms:rotation-scheduler"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rotations:
    """What one run did.

    Args:
        rotated: Keys that have new material.
        failed: Keys whose rotation was begun and could not be finished just now: the reconciler does.
    """

    rotated: tuple[KmsKey, ...] = ()
    failed: tuple[KmsKey, ...] = ()


class RotationScheduler:
    """Rotates the keys that are due.

    Args:
        catalog: The catalog.
        environment: The ports, as the operations have them.
        observe: Called with what each run did, for metrics and audit.
    """

    def __init__(
        self,
        catalog: Catalog,
        environment: Environment,
        observe: Callable[[Rotations], None] = lambda _rotations: None,
    ) -> None:
        self._catalog = catalog
        self._environment = environment
        self._observe = observe

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Run at once and then at that interval, in seconds, until cancelled; a run that fails is logged, and the next one tries again."""
        while True:
            try:
                await self.run_once()
            except KmsError as error:
                _log.warning("rotation scheduler failed", error=error.code, message=error.message, detail=error.detail)
            await asyncio.sleep(interval_s)

    async def run_once(self) -> Rotations:
        """Rotate what is due.

        Raises:
            KmsError: the catalog could not be read.
        """
        rotated: list[KmsKey] = []
        failed: list[KmsKey] = []
        for key in await self._catalog.due_rotations(self._environment.clock.now_us(), MAX_KEYS):
            try:
                await self._rotate(key)
            except (ConflictException, DisabledException, KMSInvalidStateException, NotFoundException):
                continue  # another front does it, a rotation is under way, or the key was changed meanwhile
            except KmsError as error:
                failed.append(key)
                detail = error.detail or error.message
                _log.warning("rotation not finished", key_id=key.key_id, error=error.code, detail=detail)
            else:
                rotated.append(key)
                _log.info("key rotated", key_id=key.key_id, rotation_type=RotationType.AUTOMATIC)
        rotations = Rotations(tuple(rotated), tuple(failed))
        self._observe(rotations)
        return rotations

    async def _rotate(self, key: KmsKey) -> None:
        environment = self._environment
        change = Mutation(key.scope, _PRINCIPAL, "RotateKey", None, b"")
        await generate(
            environment,
            change,
            lambda: environment.changes.begin_rotation(change, key, environment.token.suite, RotationType.AUTOMATIC),
            RotateKeyOnDemandResponse,
            lambda finished: RotateKeyOnDemandResponse(finished.key_id),
        )
