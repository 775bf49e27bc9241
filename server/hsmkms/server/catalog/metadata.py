"""Changes of a key's description, policy and tags, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, insert

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.errors import LimitExceededException
from hsmkms.core.model import KmsKey, Tag
from hsmkms.server.catalog import keys, schema
from hsmkms.server.catalog.database import Transaction

MAX_TAGS: Final = 50
"""Of one key."""


def set_description(transaction: Transaction, partition: str, key: KmsKey, description: str) -> None:
    """Change a key's description.

    Raises:
        KMSInvalidStateException: the key's state does not allow it.
        NotFoundException: there is no such key.
    """
    key = _require(transaction, partition, key, "UpdateKeyDescription")
    keys.touch(transaction, key, updated=transaction.now, description=description)


def set_policy(transaction: Transaction, partition: str, key: KmsKey, policy: str) -> None:
    """Replace a key's policy.

    Raises:
        NotFoundException: there is no such key.
    """
    key = _require(transaction, partition, key, "PutKeyPolicy")
    keys.touch(transaction, key, updated=transaction.now, policy=policy)


def tag(transaction: Transaction, partition: str, key: KmsKey, tags: Sequence[Tag]) -> None:
    """Give a key these tags, in the place of those of the same keys.

    Raises:
        KMSInvalidStateException: the key's state does not allow it.
        LimitExceededException: it would have more than 50.
        NotFoundException: there is no such key.
    """
    key = _require(transaction, partition, key, "TagResource")
    new_keys = [new.tag_key for new in tags]
    if len({old.tag_key for old in key.tags} | set(new_keys)) > MAX_TAGS:
        arn = key_arn(partition, key.scope, key.key_id)
        raise LimitExceededException(f"{arn} would have more than {MAX_TAGS} tags.")
    _delete(transaction, key, new_keys)
    for new in tags:
        transaction.connection.execute(
            insert(schema.tags).values(
                key_id=key.key_id,
                tag_key=new.tag_key,
                account=key.scope.account,
                region=key.scope.region,
                sequence=transaction.sequence,
                created=transaction.now,
                updated=transaction.now,
                tag_value=new.tag_value,
            )
        )
    keys.touch(transaction, key, updated=transaction.now)


def untag(transaction: Transaction, partition: str, key: KmsKey, tag_keys: Sequence[str]) -> None:
    """Take the tags of these keys from a key, those that it has.

    Raises:
        KMSInvalidStateException: the key's state does not allow it.
        NotFoundException: there is no such key.
    """
    key = _require(transaction, partition, key, "UntagResource")
    _delete(transaction, key, tag_keys)
    keys.touch(transaction, key, updated=transaction.now)


def _require(transaction: Transaction, partition: str, key: KmsKey, operation: str) -> KmsKey:
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    key_states.require(operation, key.state, key_arn(partition, key.scope, key.key_id))
    return key


def _delete(transaction: Transaction, key: KmsKey, tag_keys: Sequence[str]) -> None:
    table = schema.tags
    transaction.connection.execute(
        delete(table).where(table.c.key_id == key.key_id, table.c.tag_key.in_(list(tag_keys)))
    )
