"""The world behind the operations, in memory: a token, a catalog, an authorizer, a clock.

Not mocks: the token really derives, wraps, seals and refuses (with `cryptography`, by way of the reference decoder), and passes the
contract suite that the real one passes; the catalog keeps keys, aliases and idempotency keys, and passes its suite (tests/contract).
What cannot be seen through the ports can be set by hand: key states, keys of other accounts, a token that is gone.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from hsmkms.core.arns import alias_arn, key_arn
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
    key_material_id,
    parse_header,
    sealed_digest,
)
from hsmkms.core.commands import Command, Decrypt, Encrypt, GenerateDataKey, KeyRef, Rewrap, Verify
from hsmkms.core.creations import Creations
from hsmkms.core.errors import (
    AlreadyExistsException,
    ConflictException,
    DependencyTimeoutException,
    DisabledException,
    InvalidCiphertextException,
    KeyUnavailableException,
    KMSInternalException,
    KMSInvalidStateException,
    LimitExceededException,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import Alias, BackingKey, BackingKeyState, KeyState, KmsKey, Principal, RotationType, Scope
from hsmkms.core.operations import Environment
from hsmkms.core.ports import AuthorisationRequest, Begun, Call, Mutation
from support import reference_decoder as reference

PARTITION = "aws"
SCOPE = Scope("111122223333", "eu-central-1")
OTHER_SCOPE = Scope("444455556666", "eu-central-1")
ALICE = Principal("alice", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/alice")
START_US = 1_700_000_000_000_000
MAX_ROTATIONS = 25
MAX_ALIASES = 50


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
class _Kept:
    fingerprint: bytes
    key_id: str = ""
    version: int = 0
    answer: bytes = b""


@dataclass
class SimulatedCatalog:
    """`core.ports.CatalogView` and `CatalogChanges` in one: what was changed is seen at once."""

    clock: SimulatedClock
    keys: dict[str, KmsKey] = field(default_factory=dict)
    aliases: dict[tuple[Scope, str], Alias] = field(default_factory=dict)
    stale: bool = False
    changed: list[str] = field(default_factory=list)
    _kept: dict[tuple[Scope, str, str, str], _Kept] = field(default_factory=dict)

    # The view

    def require_fresh(self) -> None:
        if self.stale:
            raise KeyUnavailableException("The key catalog cannot be reached. Try again later.")

    def key(self, scope: Scope, key_id: str) -> KmsKey | None:
        key = self.keys.get(key_id)
        return key if key is not None and key.scope == scope else None

    def key_by_uuid(self, key_uuid: bytes) -> KmsKey | None:
        return self.keys.get(str(uuid.UUID(bytes=key_uuid)))

    def alias(self, scope: Scope, name: str) -> Alias | None:
        return self.aliases.get((scope, name))

    def keys_after(self, scope: Scope, key_id: str, limit: int) -> Sequence[KmsKey]:
        return [key for name, key in sorted(self.keys.items()) if key.scope == scope and name > key_id][:limit]

    def aliases_after(self, scope: Scope, name: str, limit: int, key_id: str | None = None) -> Sequence[Alias]:
        found = sorted((alias for alias in self.aliases.values() if alias.scope == scope), key=lambda alias: alias.name)
        return [alias for alias in found if alias.name > name and key_id in (None, alias.key_id)][:limit]

    # The changes

    async def recall(self, mutation: Mutation) -> bytes | None:
        kept = self._kept.get(_name(mutation)) if mutation.idempotency_key is not None else None
        if kept is None or kept.fingerprint != mutation.fingerprint or (kept.key_id and not kept.answer):
            return None
        return kept.answer or b"{}"

    async def begin_key(self, mutation: Mutation, key: KmsKey) -> Begun:
        if (kept := self._find(mutation)) is not None:
            return self._begun_before(kept)
        self.keys[key.key_id] = key
        self._keep(mutation, key.key_id, 1)
        return Begun(key, 1)

    async def begin_rotation(self, mutation: Mutation, key: KmsKey, suite: Suite, rotation_type: RotationType) -> Begun:
        if (kept := self._find(mutation)) is not None:
            return self._begun_before(kept)
        key = self._require_key(key.scope, key.key_id)
        arn = key_arn(PARTITION, key.scope, key.key_id)
        if key.state is KeyState.DISABLED:
            raise DisabledException(f"{arn} is disabled.")
        if key.state is not KeyState.ENABLED:
            raise _wrong_state(key)
        if any(one.state is BackingKeyState.CREATING for one in key.backing_keys.values()):
            raise ConflictException(f"A rotation of {arn} is in progress.")
        if sum(one.rotation_type is RotationType.ON_DEMAND for one in key.backing_keys.values()) >= MAX_ROTATIONS:
            raise LimitExceededException(f"{arn} has reached its limit of {MAX_ROTATIONS} on-demand rotations.")
        version = max(key.backing_keys) + 1
        new = BackingKey(version, suite, BackingKeyState.CREATING, b"", "", self.clock.us, rotation_type)
        key = self.put(replace(key, backing_keys={**key.backing_keys, version: new}))
        self._keep(mutation, key.key_id, version)
        return Begun(key, version)

    async def finish_backing_key(self, mutation: Mutation, begun: Begun, canary: bytes, answer: bytes) -> KmsKey:
        key = self._require_key(begun.key.scope, begun.key.key_id)
        old = key.backing_keys[begun.version]
        if old.state is BackingKeyState.ACTIVE and old.canary != canary:
            raise ConflictException("Another request created the key material.")
        ready = replace(
            old,
            state=BackingKeyState.ACTIVE,
            canary=canary,
            material_id=key_material_id(canary),
            rotated=self.clock.us if old.rotation_type else None,
        )
        kept = self._find(mutation)
        if kept is not None and not kept.answer:
            kept.answer = answer
        return self.put(
            replace(
                key,
                state=KeyState.ENABLED if key.state is KeyState.CREATING else key.state,
                current_version=begun.version,
                backing_keys={**key.backing_keys, begun.version: ready},
            )
        )

    async def set_state(self, mutation: Mutation, key: KmsKey, state: KeyState) -> None:
        if self._find(mutation) is not None:
            return
        key = self._require_key(key.scope, key.key_id)
        if key.state not in (KeyState.ENABLED, KeyState.DISABLED):
            raise _wrong_state(key)
        self.put(replace(key, state=state))
        self._keep(mutation)

    async def create_alias(self, mutation: Mutation, alias: Alias) -> None:
        if self._find(mutation) is not None:
            return
        if (alias.scope, alias.name) in self.aliases:
            arn = alias_arn(PARTITION, alias.scope, alias.name)
            raise AlreadyExistsException(f"An alias with the name {arn} already exists")
        self._require_room(alias.scope, alias.key_id)
        self.aliases[alias.scope, alias.name] = alias
        self._keep(mutation)

    async def update_alias(self, mutation: Mutation, scope: Scope, name: str, key_id: str) -> None:
        if self._find(mutation) is not None:
            return
        alias = self._require_alias(scope, name)
        if alias.key_id != key_id:
            self._require_room(scope, key_id)
        self.aliases[scope, name] = replace(alias, key_id=key_id, updated=self.clock.us)
        self._keep(mutation)

    async def delete_alias(self, mutation: Mutation, scope: Scope, name: str) -> None:
        if self._find(mutation) is not None:
            return
        self._require_alias(scope, name)
        del self.aliases[scope, name]
        self._keep(mutation)

    # By hand

    def put(self, key: KmsKey) -> KmsKey:
        """Write a key as it is given."""
        self.keys[key.key_id] = key
        return key

    # Behind both

    def _find(self, mutation: Mutation) -> _Kept | None:
        kept = self._kept.get(_name(mutation)) if mutation.idempotency_key is not None else None
        if kept is not None and kept.fingerprint != mutation.fingerprint:
            raise ValidationException("The idempotency key was used for another request.")
        return kept

    def _keep(self, mutation: Mutation, key_id: str = "", version: int = 0) -> None:
        self.changed.append(mutation.operation)
        if mutation.idempotency_key is not None:
            self._kept[_name(mutation)] = _Kept(mutation.fingerprint, key_id, version)

    def _begun_before(self, kept: _Kept) -> Begun:
        key = self.keys[kept.key_id]
        finished = key.backing_keys[kept.version].state is not BackingKeyState.CREATING
        return Begun(key, kept.version, kept.answer, finished)

    def _require_key(self, scope: Scope, key_id: str) -> KmsKey:
        key = self.key(scope, key_id)
        if key is None:
            raise NotFoundException(f"Key '{key_arn(PARTITION, scope, key_id)}' does not exist")
        return key

    def _require_alias(self, scope: Scope, name: str) -> Alias:
        alias = self.alias(scope, name)
        if alias is None:
            raise NotFoundException(f"Alias {alias_arn(PARTITION, scope, name)} is not found.")
        return alias

    def _require_room(self, scope: Scope, key_id: str) -> None:
        self._require_key(scope, key_id)
        if len(self.aliases_after(scope, "", MAX_ALIASES, key_id)) >= MAX_ALIASES:
            arn = key_arn(PARTITION, scope, key_id)
            raise LimitExceededException(f"{arn} has reached its limit of {MAX_ALIASES} aliases.")


def _wrong_state(key: KmsKey) -> KMSInvalidStateException:
    words = {KeyState.PENDING_DELETION: "pending deletion", KeyState.PENDING_IMPORT: "pending import"}
    text = words.get(key.state, key.state.lower())
    return KMSInvalidStateException(f"{key_arn(PARTITION, key.scope, key.key_id)} is {text}.")


def _name(mutation: Mutation) -> tuple[Scope, str, str, str]:
    return mutation.scope, mutation.principal, mutation.operation, mutation.idempotency_key or ""


@dataclass
class SimulatedAuthorizer:
    """`core.ports.Authorizer`: allows everything but what is in `denied`, and remembers what it was asked."""

    denied: set[str] = field(default_factory=set)
    asked: list[AuthorisationRequest] = field(default_factory=list)

    def allows(self, request: AuthorisationRequest) -> bool:
        self.asked.append(request)
        return request.action not in self.denied


@dataclass
class SimulatedClock:
    """`core.ports.Clock`, set by hand."""

    us: int = START_US

    def now_us(self) -> int:
        return self.us


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
        )

    def change(self, key_id: str, **values: object) -> KmsKey:
        """Change a key's row by hand, for example its state."""
        return self.catalog.put(replace(self.catalog.keys[key_id], **values))  # type: ignore[arg-type]


def call_of(principal: Principal = ALICE, scope: Scope = SCOPE, **known: object) -> Call:
    """Return the circumstances of a request."""
    return Call(principal, scope, "request-1", **known)  # type: ignore[arg-type]
