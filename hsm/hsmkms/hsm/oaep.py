"""RSAES-OAEP as a PKCS#11 mechanism (RFC 8017, section 7.1; PKCS#11 2.40, section 2.1.8): the label is empty, MGF1 has the same hash."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_ulong, c_void_p
from typing import Final

from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import Oaep
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKG_MGF1_SHA1, CKG_MGF1_SHA256, CKM, CKZ_DATA_SPECIFIED
from hsmkms.hsm.cryptoki import Mechanism
from hsmkms.hsm.errors import ItemError

_HASH_BYTES: Final = {Oaep.SHA_1: 20, Oaep.SHA_256: 32}


class OaepParams(ctypes.Structure):
    """`CK_RSA_PKCS_OAEP_PARAMS`."""

    _fields_ = (
        ("hashAlg", c_ulong),
        ("mgf", c_ulong),
        ("source", c_ulong),
        ("pSourceData", c_void_p),
        ("ulSourceDataLen", c_ulong),
    )


OAEP: Final[Mapping[Oaep, Mechanism]] = {
    Oaep.SHA_1: Mechanism(CKM.RSA_PKCS_OAEP, OaepParams(CKM.SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, None, 0)),
    Oaep.SHA_256: Mechanism(CKM.RSA_PKCS_OAEP, OaepParams(CKM.SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, None, 0)),
}


def largest_payload(algorithm: Oaep, modulus_bytes: int) -> int:
    """Return how many bytes a key can encrypt (RFC 8017, section 7.1.1)."""
    return modulus_bytes - 2 * _HASH_BYTES[algorithm] - 2


def wrapping_oaep(number: int, found: Capabilities) -> Oaep:
    """Return the algorithm of that number, by which the token wraps and unwraps keys.

    Raises:
        ItemError: UNSUPPORTED: it does not; FAILED: there is none of that number.
    """
    algorithm = _algorithm(number)
    if not (found.oaep_sha1 if algorithm is Oaep.SHA_1 else found.oaep_sha256):
        raise ItemError(Outcome.UNSUPPORTED, f"the token lacks C_WrapKey and C_UnwrapKey by OAEP with {algorithm.name}")
    return algorithm


def encrypting_oaep(number: int, found: Capabilities) -> Oaep:
    """Return the algorithm of that number, by which the token encrypts and decrypts data.

    Raises:
        ItemError: UNSUPPORTED: it does not; FAILED: there is none of that number.
    """
    algorithm = _algorithm(number)
    if not (found.oaep_sha1_encrypts if algorithm is Oaep.SHA_1 else found.oaep_sha256_encrypts):
        raise ItemError(Outcome.UNSUPPORTED, f"the token lacks C_Encrypt and C_Decrypt by OAEP with {algorithm.name}")
    return algorithm


def _algorithm(number: int) -> Oaep:
    try:
        return Oaep(number)
    except ValueError:
        raise ItemError(Outcome.FAILED, f"unknown OAEP {number}") from None
