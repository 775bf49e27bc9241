"""RSA keys to encrypt with: lengths of what goes in and of what came out (RFC 8017, section 7.1)."""

from __future__ import annotations

from hsmkms.core.errors import InvalidCiphertextException, ValidationException
from hsmkms.core.model import EncryptionAlgorithm, KeySpec
from hsmkms.core.operations.identify import NamedKey
from hsmkms.core.specs import MODULUS_BYTES, largest_plaintext


def is_rsa(target: NamedKey) -> bool:
    """Say whether a key that is to encrypt or decrypt is an RSA key; else it is a symmetric one."""
    return target.key.spec is not KeySpec.SYMMETRIC_DEFAULT


def too_long(target: NamedKey, algorithm: EncryptionAlgorithm) -> ValidationException:
    """Return the error for a plaintext that is longer than an RSA key can encrypt."""
    largest = largest_plaintext(target.key.spec, algorithm)
    return ValidationException(
        f"Algorithm {algorithm} and key spec {target.key.spec} cannot encrypt data larger than {largest} bytes."
    )


def require_room(target: NamedKey, algorithm: EncryptionAlgorithm, length: int) -> None:
    """Do nothing if an RSA key can encrypt that many bytes.

    Raises:
        ValidationException: it cannot.
    """
    if length > largest_plaintext(target.key.spec, algorithm):
        raise too_long(target, algorithm)


def require_modulus_length(target: NamedKey, blob: bytes) -> None:
    """Do nothing if a ciphertext is as long as the RSA key's modulus, as every OAEP ciphertext is.

    Raises:
        InvalidCiphertextException: it is not.
    """
    if len(blob) != MODULUS_BYTES[target.key.spec]:
        raise InvalidCiphertextException(detail=f"an OAEP ciphertext of {len(blob)} bytes")
