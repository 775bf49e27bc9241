"""The machine's clock and random generator, and the error of a service that cannot start."""

from __future__ import annotations

import os
import time
import uuid
from collections import deque
from typing import Final

from hsmkms.core.ciphertext import SALT_BYTES

_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class StartError(Exception):
    """The service cannot start; the text is one line and says what to do."""


_AT_A_TIME: Final = 256
_chunks: Final[deque[bytes]] = deque()
os.register_at_fork(after_in_child=_chunks.clear)


def _random_bytes() -> bytes:
    """Return 16 random bytes of the kernel's, which are fetched many at a time. For what is no secret: salts and ids.

    Each fetch gives up the interpreter for a moment, and a request that makes several would wait for it again each time. Threads: any.
    """
    while True:
        try:
            return _chunks.popleft()
        except IndexError:
            fresh = os.urandom(_AT_A_TIME * SALT_BYTES)
            _chunks.extend(fresh[at : at + SALT_BYTES] for at in range(0, len(fresh), SALT_BYTES))


def new_id() -> str:
    """Return a new random UUID (version 4) as text: what `uuid.uuid4` makes, in a third of the time."""
    digits = _random_bytes().hex()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class SystemClock:
    """The machine's clock (`core.ports.Clock`)."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        return time.time_ns() // 1000


class SystemEntropy:
    """The kernel's random generator (`core.ports.Entropy`)."""

    def salt(self) -> bytes:
        """Return 16 random bytes."""
        return _random_bytes()

    def key_id(self) -> str:
        """Return a new random UUID as text."""
        return str(uuid.uuid4())
