"""Changes of KMS keys and their backing keys, as functions on a transaction. They run in the database's writer thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import and_, delete, insert, update

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.ciphertext import Suite, key_material_id
from hsmkms.core.errors import (
    ConflictException,
    KeyUnavailableException,
    KMSInternalException,
    KMSInvalidStateException,
    LimitExceededException,
    NotFoundException,
)
from hsmkms.core.model import BackingKey, BackingKeyState, KeyState, KmsKey, RotationType, Scope
from hsmkms.core.ports import Begun
from hsmkms.core.specs import is_canary_of
from hsmkms.core.token_objects import TokenObject
from hsmkms.server.catalog import claims, rows, schema
from hsmkms.server.catalog.database import Transaction

DAY_US: Final = 24 * 60 * 60 * 1_000_000
MAX_ON_DEMAND_ROTATIONS: Final = 25
FIRST_VERSION: Final = 1


def require_key(transaction: Transaction, partition: str, scope: Scope, key_id: str) -> KmsKey:
    """Return the key as the database has it.

    Raises:
        NotFoundException: there is none in that account and Region.
    """
    key = rows.read_key(transaction.connection, key_id)
    if key is None or key.scope != scope:
        raise NotFoundException(f"Key '{key_arn(partition, scope, key_id)}' does not exist")
    return key


def begin_key(transaction: Transaction, key: KmsKey, token: str) -> Begun:
    """Write a key, its tags and its first backing key as Creating."""
    first = key.backing_keys.get(FIRST_VERSION)
    if key.state is not KeyState.CREATING or first is None or first.state is not BackingKeyState.CREATING:
        raise KMSInternalException(detail="a key is begun as Creating, with backing key 1 as Creating")
    _insert_key(transaction, key)
    insert_backing_key(transaction, key, FIRST_VERSION, first.suite, None, token)
    claims.claim(transaction, key.scope, key.cka_id(FIRST_VERSION))
    return Begun(reread(transaction, key), FIRST_VERSION)


def create_key_without_material(transaction: Transaction, key: KmsKey) -> None:
    """Write a key whose material will be imported, and its tags."""
    if key.state is not KeyState.PENDING_IMPORT or key.backing_keys:
        raise KMSInternalException(detail="a key without material is PendingImport")
    _insert_key(transaction, key)


def _insert_key(transaction: Transaction, key: KmsKey) -> None:
    common = _row(transaction, key.scope, key.created) | {"key_id": key.key_id}
    transaction.connection.execute(
        insert(schema.keys).values(
            common
            | {
                "updated": key.updated,
                "state": key.state,
                "description": key.description,
                "spec": key.spec,
                "usage": key.usage,
                "origin": key.origin,
                "multi_region": key.multi_region,
                "current_version": 0,
                "deletion_date": None,
                "pending_window_days": None,
                "pending_since": None,
                "rotation_period_days": None,
                "next_rotation": None,
                "deleted": None,
                "policy": key.policy or None,
            }
        )
    )
    for tag in key.tags:
        tag_row = common | {"tag_key": tag.tag_key, "tag_value": tag.tag_value}
        transaction.connection.execute(insert(schema.tags).values(tag_row))


def restore_key(
    transaction: Transaction, partition: str, key: KmsKey, materials: Mapping[int, TokenObject], token: str
) -> None:
    """Write a key whose backing keys were found on the token, as Disabled, with the newest of them as the current one.

    Args:
        transaction: The transaction.
        partition: The partition of ARNs.
        key: As for `begin_key`.
        materials: What was found of each version, without faults and of the key's spec and usage; one at the least.
        token: Label and serial number of the token.
    """
    begin_key(transaction, key, token)
    for version, item in sorted(materials.items()):
        if version != FIRST_VERSION:
            insert_backing_key(transaction, key, version, item.suite, RotationType.AUTOMATIC, token)
            claims.claim(transaction, key.scope, key.cka_id(version))
        finish_backing_key(transaction, partition, Begun(key, version), item.canary)
    if FIRST_VERSION not in materials:
        table = schema.backing_keys
        lost = and_(table.c.key_id == key.key_id, table.c.version == FIRST_VERSION)
        transaction.connection.execute(delete(table).where(lost))
        claims.release(transaction, key.cka_id(FIRST_VERSION))
    touch(transaction, key, updated=transaction.now, state=KeyState.DISABLED)


def begin_rotation(
    transaction: Transaction, partition: str, key: KmsKey, suite: Suite, rotation_type: RotationType, token: str
) -> Begun:
    """Write the next backing key of an Enabled key as Creating; an AUTOMATIC one only when it is due, with the next date.

    The date moves on in the transaction that begins the rotation, so that no second front, no restart and no clock finds it due again.

    Raises:
        ConflictException: another one is Creating, or an AUTOMATIC one is not due.
        LimitExceededException: 25 on-demand rotations were made.
        DisabledException, KMSInvalidStateException: the key is not Enabled.
        NotFoundException: there is no such key.
    """
    key = require_key(transaction, partition, key.scope, key.key_id)
    arn = key_arn(partition, key.scope, key.key_id)
    key_states.require("RotateKeyOnDemand", key.state, arn)
    backing_keys = key.backing_keys.values()
    if any(backing_key.state is BackingKeyState.CREATING for backing_key in backing_keys):
        raise ConflictException(f"A rotation of {arn} is in progress.")
    on_demand = sum(backing_key.rotation_type is RotationType.ON_DEMAND for backing_key in backing_keys)
    if rotation_type is RotationType.ON_DEMAND and on_demand >= MAX_ON_DEMAND_ROTATIONS:
        raise LimitExceededException(f"{arn} has reached its limit of {MAX_ON_DEMAND_ROTATIONS} on-demand rotations.")
    schedule: dict[str, int] = {}
    if rotation_type is RotationType.AUTOMATIC:
        schedule = {"next_rotation": _date_after_due(key, arn, transaction.now)}
    version = max(key.backing_keys) + 1
    insert_backing_key(transaction, key, version, suite, rotation_type, token)
    claims.claim(transaction, key.scope, key.cka_id(version))
    touch(transaction, key, updated=transaction.now, **schedule)
    return Begun(reread(transaction, key), version)


def _date_after_due(key: KmsKey, arn: str, now: int) -> int:
    """Return when a key rotates again that is due now: whole periods after the date that it is due for.

    Raises:
        ConflictException: it is not due.
    """
    due, period_days = key.next_rotation, key.rotation_period_days
    if due is None or period_days is None or due > now:
        raise ConflictException(f"{arn} is not due for rotation.")
    period = period_days * DAY_US
    return due + ((now - due) // period + 1) * period


def finish_backing_key(transaction: Transaction, partition: str, begun: Begun, canary: bytes) -> KmsKey:
    """Make a backing key Active and current, and a Creating key Enabled; a second time with the same canary does nothing.

    Raises:
        ConflictException: it is Active with another canary: the object that made this one is not the key's. Or another process has
            taken up its creation.
        KMSInternalException: the canary has a length that none has.
        KMSInvalidStateException: it is Destroyed.
        NotFoundException: there is no such backing key.
    """
    key = require_key(transaction, partition, begun.key.scope, begun.key.key_id)
    if not is_canary_of(key.spec, canary):
        raise KMSInternalException(detail=f"a canary of {len(canary)} bytes")
    backing_key = require_backing_key(partition, key, begun.version)
    if backing_key.state is BackingKeyState.ACTIVE:
        if backing_key.canary == canary:
            return key
        raise ConflictException(
            f"Another request created the key material of {key_arn(partition, key.scope, key.key_id)}."
        )
    if backing_key.state is not BackingKeyState.CREATING:
        raise KMSInvalidStateException(f"{key_arn(partition, key.scope, key.key_id)} is deleted.")
    claims.require(transaction, key.cka_id(begun.version))
    claims.release(transaction, key.cka_id(begun.version))
    update_backing_key(
        transaction,
        key,
        begun.version,
        state=BackingKeyState.ACTIVE,
        canary=canary,
        material_id=key_material_id(canary),
        rotated=transaction.now if backing_key.rotation_type else None,
    )
    touch(
        transaction,
        key,
        updated=transaction.now,
        current_version=max(begun.version, key.current_version),
        state=KeyState.ENABLED if key.state is KeyState.CREATING else key.state,
    )
    return reread(transaction, key)


def take_up_creation(transaction: Transaction, partition: str, begun: Begun, older_than_us: int) -> Begun:
    """Note that a Creating backing key is being created anew.

    Raises:
        ConflictException: it is no longer Creating, or was begun or taken up at or after `older_than_us`, or another process holds it.
        NotFoundException: there is no such backing key.
    """
    key = require_key(transaction, partition, begun.key.scope, begun.key.key_id)
    require_backing_key(partition, key, begun.version)
    table = schema.backing_keys
    taken = transaction.connection.execute(
        update(table)
        .where(
            table.c.key_id == key.key_id,
            table.c.version == begun.version,
            table.c.state == BackingKeyState.CREATING,
            table.c.updated < older_than_us,
        )
        .values(sequence=transaction.sequence, updated=transaction.now)
    )
    if taken.rowcount != 1:
        raise ConflictException(
            f"Another request is creating the key material of {key_arn(partition, key.scope, key.key_id)}."
        )
    try:
        claims.claim(transaction, key.scope, key.cka_id(begun.version))
    except KeyUnavailableException as error:
        raise ConflictException(error.message) from error
    touch(transaction, key)
    return Begun(reread(transaction, key), begun.version)


def set_state(transaction: Transaction, partition: str, key: KmsKey, state: KeyState) -> None:
    """Make a key that is Enabled or Disabled the one or the other.

    Raises:
        KMSInvalidStateException: the key is in another state.
        NotFoundException: there is no such key.
    """
    key = require_key(transaction, partition, key.scope, key.key_id)
    allowed = (KeyState.ENABLED, KeyState.DISABLED)
    if state not in allowed:
        raise KMSInternalException(detail=f"set_state to {state}")
    operation = "EnableKey" if state is KeyState.ENABLED else "DisableKey"
    key_states.require(operation, key.state, key_arn(partition, key.scope, key.key_id))
    if key.state is not state:
        touch(transaction, key, updated=transaction.now, state=state)


def require_backing_key(partition: str, key: KmsKey, version: int) -> BackingKey:
    """Return a key's backing key of that version.

    Raises:
        NotFoundException: there is none.
    """
    backing_key = key.backing_keys.get(version)
    if backing_key is None:
        raise NotFoundException(
            f"Key material {version} of '{key_arn(partition, key.scope, key.key_id)}' does not exist"
        )
    return backing_key


def _row(transaction: Transaction, scope: Scope, created: int) -> dict[str, Any]:
    return {
        "account": scope.account,
        "region": scope.region,
        "sequence": transaction.sequence,
        "created": created,
        "updated": transaction.now,
    }


def insert_backing_key(
    transaction: Transaction, key: KmsKey, version: int, suite: Suite, rotation_type: RotationType | None, token: str
) -> None:
    """Write a backing key as Creating."""
    transaction.connection.execute(
        insert(schema.backing_keys).values(
            _row(transaction, key.scope, transaction.now)
            | {
                "key_id": key.key_id,
                "version": version,
                "token": token,
                "suite": suite,
                "cka_id": key.cka_id(version),
                "material_id": "",
                "state": BackingKeyState.CREATING,
                "origin": key.origin,
                "expiry": None,
                "canary": b"",
                "rotation_type": rotation_type,
                "rotated": None,
                "description": None,
                "imported": None,
                "observed_since": None,
            }
        )
    )


def update_backing_key(transaction: Transaction, key: KmsKey, version: int, **values: Any) -> None:
    """Give a backing key these values."""
    table = schema.backing_keys
    transaction.connection.execute(
        update(table)
        .where(table.c.key_id == key.key_id, table.c.version == version)
        .values(sequence=transaction.sequence, updated=transaction.now, **values)
    )


def touch(transaction: Transaction, key: KmsKey, **values: Any) -> None:
    """Give the key's row the change's sequence number, by which every reader finds what changed, and the values."""
    transaction.connection.execute(
        update(schema.keys).where(schema.keys.c.key_id == key.key_id).values(sequence=transaction.sequence, **values)
    )


def reread(transaction: Transaction, key: KmsKey) -> KmsKey:
    """Return a key as it is after what this transaction changed."""
    found = rows.read_key(transaction.connection, key.key_id)
    assert found is not None
    return found
