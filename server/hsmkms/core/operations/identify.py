"""Which KMS key a request means: by key ID, key ARN, alias, alias ARN, or by a ciphertext."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hsmkms.core import expiry
from hsmkms.core.arns import alias_arn, key_arn, parse_arn
from hsmkms.core.commands import KeyRef
from hsmkms.core.errors import AccessDeniedException, KMSInvalidStateException, NotFoundException
from hsmkms.core.material_commands import KeyPairRef, MacKeyRef
from hsmkms.core.members import shown
from hsmkms.core.model import BackingKey, KmsKey, Origin, Scope
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.judgements import Usable
from hsmkms.core.ports import Call
from hsmkms.core.specs import PAIR_USES, PAIRS

_KEY_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NO_SUCH_KEY_FOR_CIPHERTEXT: Final = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)
"""One text for a key that is unknown, foreign or forbidden when only a ciphertext names it."""


@dataclass(slots=True)
class NamedKey:
    """A KMS key and how the caller named it.

    Args:
        key: The key.
        arn: Its ARN.
        alias: The alias it was named by, with `alias/`, or empty.
        asked_for: What a refusal names: the key's ARN, or for another account's key what the caller sent, so that a refusal tells
            nothing that the caller did not know.
    """

    key: KmsKey
    arn: str
    alias: str = ""
    asked_for: str = ""


def named(
    environment: Environment, call: Call, key: KmsKey, alias: str = "", *, foreign_identifier: str = ""
) -> NamedKey:
    """Return a key with its ARN, as it is now; and note in the call's trail that the request touched it: the audit record lists it."""
    arn = key_arn(environment.partition, key.scope, key.key_id)
    call.trail.touch(arn)
    key = expiry.at(key, environment.clock.now_us()) if key.origin is Origin.EXTERNAL else key
    return NamedKey(key, arn, alias, foreign_identifier or arn)


def resolve(environment: Environment, call: Call, identifier: str, action: str) -> NamedKey:
    """Find the key that a caller named, by key ID, key ARN, alias or alias ARN, in the caller's account or, by ARN, in another.

    Args:
        environment: The ports.
        call: The caller, whose account and Region bare names are looked up in.
        identifier: What the caller sent.
        action: What the caller wants to do, for the text when a foreign key is refused.

    Raises:
        NotFoundException: there is no such key or alias in the caller's account, or the ARN is of another Region.
        AccessDeniedException: there is no such key or alias in the other account.
    """
    scope, name = _place(environment, call, identifier)
    if name.startswith("alias/"):
        return _by_alias(environment, call, scope, name, identifier, action)
    return _by_id(environment, call, scope, name, identifier, action)


def resolve_key_only(
    environment: Environment, call: Call, identifier: str, action: str, *, cross_account: bool = False
) -> NamedKey:
    """Find the key that a caller named by key ID or key ARN, for operations that take no alias.

    Args:
        environment: The ports.
        call: The caller.
        identifier: What the caller sent.
        action: What the caller wants to do, for the text when a foreign key is refused.
        cross_account: Whether the operation is possible with another account's key.

    Raises:
        NotFoundException: there is no such key, or an alias was given.
        AccessDeniedException: the ARN is of another account, and the key is unknown or the operation not for such keys.
    """
    scope, name = _place(environment, call, identifier)
    if scope != call.scope and not cross_account:
        raise denied(call, action, identifier)
    if name.startswith("alias/"):
        raise NotFoundException(
            f"Invalid keyId '{shown(identifier)}': name the key by its key ID or key ARN, not by an alias"
        )
    return _by_id(environment, call, scope, name, identifier, action)


def _place(environment: Environment, call: Call, identifier: str) -> tuple[Scope, str]:
    """Return where an identifier is to be looked up, and the key ID or alias that it names there."""
    if not identifier.startswith("arn:"):
        return call.scope, identifier
    arn = parse_arn(identifier)
    if arn is None or not arn.resource.startswith(("key/", "alias/")) or arn.partition != environment.partition:
        raise NotFoundException(f"Invalid keyId '{shown(identifier)}'")
    if arn.region != call.scope.region:
        raise NotFoundException(f"Invalid arn {arn.region}")
    return Scope(arn.account, arn.region), arn.resource.removeprefix("key/")


def _by_alias(environment: Environment, call: Call, scope: Scope, name: str, identifier: str, action: str) -> NamedKey:
    alias = environment.view.alias(scope, name)
    key = environment.view.key(scope, alias.key_id) if alias else None
    if key is None:
        raise alias_not_found(environment, scope, name) if scope == call.scope else denied(call, action, identifier)
    return named(environment, call, key, name, foreign_identifier="" if scope == call.scope else identifier)


def _by_id(environment: Environment, call: Call, scope: Scope, key_id: str, identifier: str, action: str) -> NamedKey:
    if scope != call.scope:
        key = environment.view.key(scope, key_id)
        if key is None:
            raise denied(call, action, identifier)
        return named(environment, call, key, foreign_identifier=identifier)
    if not _KEY_ID.fullmatch(key_id):
        raise NotFoundException(f"Invalid keyId '{shown(identifier)}'")
    key = environment.view.key(scope, key_id)
    if key is None:
        raise NotFoundException(f"Key '{key_arn(environment.partition, scope, key_id)}' does not exist")
    return named(environment, call, key)


def key_of_ciphertext(environment: Environment, call: Call, key_uuid: bytes) -> NamedKey:
    """Find the key that a ciphertext names, in whatever account.

    Raises:
        AccessDeniedException: it is unknown, or of another Region; the text does not tell which.
    """
    key = environment.view.key_by_uuid(key_uuid)
    if key is None or key.scope.region != call.scope.region:
        raise AccessDeniedException(NO_SUCH_KEY_FOR_CIPHERTEXT)
    return named(environment, call, key)


def alias_not_found(environment: Environment, scope: Scope, name: str) -> NotFoundException:
    """Return the error for an alias that does not exist."""
    return NotFoundException(f"Alias {alias_arn(environment.partition, scope, name)} is not found.")


def current_backing_key(target: NamedKey) -> BackingKey:
    """Return the backing key that new ciphertexts are made with.

    Raises:
        KMSInvalidStateException: there is none, which no key in a usable state can have.
    """
    backing_key = target.key.current
    if backing_key is None:
        raise KMSInvalidStateException(f"{target.arn} has no key material.")
    return backing_key


def reference(key: KmsKey, backing_key: BackingKey) -> KeyRef:
    """Return how a command names a backing key."""
    return KeyRef(key.cka_id(backing_key.version), backing_key.suite, backing_key.canary)


def usable(target: NamedKey, backing_key: BackingKey) -> Usable:
    """Return a symmetric key with one of its backing keys."""
    return Usable(target.key, target.arn, backing_key, reference(target.key, backing_key))


def pair_reference(target: NamedKey) -> KeyPairRef:
    """Return how a command names the key pair of an asymmetric key."""
    key, pair = target.key, current_backing_key(target)
    return KeyPairRef(key.cka_id(pair.version), PAIRS[key.spec], PAIR_USES[key.usage], pair.canary)


def mac_reference(target: NamedKey) -> MacKeyRef:
    """Return how a command names the key of an HMAC key."""
    mac_key = current_backing_key(target)
    return MacKeyRef(target.key.cka_id(mac_key.version), mac_key.canary)


def denied(call: Call, action: str, resource: str) -> AccessDeniedException:
    """Return the error for what the caller may not do."""
    return AccessDeniedException(
        f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {resource}"
    )
