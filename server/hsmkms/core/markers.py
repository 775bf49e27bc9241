"""Pagination markers: where a list goes on, under a MAC, good for one listing, one account and 24 hours.

A marker is base64url of `u64 expiry in microseconds since 1970 || HMAC-SHA-256 (32 bytes) || position in UTF-8`. The key comes from the
token (docs/adr/0005), so every front of a deployment accepts the others' markers, and they outlive a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from hsmkms.core.errors import InvalidMarkerException
from hsmkms.core.model import Scope
from hsmkms.core.ports import Clock

LIFETIME_US: Final = 24 * 3600 * 1_000_000
_EXPIRY_BYTES: Final = 8
_MAC_BYTES: Final = 32


class MacedMarkers:
    """`core.ports.Markers`.

    Args:
        key: 32 secret bytes, the same on every front of a deployment.
        clock: The time.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, scope: Scope, operation: str, position: str) -> str:
        """Return a marker for that list and position, valid for 24 hours."""
        expiry = (self._clock.now_us() + LIFETIME_US).to_bytes(_EXPIRY_BYTES, "big")
        data = position.encode()
        return base64.urlsafe_b64encode(expiry + self._mac(scope, operation, expiry, data) + data).decode()

    def read(self, scope: Scope, operation: str, marker: str) -> str:
        """Return the position that a marker holds.

        Raises:
            InvalidMarkerException: it is not one of this list and account, or it has expired.
        """
        try:
            raw = base64.b64decode(marker.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise InvalidMarkerException("The marker is not one that this service issued.") from None
        expiry, mac, data = (
            raw[:_EXPIRY_BYTES],
            raw[_EXPIRY_BYTES : _EXPIRY_BYTES + _MAC_BYTES],
            raw[_EXPIRY_BYTES + _MAC_BYTES :],
        )
        if not hmac.compare_digest(mac, self._mac(scope, operation, expiry, data)):
            raise InvalidMarkerException("The marker is not one that this service issued for this list.")
        if int.from_bytes(expiry, "big") < self._clock.now_us():
            raise InvalidMarkerException("The marker has expired: start the list again.")
        return data.decode()

    def _mac(self, scope: Scope, operation: str, expiry: bytes, data: bytes) -> bytes:
        fields = (scope.account.encode(), scope.region.encode(), operation.encode(), expiry, data)
        return hmac.digest(self._key, b"".join(len(f).to_bytes(4, "big") + f for f in fields), hashlib.sha256)
