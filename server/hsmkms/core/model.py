"""The nouns: KMS keys, backing keys, aliases, principals, and how they are named."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hsmkms.core.ciphertext import Suite, cka_id


class KeyState(StrEnum):
    """KeyState of a KMS key, in AWS's spelling."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    UNAVAILABLE = "Unavailable"
    UPDATING = "Updating"


class KeySpec(StrEnum):
    """Kinds of KMS key. Which of them can be made depends on the token (`core.features`)."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    HMAC_224 = "HMAC_224"
    HMAC_256 = "HMAC_256"
    HMAC_384 = "HMAC_384"
    HMAC_512 = "HMAC_512"
    SM2 = "SM2"
    ML_DSA_44 = "ML_DSA_44"
    ML_DSA_65 = "ML_DSA_65"
    ML_DSA_87 = "ML_DSA_87"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    ML_KEM_512 = "ML_KEM_512"
    ML_KEM_768 = "ML_KEM_768"
    ML_KEM_1024 = "ML_KEM_1024"


OLDER_KEY_SPECS: Final = (
    KeySpec.RSA_2048,
    KeySpec.RSA_3072,
    KeySpec.RSA_4096,
    KeySpec.ECC_NIST_P256,
    KeySpec.ECC_NIST_P384,
    KeySpec.ECC_NIST_P521,
    KeySpec.ECC_SECG_P256K1,
    KeySpec.SYMMETRIC_DEFAULT,
    KeySpec.HMAC_224,
    KeySpec.HMAC_256,
    KeySpec.HMAC_384,
    KeySpec.HMAC_512,
    KeySpec.SM2,
)
"""Those that CreateKey's older member CustomerMasterKeySpec knows."""


class KeyUsage(StrEnum):
    """What a KMS key is for."""

    ENCRYPT_DECRYPT = "ENCRYPT_DECRYPT"
    SIGN_VERIFY = "SIGN_VERIFY"
    GENERATE_VERIFY_MAC = "GENERATE_VERIFY_MAC"
    KEY_AGREEMENT = "KEY_AGREEMENT"
    ENCAPSULATE_DECAPSULATE = "ENCAPSULATE_DECAPSULATE"


class EncryptionAlgorithm(StrEnum):
    """Encryption algorithms of the API."""

    SYMMETRIC_DEFAULT = "SYMMETRIC_DEFAULT"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    SM2PKE = "SM2PKE"


class SigningAlgorithm(StrEnum):
    """Signing algorithms of the API."""

    RSASSA_PSS_SHA_256 = "RSASSA_PSS_SHA_256"
    RSASSA_PSS_SHA_384 = "RSASSA_PSS_SHA_384"
    RSASSA_PSS_SHA_512 = "RSASSA_PSS_SHA_512"
    RSASSA_PKCS1_V1_5_SHA_256 = "RSASSA_PKCS1_V1_5_SHA_256"
    RSASSA_PKCS1_V1_5_SHA_384 = "RSASSA_PKCS1_V1_5_SHA_384"
    RSASSA_PKCS1_V1_5_SHA_512 = "RSASSA_PKCS1_V1_5_SHA_512"
    ECDSA_SHA_256 = "ECDSA_SHA_256"
    ECDSA_SHA_384 = "ECDSA_SHA_384"
    ECDSA_SHA_512 = "ECDSA_SHA_512"
    SM2DSA = "SM2DSA"
    ML_DSA_SHAKE_256 = "ML_DSA_SHAKE_256"
    ED25519_SHA_512 = "ED25519_SHA_512"
    ED25519_PH_SHA_512 = "ED25519_PH_SHA_512"


class MessageType(StrEnum):
    """What a message to be signed is."""

    RAW = "RAW"
    DIGEST = "DIGEST"
    EXTERNAL_MU = "EXTERNAL_MU"


class MacAlgorithm(StrEnum):
    """MAC algorithms of the API."""

    HMAC_SHA_224 = "HMAC_SHA_224"
    HMAC_SHA_256 = "HMAC_SHA_256"
    HMAC_SHA_384 = "HMAC_SHA_384"
    HMAC_SHA_512 = "HMAC_SHA_512"


class KeyAgreementAlgorithm(StrEnum):
    """Key agreement algorithms of the API."""

    ECDH = "ECDH"


class DataKeyPairSpec(StrEnum):
    """Kinds of data key pair."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ECC_NIST_P384 = "ECC_NIST_P384"
    ECC_NIST_P521 = "ECC_NIST_P521"
    ECC_SECG_P256K1 = "ECC_SECG_P256K1"
    SM2 = "SM2"
    ECC_NIST_EDWARDS25519 = "ECC_NIST_EDWARDS25519"
    ML_KEM_512 = "ML_KEM_512"
    ML_KEM_768 = "ML_KEM_768"
    ML_KEM_1024 = "ML_KEM_1024"


class WrappingAlgorithm(StrEnum):
    """How key material is encrypted on its way to be imported; AWS calls it AlgorithmSpec."""

    RSAES_PKCS1_V1_5 = "RSAES_PKCS1_V1_5"
    RSAES_OAEP_SHA_1 = "RSAES_OAEP_SHA_1"
    RSAES_OAEP_SHA_256 = "RSAES_OAEP_SHA_256"
    RSA_AES_KEY_WRAP_SHA_1 = "RSA_AES_KEY_WRAP_SHA_1"
    RSA_AES_KEY_WRAP_SHA_256 = "RSA_AES_KEY_WRAP_SHA_256"
    SM2PKE = "SM2PKE"


class WrappingKeySpec(StrEnum):
    """Kinds of wrapping key for import."""

    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    SM2 = "SM2"


class ExpirationModel(StrEnum):
    """Whether imported key material expires."""

    KEY_MATERIAL_EXPIRES = "KEY_MATERIAL_EXPIRES"
    KEY_MATERIAL_DOES_NOT_EXPIRE = "KEY_MATERIAL_DOES_NOT_EXPIRE"


class ImportType(StrEnum):
    """Whether imported key material is new to its key."""

    NEW_KEY_MATERIAL = "NEW_KEY_MATERIAL"
    EXISTING_KEY_MATERIAL = "EXISTING_KEY_MATERIAL"


class ImportState(StrEnum):
    """Whether imported key material is on the token."""

    IMPORTED = "IMPORTED"
    PENDING_IMPORT = "PENDING_IMPORT"


class DataKeySpec(StrEnum):
    """Lengths of a data key by name."""

    AES_256 = "AES_256"
    AES_128 = "AES_128"


class Origin(StrEnum):
    """Where a KMS key's material comes from."""

    AWS_KMS = "AWS_KMS"
    EXTERNAL = "EXTERNAL"
    AWS_CLOUDHSM = "AWS_CLOUDHSM"
    EXTERNAL_KEY_STORE = "EXTERNAL_KEY_STORE"


class KeyManager(StrEnum):
    """Who manages a KMS key: always the customer here."""

    CUSTOMER = "CUSTOMER"


class MultiRegionKind(StrEnum):
    """Whether a KMS key is a multi-Region key; every key of this service is a single-Region one."""

    SINGLE = "SINGLE"
    PRIMARY = "PRIMARY"
    REPLICA = "REPLICA"


class RotationType(StrEnum):
    """What made a backing key the current one."""

    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


class KeyMaterialState(StrEnum):
    """Whether a backing key is the one new ciphertexts are made with."""

    CURRENT = "CURRENT"
    NON_CURRENT = "NON_CURRENT"


class IncludeKeyMaterial(StrEnum):
    """Which materials ListKeyRotations lists."""

    ROTATIONS_ONLY = "ROTATIONS_ONLY"
    ALL_KEY_MATERIAL = "ALL_KEY_MATERIAL"


class GrantOperation(StrEnum):
    """What a grant can allow."""

    DECRYPT = "Decrypt"
    ENCRYPT = "Encrypt"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    RE_ENCRYPT_FROM = "ReEncryptFrom"
    RE_ENCRYPT_TO = "ReEncryptTo"
    SIGN = "Sign"
    VERIFY = "Verify"
    GET_PUBLIC_KEY = "GetPublicKey"
    CREATE_GRANT = "CreateGrant"
    RETIRE_GRANT = "RetireGrant"
    DESCRIBE_KEY = "DescribeKey"
    GENERATE_DATA_KEY_PAIR = "GenerateDataKeyPair"
    GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT = "GenerateDataKeyPairWithoutPlaintext"
    GENERATE_MAC = "GenerateMac"
    VERIFY_MAC = "VerifyMac"
    DERIVE_SHARED_SECRET = "DeriveSharedSecret"  # noqa: S105 - the name of an operation


class DryRunModifier(StrEnum):
    """What a dry run leaves out."""

    IGNORE_CIPHERTEXT = "IGNORE_CIPHERTEXT"


class BackingKeyState(StrEnum):
    """State of a backing key in the catalog."""

    CREATING = "Creating"
    """Its row is written; the token may or may not hold the object. Never used."""
    ACTIVE = "Active"
    """On the token, its canary known."""
    DESTROYING = "Destroying"
    """Its KMS key is deleted; the token may or may not hold the object still. Never used."""
    DESTROYED = "Destroyed"
    """Gone from the token; the row stays, so that its CKA_ID is known."""
    PENDING_IMPORT = "PendingImport"
    """Imported material that was deleted or has expired, or was never there; its canary, once it has one, tells it when it comes back."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A label that an operator gave to a KMS key.

    Args:
        tag_key: 1 to 128 characters.
        tag_value: 0 to 256 characters.
    """

    tag_key: str
    tag_value: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The account and Region in which a name is looked up.

    Args:
        account: Twelve digits.
        region: For example `eu-central-1`.
    """

    account: str
    region: str


@dataclass(frozen=True, slots=True)
class Arn:
    """An Amazon Resource Name of the KMS service: `arn:PARTITION:kms:REGION:ACCOUNT:RESOURCE`."""

    partition: str
    region: str
    account: str
    resource: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:kms:{self.region}:{self.account}:{self.resource}"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: what the client's certificate says.

    Args:
        name: The certificate's URI SAN, or its subject in RFC 4514 form.
        account: The account that the principal belongs to.
        arn: The principal's ARN.
        tags: Its tags, by key, for the condition key aws:PrincipalTag.
    """

    name: str
    account: str
    arn: str
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class BackingKey:
    """One generation of a KMS key's material, which lives on the token.

    Args:
        version: 1 for the first generation.
        suite: The derivation it was generated for; NONE for key pairs and HMAC keys.
        state: Its state.
        canary: What it is recognised by, public, empty while Creating: of a symmetric key a public value wrapped under it, of a key pair
            the public key (DER SubjectPublicKeyInfo), of an HMAC key the MAC of a public value.
        material_id: KeyMaterialId: SHA-256 of the canary in hex, empty while Creating.
        created: Microseconds since 1970, UTC.
        rotation_type: What brought it; None for the first generation.
        rotated: When it became current, in microseconds since 1970; None for the first generation.
        expiry: When imported material expires, in microseconds since 1970; None if it does not.
        description: What the importer said of imported material, 0 to 256 characters.
    """

    version: int
    suite: Suite
    state: BackingKeyState
    canary: bytes
    material_id: str
    created: int
    rotation_type: RotationType | None = None
    rotated: int | None = None
    expiry: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class KmsKey:
    """A KMS key as the catalog knows it.

    Args:
        scope: Account and Region.
        key_id: The id as text, a UUID.
        state: Its key state.
        description: 0 to 8,192 characters.
        spec: Its key spec.
        usage: Its key usage.
        origin: Where its material comes from.
        multi_region: Its multi-Region kind.
        current_version: The version that new ciphertexts are made with; 0 while none is ready.
        backing_keys: Its backing keys by version.
        created: Microseconds since 1970, UTC.
        updated: Microseconds since 1970, UTC.
        deletion_date: When it may be destroyed, in microseconds since 1970, if it is pending deletion.
        pending_window_days: The waiting period that was asked for, in days, if it is pending deletion.
        policy: Its key policy, as JSON text; empty for the default policy of its account.
        rotation_period_days: How often it rotates by itself, in days; None if it does not.
        next_rotation: When it rotates next by itself, in microseconds since 1970; None if it does not.
        tags: Its tags in the order of their keys.
    """

    scope: Scope
    key_id: str
    state: KeyState
    description: str
    spec: KeySpec
    usage: KeyUsage
    origin: Origin
    multi_region: MultiRegionKind
    current_version: int
    backing_keys: Mapping[int, BackingKey]
    created: int
    updated: int
    deletion_date: int | None = None
    pending_window_days: int | None = None
    policy: str = ""
    rotation_period_days: int | None = None
    next_rotation: int | None = None
    tags: tuple[Tag, ...] = ()
    uuid_bytes: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        object.__setattr__(self, "uuid_bytes", uuid.UUID(self.key_id).bytes)

    @property
    def current(self) -> BackingKey | None:
        """The backing key that new ciphertexts are made with, or None while there is none."""
        return self.backing_keys.get(self.current_version)

    def cka_id(self, version: int) -> bytes:
        """Return the `CKA_ID` of the backing key of that version."""
        return cka_id(self.uuid_bytes, version)


@dataclass(frozen=True, slots=True)
class Alias:
    """A second name of a KMS key.

    Args:
        scope: Account and Region.
        name: With its `alias/`.
        key_id: The id of the key it points to.
        created: Microseconds since 1970, UTC.
        updated: Microseconds since 1970, UTC.
    """

    scope: Scope
    name: str
    key_id: str
    created: int
    updated: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission that a key gives to one principal.

    Args:
        scope: Account and Region of the key.
        key_id: The key's id.
        grant_id: 64 lower-case hex digits.
        name: The name it was created with, or empty.
        grantee_principal: ARN of who may use it.
        retiring_principal: ARN of who may retire it, or empty.
        issuing_account: ARN of the root of the account that created it.
        operations: What it allows.
        context_equals: The encryption context must be this one, if it is not None.
        context_subset: The encryption context must hold these pairs, if it is not None.
        created: Microseconds since 1970, UTC.
    """

    scope: Scope
    key_id: str
    grant_id: str
    name: str
    grantee_principal: str
    retiring_principal: str
    issuing_account: str
    operations: tuple[GrantOperation, ...]
    context_equals: Mapping[str, str] | None
    context_subset: Mapping[str, str] | None
    created: int
