"""Grant tokens: a grant in a text, under a MAC, so that it is good at once on every front, before the catalog's change is there.

A token is base64url of `version (1 byte) || u64 expiry in microseconds since 1970 || HMAC-SHA-256 (32 bytes) || the grant`, the grant
being its fields, each as `u32 length || UTF-8`, contexts in canonical form. It is no secret: it gives its grantee, and nobody else,
what the grant allows. The key comes from the token device and is the same on every front of a deployment.

When a token counts:
- A grant that this front's catalog has: whatever the token's age; the catalog's copy counts.
- A grant that the catalog does not have: for an hour after CreateGrant answered, far longer than a change needs to reach every front.
- A grant that was retired or revoked, as far as this front's catalog knows: never.

Safe for threads, apart from the view it is given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from hsmkms.core.context import canonical, from_canonical
from hsmkms.core.errors import InvalidGrantTokenException
from hsmkms.core.model import Grant, GrantOperation, Scope
from hsmkms.core.ports import Clock

LIFETIME_US: Final = 3600 * 1_000_000
MAX_SKEW_US: Final = 600 * 1_000_000
"""How far the clocks of two fronts may be apart. A token that would be good for longer than its lifetime and this comes from a clock
that was wrong: it counts only while the catalog has its grant, else it would outlive what fronts remember of ended grants."""
MAX_TOKEN_CHARACTERS: Final = 8192
"""AWS's limit; the limits on grants keep every token below it."""

_VERSION: Final = b"\x01"
_EXPIRY_BYTES: Final = 8
_MAC_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_HEAD_BYTES: Final = len(_VERSION) + _EXPIRY_BYTES + _MAC_BYTES
_FIELDS: Final = 11
_NOT_OURS: Final = "The grant token is not one that this service issued."


class KnownGrants(Protocol):
    """The grants of the catalog's view, as far as tokens need them."""

    def grant(self, scope: Scope, key_id: str, grant_id: str) -> Grant | None:
        """Return the living grant of that id on that key, or None."""

    def grant_has_ended(self, grant_id: str) -> bool:
        """Say whether a grant of that id is known to have been retired or revoked."""


class GrantTokens:
    """Issues grant tokens and reads them.

    Args:
        key: 32 secret bytes, the same on every front of a deployment.
        clock: The time.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, grant: Grant) -> str:
        """Return a token of a grant. Two tokens of one grant are interchangeable."""
        expiry = (self._clock.now_us() + LIFETIME_US).to_bytes(_EXPIRY_BYTES, "big")
        data = _pack(grant)
        text = base64.urlsafe_b64encode(_VERSION + expiry + self._mac(_VERSION + expiry + data) + data).decode()
        assert len(text) <= MAX_TOKEN_CHARACTERS, "the limits on grants see to it"
        return text

    def read(self, known: KnownGrants, token: str) -> Grant:
        """Return the grant that a token stands for, if it counts.

        Args:
            known: The catalog's view.
            token: What the caller sent.

        Raises:
            InvalidGrantTokenException: it was not issued here, has expired before its grant was seen, or its grant has ended.
        """
        grant, expiry = self._open(token)
        current = known.grant(grant.scope, grant.key_id, grant.grant_id)
        if current is not None:
            return current
        if known.grant_has_ended(grant.grant_id):
            raise InvalidGrantTokenException("The grant of the grant token was retired or revoked.")
        if not 0 <= expiry - self._clock.now_us() <= LIFETIME_US + MAX_SKEW_US:
            raise InvalidGrantTokenException("The grant token has expired.")
        return grant

    def read_all(self, known: KnownGrants, tokens: Iterable[str]) -> tuple[Grant, ...]:
        """Return the grants of several tokens.

        Raises:
            InvalidGrantTokenException: one of them does not count.
        """
        return tuple(self.read(known, token) for token in tokens)

    def grant_of(self, token: str) -> Grant:
        """Return the grant that a token was issued for, whether it counts or not: to end it, never to allow anything.

        Raises:
            InvalidGrantTokenException: it was not issued here.
        """
        return self._open(token)[0]

    def _open(self, token: str) -> tuple[Grant, int]:
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise InvalidGrantTokenException(_NOT_OURS) from None
        # One text for one token: base64 has texts that differ in bits that decode to nothing.
        if base64.urlsafe_b64encode(raw).decode() != token or len(raw) <= _HEAD_BYTES or raw[:1] != _VERSION:
            raise InvalidGrantTokenException(_NOT_OURS)
        expiry, mac, data = raw[1 : 1 + _EXPIRY_BYTES], raw[1 + _EXPIRY_BYTES : _HEAD_BYTES], raw[_HEAD_BYTES:]
        if not hmac.compare_digest(mac, self._mac(_VERSION + expiry + data)):
            raise InvalidGrantTokenException(_NOT_OURS)
        try:
            grant = _unpack(data)
        except ValueError:
            # Issued by another version of this service: nobody else can make the MAC.
            raise InvalidGrantTokenException("The grant token is of another version of this service.") from None
        return grant, int.from_bytes(expiry, "big")

    def _mac(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)


def _pack(grant: Grant) -> bytes:
    texts = (
        grant.scope.account,
        grant.scope.region,
        grant.key_id,
        grant.grant_id,
        grant.name,
        grant.grantee_principal,
        grant.retiring_principal,
        grant.issuing_account,
        ",".join(grant.operations),
    )
    fields = [text.encode() for text in texts]
    fields += [_pack_context(grant.context_equals), _pack_context(grant.context_subset)]
    assert len(fields) == _FIELDS
    packed = b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)
    return packed + grant.created.to_bytes(_EXPIRY_BYTES, "big")


def _pack_context(context: Mapping[str, str] | None) -> bytes:
    return b"" if context is None else canonical(context)


def _unpack(data: bytes) -> Grant:
    fields: list[bytes] = []
    for _ in range(_FIELDS):
        length, data = int.from_bytes(data[:_LENGTH_BYTES], "big"), data[_LENGTH_BYTES:]
        fields.append(data[:length])
        data = data[length:]
    if len(data) != _EXPIRY_BYTES:
        raise ValueError("the grant's fields do not end where it ends")
    account, region, key_id, grant_id, name, grantee, retiring, issuing, operations = (f.decode() for f in fields[:-2])
    return Grant(
        scope=Scope(account, region),
        key_id=key_id,
        grant_id=grant_id,
        name=name,
        grantee_principal=grantee,
        retiring_principal=retiring,
        issuing_account=issuing,
        operations=tuple(GrantOperation(operation) for operation in operations.split(",")),
        context_equals=from_canonical(fields[-2]) if fields[-2] else None,
        context_subset=from_canonical(fields[-1]) if fields[-1] else None,
        created=int.from_bytes(data, "big"),
    )
