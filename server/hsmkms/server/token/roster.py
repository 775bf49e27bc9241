"""Who has which role: active crypto workers, the admin worker, the warm spare, and those on their way out."""

from __future__ import annotations

from hsmkms.server.token.process import WorkerProcess


class Roster:
    """The workers of a pool by role.

    Args:
        workers: How many active crypto workers there should be.
        spare: Whether there should be a warm spare.
    """

    def __init__(self, workers: int, *, spare: bool) -> None:
        self.active: list[WorkerProcess] = []
        self.spare: WorkerProcess | None = None
        self.admin: WorkerProcess | None = None
        self.retiring: set[WorkerProcess] = set()
        self.max_sessions: int | None = None
        """How many sessions the token allows, or None where it states no limit."""
        self._workers = workers
        self._spare = spare

    def everybody(self) -> list[WorkerProcess]:
        """Return every worker that has a role or had one."""
        others = [worker for worker in (self.spare, self.admin) if worker is not None]
        return list({worker.name: worker for worker in [*self.active, *others, *self.retiring]}.values())

    def admin_worker(self) -> WorkerProcess | None:
        """Return who generates, destroys and lists: on a token with one session the one crypto worker."""
        if self._plan()[1]:
            return self.admin
        return self.active[0] if self.active else None

    def missing(self) -> str | None:
        """Return the role that a new worker is needed for, `crypto` or `admin`, or None."""
        workers, admin, spare = self._plan()
        if len(self.active) < workers:
            return "crypto"
        if admin and self.admin is None:
            return "admin"
        return "crypto" if spare and self.spare is None else None

    def place(self, worker: WorkerProcess, role: str) -> None:
        """Give a new worker its role: a crypto worker becomes active, or the spare where enough are."""
        if role == "admin":
            self.admin = worker
        elif len(self.active) < self._plan()[0]:
            self.active.append(worker)
        else:
            self.spare = worker

    def remove(self, worker: WorkerProcess) -> bool:
        """Take a worker's role from it; say whether it had one."""
        held = worker in self.active or worker in (self.spare, self.admin)
        if worker in self.active:
            self.active.remove(worker)
        if worker is self.spare:
            self.spare = None
        if worker is self.admin:
            self.admin = None
        if held and worker.is_alive:
            self.retiring.add(worker)
        return held

    def promote_spare(self) -> bool:
        """Make the spare active if one is missing; say whether it was done."""
        if self.spare is None or len(self.active) >= self._plan()[0]:
            return False
        self.active.append(self.spare)
        self.spare = None
        return True

    def change_places(self, worker: WorkerProcess) -> None:
        """Let the spare and an active worker change places."""
        assert self.spare is not None
        self.active[self.active.index(worker)] = self.spare
        self.spare = worker

    def can_do_without(self, worker: WorkerProcess) -> bool:
        """Say whether an active worker may go because somebody can step in at once, or nobody ever could."""
        return worker in self.active and (self.spare is not None or not self._plan()[2])

    def _plan(self) -> tuple[int, bool, bool]:
        """Return how many active workers, and whether an admin worker and a spare, the token's session limit leaves room for."""
        limit = self.max_sessions
        if limit is None:
            return self._workers, True, self._spare
        admin = limit > 1
        workers = max(1, min(self._workers, limit - admin))
        return workers, admin, self._spare and limit > workers + admin
