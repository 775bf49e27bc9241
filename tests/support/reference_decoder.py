"""Format 1 once more, from docs/ciphertext-format.md alone: with `cryptography`, and without a line of the service.

It knows the value of a backing key, which the service never does. Tests open the service's ciphertexts with it and have the service
open what it makes.
"""

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

DIRECT, ENVELOPE = 1, 2


@dataclass(frozen=True)
class Header:
    key_id: bytes
    version: int
    length: int
    salt: bytes
    mode: int

    def to_bytes(self):
        return (
            b"HKC\x01\x01"
            + bytes([self.mode, 0, 0])
            + self.key_id
            + struct.pack(">II", self.version, self.length)
            + self.salt
        )

    @classmethod
    def from_bytes(cls, data):
        assert len(data) == 48
        assert data[:5] == b"HKC\x01\x01", "magic, format 1, suite 1"
        assert data[5] in (DIRECT, ENVELOPE)
        assert data[6:8] == b"\x00\x00"
        version, length = struct.unpack(">II", data[24:32])
        return cls(data[8:24], version, length, data[32:48], data[5])


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


def derive(backing_key, digest):
    """Suite 1: CKM_AES_CBC_ENCRYPT_DATA with a zero IV; the wrapping key is the two blocks that come out."""
    encryptor = Cipher(algorithms.AES(backing_key), modes.CBC(bytes(16))).encryptor()
    return encryptor.update(digest) + encryptor.finalize()


def mode_of(length):
    return DIRECT if 16 <= length <= 256 and length % 8 == 0 else ENVELOPE


def seal(backing_key, *, key_id, version, salt, context, plaintext, data_key=None, nonce=None):
    """Return the ciphertext blob; `data_key` and `nonce` are for mode 2."""
    header = Header(key_id, version, len(plaintext), salt, mode_of(len(plaintext))).to_bytes()
    rest = b"" if header[5] == DIRECT else nonce + AESGCM(data_key).encrypt(nonce, plaintext, None)
    wrapping_key = derive(backing_key, derivation_input(header, context, rest))
    return header + aes_key_wrap(wrapping_key, plaintext if header[5] == DIRECT else data_key) + rest


def unseal(backing_key, blob, context):
    """Return the plaintext; raise for anything that is not one."""
    header = Header.from_bytes(blob[:48])
    wrapped_length = 8 + (header.length if header.mode == DIRECT else 32)
    wrapped, rest = blob[48 : 48 + wrapped_length], blob[48 + wrapped_length :]
    assert len(rest) == (0 if header.mode == DIRECT else 12 + header.length + 16)
    key = aes_key_unwrap(derive(backing_key, derivation_input(blob[:48], context, rest)), wrapped)
    return key if header.mode == DIRECT else AESGCM(key).decrypt(rest[:12], rest[12:], None)


def canary(backing_key, key_id):
    """Return the canary of a backing key of the KMS key with those 16 bytes of id."""
    digest = hashlib.sha256(b"hsm-kms/canary/v1" + key_id).digest()
    return aes_key_wrap(derive(backing_key, digest), hashlib.sha256(b"hsm-kms canary: a public value").digest())
