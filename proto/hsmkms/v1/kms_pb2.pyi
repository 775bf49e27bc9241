import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncryptionAlgorithmSpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCRYPTION_ALGORITHM_SPEC_UNSPECIFIED: _ClassVar[EncryptionAlgorithmSpec]
    ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT: _ClassVar[EncryptionAlgorithmSpec]
    ENCRYPTION_ALGORITHM_SPEC_RSAES_OAEP_SHA_1: _ClassVar[EncryptionAlgorithmSpec]
    ENCRYPTION_ALGORITHM_SPEC_RSAES_OAEP_SHA_256: _ClassVar[EncryptionAlgorithmSpec]
    ENCRYPTION_ALGORITHM_SPEC_SM2PKE: _ClassVar[EncryptionAlgorithmSpec]

class DataKeySpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_KEY_SPEC_UNSPECIFIED: _ClassVar[DataKeySpec]
    DATA_KEY_SPEC_AES_256: _ClassVar[DataKeySpec]
    DATA_KEY_SPEC_AES_128: _ClassVar[DataKeySpec]

class DryRunModifierType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRY_RUN_MODIFIER_TYPE_UNSPECIFIED: _ClassVar[DryRunModifierType]
    DRY_RUN_MODIFIER_TYPE_IGNORE_CIPHERTEXT: _ClassVar[DryRunModifierType]

class KeyUsageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_USAGE_TYPE_UNSPECIFIED: _ClassVar[KeyUsageType]
    KEY_USAGE_TYPE_ENCRYPT_DECRYPT: _ClassVar[KeyUsageType]
    KEY_USAGE_TYPE_SIGN_VERIFY: _ClassVar[KeyUsageType]
    KEY_USAGE_TYPE_GENERATE_VERIFY_MAC: _ClassVar[KeyUsageType]
    KEY_USAGE_TYPE_KEY_AGREEMENT: _ClassVar[KeyUsageType]
    KEY_USAGE_TYPE_ENCAPSULATE_DECAPSULATE: _ClassVar[KeyUsageType]

class KeySpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_SPEC_UNSPECIFIED: _ClassVar[KeySpec]
    KEY_SPEC_SYMMETRIC_DEFAULT: _ClassVar[KeySpec]
    KEY_SPEC_RSA_2048: _ClassVar[KeySpec]
    KEY_SPEC_RSA_3072: _ClassVar[KeySpec]
    KEY_SPEC_RSA_4096: _ClassVar[KeySpec]
    KEY_SPEC_ECC_NIST_P256: _ClassVar[KeySpec]
    KEY_SPEC_ECC_NIST_P384: _ClassVar[KeySpec]
    KEY_SPEC_ECC_NIST_P521: _ClassVar[KeySpec]
    KEY_SPEC_ECC_SECG_P256K1: _ClassVar[KeySpec]
    KEY_SPEC_HMAC_224: _ClassVar[KeySpec]
    KEY_SPEC_HMAC_256: _ClassVar[KeySpec]
    KEY_SPEC_HMAC_384: _ClassVar[KeySpec]
    KEY_SPEC_HMAC_512: _ClassVar[KeySpec]
    KEY_SPEC_SM2: _ClassVar[KeySpec]
    KEY_SPEC_ML_DSA_44: _ClassVar[KeySpec]
    KEY_SPEC_ML_DSA_65: _ClassVar[KeySpec]
    KEY_SPEC_ML_DSA_87: _ClassVar[KeySpec]
    KEY_SPEC_ECC_NIST_EDWARDS25519: _ClassVar[KeySpec]
    KEY_SPEC_ML_KEM_512: _ClassVar[KeySpec]
    KEY_SPEC_ML_KEM_768: _ClassVar[KeySpec]
    KEY_SPEC_ML_KEM_1024: _ClassVar[KeySpec]

class OriginType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORIGIN_TYPE_UNSPECIFIED: _ClassVar[OriginType]
    ORIGIN_TYPE_AWS_KMS: _ClassVar[OriginType]
    ORIGIN_TYPE_EXTERNAL: _ClassVar[OriginType]
    ORIGIN_TYPE_AWS_CLOUDHSM: _ClassVar[OriginType]
    ORIGIN_TYPE_EXTERNAL_KEY_STORE: _ClassVar[OriginType]

class KeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STATE_UNSPECIFIED: _ClassVar[KeyState]
    KEY_STATE_CREATING: _ClassVar[KeyState]
    KEY_STATE_ENABLED: _ClassVar[KeyState]
    KEY_STATE_DISABLED: _ClassVar[KeyState]
    KEY_STATE_PENDING_DELETION: _ClassVar[KeyState]
    KEY_STATE_PENDING_IMPORT: _ClassVar[KeyState]
    KEY_STATE_UNAVAILABLE: _ClassVar[KeyState]
    KEY_STATE_UPDATING: _ClassVar[KeyState]

class KeyManagerType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_MANAGER_TYPE_UNSPECIFIED: _ClassVar[KeyManagerType]
    KEY_MANAGER_TYPE_CUSTOMER: _ClassVar[KeyManagerType]

class IncludeKeyMaterial(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INCLUDE_KEY_MATERIAL_UNSPECIFIED: _ClassVar[IncludeKeyMaterial]
    INCLUDE_KEY_MATERIAL_ROTATIONS_ONLY: _ClassVar[IncludeKeyMaterial]
    INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL: _ClassVar[IncludeKeyMaterial]

class KeyMaterialState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_MATERIAL_STATE_UNSPECIFIED: _ClassVar[KeyMaterialState]
    KEY_MATERIAL_STATE_CURRENT: _ClassVar[KeyMaterialState]
    KEY_MATERIAL_STATE_NON_CURRENT: _ClassVar[KeyMaterialState]

class RotationType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROTATION_TYPE_UNSPECIFIED: _ClassVar[RotationType]
    ROTATION_TYPE_AUTOMATIC: _ClassVar[RotationType]
    ROTATION_TYPE_ON_DEMAND: _ClassVar[RotationType]

class GrantOperation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRANT_OPERATION_UNSPECIFIED: _ClassVar[GrantOperation]
    GRANT_OPERATION_DECRYPT: _ClassVar[GrantOperation]
    GRANT_OPERATION_ENCRYPT: _ClassVar[GrantOperation]
    GRANT_OPERATION_GENERATE_DATA_KEY: _ClassVar[GrantOperation]
    GRANT_OPERATION_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: _ClassVar[GrantOperation]
    GRANT_OPERATION_RE_ENCRYPT_FROM: _ClassVar[GrantOperation]
    GRANT_OPERATION_RE_ENCRYPT_TO: _ClassVar[GrantOperation]
    GRANT_OPERATION_SIGN: _ClassVar[GrantOperation]
    GRANT_OPERATION_VERIFY: _ClassVar[GrantOperation]
    GRANT_OPERATION_GET_PUBLIC_KEY: _ClassVar[GrantOperation]
    GRANT_OPERATION_CREATE_GRANT: _ClassVar[GrantOperation]
    GRANT_OPERATION_RETIRE_GRANT: _ClassVar[GrantOperation]
    GRANT_OPERATION_DESCRIBE_KEY: _ClassVar[GrantOperation]
    GRANT_OPERATION_GENERATE_DATA_KEY_PAIR: _ClassVar[GrantOperation]
    GRANT_OPERATION_GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT: _ClassVar[GrantOperation]
    GRANT_OPERATION_GENERATE_MAC: _ClassVar[GrantOperation]
    GRANT_OPERATION_VERIFY_MAC: _ClassVar[GrantOperation]
    GRANT_OPERATION_DERIVE_SHARED_SECRET: _ClassVar[GrantOperation]

class CustomerMasterKeySpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CUSTOMER_MASTER_KEY_SPEC_UNSPECIFIED: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_RSA_2048: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_RSA_3072: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_RSA_4096: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_ECC_NIST_P256: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_ECC_NIST_P384: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_ECC_NIST_P521: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_ECC_SECG_P256K1: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_SYMMETRIC_DEFAULT: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_HMAC_224: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_HMAC_256: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_HMAC_384: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_HMAC_512: _ClassVar[CustomerMasterKeySpec]
    CUSTOMER_MASTER_KEY_SPEC_SM2: _ClassVar[CustomerMasterKeySpec]

class SigningAlgorithmSpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNING_ALGORITHM_SPEC_UNSPECIFIED: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_RSASSA_PSS_SHA_256: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_RSASSA_PSS_SHA_384: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_RSASSA_PSS_SHA_512: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_RSASSA_PKCS1_V1_5_SHA_256: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_RSASSA_PKCS1_V1_5_SHA_384: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_RSASSA_PKCS1_V1_5_SHA_512: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_ECDSA_SHA_256: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_ECDSA_SHA_384: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_ECDSA_SHA_512: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_SM2DSA: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_ML_DSA_SHAKE_256: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_ED25519_SHA_512: _ClassVar[SigningAlgorithmSpec]
    SIGNING_ALGORITHM_SPEC_ED25519_PH_SHA_512: _ClassVar[SigningAlgorithmSpec]

class MessageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MESSAGE_TYPE_UNSPECIFIED: _ClassVar[MessageType]
    MESSAGE_TYPE_RAW: _ClassVar[MessageType]
    MESSAGE_TYPE_DIGEST: _ClassVar[MessageType]
    MESSAGE_TYPE_EXTERNAL_MU: _ClassVar[MessageType]

class MacAlgorithmSpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MAC_ALGORITHM_SPEC_UNSPECIFIED: _ClassVar[MacAlgorithmSpec]
    MAC_ALGORITHM_SPEC_HMAC_SHA_224: _ClassVar[MacAlgorithmSpec]
    MAC_ALGORITHM_SPEC_HMAC_SHA_256: _ClassVar[MacAlgorithmSpec]
    MAC_ALGORITHM_SPEC_HMAC_SHA_384: _ClassVar[MacAlgorithmSpec]
    MAC_ALGORITHM_SPEC_HMAC_SHA_512: _ClassVar[MacAlgorithmSpec]

class KeyAgreementAlgorithmSpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_AGREEMENT_ALGORITHM_SPEC_UNSPECIFIED: _ClassVar[KeyAgreementAlgorithmSpec]
    KEY_AGREEMENT_ALGORITHM_SPEC_ECDH: _ClassVar[KeyAgreementAlgorithmSpec]

class DataKeyPairSpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_KEY_PAIR_SPEC_UNSPECIFIED: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_RSA_2048: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_RSA_3072: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_RSA_4096: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ECC_NIST_P256: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ECC_NIST_P384: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ECC_NIST_P521: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ECC_SECG_P256K1: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_SM2: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ECC_NIST_EDWARDS25519: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ML_KEM_512: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ML_KEM_768: _ClassVar[DataKeyPairSpec]
    DATA_KEY_PAIR_SPEC_ML_KEM_1024: _ClassVar[DataKeyPairSpec]

class AlgorithmSpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALGORITHM_SPEC_UNSPECIFIED: _ClassVar[AlgorithmSpec]
    ALGORITHM_SPEC_RSAES_PKCS1_V1_5: _ClassVar[AlgorithmSpec]
    ALGORITHM_SPEC_RSAES_OAEP_SHA_1: _ClassVar[AlgorithmSpec]
    ALGORITHM_SPEC_RSAES_OAEP_SHA_256: _ClassVar[AlgorithmSpec]
    ALGORITHM_SPEC_RSA_AES_KEY_WRAP_SHA_1: _ClassVar[AlgorithmSpec]
    ALGORITHM_SPEC_RSA_AES_KEY_WRAP_SHA_256: _ClassVar[AlgorithmSpec]
    ALGORITHM_SPEC_SM2PKE: _ClassVar[AlgorithmSpec]

class WrappingKeySpec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRAPPING_KEY_SPEC_UNSPECIFIED: _ClassVar[WrappingKeySpec]
    WRAPPING_KEY_SPEC_RSA_2048: _ClassVar[WrappingKeySpec]
    WRAPPING_KEY_SPEC_RSA_3072: _ClassVar[WrappingKeySpec]
    WRAPPING_KEY_SPEC_RSA_4096: _ClassVar[WrappingKeySpec]
    WRAPPING_KEY_SPEC_SM2: _ClassVar[WrappingKeySpec]

class ExpirationModelType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPIRATION_MODEL_TYPE_UNSPECIFIED: _ClassVar[ExpirationModelType]
    EXPIRATION_MODEL_TYPE_KEY_MATERIAL_EXPIRES: _ClassVar[ExpirationModelType]
    EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE: _ClassVar[ExpirationModelType]

class ImportType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMPORT_TYPE_UNSPECIFIED: _ClassVar[ImportType]
    IMPORT_TYPE_NEW_KEY_MATERIAL: _ClassVar[ImportType]
    IMPORT_TYPE_EXISTING_KEY_MATERIAL: _ClassVar[ImportType]

class ImportState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMPORT_STATE_UNSPECIFIED: _ClassVar[ImportState]
    IMPORT_STATE_IMPORTED: _ClassVar[ImportState]
    IMPORT_STATE_PENDING_IMPORT: _ClassVar[ImportState]
ENCRYPTION_ALGORITHM_SPEC_UNSPECIFIED: EncryptionAlgorithmSpec
ENCRYPTION_ALGORITHM_SPEC_SYMMETRIC_DEFAULT: EncryptionAlgorithmSpec
ENCRYPTION_ALGORITHM_SPEC_RSAES_OAEP_SHA_1: EncryptionAlgorithmSpec
ENCRYPTION_ALGORITHM_SPEC_RSAES_OAEP_SHA_256: EncryptionAlgorithmSpec
ENCRYPTION_ALGORITHM_SPEC_SM2PKE: EncryptionAlgorithmSpec
DATA_KEY_SPEC_UNSPECIFIED: DataKeySpec
DATA_KEY_SPEC_AES_256: DataKeySpec
DATA_KEY_SPEC_AES_128: DataKeySpec
DRY_RUN_MODIFIER_TYPE_UNSPECIFIED: DryRunModifierType
DRY_RUN_MODIFIER_TYPE_IGNORE_CIPHERTEXT: DryRunModifierType
KEY_USAGE_TYPE_UNSPECIFIED: KeyUsageType
KEY_USAGE_TYPE_ENCRYPT_DECRYPT: KeyUsageType
KEY_USAGE_TYPE_SIGN_VERIFY: KeyUsageType
KEY_USAGE_TYPE_GENERATE_VERIFY_MAC: KeyUsageType
KEY_USAGE_TYPE_KEY_AGREEMENT: KeyUsageType
KEY_USAGE_TYPE_ENCAPSULATE_DECAPSULATE: KeyUsageType
KEY_SPEC_UNSPECIFIED: KeySpec
KEY_SPEC_SYMMETRIC_DEFAULT: KeySpec
KEY_SPEC_RSA_2048: KeySpec
KEY_SPEC_RSA_3072: KeySpec
KEY_SPEC_RSA_4096: KeySpec
KEY_SPEC_ECC_NIST_P256: KeySpec
KEY_SPEC_ECC_NIST_P384: KeySpec
KEY_SPEC_ECC_NIST_P521: KeySpec
KEY_SPEC_ECC_SECG_P256K1: KeySpec
KEY_SPEC_HMAC_224: KeySpec
KEY_SPEC_HMAC_256: KeySpec
KEY_SPEC_HMAC_384: KeySpec
KEY_SPEC_HMAC_512: KeySpec
KEY_SPEC_SM2: KeySpec
KEY_SPEC_ML_DSA_44: KeySpec
KEY_SPEC_ML_DSA_65: KeySpec
KEY_SPEC_ML_DSA_87: KeySpec
KEY_SPEC_ECC_NIST_EDWARDS25519: KeySpec
KEY_SPEC_ML_KEM_512: KeySpec
KEY_SPEC_ML_KEM_768: KeySpec
KEY_SPEC_ML_KEM_1024: KeySpec
ORIGIN_TYPE_UNSPECIFIED: OriginType
ORIGIN_TYPE_AWS_KMS: OriginType
ORIGIN_TYPE_EXTERNAL: OriginType
ORIGIN_TYPE_AWS_CLOUDHSM: OriginType
ORIGIN_TYPE_EXTERNAL_KEY_STORE: OriginType
KEY_STATE_UNSPECIFIED: KeyState
KEY_STATE_CREATING: KeyState
KEY_STATE_ENABLED: KeyState
KEY_STATE_DISABLED: KeyState
KEY_STATE_PENDING_DELETION: KeyState
KEY_STATE_PENDING_IMPORT: KeyState
KEY_STATE_UNAVAILABLE: KeyState
KEY_STATE_UPDATING: KeyState
KEY_MANAGER_TYPE_UNSPECIFIED: KeyManagerType
KEY_MANAGER_TYPE_CUSTOMER: KeyManagerType
INCLUDE_KEY_MATERIAL_UNSPECIFIED: IncludeKeyMaterial
INCLUDE_KEY_MATERIAL_ROTATIONS_ONLY: IncludeKeyMaterial
INCLUDE_KEY_MATERIAL_ALL_KEY_MATERIAL: IncludeKeyMaterial
KEY_MATERIAL_STATE_UNSPECIFIED: KeyMaterialState
KEY_MATERIAL_STATE_CURRENT: KeyMaterialState
KEY_MATERIAL_STATE_NON_CURRENT: KeyMaterialState
ROTATION_TYPE_UNSPECIFIED: RotationType
ROTATION_TYPE_AUTOMATIC: RotationType
ROTATION_TYPE_ON_DEMAND: RotationType
GRANT_OPERATION_UNSPECIFIED: GrantOperation
GRANT_OPERATION_DECRYPT: GrantOperation
GRANT_OPERATION_ENCRYPT: GrantOperation
GRANT_OPERATION_GENERATE_DATA_KEY: GrantOperation
GRANT_OPERATION_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: GrantOperation
GRANT_OPERATION_RE_ENCRYPT_FROM: GrantOperation
GRANT_OPERATION_RE_ENCRYPT_TO: GrantOperation
GRANT_OPERATION_SIGN: GrantOperation
GRANT_OPERATION_VERIFY: GrantOperation
GRANT_OPERATION_GET_PUBLIC_KEY: GrantOperation
GRANT_OPERATION_CREATE_GRANT: GrantOperation
GRANT_OPERATION_RETIRE_GRANT: GrantOperation
GRANT_OPERATION_DESCRIBE_KEY: GrantOperation
GRANT_OPERATION_GENERATE_DATA_KEY_PAIR: GrantOperation
GRANT_OPERATION_GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT: GrantOperation
GRANT_OPERATION_GENERATE_MAC: GrantOperation
GRANT_OPERATION_VERIFY_MAC: GrantOperation
GRANT_OPERATION_DERIVE_SHARED_SECRET: GrantOperation
CUSTOMER_MASTER_KEY_SPEC_UNSPECIFIED: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_RSA_2048: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_RSA_3072: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_RSA_4096: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_ECC_NIST_P256: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_ECC_NIST_P384: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_ECC_NIST_P521: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_ECC_SECG_P256K1: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_SYMMETRIC_DEFAULT: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_HMAC_224: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_HMAC_256: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_HMAC_384: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_HMAC_512: CustomerMasterKeySpec
CUSTOMER_MASTER_KEY_SPEC_SM2: CustomerMasterKeySpec
SIGNING_ALGORITHM_SPEC_UNSPECIFIED: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_RSASSA_PSS_SHA_256: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_RSASSA_PSS_SHA_384: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_RSASSA_PSS_SHA_512: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_RSASSA_PKCS1_V1_5_SHA_256: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_RSASSA_PKCS1_V1_5_SHA_384: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_RSASSA_PKCS1_V1_5_SHA_512: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_ECDSA_SHA_256: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_ECDSA_SHA_384: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_ECDSA_SHA_512: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_SM2DSA: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_ML_DSA_SHAKE_256: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_ED25519_SHA_512: SigningAlgorithmSpec
SIGNING_ALGORITHM_SPEC_ED25519_PH_SHA_512: SigningAlgorithmSpec
MESSAGE_TYPE_UNSPECIFIED: MessageType
MESSAGE_TYPE_RAW: MessageType
MESSAGE_TYPE_DIGEST: MessageType
MESSAGE_TYPE_EXTERNAL_MU: MessageType
MAC_ALGORITHM_SPEC_UNSPECIFIED: MacAlgorithmSpec
MAC_ALGORITHM_SPEC_HMAC_SHA_224: MacAlgorithmSpec
MAC_ALGORITHM_SPEC_HMAC_SHA_256: MacAlgorithmSpec
MAC_ALGORITHM_SPEC_HMAC_SHA_384: MacAlgorithmSpec
MAC_ALGORITHM_SPEC_HMAC_SHA_512: MacAlgorithmSpec
KEY_AGREEMENT_ALGORITHM_SPEC_UNSPECIFIED: KeyAgreementAlgorithmSpec
KEY_AGREEMENT_ALGORITHM_SPEC_ECDH: KeyAgreementAlgorithmSpec
DATA_KEY_PAIR_SPEC_UNSPECIFIED: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_RSA_2048: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_RSA_3072: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_RSA_4096: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ECC_NIST_P256: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ECC_NIST_P384: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ECC_NIST_P521: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ECC_SECG_P256K1: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_SM2: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ECC_NIST_EDWARDS25519: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ML_KEM_512: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ML_KEM_768: DataKeyPairSpec
DATA_KEY_PAIR_SPEC_ML_KEM_1024: DataKeyPairSpec
ALGORITHM_SPEC_UNSPECIFIED: AlgorithmSpec
ALGORITHM_SPEC_RSAES_PKCS1_V1_5: AlgorithmSpec
ALGORITHM_SPEC_RSAES_OAEP_SHA_1: AlgorithmSpec
ALGORITHM_SPEC_RSAES_OAEP_SHA_256: AlgorithmSpec
ALGORITHM_SPEC_RSA_AES_KEY_WRAP_SHA_1: AlgorithmSpec
ALGORITHM_SPEC_RSA_AES_KEY_WRAP_SHA_256: AlgorithmSpec
ALGORITHM_SPEC_SM2PKE: AlgorithmSpec
WRAPPING_KEY_SPEC_UNSPECIFIED: WrappingKeySpec
WRAPPING_KEY_SPEC_RSA_2048: WrappingKeySpec
WRAPPING_KEY_SPEC_RSA_3072: WrappingKeySpec
WRAPPING_KEY_SPEC_RSA_4096: WrappingKeySpec
WRAPPING_KEY_SPEC_SM2: WrappingKeySpec
EXPIRATION_MODEL_TYPE_UNSPECIFIED: ExpirationModelType
EXPIRATION_MODEL_TYPE_KEY_MATERIAL_EXPIRES: ExpirationModelType
EXPIRATION_MODEL_TYPE_KEY_MATERIAL_DOES_NOT_EXPIRE: ExpirationModelType
IMPORT_TYPE_UNSPECIFIED: ImportType
IMPORT_TYPE_NEW_KEY_MATERIAL: ImportType
IMPORT_TYPE_EXISTING_KEY_MATERIAL: ImportType
IMPORT_STATE_UNSPECIFIED: ImportState
IMPORT_STATE_IMPORTED: ImportState
IMPORT_STATE_PENDING_IMPORT: ImportState

class ReEncryptRequest(_message.Message):
    __slots__ = ("ciphertext_blob", "source_encryption_context", "source_key_id", "destination_key_id", "destination_encryption_context", "source_encryption_algorithm", "destination_encryption_algorithm", "grant_tokens", "dry_run", "dry_run_modifiers")
    class SourceEncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class DestinationEncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_MODIFIERS_FIELD_NUMBER: _ClassVar[int]
    ciphertext_blob: bytes
    source_encryption_context: _containers.ScalarMap[str, str]
    source_key_id: str
    destination_key_id: str
    destination_encryption_context: _containers.ScalarMap[str, str]
    source_encryption_algorithm: EncryptionAlgorithmSpec
    destination_encryption_algorithm: EncryptionAlgorithmSpec
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    dry_run_modifiers: _containers.RepeatedScalarFieldContainer[DryRunModifierType]
    def __init__(self, ciphertext_blob: _Optional[bytes] = ..., source_encryption_context: _Optional[_Mapping[str, str]] = ..., source_key_id: _Optional[str] = ..., destination_key_id: _Optional[str] = ..., destination_encryption_context: _Optional[_Mapping[str, str]] = ..., source_encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., destination_encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ..., dry_run_modifiers: _Optional[_Iterable[_Union[DryRunModifierType, str]]] = ...) -> None: ...

class ReEncryptResponse(_message.Message):
    __slots__ = ("ciphertext_blob", "source_key_id", "key_id", "source_encryption_algorithm", "destination_encryption_algorithm", "source_key_material_id", "destination_key_material_id")
    CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ciphertext_blob: bytes
    source_key_id: str
    key_id: str
    source_encryption_algorithm: EncryptionAlgorithmSpec
    destination_encryption_algorithm: EncryptionAlgorithmSpec
    source_key_material_id: str
    destination_key_material_id: str
    def __init__(self, ciphertext_blob: _Optional[bytes] = ..., source_key_id: _Optional[str] = ..., key_id: _Optional[str] = ..., source_encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., destination_encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., source_key_material_id: _Optional[str] = ..., destination_key_material_id: _Optional[str] = ...) -> None: ...

class EncryptRequest(_message.Message):
    __slots__ = ("key_id", "plaintext", "encryption_context", "grant_tokens", "encryption_algorithm", "dry_run")
    class EncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    plaintext: bytes
    encryption_context: _containers.ScalarMap[str, str]
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    encryption_algorithm: EncryptionAlgorithmSpec
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., plaintext: _Optional[bytes] = ..., encryption_context: _Optional[_Mapping[str, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class EncryptResponse(_message.Message):
    __slots__ = ("ciphertext_blob", "key_id", "encryption_algorithm")
    CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    ciphertext_blob: bytes
    key_id: str
    encryption_algorithm: EncryptionAlgorithmSpec
    def __init__(self, ciphertext_blob: _Optional[bytes] = ..., key_id: _Optional[str] = ..., encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ...) -> None: ...

class DecryptRequest(_message.Message):
    __slots__ = ("ciphertext_blob", "encryption_context", "grant_tokens", "key_id", "encryption_algorithm", "dry_run", "dry_run_modifiers")
    class EncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_MODIFIERS_FIELD_NUMBER: _ClassVar[int]
    ciphertext_blob: bytes
    encryption_context: _containers.ScalarMap[str, str]
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    key_id: str
    encryption_algorithm: EncryptionAlgorithmSpec
    dry_run: bool
    dry_run_modifiers: _containers.RepeatedScalarFieldContainer[DryRunModifierType]
    def __init__(self, ciphertext_blob: _Optional[bytes] = ..., encryption_context: _Optional[_Mapping[str, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., key_id: _Optional[str] = ..., encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., dry_run: _Optional[bool] = ..., dry_run_modifiers: _Optional[_Iterable[_Union[DryRunModifierType, str]]] = ...) -> None: ...

class DecryptResponse(_message.Message):
    __slots__ = ("key_id", "plaintext", "encryption_algorithm", "key_material_id")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    plaintext: bytes
    encryption_algorithm: EncryptionAlgorithmSpec
    key_material_id: str
    def __init__(self, key_id: _Optional[str] = ..., plaintext: _Optional[bytes] = ..., encryption_algorithm: _Optional[_Union[EncryptionAlgorithmSpec, str]] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class GenerateDataKeyRequest(_message.Message):
    __slots__ = ("key_id", "encryption_context", "number_of_bytes", "key_spec", "grant_tokens", "dry_run")
    class EncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_OF_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    encryption_context: _containers.ScalarMap[str, str]
    number_of_bytes: int
    key_spec: DataKeySpec
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., encryption_context: _Optional[_Mapping[str, str]] = ..., number_of_bytes: _Optional[int] = ..., key_spec: _Optional[_Union[DataKeySpec, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GenerateDataKeyResponse(_message.Message):
    __slots__ = ("ciphertext_blob", "plaintext", "key_id", "key_material_id")
    CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ciphertext_blob: bytes
    plaintext: bytes
    key_id: str
    key_material_id: str
    def __init__(self, ciphertext_blob: _Optional[bytes] = ..., plaintext: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class GenerateDataKeyWithoutPlaintextRequest(_message.Message):
    __slots__ = ("key_id", "encryption_context", "key_spec", "number_of_bytes", "grant_tokens", "dry_run")
    class EncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    NUMBER_OF_BYTES_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    encryption_context: _containers.ScalarMap[str, str]
    key_spec: DataKeySpec
    number_of_bytes: int
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., encryption_context: _Optional[_Mapping[str, str]] = ..., key_spec: _Optional[_Union[DataKeySpec, str]] = ..., number_of_bytes: _Optional[int] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GenerateDataKeyWithoutPlaintextResponse(_message.Message):
    __slots__ = ("ciphertext_blob", "key_id", "key_material_id")
    CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ciphertext_blob: bytes
    key_id: str
    key_material_id: str
    def __init__(self, ciphertext_blob: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class GenerateRandomRequest(_message.Message):
    __slots__ = ("number_of_bytes", "custom_key_store_id")
    NUMBER_OF_BYTES_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_KEY_STORE_ID_FIELD_NUMBER: _ClassVar[int]
    number_of_bytes: int
    custom_key_store_id: str
    def __init__(self, number_of_bytes: _Optional[int] = ..., custom_key_store_id: _Optional[str] = ...) -> None: ...

class GenerateRandomResponse(_message.Message):
    __slots__ = ("plaintext",)
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    def __init__(self, plaintext: _Optional[bytes] = ...) -> None: ...

class GetPublicKeyRequest(_message.Message):
    __slots__ = ("key_id", "grant_tokens")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key_id: _Optional[str] = ..., grant_tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class GetPublicKeyResponse(_message.Message):
    __slots__ = ("key_id", "public_key", "key_spec", "key_usage", "encryption_algorithms", "signing_algorithms", "key_agreement_algorithms")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    KEY_USAGE_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    KEY_AGREEMENT_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    public_key: bytes
    key_spec: KeySpec
    key_usage: KeyUsageType
    encryption_algorithms: _containers.RepeatedScalarFieldContainer[EncryptionAlgorithmSpec]
    signing_algorithms: _containers.RepeatedScalarFieldContainer[SigningAlgorithmSpec]
    key_agreement_algorithms: _containers.RepeatedScalarFieldContainer[KeyAgreementAlgorithmSpec]
    def __init__(self, key_id: _Optional[str] = ..., public_key: _Optional[bytes] = ..., key_spec: _Optional[_Union[KeySpec, str]] = ..., key_usage: _Optional[_Union[KeyUsageType, str]] = ..., encryption_algorithms: _Optional[_Iterable[_Union[EncryptionAlgorithmSpec, str]]] = ..., signing_algorithms: _Optional[_Iterable[_Union[SigningAlgorithmSpec, str]]] = ..., key_agreement_algorithms: _Optional[_Iterable[_Union[KeyAgreementAlgorithmSpec, str]]] = ...) -> None: ...

class GenerateDataKeyPairRequest(_message.Message):
    __slots__ = ("key_id", "key_pair_spec", "encryption_context", "grant_tokens", "dry_run")
    class EncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_PAIR_SPEC_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_pair_spec: DataKeyPairSpec
    encryption_context: _containers.ScalarMap[str, str]
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., key_pair_spec: _Optional[_Union[DataKeyPairSpec, str]] = ..., encryption_context: _Optional[_Mapping[str, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GenerateDataKeyPairResponse(_message.Message):
    __slots__ = ("private_key_ciphertext_blob", "private_key_plaintext", "public_key", "key_id", "key_pair_spec", "key_material_id")
    PRIVATE_KEY_CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_PAIR_SPEC_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    private_key_ciphertext_blob: bytes
    private_key_plaintext: bytes
    public_key: bytes
    key_id: str
    key_pair_spec: DataKeyPairSpec
    key_material_id: str
    def __init__(self, private_key_ciphertext_blob: _Optional[bytes] = ..., private_key_plaintext: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_pair_spec: _Optional[_Union[DataKeyPairSpec, str]] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class GenerateDataKeyPairWithoutPlaintextRequest(_message.Message):
    __slots__ = ("key_id", "key_pair_spec", "encryption_context", "grant_tokens", "dry_run")
    class EncryptionContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_PAIR_SPEC_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_pair_spec: DataKeyPairSpec
    encryption_context: _containers.ScalarMap[str, str]
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., key_pair_spec: _Optional[_Union[DataKeyPairSpec, str]] = ..., encryption_context: _Optional[_Mapping[str, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GenerateDataKeyPairWithoutPlaintextResponse(_message.Message):
    __slots__ = ("private_key_ciphertext_blob", "public_key", "key_id", "key_pair_spec", "key_material_id")
    PRIVATE_KEY_CIPHERTEXT_BLOB_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_PAIR_SPEC_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    private_key_ciphertext_blob: bytes
    public_key: bytes
    key_id: str
    key_pair_spec: DataKeyPairSpec
    key_material_id: str
    def __init__(self, private_key_ciphertext_blob: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_pair_spec: _Optional[_Union[DataKeyPairSpec, str]] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class SignRequest(_message.Message):
    __slots__ = ("key_id", "message", "message_type", "grant_tokens", "signing_algorithm", "dry_run")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    message: bytes
    message_type: MessageType
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    signing_algorithm: SigningAlgorithmSpec
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., message: _Optional[bytes] = ..., message_type: _Optional[_Union[MessageType, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., signing_algorithm: _Optional[_Union[SigningAlgorithmSpec, str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class SignResponse(_message.Message):
    __slots__ = ("key_id", "signature", "signing_algorithm")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    signature: bytes
    signing_algorithm: SigningAlgorithmSpec
    def __init__(self, key_id: _Optional[str] = ..., signature: _Optional[bytes] = ..., signing_algorithm: _Optional[_Union[SigningAlgorithmSpec, str]] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("key_id", "message", "message_type", "signature", "signing_algorithm", "grant_tokens", "dry_run")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    message: bytes
    message_type: MessageType
    signature: bytes
    signing_algorithm: SigningAlgorithmSpec
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., message: _Optional[bytes] = ..., message_type: _Optional[_Union[MessageType, str]] = ..., signature: _Optional[bytes] = ..., signing_algorithm: _Optional[_Union[SigningAlgorithmSpec, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("key_id", "signature_valid", "signing_algorithm")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_VALID_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    signature_valid: bool
    signing_algorithm: SigningAlgorithmSpec
    def __init__(self, key_id: _Optional[str] = ..., signature_valid: _Optional[bool] = ..., signing_algorithm: _Optional[_Union[SigningAlgorithmSpec, str]] = ...) -> None: ...

class GenerateMacRequest(_message.Message):
    __slots__ = ("message", "key_id", "mac_algorithm", "grant_tokens", "dry_run")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    message: bytes
    key_id: str
    mac_algorithm: MacAlgorithmSpec
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, message: _Optional[bytes] = ..., key_id: _Optional[str] = ..., mac_algorithm: _Optional[_Union[MacAlgorithmSpec, str]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GenerateMacResponse(_message.Message):
    __slots__ = ("mac", "mac_algorithm", "key_id")
    MAC_FIELD_NUMBER: _ClassVar[int]
    MAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    mac: bytes
    mac_algorithm: MacAlgorithmSpec
    key_id: str
    def __init__(self, mac: _Optional[bytes] = ..., mac_algorithm: _Optional[_Union[MacAlgorithmSpec, str]] = ..., key_id: _Optional[str] = ...) -> None: ...

class VerifyMacRequest(_message.Message):
    __slots__ = ("message", "key_id", "mac_algorithm", "mac", "grant_tokens", "dry_run")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    message: bytes
    key_id: str
    mac_algorithm: MacAlgorithmSpec
    mac: bytes
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, message: _Optional[bytes] = ..., key_id: _Optional[str] = ..., mac_algorithm: _Optional[_Union[MacAlgorithmSpec, str]] = ..., mac: _Optional[bytes] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class VerifyMacResponse(_message.Message):
    __slots__ = ("key_id", "mac_valid", "mac_algorithm")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_VALID_FIELD_NUMBER: _ClassVar[int]
    MAC_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    mac_valid: bool
    mac_algorithm: MacAlgorithmSpec
    def __init__(self, key_id: _Optional[str] = ..., mac_valid: _Optional[bool] = ..., mac_algorithm: _Optional[_Union[MacAlgorithmSpec, str]] = ...) -> None: ...

class DeriveSharedSecretRequest(_message.Message):
    __slots__ = ("key_id", "key_agreement_algorithm", "public_key", "grant_tokens", "dry_run")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_AGREEMENT_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_agreement_algorithm: KeyAgreementAlgorithmSpec
    public_key: bytes
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., key_agreement_algorithm: _Optional[_Union[KeyAgreementAlgorithmSpec, str]] = ..., public_key: _Optional[bytes] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class DeriveSharedSecretResponse(_message.Message):
    __slots__ = ("key_id", "shared_secret", "key_agreement_algorithm", "key_origin")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SHARED_SECRET_FIELD_NUMBER: _ClassVar[int]
    KEY_AGREEMENT_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    KEY_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    shared_secret: bytes
    key_agreement_algorithm: KeyAgreementAlgorithmSpec
    key_origin: OriginType
    def __init__(self, key_id: _Optional[str] = ..., shared_secret: _Optional[bytes] = ..., key_agreement_algorithm: _Optional[_Union[KeyAgreementAlgorithmSpec, str]] = ..., key_origin: _Optional[_Union[OriginType, str]] = ...) -> None: ...

class GetParametersForImportRequest(_message.Message):
    __slots__ = ("key_id", "wrapping_algorithm", "wrapping_key_spec")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    WRAPPING_ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    WRAPPING_KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    wrapping_algorithm: AlgorithmSpec
    wrapping_key_spec: WrappingKeySpec
    def __init__(self, key_id: _Optional[str] = ..., wrapping_algorithm: _Optional[_Union[AlgorithmSpec, str]] = ..., wrapping_key_spec: _Optional[_Union[WrappingKeySpec, str]] = ...) -> None: ...

class GetParametersForImportResponse(_message.Message):
    __slots__ = ("key_id", "import_token", "public_key", "parameters_valid_to")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    IMPORT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_VALID_TO_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    import_token: bytes
    public_key: bytes
    parameters_valid_to: _timestamp_pb2.Timestamp
    def __init__(self, key_id: _Optional[str] = ..., import_token: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., parameters_valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ImportKeyMaterialRequest(_message.Message):
    __slots__ = ("key_id", "import_token", "encrypted_key_material", "valid_to", "expiration_model", "import_type", "key_material_description", "key_material_id")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    IMPORT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTED_KEY_MATERIAL_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_MODEL_FIELD_NUMBER: _ClassVar[int]
    IMPORT_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    import_token: bytes
    encrypted_key_material: bytes
    valid_to: _timestamp_pb2.Timestamp
    expiration_model: ExpirationModelType
    import_type: ImportType
    key_material_description: str
    key_material_id: str
    def __init__(self, key_id: _Optional[str] = ..., import_token: _Optional[bytes] = ..., encrypted_key_material: _Optional[bytes] = ..., valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expiration_model: _Optional[_Union[ExpirationModelType, str]] = ..., import_type: _Optional[_Union[ImportType, str]] = ..., key_material_description: _Optional[str] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class ImportKeyMaterialResponse(_message.Message):
    __slots__ = ("key_id", "key_material_id")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_material_id: str
    def __init__(self, key_id: _Optional[str] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class DeleteImportedKeyMaterialRequest(_message.Message):
    __slots__ = ("key_id", "key_material_id")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_material_id: str
    def __init__(self, key_id: _Optional[str] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class DeleteImportedKeyMaterialResponse(_message.Message):
    __slots__ = ("key_id", "key_material_id")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_material_id: str
    def __init__(self, key_id: _Optional[str] = ..., key_material_id: _Optional[str] = ...) -> None: ...

class EncapsulateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EncapsulateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DecapsulateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DecapsulateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateKeyRequest(_message.Message):
    __slots__ = ("description", "key_usage", "key_spec", "origin", "tags", "multi_region", "custom_key_store_id", "policy", "bypass_policy_lockout_safety_check", "customer_master_key_spec", "xks_key_id")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    KEY_USAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    MULTI_REGION_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_KEY_STORE_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BYPASS_POLICY_LOCKOUT_SAFETY_CHECK_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_MASTER_KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    XKS_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    description: str
    key_usage: KeyUsageType
    key_spec: KeySpec
    origin: OriginType
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    multi_region: bool
    custom_key_store_id: str
    policy: str
    bypass_policy_lockout_safety_check: bool
    customer_master_key_spec: CustomerMasterKeySpec
    xks_key_id: str
    def __init__(self, description: _Optional[str] = ..., key_usage: _Optional[_Union[KeyUsageType, str]] = ..., key_spec: _Optional[_Union[KeySpec, str]] = ..., origin: _Optional[_Union[OriginType, str]] = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., multi_region: _Optional[bool] = ..., custom_key_store_id: _Optional[str] = ..., policy: _Optional[str] = ..., bypass_policy_lockout_safety_check: _Optional[bool] = ..., customer_master_key_spec: _Optional[_Union[CustomerMasterKeySpec, str]] = ..., xks_key_id: _Optional[str] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("tag_key", "tag_value")
    TAG_KEY_FIELD_NUMBER: _ClassVar[int]
    TAG_VALUE_FIELD_NUMBER: _ClassVar[int]
    tag_key: str
    tag_value: str
    def __init__(self, tag_key: _Optional[str] = ..., tag_value: _Optional[str] = ...) -> None: ...

class CreateKeyResponse(_message.Message):
    __slots__ = ("key_metadata",)
    KEY_METADATA_FIELD_NUMBER: _ClassVar[int]
    key_metadata: KeyMetadata
    def __init__(self, key_metadata: _Optional[_Union[KeyMetadata, _Mapping]] = ...) -> None: ...

class KeyMetadata(_message.Message):
    __slots__ = ("aws_account_id", "key_id", "arn", "creation_date", "enabled", "description", "key_usage", "key_state", "origin", "key_manager", "key_spec", "encryption_algorithms", "multi_region", "deletion_date", "current_key_material_id", "pending_deletion_window_in_days", "signing_algorithms", "mac_algorithms", "key_agreement_algorithms", "valid_to", "expiration_model")
    AWS_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ARN_FIELD_NUMBER: _ClassVar[int]
    CREATION_DATE_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    KEY_USAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_STATE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    KEY_MANAGER_FIELD_NUMBER: _ClassVar[int]
    KEY_SPEC_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    MULTI_REGION_FIELD_NUMBER: _ClassVar[int]
    DELETION_DATE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    PENDING_DELETION_WINDOW_IN_DAYS_FIELD_NUMBER: _ClassVar[int]
    SIGNING_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    MAC_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    KEY_AGREEMENT_ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_MODEL_FIELD_NUMBER: _ClassVar[int]
    aws_account_id: str
    key_id: str
    arn: str
    creation_date: _timestamp_pb2.Timestamp
    enabled: bool
    description: str
    key_usage: KeyUsageType
    key_state: KeyState
    origin: OriginType
    key_manager: KeyManagerType
    key_spec: KeySpec
    encryption_algorithms: _containers.RepeatedScalarFieldContainer[EncryptionAlgorithmSpec]
    multi_region: bool
    deletion_date: _timestamp_pb2.Timestamp
    current_key_material_id: str
    pending_deletion_window_in_days: int
    signing_algorithms: _containers.RepeatedScalarFieldContainer[SigningAlgorithmSpec]
    mac_algorithms: _containers.RepeatedScalarFieldContainer[MacAlgorithmSpec]
    key_agreement_algorithms: _containers.RepeatedScalarFieldContainer[KeyAgreementAlgorithmSpec]
    valid_to: _timestamp_pb2.Timestamp
    expiration_model: ExpirationModelType
    def __init__(self, aws_account_id: _Optional[str] = ..., key_id: _Optional[str] = ..., arn: _Optional[str] = ..., creation_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., enabled: _Optional[bool] = ..., description: _Optional[str] = ..., key_usage: _Optional[_Union[KeyUsageType, str]] = ..., key_state: _Optional[_Union[KeyState, str]] = ..., origin: _Optional[_Union[OriginType, str]] = ..., key_manager: _Optional[_Union[KeyManagerType, str]] = ..., key_spec: _Optional[_Union[KeySpec, str]] = ..., encryption_algorithms: _Optional[_Iterable[_Union[EncryptionAlgorithmSpec, str]]] = ..., multi_region: _Optional[bool] = ..., deletion_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., current_key_material_id: _Optional[str] = ..., pending_deletion_window_in_days: _Optional[int] = ..., signing_algorithms: _Optional[_Iterable[_Union[SigningAlgorithmSpec, str]]] = ..., mac_algorithms: _Optional[_Iterable[_Union[MacAlgorithmSpec, str]]] = ..., key_agreement_algorithms: _Optional[_Iterable[_Union[KeyAgreementAlgorithmSpec, str]]] = ..., valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expiration_model: _Optional[_Union[ExpirationModelType, str]] = ...) -> None: ...

class DescribeKeyRequest(_message.Message):
    __slots__ = ("key_id", "grant_tokens")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key_id: _Optional[str] = ..., grant_tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class DescribeKeyResponse(_message.Message):
    __slots__ = ("key_metadata",)
    KEY_METADATA_FIELD_NUMBER: _ClassVar[int]
    key_metadata: KeyMetadata
    def __init__(self, key_metadata: _Optional[_Union[KeyMetadata, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("limit", "marker")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    limit: int
    marker: str
    def __init__(self, limit: _Optional[int] = ..., marker: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_marker", "truncated")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyListEntry]
    next_marker: str
    truncated: bool
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyListEntry, _Mapping]]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class KeyListEntry(_message.Message):
    __slots__ = ("key_id", "key_arn")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ARN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_arn: str
    def __init__(self, key_id: _Optional[str] = ..., key_arn: _Optional[str] = ...) -> None: ...

class EnableKeyRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class EnableKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DisableKeyRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class DisableKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RotateKeyOnDemandRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class RotateKeyOnDemandResponse(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class ListKeyRotationsRequest(_message.Message):
    __slots__ = ("key_id", "include_key_material", "limit", "marker")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_KEY_MATERIAL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    include_key_material: IncludeKeyMaterial
    limit: int
    marker: str
    def __init__(self, key_id: _Optional[str] = ..., include_key_material: _Optional[_Union[IncludeKeyMaterial, str]] = ..., limit: _Optional[int] = ..., marker: _Optional[str] = ...) -> None: ...

class ListKeyRotationsResponse(_message.Message):
    __slots__ = ("rotations", "next_marker", "truncated")
    ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    rotations: _containers.RepeatedCompositeFieldContainer[RotationsListEntry]
    next_marker: str
    truncated: bool
    def __init__(self, rotations: _Optional[_Iterable[_Union[RotationsListEntry, _Mapping]]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class RotationsListEntry(_message.Message):
    __slots__ = ("key_id", "key_material_id", "key_material_state", "rotation_date", "rotation_type", "import_state", "expiration_model", "valid_to", "key_material_description")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_STATE_FIELD_NUMBER: _ClassVar[int]
    ROTATION_DATE_FIELD_NUMBER: _ClassVar[int]
    ROTATION_TYPE_FIELD_NUMBER: _ClassVar[int]
    IMPORT_STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_MODEL_FIELD_NUMBER: _ClassVar[int]
    VALID_TO_FIELD_NUMBER: _ClassVar[int]
    KEY_MATERIAL_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_material_id: str
    key_material_state: KeyMaterialState
    rotation_date: _timestamp_pb2.Timestamp
    rotation_type: RotationType
    import_state: ImportState
    expiration_model: ExpirationModelType
    valid_to: _timestamp_pb2.Timestamp
    key_material_description: str
    def __init__(self, key_id: _Optional[str] = ..., key_material_id: _Optional[str] = ..., key_material_state: _Optional[_Union[KeyMaterialState, str]] = ..., rotation_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rotation_type: _Optional[_Union[RotationType, str]] = ..., import_state: _Optional[_Union[ImportState, str]] = ..., expiration_model: _Optional[_Union[ExpirationModelType, str]] = ..., valid_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_material_description: _Optional[str] = ...) -> None: ...

class CreateAliasRequest(_message.Message):
    __slots__ = ("alias_name", "target_key_id")
    ALIAS_NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    alias_name: str
    target_key_id: str
    def __init__(self, alias_name: _Optional[str] = ..., target_key_id: _Optional[str] = ...) -> None: ...

class CreateAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateAliasRequest(_message.Message):
    __slots__ = ("alias_name", "target_key_id")
    ALIAS_NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    alias_name: str
    target_key_id: str
    def __init__(self, alias_name: _Optional[str] = ..., target_key_id: _Optional[str] = ...) -> None: ...

class UpdateAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ("alias_name",)
    ALIAS_NAME_FIELD_NUMBER: _ClassVar[int]
    alias_name: str
    def __init__(self, alias_name: _Optional[str] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAliasesRequest(_message.Message):
    __slots__ = ("key_id", "limit", "marker")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    limit: int
    marker: str
    def __init__(self, key_id: _Optional[str] = ..., limit: _Optional[int] = ..., marker: _Optional[str] = ...) -> None: ...

class ListAliasesResponse(_message.Message):
    __slots__ = ("aliases", "next_marker", "truncated")
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[AliasListEntry]
    next_marker: str
    truncated: bool
    def __init__(self, aliases: _Optional[_Iterable[_Union[AliasListEntry, _Mapping]]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class AliasListEntry(_message.Message):
    __slots__ = ("alias_name", "alias_arn", "target_key_id", "creation_date", "last_updated_date")
    ALIAS_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_ARN_FIELD_NUMBER: _ClassVar[int]
    TARGET_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    CREATION_DATE_FIELD_NUMBER: _ClassVar[int]
    LAST_UPDATED_DATE_FIELD_NUMBER: _ClassVar[int]
    alias_name: str
    alias_arn: str
    target_key_id: str
    creation_date: _timestamp_pb2.Timestamp
    last_updated_date: _timestamp_pb2.Timestamp
    def __init__(self, alias_name: _Optional[str] = ..., alias_arn: _Optional[str] = ..., target_key_id: _Optional[str] = ..., creation_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_updated_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ScheduleKeyDeletionRequest(_message.Message):
    __slots__ = ("key_id", "pending_window_in_days")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PENDING_WINDOW_IN_DAYS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    pending_window_in_days: int
    def __init__(self, key_id: _Optional[str] = ..., pending_window_in_days: _Optional[int] = ...) -> None: ...

class ScheduleKeyDeletionResponse(_message.Message):
    __slots__ = ("key_id", "deletion_date", "key_state", "pending_window_in_days")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    DELETION_DATE_FIELD_NUMBER: _ClassVar[int]
    KEY_STATE_FIELD_NUMBER: _ClassVar[int]
    PENDING_WINDOW_IN_DAYS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    deletion_date: _timestamp_pb2.Timestamp
    key_state: KeyState
    pending_window_in_days: int
    def __init__(self, key_id: _Optional[str] = ..., deletion_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_state: _Optional[_Union[KeyState, str]] = ..., pending_window_in_days: _Optional[int] = ...) -> None: ...

class CancelKeyDeletionRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class CancelKeyDeletionResponse(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class EnableKeyRotationRequest(_message.Message):
    __slots__ = ("key_id", "rotation_period_in_days")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ROTATION_PERIOD_IN_DAYS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    rotation_period_in_days: int
    def __init__(self, key_id: _Optional[str] = ..., rotation_period_in_days: _Optional[int] = ...) -> None: ...

class EnableKeyRotationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DisableKeyRotationRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class DisableKeyRotationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetKeyRotationStatusRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class GetKeyRotationStatusResponse(_message.Message):
    __slots__ = ("key_rotation_enabled", "key_id", "rotation_period_in_days", "next_rotation_date", "on_demand_rotation_start_date")
    KEY_ROTATION_ENABLED_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ROTATION_PERIOD_IN_DAYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_ROTATION_DATE_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_ROTATION_START_DATE_FIELD_NUMBER: _ClassVar[int]
    key_rotation_enabled: bool
    key_id: str
    rotation_period_in_days: int
    next_rotation_date: _timestamp_pb2.Timestamp
    on_demand_rotation_start_date: _timestamp_pb2.Timestamp
    def __init__(self, key_rotation_enabled: _Optional[bool] = ..., key_id: _Optional[str] = ..., rotation_period_in_days: _Optional[int] = ..., next_rotation_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., on_demand_rotation_start_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UpdateKeyDescriptionRequest(_message.Message):
    __slots__ = ("key_id", "description")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    description: str
    def __init__(self, key_id: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class UpdateKeyDescriptionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetKeyLastUsageRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class GetKeyLastUsageResponse(_message.Message):
    __slots__ = ("key_id", "key_last_usage", "tracking_start_date", "key_creation_date")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_LAST_USAGE_FIELD_NUMBER: _ClassVar[int]
    TRACKING_START_DATE_FIELD_NUMBER: _ClassVar[int]
    KEY_CREATION_DATE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_last_usage: KeyLastUsage
    tracking_start_date: _timestamp_pb2.Timestamp
    key_creation_date: _timestamp_pb2.Timestamp
    def __init__(self, key_id: _Optional[str] = ..., key_last_usage: _Optional[_Union[KeyLastUsage, _Mapping]] = ..., tracking_start_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_creation_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class KeyLastUsage(_message.Message):
    __slots__ = ("operation", "timestamp", "kms_request_id")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    KMS_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    operation: str
    timestamp: _timestamp_pb2.Timestamp
    kms_request_id: str
    def __init__(self, operation: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kms_request_id: _Optional[str] = ...) -> None: ...

class GetKeyPolicyRequest(_message.Message):
    __slots__ = ("key_id", "policy_name")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    policy_name: str
    def __init__(self, key_id: _Optional[str] = ..., policy_name: _Optional[str] = ...) -> None: ...

class GetKeyPolicyResponse(_message.Message):
    __slots__ = ("policy", "policy_name")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    policy: str
    policy_name: str
    def __init__(self, policy: _Optional[str] = ..., policy_name: _Optional[str] = ...) -> None: ...

class PutKeyPolicyRequest(_message.Message):
    __slots__ = ("key_id", "policy_name", "policy", "bypass_policy_lockout_safety_check")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BYPASS_POLICY_LOCKOUT_SAFETY_CHECK_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    policy_name: str
    policy: str
    bypass_policy_lockout_safety_check: bool
    def __init__(self, key_id: _Optional[str] = ..., policy_name: _Optional[str] = ..., policy: _Optional[str] = ..., bypass_policy_lockout_safety_check: _Optional[bool] = ...) -> None: ...

class PutKeyPolicyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeyPoliciesRequest(_message.Message):
    __slots__ = ("key_id", "limit", "marker")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    limit: int
    marker: str
    def __init__(self, key_id: _Optional[str] = ..., limit: _Optional[int] = ..., marker: _Optional[str] = ...) -> None: ...

class ListKeyPoliciesResponse(_message.Message):
    __slots__ = ("policy_names", "next_marker", "truncated")
    POLICY_NAMES_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    policy_names: _containers.RepeatedScalarFieldContainer[str]
    next_marker: str
    truncated: bool
    def __init__(self, policy_names: _Optional[_Iterable[str]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class CreateGrantRequest(_message.Message):
    __slots__ = ("key_id", "grantee_principal", "retiring_principal", "operations", "constraints", "grant_tokens", "name", "dry_run")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANTEE_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    RETIRING_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    GRANT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    grantee_principal: str
    retiring_principal: str
    operations: _containers.RepeatedScalarFieldContainer[GrantOperation]
    constraints: GrantConstraints
    grant_tokens: _containers.RepeatedScalarFieldContainer[str]
    name: str
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., grantee_principal: _Optional[str] = ..., retiring_principal: _Optional[str] = ..., operations: _Optional[_Iterable[_Union[GrantOperation, str]]] = ..., constraints: _Optional[_Union[GrantConstraints, _Mapping]] = ..., grant_tokens: _Optional[_Iterable[str]] = ..., name: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class GrantConstraints(_message.Message):
    __slots__ = ("encryption_context_subset", "encryption_context_equals")
    class EncryptionContextSubsetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class EncryptionContextEqualsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENCRYPTION_CONTEXT_SUBSET_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_EQUALS_FIELD_NUMBER: _ClassVar[int]
    encryption_context_subset: _containers.ScalarMap[str, str]
    encryption_context_equals: _containers.ScalarMap[str, str]
    def __init__(self, encryption_context_subset: _Optional[_Mapping[str, str]] = ..., encryption_context_equals: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateGrantResponse(_message.Message):
    __slots__ = ("grant_token", "grant_id")
    GRANT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    grant_token: str
    grant_id: str
    def __init__(self, grant_token: _Optional[str] = ..., grant_id: _Optional[str] = ...) -> None: ...

class ListGrantsRequest(_message.Message):
    __slots__ = ("limit", "marker", "key_id", "grant_id", "grantee_principal")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    GRANTEE_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    limit: int
    marker: str
    key_id: str
    grant_id: str
    grantee_principal: str
    def __init__(self, limit: _Optional[int] = ..., marker: _Optional[str] = ..., key_id: _Optional[str] = ..., grant_id: _Optional[str] = ..., grantee_principal: _Optional[str] = ...) -> None: ...

class ListGrantsResponse(_message.Message):
    __slots__ = ("grants", "next_marker", "truncated")
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[GrantListEntry]
    next_marker: str
    truncated: bool
    def __init__(self, grants: _Optional[_Iterable[_Union[GrantListEntry, _Mapping]]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class GrantListEntry(_message.Message):
    __slots__ = ("key_id", "grant_id", "creation_date", "grantee_principal", "issuing_account", "operations", "name", "retiring_principal", "constraints")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATION_DATE_FIELD_NUMBER: _ClassVar[int]
    GRANTEE_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ISSUING_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RETIRING_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    grant_id: str
    creation_date: _timestamp_pb2.Timestamp
    grantee_principal: str
    issuing_account: str
    operations: _containers.RepeatedScalarFieldContainer[GrantOperation]
    name: str
    retiring_principal: str
    constraints: GrantConstraints
    def __init__(self, key_id: _Optional[str] = ..., grant_id: _Optional[str] = ..., creation_date: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., grantee_principal: _Optional[str] = ..., issuing_account: _Optional[str] = ..., operations: _Optional[_Iterable[_Union[GrantOperation, str]]] = ..., name: _Optional[str] = ..., retiring_principal: _Optional[str] = ..., constraints: _Optional[_Union[GrantConstraints, _Mapping]] = ...) -> None: ...

class ListRetirableGrantsRequest(_message.Message):
    __slots__ = ("limit", "marker", "retiring_principal")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    RETIRING_PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    limit: int
    marker: str
    retiring_principal: str
    def __init__(self, limit: _Optional[int] = ..., marker: _Optional[str] = ..., retiring_principal: _Optional[str] = ...) -> None: ...

class ListRetirableGrantsResponse(_message.Message):
    __slots__ = ("grants", "next_marker", "truncated")
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[GrantListEntry]
    next_marker: str
    truncated: bool
    def __init__(self, grants: _Optional[_Iterable[_Union[GrantListEntry, _Mapping]]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class RetireGrantRequest(_message.Message):
    __slots__ = ("grant_token", "key_id", "grant_id", "dry_run")
    GRANT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    grant_token: str
    key_id: str
    grant_id: str
    dry_run: bool
    def __init__(self, grant_token: _Optional[str] = ..., key_id: _Optional[str] = ..., grant_id: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RetireGrantResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeGrantRequest(_message.Message):
    __slots__ = ("key_id", "grant_id", "dry_run")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    grant_id: str
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., grant_id: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RevokeGrantResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TagResourceRequest(_message.Message):
    __slots__ = ("key_id", "tags")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    def __init__(self, key_id: _Optional[str] = ..., tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ...) -> None: ...

class TagResourceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UntagResourceRequest(_message.Message):
    __slots__ = ("key_id", "tag_keys")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    TAG_KEYS_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    tag_keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key_id: _Optional[str] = ..., tag_keys: _Optional[_Iterable[str]] = ...) -> None: ...

class UntagResourceResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListResourceTagsRequest(_message.Message):
    __slots__ = ("key_id", "limit", "marker")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MARKER_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    limit: int
    marker: str
    def __init__(self, key_id: _Optional[str] = ..., limit: _Optional[int] = ..., marker: _Optional[str] = ...) -> None: ...

class ListResourceTagsResponse(_message.Message):
    __slots__ = ("tags", "next_marker", "truncated")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_MARKER_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    next_marker: str
    truncated: bool
    def __init__(self, tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., next_marker: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class ConnectCustomKeyStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConnectCustomKeyStoreResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateCustomKeyStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateCustomKeyStoreResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteCustomKeyStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteCustomKeyStoreResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeCustomKeyStoresRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeCustomKeyStoresResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DisconnectCustomKeyStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DisconnectCustomKeyStoreResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateCustomKeyStoreRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdateCustomKeyStoreResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReplicateKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReplicateKeyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdatePrimaryRegionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UpdatePrimaryRegionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BatchError(_message.Message):
    __slots__ = ("code", "message", "retryable")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retryable: bool
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class BatchReEncryptRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ReEncryptRequest]
    def __init__(self, entries: _Optional[_Iterable[_Union[ReEncryptRequest, _Mapping]]] = ...) -> None: ...

class BatchReEncryptResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchReEncryptResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchReEncryptResult, _Mapping]]] = ...) -> None: ...

class BatchReEncryptResult(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: ReEncryptResponse
    error: BatchError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[ReEncryptResponse, _Mapping]] = ..., error: _Optional[_Union[BatchError, _Mapping]] = ...) -> None: ...

class StreamReEncryptRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[StreamReEncryptEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[StreamReEncryptEntry, _Mapping]]] = ...) -> None: ...

class StreamReEncryptEntry(_message.Message):
    __slots__ = ("number", "request")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    number: int
    request: ReEncryptRequest
    def __init__(self, number: _Optional[int] = ..., request: _Optional[_Union[ReEncryptRequest, _Mapping]] = ...) -> None: ...

class StreamReEncryptResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StreamReEncryptResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StreamReEncryptResult, _Mapping]]] = ...) -> None: ...

class StreamReEncryptResult(_message.Message):
    __slots__ = ("number", "request_id", "response", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    request_id: str
    response: ReEncryptResponse
    error: BatchError
    def __init__(self, number: _Optional[int] = ..., request_id: _Optional[str] = ..., response: _Optional[_Union[ReEncryptResponse, _Mapping]] = ..., error: _Optional[_Union[BatchError, _Mapping]] = ...) -> None: ...

class BatchEncryptRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[EncryptRequest]
    def __init__(self, entries: _Optional[_Iterable[_Union[EncryptRequest, _Mapping]]] = ...) -> None: ...

class BatchEncryptResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchEncryptResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchEncryptResult, _Mapping]]] = ...) -> None: ...

class BatchEncryptResult(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: EncryptResponse
    error: BatchError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[EncryptResponse, _Mapping]] = ..., error: _Optional[_Union[BatchError, _Mapping]] = ...) -> None: ...

class BatchDecryptRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[DecryptRequest]
    def __init__(self, entries: _Optional[_Iterable[_Union[DecryptRequest, _Mapping]]] = ...) -> None: ...

class BatchDecryptResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchDecryptResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchDecryptResult, _Mapping]]] = ...) -> None: ...

class BatchDecryptResult(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: DecryptResponse
    error: BatchError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[DecryptResponse, _Mapping]] = ..., error: _Optional[_Union[BatchError, _Mapping]] = ...) -> None: ...

class BatchGenerateDataKeyRequest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[GenerateDataKeyRequest]
    def __init__(self, entries: _Optional[_Iterable[_Union[GenerateDataKeyRequest, _Mapping]]] = ...) -> None: ...

class BatchGenerateDataKeyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchGenerateDataKeyResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchGenerateDataKeyResult, _Mapping]]] = ...) -> None: ...

class BatchGenerateDataKeyResult(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: GenerateDataKeyResponse
    error: BatchError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[GenerateDataKeyResponse, _Mapping]] = ..., error: _Optional[_Union[BatchError, _Mapping]] = ...) -> None: ...
