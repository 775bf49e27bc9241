"""The catalog's tables, the same on SQLite and PostgreSQL.

Every row has the account and Region it belongs to (empty where it belongs to the whole deployment), the sequence number of the change
that wrote it last, and when it was created and updated, in microseconds since 1970, UTC. A key's row takes the newest sequence number
of its backing keys and tags, so that a reader finds every change by the sequence numbers of the other tables.
ARNs are computed, never stored. Deleted keys and aliases stay as tombstones, so that other fronts see the deletion.

A change of these tables comes with a migration; a test compares the two. A change that an older service must not work with raises
`FORMAT`.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

FORMAT: Final = 3
"""The newest format number that this service can work with."""
ONLY_ROW: Final = 1
"""The id of the one row of `catalog` and of `sequence`."""

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _text(name: str) -> Column[Any]:
    return Column(name, String, nullable=False)


def _integer(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable)


def _bytes(name: str) -> Column[Any]:
    return Column(name, LargeBinary, nullable=False)


def _every_row() -> tuple[Column[Any], ...]:
    return (
        Column("account", String, nullable=False),
        Column("region", String, nullable=False),
        _integer("sequence"),
        _integer("created"),
        _integer("updated"),
    )


catalog: Final = Table(
    "catalog",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("format", Integer, nullable=False),
    _text("deployment_id"),
    *_every_row(),
)
"""One row: the format number and the deployment's id, a UUID."""

sequence: Final = Table(
    "sequence",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *_every_row(),
)
"""One row: its `sequence` is the last number given. Each change counts it up first, which also makes changes wait for each other."""

keys: Final = Table(
    "keys",
    METADATA,
    Column("key_id", String, primary_key=True),
    *_every_row(),
    _text("state"),
    _text("description"),
    _text("spec"),
    _text("usage"),
    _text("origin"),
    _text("multi_region"),
    _integer("current_version"),
    _integer("deletion_date", nullable=True),
    _integer("pending_window_days", nullable=True),
    _integer("pending_since", nullable=True),
    _integer("rotation_period_days", nullable=True),
    _integer("next_rotation", nullable=True),
    _integer("deleted", nullable=True),
    Column("policy", Text, nullable=True),
    Index(None, "sequence"),
    Index(None, "deletion_date"),
    Index(None, "next_rotation"),
)
"""KMS keys, and tombstones of deleted ones, whose `deleted` says since when. The id alone is the primary key: ciphertexts name a key by
nothing else.

`pending_since` of a key that is pending deletion is what the heartbeat's `observed` was at the first heartbeat after it was scheduled.
"""

backing_keys: Final = Table(
    "backing_keys",
    METADATA,
    Column("key_id", String, ForeignKey("keys.key_id"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    *_every_row(),
    _text("token"),
    Column("suite", Integer, nullable=False),
    _bytes("cka_id"),
    _text("material_id"),
    _text("state"),
    _text("origin"),
    _integer("expiry", nullable=True),
    _bytes("canary"),
    Column("rotation_type", String, nullable=True),
    _integer("rotated", nullable=True),
    Column("description", Text, nullable=True),
    _integer("imported", nullable=True),
    _integer("observed_since", nullable=True),
    UniqueConstraint("cka_id"),
    Index(None, "state"),
    Index(None, "expiry"),
)
"""Backing keys. `updated` of a row that is Creating says when its creation was last taken up. `imported` says when material was imported,
and `observed_since` of material that expires is what the heartbeat's `observed` was at the first heartbeat after that."""

aliases: Final = Table(
    "aliases",
    METADATA,
    Column("account", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("name", String, primary_key=True),
    _integer("sequence"),
    _integer("created"),
    _integer("updated"),
    Column("key_id", String, ForeignKey("keys.key_id"), nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index(None, "sequence"),
    Index(None, "key_id"),
)
"""Aliases, and tombstones of deleted ones."""

tags: Final = Table(
    "tags",
    METADATA,
    Column("key_id", String, ForeignKey("keys.key_id"), primary_key=True),
    Column("tag_key", String, primary_key=True),
    *_every_row(),
    _text("tag_value"),
)
"""Tags of KMS keys."""

key_usage: Final = Table(
    "key_usage",
    METADATA,
    Column("key_id", String, ForeignKey("keys.key_id"), primary_key=True),
    *_every_row(),
    _text("operation"),
    _integer("used"),
    _text("request_id"),
    Index(None, "sequence"),
)
"""The last successful cryptographic operation of each key. `created` is since when it is recorded; `operation` is empty for a key that
was there before that and was not used since."""

heartbeat: Final = Table(
    "heartbeat",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *_every_row(),
    _integer("beaten"),
    _integer("highest"),
    _integer("observed"),
    _integer("doubted", nullable=True),
)
"""One row: the time that has really passed, as far as the service knows (docs/adr/0008). `beaten`: what the database's clock showed at
the last heartbeat; `highest`: the most that it ever showed at one; `observed`: microseconds that passed since the first one; `doubted`:
what `observed` was when a clock was last in doubt."""

grants: Final = Table(
    "grants",
    METADATA,
    Column("grant_id", String, primary_key=True),
    *_every_row(),
    Column("key_id", String, ForeignKey("keys.key_id"), nullable=False),
    _text("name"),
    _text("grantee_principal"),
    _text("retiring_principal"),
    _text("issuing_account"),
    _text("operations"),
    Column("context_equals", String, nullable=True),
    Column("context_subset", String, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index(None, "sequence"),
    Index(None, "key_id", "deleted", "grantee_principal"),
)
"""Grants, and tombstones of retired and revoked ones. `operations` in AWS's spelling with commas between; the contexts of constraints
are JSON objects with sorted keys, or null where there is no such constraint."""

service_keys: Final = Table(
    "service_keys",
    METADATA,
    Column("purpose", String, primary_key=True),
    *_every_row(),
    _text("token"),
    Column("suite", Integer, nullable=False),
    _bytes("cka_id"),
    _text("state"),
    _bytes("canary"),
    UniqueConstraint("cka_id"),
    Index(None, "sequence"),
)
"""Keys of the service's own."""

access_keys: Final = Table(
    "access_keys",
    METADATA,
    Column("access_key_id", String, primary_key=True),
    *_every_row(),
    _text("principal"),
    _text("status"),
    _bytes("sealed"),
    _integer("last_used"),
    _text("last_service"),
    Column("deleted", Boolean, nullable=False),
    Index(None, "sequence"),
    Index(None, "principal"),
)
"""Access keys of AWS clients, and tombstones of deleted ones, which have no secret. `sealed` is the secret, as a ciphertext of format 1
under the service key for credentials. `last_used` is 0 and `last_service` empty where no use was recorded. They belong to no Region."""

claims: Final = Table(
    "claims",
    METADATA,
    Column("cka_id", LargeBinary, primary_key=True),
    *_every_row(),
    _text("claimant"),
)
"""Which process is generating a backing key or a service key (`claims.py`), from the begin of its creation to its end."""

idempotency: Final = Table(
    "idempotency",
    METADATA,
    Column("account", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("principal", String, primary_key=True),
    Column("operation", String, primary_key=True),
    Column("idempotency_key", String, primary_key=True),
    _integer("sequence"),
    _integer("created"),
    _integer("updated"),
    _bytes("fingerprint"),
    _text("key_id"),
    _integer("version"),
    _bytes("answer"),
    _integer("expires"),
    Index(None, "expires"),
)
"""Changes made under an idempotency key. `key_id` and `version` name the backing key that was begun, or are empty and 0."""
