"""OAEP ciphertexts that are wrong, in every known way; all by SHA-1 and for RSA_2048 (RFC 8017, section 7.1)."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SIZE = 256


def _mask(seed: bytes, length: int) -> bytes:
    """MGF1 with SHA-1 (RFC 8017, appendix B.2.1)."""
    blocks = [hashlib.sha1(seed + counter.to_bytes(4, "big")).digest() for counter in range(-(-length // 20))]
    return b"".join(blocks)[:length]


def encoded(
    message: bytes = bytes(32), first: int = 0, label: bytes = b"", separator: int = 1, zeros: bytes | None = None
) -> bytes:
    """EME-OAEP (RFC 8017, section 7.1.1), rightly or wrongly."""
    zeros = bytes(SIZE - len(message) - 42) if zeros is None else zeros
    block = hashlib.sha1(label).digest() + zeros + bytes([separator]) + message
    seed = os.urandom(20)
    masked = bytes(a ^ b for a, b in zip(block, _mask(seed, len(block)), strict=True))
    return bytes([first]) + bytes(a ^ b for a, b in zip(seed, _mask(masked, 20), strict=True)) + masked


def bad_ciphertexts(public: rsa.RSAPublicKey) -> Mapping[str, Callable[[], bytes]]:
    """Return every known way to be wrong, each as a maker of ciphertexts."""
    numbers = public.public_numbers()
    n = numbers.n

    def raw(block: bytes) -> bytes:
        return pow(int.from_bytes(block, "big") % n, numbers.e, n).to_bytes(SIZE, "big")

    def whole(number: int) -> bytes:
        return number.to_bytes(SIZE, "big")

    def oaep(mask: hashes.HashAlgorithm, algorithm: hashes.HashAlgorithm) -> bytes:
        return public.encrypt(bytes(32), padding.OAEP(padding.MGF1(mask), algorithm, None))

    return {
        "first byte": lambda: raw(encoded(first=1)),
        "label": lambda: raw(encoded(label=b"another")),
        "separator": lambda: raw(encoded(separator=2)),
        "zeros": lambda: raw(encoded(zeros=bytes(100) + b"\7" + bytes(81))),
        "no separator": lambda: raw(encoded(message=b"", separator=0)),
        "random": lambda: whole(random.SystemRandom().randrange(n)),
        "zero": lambda: whole(0),
        "one": lambda: whole(1),
        "n - 1": lambda: whole(n - 1),
        "n": lambda: whole(n),
        "over n": lambda: whole((1 << 2048) - 1 - random.SystemRandom().randrange((1 << 2048) - n)),
        "short": lambda: os.urandom(255),
        "a zero too many": lambda: b"\0" + raw(encoded()),
        "of another length": lambda: os.urandom(512),
        "one byte": lambda: b"\1",
        "another hash": lambda: oaep(hashes.SHA256(), hashes.SHA256()),
        "PKCS #1 1.5": lambda: public.encrypt(bytes(32), padding.PKCS1v15()),
        "MGF1 with another hash": lambda: oaep(hashes.SHA256(), hashes.SHA1()),
    }
