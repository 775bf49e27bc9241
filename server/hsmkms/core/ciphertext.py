"""Ciphertext format 1: the header, the strict parser, and the input of the wrapping key's derivation.

`header (48 bytes) || body`, integers big-endian, lengths exact. docs/ciphertext-format.md describes every byte and holds an
example that a test recomputes. Whatever `parse` accepts, `Ciphertext.to_bytes` returns unchanged; everything else is refused with
one error, so that a caller learns nothing from how it was refused.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from hsmkms.core.errors import InvalidCiphertextException

MAGIC: Final = b"HKC"
FORMAT: Final = 1
HEADER_BYTES: Final = 48
SALT_BYTES: Final = 16
KEY_UUID_BYTES: Final = 16
CKA_ID_BYTES: Final = KEY_UUID_BYTES + 4
NAMING_BYTES: Final = 28
"""Of a header: all but length and salt. They name the backing key, and how the body is to be read."""
DIGEST_BYTES: Final = 32
WRAP_OVERHEAD_BYTES: Final = 8
"""What RFC 3394 adds to what it wraps (section 2.2.1: one 64-bit block), and RFC 5649 to what it has padded to whole blocks."""
DATA_KEY_BYTES: Final = 32
WRAPPED_DATA_KEY_BYTES: Final = DATA_KEY_BYTES + WRAP_OVERHEAD_BYTES
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_PLAINTEXT_BYTES: Final = 4096
DIRECT_MIN_BYTES: Final = 16
DIRECT_MAX_BYTES: Final = 256
MIN_WRAPPED_BYTES: Final = DIRECT_MIN_BYTES + WRAP_OVERHEAD_BYTES
"""The shortest that RFC 3394 makes (section 2: two 64-bit blocks at least)."""
MAX_PRIVATE_KEY_BYTES: Final = 2600
"""Of a PKCS#8 private key, padded to a multiple of 8; RSA-4096 needs some 2,376."""
MAX_WRAPPED_BYTES: Final = MAX_PRIVATE_KEY_BYTES + WRAP_OVERHEAD_BYTES
MAX_MODULUS_BYTES: Final = 512
MAX_BLOB_BYTES: Final = 6144
"""Of any blob of the API (AWS KMS model 2014-11-01, CiphertextType)."""
MAX_PUBLIC_KEY_BYTES: Final = 8192
MAX_KEY_PROOF_BYTES: Final = 1024
"""Of a DER SubjectPublicKeyInfo by which a key pair is recognised; RSA-4096 needs 550."""

_HEADER: Final = struct.Struct("!3sBBBBB16sII16s")
_DERIVATION_LABEL: Final = b"hsm-kms/v1"
_NOTHING_SEALED: Final = hashlib.sha256().digest()
_CANARY_LABEL: Final = b"hsm-kms/canary/v1"

CANARY_VALUE: Final = hashlib.sha256(b"hsm-kms canary: a public value").digest()
"""What every canary wraps: 32 bytes that are no secret."""
CANARY_BYTES: Final = len(CANARY_VALUE) + WRAP_OVERHEAD_BYTES
MAC_CANARY_BYTES: Final = 32
"""Of an HMAC key: the HMAC of `CANARY_VALUE` with the key's own hash, cut at 32 bytes or filled up with zeros."""


class Suite(IntEnum):
    """The derivation that a backing key is for, fixed when the key is generated."""

    NONE = 0
    """Key pairs and HMAC keys derive nothing; no ciphertext names this suite."""
    AES_CBC_ENCRYPT_DATA = 1
    """`CKM_AES_CBC_ENCRYPT_DATA` (PKCS#11 2.40, section 2.15), zero IV, 32 bytes in, 32 bytes out."""
    SP800_108_CMAC_COUNTER = 2
    """`CKM_SP800_108_COUNTER_KDF` with AES-CMAC (PKCS#11 3.0, section 2.42; NIST SP 800-108)."""


class KeyType(IntEnum):
    """What kind of private key mode PRIVATE_KEY holds; zero in every other mode."""

    NONE = 0
    RSA = 1
    EC = 2
    """On one of the curves of SEC 2 and FIPS 186: P-256, P-384, P-521, secp256k1."""
    EDWARDS = 3
    """Ed25519 (RFC 8032)."""


class Mode(IntEnum):
    """How the plaintext is held in the body."""

    DIRECT = 1
    """The plaintext is the wrapped object (RFC 3394): 16 to 256 bytes, a multiple of 8."""
    ENVELOPE = 2
    """A data key is wrapped (RFC 3394) and the plaintext encrypted under it with AES-256-GCM: 1 to 4,096 bytes."""
    DIRECT_PADDED = 3
    """The plaintext is the wrapped object (RFC 5649): 1 to 256 bytes, no multiple of 8. Only on tokens with the true RFC 5649."""
    PRIVATE_KEY = 4
    """A private key, DER PKCS#8 with fewer than 8 zeros after it, is wrapped (RFC 5649): what GenerateDataKeyPair seals."""


_SUITES: Final = {int(suite): suite for suite in Suite if suite is not Suite.NONE}
_MODES: Final = {int(mode): mode for mode in Mode}
_NO_KEY_TYPE: Final = {int(KeyType.NONE): KeyType.NONE}
_KEY_TYPES: Final = {int(mode): _NO_KEY_TYPE for mode in Mode} | {
    int(Mode.PRIVATE_KEY): {int(kind): kind for kind in KeyType if kind is not KeyType.NONE}
}
"""Those that each mode can have."""
_DIRECT: Final = Mode.DIRECT
_ENVELOPE: Final = Mode.ENVELOPE
_DIRECT_PADDED: Final = Mode.DIRECT_PADDED
_PRIVATE_KEY: Final = Mode.PRIVATE_KEY


def is_direct_length(length: int) -> bool:
    """Say whether a plaintext of `length` bytes goes into mode DIRECT."""
    return DIRECT_MIN_BYTES <= length <= DIRECT_MAX_BYTES and length % 8 == 0


def is_padded_length(length: int) -> bool:
    """Say whether a plaintext of `length` bytes goes into mode DIRECT_PADDED, on a token that has it."""
    return 1 <= length <= DIRECT_MAX_BYTES and length % 8 != 0


def mode_for_length(length: int, *, direct: bool = True, padded: bool = False) -> Mode:
    """Return the mode in which a plaintext is sealed.

    Args:
        length: Its length in bytes, 1 to 4,096.
        direct: Whether the token can make an object of a plaintext and read one back; else everything is mode ENVELOPE.
        padded: Whether its key wrap with padding is the true RFC 5649.
    """
    if direct and is_direct_length(length):
        return Mode.DIRECT
    if direct and padded and is_padded_length(length):
        return Mode.DIRECT_PADDED
    return Mode.ENVELOPE


def wrapped_bytes(length: int) -> int:
    """Return how long key wrap makes an object of `length` bytes: 8 more than the next multiple of 8 (RFC 3394, RFC 5649)."""
    return -(-length // 8) * 8 + WRAP_OVERHEAD_BYTES


def cka_id(key_uuid: bytes, version: int) -> bytes:
    """Return the `CKA_ID` of a backing key: the KMS key's 16 bytes and the version, 20 bytes in all."""
    return key_uuid + version.to_bytes(4, "big")


def pack_header(
    suite: Suite, mode: Mode, key_uuid: bytes, version: int, length: int, salt: bytes, key_type: KeyType = KeyType.NONE
) -> bytes:
    """Return the 48 bytes of the `Header` with these fields."""
    return _HEADER.pack(MAGIC, FORMAT, suite, mode, 0, key_type, key_uuid, version, length, salt)


@dataclass(slots=True)
class Header:
    """The 48 bytes that name the backing key and the shape of the body. Nobody changes one; every request parses one.

    Args:
        suite: The derivation, which must be the backing key's own.
        mode: How the body is to be read.
        key_uuid: The 16 bytes of the KMS key's id.
        version: The backing key's version, 1 to 2^32-1.
        length: The plaintext's length in bytes; 0 in mode PRIVATE_KEY, where the DER tells it.
        salt: 16 random bytes, new for each ciphertext.
        key_type: The kind of private key in mode PRIVATE_KEY, else NONE.
    """

    suite: Suite
    mode: Mode
    key_uuid: bytes
    version: int
    length: int
    salt: bytes
    key_type: KeyType = KeyType.NONE

    @property
    def cka_id(self) -> bytes:
        """The `CKA_ID` of the backing key that this header names."""
        return cka_id(self.key_uuid, self.version)

    def to_bytes(self) -> bytes:
        """Return the 48 bytes."""
        return pack_header(self.suite, self.mode, self.key_uuid, self.version, self.length, self.salt, self.key_type)


@dataclass(slots=True)
class Ciphertext:
    """A parsed ciphertext. Nobody changes one; every request parses one.

    Args:
        header: The header.
        wrapped: The wrapped key: the data key in mode ENVELOPE, the plaintext itself in the others.
        sealed: What the mode carries beside it: `nonce || ciphertext || tag` in mode ENVELOPE, nothing in the others.
    """

    header: Header
    wrapped: bytes
    sealed: bytes

    def to_bytes(self) -> bytes:
        """Return the ciphertext blob: with it the tests show that `parse` leaves nothing out, and takes nothing of another form."""
        return self.header.to_bytes() + self.wrapped + self.sealed


def _refuse(why: str) -> InvalidCiphertextException:
    return InvalidCiphertextException(detail=f"ciphertext refused: {why}")


def parse_header(data: bytes) -> Header:
    """Parse exactly 48 bytes.

    Raises:
        InvalidCiphertextException: they are no header of format 1 (`detail` says why).
    """
    if len(data) != HEADER_BYTES:
        raise _refuse("shorter than a header")
    magic, version_of_format, suite, mode, flags, key_type, key_uuid, version, length, salt = _HEADER.unpack(data)
    if magic != MAGIC or version_of_format != FORMAT:
        raise _refuse("not format 1 of this service")
    if suite not in _SUITES or mode not in _MODES:
        raise _refuse(f"unknown suite {suite} or mode {mode}")
    if flags or not version:
        raise _refuse("a reserved field is not zero, or the version is")
    kind = _KEY_TYPES[mode].get(key_type)
    if kind is None:
        raise _refuse(f"key type {key_type}, which mode {mode} cannot have")
    if not _has_its_length(mode, length):
        raise _refuse("a length that its mode cannot have")
    return Header(_SUITES[suite], _MODES[mode], key_uuid, version, length, salt, kind)


def _has_its_length(mode: int, length: int) -> bool:
    if mode == _DIRECT:
        return is_direct_length(length)
    if mode == _ENVELOPE:
        return 1 <= length <= MAX_PLAINTEXT_BYTES
    return is_padded_length(length) if mode == _DIRECT_PADDED else length == 0


def parse(blob: bytes) -> Ciphertext:
    """Parse a ciphertext blob.

    Args:
        blob: The bytes as the caller sent them.

    Returns:
        The ciphertext, whose every length has been checked against the header.

    Raises:
        InvalidCiphertextException: `blob` is not exactly one ciphertext of format 1.
    """
    header = parse_header(blob[:HEADER_BYTES])
    body = blob[HEADER_BYTES:]
    if not _fits(header, len(body)):
        raise _refuse("a body of another length than its header says")
    if header.mode is _ENVELOPE:
        return Ciphertext(header, body[:WRAPPED_DATA_KEY_BYTES], body[WRAPPED_DATA_KEY_BYTES:])
    return Ciphertext(header, body, b"")


def _fits(header: Header, body: int) -> bool:
    if header.mode is _ENVELOPE:
        return body == WRAPPED_DATA_KEY_BYTES + NONCE_BYTES + header.length + TAG_BYTES
    if header.mode is _PRIVATE_KEY:
        return body % 8 == 0 and MIN_WRAPPED_BYTES <= body <= MAX_WRAPPED_BYTES
    return body == wrapped_bytes(header.length)


def derivation_digest(header: bytes, context: bytes, sealed_digest: bytes) -> bytes:
    """Return the 32 bytes that a wrapping key is derived from.

    Args:
        header: The header's 48 bytes.
        context: The encryption context in canonical form (`context.canonical`).
        sealed_digest: SHA-256 of the rest of the body; `sealed_digest(b"")` in every mode but ENVELOPE.
    """
    return hashlib.sha256(
        b"".join((_DERIVATION_LABEL, len(header).to_bytes(2, "big"), header, context, sealed_digest))
    ).digest()


def sealed_digest(sealed: bytes) -> bytes:
    """Return SHA-256 of what the body carries beside the wrapped key."""
    return hashlib.sha256(sealed).digest() if sealed else _NOTHING_SEALED


def canary_digest(key_uuid: bytes) -> bytes:
    """Return the derivation input of a KMS key's canaries: fixed, one for every version of the key."""
    return hashlib.sha256(_CANARY_LABEL + key_uuid).digest()


def key_material_id(canary: bytes) -> str:
    """Return the KeyMaterialId: SHA-256 of the canary in 64 lower-case hex digits."""
    return hashlib.sha256(canary).hexdigest()
