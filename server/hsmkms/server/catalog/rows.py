"""Reading the catalog's tables as values, whole or from a sequence number on."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, select

from hsmkms.core.ciphertext import Suite
from hsmkms.core.model import (
    Alias,
    BackingKey,
    BackingKeyState,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    RotationType,
    Scope,
    Tag,
)
from hsmkms.core.service_keys import ServiceKey
from hsmkms.server.catalog import schema

FROM_THE_START: Final = -1
"""A position before every sequence number."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as of the change with that sequence number."""

    sequence: int
    key: KmsKey


@dataclass(frozen=True, slots=True)
class AliasRow:
    """An alias, or the tombstone of one, as of the change with that sequence number."""

    sequence: int
    alias: Alias
    deleted: bool


@dataclass(frozen=True, slots=True)
class ServiceKeyRow:
    """A service key as of the change with that sequence number."""

    sequence: int
    service_key: ServiceKey


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """What changed after some position.

    Args:
        position: The sequence number up to which this is everything.
        keys: Changed keys, whole.
        aliases: Changed aliases and tombstones.
        service_keys: Changed service keys.
    """

    position: int
    keys: Sequence[KeyRow]
    aliases: Sequence[AliasRow]
    service_keys: Sequence[ServiceKeyRow]


def read_deployment_id(connection: Connection) -> uuid.UUID:
    """Return the deployment's id."""
    return uuid.UUID(connection.execute(select(schema.catalog.c.deployment_id)).scalar_one())


def read_changes(connection: Connection, after: int) -> ChangedRows:
    """Return everything that changed after a position.

    The counter is read first: a change that is committed between two of the queries may be in the answer, but none up to the
    position is missing from it.

    Args:
        connection: In a transaction.
        after: A position, or `FROM_THE_START`.
    """
    position = connection.execute(select(schema.sequence.c.sequence)).scalar_one()
    if position == after:
        return ChangedRows(position, (), (), ())
    return ChangedRows(
        position,
        _read_keys(connection, schema.keys.c.sequence > after),
        _read_aliases(connection, schema.aliases.c.sequence > after),
        _read_service_keys(connection, schema.service_keys.c.sequence > after),
    )


def read_key(connection: Connection, key_id: str) -> KmsKey | None:
    """Return the key of that id, or None."""
    found = _read_keys(connection, schema.keys.c.key_id == key_id)
    return found[0].key if found else None


def read_service_key(connection: Connection, purpose: str) -> ServiceKey | None:
    """Return the service key of that purpose, or None."""
    found = _read_service_keys(connection, schema.service_keys.c.purpose == purpose)
    return found[0].service_key if found else None


def _read_keys(connection: Connection, condition: ColumnElement[bool]) -> list[KeyRow]:
    backing_keys: dict[str, dict[int, BackingKey]] = defaultdict(dict)
    query = select(schema.backing_keys).join(schema.keys).where(condition).order_by(schema.backing_keys.c.version)
    for row in connection.execute(query):
        backing_keys[row.key_id][row.version] = _backing_key(row)
    tags: dict[str, list[Tag]] = defaultdict(list)
    for row in connection.execute(select(schema.tags).join(schema.keys).where(condition)):
        tags[row.key_id].append(Tag(row.tag_key, row.tag_value))
    return [
        KeyRow(row.sequence, _key(row, backing_keys[row.key_id], tags.get(row.key_id, [])))
        for row in connection.execute(select(schema.keys).where(condition))
    ]


def _key(row: Row[Any], backing_keys: dict[int, BackingKey], tags: list[Tag]) -> KmsKey:
    return KmsKey(
        scope=Scope(row.account, row.region),
        key_id=row.key_id,
        state=KeyState(row.state),
        description=row.description,
        spec=KeySpec(row.spec),
        usage=KeyUsage(row.usage),
        origin=Origin(row.origin),
        multi_region=MultiRegionKind(row.multi_region),
        current_version=row.current_version,
        backing_keys=MappingProxyType(backing_keys),
        created=row.created,
        updated=row.updated,
        deletion_date=row.deletion_date,
        # Sorted here, not by the database: collations differ between databases.
        tags=tuple(sorted(tags, key=lambda tag: tag.tag_key)),
    )


def _backing_key(row: Row[Any]) -> BackingKey:
    return BackingKey(
        version=row.version,
        suite=Suite(row.suite),
        state=BackingKeyState(row.state),
        canary=row.canary,
        material_id=row.material_id,
        created=row.created,
        rotation_type=RotationType(row.rotation_type) if row.rotation_type else None,
        rotated=row.rotated,
    )


def _read_aliases(connection: Connection, condition: ColumnElement[bool]) -> list[AliasRow]:
    return [
        AliasRow(
            row.sequence,
            Alias(Scope(row.account, row.region), row.name, row.key_id, row.created, row.updated),
            row.deleted,
        )
        for row in connection.execute(select(schema.aliases).where(condition))
    ]


def _read_service_keys(connection: Connection, condition: ColumnElement[bool]) -> list[ServiceKeyRow]:
    return [
        ServiceKeyRow(
            row.sequence,
            ServiceKey(row.purpose, row.cka_id, Suite(row.suite), row.token, BackingKeyState(row.state), row.canary),
        )
        for row in connection.execute(select(schema.service_keys).where(condition))
    ]
