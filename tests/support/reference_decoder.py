"""Format 1 once more, from docs/ciphertext-format.md alone: with `cryptography`, and without a line of the service.

It knows the value of a backing key, which the service never does. Tests open the service's ciphertexts with it and have the service
open what it makes.
"""

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.keywrap import (
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

DIRECT, ENVELOPE, DIRECT_PADDED, PRIVATE_KEY = 1, 2, 3, 4
RSA, EC, EDWARDS = 1, 2, 3


@dataclass(frozen=True)
class Header:
    key_id: bytes
    version: int
    length: int
    salt: bytes
    mode: int
    suite: int = 1
    key_type: int = 0

    def to_bytes(self):
        return (
            b"HKC\x01"
            + bytes([self.suite, self.mode, 0, self.key_type])
            + self.key_id
            + struct.pack(">II", self.version, self.length)
            + self.salt
        )

    @classmethod
    def from_bytes(cls, data):
        assert len(data) == 48
        assert data[:4] == b"HKC\x01", "magic, format 1"
        suite, mode, flags, key_type = data[4:8]
        assert suite in (1, 2)
        assert mode in (DIRECT, ENVELOPE, DIRECT_PADDED, PRIVATE_KEY)
        assert flags == 0
        assert key_type in ((RSA, EC, EDWARDS) if mode == PRIVATE_KEY else (0,))
        version, length = struct.unpack(">II", data[24:32])
        assert length == 0 if mode == PRIVATE_KEY else length > 0
        return cls(data[8:24], version, length, data[32:48], mode, suite, key_type)


def canonical_context(context):
    pairs = sorted((key.encode(), value.encode()) for key, value in context.items())
    form = struct.pack(">I", len(pairs))
    for pair in pairs:
        for text in pair:
            form += struct.pack(">I", len(text)) + text
    return form


def derivation_input(header, context, rest):
    data = (
        b"hsm-kms/v1"
        + struct.pack(">H", len(header))
        + header
        + canonical_context(context)
        + hashlib.sha256(rest).digest()
    )
    return hashlib.sha256(data).digest()


def derive(backing_key, digest, suite=1):
    """Return the wrapping key, 32 bytes."""
    if suite == 1:  # CKM_AES_CBC_ENCRYPT_DATA with a zero IV: the two blocks that come out
        encryptor = Cipher(algorithms.AES(backing_key), modes.CBC(bytes(16))).encryptor()
        return encryptor.update(digest) + encryptor.finalize()
    # SP 800-108 in counter mode with AES-CMAC: counter || label || 0 || digest || length in bits
    blocks = []
    for counter in (1, 2):
        mac = CMAC(algorithms.AES(backing_key))
        mac.update(struct.pack(">I", counter) + b"hsm-kms/v1" + b"\x00" + digest + struct.pack(">I", 256))
        blocks.append(mac.finalize())
    return b"".join(blocks)


def mode_of(length, *, padded=False):
    """Return the mode of a plaintext; `padded` is for a token with the true RFC 5649."""
    if 16 <= length <= 256 and length % 8 == 0:
        return DIRECT
    return DIRECT_PADDED if padded and length < 256 and length % 8 else ENVELOPE


def seal(
    backing_key,
    *,
    key_id,
    version,
    salt,
    context,
    plaintext,
    data_key=None,
    nonce=None,
    suite=1,
    mode=None,
    key_type=0,
    filled=False,
):
    """Return the ciphertext blob; `data_key` and `nonce` are for mode 2, `key_type` and `filled` (up with zeros) for mode 4."""
    mode = mode or mode_of(len(plaintext))
    length = 0 if mode == PRIVATE_KEY else len(plaintext)
    header = Header(key_id, version, length, salt, mode, suite, key_type).to_bytes()
    rest = nonce + AESGCM(data_key).encrypt(nonce, plaintext, None) if mode == ENVELOPE else b""
    wrapping_key = derive(backing_key, derivation_input(header, context, rest), suite)
    match mode:
        case 2:
            return header + aes_key_wrap(wrapping_key, data_key) + rest
        case 3:
            return header + aes_key_wrap_with_padding(wrapping_key, plaintext)
        case 4:
            return header + aes_key_wrap_with_padding(
                wrapping_key, plaintext + bytes(-len(plaintext) % 8 if filled else 0)
            )
    return header + aes_key_wrap(wrapping_key, plaintext)


def unseal(backing_key, blob, context):
    """Return the plaintext, of mode 4 the PKCS#8; raise for anything that is not one."""
    header = Header.from_bytes(blob[:48])
    end = 88 if header.mode == ENVELOPE else len(blob)
    wrapped, rest = blob[48:end], blob[end:]
    wrapping_key = derive(backing_key, derivation_input(blob[:48], context, rest), header.suite)
    if header.mode == ENVELOPE:
        assert len(rest) == 12 + header.length + 16
        return AESGCM(aes_key_unwrap(wrapping_key, wrapped)).decrypt(rest[:12], rest[12:], None)
    if header.mode == PRIVATE_KEY:
        assert len(wrapped) <= 2608
        return without_tail(aes_key_unwrap_with_padding(wrapping_key, wrapped))
    assert len(wrapped) == 8 + -(-header.length // 8) * 8
    if header.mode == DIRECT:
        assert mode_of(header.length) == DIRECT
        return aes_key_unwrap(wrapping_key, wrapped)
    assert mode_of(header.length, padded=True) == DIRECT_PADDED
    opened = aes_key_unwrap_with_padding(wrapping_key, wrapped)
    assert len(opened) == header.length
    return opened


def without_tail(padded):
    """Return a DER SEQUENCE without the zeros that a token may have put after it, of which there are fewer than 8."""
    assert padded[0] == 0x30
    count = padded[1] & 0x7F if padded[1] & 0x80 else 0
    end = 2 + (int.from_bytes(padded[2 : 2 + count]) + count if count else padded[1])
    assert len(padded) - 8 < end <= len(padded)
    assert not any(padded[end:])
    return padded[:end]


def canary(backing_key, key_id, suite=1):
    """Return the canary of a backing key of the KMS key with those 16 bytes of id."""
    digest = hashlib.sha256(b"hsm-kms/canary/v1" + key_id).digest()
    return aes_key_wrap(derive(backing_key, digest, suite), hashlib.sha256(b"hsm-kms canary: a public value").digest())
