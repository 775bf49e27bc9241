"""What each kind of KMS key is: its usages, its algorithms, and what it is on the token. What a token lacks is `features`' to say.

Source: "Key spec reference" of AWS's developer guide and the AWS KMS model 2014-11-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hsmkms.core.ciphertext import CANARY_BYTES, MAC_CANARY_BYTES, MAX_KEY_PROOF_BYTES
from hsmkms.core.features import NEVER, TokenFeatures
from hsmkms.core.material_commands import Oaep, PairSpec, PairUse
from hsmkms.core.model import (
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    KeyUsage,
    KmsKey,
    MacAlgorithm,
    SigningAlgorithm,
)

_RSA: Final = (KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096)
_NIST: Final = (KeySpec.ECC_NIST_P256, KeySpec.ECC_NIST_P384, KeySpec.ECC_NIST_P521)
_HMAC: Final = (KeySpec.HMAC_224, KeySpec.HMAC_256, KeySpec.HMAC_384, KeySpec.HMAC_512)
_ML_DSA: Final = (KeySpec.ML_DSA_44, KeySpec.ML_DSA_65, KeySpec.ML_DSA_87)
_ML_KEM: Final = (KeySpec.ML_KEM_512, KeySpec.ML_KEM_768, KeySpec.ML_KEM_1024)

USAGES: Final[Mapping[KeySpec, tuple[KeyUsage, ...]]] = MappingProxyType(
    {KeySpec.SYMMETRIC_DEFAULT: (KeyUsage.ENCRYPT_DECRYPT,)}
    | dict.fromkeys(_RSA, (KeyUsage.ENCRYPT_DECRYPT, KeyUsage.SIGN_VERIFY))
    | dict.fromkeys(_NIST, (KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT))
    | {KeySpec.ECC_SECG_P256K1: (KeyUsage.SIGN_VERIFY,), KeySpec.ECC_NIST_EDWARDS25519: (KeyUsage.SIGN_VERIFY,)}
    | dict.fromkeys(_HMAC, (KeyUsage.GENERATE_VERIFY_MAC,))
    | {KeySpec.SM2: (KeyUsage.ENCRYPT_DECRYPT, KeyUsage.SIGN_VERIFY, KeyUsage.KEY_AGREEMENT)}
    | dict.fromkeys(_ML_DSA, (KeyUsage.SIGN_VERIFY,))
    | dict.fromkeys(_ML_KEM, (KeyUsage.ENCAPSULATE_DECAPSULATE,))
)
"""The usages that a kind of key can have."""

_ENCRYPTION: Final[Mapping[KeySpec, tuple[EncryptionAlgorithm, ...]]] = {
    KeySpec.SYMMETRIC_DEFAULT: (EncryptionAlgorithm.SYMMETRIC_DEFAULT,),
    **dict.fromkeys(_RSA, (EncryptionAlgorithm.RSAES_OAEP_SHA_1, EncryptionAlgorithm.RSAES_OAEP_SHA_256)),
    KeySpec.SM2: (EncryptionAlgorithm.SM2PKE,),
}
_SIGNING: Final[Mapping[KeySpec, tuple[SigningAlgorithm, ...]]] = {
    **dict.fromkeys(_RSA, tuple(algorithm for algorithm in SigningAlgorithm if algorithm.startswith("RSASSA_"))),
    KeySpec.ECC_NIST_P256: (SigningAlgorithm.ECDSA_SHA_256,),
    KeySpec.ECC_NIST_P384: (SigningAlgorithm.ECDSA_SHA_384,),
    KeySpec.ECC_NIST_P521: (SigningAlgorithm.ECDSA_SHA_512,),
    KeySpec.ECC_SECG_P256K1: (SigningAlgorithm.ECDSA_SHA_256,),
    KeySpec.ECC_NIST_EDWARDS25519: (SigningAlgorithm.ED25519_SHA_512, SigningAlgorithm.ED25519_PH_SHA_512),
    KeySpec.SM2: (SigningAlgorithm.SM2DSA,),
    **dict.fromkeys(_ML_DSA, (SigningAlgorithm.ML_DSA_SHAKE_256,)),
}
_MAC: Final[Mapping[KeySpec, tuple[MacAlgorithm, ...]]] = {
    KeySpec.HMAC_224: (MacAlgorithm.HMAC_SHA_224,),
    KeySpec.HMAC_256: (MacAlgorithm.HMAC_SHA_256,),
    KeySpec.HMAC_384: (MacAlgorithm.HMAC_SHA_384,),
    KeySpec.HMAC_512: (MacAlgorithm.HMAC_SHA_512,),
}

PAIRS: Final[Mapping[KeySpec, PairSpec]] = MappingProxyType({KeySpec[pair.name]: pair for pair in PairSpec})
"""What a key pair is on the token."""
PAIR_USES: Final[Mapping[KeyUsage, PairUse]] = MappingProxyType(
    {
        KeyUsage.ENCRYPT_DECRYPT: PairUse.ENCRYPT,
        KeyUsage.SIGN_VERIFY: PairUse.SIGN,
        KeyUsage.KEY_AGREEMENT: PairUse.AGREE,
    }
)
MAC_KEY_BYTES: Final[Mapping[KeySpec, int]] = MappingProxyType(
    {KeySpec.HMAC_224: 28, KeySpec.HMAC_256: 32, KeySpec.HMAC_384: 48, KeySpec.HMAC_512: 64}
)
"""Lengths of HMAC keys, those of the hashes."""


MODULUS_BYTES: Final[Mapping[KeySpec, int]] = MappingProxyType(
    {KeySpec.RSA_2048: 256, KeySpec.RSA_3072: 384, KeySpec.RSA_4096: 512}
)
OAEP: Final[Mapping[EncryptionAlgorithm, Oaep]] = MappingProxyType(
    {
        EncryptionAlgorithm.RSAES_OAEP_SHA_1: Oaep.SHA_1,
        EncryptionAlgorithm.RSAES_OAEP_SHA_256: Oaep.SHA_256,
    }
)
_HASH_BYTES: Final[Mapping[Oaep, int]] = {Oaep.SHA_1: 20, Oaep.SHA_256: 32}


def missing(features: TokenFeatures, name: str) -> str:
    """Return what a token of these features lacks for something of the API, for the text of a refusal."""
    return features.needs.get(name) or NEVER.get(name) or f"a mechanism for {name}"


def largest_plaintext(spec: KeySpec, algorithm: EncryptionAlgorithm) -> int:
    """Return how many bytes an RSA key encrypts by OAEP at the most (RFC 8017, section 7.1.1): 190 for RSA_2048 and SHA-256."""
    return MODULUS_BYTES[spec] - 2 * _HASH_BYTES[OAEP[algorithm]] - 2


def algorithms(key: KmsKey) -> tuple[str, ...]:
    """Return every algorithm of a key's spec and usage, whatever the token can do."""
    match key.usage:
        case KeyUsage.ENCRYPT_DECRYPT:
            return _ENCRYPTION.get(key.spec, ())
        case KeyUsage.SIGN_VERIFY:
            return _SIGNING.get(key.spec, ())
        case KeyUsage.GENERATE_VERIFY_MAC:
            return _MAC.get(key.spec, ())
        case KeyUsage.KEY_AGREEMENT:
            return tuple(KeyAgreementAlgorithm)
    return ()


def possible_algorithms(key: KmsKey, features: TokenFeatures) -> tuple[str, ...]:
    """Return the algorithms, of whatever kind, that a key can be used with on a token of these features."""
    return (
        *encryption_algorithms(key, features),
        *signing_algorithms(key, features),
        *mac_algorithms(key, features),
        *key_agreement_algorithms(key, features),
    )


def is_possible(algorithm: str, key: KmsKey, features: TokenFeatures) -> bool:
    """Say whether an algorithm is one of a key's `possible_algorithms`."""
    return algorithm in algorithms(key) and (
        algorithm in features.encryption_algorithms
        or algorithm in features.signing_algorithms
        or algorithm in features.mac_algorithms
        or algorithm in features.key_agreement_algorithms
    )


def encryption_algorithms(key: KmsKey, features: TokenFeatures) -> tuple[EncryptionAlgorithm, ...]:
    """Return the encryption algorithms that a key can be used with on a token of these features."""
    if key.usage is not KeyUsage.ENCRYPT_DECRYPT:
        return ()
    return tuple(one for one in _ENCRYPTION.get(key.spec, ()) if one in features.encryption_algorithms)


def signing_algorithms(key: KmsKey, features: TokenFeatures) -> tuple[SigningAlgorithm, ...]:
    """Return the signing algorithms that a key can be used with on a token of these features."""
    if key.usage is not KeyUsage.SIGN_VERIFY:
        return ()
    return tuple(one for one in _SIGNING.get(key.spec, ()) if one in features.signing_algorithms)


def mac_algorithms(key: KmsKey, features: TokenFeatures) -> tuple[MacAlgorithm, ...]:
    """Return the MAC algorithms that a key can be used with on a token of these features."""
    if key.usage is not KeyUsage.GENERATE_VERIFY_MAC:
        return ()
    return tuple(one for one in _MAC.get(key.spec, ()) if one in features.mac_algorithms)


def key_agreement_algorithms(key: KmsKey, features: TokenFeatures) -> tuple[KeyAgreementAlgorithm, ...]:
    """Return the key agreement algorithms that a key can be used with on a token of these features."""
    if key.usage is not KeyUsage.KEY_AGREEMENT:
        return ()
    return tuple(one for one in KeyAgreementAlgorithm if one in features.key_agreement_algorithms)


def is_canary_of(spec: KeySpec, canary: bytes) -> bool:
    """Say whether a canary is as long as those of that kind of key."""
    if spec in PAIRS:
        return 0 < len(canary) <= MAX_KEY_PROOF_BYTES
    return len(canary) == (MAC_CANARY_BYTES if spec in MAC_KEY_BYTES else CANARY_BYTES)
