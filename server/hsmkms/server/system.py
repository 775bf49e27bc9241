"""The machine's clock and random generator, and the error of a service that cannot start."""

from __future__ import annotations

import secrets
import time
import uuid

from hsmkms.core.ciphertext import SALT_BYTES


class StartError(Exception):
    """The service cannot start; the text is one line and says what to do."""


class SystemClock:
    """The machine's clock (`core.ports.Clock`)."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        return time.time_ns() // 1000


class SystemEntropy:
    """The kernel's random generator (`core.ports.Entropy`)."""

    def salt(self) -> bytes:
        """Return 16 random bytes."""
        return secrets.token_bytes(SALT_BYTES)

    def key_id(self) -> str:
        """Return a new random UUID as text."""
        return str(uuid.uuid4())
