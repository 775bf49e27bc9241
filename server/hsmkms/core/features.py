"""What the KMS can do with a token: the capabilities that its worker measured, in the words of the API.

What is not here is missing from DescribeKey's algorithms, refused by name where it is asked for, and never done in software instead.
`TokenFeatures.from_capabilities` is the one place that says which capability each feature needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from hsmkms.core.ciphertext import Suite
from hsmkms.core.material_commands import MacHash, PairSpec
from hsmkms.core.model import (
    DataKeyPairSpec,
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    MacAlgorithm,
    SigningAlgorithm,
    WrappingAlgorithm,
)

Name = TypeVar("Name", bound=StrEnum)
_Conditions = tuple[tuple[bool, str], ...]
"""What a feature needs: whether it is there, and how it is called."""

_NO_SM2: Final = "(a vendor's: PKCS#11 has no standard one, and no vendor's has been proven with this version)"
_ML_DSA: Final = "CKM_ML_DSA (PKCS#11 3.2), which this version does not drive"
_ML_KEM: Final = "CKM_ML_KEM (PKCS#11 3.2), which this version does not drive"
NEVER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SM2": f"SM2 mechanisms {_NO_SM2}",
        "SM2PKE": f"an SM2 encryption mechanism {_NO_SM2}",
        "SM2DSA": f"an SM2 signature mechanism {_NO_SM2}",
        "ML_DSA_SHAKE_256": _ML_DSA,
        **dict.fromkeys(("ML_DSA_44", "ML_DSA_65", "ML_DSA_87"), _ML_DSA),
        **dict.fromkeys(("ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"), _ML_KEM),
        "ED25519_PH_SHA_512": "CKM_EDDSA with the parameters of Ed25519ph (PKCS#11 3.0), which this version does not drive",
        "RSAES_PKCS1_V1_5": "CKM_RSA_PKCS for unwrapping, which this service does not use (nor does AWS KMS any more)",
    }
)
"""What this version has on no token."""
_PAIR_MECHANISMS: Final[Mapping[PairSpec, str]] = MappingProxyType(
    {
        PairSpec.RSA_2048: "CKM_RSA_PKCS_KEY_PAIR_GEN of 2048 bits",
        PairSpec.RSA_3072: "CKM_RSA_PKCS_KEY_PAIR_GEN of 3072 bits",
        PairSpec.RSA_4096: "CKM_RSA_PKCS_KEY_PAIR_GEN of 4096 bits",
        PairSpec.ECC_NIST_P256: "CKM_EC_KEY_PAIR_GEN on P-256",
        PairSpec.ECC_NIST_P384: "CKM_EC_KEY_PAIR_GEN on P-384",
        PairSpec.ECC_NIST_P521: "CKM_EC_KEY_PAIR_GEN on P-521",
        PairSpec.ECC_SECG_P256K1: "CKM_EC_KEY_PAIR_GEN on secp256k1",
        PairSpec.ECC_NIST_EDWARDS25519: "CKM_EC_EDWARDS_KEY_PAIR_GEN (PKCS#11 3.0) of Ed25519",
    }
)
_ECDSA: Final[Mapping[SigningAlgorithm, tuple[PairSpec, ...]]] = MappingProxyType(
    {
        SigningAlgorithm.ECDSA_SHA_256: (PairSpec.ECC_NIST_P256, PairSpec.ECC_SECG_P256K1),
        SigningAlgorithm.ECDSA_SHA_384: (PairSpec.ECC_NIST_P384,),
        SigningAlgorithm.ECDSA_SHA_512: (PairSpec.ECC_NIST_P521,),
    }
)
_SIGNING_MECHANISMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "RSASSA_PSS": "CKM_RSA_PKCS_PSS",
        "RSASSA_PKCS1": "CKM_RSA_PKCS",
        "ECDSA": "CKM_ECDSA",
        "ED25519": "CKM_EDDSA (PKCS#11 3.0)",
    }
)
"""By the beginning of an algorithm's name."""
_RSA: Final = (PairSpec.RSA_2048, PairSpec.RSA_3072, PairSpec.RSA_4096)
_NIST: Final = (PairSpec.ECC_NIST_P256, PairSpec.ECC_NIST_P384, PairSpec.ECC_NIST_P521)
_DERIVATION: Final = "CKM_AES_CBC_ENCRYPT_DATA or CKM_SP800_108_COUNTER_KDF with AES-CMAC"


@dataclass(frozen=True, slots=True)
class TokenFeatures:
    """The features.

    Args:
        suites: Derivations that the token can run.
        seals_directly: Whether plaintexts may go in and out of the token as objects (modes DIRECT and DIRECT_PADDED).
        wraps_padded: Whether the token has the true RFC 5649 (mode DIRECT_PADDED).
        proves_lengths: Whether the token tells the length of what it unwrapped.
        proves_aes_lengths: Whether 16, 24 and 32 bytes that an RSA key unwrapped can be told from other lengths all the same.
        key_specs: Kinds of KMS key that can be generated.
        imported_specs: Kinds of KMS key whose material can be imported.
        key_pair_specs: Kinds of data key pair.
        encryption_algorithms: Of any key.
        signing_algorithms: Of any key.
        mac_algorithms: Of any key.
        key_agreement_algorithms: Of any key.
        wrapping_algorithms: For import.
        needs: What the token lacks for a feature, by the API's name of the feature: for the text of a refusal, for example
            {"RSAES_OAEP_SHA_256": "CKM_RSA_PKCS_OAEP with SHA-256"}.
    """

    suites: frozenset[Suite]
    seals_directly: bool = True
    wraps_padded: bool = False
    proves_lengths: bool = False
    proves_aes_lengths: bool = False
    key_specs: frozenset[KeySpec] = frozenset({KeySpec.SYMMETRIC_DEFAULT})
    imported_specs: frozenset[KeySpec] = frozenset()
    key_pair_specs: frozenset[DataKeyPairSpec] = frozenset()
    encryption_algorithms: frozenset[EncryptionAlgorithm] = frozenset({EncryptionAlgorithm.SYMMETRIC_DEFAULT})
    signing_algorithms: frozenset[SigningAlgorithm] = frozenset()
    mac_algorithms: frozenset[MacAlgorithm] = frozenset()
    key_agreement_algorithms: frozenset[KeyAgreementAlgorithm] = frozenset()
    wrapping_algorithms: frozenset[WrappingAlgorithm] = frozenset()
    needs: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def from_capabilities(cls, found: Mapping[str, Any]) -> TokenFeatures:
        """Return what these capabilities give.

        Args:
            found: The probe's findings by name (`hsmkms.hsm.capabilities`, as `TokenDescription.capabilities` holds them). One that is
                not there is one that was not found.
        """
        return _Mapping(found).features()


class _Mapping:
    """From the findings of one probe to the features; collects what is missing on the way."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found
        self._needs: dict[str, str] = dict(NEVER)

    def features(self) -> TokenFeatures:
        suites = (Suite.AES_CBC_ENCRYPT_DATA, "suite_1"), (Suite.SP800_108_CMAC_COUNTER, "suite_2")
        seals_directly = self._has("created_objects") and self._has("readable_objects")
        wrapping = self._kept(self._wrapping_algorithms())
        return TokenFeatures(
            suites=frozenset(suite for suite, name in suites if self._has(name)),
            seals_directly=seals_directly,
            wraps_padded=seals_directly and self._has("aes_key_wrap_padded"),
            proves_lengths=self._has("value_len_after_unwrap"),
            proves_aes_lengths=self._has("value_len_after_unwrap") or self._has("aes_length_by_use"),
            key_specs=self._kept(self._key_specs()),
            imported_specs=self._kept(self._imported_specs(wrapping)),
            key_pair_specs=self._kept(self._key_pair_specs()),
            encryption_algorithms=self._kept(self._encryption_algorithms()),
            signing_algorithms=self._kept(self._signing_algorithms()),
            mac_algorithms=self._kept({MacAlgorithm[f"HMAC_{one.name}"]: self._hmac(one) for one in MacHash}),
            key_agreement_algorithms=self._kept({KeyAgreementAlgorithm.ECDH: self._agrees()}),
            wrapping_algorithms=wrapping,
            needs=MappingProxyType(self._needs),
        )

    def _kept(self, conditions: Mapping[Name, _Conditions]) -> frozenset[Name]:
        """Return the names whose conditions all hold; the first thing that another one lacks is noted."""
        kept = set()
        for name, needed in conditions.items():
            missing = [text for holds, text in needed if not holds]
            if missing:
                self._needs.setdefault(str(name), missing[0])
            else:
                kept.add(name)
        return frozenset(kept)

    def _has(self, name: str) -> bool:
        return bool(self._found.get(name))

    def _listed(self, name: str) -> frozenset[str]:
        return frozenset(str(self._found.get(name) or "").split())

    def _symmetric(self) -> _Conditions:
        return (
            (self._has("suite_1") or self._has("suite_2"), _DERIVATION),
            (self._has("aes_key_wrap"), "CKM_AES_KEY_WRAP that is RFC 3394"),
            (self._has("created_objects"), "C_CreateObject of a secret key, which canaries are made from"),
        )

    def _generated(self, pair: PairSpec) -> _Conditions:
        return ((pair.name in self._listed("key_pairs"), _PAIR_MECHANISMS[pair]),)

    def _one_of(self, pairs: tuple[PairSpec, ...]) -> _Conditions:
        return () if any(pair.name in self._listed("key_pairs") for pair in pairs) else self._generated(pairs[0])

    def _hmac(self, one: MacHash) -> _Conditions:
        return ((one.name in self._listed("mac_hashes"), f"CKM_{one.name.replace('_', '')}_HMAC"),)

    def _oaep(self, name: str) -> _Conditions:
        bits = 256 if name.endswith("SHA_256") else 1
        mechanism = f"CKM_RSA_PKCS_OAEP with SHA-{bits}"
        return (
            *self._one_of(_RSA),
            (self._has(f"oaep_sha{bits}"), mechanism),
            (self._has(f"oaep_sha{bits}_encrypts"), f"{mechanism} for C_Encrypt and C_Decrypt"),
        )

    def _key_specs(self) -> dict[KeySpec, _Conditions]:
        return (
            {KeySpec.SYMMETRIC_DEFAULT: self._symmetric()}
            | {KeySpec[pair.name]: self._generated(pair) for pair in PairSpec}
            | {KeySpec[f"HMAC_{one.name.removeprefix('SHA_')}"]: self._hmac(one) for one in MacHash}
        )

    def _encryption_algorithms(self) -> dict[EncryptionAlgorithm, _Conditions]:
        oaep = (EncryptionAlgorithm.RSAES_OAEP_SHA_1, EncryptionAlgorithm.RSAES_OAEP_SHA_256)
        symmetric = (*self._symmetric(), (self._has("aes_gcm"), "CKM_AES_GCM with a 12-byte nonce and a 16-byte tag"))
        return {EncryptionAlgorithm.SYMMETRIC_DEFAULT: symmetric} | {name: self._oaep(name) for name in oaep}

    def _signing_algorithms(self) -> dict[SigningAlgorithm, _Conditions]:
        edwards = self._generated(PairSpec.ECC_NIST_EDWARDS25519)
        pairs = (
            {name: self._one_of(_RSA) for name in SigningAlgorithm if name.startswith("RSASSA_")}
            | {name: self._one_of(pairs) for name, pairs in _ECDSA.items()}
            | {SigningAlgorithm.ED25519_SHA_512: edwards}
        )
        return {name: (*needed, self._signs(name)) for name, needed in pairs.items()}

    def _signs(self, name: SigningAlgorithm) -> tuple[bool, str]:
        mechanism = next(mechanism for prefix, mechanism in _SIGNING_MECHANISMS.items() if name.startswith(prefix))
        return name in self._listed("signing_algorithms"), f"{mechanism} for {name}"

    def _agrees(self) -> _Conditions:
        agreeing = any(pair.name in self._listed("agreeing_key_pairs") for pair in _NIST)
        return (*self._one_of(_NIST), (agreeing, "CKM_ECDH1_DERIVE"))

    def _key_pair_specs(self) -> dict[DataKeyPairSpec, _Conditions]:
        return {
            DataKeyPairSpec[pair.name]: (*self._symmetric(), *self._generated(pair), self._wraps_private(pair))
            for pair in PairSpec
        }

    def _wraps_private(self, pair: PairSpec) -> tuple[bool, str]:
        return pair.name in self._listed(
            "wrapped_private_keys"
        ), f"key wrap with padding (RFC 5649) of a private key ({pair.name})"

    def _wrapping_algorithms(self) -> dict[WrappingAlgorithm, _Conditions]:
        pairs = self._listed("wrapped_private_keys")
        pair = () if any(one.name in pairs for one in _RSA) else (self._wraps_private(PairSpec.RSA_2048),)
        padded = (self._has("aes_key_unwrap_padded"), "key unwrap with padding (RFC 5649)")
        return {
            name: (*self._symmetric(), *self._oaep(name), *pair, *((padded,) if name.startswith("RSA_AES") else ()))
            for name in WrappingAlgorithm
            if name.startswith(("RSAES_OAEP", "RSA_AES"))
        }

    def _imported_specs(self, wrapping: frozenset[WrappingAlgorithm]) -> dict[KeySpec, _Conditions]:
        by_name = [name for name in self._wrapping_algorithms() if name not in wrapping]
        none = (bool(wrapping), self._needs[by_name[0]] if by_name else "")
        hybrid = any(name.startswith("RSA_AES") for name in wrapping)
        told = self._has("value_len_after_unwrap") or self._has("aes_length_by_use")
        return {KeySpec.SYMMETRIC_DEFAULT: (none, (told, "the length of an unwrapped key (CKA_VALUE_LEN)"))} | {
            KeySpec[pair.name]: (
                none,
                (hybrid, "key unwrap with padding (RFC 5649)"),
                (pair.name in self._listed("imported_key_pairs"), f"C_UnwrapKey of a private key ({pair.name})"),
            )
            for pair in PairSpec
        }
