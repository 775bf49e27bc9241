"""Grants: whom they allow what, for which encryption contexts, who may make one by another, and who may end one.

A grant allows, it never denies: an explicit deny of a policy goes before it, which is for the caller of `grant_allowing` to see to. A
grant is good for one key. Ending a grant does not end those that its grantee made by it, as in AWS.

Pure, and safe for threads. Sources: "Grants in AWS KMS", "Grant operations" and "Retiring and revoking grants" in AWS's developer
guide, and CreateGrant, GrantConstraints and RetireGrant in the API reference.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol

from hsmkms.core.arns import root_arn
from hsmkms.core.errors import InvalidArnException
from hsmkms.core.model import Grant, GrantOperation, KeySpec, KeyUsage, KmsKey, Principal

MAX_GRANTS_PER_KEY: Final = 50_000
"""AWS's quota."""
MAX_GRANTS_PER_GRANTEE: Final = 500
"""Of one key to one grantee principal: what an authorisation looks through at the most. This limit is ours."""
MAX_CONTEXT_PAIRS: Final = 8
"""Of one constraint, as in AWS."""
MAX_CONTEXT_VALUE: Final = 384
"""Characters of a key and of a value in a constraint. AWS states it for "the encryption context value in each constraint"."""
MAX_CONSTRAINT_BYTES: Final = 4096
"""Of a constraint in canonical form, so that every grant fits into its token. This limit is ours."""

CONTEXT_OPERATIONS: Final = frozenset(
    {
        GrantOperation.DECRYPT,
        GrantOperation.ENCRYPT,
        GrantOperation.GENERATE_DATA_KEY,
        GrantOperation.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
        GrantOperation.GENERATE_DATA_KEY_PAIR,
        GrantOperation.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,
        GrantOperation.RE_ENCRYPT_FROM,
        GrantOperation.RE_ENCRYPT_TO,
    }
)
"""The operations that have an encryption context: constraints apply to no others."""

_ON_EVERY_KEY: Final = frozenset(
    {GrantOperation.CREATE_GRANT, GrantOperation.RETIRE_GRANT, GrantOperation.DESCRIBE_KEY}
)
_ON_PAIRS: Final[Mapping[KeyUsage, frozenset[GrantOperation]]] = MappingProxyType(
    {
        KeyUsage.ENCRYPT_DECRYPT: frozenset(
            {
                GrantOperation.DECRYPT,
                GrantOperation.ENCRYPT,
                GrantOperation.RE_ENCRYPT_FROM,
                GrantOperation.RE_ENCRYPT_TO,
                GrantOperation.GET_PUBLIC_KEY,
            }
        ),
        KeyUsage.SIGN_VERIFY: frozenset({GrantOperation.SIGN, GrantOperation.VERIFY, GrantOperation.GET_PUBLIC_KEY}),
        KeyUsage.GENERATE_VERIFY_MAC: frozenset({GrantOperation.GENERATE_MAC, GrantOperation.VERIFY_MAC}),
        KeyUsage.KEY_AGREEMENT: frozenset({GrantOperation.DERIVE_SHARED_SECRET, GrantOperation.GET_PUBLIC_KEY}),
        KeyUsage.ENCAPSULATE_DECAPSULATE: frozenset({GrantOperation.GET_PUBLIC_KEY}),
    }
)
"""What can be done with a key that is not symmetric."""

ACTIONS: Final[Mapping[str, GrantOperation]] = MappingProxyType(
    {f"kms:{operation}": operation for operation in GrantOperation}
)
"""The policy action that each grant operation allows: kms:ReEncryptFrom and kms:ReEncryptTo among them, no kms:ReEncrypt."""

_REMEMBERED_CALLERS: Final = 4096
_BY_RETIREMENT: Final = GrantOperation.RETIRE_GRANT
_PRINCIPAL: Final = re.compile(
    r"(?P<head>arn:[a-z0-9-]+:)(?P<service>iam|sts)::(?P<account>[0-9]{12}):(?P<kind>root|[a-z-]+/)(?P<name>[!-~]*)"
)
_NAMES: Final[Mapping[tuple[str, str], re.Pattern[str]]] = MappingProxyType(
    {
        ("iam", "root"): re.compile(""),
        ("iam", "user/"): re.compile(".+"),
        ("iam", "role/"): re.compile(".*[^/]"),
        ("sts", "assumed-role/"): re.compile("[^/]+/[^/]+"),
        ("sts", "federated-user/"): re.compile(".+"),
    }
)
_NO_NAME: Final = re.compile("(?!)")


class GrantsView(Protocol):
    """The grants of the catalog's view, as far as authorisation needs them."""

    def grants_to(self, key_id: str, name: str) -> Sequence[Grant]:
        """Return the living grants of a key whose grantee has that name among its `grantee_names`."""


class Retirement(Enum):
    """Whether a principal may retire a grant."""

    NO = "no"
    DELEGATED = "delegated"
    """Its account may: the principal may if its identity policies allow kms:RetireGrant."""
    YES = "yes"
    """The grant itself says so: only an explicit deny of an identity policy forbids it. Key policies have no say."""


def operations_on(usage: KeyUsage, spec: KeySpec) -> frozenset[GrantOperation]:
    """Return what a grant on a key of that usage and spec can allow."""
    return _ON_EVERY_KEY | (CONTEXT_OPERATIONS if spec is KeySpec.SYMMETRIC_DEFAULT else _ON_PAIRS[usage])


def require_principal(arn: str) -> None:
    """Do nothing if this is the ARN of a principal that a grant can name; whether there is such a principal is not asked.

    Raises:
        InvalidArnException: it is not the ARN of an account's root, a user, a role, an assumed role or a federated user.
    """
    match = _PRINCIPAL.fullmatch(arn)
    if match is None or not _NAMES.get((match["service"], match["kind"]), _NO_NAME).fullmatch(match["name"]):
        raise InvalidArnException(f"ARN does not refer to a valid principal: {arn}")


def grantee_names(principal_arn: str) -> tuple[str, ...]:
    """Return the names under which a principal that a grant names is found: its ARN, and for a role that of its sessions.

    The ARN of a role's session has the role's name but not its path, so the role's path is left out (names of roles are unique in an
    account).
    """
    match = _PRINCIPAL.fullmatch(principal_arn)
    if match is None or match["kind"] != "role/":
        return (principal_arn,)
    role = match["name"].rpartition("/")[2]
    return (principal_arn, f"{match['head']}sts::{match['account']}:assumed-role/{role}")


@functools.lru_cache(_REMEMBERED_CALLERS)
def caller_names(principal_arn: str, *, for_account: bool = False) -> tuple[str, ...]:
    """Return the names by which grants to a caller are looked up.

    Args:
        principal_arn: The caller.
        for_account: Whether grants to the root of the caller's account count too.
    """
    names = [principal_arn]
    match = _PRINCIPAL.fullmatch(principal_arn)
    if match is not None and match["kind"] == "assumed-role/":
        names.append(principal_arn.rpartition("/")[0])
    if match is not None and for_account:
        names.append(f"{match['head']}iam::{match['account']}:root")
    return tuple(names)


def is_principal(named: str, caller: str) -> bool:
    """Say whether a caller is the principal that a grant names: the same ARN, or a session of the role."""
    return not set(grantee_names(named)).isdisjoint(caller_names(caller))


def allows_context(grant: Grant, operation: GrantOperation, context: Mapping[str, str]) -> bool:
    """Say whether a grant's constraints hold; for operations without an encryption context they do.

    Keys and values are compared exactly, case included.
    """
    if operation not in CONTEXT_OPERATIONS:
        return True
    if grant.context_equals is not None and dict(grant.context_equals) != dict(context):
        return False
    return grant.context_subset is None or _holds(context, grant.context_subset)


def is_within(child: Grant, parent: Grant) -> bool:
    """Say whether a grantee whose right to CreateGrant comes from `parent` may create `child`.

    It must be on the same key, allow nothing that the parent does not, and allow it for no other encryption contexts.
    """
    if (child.scope, child.key_id) != (parent.scope, parent.key_id) or not set(child.operations) <= set(
        parent.operations
    ):
        return False
    if parent.context_equals is not None and (
        child.context_equals is None or dict(child.context_equals) != dict(parent.context_equals)
    ):
        return False
    promised = {**(child.context_subset or {}), **(child.context_equals or {})}
    return parent.context_subset is None or _holds(promised, parent.context_subset)


def grant_allowing(
    view: GrantsView,
    key: KmsKey,
    principal_arn: str,
    action: str,
    encryption_context: Mapping[str, str],
    tokens: Iterable[Grant] = (),
    *,
    created: Grant | None = None,
    for_account: bool = False,
) -> Grant | None:
    """Return a grant that allows a request, or None. Costs a dictionary access for each name of the caller, and what it finds.

    Args:
        view: The catalog's view.
        key: The key.
        principal_arn: The caller.
        action: For example `kms:Decrypt`. kms:RetireGrant is never allowed here: `retirement` judges the one grant it is about.
        encryption_context: The context of the request, or of this side of it.
        tokens: The grants of the grant tokens sent, verified.
        created: For kms:CreateGrant: the grant that would be created; without it nothing allows kms:CreateGrant.
        for_account: Whether the caller's identity policies allow the action: then grants to its account's root count too.
    """
    operation = ACTIONS.get(action)
    if operation is None or operation is _BY_RETIREMENT:
        return None
    names = caller_names(principal_arn, for_account=for_account)
    found = (grant for name in names for grant in view.grants_to(key.key_id, name))
    brought = (grant for grant in tokens if not set(names).isdisjoint(grantee_names(grant.grantee_principal)))
    for grants in (found, brought):
        for grant in grants:
            if (
                (grant.scope, grant.key_id) == (key.scope, key.key_id)
                and operation in grant.operations
                and allows_context(grant, operation, encryption_context)
                and (
                    operation is not GrantOperation.CREATE_GRANT or (created is not None and is_within(created, grant))
                )
            ):
                return grant
    return None


def retirement(grant: Grant, principal: Principal) -> Retirement:
    """Say whether a principal may retire a grant.

    The retiring principal may, the grantee if the grant allows RetireGrant, and the root of the account that owns the key or that
    created the grant. What an account may, it may delegate to its principals by identity policies.
    """
    named = [grant.retiring_principal] if grant.retiring_principal else []
    if _BY_RETIREMENT in grant.operations:
        named.append(grant.grantee_principal)
    partition = grant.issuing_account.split(":", 2)[1]
    named += [grant.issuing_account, root_arn(partition, grant.scope.account)]
    if any(is_principal(arn, principal.arn) for arn in named):
        return Retirement.YES
    return Retirement.DELEGATED if root_arn(partition, principal.account) in named else Retirement.NO


def _holds(context: Mapping[str, str], pairs: Mapping[str, str]) -> bool:
    return pairs.items() <= context.items()
