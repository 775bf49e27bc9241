"""What Decrypt and ReEncrypt have in common: which blob they need, and which backing key opens it."""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import Ciphertext, Header
from hsmkms.core.errors import IncorrectKeyException, InvalidCiphertextException, ValidationException
from hsmkms.core.model import BackingKey, BackingKeyState, DryRunModifier, KmsKey
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NO_SUCH_KEY_FOR_CIPHERTEXT, NamedKey, key_of_ciphertext, resolve
from hsmkms.core.operations.judge import null_member
from hsmkms.core.ports import Call

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


def key_to_open(
    environment: Environment, call: Call, key_id: str | None, ciphertext: Ciphertext | None, action: str
) -> tuple[NamedKey, str]:
    """Return the key that opens a ciphertext, and the text of a refusal where the caller did not name the key, or nothing.

    Args:
        environment: The ports.
        call: The caller.
        key_id: The key that the request names, if it does.
        ciphertext: The ciphertext; None only where the request names the key.
        action: What the caller wants to do with the key.

    Raises:
        NotFoundException: the request names no key of the caller's account.
        AccessDeniedException: it names no key of another account, or the ciphertext names no key at all.
    """
    if key_id is not None:
        return resolve(environment, call, key_id, action), ""
    assert ciphertext is not None, "without a ciphertext, the key was required"
    return key_of_ciphertext(environment, call, ciphertext.header.key_uuid), NO_SUCH_KEY_FOR_CIPHERTEXT


def require_named_key(ciphertext: Ciphertext | None, target: NamedKey) -> None:
    """Do nothing if a ciphertext names that key, or there is no ciphertext.

    Raises:
        IncorrectKeyException: it names another.
    """
    if ciphertext is not None and ciphertext.header.key_uuid != target.key.uuid_bytes:
        raise IncorrectKeyException(INCORRECT_KEY)


def backing_key_of(key: KmsKey, header: Header) -> BackingKey:
    """Return the backing key that a header names.

    Raises:
        InvalidCiphertextException: the key has no such generation, or it is of another suite.
    """
    backing_key = key.backing_keys.get(header.version)
    if backing_key is None or backing_key.state is not BackingKeyState.ACTIVE or backing_key.suite is not header.suite:
        raise InvalidCiphertextException(detail=f"no backing key of version {header.version} and suite {header.suite}")
    return backing_key
