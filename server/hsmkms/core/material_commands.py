"""Commands that have to do with key pairs, MAC keys and imported material; `Command` is every command there is.

As in `commands`: one frozen dataclass per kind, every field with its length. In a ReEncrypt no plaintext is in any field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Final

from hsmkms.core.commands import (
    Decrypt,
    DestroyBackingKeys,
    Encrypt,
    GenerateBackingKey,
    GenerateDataKey,
    KeyRef,
    ListBackingKeys,
    Load,
    Opcode,
    Random,
    Rewrap,
    Start,
    Statistics,
    Verify,
)


class PairSpec(IntEnum):
    """A kind of key pair, as a frame names it."""

    RSA_2048 = 1
    RSA_3072 = 2
    RSA_4096 = 3
    ECC_NIST_P256 = 4
    ECC_NIST_P384 = 5
    ECC_NIST_P521 = 6
    ECC_SECG_P256K1 = 7
    ECC_NIST_EDWARDS25519 = 8


class PairUse(IntEnum):
    """What a key pair is for: its objects allow that and nothing else."""

    ENCRYPT = 1
    """RSA: unwrap, wrap, encrypt and decrypt, by OAEP only."""
    SIGN = 2
    AGREE = 3


class Oaep(IntEnum):
    """The hash of RSAES-OAEP and of its MGF1 (RFC 8017, section 7.1); the label is empty."""

    SHA_1 = 1
    SHA_256 = 2


class Signing(IntEnum):
    """A signing algorithm, as a frame names it. The token signs digests; the front or the caller hashes, but for Ed25519."""

    RSASSA_PSS_SHA_256 = 1
    RSASSA_PSS_SHA_384 = 2
    RSASSA_PSS_SHA_512 = 3
    RSASSA_PKCS1_V1_5_SHA_256 = 4
    RSASSA_PKCS1_V1_5_SHA_384 = 5
    RSASSA_PKCS1_V1_5_SHA_512 = 6
    ECDSA_SHA_256 = 7
    ECDSA_SHA_384 = 8
    ECDSA_SHA_512 = 9
    ED25519_SHA_512 = 10
    ED25519_PH_SHA_512 = 11


class MacHash(IntEnum):
    """The hash of an HMAC."""

    SHA_224 = 1
    SHA_256 = 2
    SHA_384 = 3
    SHA_512 = 4


class ImportWrapping(IntEnum):
    """How material to be imported is encrypted."""

    OAEP_SHA_1 = 1
    OAEP_SHA_256 = 2
    RSA_AES_SHA_1 = 3
    """An AES key by OAEP with SHA-1, then the material by RFC 5649 under it (PKCS#11 3.0, section 2.1.21)."""
    RSA_AES_SHA_256 = 4


@dataclass(frozen=True, slots=True)
class KeyPairRef:
    """A key pair on the token.

    Args:
        cka_id: 20 bytes: the KMS key's UUID and the version.
        spec: Its kind.
        use: What it is for.
        public_key: DER SubjectPublicKeyInfo (RFC 5280), at most 1,024 bytes: proves that the object on the token is that key.
    """

    cka_id: bytes
    spec: PairSpec
    use: PairUse
    public_key: bytes


@dataclass(frozen=True, slots=True)
class MacKeyRef:
    """An HMAC key on the token.

    Args:
        cka_id: 20 bytes.
        canary: 32 bytes, `GenerateMacKey`'s result: proves that the object on the token is that key.
    """

    cka_id: bytes
    canary: bytes


@dataclass(frozen=True, slots=True)
class RewrapToRsa:
    """Unwrap under a backing key and wrap by OAEP under an RSA public key. Result: the OAEP ciphertext.

    Args:
        source: The backing key it is wrapped under.
        source_digest: 32 bytes.
        wrapped: The wrapped key, 16 to 264 bytes.
        mode: Mode DIRECT or DIRECT_PADDED.
        destination: The RSA key.
        algorithm: The hash of OAEP (`Oaep`).
    """

    opcode: ClassVar[Opcode] = Opcode.REWRAP_TO_RSA
    source: KeyRef
    source_digest: bytes
    wrapped: bytes
    mode: int
    destination: KeyPairRef
    algorithm: int


@dataclass(frozen=True, slots=True)
class RewrapFromRsa:
    """Unwrap by OAEP and wrap under a backing key. The token finds out the length, so the worker makes the header. Result: the ciphertext.

    Args:
        source: The RSA key.
        algorithm: The hash of OAEP (`Oaep`).
        oaep: The OAEP ciphertext: as long as the modulus, 256 to 512 bytes.
        destination: The backing key.
        salt: 16 random bytes for the header.
        context: The destination's encryption context in canonical form.
    """

    opcode: ClassVar[Opcode] = Opcode.REWRAP_FROM_RSA
    source: KeyPairRef
    algorithm: int
    oaep: bytes
    destination: KeyRef
    salt: bytes
    context: bytes


@dataclass(frozen=True, slots=True)
class RewrapRsa:
    """Unwrap by OAEP under one RSA key and wrap by OAEP under another, or the same. Result: the OAEP ciphertext."""

    opcode: ClassVar[Opcode] = Opcode.REWRAP_RSA
    source: KeyPairRef
    algorithm: int
    oaep: bytes
    destination: KeyPairRef
    destination_algorithm: int


@dataclass(frozen=True, slots=True)
class VerifyRsa:
    """Unwrap by OAEP, and keep nothing. Result: empty."""

    opcode: ClassVar[Opcode] = Opcode.VERIFY_RSA
    source: KeyPairRef
    algorithm: int
    oaep: bytes


@dataclass(frozen=True, slots=True)
class EncryptRsa:
    """Encrypt by OAEP. Result: the OAEP ciphertext.

    Args:
        destination: The RSA key.
        algorithm: The hash of OAEP (`Oaep`).
        plaintext: 1 to 470 bytes.
    """

    opcode: ClassVar[Opcode] = Opcode.ENCRYPT_RSA
    destination: KeyPairRef
    algorithm: int
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DecryptRsa:
    """Decrypt by OAEP. Result: the plaintext."""

    opcode: ClassVar[Opcode] = Opcode.DECRYPT_RSA
    source: KeyPairRef
    algorithm: int
    oaep: bytes


@dataclass(frozen=True, slots=True)
class GenerateDataKeyPair:
    """Make a key pair of session objects and wrap its private key in mode PRIVATE_KEY.

    Result: three fields, each after its length (u32): the public key (DER SubjectPublicKeyInfo), the body of the ciphertext, and the
    private key (DER PKCS#8) or nothing.

    Args:
        destination: The backing key.
        header: The ciphertext's 48 bytes of header: mode PRIVATE_KEY, length 0, the key type of `spec`.
        context: The encryption context in canonical form.
        spec: The kind of key pair (`PairSpec`).
        with_plaintext: 1 to return the private key too, else 0.
    """

    opcode: ClassVar[Opcode] = Opcode.GENERATE_DATA_KEY_PAIR
    destination: KeyRef
    header: bytes
    context: bytes
    spec: int
    with_plaintext: int


@dataclass(frozen=True, slots=True)
class GenerateKeyPair:
    """Generate a key pair as token objects. Result: the public key, DER SubjectPublicKeyInfo.

    As `GenerateBackingKey`: what an interrupted generation left under this CKA_ID and label is destroyed first.

    Args:
        cka_id: 20 bytes.
        spec: Its kind (`PairSpec`).
        use: What it is for (`PairUse`).
        label: The deployment's label.
    """

    opcode: ClassVar[Opcode] = Opcode.GENERATE_KEY_PAIR
    cka_id: bytes
    spec: int
    use: int
    label: bytes


@dataclass(frozen=True, slots=True)
class GenerateMacKey:
    """Generate an HMAC key as a token object. Result: its canary, 32 bytes.

    That is the HMAC of a public value with the hash of the key's length, cut at 32 bytes or filled up with zeros: SoftHSM makes no HMAC
    with a key that is shorter than the hash.

    Args:
        cka_id: 20 bytes.
        length: Its length in bytes: 28, 32, 48 or 64.
        label: The deployment's label.
    """

    opcode: ClassVar[Opcode] = Opcode.GENERATE_MAC_KEY
    cka_id: bytes
    length: int
    label: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign. Result: the signature, for ECDSA in DER (RFC 3279, section 2.2.3).

    Args:
        key: The key pair.
        algorithm: `Signing`.
        message: What the token signs: the digest, of the algorithm's length; for ED25519_SHA_512 the message, 1 to 4,096 bytes.
    """

    opcode: ClassVar[Opcode] = Opcode.SIGN
    key: KeyPairRef
    algorithm: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifySignature:
    """Check a signature on the token. Result: one byte, 1 if it is valid, else 0. Fields as in `Sign`; the signature: 1 to 6,144 bytes."""

    opcode: ClassVar[Opcode] = Opcode.VERIFY_SIGNATURE
    key: KeyPairRef
    algorithm: int
    message: bytes = field(repr=False)
    signature: bytes


@dataclass(frozen=True, slots=True)
class Mac:
    """Make a MAC. Result: the MAC.

    Args:
        key: The HMAC key.
        algorithm: `MacHash`.
        message: 1 to 4,096 bytes.
    """

    opcode: ClassVar[Opcode] = Opcode.MAC
    key: MacKeyRef
    algorithm: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifyMac:
    """Check a MAC. Result: one byte, 1 if it is valid, else 0. Fields as in `Mac`; the MAC: 1 to 6,144 bytes."""

    opcode: ClassVar[Opcode] = Opcode.VERIFY_MAC
    key: MacKeyRef
    algorithm: int
    message: bytes = field(repr=False)
    mac: bytes


@dataclass(frozen=True, slots=True)
class Agree:
    """Derive a shared secret. Result: the x coordinate, as long as the curve's field.

    Args:
        key: The key pair.
        public_key: The other's, DER SubjectPublicKeyInfo, at most 8,192 bytes.
    """

    opcode: ClassVar[Opcode] = Opcode.AGREE
    key: KeyPairRef
    public_key: bytes


@dataclass(frozen=True, slots=True)
class GenerateImportPair:
    """Make an RSA key pair for import, of session objects, and wrap its private key under a service key as in mode PRIVATE_KEY.

    Result: two fields, each after its length (u32): the public key (DER SubjectPublicKeyInfo), and the wrapped private key.

    Args:
        service: The service key.
        digest: 32 bytes to derive the wrapping key from: they bind what the import token says.
        spec: RSA_2048, RSA_3072 or RSA_4096 (`PairSpec`).
    """

    opcode: ClassVar[Opcode] = Opcode.GENERATE_IMPORT_PAIR
    service: KeyRef
    digest: bytes
    spec: int


@dataclass(frozen=True, slots=True)
class ImportKey:
    """Unwrap material into a backing key or key pair of token objects. Result: its canary, or its public key (DER).

    The material is proven before a token object is made: exactly 32 bytes, or a private key of that kind; and, if `expected` is not
    empty, the material that made it. Objects of that CKA_ID and label that are there already are replaced only then.

    Args:
        service: The service key.
        digest: 32 bytes: those of `GenerateImportPair`.
        wrapped: The wrapped private key of the import pair, at most 2,608 bytes.
        wrapping: How the material is encrypted (`ImportWrapping`).
        material: The encrypted material, at most 6,144 bytes.
        cka_id: 20 bytes: of the key to be made.
        kind: 0 for an AES-256 backing key, else the `PairSpec`.
        suite: The derivation of a backing key (`Suite`), else 0.
        use: What a key pair is for (`PairUse`), else 0.
        expected: The canary or public key that it must have, at most 1,024 bytes; empty if it is new.
        label: The deployment's label.
    """

    opcode: ClassVar[Opcode] = Opcode.IMPORT_KEY
    service: KeyRef
    digest: bytes
    wrapped: bytes
    wrapping: int
    material: bytes
    cka_id: bytes
    kind: int
    suite: int
    use: int
    expected: bytes
    label: bytes


Command = (
    Rewrap
    | Verify
    | Encrypt
    | Decrypt
    | GenerateDataKey
    | Random
    | Load
    | GenerateBackingKey
    | DestroyBackingKeys
    | ListBackingKeys
    | Statistics
    | Start
    | RewrapToRsa
    | RewrapFromRsa
    | RewrapRsa
    | VerifyRsa
    | EncryptRsa
    | DecryptRsa
    | GenerateDataKeyPair
    | GenerateKeyPair
    | GenerateMacKey
    | Sign
    | VerifySignature
    | Mac
    | VerifyMac
    | Agree
    | GenerateImportPair
    | ImportKey
)

SESSION_ONLY: Final = frozenset(
    {
        Opcode.REWRAP,
        Opcode.VERIFY,
        Opcode.ENCRYPT,
        Opcode.DECRYPT,
        Opcode.GENERATE_DATA_KEY,
        Opcode.RANDOM,
        Opcode.REWRAP_TO_RSA,
        Opcode.REWRAP_FROM_RSA,
        Opcode.REWRAP_RSA,
        Opcode.VERIFY_RSA,
        Opcode.ENCRYPT_RSA,
        Opcode.DECRYPT_RSA,
        Opcode.GENERATE_DATA_KEY_PAIR,
        Opcode.SIGN,
        Opcode.VERIFY_SIGNATURE,
        Opcode.MAC,
        Opcode.VERIFY_MAC,
        Opcode.AGREE,
        Opcode.GENERATE_IMPORT_PAIR,
    }
)
"""Commands that touch session objects only, and so may be tried again on another worker."""
