"""What several operations judge a request by: permission, key state, key usage, algorithm, and the end of a dry run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hsmkms.core import key_states
from hsmkms.core.errors import (
    AccessDeniedException,
    DryRunOperationException,
    InvalidKeyUsageException,
    KmsError,
    ValidationException,
)
from hsmkms.core.messages import NO_CONTEXT
from hsmkms.core.model import EncryptionAlgorithm, Grant, KeySpec, KeyUsage
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, denied
from hsmkms.core.ports import AuthorisationRequest, Call

ALGORITHMS_OF_SPEC: Final[Mapping[KeySpec, tuple[EncryptionAlgorithm, ...]]] = {
    KeySpec.SYMMETRIC_DEFAULT: (EncryptionAlgorithm.SYMMETRIC_DEFAULT,),
}


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of a cryptographic request is authorised with.

    Args:
        encryption_context: Its encryption context.
        encryption_algorithm: Its algorithm, or empty.
        grant_tokens: The grant tokens of the request.
        conditions: Further condition keys and their values; a tuple for a multi-valued key.
        grant: The grant that would be created or retired.
    """

    encryption_context: Mapping[str, str] = field(default_factory=lambda: NO_CONTEXT)
    encryption_algorithm: str = ""
    grant_tokens: tuple[str, ...] = ()
    conditions: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: NO_CONTEXT)
    grant: Grant | None = None


_NO_SIDE: Final = Side()


def authorise(
    environment: Environment,
    call: Call,
    action: str,
    target: NamedKey | str,
    side: Side = _NO_SIDE,
    *,
    refusal: str = "",
) -> None:
    """Do nothing if the caller may do this to that.

    Args:
        environment: The ports.
        call: The caller.
        action: For example `kms:Decrypt`.
        target: The key, or the ARN of something else, or `*`.
        side: What else the decision may depend on.
        refusal: The text of a refusal where it must not name the key.

    Raises:
        AccessDeniedException: the caller may not.
    """
    resource, key, alias = (target, None, "") if isinstance(target, str) else (target.arn, target.key, target.alias)
    allowed = environment.authorizer.allows(
        AuthorisationRequest(
            call,
            action,
            resource,
            key,
            alias,
            side.encryption_context,
            side.encryption_algorithm,
            side.grant_tokens,
            side.conditions,
            side.grant,
        )
    )
    if not allowed:
        shown_as = target if isinstance(target, str) else target.asked_for
        raise AccessDeniedException(refusal) if refusal else denied(call, action, shown_as)


def check_new_policy(environment: Environment, call: Call, target: NamedKey, policy: str, *, bypass: bool) -> None:
    """Do nothing if a key can be given a policy by the caller.

    Args:
        environment: The ports.
        call: The caller.
        target: The key.
        policy: The text.
        bypass: Whether the caller wants it even if it locks the caller out.

    Raises:
        MalformedPolicyDocumentException: it is no key policy, or would lock the caller out.
    """
    request = AuthorisationRequest(call, "kms:PutKeyPolicy", target.arn, target.key)
    environment.authorizer.check_policy(request, policy, bypass=bypass)


def require_state(target: NamedKey, operation: str) -> None:
    """Do nothing if the key's state allows the operation (`core.key_states`).

    Args:
        target: The key.
        operation: AWS's name of the operation.

    Raises:
        DisabledException: the key is disabled.
        KMSInvalidStateException: the key is in another state that does not allow it.
    """
    key_states.require(operation, target.key.state, target.arn)


def require_usage(target: NamedKey, error: KmsError | None = None) -> None:
    """Do nothing if the key is one to encrypt and decrypt with.

    Args:
        target: The key.
        error: What to raise instead of the usual error.

    Raises:
        InvalidKeyUsageException: the key's usage is another.
    """
    if target.key.usage is not KeyUsage.ENCRYPT_DECRYPT:
        raise error or InvalidKeyUsageException(
            f"{target.arn} key usage is {target.key.usage} which is not valid for this operation; "
            f"use a key whose usage is {KeyUsage.ENCRYPT_DECRYPT}."
        )


def require_algorithm(target: NamedKey, algorithm: EncryptionAlgorithm) -> None:
    """Do nothing if the key can be used with that algorithm.

    Raises:
        InvalidKeyUsageException: the key's spec does not have it; the text names those that it has.
    """
    possible = ALGORITHMS_OF_SPEC[target.key.spec]
    if algorithm not in possible:
        raise InvalidKeyUsageException(
            f"Algorithm {algorithm} and key spec {target.key.spec} are incompatible: use {' or '.join(possible)}."
        )


def algorithm_or_default(text: str | None) -> EncryptionAlgorithm:
    """Return the algorithm that a checked member names."""
    return EncryptionAlgorithm(text) if text else EncryptionAlgorithm.SYMMETRIC_DEFAULT


def refuse_dry_run(dry_run: bool | None) -> None:
    """End a dry run in which everything was well.

    Raises:
        DryRunOperationException: `dry_run` is true.
    """
    if dry_run:
        raise DryRunOperationException("The request would have succeeded, but the DryRun option is set.")


def null_member(name: str) -> ValidationException:
    """Return the error for a member that is missing, which the model alone does not require."""
    return ValidationException(
        f"1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
    )
