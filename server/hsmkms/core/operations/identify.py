"""Which KMS key a request means: by key ID, key ARN, alias, alias ARN, or by a ciphertext."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hsmkms.core.arns import alias_arn, key_arn, parse_arn
from hsmkms.core.commands import KeyRef
from hsmkms.core.errors import AccessDeniedException, KMSInvalidStateException, NotFoundException
from hsmkms.core.members import shown
from hsmkms.core.model import BackingKey, KmsKey, Scope
from hsmkms.core.operations.environment import Environment
from hsmkms.core.ports import Call

_KEY_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NO_SUCH_KEY_FOR_CIPHERTEXT: Final = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)
"""One text for a key that is unknown, foreign or forbidden when only a ciphertext names it."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A KMS key and how the caller named it.

    Args:
        key: The key.
        arn: Its ARN.
        alias: The alias it was named by, with `alias/`, or empty.
    """

    key: KmsKey
    arn: str
    alias: str = ""


def named(environment: Environment, key: KmsKey, alias: str = "") -> NamedKey:
    """Return a key with its ARN."""
    return NamedKey(key, key_arn(environment.partition, key.scope, key.key_id), alias)


def resolve(environment: Environment, call: Call, identifier: str, action: str) -> NamedKey:
    """Find the key that a caller named, by key ID, key ARN, alias or alias ARN.

    Args:
        environment: The ports.
        call: The caller, whose account and Region bare names are looked up in.
        identifier: What the caller sent.
        action: What the caller wants to do, for the text when a foreign key is refused.

    Raises:
        NotFoundException: there is no such key or alias in the caller's account, or the ARN is of another Region.
        AccessDeniedException: the ARN is of another account.
    """
    arn = _own_arn(environment, call, identifier, action)
    name = identifier if arn is None else arn
    if name.startswith("alias/"):
        alias = environment.view.alias(call.scope, name)
        key = environment.view.key(call.scope, alias.key_id) if alias else None
        if key is None:
            raise alias_not_found(environment, call.scope, name)
        return named(environment, key, name)
    return _by_id(environment, call, name if arn is None else name.removeprefix("key/"), identifier)


def resolve_key_only(environment: Environment, call: Call, identifier: str, action: str) -> NamedKey:
    """Find the key that a caller named by key ID or key ARN, for operations that take no alias.

    Raises:
        NotFoundException: there is no such key, or an alias was given.
        AccessDeniedException: the ARN is of another account.
    """
    arn = _own_arn(environment, call, identifier, action)
    name = identifier if arn is None else arn
    if name.startswith("alias/"):
        raise NotFoundException(
            f"Invalid keyId '{shown(identifier)}': name the key by its key ID or key ARN, not by an alias"
        )
    return _by_id(environment, call, name if arn is None else name.removeprefix("key/"), identifier)


def _own_arn(environment: Environment, call: Call, identifier: str, action: str) -> str | None:
    """Return the resource that an ARN of the caller's own account and Region names, or None if it is no ARN."""
    if not identifier.startswith("arn:"):
        return None
    arn = parse_arn(identifier)
    if arn is None or not arn.resource.startswith(("key/", "alias/")) or arn.partition != environment.partition:
        raise NotFoundException(f"Invalid keyId '{shown(identifier)}'")
    if arn.region != call.scope.region:
        raise NotFoundException(f"Invalid arn {arn.region}")
    if arn.account != call.scope.account:
        raise denied(call, action, identifier)
    return arn.resource


def _by_id(environment: Environment, call: Call, key_id: str, identifier: str) -> NamedKey:
    if not _KEY_ID.fullmatch(key_id):
        raise NotFoundException(f"Invalid keyId '{shown(identifier)}'")
    key = environment.view.key(call.scope, key_id)
    if key is None:
        raise NotFoundException(f"Key '{key_arn(environment.partition, call.scope, key_id)}' does not exist")
    return named(environment, key)


def key_of_ciphertext(environment: Environment, call: Call, key_uuid: bytes) -> NamedKey:
    """Find the key that a ciphertext names.

    Raises:
        AccessDeniedException: it is unknown or of another account; the text does not tell which.
    """
    key = environment.view.key_by_uuid(key_uuid)
    if key is None or key.scope != call.scope:
        raise AccessDeniedException(NO_SUCH_KEY_FOR_CIPHERTEXT)
    return named(environment, key)


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


def denied(call: Call, action: str, resource: str) -> AccessDeniedException:
    """Return the error for what the caller may not do."""
    return AccessDeniedException(
        f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {resource}"
    )
