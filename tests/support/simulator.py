"""The world behind the operations, in memory: a token, a catalog, an authorizer, a clock.

Not mocks: the token (`support.simulated_token`) and the catalog (`support.simulated_catalog`) really do what they are asked, refuse what
the real ones refuse, and pass the contract suites that these pass (tests/contract).
What cannot be seen through the ports can be set by hand: key states, keys of other accounts, a token that is gone.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field, replace

from hsmkms.core.creations import Creations
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import KmsKey, Principal, Scope
from hsmkms.core.operations import Environment
from hsmkms.core.policy.decision import check_lockout
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.evaluate import Facts
from hsmkms.core.ports import AuthorisationRequest, Call
from support.simulated_catalog import PARTITION, SimulatedCatalog, SimulatedClock
from support.simulated_token import SimulatedToken

SCOPE = Scope("111122223333", "eu-central-1")
OTHER_SCOPE = Scope("444455556666", "eu-central-1")
ALICE = Principal("alice", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/alice")


@dataclass
class SimulatedAuthorizer:
    """`core.ports.Authorizer`: allows everything but what is in `denied`, and remembers what it was asked.

    Of another account's keys it allows those in `shared`: both accounts have agreed on them.

    A new policy must be one, and let its bringer change it again: by what it says itself, for there are no identity policies here.
    """

    denied: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    asked: list[AuthorisationRequest] = field(default_factory=list)

    def allows(self, request: AuthorisationRequest) -> bool:
        self.asked.append(request)
        key = request.key
        at_home = key is None or key.scope.account == request.call.principal.account or key.key_id in self.shared
        return at_home and request.action not in self.denied

    def is_settled(self, principal: Principal, action: str, resource: str, key: KmsKey) -> bool:
        """Nothing is: a test says at any time what is denied."""
        return False

    def check_policy(self, request: AuthorisationRequest, policy: str, *, bypass: bool) -> None:
        compiled = parse_policy(policy, PolicyKind.KEY)
        if not bypass:
            caller = request.call.principal
            facts = Facts(caller.arn, caller.account, request.action, request.resource, request.call.scope.account, {})
            check_lockout(compiled, facts, ())


class SimulatedEntropy:
    """`core.ports.Entropy`."""

    def salt(self) -> bytes:
        return os.urandom(16)

    def key_id(self) -> str:
        return str(uuid.uuid4())


@dataclass
class Counted:
    """`core.ports.Observer`: how many ciphertexts came from current material, and how many from older."""

    current: int = 0
    old: int = 0

    def re_encrypted(self, *, source_is_current: bool) -> None:
        if source_is_current:
            self.current += 1
        else:
            self.old += 1


@dataclass
class World:
    """Everything an operation works with."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)
    token: SimulatedToken = field(default_factory=SimulatedToken)
    authorizer: SimulatedAuthorizer = field(default_factory=SimulatedAuthorizer)
    counted: Counted = field(default_factory=Counted)

    def __post_init__(self) -> None:
        self.catalog = SimulatedCatalog(self.clock)
        self.environment = Environment(
            partition=PARTITION,
            view=self.catalog,
            changes=self.catalog,
            creations=Creations(self.catalog),
            token=self.token,
            authorizer=self.authorizer,
            markers=MacedMarkers(bytes(range(32)), self.clock),
            entropy=SimulatedEntropy(),
            clock=self.clock,
            observer=self.counted,
            grant_tokens=GrantTokens(bytes(range(32, 64)), self.clock),
        )

    def change(self, key_id: str, **values: object) -> KmsKey:
        """Change a key's row by hand, for example its state."""
        return self.catalog.put(replace(self.catalog.keys[key_id], **values))  # type: ignore[arg-type]


def call_of(principal: Principal = ALICE, scope: Scope = SCOPE, **known: object) -> Call:
    """Return the circumstances of a request."""
    return Call(principal, scope, "request-1", **known)  # type: ignore[arg-type]
