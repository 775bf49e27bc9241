"""Changes of grants, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, insert, select, update

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.errors import InvalidGrantIdException, LimitExceededException
from hsmkms.core.grants import MAX_GRANTS_PER_GRANTEE, MAX_GRANTS_PER_KEY
from hsmkms.core.model import Grant, Scope
from hsmkms.server.catalog import rows
from hsmkms.server.catalog.database import Transaction
from hsmkms.server.catalog.keys import require_key
from hsmkms.server.catalog.schema import grants


def create_grant(transaction: Transaction, partition: str, grant: Grant) -> Grant:
    """Write a new grant and return it; or, if it has a name, return the grant of that name that is the same in all else.

    Raises:
        DisabledException, KMSInvalidStateException: the key's state does not allow it.
        LimitExceededException: the key, or the grantee on this key, has as many as it may.
        NotFoundException: there is no such key.
    """
    key = require_key(transaction, partition, grant.scope, grant.key_id)
    arn = key_arn(partition, grant.scope, grant.key_id)
    key_states.require("CreateGrant", key.state, arn)
    values = _values(grant)
    twin = _twin(transaction, grant, values)
    if twin is not None:
        return rows.read_grant(twin)
    for limit, condition, whose in (
        (MAX_GRANTS_PER_KEY, _of_key(grant.key_id), ""),
        (MAX_GRANTS_PER_GRANTEE, _of_grantee(grant), f" to {grant.grantee_principal}"),
    ):
        count = transaction.connection.execute(select(func.count()).select_from(grants).where(condition)).scalar_one()
        if count >= limit:
            raise LimitExceededException(f"{arn} has reached its limit of {limit} grants{whose}.")
    transaction.connection.execute(
        insert(grants).values(
            values
            | {
                "grant_id": grant.grant_id,
                "account": grant.scope.account,
                "region": grant.scope.region,
                "sequence": transaction.sequence,
                "created": grant.created,
                "updated": transaction.now,
                "deleted": False,
            }
        )
    )
    return grant


def end_grant(transaction: Transaction, scope: Scope, key_id: str, grant_id: str) -> None:
    """Turn a grant into a tombstone.

    Raises:
        InvalidGrantIdException: that key has no such grant.
    """
    condition = and_(
        grants.c.grant_id == grant_id,
        grants.c.account == scope.account,
        grants.c.region == scope.region,
        _of_key(key_id),
    )
    change = (
        update(grants).where(condition).values(deleted=True, sequence=transaction.sequence, updated=transaction.now)
    )
    if not transaction.connection.execute(change).rowcount:
        raise InvalidGrantIdException(f"Grant ID {grant_id[:64]} is not found.")


def _of_key(key_id: str) -> ColumnElement[bool]:
    return and_(grants.c.key_id == key_id, grants.c.deleted.is_(False))


def _of_grantee(grant: Grant) -> ColumnElement[bool]:
    return and_(_of_key(grant.key_id), grants.c.grantee_principal == grant.grantee_principal)


def _twin(transaction: Transaction, grant: Grant, values: Mapping[str, Any]) -> Row[Any] | None:
    if not grant.name:
        return None
    same = [column.is_(None) if value is None else column == value for column, value in _columns(values)]
    found = select(grants).where(_of_key(grant.key_id), *same).order_by(grants.c.created).limit(1)
    return transaction.connection.execute(found).one_or_none()


def _columns(values: Mapping[str, Any]) -> list[tuple[ColumnElement[Any], Any]]:
    return [(grants.c[name], value) for name, value in values.items()]


def _values(grant: Grant) -> dict[str, Any]:
    """Return what two grants of one name have in common when they are the same."""
    return {
        "key_id": grant.key_id,
        "name": grant.name,
        "grantee_principal": grant.grantee_principal,
        "retiring_principal": grant.retiring_principal,
        "issuing_account": grant.issuing_account,
        "operations": ",".join(grant.operations),
        "context_equals": _json(grant.context_equals),
        "context_subset": _json(grant.context_subset),
    }


def _json(context: Mapping[str, str] | None) -> str | None:
    return None if context is None else json.dumps(dict(context), sort_keys=True)
