"""The decision, as AWS KMS makes it from a key policy, identity policies and grants.

1. An explicit Deny in any policy wins, also over a grant.
2. A key is guarded by its key policy. In the key's own account a request is allowed when the key policy allows the caller, or a grant
   does, or the key policy allows the account (and so hands the decision to the account's identity policies) and an identity policy
   allows. An identity policy alone never suffices: this is KMS's own rule, other services trust their own account.
3. Across accounts both sides must agree: the key policy allows the caller or the caller's account, or a grant allows; and an identity
   policy of the caller's own account allows.
4. What has no key policy (`kms:CreateKey`, lists, aliases) is decided by the identity policies of the account that owns it.
5. The root of an account needs no identity policy: for its own side it is allowed whatever is not denied. A key's policy must still
   name the account or everyone.
6. Everything else is denied.

Source: "Key policies in AWS KMS", "Allowing users in other accounts to use a KMS key" and "Troubleshooting AWS KMS permissions" in
AWS's KMS developer guide.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from hsmkms.core.errors import MalformedPolicyDocumentException
from hsmkms.core.policy.evaluate import NOTHING, Facts, Outcome, Verdict, evaluate
from hsmkms.core.policy.statements import Policy

_REMEMBERED_ACCOUNTS: Final = 1024


class Reason(StrEnum):
    """Why a request is allowed or denied; for logs and audit records, never for a caller."""

    DENIED_BY_KEY_POLICY = "explicit deny in the key policy"
    DENIED_BY_IDENTITY_POLICY = "explicit deny in an identity policy"
    ALLOWED_BY_KEY_POLICY = "the key policy allows the principal"
    ALLOWED_BY_GRANT = "a grant allows the principal"
    ALLOWED_BY_IDENTITY_POLICY = "the key policy allows the account, and an identity policy the principal"
    ALLOWED_BY_BOTH_ACCOUNTS = "the key's account and the principal's own account allow"
    ALLOWED_IN_ACCOUNT = "an identity policy allows the principal"
    NOT_ALLOWED_BY_KEY = "neither the key policy nor a grant allows the principal"
    NOT_ALLOWED_BY_ACCOUNT = "no identity policy of the principal's account allows"
    FOREIGN_RESOURCE = "the resource belongs to another account and has no policy of its own"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is allowed, and why.

    Args:
        allowed: Whether it is.
        reason: Why.
        statement: The statement, or the grant's id, that decided; empty where the absence of one did.
    """

    allowed: bool
    reason: Reason
    statement: str = ""


def decide(
    facts: Facts, *, key_policy: Policy | None, identity_policies: Sequence[Policy], grant: str = ""
) -> Decision:
    """Return the decision on a request. Never raises.

    Args:
        facts: The request.
        key_policy: The key's policy, or None when what it is done to has none.
        identity_policies: The policies of the caller, from the caller's account.
        grant: The id of a grant that allows the request, its constraints included; empty for none.
    """
    key_side = NOTHING if key_policy is None else evaluate(key_policy, facts)
    if key_side.outcome is Outcome.DENIED:
        return Decision(False, Reason.DENIED_BY_KEY_POLICY, key_side.statement)
    own_side = _own_side(facts, identity_policies)
    if own_side.outcome is Outcome.DENIED:
        return Decision(False, Reason.DENIED_BY_IDENTITY_POLICY, own_side.statement)
    own_allows = own_side.outcome is Outcome.ALLOWED
    same_account = facts.account == facts.resource_account
    if key_policy is None:
        if not same_account:
            return Decision(False, Reason.FOREIGN_RESOURCE)
        return _by_account(own_side, Reason.ALLOWED_IN_ACCOUNT)
    if same_account:
        if key_side.outcome is Outcome.ALLOWED:
            return Decision(True, Reason.ALLOWED_BY_KEY_POLICY, key_side.statement)
        if grant:
            return Decision(True, Reason.ALLOWED_BY_GRANT, grant)
        if key_side.outcome is Outcome.DELEGATED:
            return _by_account(own_side, Reason.ALLOWED_BY_IDENTITY_POLICY)
        return Decision(False, Reason.NOT_ALLOWED_BY_KEY)
    if key_side.outcome is Outcome.NOTHING and not grant:
        return Decision(False, Reason.NOT_ALLOWED_BY_KEY)
    if not own_allows:
        return Decision(False, Reason.NOT_ALLOWED_BY_ACCOUNT)
    return Decision(True, Reason.ALLOWED_BY_BOTH_ACCOUNTS, key_side.statement or grant)


def _own_side(facts: Facts, identity_policies: Sequence[Policy]) -> Verdict:
    strongest = Verdict(Outcome.ALLOWED, "root") if facts.caller.is_root else NOTHING
    for policy in identity_policies:
        verdict = evaluate(policy, facts)
        if verdict.outcome > strongest.outcome:
            strongest = verdict
    return strongest


def _by_account(own_side: Verdict, reason: Reason) -> Decision:
    if own_side.outcome is Outcome.ALLOWED:
        return Decision(True, reason, own_side.statement)
    return Decision(False, Reason.NOT_ALLOWED_BY_ACCOUNT)


@functools.lru_cache(_REMEMBERED_ACCOUNTS)
def default_key_policy(partition: str, account: str) -> str:
    """Return the text of the policy of a key that was created without one: the account decides by its identity policies.

    Args:
        partition: For example `aws`.
        account: The key's account.
    """
    document = {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
    return json.dumps(document, indent=2)


def check_lockout(new_policy: Policy, facts: Facts, identity_policies: Sequence[Policy]) -> None:
    """Return if the caller could change the key's policy again under a new one; grants do not count.

    Args:
        new_policy: The policy that the key would get.
        facts: The request that brings it, whatever its action; its resource is the key.
        identity_policies: The caller's policies.

    Raises:
        MalformedPolicyDocumentException: the caller could not.
    """
    again = replace(facts, action="kms:PutKeyPolicy")
    if not decide(again, key_policy=new_policy, identity_policies=identity_policies).allowed:
        raise MalformedPolicyDocumentException(
            "The new key policy will not allow you to update the key policy in the future."
        )
