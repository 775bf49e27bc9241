"""Requests and responses of every operation: one dataclass each, its members named as AWS names them, in snake_case.

They are what the operations take and give, whatever the face: gRPC, AWS JSON, the client library and the command line are all
derived from these declarations. Request members hold what the caller sent, unchecked; `members.check` judges them. `OPERATIONS`
lists every operation of this version.

Nobody changes a message once it is made. Those of the operations that are asked thousands of times a second are not frozen all the
same: a frozen one takes several times as long to make. Their responses can be hashed as the frozen ones can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from hsmkms.core import request_members as common
from hsmkms.core.material_messages import (
    DecapsulateRequest,
    DeleteImportedKeyMaterialRequest,
    DeleteImportedKeyMaterialResponse,
    DeriveSharedSecretRequest,
    DeriveSharedSecretResponse,
    EncapsulateRequest,
    GenerateDataKeyPairRequest,
    GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextRequest,
    GenerateDataKeyPairWithoutPlaintextResponse,
    GenerateMacRequest,
    GenerateMacResponse,
    GetParametersForImportRequest,
    GetParametersForImportResponse,
    GetPublicKeyRequest,
    GetPublicKeyResponse,
    ImportKeyMaterialRequest,
    ImportKeyMaterialResponse,
    SignRequest,
    SignResponse,
    VerifyMacRequest,
    VerifyMacResponse,
    VerifyRequest,
    VerifyResponse,
)
from hsmkms.core.members import Constraint, member
from hsmkms.core.model import (
    OLDER_KEY_SPECS,
    DataKeySpec,
    EncryptionAlgorithm,
    ExpirationModel,
    GrantOperation,
    ImportState,
    IncludeKeyMaterial,
    KeyAgreementAlgorithm,
    KeyManager,
    KeyMaterialState,
    KeySpec,
    KeyState,
    KeyUsage,
    MacAlgorithm,
    Origin,
    RotationType,
    SigningAlgorithm,
)
from hsmkms.core.request_members import NO_CONTEXT


@dataclass(frozen=True, slots=True)
class Empty:
    """The answer of operations that answer nothing."""


@dataclass(frozen=True, slots=True)
class TagMember:
    """A tag as a request holds it."""

    tag_key: str | None = member("the tag's key", required=True, minimum=1, maximum=128)
    tag_value: str | None = member("the tag's value", required=True, minimum=0, maximum=256)


@dataclass(slots=True)
class ReEncryptRequest:
    """Decrypt a ciphertext and encrypt it again, inside the token."""

    ciphertext_blob: bytes | None = common.blob("the ciphertext to re-encrypt (1 to 6144 bytes)", required=False)
    source_encryption_context: Mapping[str, str] = common.context("encryption context of the source")
    source_key_id: str | None = common.key_id(f"the key it is encrypted under: {common.KEY_FORMS}", required=False)
    destination_key_id: str | None = common.key_id(f"the key to encrypt it under: {common.KEY_FORMS}")
    destination_encryption_context: Mapping[str, str] = common.context("encryption context of the result")
    source_encryption_algorithm: str | None = common.algorithm("algorithm of the source")
    destination_encryption_algorithm: str | None = common.algorithm("algorithm of the result")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()
    dry_run_modifiers: tuple[str, ...] = common.dry_run_modifiers()


@dataclass(slots=True, unsafe_hash=True)
class ReEncryptResponse:
    """The new ciphertext, and between which keys and materials it moved."""

    ciphertext_blob: bytes
    source_key_id: str
    key_id: str
    source_encryption_algorithm: EncryptionAlgorithm
    destination_encryption_algorithm: EncryptionAlgorithm
    source_key_material_id: str | None = None
    destination_key_material_id: str | None = None


@dataclass(slots=True)
class EncryptRequest:
    """Encrypt up to 4,096 bytes."""

    key_id: str | None = common.key_id(f"the key to encrypt under: {common.KEY_FORMS}")
    plaintext: bytes | None = member(
        "what to encrypt (1 to 4096 bytes)", required=True, minimum=1, maximum=4096, sensitive=True, placeholder="BLOB"
    )
    encryption_context: Mapping[str, str] = common.context("encryption context")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    encryption_algorithm: str | None = common.algorithm("algorithm")
    dry_run: bool | None = common.dry_run()


@dataclass(slots=True, unsafe_hash=True)
class EncryptResponse:
    """The ciphertext."""

    ciphertext_blob: bytes
    key_id: str
    encryption_algorithm: EncryptionAlgorithm


@dataclass(slots=True)
class DecryptRequest:
    """Decrypt a ciphertext."""

    ciphertext_blob: bytes | None = common.blob("the ciphertext to decrypt (1 to 6144 bytes)", required=False)
    encryption_context: Mapping[str, str] = common.context("encryption context it was encrypted with")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    key_id: str | None = common.key_id(f"the key it is encrypted under: {common.KEY_FORMS}", required=False)
    encryption_algorithm: str | None = common.algorithm("algorithm")
    dry_run: bool | None = common.dry_run()
    dry_run_modifiers: tuple[str, ...] = common.dry_run_modifiers()


@dataclass(slots=True, unsafe_hash=True)
class DecryptResponse:
    """The plaintext, and the key and material it was encrypted under."""

    key_id: str
    plaintext: bytes = field(repr=False)
    encryption_algorithm: EncryptionAlgorithm
    key_material_id: str | None = None


@dataclass(slots=True)
class GenerateDataKeyRequest:
    """Make a data key: in plaintext, and encrypted under a KMS key."""

    key_id: str | None = common.key_id(f"the key to encrypt the data key under: {common.KEY_FORMS}")
    encryption_context: Mapping[str, str] = common.context("encryption context")
    number_of_bytes: int | None = common.number_of_bytes("length of the data key, 1 to 1024 bytes; instead of KeySpec")
    key_spec: str | None = member(
        "length of the data key by name; instead of NumberOfBytes", choices=tuple(DataKeySpec)
    )
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(slots=True, unsafe_hash=True)
class GenerateDataKeyResponse:
    """The data key twice: encrypted, and in plaintext."""

    ciphertext_blob: bytes
    plaintext: bytes = field(repr=False)
    key_id: str
    key_material_id: str | None = None


@dataclass(slots=True)
class GenerateDataKeyWithoutPlaintextRequest:
    """Make a data key and return it only encrypted under a KMS key."""

    key_id: str | None = common.key_id(f"the key to encrypt the data key under: {common.KEY_FORMS}")
    encryption_context: Mapping[str, str] = common.context("encryption context")
    key_spec: str | None = member(
        "length of the data key by name; instead of NumberOfBytes", choices=tuple(DataKeySpec)
    )
    number_of_bytes: int | None = common.number_of_bytes("length of the data key, 1 to 1024 bytes; instead of KeySpec")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(slots=True, unsafe_hash=True)
class GenerateDataKeyWithoutPlaintextResponse:
    """The encrypted data key."""

    ciphertext_blob: bytes
    key_id: str
    key_material_id: str | None = None


@dataclass(frozen=True, slots=True)
class GenerateRandomRequest:
    """Return random bytes from the token's generator."""

    number_of_bytes: int | None = common.number_of_bytes("how many bytes, 1 to 1024")
    custom_key_store_id: str | None = member(
        "custom key stores do not apply to this service: refused", minimum=1, maximum=64
    )


@dataclass(frozen=True, slots=True)
class GenerateRandomResponse:
    """The random bytes."""

    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateKeyRequest:
    """Create a KMS key whose material the token generates, or is imported."""

    description: str | None = member(
        "what the key is for, 8192 characters at most; not secret", minimum=0, maximum=8192
    )
    key_usage: str | None = member(
        "what the key is for (default ENCRYPT_DECRYPT; required for every other kind than SYMMETRIC_DEFAULT)",
        choices=tuple(KeyUsage),
    )
    key_spec: str | None = member(
        "kind of key (default SYMMETRIC_DEFAULT)",
        choices=tuple(KeySpec),
        placeholder="SPEC",
    )
    origin: str | None = member(
        "where the material comes from (default AWS_KMS: the token makes it; EXTERNAL: it is imported)",
        choices=tuple(Origin),
    )
    tags: tuple[TagMember, ...] = member(
        "tags of the key, 50 at most", default=(), maximum=50, placeholder="TagKey=KEY,TagValue=VALUE"
    )
    multi_region: bool | None = member("multi-Region keys do not apply to this service: refused")
    custom_key_store_id: str | None = member(
        "custom key stores do not apply to this service: refused", minimum=1, maximum=64
    )
    policy: str | None = common.policy("key policy (default: the account's identity policies decide)", required=False)
    bypass_policy_lockout_safety_check: bool | None = common.bypass()
    customer_master_key_spec: str | None = member(
        "older name of KeySpec; not both", choices=OLDER_KEY_SPECS, placeholder="SPEC"
    )
    xks_key_id: str | None = member(
        "external key stores do not apply to this service: refused",
        minimum=1,
        maximum=128,
        pattern=r"^[a-zA-Z0-9-_.]+$",
    )


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """What DescribeKey tells of a KMS key."""

    aws_account_id: str
    key_id: str
    arn: str
    creation_date: datetime
    enabled: bool
    description: str
    key_usage: KeyUsage
    key_state: KeyState
    origin: Origin
    key_manager: KeyManager
    key_spec: KeySpec
    multi_region: bool
    deletion_date: datetime | None = None
    current_key_material_id: str | None = None
    pending_deletion_window_in_days: int | None = None
    encryption_algorithms: tuple[EncryptionAlgorithm, ...] = ()
    signing_algorithms: tuple[SigningAlgorithm, ...] = ()
    mac_algorithms: tuple[MacAlgorithm, ...] = ()
    key_agreement_algorithms: tuple[KeyAgreementAlgorithm, ...] = ()
    valid_to: datetime | None = None
    expiration_model: ExpirationModel | None = None


@dataclass(frozen=True, slots=True)
class CreateKeyResponse:
    """The new key."""

    key_metadata: KeyMetadata


@dataclass(frozen=True, slots=True)
class DescribeKeyRequest:
    """Tell what a KMS key is."""

    key_id: str | None = common.key_id(f"the key: {common.KEY_FORMS}")
    grant_tokens: tuple[str, ...] = common.grant_tokens()


@dataclass(frozen=True, slots=True)
class DescribeKeyResponse:
    """The key's metadata."""

    key_metadata: KeyMetadata


@dataclass(frozen=True, slots=True)
class ListKeysRequest:
    """List the account's KMS keys."""

    limit: int | None = common.limit()
    marker: str | None = common.marker()


@dataclass(frozen=True, slots=True)
class KeyListEntry:
    """One KMS key of a list."""

    key_id: str
    key_arn: str


@dataclass(frozen=True, slots=True)
class ListKeysResponse:
    """One page of KMS keys."""

    keys: tuple[KeyListEntry, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class EnableKeyRequest:
    """Make a disabled KMS key usable."""

    key_id: str | None = common.key_id("the key: a key ID or key ARN")


@dataclass(frozen=True, slots=True)
class DisableKeyRequest:
    """Make a KMS key unusable until it is enabled again."""

    key_id: str | None = common.key_id("the key: a key ID or key ARN")


@dataclass(frozen=True, slots=True)
class CreateAliasRequest:
    """Give a KMS key a second name."""

    alias_name: str | None = common.alias_name()
    target_key_id: str | None = common.key_id("the key: a key ID or key ARN")


@dataclass(frozen=True, slots=True)
class UpdateAliasRequest:
    """Point an alias to another KMS key."""

    alias_name: str | None = common.alias_name()
    target_key_id: str | None = common.key_id("the key: a key ID or key ARN")


@dataclass(frozen=True, slots=True)
class DeleteAliasRequest:
    """Delete an alias; the key stays."""

    alias_name: str | None = common.alias_name()


@dataclass(frozen=True, slots=True)
class ListAliasesRequest:
    """List the account's aliases."""

    key_id: str | None = common.key_id("only aliases of this key: a key ID or key ARN", required=False)
    limit: int | None = common.limit()
    marker: str | None = common.marker()


@dataclass(frozen=True, slots=True)
class AliasListEntry:
    """One alias of a list."""

    alias_name: str
    alias_arn: str
    target_key_id: str
    creation_date: datetime
    last_updated_date: datetime


@dataclass(frozen=True, slots=True)
class ListAliasesResponse:
    """One page of aliases."""

    aliases: tuple[AliasListEntry, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class RotateKeyOnDemandRequest:
    """Give a KMS key new material now; older ciphertexts stay readable."""

    key_id: str | None = common.key_id("the key: a key ID or key ARN")


@dataclass(frozen=True, slots=True)
class RotateKeyOnDemandResponse:
    """The key that was rotated."""

    key_id: str


@dataclass(frozen=True, slots=True)
class ListKeyRotationsRequest:
    """List a KMS key's rotations."""

    key_id: str | None = common.key_id("the key: a key ID or key ARN")
    include_key_material: str | None = member(
        "ALL_KEY_MATERIAL adds the first material (default ROTATIONS_ONLY)", choices=tuple(IncludeKeyMaterial)
    )
    limit: int | None = common.limit()
    marker: str | None = common.marker()


@dataclass(frozen=True, slots=True)
class RotationsListEntry:
    """One generation of a KMS key's material."""

    key_id: str
    key_material_id: str
    key_material_state: KeyMaterialState
    rotation_date: datetime | None = None
    rotation_type: RotationType | None = None
    import_state: ImportState | None = None
    expiration_model: ExpirationModel | None = None
    valid_to: datetime | None = None
    key_material_description: str | None = None


@dataclass(frozen=True, slots=True)
class ListKeyRotationsResponse:
    """One page of rotations."""

    rotations: tuple[RotationsListEntry, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleKeyDeletionRequest:
    """Destroy a KMS key and all its material after a waiting period."""

    key_id: str | None = common.key_only()
    pending_window_in_days: int | None = member(
        "waiting period in days, 7 to 30 (default 30)", minimum=7, maximum=30, placeholder="DAYS"
    )


@dataclass(frozen=True, slots=True)
class ScheduleKeyDeletionResponse:
    """When the key may be destroyed."""

    key_id: str
    deletion_date: datetime
    key_state: KeyState
    pending_window_in_days: int


@dataclass(frozen=True, slots=True)
class CancelKeyDeletionRequest:
    """Keep a KMS key that is pending deletion; it is disabled then."""

    key_id: str | None = common.key_only()


@dataclass(frozen=True, slots=True)
class CancelKeyDeletionResponse:
    """The key that stays."""

    key_id: str


@dataclass(frozen=True, slots=True)
class EnableKeyRotationRequest:
    """Let a KMS key rotate by itself."""

    key_id: str | None = common.key_only()
    rotation_period_in_days: int | None = member(
        "how often, in days, 90 to 2560 (default 365)", minimum=90, maximum=2560, placeholder="DAYS"
    )


@dataclass(frozen=True, slots=True)
class DisableKeyRotationRequest:
    """Let a KMS key rotate by itself no longer."""

    key_id: str | None = common.key_only()


@dataclass(frozen=True, slots=True)
class GetKeyRotationStatusRequest:
    """Tell whether and when a KMS key rotates by itself."""

    key_id: str | None = common.key_only()


@dataclass(frozen=True, slots=True)
class GetKeyRotationStatusResponse:
    """How a KMS key rotates."""

    key_rotation_enabled: bool
    key_id: str
    rotation_period_in_days: int | None = None
    next_rotation_date: datetime | None = None
    on_demand_rotation_start_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class UpdateKeyDescriptionRequest:
    """Change a KMS key's description."""

    key_id: str | None = common.key_only()
    description: str | None = member(
        "what the key is for, 8192 characters at most; not secret", required=True, minimum=0, maximum=8192
    )


@dataclass(frozen=True, slots=True)
class GetKeyLastUsageRequest:
    """Tell when a KMS key was last used for a cryptographic operation."""

    key_id: str | None = common.key_only()


@dataclass(frozen=True, slots=True)
class KeyLastUsage:
    """The last successful cryptographic operation with a KMS key."""

    operation: str | None = None
    timestamp: datetime | None = None
    kms_request_id: str | None = None


@dataclass(frozen=True, slots=True)
class GetKeyLastUsageResponse:
    """When a KMS key was last used."""

    key_id: str
    key_last_usage: KeyLastUsage
    tracking_start_date: datetime
    key_creation_date: datetime


@dataclass(frozen=True, slots=True)
class GetKeyPolicyRequest:
    """Return a KMS key's policy."""

    key_id: str | None = common.key_only()
    policy_name: str | None = common.policy_name()


@dataclass(frozen=True, slots=True)
class GetKeyPolicyResponse:
    """A key policy."""

    policy: str
    policy_name: str


@dataclass(frozen=True, slots=True)
class PutKeyPolicyRequest:
    """Replace a KMS key's policy."""

    key_id: str | None = common.key_only()
    policy_name: str | None = common.policy_name()
    policy: str | None = common.policy("the key policy")
    bypass_policy_lockout_safety_check: bool | None = common.bypass()


@dataclass(frozen=True, slots=True)
class ListKeyPoliciesRequest:
    """List the names of a KMS key's policies: there is one, default."""

    key_id: str | None = common.key_only()
    limit: int | None = common.limit()
    marker: str | None = common.marker()


@dataclass(frozen=True, slots=True)
class ListKeyPoliciesResponse:
    """One page of policy names."""

    policy_names: tuple[str, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class GrantConstraintsMember:
    """On which encryption contexts a grant is good, as a request holds it."""

    encryption_context_subset: Mapping[str, str] = member("pairs that must be in it", default=NO_CONTEXT)
    encryption_context_equals: Mapping[str, str] = member("what it must be", default=NO_CONTEXT)


@dataclass(frozen=True, slots=True)
class CreateGrantRequest:
    """Give a principal a permission on a KMS key."""

    key_id: str | None = common.key_only()
    grantee_principal: str | None = common.principal("ARN of who may use the grant", required=True)
    retiring_principal: str | None = common.principal("ARN of who may retire the grant")
    operations: tuple[str, ...] = member(
        "what the grant allows", required=True, default=(), minimum=1, each=Constraint(choices=tuple(GrantOperation))
    )
    constraints: GrantConstraintsMember | None = member(  # noqa: RUF009 - `member` makes a field
        "encryption contexts it is good for",
        placeholder="EncryptionContextSubset={KEY=VALUE},EncryptionContextEquals={KEY=VALUE}",
    )
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    name: str | None = member(
        "a name that makes the request repeatable (1 to 256 characters)",
        minimum=1,
        maximum=256,
        pattern=r"^[a-zA-Z0-9:/_-]+$",
        placeholder="NAME",
    )
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class CreateGrantResponse:
    """The new grant, and a token by which it is good at once."""

    grant_token: str
    grant_id: str


@dataclass(frozen=True, slots=True)
class GrantConstraints:
    """On which encryption contexts a grant is good."""

    encryption_context_subset: Mapping[str, str] = field(default_factory=lambda: NO_CONTEXT)
    encryption_context_equals: Mapping[str, str] = field(default_factory=lambda: NO_CONTEXT)


@dataclass(frozen=True, slots=True)
class GrantListEntry:
    """One grant of a list."""

    key_id: str
    grant_id: str
    creation_date: datetime
    grantee_principal: str
    issuing_account: str
    operations: tuple[GrantOperation, ...]
    name: str | None = None
    retiring_principal: str | None = None
    constraints: GrantConstraints | None = None


@dataclass(frozen=True, slots=True)
class ListGrantsRequest:
    """List a KMS key's grants."""

    limit: int | None = common.limit()
    marker: str | None = common.marker()
    key_id: str | None = common.key_only()
    grant_id: str | None = common.grant_id("only this grant")
    grantee_principal: str | None = common.principal("only grants to this principal")


@dataclass(frozen=True, slots=True)
class ListGrantsResponse:
    """One page of grants."""

    grants: tuple[GrantListEntry, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ListRetirableGrantsRequest:
    """List the grants of all keys that a principal may retire."""

    limit: int | None = common.limit()
    marker: str | None = common.marker()
    retiring_principal: str | None = common.principal("ARN of the retiring principal", required=True)


@dataclass(frozen=True, slots=True)
class ListRetirableGrantsResponse:
    """One page of grants."""

    grants: tuple[GrantListEntry, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class RetireGrantRequest:
    """End a grant, as its retiring principal or its grantee: by its token, or by key and grant id."""

    grant_token: str | None = member("the grant's token", minimum=1, maximum=8192, placeholder="TOKEN")
    key_id: str | None = common.key_id("ARN of the key, with GrantId", required=False)
    grant_id: str | None = common.grant_id("the grant, with KeyId")
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class RevokeGrantRequest:
    """End a grant, as the key's administrator."""

    key_id: str | None = common.key_only()
    grant_id: str | None = common.grant_id("the grant", required=True)
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class TagResourceRequest:
    """Add tags to a KMS key, or change their values."""

    key_id: str | None = common.key_only()
    tags: tuple[TagMember, ...] = member(
        "the tags, 50 at most",
        required=True,
        default=(),
        minimum=1,
        maximum=50,
        placeholder="TagKey=KEY,TagValue=VALUE",
    )


@dataclass(frozen=True, slots=True)
class UntagResourceRequest:
    """Take tags from a KMS key."""

    key_id: str | None = common.key_only()
    tag_keys: tuple[str, ...] = member(
        "keys of the tags",
        required=True,
        default=(),
        minimum=1,
        maximum=50,
        each=Constraint(minimum=1, maximum=128),
        placeholder="KEY",
    )


@dataclass(frozen=True, slots=True)
class ListResourceTagsRequest:
    """List a KMS key's tags."""

    key_id: str | None = common.key_only()
    limit: int | None = common.limit()
    marker: str | None = common.marker()


@dataclass(frozen=True, slots=True)
class TagListEntry:
    """One tag of a list."""

    tag_key: str
    tag_value: str


@dataclass(frozen=True, slots=True)
class ListResourceTagsResponse:
    """One page of tags."""

    tags: tuple[TagListEntry, ...]
    next_marker: str | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ConnectCustomKeyStoreRequest:
    """Connect a custom key store: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class CreateCustomKeyStoreRequest:
    """Create a custom key store: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class DeleteCustomKeyStoreRequest:
    """Delete a custom key store: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class DescribeCustomKeyStoresRequest:
    """List custom key stores: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class DisconnectCustomKeyStoreRequest:
    """Disconnect a custom key store: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class ReplicateKeyRequest:
    """Replicate a multi-Region key: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class UpdateCustomKeyStoreRequest:
    """Change a custom key store: does not apply to this service, and is refused."""


@dataclass(frozen=True, slots=True)
class UpdatePrimaryRegionRequest:
    """Move a multi-Region key's primary Region: does not apply to this service, and is refused."""


class Effect(StrEnum):
    """What an operation does to the catalog."""

    READS = "reads"
    CHANGES = "changes"
    """It takes an idempotency key."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the API.

    Args:
        name: AWS's name, for example `ReEncrypt`.
        request: Its request.
        response: Its response.
        effect: Whether it changes the catalog.
    """

    name: str
    request: type
    response: type
    effect: Effect = Effect.READS


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        operation.name: operation
        for operation in (
            Operation("CancelKeyDeletion", CancelKeyDeletionRequest, CancelKeyDeletionResponse, Effect.CHANGES),
            Operation("ConnectCustomKeyStore", ConnectCustomKeyStoreRequest, Empty),
            Operation("CreateAlias", CreateAliasRequest, Empty, Effect.CHANGES),
            Operation("CreateCustomKeyStore", CreateCustomKeyStoreRequest, Empty),
            Operation("CreateGrant", CreateGrantRequest, CreateGrantResponse, Effect.CHANGES),
            Operation("CreateKey", CreateKeyRequest, CreateKeyResponse, Effect.CHANGES),
            Operation("Decapsulate", DecapsulateRequest, Empty),
            Operation("Decrypt", DecryptRequest, DecryptResponse),
            Operation("DeleteAlias", DeleteAliasRequest, Empty, Effect.CHANGES),
            Operation("DeleteCustomKeyStore", DeleteCustomKeyStoreRequest, Empty),
            Operation(
                "DeleteImportedKeyMaterial",
                DeleteImportedKeyMaterialRequest,
                DeleteImportedKeyMaterialResponse,
                Effect.CHANGES,
            ),
            Operation("DeriveSharedSecret", DeriveSharedSecretRequest, DeriveSharedSecretResponse),
            Operation("DescribeCustomKeyStores", DescribeCustomKeyStoresRequest, Empty),
            Operation("DescribeKey", DescribeKeyRequest, DescribeKeyResponse),
            Operation("DisableKey", DisableKeyRequest, Empty, Effect.CHANGES),
            Operation("DisableKeyRotation", DisableKeyRotationRequest, Empty, Effect.CHANGES),
            Operation("DisconnectCustomKeyStore", DisconnectCustomKeyStoreRequest, Empty),
            Operation("EnableKey", EnableKeyRequest, Empty, Effect.CHANGES),
            Operation("EnableKeyRotation", EnableKeyRotationRequest, Empty, Effect.CHANGES),
            Operation("Encapsulate", EncapsulateRequest, Empty),
            Operation("Encrypt", EncryptRequest, EncryptResponse),
            Operation("GenerateDataKey", GenerateDataKeyRequest, GenerateDataKeyResponse),
            Operation("GenerateDataKeyPair", GenerateDataKeyPairRequest, GenerateDataKeyPairResponse),
            Operation(
                "GenerateDataKeyPairWithoutPlaintext",
                GenerateDataKeyPairWithoutPlaintextRequest,
                GenerateDataKeyPairWithoutPlaintextResponse,
            ),
            Operation(
                "GenerateDataKeyWithoutPlaintext",
                GenerateDataKeyWithoutPlaintextRequest,
                GenerateDataKeyWithoutPlaintextResponse,
            ),
            Operation("GenerateMac", GenerateMacRequest, GenerateMacResponse),
            Operation("GenerateRandom", GenerateRandomRequest, GenerateRandomResponse),
            Operation("GetKeyLastUsage", GetKeyLastUsageRequest, GetKeyLastUsageResponse),
            Operation("GetKeyPolicy", GetKeyPolicyRequest, GetKeyPolicyResponse),
            Operation("GetKeyRotationStatus", GetKeyRotationStatusRequest, GetKeyRotationStatusResponse),
            Operation("GetParametersForImport", GetParametersForImportRequest, GetParametersForImportResponse),
            Operation("GetPublicKey", GetPublicKeyRequest, GetPublicKeyResponse),
            Operation("ImportKeyMaterial", ImportKeyMaterialRequest, ImportKeyMaterialResponse, Effect.CHANGES),
            Operation("ListAliases", ListAliasesRequest, ListAliasesResponse),
            Operation("ListGrants", ListGrantsRequest, ListGrantsResponse),
            Operation("ListKeyPolicies", ListKeyPoliciesRequest, ListKeyPoliciesResponse),
            Operation("ListKeyRotations", ListKeyRotationsRequest, ListKeyRotationsResponse),
            Operation("ListKeys", ListKeysRequest, ListKeysResponse),
            Operation("ListResourceTags", ListResourceTagsRequest, ListResourceTagsResponse),
            Operation("ListRetirableGrants", ListRetirableGrantsRequest, ListRetirableGrantsResponse),
            Operation("PutKeyPolicy", PutKeyPolicyRequest, Empty, Effect.CHANGES),
            Operation("ReEncrypt", ReEncryptRequest, ReEncryptResponse),
            Operation("ReplicateKey", ReplicateKeyRequest, Empty),
            Operation("RetireGrant", RetireGrantRequest, Empty, Effect.CHANGES),
            Operation("RevokeGrant", RevokeGrantRequest, Empty, Effect.CHANGES),
            Operation("RotateKeyOnDemand", RotateKeyOnDemandRequest, RotateKeyOnDemandResponse, Effect.CHANGES),
            Operation("ScheduleKeyDeletion", ScheduleKeyDeletionRequest, ScheduleKeyDeletionResponse, Effect.CHANGES),
            Operation("Sign", SignRequest, SignResponse),
            Operation("TagResource", TagResourceRequest, Empty, Effect.CHANGES),
            Operation("UntagResource", UntagResourceRequest, Empty, Effect.CHANGES),
            Operation("UpdateAlias", UpdateAliasRequest, Empty, Effect.CHANGES),
            Operation("UpdateCustomKeyStore", UpdateCustomKeyStoreRequest, Empty),
            Operation("UpdateKeyDescription", UpdateKeyDescriptionRequest, Empty, Effect.CHANGES),
            Operation("UpdatePrimaryRegion", UpdatePrimaryRegionRequest, Empty),
            Operation("Verify", VerifyRequest, VerifyResponse),
            Operation("VerifyMac", VerifyMacRequest, VerifyMacResponse),
        )
    }
)
"""Every operation by its name."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Many requests of one operation in one call: this service's own, and no operation of AWS's.

    Args:
        name: Its name, for example `BatchReEncrypt`.
        operation: The operation that each entry is a request of.
        streams: Whether entries and results are streams; else they are one message each.
    """

    name: str
    operation: str
    streams: bool = False


MAX_BATCH_ENTRIES: Final = 1000

BULKS: Final[Mapping[str, Bulk]] = MappingProxyType(
    {
        bulk.name: bulk
        for bulk in (
            Bulk("BatchDecrypt", "Decrypt"),
            Bulk("BatchEncrypt", "Encrypt"),
            Bulk("BatchGenerateDataKey", "GenerateDataKey"),
            Bulk("BatchReEncrypt", "ReEncrypt"),
            Bulk("StreamReEncrypt", "ReEncrypt", streams=True),
        )
    }
)
"""Every bulk by its name."""
