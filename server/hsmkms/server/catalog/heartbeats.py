"""The heartbeat: how the catalog knows how much time has really passed, whatever the clocks say (docs/adr/0008).

One row counts `observed`, microseconds since the first heartbeat. A running front adds what its monotonic clock counted since its own
last heartbeat; fronts that run side by side do not add up. The time between the last heartbeat of any front and the first one of a
front that starts is known by the database's clock only: it counts as what that clock says beyond everything it ever said, a day at most.

Functions on a transaction; they run in the database's writer thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, extract, func, insert, select, update

from hsmkms.core.model import BackingKeyState, KeyState
from hsmkms.server.catalog import schema
from hsmkms.server.catalog.database import Transaction
from hsmkms.server.catalog.keys import DAY_US

_MINUTE_US: Final = 60 * 1_000_000
TOLERANCE_US: Final = 2 * _MINUTE_US
"""Clocks that differ by no more than this agree."""
LONGEST_GAP_US: Final = DAY_US
"""Most that a time without heartbeats counts."""
DOUBTFUL_GAP_US: Final = 60 * _MINUTE_US
"""A longer time without heartbeats puts the clock in doubt: it may have jumped, or an older catalog was put back."""
DOUBT_US: Final = 4 * 60 * _MINUTE_US
"""How long, in observed time, nothing is destroyed after a clock was in doubt."""
MARGIN_US: Final = 10 * _MINUTE_US
"""How much longer than a waiting period must have been observed: more than fronts' counts can differ by."""
FRESH_US: Final = 10 * _MINUTE_US
"""Nothing is destroyed when the last heartbeat is older than this."""


class Doubt(StrEnum):
    """Why a clock is in doubt."""

    GAP = "gap"
    """No heartbeat for a long time, or so the clock says."""
    BEHIND = "behind"
    """The database's clock is behind the heartbeat before."""
    JUMP = "jump"
    """This front's or the database's clock went on by another time than the front's monotonic clock."""
    DISAGREEMENT = "disagreement"
    """A front's clock and the database's differ."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat found.

    Args:
        observed: Microseconds since the first heartbeat, now.
        doubts: Why clocks are in doubt, as this heartbeat found it.
        settled: Whether no clock was in doubt for long enough.
    """

    observed: int
    doubts: tuple[Doubt, ...]
    settled: bool


@dataclass(frozen=True, slots=True)
class Since:
    """What a front knows from its own last heartbeat.

    Args:
        observed: What `observed` was then.
        monotonic_us: How much its monotonic clock counted since, in microseconds.
        clock_us: How much its clock went on since, in microseconds; negative if it went back.
    """

    observed: int
    monotonic_us: int
    clock_us: int


def beat(transaction: Transaction, since: Since | None) -> Beat:
    """Write a heartbeat, and let waiting periods that were begun since the last one be observed from now on.

    Args:
        transaction: The transaction; its `now` is the front's clock.
        since: What the front knows from its own last heartbeat, or None for its first one.
    """
    database_us = _database_us(transaction)
    row = _read(transaction)
    observed, beaten, highest, doubted = (
        (row.observed, row.beaten, row.highest, row.doubted) if row is not None else (0, database_us, database_us, None)
    )
    if since is not None:
        observed = max(observed, since.observed + max(since.monotonic_us, 0))
    else:
        observed += min(max(database_us - highest, 0), LONGEST_GAP_US)
    doubts = _doubts(transaction.now, database_us, beaten, since)
    if doubts:
        doubted = observed
    _write(
        transaction,
        row is None,
        beaten=database_us,
        highest=max(highest, database_us),
        observed=observed,
        doubted=doubted,
    )
    _begin_waiting_periods(transaction, observed)
    return Beat(observed, doubts, _is_settled(observed, doubted))


def _doubts(local_us: int, database_us: int, beaten: int, since: Since | None) -> tuple[Doubt, ...]:
    doubts = []
    gap = database_us - beaten
    if abs(database_us - local_us) > TOLERANCE_US:
        doubts.append(Doubt.DISAGREEMENT)
    if gap < -TOLERANCE_US:
        doubts.append(Doubt.BEHIND)
    if since is None:
        if gap > DOUBTFUL_GAP_US:
            doubts.append(Doubt.GAP)
    elif (
        abs(since.clock_us - since.monotonic_us) > TOLERANCE_US
        # The heartbeat before, whoever's it was, came no earlier than this front's own last one.
        or gap - since.monotonic_us > TOLERANCE_US
    ):
        doubts.append(Doubt.JUMP)
    return tuple(doubts)


def why_not_passed(transaction: Transaction, date: int | None, window_us: int | None, since: int | None) -> str:
    """Return why a waiting period cannot be said to have passed, or nothing.

    Args:
        transaction: The transaction; its `now` is the front's clock.
        date: When it ends by the clock, in microseconds since 1970.
        window_us: Its length in microseconds.
        since: What `observed` was at the first heartbeat in it, or None.
    """
    database_us = _database_us(transaction)
    row = _read(transaction)
    if date is None or window_us is None or since is None or row is None:
        return "its waiting period has not been observed"
    if abs(database_us - transaction.now) > TOLERANCE_US:
        return "this machine's clock and the database's differ"
    if min(database_us, transaction.now) < date:
        return "its date has not come"
    if not -TOLERANCE_US <= database_us - row.beaten <= FRESH_US:
        return "the last heartbeat is not fresh"
    if not _is_settled(row.observed, row.doubted):
        return "a clock was in doubt lately"
    if row.observed - since < window_us + MARGIN_US:
        return "its waiting period has not passed in observed time"
    return ""


def _is_settled(observed: int, doubted: int | None) -> bool:
    return doubted is None or observed - doubted >= DOUBT_US


def _begin_waiting_periods(transaction: Transaction, observed: int) -> None:
    # `sequence` stays: no reader of the view needs this.
    table = schema.keys
    transaction.connection.execute(
        update(table)
        .where(
            table.c.deletion_date.is_not(None),
            table.c.pending_since.is_(None),
            table.c.state == KeyState.PENDING_DELETION,
        )
        .values(pending_since=observed)
    )
    imported = schema.backing_keys
    transaction.connection.execute(
        update(imported)
        .where(
            imported.c.expiry.is_not(None),
            imported.c.observed_since.is_(None),
            imported.c.state == BackingKeyState.ACTIVE,
        )
        .values(observed_since=observed)
    )


def _database_us(transaction: Transaction) -> int:
    """Return the database's clock in microseconds since 1970: of SQLite, which is a file, that of this machine."""
    if transaction.connection.dialect.name == "sqlite":
        return transaction.now
    seconds = transaction.connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one()
    return int(seconds * 1_000_000)


def _read(transaction: Transaction) -> Row[Any] | None:
    return transaction.connection.execute(select(schema.heartbeat)).one_or_none()


def _write(transaction: Transaction, is_first: bool, **values: Any) -> None:
    values |= {"sequence": transaction.sequence, "updated": transaction.now}
    if is_first:
        first = {"id": schema.ONLY_ROW, "account": "", "region": "", "created": transaction.now}
        transaction.connection.execute(insert(schema.heartbeat).values(first | values))
    else:
        transaction.connection.execute(update(schema.heartbeat).values(values))
