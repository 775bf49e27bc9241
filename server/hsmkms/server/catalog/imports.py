"""Imported key material, as functions on a transaction. They run in the database's writer thread.

A key of origin EXTERNAL has one backing key, version 1, once something was imported into it. Its row goes

- `begin_import`: absent or PendingImport → Creating. Material that is there already stays Active: the token proves that what comes is the
  same, and nothing of it changes but its expiry.
- `finish_import`: → Active, the key Enabled; or `abandon_import`: back to what it was before.
- `delete_imported`, or the end of its time (`begin_expiry`): → Destroying, the key PendingImport. When the token has nothing of it any
  more, `deletion.finish_destruction` makes it PendingImport; its canary stays, so that only the same material can come back. An import
  that was under way cannot be finished then; what it put on the token is destroyed when its claim ends.

An import cannot be finished by anybody else: only its caller has the material. So whoever finds one that was left behind destroys what
may be on the token and abandons it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, delete, select

from hsmkms.core import key_states
from hsmkms.core.arns import key_arn
from hsmkms.core.ciphertext import key_material_id
from hsmkms.core.errors import ConflictException, KeyUnavailableException
from hsmkms.core.model import BackingKeyState, KeyState, KmsKey, Origin
from hsmkms.core.ports import Begun, Import
from hsmkms.server.catalog import claims, heartbeats, keys, rows, schema
from hsmkms.server.catalog.database import Transaction

_BACK: Final = frozenset({BackingKeyState.PENDING_IMPORT, BackingKeyState.CREATING})


def begin_import(transaction: Transaction, partition: str, key: KmsKey, imported: Import, token: str) -> Begun:
    """Write that material is on its way into a key; see the module's text.

    Raises:
        ConflictException: another import is under way.
        KeyUnavailableException: the old material is being deleted just now, or another process imports.
        DisabledException, KMSInvalidStateException: the key's state does not allow it.
        NotFoundException: there is no such key.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    arn = key_arn(partition, key.scope, key.key_id)
    key_states.require("ImportKeyMaterial", key.state, arn)
    backing_key = key.backing_keys.get(imported.version)
    if backing_key is not None and backing_key.state is BackingKeyState.DESTROYING:
        raise KeyUnavailableException(f"The key material of {arn} is being deleted. Try again.")
    claims.claim(transaction, key.scope, key.cka_id(imported.version))
    if backing_key is None:
        keys.insert_backing_key(transaction, key, imported.version, imported.suite, None, token)
    elif backing_key.state in _BACK:
        keys.update_backing_key(
            transaction, key, imported.version, state=BackingKeyState.CREATING, suite=imported.suite, token=token
        )
    keys.touch(transaction, key)
    return Begun(keys.reread(transaction, key), imported.version)


def finish_import(transaction: Transaction, partition: str, begun: Begun, imported: Import, canary: bytes) -> KmsKey:
    """Make imported material Active, with its expiry, and its key Enabled.

    Raises:
        ConflictException: another process has taken the import up, or the material is not what was imported before.
        KMSInvalidStateException: the key's state does not allow it any more.
        NotFoundException: there is no such key.
    """
    key = keys.require_key(transaction, partition, begun.key.scope, begun.key.key_id)
    arn = key_arn(partition, key.scope, key.key_id)
    backing_key = keys.require_backing_key(partition, key, begun.version)
    key_states.require("ImportKeyMaterial", key.state, arn)
    claims.require(transaction, key.cka_id(begun.version))
    if backing_key.state not in (BackingKeyState.CREATING, BackingKeyState.ACTIVE) or (
        backing_key.canary and backing_key.canary != canary
    ):
        raise ConflictException(f"Another request changed the key material of {arn}.")
    claims.release(transaction, key.cka_id(begun.version))
    values: dict[str, Any] = {
        "state": BackingKeyState.ACTIVE,
        "canary": canary,
        "material_id": key_material_id(canary),
        "expiry": imported.expiry,
        "imported": transaction.now,
        "observed_since": None,
    }
    if imported.description is not None:
        values["description"] = imported.description
    keys.update_backing_key(transaction, key, begun.version, **values)
    keys.touch(transaction, key, updated=transaction.now, current_version=begun.version, state=KeyState.ENABLED)
    return keys.reread(transaction, key)


def abandon_import(transaction: Transaction, partition: str, begun: Begun) -> None:
    """Write that an import came to nothing; nothing of it is on the token. A second time does nothing.

    Raises:
        ConflictException: another process has taken it up.
        NotFoundException: there is no such key.
    """
    key = keys.require_key(transaction, partition, begun.key.scope, begun.key.key_id)
    backing_key = key.backing_keys.get(begun.version)
    if backing_key is None:
        return
    cka_id = key.cka_id(begun.version)
    claims.require(transaction, cka_id)
    claims.release(transaction, cka_id)
    if backing_key.state is not BackingKeyState.CREATING:
        return
    if backing_key.canary:
        keys.update_backing_key(transaction, key, begun.version, state=BackingKeyState.PENDING_IMPORT)
    else:
        table = schema.backing_keys
        transaction.connection.execute(
            delete(table).where(table.c.key_id == key.key_id, table.c.version == begun.version)
        )
    keys.touch(transaction, key)


def delete_imported(transaction: Transaction, partition: str, key: KmsKey, version: int) -> None:
    """Take imported material out of use: it is Destroying, and its key PendingImport unless that is pending deletion.

    Raises:
        ConflictException: it is just being imported.
        KMSInvalidStateException: the key's state does not allow it.
        NotFoundException: there is no such key or material.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    arn = key_arn(partition, key.scope, key.key_id)
    key_states.require("DeleteImportedKeyMaterial", key.state, arn)
    backing_key = keys.require_backing_key(partition, key, version)
    if backing_key.state is BackingKeyState.CREATING:
        raise ConflictException(f"An import into {arn} is in progress.")
    if backing_key.state is BackingKeyState.ACTIVE:
        _take_out(transaction, key, version)


def _take_out(transaction: Transaction, key: KmsKey, version: int) -> None:
    keys.update_backing_key(transaction, key, version, state=BackingKeyState.DESTROYING, expiry=None)
    is_leaving = key.state is KeyState.PENDING_DELETION
    keys.touch(
        transaction,
        key,
        updated=transaction.now,
        current_version=0,
        state=key.state if is_leaving else KeyState.PENDING_IMPORT,
    )


def expired(connection: Connection, now: int, limit: int) -> tuple[tuple[KmsKey, int], ...]:
    """Return at most `limit` keys and versions of imported material whose time has come by this clock; more is not said by this."""
    table = schema.backing_keys
    query = (
        select(table.c.key_id, table.c.version)
        .where(table.c.expiry <= now, table.c.state == BackingKeyState.ACTIVE, table.c.origin == Origin.EXTERNAL)
        .order_by(table.c.expiry)
        .limit(limit)
    )
    found = connection.execute(query).all()
    return tuple((key, row.version) for row in found if (key := rows.read_key(connection, row.key_id)) is not None)


def begin_expiry(transaction: Transaction, partition: str, key: KmsKey, version: int) -> None:
    """Take imported material out of use whose time has really come, by clocks and heartbeats (docs/adr/0008).

    Long before, at the moment its expiry says, no front uses it any more: that needs no certainty, since nothing is lost by it.

    Raises:
        ConflictException: its time has not come, or that is in doubt; its detail says what.
        NotFoundException: there is no such key or material.
    """
    key = keys.require_key(transaction, partition, key.scope, key.key_id)
    arn = key_arn(partition, key.scope, key.key_id)
    backing_key = keys.require_backing_key(partition, key, version)
    table = schema.backing_keys
    query = select(table.c.imported, table.c.observed_since).where(
        table.c.key_id == key.key_id, table.c.version == version
    )
    row = transaction.connection.execute(query).one()
    if backing_key.state is not BackingKeyState.ACTIVE or backing_key.expiry is None or row.imported is None:
        raise ConflictException(f"The key material of {arn} does not expire.")
    why_not = heartbeats.why_not_passed(
        transaction, backing_key.expiry, backing_key.expiry - row.imported, row.observed_since
    )
    if why_not:
        raise ConflictException(f"The key material of {arn} cannot be deleted yet.", detail=why_not)
    _take_out(transaction, key, version)
