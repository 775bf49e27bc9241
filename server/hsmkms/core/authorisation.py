"""Who may do what: key policies, identity policies and grants together (`core.ports.Authorizer`).

A key's policy is compiled when it is first asked and kept; a policy that is not valid, which no operation lets into the catalog, allows
nothing. What a grant allows is looked up only for actions that grants know of.

A decision in which no policy asked for a condition key, and no grant had a say, follows from the policies alone: it is kept, and is the
decision for every request of the same principal, action and key for as long as the key has that policy and the caller no grant on it.
Operations that keep what they judged ask whether a decision is one of these (`is_settled`), and then ask no more until the catalog changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from hsmkms.core.errors import MalformedPolicyDocumentException
from hsmkms.core.grant_tokens import GrantTokens, KnownGrants
from hsmkms.core.grants import GrantsView, Retirement, caller_names, grant_allowing, retirement
from hsmkms.core.model import KmsKey, Principal, Scope
from hsmkms.core.policy.condition_keys import ConditionInputs, LazyContext, condition_context
from hsmkms.core.policy.decision import Decision, Reason, check_lockout, decide, default_key_policy
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.evaluate import Facts
from hsmkms.core.policy.patterns import Value
from hsmkms.core.policy.statements import Policy
from hsmkms.core.ports import AuthorisationRequest, Clock

_RETIRE: Final = "kms:RetireGrant"
MAX_COMPILED: Final = 4096
"""Key policies that are kept compiled; the oldest gives way."""
MAX_SETTLED: Final = 4096
"""Decisions that are kept; the oldest gives way."""
_Settled: TypeAlias = tuple[str, str, str, str, str, str | None]
"""Principal, its account, action, resource, the account of the key, the key's policy."""


class AuthorisationView(GrantsView, KnownGrants, Protocol):
    """What the decision needs of the catalog's view."""

    def alias_names(self, scope: Scope, key_id: str) -> Sequence[str]:
        """Return the names of a key's aliases."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    policy: Policy | None


class PolicyAuthorizer:
    """Decides by policies and grants.

    Args:
        partition: The partition of ARNs.
        view: The catalog's view.
        identity_policies: The identity policies of each principal, by its ARN.
        grant_tokens: Reads the grant tokens of a request.
        clock: The time.
        decided: Is told each decision that is asked for, and so each denial, for the log; not the request's secrets, of which there are
            none here.
    """

    def __init__(
        self,
        partition: str,
        view: AuthorisationView,
        identity_policies: Mapping[str, Sequence[Policy]],
        grant_tokens: GrantTokens,
        clock: Clock,
        decided: Callable[[AuthorisationRequest, Decision], None] = lambda _request, _decision: None,
    ) -> None:
        self._partition = partition
        self._view = view
        self._identity_policies = identity_policies
        self._grant_tokens = grant_tokens
        self._clock = clock
        self._decided = decided
        self._compiled: dict[str, _Compiled] = {}
        self._settled: dict[_Settled, Decision] = {}

    def allows(self, request: AuthorisationRequest) -> bool:
        """Say whether policies and grants allow a request.

        Raises:
            InvalidGrantTokenException: a grant token of the request is not valid.
        """
        decision = self.decision(request)
        self._decided(request, decision)
        return decision.allowed

    def is_settled(self, principal: Principal, action: str, resource: str, key: KmsKey) -> bool:
        """Say whether an action that was just allowed is allowed by policies that ask for no condition key, and by no grant.

        Args:
            principal: Who asked.
            action: For example `kms:ReEncryptFrom`.
            resource: The key's ARN.
            key: The key.
        """
        if self._has_grants(key, principal.arn):
            return False
        known = self._settled.get(_settled_by(principal, action, resource, key))
        return known is not None and known.allowed

    def decision(self, request: AuthorisationRequest) -> Decision:
        """Return the decision on a request, with its reason.

        Raises:
            InvalidGrantTokenException: a grant token of the request is not valid.
        """
        key = request.key
        settled = key and self._may_be_settled(request, key)
        if settled:
            known = self._settled.get(settled)
            if known is not None:
                return known
        context = LazyContext(lambda: self._context(request))
        decision = self._decide(request, self._facts(request, context))
        if settled and not context.was_asked:
            if len(self._settled) >= MAX_SETTLED:
                del self._settled[next(iter(self._settled))]
            self._settled[settled] = decision
        return decision

    def _may_be_settled(self, request: AuthorisationRequest, key: KmsKey) -> _Settled | None:
        """Return what a decision depends on if no policy asks for a condition key and no grant can matter, or None if one can."""
        principal = request.call.principal
        if request.grant_tokens or request.grant is not None or self._has_grants(key, principal.arn):
            return None
        return _settled_by(principal, request.action, request.resource, key)

    def _has_grants(self, key: KmsKey, principal_arn: str) -> bool:
        return any(self._view.grants_to(key.key_id, name) for name in caller_names(principal_arn, for_account=True))

    def _decide(self, request: AuthorisationRequest, facts: Facts) -> Decision:
        identity_policies = self.identity_policies(request)
        key = request.key
        if key is None:
            return decide(facts, key_policy=None, identity_policies=identity_policies)
        if request.action == _RETIRE and request.grant is not None:
            return _retirement(retirement(request.grant, request.call.principal), facts, identity_policies)
        key_policy = self._key_policy(key)
        if key_policy is None:
            return decide(facts, key_policy=_NOTHING_ALLOWED, identity_policies=())
        return decide(
            facts, key_policy=key_policy, identity_policies=identity_policies, grant=self._grant(request, key, facts)
        )

    def check_policy(self, request: AuthorisationRequest, policy: str, *, bypass: bool) -> None:
        """Do nothing if a text is a key policy, and one under which the caller of a request could change it again.

        Args:
            request: The request that brings it.
            policy: The text.
            bypass: Whether the caller wants it even if it locks the caller out.

        Raises:
            MalformedPolicyDocumentException: it is none, or would lock the caller out.
        """
        compiled = parse_policy(policy, PolicyKind.KEY)
        if not bypass:
            check_lockout(compiled, self.facts(request), self.identity_policies(request))

    def facts(self, request: AuthorisationRequest) -> Facts:
        """Return what policies are asked about a request."""
        return self._facts(request, LazyContext(lambda: self._context(request)))

    @staticmethod
    def _facts(request: AuthorisationRequest, context: LazyContext) -> Facts:
        principal = request.call.principal
        key = request.key
        owner = key.scope.account if key is not None else _account_of(request.resource, principal.account)
        return Facts(principal.arn, principal.account, request.action, request.resource, owner, context)

    def _context(self, request: AuthorisationRequest) -> Mapping[str, Value]:
        principal = request.call.principal
        key = request.key
        inputs = ConditionInputs(
            principal=principal.arn,
            account=principal.account,
            now_us=self._clock.now_us(),
            principal_tags=principal.tags,
            source_ip=request.call.source_address,
            encryption_context=request.encryption_context,
            encryption_algorithm=request.encryption_algorithm,
            request_alias=request.alias,
            resource_aliases=tuple(self._view.alias_names(key.scope, key.key_id)) if key is not None else (),
            key_spec=key.spec if key is not None else "",
            key_usage=key.usage if key is not None else "",
            key_origin=key.origin if key is not None else "",
            resource_tags={tag.tag_key: tag.tag_value for tag in key.tags} if key is not None else {},
        )
        return {**condition_context(inputs), **_lower_case(request.conditions)}

    def identity_policies(self, request: AuthorisationRequest) -> Sequence[Policy]:
        """Return the identity policies of the caller."""
        return self._identity_policies.get(request.call.principal.arn, ())

    def _grant(self, request: AuthorisationRequest, key: KmsKey, facts: Facts) -> str:
        tokens = self._grant_tokens.read_all(self._view, request.grant_tokens) if request.grant_tokens else ()
        if not tokens and not self._has_grants(key, facts.principal):
            return ""
        own_side = decide(
            replace(facts, resource_account=facts.account),
            key_policy=None,
            identity_policies=self.identity_policies(request),
        )
        grant = grant_allowing(
            self._view,
            key,
            facts.principal,
            facts.action,
            request.encryption_context,
            tokens,
            created=request.grant,
            for_account=own_side.allowed,
        )
        return grant.grant_id if grant is not None else ""

    def _key_policy(self, key: KmsKey) -> Policy | None:
        text = key.policy or default_key_policy(self._partition, key.scope.account)
        compiled = self._compiled.get(text)
        if compiled is None:
            try:
                compiled = _Compiled(parse_policy(text, PolicyKind.KEY))
            except MalformedPolicyDocumentException:
                compiled = _Compiled(None)
            if len(self._compiled) >= MAX_COMPILED:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[text] = compiled
        return compiled.policy


_NOTHING_ALLOWED: Final = parse_policy(
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}]}',
    PolicyKind.KEY,
)


def _settled_by(principal: Principal, action: str, resource: str, key: KmsKey) -> _Settled:
    return principal.arn, principal.account, action, resource, key.scope.account, key.policy


def _retirement(by_grant: Retirement, facts: Facts, identity_policies: Sequence[Policy]) -> Decision:
    """Return whether a grant may be retired: the grant says who, the key policy nothing, and identity policies can deny."""
    own_side = decide(
        replace(facts, resource_account=facts.account), key_policy=None, identity_policies=identity_policies
    )
    if by_grant is Retirement.NO or own_side.reason is Reason.DENIED_BY_IDENTITY_POLICY:
        return Decision(False, own_side.reason)
    return Decision(True, Reason.ALLOWED_BY_GRANT) if by_grant is Retirement.YES else own_side


def _lower_case(conditions: Mapping[str, Value]) -> dict[str, Value]:
    """Return condition keys in lower case; those that differ in case only become one with all their values."""
    lowered: dict[str, Value] = {}
    for name, value in conditions.items():
        before = lowered.get(name.lower())
        if before is None:
            lowered[name.lower()] = value
        else:
            values = [((each,) if isinstance(each, str) else tuple(each)) for each in (before, value)]
            lowered[name.lower()] = values[0] + values[1]
    return lowered


def _account_of(resource: str, caller: str) -> str:
    """Return the account that owns a resource which is no key; that of `*` is the caller's."""
    fields = resource.split(":")
    return fields[4] if len(fields) > 4 and fields[4] else caller
