"""Ciphertext format 1: the header, the strict parser, and the input of the wrapping key's derivation.

`header (48 bytes) || body`, integers big-endian, lengths exact. docs/ciphertext-format.md describes every byte and holds an
example that a test recomputes. Whatever `parse` accepts, `Ciphertext.to_bytes` returns unchanged; everything else is refused with
one error, so that a caller learns nothing from how it was refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from hsmkms.core.errors import InvalidCiphertextException, UnsupportedOperationException

MAGIC: Final = b"HKC"
FORMAT: Final = 1
HEADER_BYTES: Final = 48
SALT_BYTES: Final = 16
KEY_UUID_BYTES: Final = 16
CKA_ID_BYTES: Final = KEY_UUID_BYTES + 4
DIGEST_BYTES: Final = 32
WRAP_OVERHEAD_BYTES: Final = 8
"""What RFC 3394 adds to what it wraps (section 2.2.1: one 64-bit block)."""
DATA_KEY_BYTES: Final = 32
WRAPPED_DATA_KEY_BYTES: Final = DATA_KEY_BYTES + WRAP_OVERHEAD_BYTES
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_PLAINTEXT_BYTES: Final = 4096
DIRECT_MIN_BYTES: Final = 16
DIRECT_MAX_BYTES: Final = 256
MAX_WRAPPED_BYTES: Final = DIRECT_MAX_BYTES + WRAP_OVERHEAD_BYTES

_HEADER: Final = struct.Struct("!3sBBBBB16sII16s")
_DERIVATION_LABEL: Final = b"hsm-kms/v1"
_CANARY_LABEL: Final = b"hsm-kms/canary/v1"

CANARY_VALUE: Final = hashlib.sha256(b"hsm-kms canary: a public value").digest()
"""What every canary wraps: 32 bytes that are no secret."""
CANARY_BYTES: Final = len(CANARY_VALUE) + WRAP_OVERHEAD_BYTES


class Suite(IntEnum):
    """The derivation that a backing key is for, fixed when the key is generated."""

    AES_CBC_ENCRYPT_DATA = 1
    """`CKM_AES_CBC_ENCRYPT_DATA` (PKCS#11 2.40, section 2.15), zero IV, 32 bytes in, 32 bytes out."""
    SP800_108_CMAC_COUNTER = 2
    """`CKM_SP800_108_COUNTER_KDF` with AES-CMAC (PKCS#11 3.0, section 2.42; NIST SP 800-108)."""


class Mode(IntEnum):
    """How the plaintext is held in the body."""

    DIRECT = 1
    """The plaintext is the wrapped object (RFC 3394): 16 to 256 bytes, a multiple of 8."""
    ENVELOPE = 2
    """A data key is wrapped (RFC 3394) and the plaintext encrypted under it with AES-256-GCM: 1 to 4,096 bytes."""
    DIRECT_PADDED = 3
    """The plaintext is the wrapped object (RFC 5649): other lengths up to 256 bytes. Reserved."""
    PRIVATE_KEY = 4
    """A wrapped PKCS#8 private key. Reserved."""


RESERVED_MODES: Final[Mapping[int, str]] = {
    Mode.DIRECT_PADDED: "mode 3 (direct, RFC 5649)",
    Mode.PRIVATE_KEY: "mode 4 (private key)",
}
RESERVED_SUITES: Final[Mapping[int, str]] = {Suite.SP800_108_CMAC_COUNTER: "suite 2 (SP 800-108 with AES-CMAC)"}


def is_direct_length(length: int) -> bool:
    """Say whether a plaintext of `length` bytes goes into mode DIRECT."""
    return DIRECT_MIN_BYTES <= length <= DIRECT_MAX_BYTES and length % 8 == 0


def mode_for_length(length: int, *, direct: bool = True) -> Mode:
    """Return the mode in which a plaintext is sealed.

    Args:
        length: Its length in bytes, 1 to 4,096.
        direct: Whether the token can make an object of a plaintext and read one back; else everything is mode ENVELOPE.
    """
    return Mode.DIRECT if direct and is_direct_length(length) else Mode.ENVELOPE


def cka_id(key_uuid: bytes, version: int) -> bytes:
    """Return the `CKA_ID` of a backing key: the KMS key's 16 bytes and the version, 20 bytes in all."""
    return key_uuid + version.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Header:
    """The 48 bytes that name the backing key and the shape of the body.

    Args:
        suite: The derivation, which must be the backing key's own.
        mode: How the body is to be read.
        key_uuid: The 16 bytes of the KMS key's id.
        version: The backing key's version, 1 to 2^32-1.
        length: The plaintext's length in bytes.
        salt: 16 random bytes, new for each ciphertext.
    """

    suite: Suite
    mode: Mode
    key_uuid: bytes
    version: int
    length: int
    salt: bytes

    @property
    def cka_id(self) -> bytes:
        """The `CKA_ID` of the backing key that this header names."""
        return cka_id(self.key_uuid, self.version)

    def to_bytes(self) -> bytes:
        """Return the 48 bytes."""
        return _HEADER.pack(
            MAGIC, FORMAT, self.suite, self.mode, 0, 0, self.key_uuid, self.version, self.length, self.salt
        )


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A parsed ciphertext.

    Args:
        header: The header.
        wrapped: The wrapped key: the plaintext itself in mode DIRECT, the data key in mode ENVELOPE.
        sealed: What the mode carries beside it: `nonce || ciphertext || tag` in mode ENVELOPE, nothing in mode DIRECT.
    """

    header: Header
    wrapped: bytes
    sealed: bytes

    def to_bytes(self) -> bytes:
        """Return the ciphertext blob."""
        return self.header.to_bytes() + self.wrapped + self.sealed


def _refuse(why: str) -> InvalidCiphertextException:
    return InvalidCiphertextException(detail=f"ciphertext refused: {why}")


def parse_header(data: bytes) -> Header:
    """Parse exactly 48 bytes.

    Raises:
        InvalidCiphertextException: they are no header of format 1, or name a reserved mode or suite (`detail` says which).
    """
    if len(data) != HEADER_BYTES:
        raise _refuse("shorter than a header")
    magic, version_of_format, suite, mode, flags, key_type, key_uuid, version, length, salt = _HEADER.unpack(data)
    if magic != MAGIC or version_of_format != FORMAT:
        raise _refuse("not format 1 of this service")
    for reserved, number in ((RESERVED_SUITES, suite), (RESERVED_MODES, mode)):
        if number in reserved:
            raise _refuse(f"{reserved[number]} is reserved and not supported by this version")
    if suite != Suite.AES_CBC_ENCRYPT_DATA or mode not in (Mode.DIRECT, Mode.ENVELOPE):
        raise _refuse("unknown suite or mode")
    if flags or key_type or not version:
        raise _refuse("a reserved field is not zero, or the version is")
    if not (is_direct_length(length) if mode == Mode.DIRECT else 1 <= length <= MAX_PLAINTEXT_BYTES):
        raise _refuse("a length that its mode cannot have")
    return Header(Suite(suite), Mode(mode), key_uuid, version, length, salt)


def parse(blob: bytes) -> Ciphertext:
    """Parse a ciphertext blob.

    Args:
        blob: The bytes as the caller sent them.

    Returns:
        The ciphertext, whose every length has been checked against the header.

    Raises:
        InvalidCiphertextException: `blob` is not exactly one ciphertext of format 1 in a mode and suite of this version.
    """
    header = parse_header(blob[:HEADER_BYTES])
    body = blob[HEADER_BYTES:]
    if header.mode == Mode.DIRECT:
        if len(body) != header.length + WRAP_OVERHEAD_BYTES:
            raise _refuse("a body of another length than its header says")
        return Ciphertext(header, body, b"")
    if len(body) != WRAPPED_DATA_KEY_BYTES + NONCE_BYTES + header.length + TAG_BYTES:
        raise _refuse("a body of another length than its header says")
    return Ciphertext(header, body[:WRAPPED_DATA_KEY_BYTES], body[WRAPPED_DATA_KEY_BYTES:])


def require_supported(suite: Suite, mode: Mode) -> None:
    """Refuse by name what is reserved, before anything is sealed with it.

    Raises:
        UnsupportedOperationException: the suite or the mode is reserved.
    """
    for reserved, number in ((RESERVED_SUITES, suite), (RESERVED_MODES, mode)):
        if number in reserved:
            raise UnsupportedOperationException(f"Ciphertext {reserved[number]} is not supported by this version.")


def derivation_digest(header: bytes, context: bytes, sealed_digest: bytes) -> bytes:
    """Return the 32 bytes that a wrapping key is derived from.

    Args:
        header: The header's 48 bytes.
        context: The encryption context in canonical form (`context.canonical`).
        sealed_digest: SHA-256 of the rest of the body; `sealed_digest(b"")` in mode DIRECT.
    """
    return hashlib.sha256(
        b"".join((_DERIVATION_LABEL, len(header).to_bytes(2, "big"), header, context, sealed_digest))
    ).digest()


def sealed_digest(sealed: bytes) -> bytes:
    """Return SHA-256 of what the body carries beside the wrapped key."""
    return hashlib.sha256(sealed).digest()


def canary_digest(key_uuid: bytes) -> bytes:
    """Return the derivation input of a KMS key's canaries: fixed, one for every version of the key."""
    return hashlib.sha256(_CANARY_LABEL + key_uuid).digest()


def key_material_id(canary: bytes) -> str:
    """Return the KeyMaterialId: SHA-256 of the canary in 64 lower-case hex digits."""
    return hashlib.sha256(canary).hexdigest()
