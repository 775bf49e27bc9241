"""Signatures on the token: made, and checked with the public key object.

The token signs digests: what it is given is never hashed again, so no mechanism that hashes by itself would do. Ed25519 alone signs the
message (RFC 8032, section 5.1.6).

A signature that is wrong, however it is wrong, is an answer and no failure. What can be told without the token is: its length, and for
ECDSA its DER. Where a token has another word for a wrong signature than CKR_SIGNATURE_INVALID, the key is proven: if it works, the
signature was wrong, and else the key or the token is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import c_ulong
from dataclasses import dataclass
from typing import Final

from hsmkms.core.ciphertext import MAX_MODULUS_BYTES, MAX_PLAINTEXT_BYTES
from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import KeyPairRef, PairSpec, PairUse, Sign, Signing, VerifySignature
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKG_MGF1_SHA256, CKG_MGF1_SHA384, CKG_MGF1_SHA512, CKK, CKM, CKR
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Mechanism
from hsmkms.hsm.errors import ItemError, TokenError, may_be_the_keys
from hsmkms.hsm.key_pairs import KeyPairs, Pair
from hsmkms.hsm.signatures import from_der, to_der

VALID: Final = b"\1"
INVALID: Final = b"\0"
_WRONG: Final = frozenset({CKR.SIGNATURE_INVALID, CKR.SIGNATURE_LEN_RANGE})
_ED25519_SIGNATURE: Final = 64
_LONGEST_INPUT: Final = MAX_PLAINTEXT_BYTES


class _PssParams(ctypes.Structure):
    """`CK_RSA_PKCS_PSS_PARAMS`."""

    _fields_ = (("hashAlg", c_ulong), ("mgf", c_ulong), ("sLen", c_ulong))


@dataclass(frozen=True, slots=True)
class Scheme:
    """A signing algorithm in PKCS#11.

    Args:
        mechanism: The mechanism.
        digest_bytes: The length of the digest; 0 where the token is given the message.
        specs: The kinds of key pair that it is for.
        before: What goes before the digest: for RSASSA-PKCS1-v1_5 the DER of a DigestInfo up to it (RFC 8017, section 9.2, note 1).
    """

    mechanism: Mechanism
    digest_bytes: int
    specs: frozenset[PairSpec]
    before: bytes = b""


_RSA: Final = frozenset({PairSpec.RSA_2048, PairSpec.RSA_3072, PairSpec.RSA_4096})
_PKCS1: Final = Mechanism(CKM.RSA_PKCS)
_ECDSA: Final = Mechanism(CKM.ECDSA)


def _pss(hashed: CKM, mgf: int, length: int) -> Scheme:
    """Return RSASSA-PSS with MGF1 of the same hash, and a salt as long as the hash (RFC 8017, section 8.1)."""
    return Scheme(Mechanism(CKM.RSA_PKCS_PSS, _PssParams(hashed, mgf, length)), length, _RSA)


def _pkcs1(length: int, before: str) -> Scheme:
    return Scheme(_PKCS1, length, _RSA, bytes.fromhex(before))


SCHEMES: Final[Mapping[Signing, Scheme]] = {
    Signing.RSASSA_PSS_SHA_256: _pss(CKM.SHA256, CKG_MGF1_SHA256, 32),
    Signing.RSASSA_PSS_SHA_384: _pss(CKM.SHA384, CKG_MGF1_SHA384, 48),
    Signing.RSASSA_PSS_SHA_512: _pss(CKM.SHA512, CKG_MGF1_SHA512, 64),
    Signing.RSASSA_PKCS1_V1_5_SHA_256: _pkcs1(32, "3031300d060960864801650304020105000420"),
    Signing.RSASSA_PKCS1_V1_5_SHA_384: _pkcs1(48, "3041300d060960864801650304020205000430"),
    Signing.RSASSA_PKCS1_V1_5_SHA_512: _pkcs1(64, "3051300d060960864801650304020305000440"),
    Signing.ECDSA_SHA_256: Scheme(_ECDSA, 32, frozenset({PairSpec.ECC_NIST_P256, PairSpec.ECC_SECG_P256K1})),
    Signing.ECDSA_SHA_384: Scheme(_ECDSA, 48, frozenset({PairSpec.ECC_NIST_P384})),
    Signing.ECDSA_SHA_512: Scheme(_ECDSA, 64, frozenset({PairSpec.ECC_NIST_P521})),
    Signing.ED25519_SHA_512: Scheme(Mechanism(CKM.EDDSA), 0, frozenset({PairSpec.ECC_NIST_EDWARDS25519})),
}
"""What the service drives; ED25519_PH_SHA_512 is not among it."""


class Signer:
    """Signing and checking with handles at hand, on one session.

    Args:
        cryptoki: The session's calls.
    """

    def __init__(self, cryptoki: Cryptoki) -> None:
        self._cryptoki = cryptoki
        self._in = Buffer(_LONGEST_INPUT)
        self._out = Buffer(MAX_MODULUS_BYTES)

    def sign(self, pair: Pair, scheme: Scheme, message: bytes) -> bytes:
        """Return the signature of a digest or message, for ECDSA in DER.

        Raises:
            TokenError: a call failed.
        """
        calls, text, out = self._cryptoki, self._in, self._out
        out.make_room()
        try:
            text.put(scheme.before + message)
            calls.sign_init(scheme.mechanism.pointer, pair.private)
            calls.sign(text.pointer, text.length, out.pointer, out.length_pointer)
        finally:
            text.wipe()
        return to_der(out.get()) if pair.kind.key_type is CKK.EC else out.get()

    def is_valid(self, pair: Pair, scheme: Scheme, message: bytes, signature: bytes) -> bool:
        """Say whether a signature, for ECDSA in DER, is one of a digest or message.

        Raises:
            TokenError: a call failed; `C_Verify` also where a token has its own word for a wrong signature.
        """
        raw = _raw(pair, signature)
        if raw is None:
            return False
        calls, text, given = self._cryptoki, self._in, self._out
        try:
            text.put(scheme.before + message)
            given.put(raw)
            calls.verify_init(scheme.mechanism.pointer, pair.public)
            calls.verify(text.pointer, text.length, given.pointer, given.length)
        except TokenError as error:
            if error.function == "C_Verify" and error.ckr in _WRONG:
                return False
            raise
        finally:
            text.wipe()
        return True


def _raw(pair: Pair, signature: bytes) -> bytes | None:
    """Return a signature as the token has it, or None where its length or form shows that it is none."""
    match pair.kind.key_type:
        case CKK.RSA:
            return signature if len(signature) == pair.kind.coordinate_bytes else None
        case CKK.EC:
            return from_der(signature, pair.kind.coordinate_bytes)
        case _:
            return signature if len(signature) == _ED25519_SIGNATURE else None


class SigningSequences:
    """SIGN and VERIFY_SIGNATURE on one session.

    Args:
        pairs: The key pairs.
        cryptoki: The session's calls.
        found: What the token can do.
    """

    def __init__(self, pairs: KeyPairs, cryptoki: Cryptoki, found: Capabilities) -> None:
        self._pairs = pairs
        self._found = found
        self._signer = Signer(cryptoki)

    def sign(self, command: Sign) -> bytes:
        """Sign. Returns the signature, for ECDSA in DER.

        Raises:
            ItemError: UNSUPPORTED, FAILED: the algorithm or the length of the digest is not this key's; or the key cannot be used.
            TokenError: the token failed.
        """
        scheme = self._scheme(command.algorithm, command.key, command.message)
        return self._signer.sign(self._pairs.use(command.key, PairUse.SIGN), scheme, command.message)

    def verify_signature(self, command: VerifySignature) -> bytes:
        """Check a signature. Returns one byte: 1 if it is valid, else 0.

        Raises:
            ItemError: UNSUPPORTED, FAILED: the algorithm or the length of the digest is not this key's; or the key cannot be used.
            TokenError: the token failed.
        """
        scheme = self._scheme(command.algorithm, command.key, command.message)
        pair = self._pairs.use(command.key, PairUse.SIGN)
        try:
            return VALID if self._signer.is_valid(pair, scheme, command.message, command.signature) else INVALID
        except TokenError as error:
            if error.function != "C_Verify" or not may_be_the_keys(error):
                raise
            self._require_well(error, command.key)
            return INVALID

    def _require_well(self, error: TokenError, key: KeyPairRef) -> None:
        """Do nothing if the key works all the same.

        Raises:
            ItemError: KEY_DAMAGED.
            TokenError: `error`: the token failed again.
        """
        try:
            self._pairs.prove(key)
        except TokenError:
            raise error from None

    def _scheme(self, number: int, key: KeyPairRef, message: bytes) -> Scheme:
        try:
            algorithm = Signing(number)
        except ValueError:
            raise ItemError(Outcome.FAILED, f"unknown signing algorithm {number}") from None
        scheme = SCHEMES.get(algorithm)
        if scheme is None or not self._found.signs(algorithm):
            raise ItemError(Outcome.UNSUPPORTED, f"the token lacks {algorithm.name}")
        if key.spec not in scheme.specs:
            raise ItemError(Outcome.FAILED, f"{algorithm.name} is not for {key.spec.name}")
        if len(message) != scheme.digest_bytes if scheme.digest_bytes else not 1 <= len(message) <= _LONGEST_INPUT:
            raise ItemError(Outcome.FAILED, f"{len(message)} bytes, which {algorithm.name} does not sign")
        return scheme
