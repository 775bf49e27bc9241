"""What each kind of key pair and HMAC key is in PKCS#11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hsmkms.core.ciphertext import KeyType
from hsmkms.core.material_commands import MacHash, PairSpec, PairUse
from hsmkms.hsm.constants import CKK, CKM


@dataclass(frozen=True, slots=True)
class PairKind:
    """A kind of key pair.

    Args:
        key_type: `CKA_KEY_TYPE`.
        generation: The mechanism that generates it.
        bits: Of the modulus, or of the curve's field.
        curve: `CKA_EC_PARAMS`: the curve's object identifier in DER; empty for RSA.
        sealed_as: How mode PRIVATE_KEY names its private key.
        allowed: By use, the mechanisms of `CKA_ALLOWED_MECHANISMS`; a use that is missing is not to be had.
    """

    key_type: CKK
    generation: CKM
    bits: int
    curve: bytes
    sealed_as: KeyType
    allowed: Mapping[PairUse, tuple[CKM, ...]]

    @property
    def coordinate_bytes(self) -> int:
        """Return the length of the modulus, or of a coordinate of a point."""
        return (self.bits + 7) // 8


def _rsa(bits: int) -> PairKind:
    return PairKind(
        CKK.RSA,
        CKM.RSA_PKCS_KEY_PAIR_GEN,
        bits,
        b"",
        KeyType.RSA,
        {PairUse.ENCRYPT: (CKM.RSA_PKCS_OAEP,), PairUse.SIGN: (CKM.RSA_PKCS, CKM.RSA_PKCS_PSS)},
    )


def _ec(bits: int, curve: str, *, agrees: bool = True) -> PairKind:
    allowed: dict[PairUse, tuple[CKM, ...]] = {PairUse.SIGN: (CKM.ECDSA,)}
    if agrees:
        allowed[PairUse.AGREE] = (CKM.ECDH1_DERIVE,)
    return PairKind(CKK.EC, CKM.EC_KEY_PAIR_GEN, bits, bytes.fromhex(curve), KeyType.EC, allowed)


PAIR_KINDS: Final[Mapping[PairSpec, PairKind]] = MappingProxyType(
    {
        PairSpec.RSA_2048: _rsa(2048),
        PairSpec.RSA_3072: _rsa(3072),
        PairSpec.RSA_4096: _rsa(4096),
        PairSpec.ECC_NIST_P256: _ec(256, "06082a8648ce3d030107"),
        PairSpec.ECC_NIST_P384: _ec(384, "06052b81040022"),
        PairSpec.ECC_NIST_P521: _ec(521, "06052b81040023"),
        PairSpec.ECC_SECG_P256K1: _ec(256, "06052b8104000a", agrees=False),
        PairSpec.ECC_NIST_EDWARDS25519: PairKind(
            CKK.EC_EDWARDS,
            CKM.EC_EDWARDS_KEY_PAIR_GEN,
            255,
            bytes.fromhex("06032b6570"),
            KeyType.EDWARDS,
            {PairUse.SIGN: (CKM.EDDSA,)},
        ),
    }
)
"""Curves: SEC 2, section 2; RFC 5480, section 2.1.1.1; RFC 8410, section 3."""

KEY_TYPES: Final[Mapping[KeyType, CKK]] = MappingProxyType(
    {KeyType.RSA: CKK.RSA, KeyType.EC: CKK.EC, KeyType.EDWARDS: CKK.EC_EDWARDS}
)
"""`CKA_KEY_TYPE` of what mode PRIVATE_KEY holds."""

MAC_MECHANISMS: Final[Mapping[MacHash, CKM]] = MappingProxyType(
    {
        MacHash.SHA_224: CKM.SHA224_HMAC,
        MacHash.SHA_256: CKM.SHA256_HMAC,
        MacHash.SHA_384: CKM.SHA384_HMAC,
        MacHash.SHA_512: CKM.SHA512_HMAC,
    }
)
MAC_HASHES: Final[Mapping[int, MacHash]] = MappingProxyType(
    {28: MacHash.SHA_224, 32: MacHash.SHA_256, 48: MacHash.SHA_384, 64: MacHash.SHA_512}
)
"""The one hash of an HMAC key, by its length in bytes."""
