"""The derivation of each suite as a PKCS#11 mechanism: 32 bytes of digest in, an AES-256 wrapping key out.

Suite 1 is for tokens without PKCS#11 3.0, such as SoftHSM; suite 2 for those that have SP 800-108. Which one a backing key is for is
fixed when it is generated (`core.ciphertext.Suite`).
"""

from __future__ import annotations

import ctypes
from ctypes import c_ubyte, c_ulong, c_void_p
from typing import Final

from hsmkms.core.ciphertext import DIGEST_BYTES, Suite
from hsmkms.hsm.constants import CKM
from hsmkms.hsm.cryptoki import Mechanism

KDF_LABEL: Final = b"hsm-kms/v1"
"""Suite 2's label; the fixed input is label || 0x00 || digest || length of the key in bits, 32 bits (SP 800-108, section 4.1)."""

_ITERATION_VARIABLE: Final = 1
_DKM_LENGTH: Final = 3
_BYTE_ARRAY: Final = 4
_SUM_OF_KEYS: Final = 1


class _CbcEncryptDataParams(ctypes.Structure):
    """`CK_AES_CBC_ENCRYPT_DATA_PARAMS`."""

    _fields_ = (("iv", c_ubyte * 16), ("pData", c_void_p), ("length", c_ulong))


class _CounterFormat(ctypes.Structure):
    """`CK_SP800_108_COUNTER_FORMAT`."""

    _fields_ = (("bLittleEndian", c_ubyte), ("ulWidthInBits", c_ulong))


class _DkmLengthFormat(ctypes.Structure):
    """`CK_SP800_108_DKM_LENGTH_FORMAT`."""

    _fields_ = (("dkmLengthMethod", c_ulong), ("bLittleEndian", c_ubyte), ("ulWidthInBits", c_ulong))


class _DataParam(ctypes.Structure):
    """`CK_PRF_DATA_PARAM`."""

    _fields_ = (("type", c_ulong), ("pValue", c_void_p), ("ulValueLen", c_ulong))


class _KdfParams(ctypes.Structure):
    """`CK_SP800_108_KDF_PARAMS`."""

    _fields_ = (
        ("prfType", c_ulong),
        ("ulNumberOfDataParams", c_ulong),
        ("pDataParams", c_void_p),
        ("ulAdditionalDerivedKeys", c_ulong),
        ("pAdditionalDerivedKeys", c_void_p),
    )


class Derivation:
    """One suite's mechanism, with memory for the digest.

    Args:
        suite: The suite.
    """

    def __init__(self, suite: Suite) -> None:
        self._digest = ctypes.create_string_buffer(DIGEST_BYTES)
        self.mechanism = self._cbc() if suite is Suite.AES_CBC_ENCRYPT_DATA else self._kdf()

    def _cbc(self) -> Mechanism:
        params = _CbcEncryptDataParams()  # the IV is zero: each digest is used as one two-block message
        params.pData = ctypes.addressof(self._digest)
        params.length = DIGEST_BYTES
        return Mechanism(CKM.AES_CBC_ENCRYPT_DATA, params, self._digest)

    def _kdf(self) -> Mechanism:
        fixed = ctypes.create_string_buffer(KDF_LABEL + b"\0" + bytes(DIGEST_BYTES), len(KDF_LABEL) + 1 + DIGEST_BYTES)
        self._digest = (ctypes.c_char * DIGEST_BYTES).from_buffer(fixed, len(KDF_LABEL) + 1)
        counter = _CounterFormat(0, 32)
        length = _DkmLengthFormat(_SUM_OF_KEYS, 0, 32)
        data = (_DataParam * 3)(
            _DataParam(_ITERATION_VARIABLE, ctypes.addressof(counter), ctypes.sizeof(counter)),
            _DataParam(_BYTE_ARRAY, ctypes.addressof(fixed), len(fixed)),
            _DataParam(_DKM_LENGTH, ctypes.addressof(length), ctypes.sizeof(length)),
        )
        params = _KdfParams(CKM.AES_CMAC, len(data), ctypes.addressof(data), 0, None)
        return Mechanism(CKM.SP800_108_COUNTER_KDF, params, (fixed, counter, length, data))

    def of(self, digest: bytes) -> c_void_p:
        """Return the mechanism that derives from a digest of 32 bytes; valid until the next call."""
        self._digest.raw = digest
        return self.mechanism.pointer
