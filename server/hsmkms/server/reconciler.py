"""The reconciler: brings the token back to what the catalog says, after a process died between the two.

It finishes backing keys that the catalog has as Creating: the token generates them anew, which destroys what an earlier attempt left
under the same CKA_ID *and* this deployment's label, and nothing else. It does so only for a row that

- was begun or last taken up longer ago than the grace, so that no other process is at work on it,
- is not in flight in this process (`hsmkms.core.creations`), and
- is younger than `MAX_CREATION_AGE_S`, or has no object on the token. A service that runs finishes a creation in minutes; an old row
  with an object belongs to a catalog that was restored from a copy made in the middle of a creation, and its object may be in use.

Imported material cannot be generated anew: of an import that was left behind, under the same three conditions, it destroys what the
import may have made, by CKA_ID and label, and lets the key wait for its material again.

It has no other way to destroy anything. Objects that the catalog does not know, other deployments' objects, service keys and backing
keys that the token lacks are reported, and never touched. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from hsmkms.core.creations import Creations
from hsmkms.core.errors import ConflictException, KmsError
from hsmkms.core.generation import Generator, generate_material
from hsmkms.core.model import BackingKeyState, Origin
from hsmkms.core.ports import Begun, Clock, Mutation
from hsmkms.core.service_keys import deployment_label
from hsmkms.server.catalog import Catalog

GRACE_S: Final = 120
INTERVAL_S: Final = 60
MAX_CREATION_AGE_S: Final = 24 * 60 * 60
"""As long as an idempotency key is kept: after it, nobody can ask for the creation's answer."""
MAX_LOGGED_IDS: Final = 20

_MICROSECONDS: Final = 1_000_000

_log = structlog.get_logger(__name__)


class TokenAdmin(Generator, Protocol):
    """What the reconciler needs of the token, beside generating anew."""

    async def list_backing_keys(self) -> Sequence[tuple[bytes, bytes]]:
        """Return CKA_ID and label of all key material on the token, whoever made it."""

    async def destroy_backing_keys(self, cka_id: bytes, /) -> int:
        """Destroy what has that CKA_ID and this deployment's label; for imports that were left behind only."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found; CKA_IDs, sorted, except where it says a count.

    Args:
        finished: Creations that were finished, and imports that were abandoned.
        failed: Creations that could not be finished just now.
        stale: Creations that are too old to be finished over an object that is on the token: for the operator to judge.
        unknown: This deployment's objects that the catalog does not know, or has as Destroyed.
        missing: Backing keys and service keys that the catalog has as Active and the token lacks.
        duplicates: CKA_IDs that more than one of this deployment's objects has.
        foreign: How many objects have another label.
    """

    finished: tuple[bytes, ...] = ()
    failed: tuple[bytes, ...] = ()
    stale: tuple[bytes, ...] = ()
    unknown: tuple[bytes, ...] = ()
    missing: tuple[bytes, ...] = ()
    duplicates: tuple[bytes, ...] = ()
    foreign: int = 0


class Reconciler:
    """Compares catalog and token.

    Args:
        catalog: The catalog.
        token: The token's admin side.
        creations: The creations in flight in this process, shared with the operations that create.
        clock: The time.
        observe: Called with each run's report, for the metrics.
        grace_s: How long an unfinished creation is left alone, in seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        token: TokenAdmin,
        creations: Creations,
        clock: Clock,
        observe: Callable[[Report], None] = lambda _report: None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._catalog = catalog
        self._token = token
        self._creations = creations
        self._clock = clock
        self._observe = observe
        self._grace_us = int(grace_s * _MICROSECONDS)
        self._label = deployment_label(catalog.deployment_id)

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """Run at once and then at that interval, in seconds, until cancelled; a run that fails is logged, and the next one tries again."""
        while True:
            try:
                await self.run_once()
            except KmsError as error:
                _log.warning("reconciler failed", error=error.code, message=error.message, detail=error.detail)
            await asyncio.sleep(interval_s)

    async def run_once(self) -> Report:
        """Compare once, finish what may be finished, and report the rest.

        Raises:
            KmsError: the catalog or the token could not be read.
        """
        # The catalog is read before and after the token: what is begun or finished in between is neither missing nor unknown.
        known_before = await self._catalog.known_cka_ids()
        objects = await self._token.list_backing_keys()
        known_after = await self._catalog.known_cka_ids()
        own = Counter(cka_id for cka_id, label in objects if label == self._label)
        finished, failed, stale = await self._finish_creations(own)
        report = Report(
            finished=finished,
            failed=failed,
            stale=stale,
            unknown=tuple(sorted(cka_id for cka_id in own if not _may_exist(known_after, cka_id))),
            missing=tuple(
                sorted(
                    cka_id
                    for cka_id, state in known_before.items()
                    if state is BackingKeyState.ACTIVE
                    and known_after.get(cka_id) is BackingKeyState.ACTIVE
                    and cka_id not in own
                )
            ),
            duplicates=tuple(sorted(cka_id for cka_id, count in own.items() if count > 1 and cka_id not in finished)),
            foreign=len(objects) - own.total(),
        )
        _write_log(report)
        self._observe(report)
        return report

    async def _finish_creations(
        self, own: Mapping[bytes, int]
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
        now = self._clock.now_us()
        finished: list[bytes] = []
        failed: list[bytes] = []
        stale: list[bytes] = []
        for begun in await self._catalog.creating_backing_keys(now - self._grace_us):
            if self._creations.holds(begun):
                continue
            cka_id = begun.key.cka_id(begun.version)
            age_us = now - begun.key.backing_keys[begun.version].created
            if age_us > MAX_CREATION_AGE_S * _MICROSECONDS and cka_id in own:
                stale.append(cka_id)
                continue
            try:
                with self._creations.creating(begun):
                    await self._finish(begun, now - self._grace_us)
            except ConflictException:
                continue  # another process works on it, or has finished it
            except KmsError as error:
                failed.append(cka_id)
                detail = error.detail or error.message
                _log.warning("creation not finished", cka_id=cka_id.hex(), error=error.code, detail=detail)
            else:
                finished.append(cka_id)
        return tuple(sorted(finished)), tuple(sorted(failed)), tuple(sorted(stale))

    async def _finish(self, begun: Begun, older_than_us: int) -> None:
        begun = await self._catalog.take_up_creation(begun, older_than_us)
        if begun.key.origin is Origin.EXTERNAL:
            await self._token.destroy_backing_keys(begun.key.cka_id(begun.version))
            await self._catalog.changes.abandon_import(begun)
            return
        canary = await generate_material(self._token, begun.key, begun.version)
        mutation = Mutation(begun.key.scope, "hsm-kms:reconciler", "Reconcile", None, b"")
        await self._catalog.changes.finish_backing_key(mutation, begun, canary, b"")


def _may_exist(known: Mapping[bytes, BackingKeyState], cka_id: bytes) -> bool:
    return known.get(cka_id, BackingKeyState.DESTROYED) is not BackingKeyState.DESTROYED


def _write_log(report: Report) -> None:
    for event, cka_ids in (
        ("creations finished", report.finished),
        ("creations too old to be finished over an object on the token", report.stale),
        ("objects on the token that the catalog does not know", report.unknown),
        ("backing keys missing on the token", report.missing),
        ("several objects on the token with one CKA_ID", report.duplicates),
    ):
        if cka_ids:
            listed = [cka_id.hex() for cka_id in cka_ids[:MAX_LOGGED_IDS]]
            _log.warning(event, count=len(cka_ids), cka_ids=listed)
