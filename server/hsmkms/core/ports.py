"""What the operations need from outside: the catalog, the token, a decision on who may do what, a clock and randomness.

The operations see these protocols only. The front gives them the real ones; unit tests give them simulators that refuse as the real
ones do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import Decrypt, Encrypt, GenerateDataKey, KeyRef, Rewrap, Verify
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import (
    Agree,
    DecryptRsa,
    EncryptRsa,
    GenerateDataKeyPair,
    ImportWrapping,
    Mac,
    PairSpec,
    PairUse,
    RewrapFromRsa,
    RewrapRsa,
    RewrapToRsa,
    Sign,
    VerifyMac,
    VerifyRsa,
    VerifySignature,
)
from hsmkms.core.model import Alias, Grant, KeyState, KmsKey, Principal, RotationType, Scope, Tag
from hsmkms.core.request_members import NO_CONTEXT
from hsmkms.core.trail import Trail
from hsmkms.core.usage import KeyUse


@dataclass(slots=True)
class Call:
    """The circumstances of one request. Nobody changes them; frozen, they would take seven times as long to make.

    Args:
        principal: Who asks.
        scope: The account and Region in which bare names are looked up.
        request_id: The id that the answer carries.
        expiry_ns: The caller's deadline on CLOCK_MONOTONIC in nanoseconds, 0 for none.
        idempotency_key: What the caller sent to make a change repeatable, or None.
        source_address: Where the caller is, as the transport says.
        trail: What the request touched, for its audit record: the operations write it.
    """

    principal: Principal
    scope: Scope
    request_id: str
    expiry_ns: int = 0
    idempotency_key: str | None = None
    source_address: str = ""
    trail: Trail = field(default_factory=Trail, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Mutation:
    """Under what idempotency key a change is made; the catalog keeps it for 24 hours.

    Args:
        scope: Account and Region of the caller.
        principal: The caller's ARN: keys of different principals never meet.
        operation: AWS's name of the operation.
        idempotency_key: The caller's key, or None for a change that cannot be recognised again.
        fingerprint: SHA-256 of the request: the same key with another request is refused.
    """

    scope: Scope
    principal: str
    operation: str
    idempotency_key: str | None
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Import:
    """What the catalog keeps of an import.

    Args:
        version: The backing key's version: that of the material that comes back, or one more than the highest.
        suite: The derivation of a backing key; NONE for a key pair.
        expiry: When the material expires, in microseconds since 1970; None if it does not.
        description: What the importer says of it, or None to keep what was said before.
    """

    version: int
    suite: Suite
    expiry: int | None
    description: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """A change that needs the token, as far as the catalog has it.

    Args:
        key: The key.
        version: The backing key's version.
        answer: The answer already given under this idempotency key, as JSON, or empty.
        finished: Whether the backing key is on the token and in use.
    """

    key: KmsKey
    version: int
    answer: bytes = b""
    finished: bool = False


class CatalogView(Protocol):
    """The catalog in memory. Never waits; nobody changes what it returns."""

    @property
    def revision(self) -> int:
        """A number that is another one after every change of a key, an alias, a grant or a service key."""

    def require_fresh(self) -> None:
        """Do nothing, or raise KeyUnavailableException when the view is older than its bound."""

    def key(self, scope: Scope, key_id: str) -> KmsKey | None:
        """Return the key of that id, or None."""

    def key_by_uuid(self, key_uuid: bytes) -> KmsKey | None:
        """Return the key whose id has those 16 bytes, in whatever account and Region, or None."""

    def alias(self, scope: Scope, name: str) -> Alias | None:
        """Return the alias of that name, or None."""

    def last_use(self, key_id: str) -> KeyUse | None:
        """Return the last use of a key that the catalog knows of, or None where none was ever written."""

    def keys_after(self, scope: Scope, key_id: str, limit: int) -> Sequence[KmsKey]:
        """Return at most `limit` keys whose ids sort after `key_id` (empty for all), in order of their ids."""

    def alias_names(self, scope: Scope, key_id: str) -> Sequence[str]:
        """Return the names of a key's aliases."""

    def aliases_after(self, scope: Scope, name: str, limit: int, key_id: str | None = None) -> Sequence[Alias]:
        """Return at most `limit` aliases whose names sort after `name`, of one key if given, in order of their names."""

    def grant(self, scope: Scope, key_id: str, grant_id: str) -> Grant | None:
        """Return the living grant of that id on that key, or None."""

    def grant_has_ended(self, grant_id: str) -> bool:
        """Say whether a grant of that id was retired or revoked; for at least 24 hours after it was seen to end."""

    def grants_to(self, key_id: str, name: str) -> Sequence[Grant]:
        """Return the living grants of a key whose grantee has that name among its `core.grants.grantee_names`."""

    def grants_after(self, key_id: str, grant_id: str, limit: int, grantee: str | None = None) -> Sequence[Grant]:
        """Return at most `limit` grants of a key, to one grantee if given, whose ids sort after `grant_id`, in order of their ids."""

    def retirable_grants_after(self, region: str, principal: str, grant_id: str, limit: int) -> Sequence[Grant]:
        """Return at most `limit` grants in a Region with that retiring principal, whose ids sort after `grant_id`, in their order."""


class CatalogChanges(Protocol):
    """Changes of the catalog. Each one is durable, and in this process's view, before it returns.

    Every method raises KMSInternalException when the database fails, KeyUnavailableException (retryable) when it cannot be reached,
    and ValidationException when the idempotency key was used for another request. A change that was made before under the same
    idempotency key is not made again, and returns as it did then.
    """

    async def recall(self, mutation: Mutation) -> bytes | None:
        """Return the answer that was given under this idempotency key, as JSON, or None if there is none yet.

        Asked before a change is judged: a repetition gets the answer of the first time, whatever has happened since.
        """

    async def begin_key(self, mutation: Mutation, key: KmsKey) -> Begun:
        """Write a key as Creating with its backing key, version 1, as Creating."""

    async def begin_rotation(self, mutation: Mutation, key: KmsKey, suite: Suite, rotation_type: RotationType) -> Begun:
        """Write the next backing key as Creating; if it is AUTOMATIC, the date of the rotation after it too.

        Raises:
            ConflictException: another backing key of this key is Creating, or an AUTOMATIC rotation is not due.
            LimitExceededException: 25 on-demand rotations were made.
        """

    async def finish_backing_key(self, mutation: Mutation, begun: Begun, canary: bytes, answer: bytes) -> KmsKey:
        """Make the backing key Active and current, and a Creating key Enabled; keep the answer. Return the key."""

    async def create_key_without_material(self, mutation: Mutation, key: KmsKey, answer: bytes) -> bytes:
        """Write a key of origin EXTERNAL, PendingImport, without backing keys; keep the answer and return it, or the one given before."""

    async def begin_import(self, mutation: Mutation, key: KmsKey, imported: Import) -> Begun:
        """Write that material is being imported: its backing key is Creating, unless it is Active and stays so. It keeps no answer.

        Only one process can import into a key at a time. A key that had no material is PendingImport until `finish_import`.

        Raises:
            ConflictException: another import into this key is under way.
            KeyUnavailableException: the old material is being deleted, or another process imports: retryable.
            DisabledException, KMSInvalidStateException: the key's state does not allow it.
        """

    async def finish_import(
        self, mutation: Mutation, begun: Begun, imported: Import, canary: bytes, answer: bytes
    ) -> KmsKey:
        """Make the imported backing key Active and current, with its expiry, and its key Enabled if all its material is there."""

    async def abandon_import(self, begun: Begun) -> None:
        """Write that an import came to nothing, because the material was refused: as if it had not begun."""

    async def delete_imported(self, mutation: Mutation, key: KmsKey, version: int, answer: bytes) -> bytes:
        """Write that imported material goes: its backing key is Destroying, and its key PendingImport unless that is pending deletion.

        From then on no front uses it; the objects on the token are destroyed afterwards, by the caller, between
        `claim_destruction` and `finish_destruction`, or by the deleter. Keeps the answer and returns it, or the one given before.

        Raises:
            ConflictException: it is just being imported.
            KMSInvalidStateException: the key's state does not allow it.
        """

    async def claim_destruction(self, cka_id: bytes) -> None:
        """Claim the destruction of what is Destroying: until it is finished, no other process destroys it or imports into its place.

        Raises:
            ConflictException: it is not Destroying any more, or another process imports or destroys it.
        """

    async def finish_destruction(self, cka_id: bytes) -> None:
        """Write that nothing of that CKA_ID is on the token any more: deleted imported material is PendingImport then.

        Does nothing for what is not Destroying.

        Raises:
            ConflictException: this process has no claim on it.
        """

    async def set_state(self, mutation: Mutation, key: KmsKey, state: KeyState) -> None:
        """Make a key Enabled or Disabled.

        Raises:
            KMSInvalidStateException: the key is in a state that allows neither.
        """

    async def schedule_deletion(
        self, mutation: Mutation, key: KmsKey, deletion_date: int, window_days: int, answer: bytes
    ) -> bytes:
        """Make a key PendingDeletion until that time, in microseconds since 1970, and keep the answer.

        Returns:
            The answer, or the one given before under this idempotency key.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
        """

    async def cancel_deletion(self, mutation: Mutation, key: KmsKey, answer: bytes) -> bytes:
        """Make a key that is PendingDeletion Disabled, and keep the answer.

        Returns:
            The answer, or the one given before under this idempotency key.

        Raises:
            KMSInvalidStateException: the key is not pending deletion.
        """

    async def enable_rotation(self, mutation: Mutation, key: KmsKey, period_days: int) -> None:
        """Let a key rotate by itself every so many days; a key that does so with that period keeps its next date.

        Raises:
            DisabledException, KMSInvalidStateException: the key is not Enabled.
        """

    async def disable_rotation(self, mutation: Mutation, key: KmsKey) -> None:
        """Let a key rotate by itself no longer.

        Raises:
            DisabledException, KMSInvalidStateException: the key is not Enabled.
        """

    async def set_description(self, mutation: Mutation, key: KmsKey, description: str) -> None:
        """Change a key's description.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
        """

    async def set_policy(self, mutation: Mutation, key: KmsKey, policy: str) -> None:
        """Replace a key's policy.

        Raises:
            NotFoundException: there is no such key.
        """

    async def tag(self, mutation: Mutation, key: KmsKey, tags: Sequence[Tag]) -> None:
        """Give a key these tags; those that it has get the new values.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
            LimitExceededException: it would have more than 50.
        """

    async def untag(self, mutation: Mutation, key: KmsKey, tag_keys: Sequence[str]) -> None:
        """Take the tags of these keys from a key, those that it has.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
        """

    async def create_alias(self, mutation: Mutation, alias: Alias) -> None:
        """Write a new alias.

        Raises:
            AlreadyExistsException: there is one of that name.
            LimitExceededException: the key has 50 aliases.
        """

    async def update_alias(self, mutation: Mutation, scope: Scope, name: str, key_id: str) -> None:
        """Point an alias to another key.

        Raises:
            NotFoundException: there is none of that name.
            LimitExceededException: the key has 50 aliases.
        """

    async def delete_alias(self, mutation: Mutation, scope: Scope, name: str) -> None:
        """Delete an alias.

        Raises:
            NotFoundException: there is none of that name.
        """

    async def create_grant(self, mutation: Mutation, grant: Grant, answer: Callable[[Grant], bytes]) -> bytes:
        """Write a new grant, or find the one of the same name that is the same in all else; keep and return the answer.

        Args:
            mutation: The circumstances.
            grant: The grant.
            answer: Makes the answer, never empty, from the grant that there is then; called in another thread.

        Raises:
            DisabledException, KMSInvalidStateException: the key's state does not allow it.
            LimitExceededException: the key, or the grantee on this key, has as many as it may.
        """

    async def end_grant(self, mutation: Mutation, scope: Scope, key_id: str, grant_id: str) -> None:
        """Retire or revoke a grant.

        Raises:
            InvalidGrantIdException: that key has no such grant.
        """


@dataclass(frozen=True, slots=True)
class ImportedMaterial:
    """Encrypted material on its way into the token (`material_commands.ImportKey` has the limits).

    Args:
        digest: What `generate_import_pair` was given.
        wrapped: The wrapped private key that it returned.
        wrapping: How the material is encrypted.
        material: The encrypted material.
        cka_id: Of the key to be made.
        kind: The kind of key pair, or None for a backing key.
        suite: The derivation of a backing key; NONE for a key pair.
        use: What a key pair is for, or None.
        expected: The canary or public key that it must have; empty if it is new.
    """

    digest: bytes
    wrapped: bytes
    wrapping: ImportWrapping
    material: bytes
    cka_id: bytes
    kind: PairSpec | None
    suite: Suite
    use: PairUse | None
    expected: bytes


class Token(Protocol):
    """The token, by way of its workers.

    Every method raises KeyUnavailableException when the token or the key on it is out of reach, DependencyTimeoutException when the
    caller's deadline passes first, ThrottlingException when too much waits, and KMSInternalException when the token fails otherwise.
    """

    async def rewrap(self, call: Call, command: Rewrap) -> bytes:
        """Return the new wrapped key. Raises InvalidCiphertextException when the old one does not unwrap."""

    async def verify(self, call: Call, command: Verify) -> None:
        """Return if the wrapped key unwraps. Raises InvalidCiphertextException when it does not."""

    async def encrypt(self, call: Call, command: Encrypt) -> bytes:
        """Return the body of the ciphertext."""

    async def decrypt(self, call: Call, command: Decrypt) -> bytes:
        """Return the plaintext. Raises InvalidCiphertextException when the ciphertext does not open."""

    async def generate_data_key(self, call: Call, command: GenerateDataKey) -> tuple[bytes, bytes]:
        """Return the body of the ciphertext, and the data key if it was asked for, else nothing."""

    async def random(self, call: Call, length: int) -> bytes:
        """Return random bytes."""

    async def generate_backing_key(self, key_id: bytes, suite: Suite) -> bytes:
        """Generate the backing key of that CKA_ID anew and return its canary; at least one worker can use it then."""

    async def rewrap_to_rsa(self, call: Call, command: RewrapToRsa) -> bytes:
        """Return the OAEP ciphertext.

        Raises:
            InvalidCiphertextException: the source does not unwrap.
            ValidationException: the payload is too long for the RSA key.
        """

    async def rewrap_from_rsa(self, call: Call, command: RewrapFromRsa) -> bytes:
        """Return the ciphertext.

        Raises:
            InvalidCiphertextException: the source does not unwrap.
            UnsupportedOperationException: the token cannot prove the payload's length, or cannot wrap it exactly.
        """

    async def rewrap_rsa(self, call: Call, command: RewrapRsa) -> bytes:
        """Return the OAEP ciphertext. Raises as `rewrap_to_rsa` and `rewrap_from_rsa` do."""

    async def verify_rsa(self, call: Call, command: VerifyRsa) -> None:
        """Return if the OAEP ciphertext unwraps. Raises InvalidCiphertextException when it does not."""

    async def encrypt_rsa(self, call: Call, command: EncryptRsa) -> bytes:
        """Return the OAEP ciphertext."""

    async def decrypt_rsa(self, call: Call, command: DecryptRsa) -> bytes:
        """Return the plaintext. Raises InvalidCiphertextException when the ciphertext does not open."""

    async def generate_data_key_pair(self, call: Call, command: GenerateDataKeyPair) -> tuple[bytes, bytes, bytes]:
        """Return the public key (DER), the body of the ciphertext, and the private key (DER) if it was asked for, else nothing."""

    async def generate_key_pair(self, cka_id: bytes, spec: PairSpec, use: PairUse) -> bytes:
        """Generate the key pair of that CKA_ID anew and return its public key (DER); at least one worker can use it then."""

    async def generate_mac_key(self, cka_id: bytes, length: int) -> bytes:
        """Generate the HMAC key of that CKA_ID anew and return its canary; at least one worker can use it then."""

    async def sign(self, call: Call, command: Sign) -> bytes:
        """Return the signature."""

    async def verify_signature(self, call: Call, command: VerifySignature) -> bool:
        """Return whether the signature is valid."""

    async def mac(self, call: Call, command: Mac) -> bytes:
        """Return the MAC."""

    async def verify_mac(self, call: Call, command: VerifyMac) -> bool:
        """Return whether the MAC is valid."""

    async def agree(self, call: Call, command: Agree) -> bytes:
        """Return the shared secret. Raises ValidationException when the other's public key is none on this curve."""

    async def generate_import_pair(self, call: Call, digest: bytes, spec: PairSpec) -> tuple[bytes, bytes]:
        """Return a new public key (DER) and its private key, wrapped under the service's import key with that derivation digest."""

    async def import_key(self, material: ImportedMaterial) -> bytes:
        """Make imported material a token object and return its canary or public key; at least one worker can use it then.

        Raises:
            InvalidImportTokenException: the wrapped private key does not unwrap.
            InvalidCiphertextException: the material does not.
            IncorrectKeyMaterialException: it is not the expected material.
            ValidationException: it is not as long as it must be, or no private key of that kind.
        """

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        """Destroy this deployment's objects of one CKA_ID and return how many there were."""

    @property
    def suite(self) -> Suite:
        """The suite of new backing keys on this token."""

    @property
    def features(self) -> TokenFeatures:
        """What the KMS can do with this token."""


@dataclass(slots=True)
class AuthorisationRequest:
    """One question: may this principal do this to that? It lives as long as the question.

    Args:
        call: Who asks, and from where.
        action: For example `kms:ReEncryptFrom`.
        resource: The ARN of what it is done to, or `*`.
        key: The key, where the resource is one.
        alias: The alias the key was named by, or empty.
        encryption_context: The context of this side.
        encryption_algorithm: The algorithm of this side, or empty.
        grant_tokens: The grant tokens sent.
        conditions: Further condition keys and their values; a tuple for a multi-valued key.
        grant: The grant that would be created or retired, for kms:CreateGrant and kms:RetireGrant.
    """

    call: Call
    action: str
    resource: str
    key: KmsKey | None = None
    alias: str = ""
    encryption_context: Mapping[str, str] = field(default_factory=lambda: NO_CONTEXT)
    encryption_algorithm: str = ""
    grant_tokens: tuple[str, ...] = ()
    conditions: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: NO_CONTEXT)
    grant: Grant | None = None


class Authorizer(Protocol):
    """Decides who may do what. What it does not allow is denied."""

    def allows(self, request: AuthorisationRequest) -> bool:
        """Say whether the request is allowed.

        Raises:
            InvalidGrantTokenException: a grant token of the request is not valid.
        """

    def is_settled(self, principal: Principal, action: str, resource: str, key: KmsKey) -> bool:
        """Say whether what `allows` has just allowed is allowed by the policies alone, whatever else is true of a request.

        Then every request of that principal for that action and key, without grant tokens, is allowed until the catalog changes: no
        policy asks for a condition key (the time, an address, a tag, an encryption context), and no grant has a say.

        Args:
            principal: Who asked.
            action: For example `kms:ReEncryptFrom`.
            resource: The key's ARN.
            key: The key.
        """

    def check_policy(self, request: AuthorisationRequest, policy: str, *, bypass: bool) -> None:
        """Do nothing if a text is a key policy, and one under which the caller of a request could change it again.

        Args:
            request: The request that brings it.
            policy: The text.
            bypass: Whether the caller wants it even if it locks the caller out.

        Raises:
            MalformedPolicyDocumentException: it is none, or would lock the caller out.
        """


class Observer(Protocol):
    """Is told what only the operations know, and counts it."""

    def re_encrypted(self, *, source_is_current: bool) -> None:
        """A ciphertext was re-encrypted, from the key's current material or from an older one."""


class Markers(Protocol):
    """Pagination markers: they hold where a list goes on, and nobody else can make one."""

    def issue(self, scope: Scope, operation: str, position: str) -> str:
        """Return a marker, valid for 24 hours, for that list and position."""

    def read(self, scope: Scope, operation: str, marker: str) -> str:
        """Return the position. Raises InvalidMarkerException when the marker is not valid for that list."""


class Entropy(Protocol):
    """Random bytes that need not come from the token: salts and ids."""

    def salt(self) -> bytes:
        """Return 16 random bytes."""

    def key_id(self) -> str:
        """Return a new random UUID (version 4) as text."""


class Clock(Protocol):
    """The time."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""


__all__ = [
    "AuthorisationRequest",
    "Authorizer",
    "Begun",
    "Call",
    "CatalogChanges",
    "CatalogView",
    "Clock",
    "Entropy",
    "KeyRef",
    "Markers",
    "Mutation",
    "Observer",
    "Token",
]
