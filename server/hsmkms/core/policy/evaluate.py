"""What one policy document says of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from hsmkms.core.policy.arn_patterns import arn_fields
from hsmkms.core.policy.patterns import Context, Value
from hsmkms.core.policy.principals import Caller, Match
from hsmkms.core.policy.statements import Policy

NO_CONDITION_KEYS: Final[Mapping[str, Value]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Facts:
    """All that policies are asked about.

    Args:
        principal: The caller's ARN.
        account: The caller's account.
        action: For example `kms:Decrypt`.
        resource: The ARN of what it is done to, or `*`.
        resource_account: The account that owns it; for `*` the caller's.
        context: The request's condition keys in lower case; a key that the request does not have is absent. Text is the value of a
            single-valued key, a tuple holds those of a multi-valued one.
    """

    principal: str
    account: str
    action: str
    resource: str
    resource_account: str
    context: Context = field(default_factory=lambda: NO_CONDITION_KEYS)
    caller: Caller = field(init=False, repr=False, compare=False)
    action_key: str = field(init=False, repr=False, compare=False)
    resource_fields: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "caller", Caller.of(self.principal, self.account))
        object.__setattr__(self, "action_key", self.action.lower())
        object.__setattr__(self, "resource_fields", arn_fields(self.resource))


class Outcome(IntEnum):
    """What a document says, weakest first."""

    NOTHING = 0
    """No statement matches."""
    DELEGATED = 1
    """A key policy allows the caller's account, which leaves the decision to the account's identity policies."""
    ALLOWED = 2
    DENIED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a document says, and which statement says it.

    Args:
        outcome: The strongest outcome.
        statement: The first statement of that outcome: its Sid or its place; empty for none.
    """

    outcome: Outcome
    statement: str = ""


NOTHING: Final = Verdict(Outcome.NOTHING)
_ALLOWING: Final = {Match.ACCOUNT: Outcome.DELEGATED, Match.CALLER: Outcome.ALLOWED}


def evaluate(policy: Policy, facts: Facts) -> Verdict:
    """Return what a policy says of a request: the strongest outcome of its matching statements.

    A Deny that names the caller's account denies the caller. Never raises.
    """
    verdict = NOTHING
    for statement in policy.about(facts.action_key):
        match = Match.CALLER if statement.principals is None else statement.principals.match(facts.caller)
        if match is Match.NO:
            continue
        outcome = Outcome.DENIED if statement.denies else _ALLOWING[match]
        if outcome <= verdict.outcome:
            continue
        denying = statement.denies
        if not statement.resources.match(facts.resource, facts.resource_fields, facts.context, denying=denying):
            continue
        if all(test.holds(facts.context, denying=denying) for test in statement.tests):
            verdict = Verdict(outcome, statement.label)
            if outcome is Outcome.DENIED:
                break
    return verdict
