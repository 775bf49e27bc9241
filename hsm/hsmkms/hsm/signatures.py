"""ECDSA signatures in DER, as callers have them, and as r || s, as tokens have them.

Ecdsa-Sig-Value is a SEQUENCE of two INTEGERs (RFC 3279, section 2.2.3); PKCS#11 has two numbers of the same length one after the other
(PKCS#11 2.40, section 2.3.1). Only strict DER is read (X.690, section 10.1): of one signature there are not several forms.
"""

from __future__ import annotations

from typing import Final

from hsmkms.hsm.public_keys import der_integer, der_sequence

_INTEGER: Final = b"\x02"
_SIGN_BIT: Final = 0x80


def to_der(raw: bytes) -> bytes:
    """Return r || s, of any even length, as an Ecdsa-Sig-Value."""
    half = len(raw) // 2
    return der_sequence(der_integer(int.from_bytes(raw[:half], "big")) + der_integer(int.from_bytes(raw[half:], "big")))


def from_der(signature: bytes, half: int) -> bytes | None:
    """Return an Ecdsa-Sig-Value as r || s, or None where it is none, or not of that curve.

    Args:
        signature: Any bytes.
        half: The length of r and of s in bytes.
    """
    raw = _halves(signature, half)
    # What does not come out again as it went in was not in DER: other lengths, further bytes, zeros in front.
    return raw if raw is not None and to_der(raw) == signature else None


def _halves(signature: bytes, half: int) -> bytes | None:
    position = 2 if signature[1:2] < bytes([_SIGN_BIT]) else 3  # P-521's need the long form of the length
    raw = b""
    for _ in range(2):
        tag, length = signature[position : position + 1], signature[position + 1 : position + 2]
        value = signature[position + 2 : position + 2 + int.from_bytes(length, "big")]
        number = int.from_bytes(value, "big")
        if tag != _INTEGER or not 0 < number < 1 << (8 * half):
            return None
        raw += number.to_bytes(half, "big")
        position += 2 + len(value)
    return raw
