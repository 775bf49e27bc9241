"""Import tokens: what GetParametersForImport gives to who will import key material, and ImportKeyMaterial takes back.

An import token is `magic (3 bytes) || version (1) || KMS key's UUID (16) || wrapping algorithm (1) || wrapping key spec (1) || u64
expiry in microseconds since 1970 || salt (16)`, its clear part, and then the private key of the import pair, wrapped on the token under
a service key. That wrapping key is derived from a digest of the clear part: change one bit of it, and the private key does not unwrap.
So a token is good for one KMS key, one wrapping algorithm and one pair, until its expiry, on every front; and no front keeps anything
of it. It is no secret: nobody but the token device can unwrap what it holds.

The clear part is judged before it is proven. That a token has expired, or is of another key, is told of a forged one too.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hsmkms.core.ciphertext import KEY_UUID_BYTES, MAX_WRAPPED_BYTES, MIN_WRAPPED_BYTES, SALT_BYTES
from hsmkms.core.errors import ExpiredImportTokenException, InvalidImportTokenException
from hsmkms.core.material_commands import ImportWrapping, PairSpec
from hsmkms.core.model import WrappingAlgorithm, WrappingKeySpec

LIFETIME_US: Final = 24 * 3600 * 1_000_000
MAX_SKEW_US: Final = 600 * 1_000_000
"""How far the clocks of two fronts may be apart: a token that would be good for longer comes from a clock that was wrong."""
MAGIC: Final = b"HKI"
VERSION: Final = 1

WRAPPINGS: Final[Mapping[WrappingAlgorithm, ImportWrapping]] = MappingProxyType(
    {
        WrappingAlgorithm.RSAES_OAEP_SHA_1: ImportWrapping.OAEP_SHA_1,
        WrappingAlgorithm.RSAES_OAEP_SHA_256: ImportWrapping.OAEP_SHA_256,
        WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_1: ImportWrapping.RSA_AES_SHA_1,
        WrappingAlgorithm.RSA_AES_KEY_WRAP_SHA_256: ImportWrapping.RSA_AES_SHA_256,
    }
)
PAIRS: Final[Mapping[WrappingKeySpec, PairSpec]] = MappingProxyType(
    {
        WrappingKeySpec.RSA_2048: PairSpec.RSA_2048,
        WrappingKeySpec.RSA_3072: PairSpec.RSA_3072,
        WrappingKeySpec.RSA_4096: PairSpec.RSA_4096,
    }
)

_CLEAR: Final = struct.Struct(f"!3sB{KEY_UUID_BYTES}sBBQ{SALT_BYTES}s")
_LABEL: Final = b"hsm-kms/import-token/v1"
_NOT_OURS: Final = "The import token is not one that this service issued."


@dataclass(frozen=True, slots=True)
class Parameters:
    """The clear part of an import token: what it is for.

    Args:
        key_uuid: The 16 bytes of the KMS key's id.
        wrapping: How the material is encrypted.
        pair: The kind of import pair.
        expiry: Until when it is good, in microseconds since 1970, UTC.
        salt: 16 random bytes, new for each token.
    """

    key_uuid: bytes
    wrapping: ImportWrapping
    pair: PairSpec
    expiry: int
    salt: bytes

    def to_bytes(self) -> bytes:
        """Return the clear part."""
        return _CLEAR.pack(MAGIC, VERSION, self.key_uuid, self.wrapping, self.pair, self.expiry, self.salt)

    @property
    def digest(self) -> bytes:
        """The 32 bytes that the wrapping key of the import pair's private key is derived from."""
        return hashlib.sha256(_LABEL + self.to_bytes()).digest()


def issue(parameters: Parameters, wrapped: bytes) -> bytes:
    """Return an import token, 70 to 2,654 bytes.

    Args:
        parameters: Its clear part.
        wrapped: The import pair's private key, wrapped under the key that `parameters.digest` gives.
    """
    return parameters.to_bytes() + wrapped


def read(token: bytes, key_uuid: bytes, now: int) -> tuple[Parameters, bytes]:
    """Return the clear part of an import token, and the wrapped private key; only the token device can tell whether they are true.

    Args:
        token: What the caller sent.
        key_uuid: The 16 bytes of the id of the KMS key that the caller names.
        now: Microseconds since 1970, UTC.

    Raises:
        InvalidImportTokenException: it is none, or one for another KMS key.
        ExpiredImportTokenException: it was good until some time ago.
    """
    clear, wrapped = token[: _CLEAR.size], token[_CLEAR.size :]
    if len(clear) != _CLEAR.size or len(wrapped) % 8 or not MIN_WRAPPED_BYTES <= len(wrapped) <= MAX_WRAPPED_BYTES:
        raise InvalidImportTokenException(_NOT_OURS)
    magic, version, named, wrapping, pair, expiry, salt = _CLEAR.unpack(clear)
    if magic != MAGIC or version != VERSION or wrapping not in WRAPPINGS.values() or pair not in PAIRS.values():
        raise InvalidImportTokenException(_NOT_OURS)
    if named != key_uuid:
        raise InvalidImportTokenException("The import token is for another KMS key.")
    if not now < expiry <= now + LIFETIME_US + MAX_SKEW_US:
        raise ExpiredImportTokenException(
            "The import token has expired: call GetParametersForImport again, and encrypt the key material under the new public key."
        )
    return Parameters(named, ImportWrapping(wrapping), PairSpec(pair), expiry, salt), wrapped
