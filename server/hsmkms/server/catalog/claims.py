"""Who is making or destroying a backing key just now: at most one process works on a CKA_ID, whichever front or machine it is on.

Generating a backing key destroys what an earlier attempt left under its CKA_ID. Two fronts that did so at once (the same idempotency
key sent to both, a request and another front's reconciler, two fronts that start and need the same service key) could leave a catalog
whose canary belongs to a destroyed object. So whoever begins a creation, or takes one up, claims it in the same transaction, and only
the claimant can finish it. Imported material can be destroyed and come back under the same CKA_ID: a late destruction by one front
would hit what another has let in meanwhile. So whoever destroys claims, too, and nothing is imported before the claimant has finished.

A claim is free again when its process has ended, as far as this machine can tell, or else after `CLAIM_S`: what is claimed is not
started later than 30 s after its claim and is killed after 60 s (`server/token`), so that nothing of it can happen any more by then. On
PostgreSQL the database's clock counts, so that the machines' clocks need not agree; on SQLite there is one machine.

Functions on a transaction; they run in the database's writer thread. `new_claimant`, `end` and `is_gone` are safe for threads.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, cast, delete, extract, func, insert, select

from hsmkms.core.errors import ConflictException, KeyUnavailableException
from hsmkms.core.model import Scope
from hsmkms.server.catalog.database import Transaction
from hsmkms.server.catalog.schema import claims

CLAIM_S: Final = 120

_MICROSECONDS: Final = 1_000_000
_living: Final[set[str]] = set()
"""Claimants of this process that are still open."""


def new_claimant() -> str:
    """Return a new name for this process: boot, process namespace, process id, its start, and what tells two catalogs in it apart."""
    claimant = f"{_host()} {os.getpid()} {_started(os.getpid())} {uuid.uuid4().hex}"
    _living.add(claimant)
    return claimant


def end(claimant: str) -> None:
    """Give up everything that a claimant of this process has claimed."""
    _living.discard(claimant)


def is_gone(claimant: str) -> bool:
    """Say whether a claimant has certainly ended: it was a process of this machine, and there is none any more."""
    host, _, rest = claimant.partition(" ")
    number, _, rest = rest.partition(" ")
    started, _, _ = rest.partition(" ")
    if host != _host() or not number.isdigit():
        return False
    pid = int(number)
    if pid == os.getpid() and started == _started(pid):
        return claimant not in _living
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is there, another user's
    now = _started(pid)
    return now not in ("", started)


def claim(transaction: Transaction, scope: Scope, cka_id: bytes) -> None:
    """Claim a creation or a destruction, or keep what was claimed before.

    Raises:
        KeyUnavailableException: another process holds it.
    """
    row = transaction.connection.execute(select(claims).where(claims.c.cka_id == cka_id)).one_or_none()
    now = _now(transaction)
    if row is not None:
        is_held = row.claimant != transaction.claimant and abs(now - row.updated) <= CLAIM_S * _MICROSECONDS
        if is_held and not is_gone(row.claimant):
            raise KeyUnavailableException("Another request is working on this key material. Try again.")
        release(transaction, cka_id)
    transaction.connection.execute(
        insert(claims).values(
            cka_id=cka_id,
            account=scope.account,
            region=scope.region,
            sequence=transaction.sequence,
            created=now,
            updated=now,
            claimant=transaction.claimant,
        )
    )


def require(transaction: Transaction, cka_id: bytes) -> None:
    """Do nothing if this process may finish a creation or a destruction.

    Raises:
        ConflictException: another process has taken it up since.
    """
    query = select(claims.c.claimant).where(claims.c.cka_id == cka_id)
    if transaction.connection.execute(query).scalar_one_or_none() != transaction.claimant:
        raise ConflictException("Another request has taken up this key material.")


def release(transaction: Transaction, cka_id: bytes) -> None:
    """Forget the claim of what is finished."""
    transaction.connection.execute(delete(claims).where(claims.c.cka_id == cka_id))


def _now(transaction: Transaction) -> int:
    if transaction.connection.dialect.name != "postgresql":
        return transaction.now
    clock = cast(extract("epoch", func.clock_timestamp()) * _MICROSECONDS, BigInteger)
    return int(transaction.connection.execute(select(clock)).scalar_one())


def _host() -> str:
    """Return what two processes share only if they can see each other: the machine's boot and the process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    """Return when a process was started, in ticks since the boot; `0` if it is dead but not yet waited for; empty if it cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "0" if fields[0] in "ZX" else fields[19]
