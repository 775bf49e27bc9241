"""GetKeyPolicy, PutKeyPolicy, ListKeyPolicies. A key has one policy, and its name is `default`."""

from __future__ import annotations

from typing import Final

from hsmkms.core.errors import NotFoundException
from hsmkms.core.messages import (
    Empty,
    GetKeyPolicyRequest,
    GetKeyPolicyResponse,
    ListKeyPoliciesRequest,
    ListKeyPoliciesResponse,
    PutKeyPolicyRequest,
)
from hsmkms.core.operations.environment import Environment, mutation
from hsmkms.core.operations.identify import resolve_key_only
from hsmkms.core.operations.judge import Side, authorise, check_new_policy, require_state
from hsmkms.core.operations.pages import page
from hsmkms.core.policy.decision import default_key_policy
from hsmkms.core.ports import Call

POLICY_NAME: Final = "default"
_DEFAULT_PAGE: Final = 100


async def get_key_policy(environment: Environment, call: Call, request: GetKeyPolicyRequest) -> GetKeyPolicyResponse:
    """Return a key's policy, in whatever state the key is.

    Raises:
        NotFoundException: there is no such key, or the policy's name is not `default`.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:GetKeyPolicy")
    authorise(environment, call, "kms:GetKeyPolicy", target)
    require_state(target, "GetKeyPolicy")
    _require_name(request.policy_name)
    policy = target.key.policy or default_key_policy(environment.partition, target.key.scope.account)
    return GetKeyPolicyResponse(policy, POLICY_NAME)


async def put_key_policy(environment: Environment, call: Call, request: PutKeyPolicyRequest) -> Empty:
    """Replace a key's policy.

    Raises:
        MalformedPolicyDocumentException: the document is not valid, or would not let the caller change it again.
        NotFoundException: there is no such key, or the policy's name is not `default`.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.policy is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:PutKeyPolicy")
    bypass = bool(request.bypass_policy_lockout_safety_check)
    conditions = {"kms:BypassPolicyLockoutSafetyCheck": str(bypass).lower()}
    authorise(environment, call, "kms:PutKeyPolicy", target, Side(conditions=conditions))
    require_state(target, "PutKeyPolicy")
    _require_name(request.policy_name)
    check_new_policy(environment, call, target, request.policy, bypass=bypass)
    await environment.changes.set_policy(mutation(call, "PutKeyPolicy", request), target.key, request.policy)
    return Empty()


async def list_key_policies(
    environment: Environment, call: Call, request: ListKeyPoliciesRequest
) -> ListKeyPoliciesResponse:
    """List the names of a key's policies: `default`.

    Raises:
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:ListKeyPolicies")
    authorise(environment, call, "kms:ListKeyPolicies", target)
    require_state(target, "ListKeyPolicies")
    names, marker = page(
        environment,
        call,
        f"ListKeyPolicies {target.key.key_id}",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        lambda after, limit: [name for name in (POLICY_NAME,) if name > after][:limit],
        lambda name: name,
    )
    return ListKeyPoliciesResponse(tuple(names), marker, marker is not None)


def _require_name(name: str | None) -> None:
    if name not in (None, POLICY_NAME):
        raise NotFoundException(f"No such policy exists: a key has one policy, named {POLICY_NAME}.")
