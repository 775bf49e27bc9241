"""A new catalog from what is on the token alone.

The token knows which keys there are, their kinds, usages and versions, and whose deployment they are. It does not know accounts, states,
descriptions, aliases, tags, policies or grants, nor what was imported. So every key belongs to the configured account, has the default
key policy and origin AWS_KMS, and is Disabled until an operator has judged it. Canaries are made anew by the keys themselves, and so are
the key materials' ids.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy import Connection, insert, inspect, update
from sqlalchemy.exc import SQLAlchemyError

from hsmkms.core.ciphertext import KEY_UUID_BYTES
from hsmkms.core.model import (
    BackingKey,
    BackingKeyState,
    KeySpec,
    KeyState,
    KmsKey,
    MultiRegionKind,
    Origin,
    Scope,
)
from hsmkms.core.service_keys import PURPOSES, deployment_label, service_key_cka_id
from hsmkms.core.token_objects import TokenObject
from hsmkms.server.catalog import keys, migrate, schema
from hsmkms.server.catalog.database import BUSY_TIMEOUT_S, Transaction
from hsmkms.server.catalog.errors import CatalogError
from hsmkms.server.catalog.place import Access, Place, place_of
from hsmkms.server.catalog.sqlite import path_of

_LABEL_PREFIX: Final = deployment_label(uuid.UUID(int=0)).removesuffix(str(uuid.UUID(int=0)).encode())
_RANDOM_UUID: Final = 4
_CLAIMANT: Final = "hsm-kms catalog rebuild"


@dataclass(slots=True)
class Found:
    """What is on the token of one deployment.

    Args:
        deployment_id: The deployment.
        keys: The key materials, by KMS key and version; those of one key are of one spec and usage.
        service_keys: The service keys, by purpose.
        left_out: Objects of the deployment that cannot be taken, and why.
    """

    deployment_id: uuid.UUID
    keys: dict[uuid.UUID, dict[int, TokenObject]] = field(default_factory=dict)
    service_keys: dict[str, TokenObject] = field(default_factory=dict)
    left_out: list[tuple[TokenObject, str]] = field(default_factory=list)

    @property
    def missing_versions(self) -> dict[uuid.UUID, list[int]]:
        """Versions that a key must have had and the token lacks: what was sealed under them cannot be opened."""
        missing = {key: sorted(set(range(1, max(versions))) - set(versions)) for key, versions in self.keys.items()}
        return {key: versions for key, versions in missing.items() if versions}


def deployments(objects: Sequence[TokenObject]) -> dict[uuid.UUID, int]:
    """Return which deployments have objects on a token, and how many."""
    found: dict[uuid.UUID, int] = {}
    for item in objects:
        deployment_id = _deployment_of(item.label)
        if deployment_id is not None:
            found[deployment_id] = found.get(deployment_id, 0) + 1
    return found


def take_stock(objects: Sequence[TokenObject], deployment_id: uuid.UUID) -> Found:
    """Sort out what is on the token of one deployment.

    Of several objects with one CKA_ID none is taken: any of them could be the wrong one. Nor is any of a key that has materials of several
    kinds.
    """
    found = Found(deployment_id)
    own = [item for item in objects if item.label == deployment_label(deployment_id)]
    purposes = {service_key_cka_id(deployment_id, purpose): purpose for purpose in PURPOSES}
    times: dict[bytes, int] = {}
    for item in own:
        times[item.cka_id] = times.get(item.cka_id, 0) + 1
    for item in own:
        key_uuid, version = item.cka_id[:KEY_UUID_BYTES], int.from_bytes(item.cka_id[KEY_UUID_BYTES:], "big")
        if item.fault:
            found.left_out.append((item, item.fault))
        elif times[item.cka_id] > 1:
            found.left_out.append((item, f"{times[item.cka_id]} objects have this CKA_ID"))
        elif item.cka_id in purposes and item.spec is KeySpec.SYMMETRIC_DEFAULT:
            found.service_keys[purposes[item.cka_id]] = item
        elif not _is_of_kms_key(item, uuid.UUID(bytes=key_uuid), version):
            found.left_out.append((item, "neither a KMS key of this service nor a service key of this version"))
        else:
            found.keys.setdefault(uuid.UUID(bytes=key_uuid), {})[version] = item
    _leave_out_mixtures(found)
    return found


def _is_of_kms_key(item: TokenObject, key_id: uuid.UUID, version: int) -> bool:
    versions = version >= 1 if item.spec is KeySpec.SYMMETRIC_DEFAULT else version == keys.FIRST_VERSION
    return versions and key_id.version == _RANDOM_UUID


def _leave_out_mixtures(found: Found) -> None:
    for key_id, materials in list(found.keys.items()):
        if len({(item.spec, item.usage) for item in materials.values()}) > 1:
            del found.keys[key_id]
            why = f"the materials of key {key_id} are of several kinds"
            found.left_out += ((item, why) for item in materials.values())


def _deployment_of(label: bytes) -> uuid.UUID | None:
    if not label.startswith(_LABEL_PREFIX):
        return None
    try:
        deployment_id = uuid.UUID(label.removeprefix(_LABEL_PREFIX).decode("ascii"))
    except ValueError:
        return None
    return deployment_id if deployment_label(deployment_id) == label else None


def rebuild(url: str, found: Found, *, partition: str, scope: Scope, token: str, now: int) -> None:
    """Make the catalog, whole or not at all.

    Args:
        url: Where; there must be no catalog yet.
        found: What goes into it.
        partition: The partition of ARNs.
        scope: The account and Region of every key.
        token: Label and serial number of the token.
        now: The time in microseconds since 1970, UTC.

    Raises:
        CatalogError: there is a catalog, or it cannot be made.
    """
    path = path_of(url)
    if path is None:
        _write(place_of(url), found, partition, scope, token, now)
        return
    if path.exists():
        raise CatalogError(f"The catalog {str(path)!r} exists: move it away first, and keep it")
    # Beside its place, and then put there in one step: what is interrupted must not look like an empty catalog.
    draft = path.with_name(path.name + ".rebuild")
    _remove(draft)
    try:
        _write(place_of(f"sqlite:///{draft}"), found, partition, scope, token, now)
        os.link(draft, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    except FileExistsError as error:
        raise CatalogError(f"The catalog {str(path)!r} exists by now: move it away first, and keep it") from error
    finally:
        _remove(draft)


def _remove(draft: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _write(place: Place, found: Found, partition: str, scope: Scope, token: str, now: int) -> None:
    engine = place.engine(BUSY_TIMEOUT_S)
    try:
        with place.connect(engine, Access.PREPARE, BUSY_TIMEOUT_S) as connection, connection.begin():
            place.lock_for_migration(connection)
            if inspect(connection).get_table_names():
                raise CatalogError(f"{place.name}: The database has tables already: name an empty one")
            migrate.upgrade(connection, now, found.deployment_id)
            _fill(connection, found, partition, scope, token, now)
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        raise CatalogError(f"The catalog {place.name!r} cannot be made: {place.advice(error)}") from error
    finally:
        engine.dispose()


def _fill(connection: Connection, found: Found, partition: str, scope: Scope, token: str, now: int) -> None:
    transaction = Transaction(connection, 1, now, _CLAIMANT)
    connection.execute(update(schema.sequence).values(sequence=transaction.sequence, updated=now))
    for key_uuid, materials in found.keys.items():
        keys.restore_key(transaction, partition, _key(key_uuid, materials, scope, now), materials, token)
    for purpose, item in found.service_keys.items():
        connection.execute(
            insert(schema.service_keys).values(
                purpose=purpose,
                account="",
                region="",
                sequence=transaction.sequence,
                created=now,
                updated=now,
                token=token,
                suite=item.suite,
                cka_id=item.cka_id,
                state=BackingKeyState.ACTIVE,
                canary=item.canary,
            )
        )


def _key(key_uuid: uuid.UUID, materials: Mapping[int, TokenObject], scope: Scope, now: int) -> KmsKey:
    first = materials[min(materials)]
    assert first.spec is not None, "an object without a fault is of a kind"
    assert first.usage is not None, "an object without a fault has a usage"
    return KmsKey(
        scope=scope,
        key_id=str(key_uuid),
        state=KeyState.CREATING,
        description="",
        spec=first.spec,
        usage=first.usage,
        origin=Origin.AWS_KMS,
        multi_region=MultiRegionKind.SINGLE,
        current_version=0,
        backing_keys={
            keys.FIRST_VERSION: BackingKey(keys.FIRST_VERSION, first.suite, BackingKeyState.CREATING, b"", "", now)
        },
        created=now,
        updated=now,
    )


__all__ = ["Found", "deployments", "rebuild", "take_stock"]
