"""The world behind the operations, in memory: a token, a catalog, an authorizer, a clock.

Not mocks: the token really derives, wraps, seals and refuses (with `cryptography`, by way of the reference decoder), and passes the
contract suite that the real one passes; so does the catalog (`support.simulated_catalog`, tests/contract).
What cannot be seen through the ports can be set by hand: key states, keys of other accounts, a token that is gone.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from hsmkms.core.ciphertext import (
    CKA_ID_BYTES,
    KEY_UUID_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    WRAP_OVERHEAD_BYTES,
    WRAPPED_DATA_KEY_BYTES,
    Header,
    Mode,
    Suite,
    derivation_digest,
    parse_header,
    sealed_digest,
)
from hsmkms.core.commands import Command, Decrypt, Encrypt, GenerateDataKey, KeyRef, Rewrap, Verify
from hsmkms.core.creations import Creations
from hsmkms.core.errors import (
    DependencyTimeoutException,
    InvalidCiphertextException,
    KeyUnavailableException,
    KMSInternalException,
    UnsupportedOperationException,
)
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import KmsKey, Principal, Scope
from hsmkms.core.operations import Environment
from hsmkms.core.policy.decision import check_lockout
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.evaluate import Facts
from hsmkms.core.ports import AuthorisationRequest, Call
from support import reference_decoder as reference
from support.simulated_catalog import PARTITION, SimulatedCatalog, SimulatedClock

SCOPE = Scope("111122223333", "eu-central-1")
OTHER_SCOPE = Scope("444455556666", "eu-central-1")
ALICE = Principal("alice", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/alice")


class SimulatedToken:
    """`core.ports.Token`, refusing what a token refuses."""

    def __init__(self, *, seals_directly: bool = True) -> None:
        self.suite = Suite.AES_CBC_ENCRYPT_DATA
        self.seals_directly = seals_directly
        self.gone = False
        self.asked: list[Command] = []
        self._values: dict[bytes, bytes] = {}

    async def rewrap(self, call: Call, command: Rewrap) -> bytes:
        self._ask(call, command)
        source, destination = self._value(command.source), self._value(command.destination)
        opened = _unwrap(source, command.source_digest, command.wrapped)
        return aes_key_wrap(reference.derive(destination, command.destination_digest), opened)

    async def verify(self, call: Call, command: Verify) -> None:
        self._ask(call, command)
        _unwrap(self._value(command.source), command.source_digest, command.wrapped)

    async def encrypt(self, call: Call, command: Encrypt) -> bytes:
        self._ask(call, command)
        header = _header_of(command.header, command.destination)
        if header.length != len(command.plaintext):
            raise KMSInternalException("The token failed.", detail="a header of another length than the plaintext")
        return self._sealed(command.destination, header, command.header, command.context, command.plaintext)

    async def decrypt(self, call: Call, command: Decrypt) -> bytes:
        self._ask(call, command)
        header = _header_of(command.header, command.source)
        value = self._value(command.source)
        direct = header.mode is Mode.DIRECT
        lengths = (len(command.wrapped), len(command.sealed))
        if lengths != (
            (header.length + WRAP_OVERHEAD_BYTES, 0)
            if direct
            else (WRAPPED_DATA_KEY_BYTES, NONCE_BYTES + header.length + TAG_BYTES)
        ):
            raise InvalidCiphertextException(detail="a body of another length than its header says")
        opened = _unwrap(value, command.source_digest, command.wrapped)
        if direct:
            return opened
        try:
            return AESGCM(opened).decrypt(command.sealed[:NONCE_BYTES], command.sealed[NONCE_BYTES:], None)
        except InvalidTag:
            raise InvalidCiphertextException(detail="the tag does not fit") from None

    async def generate_data_key(self, call: Call, command: GenerateDataKey) -> tuple[bytes, bytes]:
        self._ask(call, command)
        header = _header_of(command.header, command.destination)
        plaintext = os.urandom(header.length)
        body = self._sealed(command.destination, header, command.header, command.context, plaintext)
        return body, plaintext if command.with_plaintext else b""

    async def random(self, call: Call, length: int) -> bytes:
        self._ask(call)
        if not 1 <= length <= 1024:
            raise KMSInternalException("The token failed.", detail=f"{length} random bytes")
        return os.urandom(length)

    async def generate_backing_key(self, key_id: bytes, suite: Suite) -> bytes:
        self._ask()
        if suite is not self.suite:
            raise UnsupportedOperationException("The token cannot do this.", detail=f"suite {suite}")
        if len(key_id) != CKA_ID_BYTES:
            raise KMSInternalException("The token failed.", detail=f"a CKA_ID of {len(key_id)} bytes")
        self._values[key_id] = os.urandom(32)
        return reference.canary(self._values[key_id], key_id[:KEY_UUID_BYTES])

    def lose(self, cka_id: bytes) -> None:
        """Lose a backing key, as when somebody destroys it behind the service's back."""
        del self._values[cka_id]

    def _ask(self, call: Call | None = None, command: Command | None = None) -> None:
        if self.gone:
            raise KeyUnavailableException("The token is out of reach. Try again.")
        if call is not None and call.expiry_ns and call.expiry_ns <= time.monotonic_ns():
            raise DependencyTimeoutException("The token did not answer in time. Try again.")
        if command is not None:
            self.asked.append(command)

    def _value(self, key: KeyRef) -> bytes:
        value = self._values.get(key.cka_id)
        if value is None:
            raise KeyUnavailableException("The key material is not on the token.", detail=key.cka_id.hex())
        if key.suite is not self.suite:
            raise UnsupportedOperationException("The token cannot do this.", detail=f"suite {key.suite}")
        if key.canary != reference.canary(value, key.cka_id[:KEY_UUID_BYTES]):
            raise KeyUnavailableException("The key material on the token is not what it was.")
        return value

    def _sealed(self, key: KeyRef, header: Header, head: bytes, context: bytes, plaintext: bytes) -> bytes:
        wrapped, sealed = plaintext, b""
        if header.mode is Mode.ENVELOPE:
            wrapped, nonce = os.urandom(32), os.urandom(NONCE_BYTES)
            sealed = nonce + AESGCM(wrapped).encrypt(nonce, plaintext, None)
        digest = derivation_digest(head, context, sealed_digest(sealed))
        return aes_key_wrap(reference.derive(self._value(key), digest), wrapped) + sealed


def _unwrap(value: bytes, digest: bytes, wrapped: bytes) -> bytes:
    try:
        return aes_key_unwrap(reference.derive(value, digest), wrapped)
    except InvalidUnwrap:
        raise InvalidCiphertextException(detail="it does not unwrap") from None


def _header_of(head: bytes, key: KeyRef) -> Header:
    try:
        header = parse_header(head)
    except InvalidCiphertextException as error:
        raise KMSInternalException("The token failed.", detail=error.detail) from error
    if header.cka_id != key.cka_id or header.suite is not key.suite:
        raise KMSInternalException("The token failed.", detail="a header that names another backing key")
    return header


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
