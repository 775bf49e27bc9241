"""Idempotency keys: a change made under one is made once, and for 24 hours its repetition is recognised.

Functions on a transaction; they run in the database's writer thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, tuple_, update

from hsmkms.core.errors import ValidationException
from hsmkms.core.ports import Mutation
from hsmkms.server.catalog.database import Transaction
from hsmkms.server.catalog.schema import idempotency

LIFETIME_US: Final = 24 * 60 * 60 * 1_000_000
NOTHING_TO_SAY: Final = b"{}"
"""The answer of a change whose operation answers nothing, as JSON."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a change that was made before.

    Args:
        key_id: The key whose backing key was begun, or empty.
        version: The backing key's version, or 0.
        answer: The answer given, or empty.
    """

    key_id: str = ""
    version: int = 0
    answer: bytes = b""


def find(transaction: Transaction, mutation: Mutation) -> Kept | None:
    """Return what is known of this change, or None when it was not made in the last 24 hours.

    Raises:
        ValidationException: the idempotency key was used for another request.
    """
    if mutation.idempotency_key is None:
        return None
    row = transaction.connection.execute(select(idempotency).where(_same(mutation))).one_or_none()
    if row is None:
        return None
    if row.expires <= transaction.now:
        transaction.connection.execute(delete(idempotency).where(_same(mutation)))
        return None
    if row.fingerprint != mutation.fingerprint:
        raise ValidationException(
            f"The idempotency key was used for another {mutation.operation} request in the last 24 hours. "
            "Use a new idempotency key for a new request."
        )
    return Kept(row.key_id, row.version, row.answer)


def answer_of(connection: Connection, mutation: Mutation, now: int) -> bytes | None:
    """Return the answer that was given under this idempotency key, `{}` where there was nothing to say, or None if there is none yet.

    Args:
        connection: Where to read.
        mutation: The change.
        now: The time in microseconds since 1970, UTC.
    """
    condition = and_(_same(mutation), idempotency.c.fingerprint == mutation.fingerprint, idempotency.c.expires > now)
    row = connection.execute(select(idempotency.c.key_id, idempotency.c.answer).where(condition)).one_or_none()
    if row is None or (row.key_id and not row.answer):
        return None
    return bytes(row.answer) or NOTHING_TO_SAY


def keep(transaction: Transaction, mutation: Mutation, kept: Kept) -> None:
    """Note that this change was made."""
    if mutation.idempotency_key is None:
        return
    transaction.connection.execute(
        insert(idempotency).values(
            account=mutation.scope.account,
            region=mutation.scope.region,
            principal=mutation.principal,
            operation=mutation.operation,
            idempotency_key=mutation.idempotency_key,
            sequence=transaction.sequence,
            created=transaction.now,
            updated=transaction.now,
            fingerprint=mutation.fingerprint,
            key_id=kept.key_id,
            version=kept.version,
            answer=kept.answer,
            expires=transaction.now + LIFETIME_US,
        )
    )


def keep_answer(transaction: Transaction, mutation: Mutation, answer: bytes) -> None:
    """Keep the answer of a change that was begun under this idempotency key; the first answer stays."""
    if mutation.idempotency_key is None or not answer:
        return
    condition = and_(_same(mutation), idempotency.c.fingerprint == mutation.fingerprint, idempotency.c.answer == b"")
    transaction.connection.execute(
        update(idempotency)
        .where(condition)
        .values(answer=answer, sequence=transaction.sequence, updated=transaction.now)
    )


def purge(transaction: Transaction, limit: int) -> int:
    """Delete at most `limit` expired rows and return how many it were."""
    key = tuple(idempotency.primary_key.columns)
    expired = select(*key).where(idempotency.c.expires <= transaction.now).limit(limit)
    found = transaction.connection.execute(expired).all()
    if found:
        transaction.connection.execute(delete(idempotency).where(tuple_(*key).in_([tuple(row) for row in found])))
    return len(found)


def _same(mutation: Mutation) -> ColumnElement[bool]:
    return and_(
        idempotency.c.account == mutation.scope.account,
        idempotency.c.region == mutation.scope.region,
        idempotency.c.principal == mutation.principal,
        idempotency.c.operation == mutation.operation,
        idempotency.c.idempotency_key == mutation.idempotency_key,
    )
