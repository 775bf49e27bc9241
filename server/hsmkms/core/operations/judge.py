"""What several operations judge a request by: permission, key state, key usage, algorithm, and the end of a dry run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from hsmkms.core import key_states, specs
from hsmkms.core.errors import (
    AccessDeniedException,
    DryRunOperationException,
    InvalidKeyUsageException,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.features import NEVER
from hsmkms.core.model import EncryptionAlgorithm, Grant, KeySpec, KeyUsage, Origin
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, denied
from hsmkms.core.operations.judgements import Asked, Usable
from hsmkms.core.ports import AuthorisationRequest, Call
from hsmkms.core.request_members import NO_CONTEXT


@dataclass(slots=True)
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
_DEFAULT: Final = EncryptionAlgorithm.SYMMETRIC_DEFAULT


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


def kept(environment: Environment, call: Call, about: Asked | None) -> tuple[Usable, ...] | None:
    """Return what an earlier request like this one was judged to be able to use, or None where this one is to be judged.

    The keys are noted in the call's trail, as those of every request are.

    Args:
        environment: The ports.
        call: The caller.
        about: What the judgement is about, or None.
    """
    ends = environment.judgements.known(environment.view.revision, about) if about is not None else None
    if ends is not None:
        for end in ends:
            call.trail.touch(end.arn)
    return ends


def keep(environment: Environment, call: Call, about: Asked | None, *ends: tuple[str, Usable]) -> None:
    """Keep that a request was judged well, if nothing but a change of the catalog can make the next one of its shape judged otherwise.

    Not kept is what a policy with a condition, or a grant, has had a say in, and a key of imported material, which expires by the clock.

    Args:
        environment: The ports.
        call: The caller.
        about: What the judgement is about; None for a request that is always judged anew.
        ends: What is usable, in the order in which it was judged, and by which action.
    """
    if about is None:
        return
    for action, end in ends:
        key = end.key
        if key.origin is Origin.EXTERNAL or not environment.authorizer.is_settled(call.principal, action, end.arn, key):
            return
    environment.judgements.keep(environment.view.revision, about, tuple([end for _, end in ends]))


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


def require_usage(target: NamedKey, usage: KeyUsage = KeyUsage.ENCRYPT_DECRYPT) -> None:
    """Do nothing if the key is for what it is to be used for.

    Args:
        target: The key.
        usage: What it must be for.

    Raises:
        InvalidKeyUsageException: the key's usage is another.
    """
    if target.key.usage is not usage:
        raise InvalidKeyUsageException(
            f"{target.arn} key usage is {target.key.usage} which is not valid for this operation; "
            f"use a key whose usage is {usage}."
        )


def require_algorithm(environment: Environment, target: NamedKey, algorithm: str) -> None:
    """Do nothing if the key can be used with that algorithm, on this token.

    Args:
        environment: The ports.
        target: The key, of the usage that the algorithm is for.
        algorithm: An encryption, signing, MAC or key agreement algorithm.

    Raises:
        InvalidKeyUsageException: the key's spec does not have it; the text names those that it has.
        UnsupportedOperationException: the token lacks what it needs; the text names that.
    """
    key, features = target.key, environment.token.features
    if specs.is_possible(algorithm, key, features):
        return
    possible = specs.possible_algorithms(key, features)
    of_spec = specs.algorithms(key)
    if algorithm in of_spec or algorithm in NEVER:
        raise lacking(environment, f"Algorithm {algorithm}", algorithm, possible)
    raise InvalidKeyUsageException(
        f"Algorithm {algorithm} and key spec {key.spec} are incompatible: use {' or '.join(possible or of_spec)}."
    )


def require_symmetric(target: NamedKey, operation: str) -> None:
    """Do nothing if the key, which is one to encrypt with, is a symmetric one.

    Raises:
        InvalidKeyUsageException: it is an asymmetric one.
    """
    if target.key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise InvalidKeyUsageException(
            f"{target.arn} key spec is {target.key.spec} which is not valid for {operation}; "
            f"use a key whose key spec is {KeySpec.SYMMETRIC_DEFAULT}."
        )


def require_origin(target: NamedKey, origin: Origin) -> None:
    """Do nothing if the key's material comes from there.

    Raises:
        UnsupportedOperationException: it comes from elsewhere.
    """
    if target.key.origin is not origin:
        raise UnsupportedOperationException(
            f"{target.arn} origin is {target.key.origin} which is not valid for this operation."
        )


def lacking(environment: Environment, what: str, name: str, instead: Iterable[str]) -> UnsupportedOperationException:
    """Return the error for what the token lacks.

    Args:
        environment: The ports.
        what: What was asked for, for example `KeySpec SM2`.
        name: The API's name of it, as `TokenFeatures.needs` has it.
        instead: What can be used.
    """
    use = " or ".join(instead)
    missing = specs.missing(environment.token.features, name)
    return UnsupportedOperationException(
        f"{what} is not possible with this token. Missing: {missing}." + (f" Use {use}." if use else "")
    )


def refuse_context(target: NamedKey, member: str, context: Mapping[str, str]) -> None:
    """Do nothing if the key is symmetric, or there is no encryption context.

    Args:
        target: The key.
        member: The member that holds the context, for the text: for example `EncryptionContext`.
        context: The context.

    Raises:
        ValidationException: nothing can bind a ciphertext of an asymmetric key to a context.
    """
    if context and target.key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationException(
            f"{target.arn} key spec is {target.key.spec}, whose ciphertexts have no encryption context: "
            f"leave {member} out, or use a key whose key spec is {KeySpec.SYMMETRIC_DEFAULT}."
        )


def algorithm_or_default(text: str | None) -> EncryptionAlgorithm:
    """Return the algorithm that a checked member names."""
    return EncryptionAlgorithm(text) if text else _DEFAULT


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
