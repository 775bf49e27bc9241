"""Which worker has which backing key, and how a worker gets one.

Finding a key reads every object of the token: 1 ms with a few keys, 200 ms with 10,000 on SoftHSM. So nobody who does not need the key
is kept waiting for it, and a worker does little else than what it is there for:

- Whoever made a key has its handle without a search: the admin worker can be asked for it at once (`make_usable`).
- The others learn new keys in groups, by one search, aside (`spread`): the spare does, and changes places with an active worker that
  lacks them. Then a worker rests for a multiple of the time that its search took: short for a key that somebody waits for and that
  nobody who is free has, longer for one that is in demand, long for one that nobody has asked for.
- A key that no worker is known to have is searched when it is asked for (`require`): another front made it, or who had it is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
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
REST_WAITED_FOR: Final = 5
"""A worker rests for so many times what its last search took before it learns a key that somebody waits for and that nobody who is free
has: the admin worker generates an RSA key, or is gone. With 10,000 keys that is 1 s; nobody waits longer than that and a search."""
REST_IN_DEMAND: Final = 20
"""The same for a key that has been asked for while an active worker lacked it: 5 % of a worker's time at the most. With 10,000 keys
each active worker has it after some 5 s, with a few at once."""
REST_OTHERWISE: Final = 200
"""The same for a key that nobody has asked for: 0.5 % of a worker's time, however many keys are created. Who creates keys one after the
other must not cost those who re-encrypt beside it more than a few per cent, with all workers of a small service together."""

_log = structlog.get_logger(__name__)


class KeyPlaces:
    """The backing keys that are known to be on the token, and the searches for others.

    Args:
        roster: The workers; each one's `keys` are those it has a handle for, all of them `known`.
        dispatch: Called when a worker has got a key: jobs may wait for it.
    """

    def __init__(self, roster: Roster, dispatch: Callable[[], None]) -> None:
        self.known: set[bytes] = set()
        """CKA_IDs that a worker has or had."""
        self._roster = roster
        self._dispatch = dispatch
        self._in_demand: set[bytes] = set()
        self._paused: dict[bytes, float] = {}
        self._loading: dict[bytes, asyncio.Task[bool]] = {}
        self._searches: list[set[bytes]] = []
        """What each search under way may find; what is forgotten meanwhile is taken out."""
        self._searched: dict[WorkerProcess, tuple[float, float]] = {}
        """When each worker's last search ended (`time.monotonic`), and how many seconds it took."""

    async def make_usable(self, cka_id: bytes, maker: WorkerProcess | None) -> None:
        """Return when at least one worker can use a backing key that was just made; the others get it in the background.

        Args:
            cka_id: The key.
            maker: The worker that made it and has its handle, or None where that is not certain: then it is searched.

        Raises:
            KeyUnavailableException: it cannot be found on the token, or the token is out of reach.
        """
        self.forget(cka_id)
        if maker is None or not maker.is_usable:
            await self._search(cka_id)
            return
        maker.keys.add(cka_id)
        self.known.add(cka_id)

    def forget(self, cka_id: bytes) -> None:
        """Take a backing key that was destroyed, or made anew, from every worker."""
        self._paused.pop(cka_id, None)
        self.doubt(frozenset([cka_id]))

    def doubt(self, cka_ids: frozenset[bytes]) -> None:
        """A worker has no handle for one of these after all: look for them again, but not at once."""
        for cka_id in cka_ids:
            if not self._is_paused(cka_id):
                self.known.discard(cka_id)
                for worker in self._roster.everybody():
                    worker.keys.discard(cka_id)
                for wanted in self._searches:
                    wanted.discard(cka_id)

    def left(self, worker: WorkerProcess) -> None:
        """A worker is gone. The keys that only it had are looked for (`spread`)."""
        self._searched.pop(worker, None)

    @property
    def are_everywhere(self) -> bool:
        """Whether every active worker has every key."""
        count = len(self.known)
        for worker in self._roster.active:  # noqa: SIM110  # asked for each job that waits: no generator
            if len(worker.keys) != count:
                return False
        return True

    def ask_for(self, cka_ids: Iterable[bytes]) -> None:
        """Note that keys are in demand which not every active worker has."""
        self._in_demand.update(cka_ids)

    async def require(self, cka_id: bytes) -> None:
        """Have a worker find a key that is asked for.

        Raises:
            KeyUnavailableException: it cannot be found on the token, or the token is out of reach.
        """
        await self._search(cka_id)
        self.ask_for([cka_id])

    async def _search(self, cka_id: bytes) -> None:
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

    async def _load(self, worker: WorkerProcess, cka_ids: set[bytes]) -> set[bytes]:
        """Have a worker find keys; return those that it says are not there."""
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[Result] = loop.create_future()
        wanted = set(cka_ids)
        began = time.monotonic()
        # A short question first: a worker that stands still is found out by its short budget, not by that of a search.
        worker.send(Job(Statistics(), loop.create_future(), ""))
        worker.send(Job(Load(b"".join(sorted(cka_ids))), loaded, ""))
        self._searches.append(wanted)
        try:
            result = await loaded
        except KeyUnavailableException:
            return set()
        finally:
            self._searches = [other for other in self._searches if other is not wanted]
        ended = time.monotonic()
        if worker.is_alive:
            self._searched[worker] = ended, ended - began
        if result.outcome is not Outcome.OK:
            return set()
        found = {result.value[i : i + CKA_ID_BYTES] for i in range(0, len(result.value), CKA_ID_BYTES)} & wanted
        worker.keys |= found
        self.known |= found
        return wanted - found

    async def spread(self, waiting: Iterable[frozenset[bytes]] = ()) -> None:
        """Give the active workers keys that they lack, as far as those who would have to search for them have rested.

        The spare learns them aside, then changes places with a worker that lacks them.

        Args:
            waiting: The keys that each waiting job needs.
        """
        spare = self._roster.spare
        if self.are_everywhere and (spare is None or len(spare.keys) == len(self.known)):
            self._in_demand.clear()
            return
        waited_for = self._waited_for(waiting)
        if spare is not None:
            await self._teach(spare, waited_for)
        for worker in list(self._roster.active):
            lacking = self._lacking(worker)
            if not lacking or worker not in self._roster.active:
                continue
            spare = self._roster.spare
            if spare is not None:
                if not self._may_replace(spare, worker, lacking):
                    continue
                self._roster.change_places(worker)
                self._dispatch()
            await self._teach(worker, waited_for)

    def _waited_for(self, waiting: Iterable[frozenset[bytes]]) -> set[bytes]:
        """Bring what is in demand up to date; return the keys that jobs wait for because no crypto worker has all that they need."""
        active, spare = self._roster.active, self._roster.spare
        holders = [worker.keys for worker in active]
        if spare is not None:
            holders.append(spare.keys)
        waited_for: set[bytes] = set()
        for keys in waiting:
            self.ask_for(keys)
            if not any(held.issuperset(keys) for held in holders):
                waited_for |= keys
        self._in_demand &= set().union(*(self.known - worker.keys for worker in active))
        return waited_for

    async def _teach(self, worker: WorkerProcess, waited_for: set[bytes]) -> None:
        """Have a worker learn what it lacks, if there is anything and it has rested; take what it learnt out of `waited_for`."""
        lacking = self._lacking(worker)
        if not lacking or not worker.is_usable or not self._has_rested(worker, lacking & waited_for):
            return
        first = sorted(lacking, key=lambda cka_id: cka_id not in self._in_demand)[:MAX_LOAD]
        missing = await self._load(worker, set(first))
        waited_for -= worker.keys
        self._dispatch()
        for cka_id in missing:
            self._pause(cka_id)
            if not any(cka_id in other.keys for other in self._roster.everybody()):
                self.known.discard(cka_id)  # who asks for it now has it searched, and is told
            _log.warning(
                "a worker cannot find key material that was on the token", worker=worker.name, cka_id=cka_id.hex()
            )

    def _has_rested(self, worker: WorkerProcess, waited_for: set[bytes]) -> bool:
        ended, took_s = self._searched.get(worker, (0.0, 0.0))
        rest = REST_WAITED_FOR if waited_for else REST_IN_DEMAND if self._in_demand else REST_OTHERWISE
        return time.monotonic() >= ended + rest * took_s

    def _may_replace(self, spare: WorkerProcess, worker: WorkerProcess, lacking: set[bytes]) -> bool:
        """Say whether the spare has keys that an active worker lacks, and all that can be found of those that it has."""
        if not spare.is_usable or lacking.isdisjoint(spare.keys):
            return False
        return all(self._is_paused(cka_id) for cka_id in worker.keys - spare.keys)

    def _lacking(self, worker: WorkerProcess) -> set[bytes]:
        lacking = self.known - worker.keys
        return {cka_id for cka_id in lacking if not self._is_paused(cka_id)} if lacking else lacking

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
