"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from hsmkms.core import aws_json
from hsmkms.core.arns import key_arn, root_arn
from hsmkms.core.context import canonical
from hsmkms.core.errors import (
    InvalidGrantIdException,
    InvalidGrantTokenException,
    ValidationException,
)
from hsmkms.core.grants import (
    MAX_CONSTRAINT_BYTES,
    MAX_CONTEXT_PAIRS,
    MAX_CONTEXT_VALUE,
    Retirement,
    operations_on,
    require_principal,
    retirement,
)
from hsmkms.core.messages import (
    CreateGrantRequest,
    CreateGrantResponse,
    Empty,
    GrantConstraints,
    GrantConstraintsMember,
    GrantListEntry,
    ListGrantsRequest,
    ListGrantsResponse,
    ListRetirableGrantsRequest,
    ListRetirableGrantsResponse,
    RetireGrantRequest,
    RevokeGrantRequest,
)
from hsmkms.core.model import Grant, GrantOperation, KeySpec
from hsmkms.core.operations.environment import Environment, mutation, to_datetime
from hsmkms.core.operations.identify import NamedKey, denied, named, resolve_key_only
from hsmkms.core.operations.judge import Side, authorise, refuse_dry_run, require_state
from hsmkms.core.operations.pages import page
from hsmkms.core.ports import Call

_DEFAULT_PAGE: Final = 50
_EQUALS: Final = "EncryptionContextEquals"
_SUBSET: Final = "EncryptionContextSubset"


async def create_grant(environment: Environment, call: Call, request: CreateGrantRequest) -> CreateGrantResponse:
    """Give a principal a permission on a key. With a name, the same request again finds the grant that there is.

    A caller whose right comes from a grant can give what that grant allows, and no more (`core.grants.is_within`).

    Raises:
        InvalidArnException: a principal is none that a grant can name.
        ValidationException: a constraint is not valid, or the key cannot do an operation.
        DisabledException, KMSInvalidStateException: the key's state does not allow it.
        LimitExceededException: the key, or the grantee on this key, has as many grants as it may.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    equals, subset = _constraints(request.constraints)
    for principal in (request.grantee_principal, request.retiring_principal):
        if principal is not None:
            require_principal(principal)
    target = resolve_key_only(environment, call, request.key_id, "kms:CreateGrant", cross_account=True)
    grant = _wanted(environment, call, target, request, equals, subset)
    authorise(environment, call, "kms:CreateGrant", target, _side(request, grant))
    _require_possible(target, grant)
    if request.dry_run:
        require_state(target, "CreateGrant")
        refuse_dry_run(request.dry_run)

    def answer(created: Grant) -> bytes:
        response = CreateGrantResponse(environment.grant_tokens.issue(created), created.grant_id)
        return json.dumps(aws_json.encode(response)).encode()

    given = await environment.changes.create_grant(mutation(call, "CreateGrant", request), grant, answer)
    return aws_json.decode(CreateGrantResponse, json.loads(given))


async def list_grants(environment: Environment, call: Call, request: ListGrantsRequest) -> ListGrantsResponse:
    """List a key's grants, all or those to one grantee, a page at a time, in the order of their ids.

    Raises:
        InvalidGrantIdException: the key has no grant of the id that was given.
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    grantee = request.grantee_principal
    if grantee is not None:
        require_principal(grantee)
    target = resolve_key_only(environment, call, request.key_id, "kms:ListGrants", cross_account=True)
    authorise(environment, call, "kms:ListGrants", target)
    key = target.key
    if request.grant_id is not None:
        grant = environment.view.grant(key.scope, key.key_id, request.grant_id)
        if grant is None:
            raise _no_grant(request.grant_id)
        shown = (grant,) if grantee in (None, grant.grantee_principal) else ()
        return ListGrantsResponse(tuple(_entry(environment, each) for each in shown))
    grants, marker = page(
        environment,
        call,
        f"ListGrants {key.key_id} {grantee or ''}",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        lambda after, limit: environment.view.grants_after(key.key_id, after, limit, grantee),
        lambda grant: grant.grant_id,
    )
    return ListGrantsResponse(tuple(_entry(environment, grant) for grant in grants), marker, marker is not None)


async def list_retirable_grants(
    environment: Environment, call: Call, request: ListRetirableGrantsRequest
) -> ListRetirableGrantsResponse:
    """List the grants of all keys, of other accounts too, that have a retiring principal of the caller's account.

    Raises:
        AccessDeniedException: the principal is of another account, or the caller may not list its grants.
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    principal = request.retiring_principal
    assert principal is not None, "its constraint says that it is required"
    require_principal(principal)
    if principal.split(":")[4] != call.principal.account:
        raise denied(call, "kms:ListRetirableGrants", principal)
    authorise(environment, call, "kms:ListRetirableGrants", principal)
    grants, marker = page(
        environment,
        call,
        f"ListRetirableGrants {principal}",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        lambda after, limit: environment.view.retirable_grants_after(call.scope.region, principal, after, limit),
        lambda grant: grant.grant_id,
    )
    entries = tuple(_entry(environment, grant) for grant in grants)
    return ListRetirableGrantsResponse(entries, marker, marker is not None)


async def retire_grant(environment: Environment, call: Call, request: RetireGrantRequest) -> Empty:
    """End a grant, as the grant itself says who may (`core.grants.retirement`); in whatever state the key is.

    Raises:
        InvalidGrantTokenException: the token is not one of this service, or its grant has ended.
        InvalidGrantIdException: the caller's own key has no such grant.
        AccessDeniedException: the caller may not; of another account's key also when it has no such grant.
        KmsError: any other refusal.
    """
    if request.grant_token is not None:
        return await _retire_by_token(environment, call, request, request.grant_token)
    if request.key_id is None or request.grant_id is None:
        raise ValidationException("Name the grant: either by GrantToken, or by KeyId and GrantId.")
    target = resolve_key_only(environment, call, request.key_id, "kms:RetireGrant", cross_account=True)
    grant = environment.view.grant(target.key.scope, target.key.key_id, request.grant_id)
    if grant is None:
        if target.key.scope.account != call.principal.account:
            raise denied(call, "kms:RetireGrant", target.asked_for or target.arn)
        raise _no_grant(request.grant_id)
    _authorise_retirement(environment, call, target, grant)
    refuse_dry_run(request.dry_run)
    change = mutation(call, "RetireGrant", request)
    await environment.changes.end_grant(change, grant.scope, grant.key_id, grant.grant_id)
    return Empty()


async def _retire_by_token(environment: Environment, call: Call, request: RetireGrantRequest, token: str) -> Empty:
    if request.key_id is not None or request.grant_id is not None:
        raise ValidationException("Name the grant by its GrantToken or by KeyId and GrantId, not by both.")
    change = mutation(call, "RetireGrant", request)
    meant = environment.grant_tokens.grant_of(token)
    key = environment.view.key(meant.scope, meant.key_id)
    if key is None:
        raise InvalidGrantTokenException("The key of the grant token does not exist.")
    target = named(environment, call, key)
    _authorise_retirement(environment, call, target, meant)
    grant = environment.grant_tokens.read(environment.view, token)
    refuse_dry_run(request.dry_run)
    try:
        await environment.changes.end_grant(change, grant.scope, grant.key_id, grant.grant_id)
    except InvalidGrantIdException as error:
        raise InvalidGrantTokenException("The grant of the grant token was retired or revoked.") from error
    return Empty()


async def revoke_grant(environment: Environment, call: Call, request: RevokeGrantRequest) -> Empty:
    """End a grant, as a principal whom the key's policies allow kms:RevokeGrant; in whatever state the key is.

    Raises:
        InvalidGrantIdException: the key has no such grant.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.grant_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:RevokeGrant", cross_account=True)
    authorise(environment, call, "kms:RevokeGrant", target, Side(conditions=_NO_AWS_RESOURCE))
    key = target.key
    if request.dry_run:
        if environment.view.grant(key.scope, key.key_id, request.grant_id) is None:
            raise _no_grant(request.grant_id)
        refuse_dry_run(request.dry_run)
    change = mutation(call, "RevokeGrant", request)
    await environment.changes.end_grant(change, key.scope, key.key_id, request.grant_id)
    return Empty()


def _constraints(
    requested: GrantConstraintsMember | None,
) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    """Return what the encryption context must be, and what must be in it.

    Raises:
        ValidationException: both or neither is given, or one is too large.
    """
    if requested is None:
        return None, None
    equals, subset = requested.encryption_context_equals, requested.encryption_context_subset
    if bool(equals) == bool(subset):
        raise ValidationException(f"Constraints must hold either {_EQUALS} or {_SUBSET}, with one pair at the least.")
    pairs = equals or subset
    path = "constraints.encryptionContext" + ("Equals" if equals else "Subset")
    problem = ""
    if len(pairs) > MAX_CONTEXT_PAIRS:
        problem = f"Member must have length less than or equal to {MAX_CONTEXT_PAIRS}"
    elif any(len(text) > MAX_CONTEXT_VALUE for pair in pairs.items() for text in pair):
        problem = f"Member must have keys and values of length less than or equal to {MAX_CONTEXT_VALUE}"
    elif (size := len(canonical(pairs, path))) > MAX_CONSTRAINT_BYTES:
        problem = f"Member must have a canonical form of at most {MAX_CONSTRAINT_BYTES} bytes; it has {size}"
    if problem:
        raise ValidationException(
            f"1 validation error detected: Value at '{path}' failed to satisfy constraint: {problem}"
        )
    return (equals or None), (subset or None)


def _wanted(
    environment: Environment,
    call: Call,
    target: NamedKey,
    request: CreateGrantRequest,
    equals: Mapping[str, str] | None,
    subset: Mapping[str, str] | None,
) -> Grant:
    assert request.grantee_principal is not None, "its constraint says that it is required"
    return Grant(
        scope=target.key.scope,
        key_id=target.key.key_id,
        grant_id=hashlib.sha256(environment.entropy.salt() + environment.entropy.salt()).hexdigest(),
        name=request.name or "",
        grantee_principal=request.grantee_principal,
        retiring_principal=request.retiring_principal or "",
        issuing_account=root_arn(environment.partition, call.principal.account),
        # Each once, in the order of the enumeration: what was asked for twice, or in another order, is the same grant.
        operations=tuple(operation for operation in GrantOperation if operation in request.operations),
        context_equals=equals,
        context_subset=subset,
        created=environment.clock.now_us(),
    )


_NO_AWS_RESOURCE: Final[Mapping[str, str | tuple[str, ...]]] = {"kms:GrantIsForAWSResource": "false"}


def _side(request: CreateGrantRequest, grant: Grant) -> Side:
    """Return what a policy can make conditions on: as in AWS, the constraint's pairs count as the encryption context."""
    conditions: dict[str, str | tuple[str, ...]] = {
        **_NO_AWS_RESOURCE,
        "kms:GrantOperations": tuple(str(operation) for operation in grant.operations),
        "kms:GranteePrincipal": grant.grantee_principal,
    }
    if grant.retiring_principal:
        conditions["kms:RetiringPrincipal"] = grant.retiring_principal
    if grant.context_equals is not None or grant.context_subset is not None:
        conditions["kms:GrantConstraintType"] = _SUBSET if grant.context_equals is None else _EQUALS
    context = grant.context_equals or grant.context_subset or {}
    return Side(encryption_context=context, grant_tokens=request.grant_tokens, conditions=conditions, grant=grant)


def _require_possible(target: NamedKey, grant: Grant) -> None:
    """Do nothing if the key can do what the grant is to allow.

    Raises:
        ValidationException: it cannot; the text says what it can.
    """
    if target.key.spec is not KeySpec.SYMMETRIC_DEFAULT and (
        grant.context_equals is not None or grant.context_subset is not None
    ):
        raise ValidationException(
            f"A grant on {target.arn}, whose key spec is {target.key.spec}, has no encryption context to constrain: "
            "leave Constraints out."
        )
    possible = operations_on(target.key.usage, target.key.spec)
    impossible = [str(operation) for operation in grant.operations if operation not in possible]
    if impossible:
        allowed = ", ".join(operation for operation in GrantOperation if operation in possible)
        raise ValidationException(
            f"A grant on {target.arn}, whose key spec is {target.key.spec} and key usage {target.key.usage}, "
            f"cannot allow {', '.join(impossible)}; "
            f"it can allow {allowed}."
        )


def _authorise_retirement(environment: Environment, call: Call, target: NamedKey, grant: Grant) -> None:
    """Do nothing if the grant lets the caller retire it, and no policy forbids it.

    Raises:
        AccessDeniedException: it does not.
    """
    if retirement(grant, call.principal) is Retirement.NO:
        raise denied(call, "kms:RetireGrant", target.asked_for or target.arn)
    authorise(environment, call, "kms:RetireGrant", target, Side(grant=grant))


def _no_grant(grant_id: str) -> InvalidGrantIdException:
    return InvalidGrantIdException(f"Grant ID {grant_id[:64]} is not found.")


def _entry(environment: Environment, grant: Grant) -> GrantListEntry:
    constraints = None
    if grant.context_equals is not None or grant.context_subset is not None:
        constraints = GrantConstraints(
            encryption_context_subset=grant.context_subset or {}, encryption_context_equals=grant.context_equals or {}
        )
    return GrantListEntry(
        key_id=key_arn(environment.partition, grant.scope, grant.key_id),
        grant_id=grant.grant_id,
        creation_date=to_datetime(grant.created),
        grantee_principal=grant.grantee_principal,
        issuing_account=grant.issuing_account,
        operations=grant.operations,
        name=grant.name or None,
        retiring_principal=grant.retiring_principal or None,
        constraints=constraints,
    )
