"""Changes of aliases, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, func, insert, select, update

from hsmkms.core import key_states
from hsmkms.core.arns import alias_arn, key_arn
from hsmkms.core.errors import AlreadyExistsException, LimitExceededException, NotFoundException
from hsmkms.core.model import Alias, Scope
from hsmkms.server.catalog.database import Transaction
from hsmkms.server.catalog.keys import require_key
from hsmkms.server.catalog.schema import aliases

MAX_ALIASES: Final = 50
"""Of one key."""


def create_alias(transaction: Transaction, partition: str, alias: Alias) -> None:
    """Write a new alias, in the place of a deleted one's tombstone if there is one.

    Raises:
        AlreadyExistsException: there is one of that name.
        KMSInvalidStateException: the key is pending deletion, or creating.
        LimitExceededException: the key has 50 aliases.
        NotFoundException: there is no such key.
    """
    tombstone = _find(transaction, alias.scope, alias.name)
    if tombstone is not None and not tombstone.deleted:
        arn = alias_arn(partition, alias.scope, alias.name)
        raise AlreadyExistsException(f"An alias with the name {arn} already exists")
    _require_room(transaction, partition, alias.scope, alias.key_id)
    values = {
        "sequence": transaction.sequence,
        "created": alias.created,
        "updated": alias.updated,
        "key_id": alias.key_id,
        "deleted": False,
    }
    if tombstone is not None:
        transaction.connection.execute(update(aliases).where(_named(alias.scope, alias.name)).values(values))
    else:
        name = {"account": alias.scope.account, "region": alias.scope.region, "name": alias.name}
        transaction.connection.execute(insert(aliases).values(name | values))


def update_alias(transaction: Transaction, partition: str, scope: Scope, name: str, key_id: str) -> None:
    """Point an alias to a key.

    Raises:
        KMSInvalidStateException: the key is pending deletion, or creating.
        LimitExceededException: the key has 50 aliases, this one not among them.
        NotFoundException: there is no such alias, or no such key.
    """
    row = _require(transaction, partition, scope, name)
    _require_room(transaction, partition, scope, key_id, already_there=row.key_id == key_id)
    _change(transaction, scope, name, key_id=key_id)


def delete_alias(transaction: Transaction, partition: str, scope: Scope, name: str) -> None:
    """Turn an alias into a tombstone.

    Raises:
        NotFoundException: there is no such alias.
    """
    _require(transaction, partition, scope, name)
    _change(transaction, scope, name, deleted=True)


def _require_room(
    transaction: Transaction, partition: str, scope: Scope, key_id: str, *, already_there: bool = False
) -> None:
    key = require_key(transaction, partition, scope, key_id)
    key_states.require("CreateAlias", key.state, key_arn(partition, scope, key_id))
    count = select(func.count()).select_from(aliases).where(aliases.c.key_id == key_id, aliases.c.deleted.is_(False))
    if not already_there and transaction.connection.execute(count).scalar_one() >= MAX_ALIASES:
        raise LimitExceededException(
            f"{key_arn(partition, scope, key_id)} has reached its limit of {MAX_ALIASES} aliases."
        )


def _named(scope: Scope, name: str) -> ColumnElement[bool]:
    return and_(aliases.c.account == scope.account, aliases.c.region == scope.region, aliases.c.name == name)


def _find(transaction: Transaction, scope: Scope, name: str) -> Row[Any] | None:
    return transaction.connection.execute(select(aliases).where(_named(scope, name))).one_or_none()


def _require(transaction: Transaction, partition: str, scope: Scope, name: str) -> Row[Any]:
    row = _find(transaction, scope, name)
    if row is None or row.deleted:
        raise NotFoundException(f"Alias {alias_arn(partition, scope, name)} is not found.")
    return row


def _change(transaction: Transaction, scope: Scope, name: str, **values: Any) -> None:
    transaction.connection.execute(
        update(aliases)
        .where(_named(scope, name))
        .values(sequence=transaction.sequence, updated=transaction.now, **values)
    )
