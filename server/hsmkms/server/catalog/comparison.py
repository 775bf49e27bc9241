"""Comparing a catalog with the token, without changing either: what `hsm-kms catalog check` does."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from hsmkms.core.ciphertext import Suite
from hsmkms.core.model import BackingKeyState, KeySpec, KeyUsage
from hsmkms.core.service_keys import deployment_label
from hsmkms.core.token_objects import TokenObject
from hsmkms.server.catalog import rows, schema
from hsmkms.server.catalog.database import BUSY_TIMEOUT_S
from hsmkms.server.catalog.errors import CatalogError
from hsmkms.server.catalog.place import Access, place_of
from hsmkms.server.catalog.sqlite import path_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A backing key or service key as the catalog has it.

    Args:
        name: `KEY-ID version N`, or `service key PURPOSE`.
        spec: The spec of the KMS key; a service key is symmetric.
        usage: The usage of the KMS key.
        suite: Its derivation; NONE for key pairs and HMAC keys.
        state: Its state.
        canary: Its canary, empty while Creating.
    """

    name: str
    spec: KeySpec
    usage: KeyUsage
    suite: Suite
    state: BackingKeyState
    canary: bytes


@dataclass(frozen=True, slots=True)
class Contents:
    """What the catalog says of the token, as of one moment.

    Args:
        deployment_id: The deployment.
        entries: Backing keys and service keys by CKA_ID.
    """

    deployment_id: uuid.UUID
    entries: Mapping[bytes, Entry]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        kind: `missing`, `unknown`, `duplicate`, `unfit` or `damaged`.
        cka_id: The object's CKA_ID in hex.
        text: What it is.
    """

    kind: str
    cka_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Args:
        deployment_id: The deployment.
        well: How many keys are on the token and are the ones that the catalog knows.
        creating: How many creations are under way: neither well nor wrong.
        foreign: How many objects are other deployments' or somebody else's.
        findings: What is not as it should be.
    """

    deployment_id: uuid.UUID
    well: int
    creating: int
    foreign: int
    findings: tuple[Finding, ...]


def read_contents(url: str) -> Contents:
    """Read what a catalog says of the token. Changes nothing, and makes no catalog where there is none.

    Raises:
        CatalogError: there is no catalog, or one that this version cannot read.
    """
    path = path_of(url)
    if path is not None and not path.exists():
        raise CatalogError(f"The catalog {str(path)!r} does not exist")
    place = place_of(url)
    engine = place.engine(BUSY_TIMEOUT_S)
    try:
        with place.connect(engine, Access.READ, BUSY_TIMEOUT_S) as connection, connection.begin():
            found = connection.execute(select(schema.catalog.c.format)).scalar_one()
            if found != schema.FORMAT:
                raise CatalogError(
                    f"{place.name}: The catalog has format {found} and this version has format {schema.FORMAT}: "
                    "use the version that serves it"
                )
            return Contents(rows.read_deployment_id(connection), _entries(connection))
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        raise CatalogError(f"The catalog {place.name!r} cannot be read: {place.advice(error)}") from error
    finally:
        engine.dispose()


def _entries(connection: Connection) -> dict[bytes, Entry]:
    table, of, own = schema.backing_keys, schema.keys, schema.service_keys
    columns = (table.c.cka_id, table.c.key_id, table.c.version, table.c.suite, table.c.state, table.c.canary)
    entries = {
        row.cka_id: Entry(
            f"{row.key_id} version {row.version}",
            KeySpec(row.spec),
            KeyUsage(row.usage),
            Suite(row.suite),
            BackingKeyState(row.state),
            row.canary,
        )
        for row in connection.execute(
            select(*columns, of.c.spec, of.c.usage).join_from(table, of, table.c.key_id == of.c.key_id)
        )
    }
    for row in connection.execute(select(own.c.cka_id, own.c.purpose, own.c.suite, own.c.state, own.c.canary)):
        entries[row.cka_id] = Entry(
            f"service key {row.purpose}",
            KeySpec.SYMMETRIC_DEFAULT,
            KeyUsage.ENCRYPT_DECRYPT,
            Suite(row.suite),
            BackingKeyState(row.state),
            row.canary,
        )
    return entries


def compare(before: Contents, objects: Sequence[TokenObject], after: Contents) -> Comparison:
    """Compare the token with the catalog as it was before and after the token was read: what is changed in between is no finding."""
    label = deployment_label(after.deployment_id)
    own = [item for item in objects if item.label == label]
    times = Counter(item.cka_id for item in own)
    findings: list[Finding] = []
    well = creating = 0
    for item in own:
        entry = after.entries.get(item.cka_id)
        if entry is None or entry.state is BackingKeyState.DESTROYED:
            if item.cka_id not in before.entries or before.entries[item.cka_id] == entry:
                what = (
                    "the catalog does not know it" if entry is None else f"{entry.name} is destroyed, says the catalog"
                )
                findings.append(Finding("unknown", item.cka_id.hex(), what))
        elif times[item.cka_id] > 1:
            continue
        elif entry.state is BackingKeyState.CREATING:
            creating += 1
        elif item.fault:
            findings.append(Finding("unfit", item.cka_id.hex(), f"{entry.name}: {item.fault}"))
        elif (item.spec, item.usage, item.canary) != (entry.spec, entry.usage, entry.canary):
            findings.append(Finding("damaged", item.cka_id.hex(), f"{entry.name} is not the key that made its canary"))
        else:
            well += 1
    for cka_id, count in times.items():
        if count > 1 and cka_id in after.entries:
            text = f"{after.entries[cka_id].name}: {count} objects; none of them is used"
            findings.append(Finding("duplicate", cka_id.hex(), text))
    for cka_id, entry in before.entries.items():
        lasting = after.entries.get(cka_id) == entry
        if entry.state is BackingKeyState.ACTIVE and lasting and cka_id not in times:
            findings.append(Finding("missing", cka_id.hex(), f"{entry.name} is not on the token"))
    findings.sort(key=lambda finding: (finding.kind, finding.cka_id))
    return Comparison(after.deployment_id, well, creating, len(objects) - len(own), tuple(findings))
