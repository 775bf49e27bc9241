"""Changes of access keys, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, select, update

from hsmkms.core.access_keys import MAX_ACCESS_KEYS, AccessKey, AccessKeyStatus, AccessKeyUse
from hsmkms.core.errors import AlreadyExistsException, LimitExceededException, NotFoundException
from hsmkms.server.catalog.database import Transaction
from hsmkms.server.catalog.schema import access_keys


def create_access_key(transaction: Transaction, access_key: AccessKey) -> None:
    """Write a new access key.

    Raises:
        AlreadyExistsException: there is, or was, one of that id.
        LimitExceededException: its principal has two.
    """
    same = select(func.count()).select_from(access_keys).where(access_keys.c.access_key_id == access_key.access_key_id)
    if transaction.connection.execute(same).scalar_one():
        raise AlreadyExistsException(f"The access key with id {access_key.access_key_id} exists.")
    of_principal = and_(access_keys.c.principal == access_key.principal, access_keys.c.deleted.is_(False))
    count = select(func.count()).select_from(access_keys).where(of_principal)
    if transaction.connection.execute(count).scalar_one() >= MAX_ACCESS_KEYS:
        raise LimitExceededException(f"Cannot exceed quota for AccessKeysPerUser: {MAX_ACCESS_KEYS}")
    transaction.connection.execute(
        insert(access_keys).values(
            access_key_id=access_key.access_key_id,
            account=access_key.account,
            region="",
            sequence=transaction.sequence,
            created=access_key.created,
            updated=transaction.now,
            principal=access_key.principal,
            status=access_key.status,
            sealed=access_key.sealed,
            last_used=access_key.last_used,
            last_service=access_key.last_service,
            deleted=False,
        )
    )


def set_access_key_status(transaction: Transaction, access_key_id: str, status: AccessKeyStatus) -> None:
    """Make an access key Active or Inactive; one that is so already stays so.

    Raises:
        NotFoundException: there is none of that id.
    """
    _change(transaction, access_key_id, status=status)


def delete_access_key(transaction: Transaction, access_key_id: str) -> None:
    """Turn an access key into a tombstone without a secret.

    Raises:
        NotFoundException: there is none of that id.
    """
    _change(transaction, access_key_id, deleted=True, status=AccessKeyStatus.INACTIVE, sealed=b"")


def record_access_key_uses(transaction: Transaction, uses: Sequence[AccessKeyUse]) -> None:
    """Write the last uses of these access keys, where none that is later is written; deleted ones are left out."""
    for use in uses:
        older = and_(_living(use.access_key_id), access_keys.c.last_used < use.used)
        transaction.connection.execute(
            update(access_keys)
            .where(older)
            .values(
                sequence=transaction.sequence,
                updated=transaction.now,
                last_used=use.used,
                last_service=use.service,
            )
        )


def _living(access_key_id: str) -> ColumnElement[bool]:
    return and_(access_keys.c.access_key_id == access_key_id, access_keys.c.deleted.is_(False))


def _change(transaction: Transaction, access_key_id: str, **values: Any) -> None:
    change = (
        update(access_keys)
        .where(_living(access_key_id))
        .values(sequence=transaction.sequence, updated=transaction.now, **values)
    )
    if not transaction.connection.execute(change).rowcount:
        raise NotFoundException(f"The Access Key with id {access_key_id[:64]} cannot be found.")
