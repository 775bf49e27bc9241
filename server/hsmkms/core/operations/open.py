"""What Decrypt and ReEncrypt have in common: which blob they need, and which backing key opens it."""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import Header
from hsmkms.core.errors import InvalidCiphertextException, ValidationException
from hsmkms.core.model import BackingKey, BackingKeyState, DryRunModifier, KmsKey
from hsmkms.core.operations.judge import null_member

INCORRECT_KEY: Final = "The key ID in the request does not identify a CMK that can perform this operation."


def required_blob(
    blob: bytes | None, dry_run: bool | None, modifiers: tuple[str, ...], key_id: str | None, key_member: str
) -> bytes | None:
    """Return the ciphertext of a request, or None for a dry run of the permissions alone.

    Args:
        blob: CiphertextBlob.
        dry_run: DryRun.
        modifiers: DryRunModifiers.
        key_id: The key that the request names, if it does.
        key_member: The member that names it, for the error's text.

    Raises:
        ValidationException: blob, modifier and key do not go together.
    """
    if not modifiers:
        if blob is None:
            raise null_member("ciphertextBlob")
        return blob
    modifier = DryRunModifier(modifiers[0])
    if not dry_run:
        raise ValidationException(f"DryRunModifiers is only for a dry run: set DryRun, or leave {modifier} out.")
    if blob is not None:
        raise ValidationException(f"With {modifier}, leave CiphertextBlob out.")
    if key_id is None:
        raise null_member(key_member)
    return None


def backing_key_of(key: KmsKey, header: Header) -> BackingKey:
    """Return the backing key that a header names.

    Raises:
        InvalidCiphertextException: the key has no such generation, or it is of another suite.
    """
    backing_key = key.backing_keys.get(header.version)
    if backing_key is None or backing_key.state is not BackingKeyState.ACTIVE or backing_key.suite is not header.suite:
        raise InvalidCiphertextException(detail=f"no backing key of version {header.version} and suite {header.suite}")
    return backing_key
