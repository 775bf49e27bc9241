"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases."""

from __future__ import annotations

from typing import Final

from hsmkms.core.arns import alias_arn
from hsmkms.core.errors import InvalidAliasNameException, ValidationException
from hsmkms.core.messages import (
    AliasListEntry,
    CreateAliasRequest,
    DeleteAliasRequest,
    Empty,
    ListAliasesRequest,
    ListAliasesResponse,
    UpdateAliasRequest,
)
from hsmkms.core.model import Alias
from hsmkms.core.operations.environment import Environment, mutation, to_datetime
from hsmkms.core.operations.identify import NamedKey, alias_not_found, named, resolve_key_only
from hsmkms.core.operations.judge import authorise, require_state
from hsmkms.core.operations.pages import page
from hsmkms.core.ports import Call

_DEFAULT_PAGE: Final = 50
_PREFIX: Final = "alias/"
_RESERVED: Final = "alias/aws/"


async def create_alias(environment: Environment, call: Call, request: CreateAliasRequest) -> Empty:
    """Give a key a second name.

    Raises:
        AlreadyExistsException: the account has an alias of that name.
        KmsError: any other refusal.
    """
    name = _checked(request.alias_name)
    if ":" in name:  # the shape's pattern allows it, the member's documentation does not, and AWS refuses it
        raise ValidationException(f"{name} contains invalid characters for an alias")
    target = _target(environment, call, request.target_key_id, "kms:CreateAlias")
    authorise(environment, call, "kms:CreateAlias", alias_arn(environment.partition, call.scope, name))
    authorise(environment, call, "kms:CreateAlias", target)
    require_state(target, "CreateAlias")
    now = environment.clock.now_us()
    await environment.changes.create_alias(
        mutation(call, "CreateAlias", request), Alias(call.scope, name, target.key.key_id, now, now)
    )
    return Empty()


async def update_alias(environment: Environment, call: Call, request: UpdateAliasRequest) -> Empty:
    """Point an alias to another key.

    Raises:
        NotFoundException: there is no such alias.
        KmsError: any other refusal.
    """
    name = _checked(request.alias_name)
    target = _target(environment, call, request.target_key_id, "kms:UpdateAlias")
    authorise(environment, call, "kms:UpdateAlias", alias_arn(environment.partition, call.scope, name))
    authorise(environment, call, "kms:UpdateAlias", _of_alias(environment, call, name))
    authorise(environment, call, "kms:UpdateAlias", target)
    require_state(target, "UpdateAlias")
    await environment.changes.update_alias(mutation(call, "UpdateAlias", request), call.scope, name, target.key.key_id)
    return Empty()


async def delete_alias(environment: Environment, call: Call, request: DeleteAliasRequest) -> Empty:
    """Delete an alias. The key stays.

    Raises:
        NotFoundException: there is no such alias.
        KmsError: any other refusal.
    """
    name = _checked(request.alias_name)
    authorise(environment, call, "kms:DeleteAlias", alias_arn(environment.partition, call.scope, name))
    alias = environment.view.alias(call.scope, name)
    if alias is not None:
        authorise(environment, call, "kms:DeleteAlias", _of_alias(environment, call, name))
    await environment.changes.delete_alias(mutation(call, "DeleteAlias", request), call.scope, name)
    return Empty()


async def list_aliases(environment: Environment, call: Call, request: ListAliasesRequest) -> ListAliasesResponse:
    """List the caller's account's aliases, of one key if it is named, a page at a time, in the order of their names.

    Raises:
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    authorise(environment, call, "kms:ListAliases", "*")
    key_id = None
    if request.key_id is not None:
        key_id = resolve_key_only(environment, call, request.key_id, "kms:ListAliases").key.key_id
    aliases, marker = page(
        environment,
        call,
        f"ListAliases {key_id or ''}",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        lambda after, limit: environment.view.aliases_after(call.scope, after, limit, key_id),
        lambda alias: alias.name,
    )
    entries = tuple(
        AliasListEntry(
            alias_name=alias.name,
            alias_arn=alias_arn(environment.partition, alias.scope, alias.name),
            target_key_id=alias.key_id,
            creation_date=to_datetime(alias.created),
            last_updated_date=to_datetime(alias.updated),
        )
        for alias in aliases
    )
    return ListAliasesResponse(entries, marker, marker is not None)


def _checked(name: str | None) -> str:
    assert name is not None, "its constraint says that it is required"
    if not name.startswith(_PREFIX) or name == _PREFIX:
        raise ValidationException('Alias must start with the prefix "alias/", and a name must follow it.')
    if name.startswith(_RESERVED):
        raise InvalidAliasNameException(f"Aliases that begin with {_RESERVED} are reserved.")
    return name


def _target(environment: Environment, call: Call, identifier: str | None, action: str) -> NamedKey:
    assert identifier is not None, "its constraint says that it is required"
    if identifier.startswith(_PREFIX) or (identifier.startswith("arn:") and f":{_PREFIX}" in identifier):
        raise ValidationException("Aliases must refer to keys. Not aliases")
    return resolve_key_only(environment, call, identifier, action)


def _of_alias(environment: Environment, call: Call, name: str) -> NamedKey:
    """Return the key that an alias points to.

    Raises:
        NotFoundException: there is no such alias.
    """
    alias = environment.view.alias(call.scope, name)
    key = environment.view.key(call.scope, alias.key_id) if alias else None
    if key is None:
        raise alias_not_found(environment, call.scope, name)
    return named(environment, call, key, name)
