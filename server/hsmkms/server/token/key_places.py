"""Which worker has which backing key, and how a worker gets one.

Finding a key reads every object of the token, so nobody who does not need the key is kept waiting for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from hsmkms.core.ciphertext import CKA_ID_BYTES
from hsmkms.core.commands import Load, Outcome, Result, Statistics
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.server.token.jobs import Job
from hsmkms.server.token.process import WorkerProcess
from hsmkms.server.token.roster import Roster

SEARCH_PAUSE_S: Final = 1.0
"""How long a key that could not be found is not looked for again."""
FIND_ATTEMPTS: Final = 3
FIND_RETRY_S: Final = 0.1
MAX_LOAD: Final = 4096
"""Most keys in one search; the frame has room for more."""

_log = structlog.get_logger(__name__)


class KeyPlaces:
    """The backing keys that are known to be on the token, and the searches for others.

    Args:
        roster: The workers; each one's `keys` are those it has a handle for.
        dispatch: Called when a worker has got a key: jobs may wait for it.
    """

    def __init__(self, roster: Roster, dispatch: Callable[[], None]) -> None:
        self.known: set[bytes] = set()
        """CKA_IDs that a worker has or had."""
        self._roster = roster
        self._dispatch = dispatch
        self._paused: dict[bytes, float] = {}
        self._loading: dict[bytes, asyncio.Task[bool]] = {}

    async def make_usable(self, cka_id: bytes) -> None:
        """Return when at least one worker has a backing key that was just generated; the others get it in the background.

        Raises:
            KeyUnavailableException: it cannot be found on the token, or the token is out of reach.
        """
        self.forget(cka_id)
        await self.require(cka_id)  # the others get it at the teacher's next turn, several keys in one search

    def forget(self, cka_id: bytes) -> None:
        """Take a backing key that was destroyed, or made anew, from every worker."""
        self._paused.pop(cka_id, None)
        self.doubt(frozenset([cka_id]))

    async def require(self, cka_id: bytes) -> None:
        """Have a worker find a key; several callers wait for one search, and a vain one is not repeated at once."""
        if not self._is_paused(cka_id):
            task = self._loading.get(cka_id)
            if task is None:
                task = asyncio.create_task(self._find(cka_id))
                self._loading[cka_id] = task
                task.add_done_callback(lambda _: self._loading.pop(cka_id, None))
            if await asyncio.shield(task):
                return
        raise KeyUnavailableException("The key material is not on the token.", detail=f"CKA_ID {cka_id.hex()}")

    async def _find(self, cka_id: bytes) -> bool:
        for _ in range(FIND_ATTEMPTS):
            worker = self._roster.spare or min(self._roster.active, key=lambda worker: worker.in_flight, default=None)
            if worker is None:
                await asyncio.sleep(FIND_RETRY_S)
                continue
            await self._load(worker, {cka_id})
            if cka_id in worker.keys:
                self._dispatch()
                return True
            if worker.is_alive:
                break
        self._pause(cka_id)
        return False

    async def _load(self, worker: WorkerProcess, cka_ids: set[bytes]) -> None:
        loop = asyncio.get_running_loop()
        # A short question first: a worker that stands still is found out by its short budget, not by that of a search.
        loaded: asyncio.Future[Result] = loop.create_future()
        worker.send(Job(Statistics(), loop.create_future(), ""))
        worker.send(Job(Load(b"".join(sorted(cka_ids))), loaded, ""))
        with suppress(KeyUnavailableException):
            result = await loaded
            if result.outcome is Outcome.OK:
                found = {result.value[i : i + CKA_ID_BYTES] for i in range(0, len(result.value), CKA_ID_BYTES)}
                worker.keys |= found
                self.known |= found

    async def spread(self) -> None:
        """Give every active worker the keys it lacks: the spare learns them aside, then changes places with one that lacks them."""
        if self._roster.spare is not None:
            await self._teach(self._roster.spare)
        for worker in list(self._roster.active):
            lacking = self._lacking(worker)
            if not lacking or worker not in self._roster.active:
                continue
            spare = self._roster.spare
            if spare is not None and not spare.retiring and lacking <= spare.keys:
                self._roster.change_places(worker)
                self._dispatch()
            await self._teach(worker)

    async def _teach(self, worker: WorkerProcess) -> None:
        lacking = set(sorted(self._lacking(worker))[:MAX_LOAD])
        if not lacking or not worker.is_usable:
            return
        await self._load(worker, lacking)
        if not worker.is_usable:
            return  # it says nothing about the keys
        for cka_id in lacking - worker.keys:
            self._pause(cka_id)
            _log.warning(
                "a worker cannot find key material that was on the token", worker=worker.name, cka_id=cka_id.hex()
            )

    def _lacking(self, worker: WorkerProcess) -> set[bytes]:
        lacking = self.known - worker.keys
        return {cka_id for cka_id in lacking if not self._is_paused(cka_id)} if lacking else lacking

    def doubt(self, cka_ids: frozenset[bytes]) -> None:
        """A worker has no handle for one of these after all: look for them again, but not at once."""
        for cka_id in cka_ids:
            if not self._is_paused(cka_id):
                self.known.discard(cka_id)
                for worker in self._roster.everybody():
                    worker.keys.discard(cka_id)

    def _pause(self, cka_id: bytes) -> None:
        self._paused[cka_id] = time.monotonic() + SEARCH_PAUSE_S

    def _is_paused(self, cka_id: bytes) -> bool:
        until = self._paused.get(cka_id)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._paused[cka_id]
        return False
