"""A job is one command on its way to a token worker; `FairQueue` decides whose comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hsmkms.core.ciphertext import CKA_ID_BYTES
from hsmkms.core.commands import Load, Opcode, Result
from hsmkms.core.material_commands import SESSION_ONLY, Command

BUDGET_S: Final = {
    Opcode.LOAD: 30.0,
    Opcode.GENERATE_BACKING_KEY: 60.0,
    Opcode.DESTROY_BACKING_KEYS: 60.0,
    Opcode.LIST_BACKING_KEYS: 60.0,
    Opcode.START: 60.0,
    Opcode.GENERATE_DATA_KEY_PAIR: 60.0,
    Opcode.GENERATE_KEY_PAIR: 60.0,
    Opcode.GENERATE_MAC_KEY: 60.0,
    Opcode.GENERATE_IMPORT_PAIR: 60.0,
    Opcode.IMPORT_KEY: 60.0,
}
CRYPTO_BUDGET_S: Final = 5.0
"""How long a worker may spend on a cryptographic command, from when it reached the head of the pipe."""
FURTHER_ITEM_S: Final = 0.25
"""What each further item of a frame adds to the budget of the first: a hanging worker is found out in less than 10 s all the same."""
SHORT_SEARCH_S: Final = 8.0
"""The same for the search of one key, which a caller waits for."""
MAX_DEATHS: Final = 2
"""A job at whose head this many workers died is not tried again: it may be what kills them."""


class Waiter(Protocol):
    """Who waits for a job: an asyncio.Future, or a step of what the carrier drives."""

    def done(self) -> bool:
        """Say whether it has been told, or has gone away."""

    def cancelled(self) -> bool:
        """Say whether it has gone away."""

    def set_result(self, result: Result, /) -> None:
        """Tell it the result."""

    def set_exception(self, error: Exception, /) -> None:
        """Tell it an error instead."""


@dataclass(slots=True, eq=False)
class Job:
    """One command and who waits for it.

    Args:
        command: The command.
        waiter: Is told the command's result, or an error; cancelled when the caller is gone.
        principal: Whose queue it waits in.
        keys: CKA_IDs of the backing keys it needs: only a worker that has them all may get it.
        expiry_ns: CLOCK_MONOTONIC in nanoseconds after which no worker starts it; 0 for never.
        admin: Whether it is for the admin worker.
        deaths: How many workers died with it in the frame at the head of their pipe.
        give_way: Takes the job back when the queue is full and others go before it; without it, its caller is refused.
    """

    command: Command
    waiter: Waiter
    principal: str
    keys: frozenset[bytes] = frozenset()
    expiry_ns: int = 0
    admin: bool = False
    deaths: int = 0
    give_way: Callable[[Job], None] | None = None

    @property
    def budget_s(self) -> float:
        """How long a worker may take for it, in seconds."""
        if isinstance(self.command, Load) and len(self.command.cka_ids) == CKA_ID_BYTES:
            return SHORT_SEARCH_S
        return BUDGET_S.get(self.command.opcode, CRYPTO_BUDGET_S)

    @property
    def must_be_alone(self) -> bool:
        """Whether it gets a frame of its own: it may be what kills workers, and would take the others of its frame with it."""
        return self.deaths > 0

    @property
    def session_only(self) -> bool:
        """Whether it makes session objects only, and so may be tried again after a worker died of it."""
        return self.command.opcode in SESSION_ONLY


def budget_s(jobs: Sequence[Job]) -> float:
    """Return how long a worker may take for a frame of jobs, in seconds.

    Args:
        jobs: The frame's jobs, of one kind; 1 at the least.
    """
    return max(job.budget_s for job in jobs) + FURTHER_ITEM_S * (len(jobs) - 1)


class FairQueue:
    """Jobs in one queue for each principal, served in turn, so that nobody waits for another's backlog.

    Args:
        capacity: Most jobs in all. When they are reached, the principal with the longest queue gives way.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queues: dict[str, deque[Job]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Job]:
        for queue in self._queues.values():
            yield from queue

    def push(self, job: Job) -> Job | None:
        """Add a job at the end of its principal's queue.

        Returns:
            The job that has to give way because the queue was full: `job` itself, or the last one of the longest queue.
        """
        displaced: Job | None = None
        if self._length >= self._capacity:
            longest = max(self._queues, key=lambda name: len(self._queues[name]))
            own = len(self._queues.get(job.principal, ()))
            if own >= len(self._queues[longest]) - 1:
                return job
            displaced = self._queues[longest].pop()
            self._length -= 1
            self._drop_if_empty(longest)
        self._queues.setdefault(job.principal, deque()).append(job)
        self._length += 1
        return displaced

    def push_front(self, job: Job) -> None:
        """Put a job back at the head of its principal's queue, over capacity if need be: it was accepted already."""
        self._queues.setdefault(job.principal, deque()).appendleft(job)
        self._length += 1

    def take(self, serves: Callable[[frozenset[bytes]], bool], most: int) -> list[Job]:
        """Take what a worker gets next in one frame: jobs of one kind, of each principal in turn.

        A job that makes more than session objects, or that a worker died of, is alone.

        Args:
            serves: Whether the worker has all of these keys. Only the head of each principal's queue is asked about.
            most: How many jobs at most.
        """
        queues = self._queues
        jobs: list[Job] = []
        opcode: Opcode | None = None
        went_on = True
        while went_on:
            went_on = False
            for principal in list(queues):
                queue = queues[principal]
                job = queue[0]
                if (opcode is not None and (job.command.opcode is not opcode or job.deaths)) or not serves(job.keys):
                    continue
                queue.popleft()
                self._length -= 1
                del queues[principal]
                if queue:
                    queues[principal] = queue  # its turn comes again after everybody else's
                jobs.append(job)
                if len(jobs) >= most or job.must_be_alone or not job.session_only:
                    return jobs
                opcode = job.command.opcode
                went_on = True
        return jobs

    def discard(self, job: Job) -> None:
        """Take out a job whose caller is gone, if it is still here."""
        queue = self._queues.get(job.principal)
        if queue is not None and job in queue:
            queue.remove(job)
            self._length -= 1
            self._drop_if_empty(job.principal)

    def drain(self) -> list[Job]:
        """Take out every job."""
        jobs = list(self)
        self._queues.clear()
        self._length = 0
        return jobs

    def _drop_if_empty(self, principal: str) -> None:
        if not self._queues[principal]:
            del self._queues[principal]
