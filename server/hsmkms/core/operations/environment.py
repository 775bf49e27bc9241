"""The ports that every operation works with, and small conversions that several need."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hsmkms.core import aws_json
from hsmkms.core.creations import Creations
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.operations.judgements import Judgements
from hsmkms.core.ports import (
    Authorizer,
    Call,
    CatalogChanges,
    CatalogView,
    Clock,
    Entropy,
    Markers,
    Mutation,
    Observer,
    Token,
)
from hsmkms.core.usage import KeyUses

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Environment:
    """The ports, given once when the service is wired.

    Args:
        partition: The partition of every ARN, for example `aws`.
        view: The catalog in memory.
        changes: Changes of the catalog.
        creations: Which backing keys this process is generating just now.
        token: The token.
        authorizer: Who may do what.
        markers: Pagination markers.
        entropy: Salts and key ids.
        clock: The time.
        observer: Counts what the operations tell it.
        grant_tokens: Issues grant tokens and reads them.
        uses: Notes which keys were used.
        judgements: What was judged, kept.
    """

    partition: str
    view: CatalogView
    changes: CatalogChanges
    creations: Creations
    token: Token
    authorizer: Authorizer
    markers: Markers
    entropy: Entropy
    clock: Clock
    observer: Observer
    grant_tokens: GrantTokens
    uses: KeyUses = field(default_factory=KeyUses)
    judgements: Judgements = field(default_factory=Judgements)


def mutation(call: Call, operation: str, request: Any) -> Mutation:
    """Return under what idempotency key a request makes its change."""
    document = json.dumps(aws_json.encode(request), sort_keys=True)
    fingerprint = hashlib.sha256(f"{operation}\n{document}".encode()).digest()
    return Mutation(call.scope, call.principal.arn, operation, call.idempotency_key, fingerprint)


def to_datetime(microseconds: int) -> datetime:
    """Return a time of the catalog as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_microseconds(time: datetime) -> int:
    """Return a time of a request, in UTC if it says nothing else, as the catalog has it."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def optional_datetime(microseconds: int | None) -> datetime | None:
    """Return a time of the catalog as a datetime in UTC, or None."""
    return None if microseconds is None else to_datetime(microseconds)
