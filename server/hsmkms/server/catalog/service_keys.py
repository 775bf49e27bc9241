"""Changes of the service's own keys, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import insert, update

from hsmkms.core.ciphertext import CANARY_BYTES, Suite
from hsmkms.core.errors import ConflictException, KMSInternalException, NotFoundException
from hsmkms.core.model import BackingKeyState, Scope
from hsmkms.core.service_keys import ServiceKey, service_key_cka_id
from hsmkms.server.catalog import claims, rows, schema
from hsmkms.server.catalog.database import Transaction

_DEPLOYMENT: Final = Scope("", "")
"""Service keys belong to no account."""


def begin_service_key(transaction: Transaction, purpose: str, suite: Suite, token: str) -> ServiceKey:
    """Write a service key as Creating; one that is there is returned as it is, except that a Creating one takes suite and token.

    Raises:
        KeyUnavailableException: another process is making it.
    """
    known = rows.read_service_key(transaction.connection, purpose)
    if known is None:
        deployment_id = rows.read_deployment_id(transaction.connection)
        transaction.connection.execute(
            insert(schema.service_keys).values(
                purpose=purpose,
                account="",
                region="",
                sequence=transaction.sequence,
                created=transaction.now,
                updated=transaction.now,
                token=token,
                suite=suite,
                cka_id=service_key_cka_id(deployment_id, purpose),
                state=BackingKeyState.CREATING,
                canary=b"",
            )
        )
    elif known.state is BackingKeyState.CREATING:
        _change(transaction, purpose, suite=suite, token=token)
    key = _require(transaction, purpose)
    if key.state is BackingKeyState.CREATING:
        claims.claim(transaction, _DEPLOYMENT, key.cka_id)
    return key


def finish_service_key(transaction: Transaction, purpose: str, canary: bytes) -> ServiceKey:
    """Make a service key Active; a second time with the same canary does nothing.

    Raises:
        ConflictException: it is Active with another canary, or another process has taken up its creation.
        KMSInternalException: the canary has a length that none has.
        NotFoundException: it was not begun.
    """
    if len(canary) != CANARY_BYTES:
        raise KMSInternalException(detail=f"a canary of {len(canary)} bytes")
    known = _require(transaction, purpose)
    if known.state is BackingKeyState.ACTIVE:
        if known.canary == canary:
            return known
        raise ConflictException(f"Another process created the service key for {purpose}.")
    claims.require(transaction, known.cka_id)
    claims.release(transaction, known.cka_id)
    _change(transaction, purpose, state=BackingKeyState.ACTIVE, canary=canary)
    return _require(transaction, purpose)


def _require(transaction: Transaction, purpose: str) -> ServiceKey:
    known = rows.read_service_key(transaction.connection, purpose)
    if known is None:
        raise NotFoundException(f"The service key for {purpose} does not exist.")
    return known


def _change(transaction: Transaction, purpose: str, **values: Any) -> None:
    transaction.connection.execute(
        update(schema.service_keys)
        .where(schema.service_keys.c.purpose == purpose)
        .values(sequence=transaction.sequence, updated=transaction.now, **values)
    )
