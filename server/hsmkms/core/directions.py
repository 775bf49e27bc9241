"""The four directions of ReEncrypt on a token: which payloads go which way. In words, for people to read; nothing decides by it."""

from __future__ import annotations

from dataclasses import dataclass

from hsmkms.core.ciphertext import DIRECT_MAX_BYTES, DIRECT_MIN_BYTES, MAX_PLAINTEXT_BYTES
from hsmkms.core.features import TokenFeatures
from hsmkms.core.model import EncryptionAlgorithm, KeySpec


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction.

    Args:
        source: What it comes from: `symmetric` or `RSA`.
        destination: What it goes to.
        payloads: The lengths that go, or why none does.
        possible: Whether any does.
    """

    source: str
    destination: str
    payloads: str
    possible: bool


def directions(features: TokenFeatures) -> tuple[Direction, ...]:
    """Return the four directions, as they are on a token of these features."""
    symmetric = EncryptionAlgorithm.SYMMETRIC_DEFAULT
    rsa = [name for name in sorted(features.encryption_algorithms) if name.startswith("RSAES_OAEP")]
    no_symmetric = _needs(features, symmetric) if symmetric not in features.encryption_algorithms else ""
    no_rsa = "" if rsa else _needs(features, EncryptionAlgorithm.RSAES_OAEP_SHA_1)
    by = f"by {' and '.join(rsa)}"
    either = no_symmetric or no_rsa
    objects = _objects(features)
    if not features.seals_directly:
        either = (
            either or "needs secrets that can be created from a value and read (C_CreateObject, CKA_SENSITIVE false)"
        )
    told = objects if features.proves_lengths else "16, 24 and 32 bytes" if features.proves_aes_lengths else ""
    from_rsa = either or ("" if told else "needs a true CKA_VALUE_LEN after C_UnwrapKey")
    return (
        Direction("symmetric", "symmetric", no_symmetric or f"1 to {MAX_PLAINTEXT_BYTES} bytes", not no_symmetric),
        Direction("symmetric", "RSA", either or f"{objects}, as far as the RSA key goes, {by}", not either),
        Direction("RSA", "symmetric", from_rsa or f"{told}, {by}", not from_rsa),
        Direction(
            "RSA", "RSA", no_rsa or f"1 to {DIRECT_MAX_BYTES} bytes, as far as the RSA keys go, {by}", not no_rsa
        ),
    )


def _objects(features: TokenFeatures) -> str:
    """Return the lengths that are wrapped themselves (modes DIRECT and DIRECT_PADDED)."""
    whole = f"multiples of 8 from {DIRECT_MIN_BYTES} to {DIRECT_MAX_BYTES} bytes"
    return f"1 to {DIRECT_MAX_BYTES} bytes but not 8" if features.wraps_padded else whole


def _needs(features: TokenFeatures, name: EncryptionAlgorithm | KeySpec) -> str:
    return f"needs {features.needs.get(name, name)}"
