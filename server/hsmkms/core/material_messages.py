"""Requests and responses of the operations on key pairs, MAC keys and imported material: `messages` lists them with all the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hsmkms.core import request_members as common
from hsmkms.core.members import member
from hsmkms.core.model import (
    DataKeyPairSpec,
    EncryptionAlgorithm,
    ExpirationModel,
    ImportType,
    KeyAgreementAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    MessageType,
    Origin,
    SigningAlgorithm,
    WrappingAlgorithm,
    WrappingKeySpec,
)

_MATERIAL_ID = r"^[a-f0-9]+$"


def _key_pair_spec() -> Any:
    return member("kind of key pair", required=True, choices=tuple(DataKeyPairSpec), placeholder="SPEC")


def _message(doc: str) -> Any:
    return member(doc, required=True, minimum=1, maximum=4096, sensitive=True, placeholder="BLOB")


def _signing_algorithm() -> Any:
    return member("signing algorithm", required=True, choices=tuple(SigningAlgorithm))


def _message_type() -> Any:
    return member("what the message is (default RAW: the message itself; DIGEST: its hash)", choices=tuple(MessageType))


def _mac_algorithm() -> Any:
    return member("MAC algorithm", required=True, choices=tuple(MacAlgorithm))


def _material_id(doc: str) -> Any:
    return member(doc, minimum=64, maximum=64, pattern=_MATERIAL_ID, placeholder="ID")


def _public_key(doc: str) -> Any:
    return member(doc, required=True, minimum=1, maximum=8192, placeholder="BLOB")


@dataclass(frozen=True, slots=True)
class GetPublicKeyRequest:
    """Return the public key of an asymmetric KMS key."""

    key_id: str | None = common.key_id(f"the key: {common.KEY_FORMS}")
    grant_tokens: tuple[str, ...] = common.grant_tokens()


@dataclass(frozen=True, slots=True)
class GetPublicKeyResponse:
    """The public key, and what it may be used for."""

    key_id: str
    public_key: bytes
    key_spec: KeySpec
    key_usage: KeyUsage
    encryption_algorithms: tuple[EncryptionAlgorithm, ...] = ()
    signing_algorithms: tuple[SigningAlgorithm, ...] = ()
    key_agreement_algorithms: tuple[KeyAgreementAlgorithm, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerateDataKeyPairRequest:
    """Make a key pair: its private key in plaintext, and encrypted under a KMS key."""

    key_id: str | None = common.key_id(f"the symmetric key to encrypt the private key under: {common.KEY_FORMS}")
    key_pair_spec: str | None = _key_pair_spec()
    encryption_context: Mapping[str, str] = common.context("encryption context")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class GenerateDataKeyPairResponse:
    """The key pair; the private key twice: encrypted, and in plaintext."""

    private_key_ciphertext_blob: bytes
    private_key_plaintext: bytes = field(repr=False)
    public_key: bytes
    key_id: str
    key_pair_spec: DataKeyPairSpec
    key_material_id: str | None = None


@dataclass(frozen=True, slots=True)
class GenerateDataKeyPairWithoutPlaintextRequest:
    """Make a key pair and return its private key only encrypted under a KMS key."""

    key_id: str | None = common.key_id(f"the symmetric key to encrypt the private key under: {common.KEY_FORMS}")
    key_pair_spec: str | None = _key_pair_spec()
    encryption_context: Mapping[str, str] = common.context("encryption context")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class GenerateDataKeyPairWithoutPlaintextResponse:
    """The key pair; the private key encrypted."""

    private_key_ciphertext_blob: bytes
    public_key: bytes
    key_id: str
    key_pair_spec: DataKeyPairSpec
    key_material_id: str | None = None


@dataclass(frozen=True, slots=True)
class GetParametersForImportRequest:
    """Return what one's own key material is encrypted with to be imported: a public key and an import token, good for 24 hours."""

    key_id: str | None = common.key_only()
    wrapping_algorithm: str | None = member(
        "how the material will be encrypted; RSA_AES_KEY_WRAP_… for private keys",
        required=True,
        choices=tuple(WrappingAlgorithm),
    )
    wrapping_key_spec: str | None = member("kind of wrapping key", required=True, choices=tuple(WrappingKeySpec))


@dataclass(frozen=True, slots=True)
class GetParametersForImportResponse:
    """The public key, the import token, and until when they are good."""

    key_id: str
    import_token: bytes
    public_key: bytes = field(repr=False)
    parameters_valid_to: datetime


@dataclass(frozen=True, slots=True)
class ImportKeyMaterialRequest:
    """Give a KMS key of origin EXTERNAL its material; it is decrypted on the token."""

    key_id: str | None = common.key_only()
    import_token: bytes | None = common.blob("the import token that came with the public key")
    encrypted_key_material: bytes | None = common.blob("the material, encrypted under the public key")
    valid_to: datetime | None = common.time(  # noqa: RUF009  # a member is declared, as in every line here
        "when the material expires, within 365 days"
    )
    expiration_model: str | None = member(
        "whether the material expires (default KEY_MATERIAL_EXPIRES, which needs ValidTo)",
        choices=tuple(ExpirationModel),
    )
    import_type: str | None = member(
        "whether the material is new to the key (the default for a key that never had any) or was imported before",
        choices=tuple(ImportType),
    )
    key_material_description: str | None = member(
        "what the material is, 256 characters at most; not secret",
        minimum=0,
        maximum=256,
        pattern=r"^[a-zA-Z0-9:/_\s.-]+$",
    )
    key_material_id: str | None = _material_id("which material this is; not with NEW_KEY_MATERIAL")


@dataclass(frozen=True, slots=True)
class ImportKeyMaterialResponse:
    """The key, and the id of the material."""

    key_id: str
    key_material_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteImportedKeyMaterialRequest:
    """Take imported material from the token; the same material can be imported again."""

    key_id: str | None = common.key_only()
    key_material_id: str | None = _material_id("which material (default: the current one)")


@dataclass(frozen=True, slots=True)
class DeleteImportedKeyMaterialResponse:
    """The key, and the id of the material that is gone."""

    key_id: str
    key_material_id: str | None = None


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Sign a message, or its digest, with an asymmetric KMS key."""

    key_id: str | None = common.key_id(f"the key to sign with: {common.KEY_FORMS}")
    message: bytes | None = _message("the message, or its digest (1 to 4096 bytes)")
    message_type: str | None = _message_type()
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    signing_algorithm: str | None = _signing_algorithm()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class SignResponse:
    """The signature: for RSA as in RFC 8017, for ECDSA a DER Ecdsa-Sig-Value (RFC 3279, section 2.2.3)."""

    key_id: str
    signature: bytes
    signing_algorithm: SigningAlgorithm


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Check a signature with an asymmetric KMS key."""

    key_id: str | None = common.key_id(f"the key that signed: {common.KEY_FORMS}")
    message: bytes | None = _message("the message, or its digest (1 to 4096 bytes)")
    message_type: str | None = _message_type()
    signature: bytes | None = common.blob("the signature")
    signing_algorithm: str | None = _signing_algorithm()
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class VerifyResponse:
    """That the signature is valid; one that is not gives KMSInvalidSignatureException."""

    key_id: str
    signature_valid: bool
    signing_algorithm: SigningAlgorithm


@dataclass(frozen=True, slots=True)
class GenerateMacRequest:
    """Make the MAC of a message with an HMAC KMS key."""

    message: bytes | None = _message("the message (1 to 4096 bytes)")
    key_id: str | None = common.key_id(f"the HMAC key: {common.KEY_FORMS}")
    mac_algorithm: str | None = _mac_algorithm()
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class GenerateMacResponse:
    """The MAC."""

    mac: bytes
    mac_algorithm: MacAlgorithm
    key_id: str


@dataclass(frozen=True, slots=True)
class VerifyMacRequest:
    """Check the MAC of a message with an HMAC KMS key."""

    message: bytes | None = _message("the message (1 to 4096 bytes)")
    key_id: str | None = common.key_id(f"the HMAC key: {common.KEY_FORMS}")
    mac_algorithm: str | None = _mac_algorithm()
    mac: bytes | None = common.blob("the MAC")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class VerifyMacResponse:
    """That the MAC is valid; one that is not gives KMSInvalidMacException."""

    key_id: str
    mac_valid: bool
    mac_algorithm: MacAlgorithm


@dataclass(frozen=True, slots=True)
class DeriveSharedSecretRequest:
    """Derive the secret that an elliptic-curve KMS key shares with another's public key."""

    key_id: str | None = common.key_id(f"the key: {common.KEY_FORMS}")
    key_agreement_algorithm: str | None = member(
        "key agreement algorithm", required=True, choices=tuple(KeyAgreementAlgorithm)
    )
    public_key: bytes | None = _public_key("the other's public key on the same curve, DER SubjectPublicKeyInfo")
    grant_tokens: tuple[str, ...] = common.grant_tokens()
    dry_run: bool | None = common.dry_run()


@dataclass(frozen=True, slots=True)
class DeriveSharedSecretResponse:
    """The shared secret: the x coordinate (SP 800-56A, section 5.7.1.2)."""

    key_id: str
    shared_secret: bytes = field(repr=False)
    key_agreement_algorithm: KeyAgreementAlgorithm
    key_origin: Origin


@dataclass(frozen=True, slots=True)
class EncapsulateRequest:
    """Encapsulate a shared secret: needs ML-KEM, and is refused."""


@dataclass(frozen=True, slots=True)
class DecapsulateRequest:
    """Decapsulate a shared secret: needs ML-KEM, and is refused."""
