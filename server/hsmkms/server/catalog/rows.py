"""Reading the catalog's tables as values, whole or from a sequence number on."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, or_, select

from hsmkms.core.access_keys import AccessKey, AccessKeyStatus
from hsmkms.core.ciphertext import Suite
from hsmkms.core.model import (
    Alias,
    BackingKey,
    BackingKeyState,
    Grant,
    GrantOperation,
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
from hsmkms.core.usage import KeyUse
from hsmkms.server.catalog import schema

FROM_THE_START: Final = -1
"""A position before every sequence number."""
OLD_TOMBSTONE_US: Final = 24 * 3600 * 1_000_000
"""How long a grant's tombstone matters to a front that starts: longer than any grant token is good."""
RECENT_CHANGES: Final = 10_000


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key, or the tombstone of one, as of the change with that sequence number."""

    sequence: int
    key: KmsKey
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The last use of a key as of the change with that sequence number."""

    sequence: int
    use: KeyUse


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
class GrantRow:
    """A grant, or the tombstone of one, as of the change with that sequence number. Once ended, it never lives again."""

    sequence: int
    grant: Grant
    ended: bool


@dataclass(frozen=True, slots=True)
class AccessKeyRow:
    """An access key, or the tombstone of one, as of the change with that sequence number."""

    sequence: int
    access_key: AccessKey
    deleted: bool


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """What changed after some position.

    Args:
        position: The sequence number up to which this is everything.
        keys: Changed keys and tombstones, whole.
        aliases: Changed aliases and tombstones.
        service_keys: Changed service keys.
        usages: Changed last uses of keys.
        grants: Changed grants and tombstones.
        access_keys: Changed access keys and tombstones.
    """

    position: int
    keys: Sequence[KeyRow]
    aliases: Sequence[AliasRow]
    service_keys: Sequence[ServiceKeyRow]
    usages: Sequence[UsageRow] = ()
    grants: Sequence[GrantRow] = ()
    access_keys: Sequence[AccessKeyRow] = ()


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
    counter = connection.execute(select(schema.sequence.c.sequence, schema.sequence.c.updated)).one()
    position: int = counter.sequence
    if position == after:
        return ChangedRows(position, (), (), ())
    return ChangedRows(
        position,
        _read_keys(connection, schema.keys.c.sequence > after),
        _read_aliases(connection, schema.aliases.c.sequence > after),
        _read_service_keys(connection, schema.service_keys.c.sequence > after),
        _read_usages(connection, schema.key_usage.c.sequence > after),
        _read_grants(connection, _grants_after(after, position, counter.updated)),
        _read_access_keys(connection, schema.access_keys.c.sequence > after),
    )


def read_key(connection: Connection, key_id: str) -> KmsKey | None:
    """Return the key of that id, or None; a deleted one is none."""
    found = _read_keys(connection, schema.keys.c.key_id == key_id)
    return found[0].key if found and not found[0].deleted else None


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
        KeyRow(row.sequence, _key(row, backing_keys[row.key_id], tags.get(row.key_id, [])), row.deleted is not None)
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
        pending_window_days=row.pending_window_days,
        policy=row.policy or "",
        rotation_period_days=row.rotation_period_days,
        next_rotation=row.next_rotation,
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
        expiry=row.expiry,
        description=row.description or "",
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


def _read_usages(connection: Connection, condition: ColumnElement[bool]) -> list[UsageRow]:
    return [
        UsageRow(row.sequence, KeyUse(row.key_id, row.operation, row.used, row.request_id, row.created))
        for row in connection.execute(select(schema.key_usage).where(condition))
    ]


def _grants_after(after: int, position: int, last_change: int) -> ColumnElement[bool]:
    """Return what of the grants is read; from the start, without those that ended long before the last change of all."""
    table = schema.grants
    if after != FROM_THE_START:
        return table.c.sequence > after
    return or_(
        table.c.deleted.is_(False),
        table.c.updated > last_change - OLD_TOMBSTONE_US,
        table.c.sequence > position - RECENT_CHANGES,  # whatever a clock that jumped has written
    )


def _read_grants(connection: Connection, condition: ColumnElement[bool]) -> list[GrantRow]:
    return [
        GrantRow(row.sequence, read_grant(row), row.deleted)
        for row in connection.execute(select(schema.grants).where(condition))
    ]


def read_grant(row: Row[Any]) -> Grant:
    """Return the grant of a row."""
    return Grant(
        scope=Scope(row.account, row.region),
        key_id=row.key_id,
        grant_id=row.grant_id,
        name=row.name,
        grantee_principal=row.grantee_principal,
        retiring_principal=row.retiring_principal,
        issuing_account=row.issuing_account,
        operations=tuple(GrantOperation(operation) for operation in row.operations.split(",")),
        context_equals=_context(row.context_equals),
        context_subset=_context(row.context_subset),
        created=row.created,
    )


def _read_access_keys(connection: Connection, condition: ColumnElement[bool]) -> list[AccessKeyRow]:
    return [
        AccessKeyRow(row.sequence, read_access_key(row), row.deleted)
        for row in connection.execute(select(schema.access_keys).where(condition))
    ]


def read_access_key(row: Row[Any]) -> AccessKey:
    """Return the access key of a row."""
    return AccessKey(
        access_key_id=row.access_key_id,
        account=row.account,
        principal=row.principal,
        status=AccessKeyStatus(row.status),
        created=row.created,
        last_used=row.last_used,
        last_service=row.last_service,
        sealed=row.sealed,
    )


def _context(text: str | None) -> Mapping[str, str] | None:
    return None if text is None else MappingProxyType(json.loads(text))


def _read_service_keys(connection: Connection, condition: ColumnElement[bool]) -> list[ServiceKeyRow]:
    return [
        ServiceKeyRow(
            row.sequence,
            ServiceKey(row.purpose, row.cka_id, Suite(row.suite), row.token, BackingKeyState(row.state), row.canary),
        )
        for row in connection.execute(select(schema.service_keys).where(condition))
    ]
