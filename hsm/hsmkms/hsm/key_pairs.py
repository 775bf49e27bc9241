"""Key pairs on the token: proven before use, generated, imported.

A pair is proven against its public key when it is first used: the public object must be that key to the byte, and the private key must
really work, so that a damaged or exchanged one gives KEY_DAMAGED and never a wrong result:

- to encrypt: what the public key wraps by OAEP, a secret that nobody reads, the private key unwraps to the same;
- to sign: what the private key signs, a fixed text, the token verifies under the public key;
- to agree: with the curve's base point it gives the x coordinate of its public key, which is public (SEC 1, section 3.3.1).
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Mapping
from ctypes import c_ulong, c_void_p
from dataclasses import dataclass
from typing import Final

from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import KeyPairRef, Oaep, PairSpec, PairUse
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKD_NULL, CKK, CKM, CKR
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Handle, Mechanism
from hsmkms.hsm.errors import TAKES_CALLERS_DATA, ItemError, TokenError, may_be_the_keys
from hsmkms.hsm.key_kinds import PAIR_KINDS, PairKind
from hsmkms.hsm.key_objects import KeyObjects, Kind, Listed, Loaded
from hsmkms.hsm.oaep import OAEP
from hsmkms.hsm.public_keys import octet_string, point_bytes, read_info, rsa_numbers
from hsmkms.hsm.templates import (
    AGREED,
    PAIR,
    PAYLOAD,
    PRIVATE_USAGES,
    Attributes,
    Room,
    Template,
    render,
)
from hsmkms.hsm.wrapping import Wrapping

PUBLIC_EXPONENT: Final = b"\x01\x00\x01"
_PROOF_TEXT: Final = hashlib.sha256(b"hsm-kms: a private key that signs this works").digest()
_PROOFS: Final = {CKK.RSA: CKM.RSA_PKCS, CKK.EC: CKM.ECDSA, CKK.EC_EDWARDS: CKM.EDDSA}
_LONGEST_SIGNATURE: Final = 512
_COORDINATE: Final = 66
"""Of P-521, the longest."""
_PROOF_FUNCTIONS: Final = frozenset({"C_UnwrapKey", "C_SignInit", "C_Sign", "C_VerifyInit", "C_Verify", "C_DeriveKey"})

BASE_POINTS: Final[Mapping[bytes, bytes]] = {
    PAIR_KINDS[spec].curve: bytes.fromhex("04" + point)
    for spec, point in (
        (
            PairSpec.ECC_NIST_P256,
            (
                "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
            ),
        ),
        (
            PairSpec.ECC_SECG_P256K1,
            (
                "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
                "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
            ),
        ),
        (
            PairSpec.ECC_NIST_P384,
            (
                "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
                "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
            ),
        ),
        (
            PairSpec.ECC_NIST_P521,
            (
                "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66"
                "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650"
            ),
        ),
    )
}
"""G of each curve (SEC 2, sections 2.4.1, 2.4.2, 2.5.1, 2.6.1)."""


class _EcdhParams(ctypes.Structure):
    """`CK_ECDH1_DERIVE_PARAMS`."""

    _fields_ = (
        ("kdf", c_ulong),
        ("ulSharedDataLen", c_ulong),
        ("pSharedData", c_void_p),
        ("ulPublicDataLen", c_ulong),
        ("pPublicData", c_void_p),
    )


def agreement(point: bytes, *, in_der: bool = False) -> Mechanism:
    """Return ECDH with an uncompressed point of the other side, without a key derivation function.

    Every token must take the point as it is, and may take a DER OCTET STRING (PKCS#11 2.40, section 2.3.8); `probe` finds out.
    """
    given = octet_string(point) if in_der else point
    data = ctypes.create_string_buffer(given, len(given))
    return Mechanism(CKM.ECDH1_DERIVE, _EcdhParams(CKD_NULL, 0, None, len(data), ctypes.addressof(data)), data)


@dataclass(frozen=True, slots=True)
class Pair:
    """The handles of a key pair.

    Args:
        private: Of the private key.
        public: Of the public key.
        kind: What it is.
    """

    private: c_ulong
    public: c_ulong
    kind: PairKind


class KeyPairs:
    """The key pairs of one session.

    Args:
        wrapping: The steps on that session.
        objects: The key objects.
        found: What the token can do.
    """

    def __init__(self, wrapping: Wrapping, objects: KeyObjects, found: Capabilities) -> None:
        self._wrapping = wrapping
        self._cryptoki: Cryptoki = wrapping.cryptoki
        self._objects = objects
        self._found = found
        self._payload = render(PAYLOAD, found)
        self._agreed = render(AGREED, found)
        self._coordinate = Template(((CKA.VALUE, Room(_COORDINATE)),))
        self._in = Buffer(64)
        self._out = Buffer(_LONGEST_SIGNATURE)

    def use(self, key: KeyPairRef, use: PairUse) -> Pair:
        """Return the handles of a key pair that is proven.

        Args:
            key: The key pair.
            use: What it is to be used for.

        Raises:
            ItemError: KEY_NOT_LOADED, KEY_DAMAGED or UNSUPPORTED; FAILED: the key is not for that use.
            TokenError: the token failed while it was proven.
        """
        if key.use is not use:
            raise ItemError(Outcome.FAILED, f"a key pair for {key.use.name} is not for {use.name}")
        loaded = self._objects.get(key.cka_id, Kind.KEY_PAIR)
        pair = _pair(loaded, key.spec)
        if loaded.proven is not key and loaded.proven != key:
            self.prove(key)
            loaded.proven = key
        return pair

    def prove(self, key: KeyPairRef) -> None:
        """Prove a loaded key pair. On KEY_DAMAGED its handles are dropped.

        Raises:
            ItemError: KEY_NOT_LOADED; KEY_DAMAGED: the objects are not that key pair, or the private key does not work; UNSUPPORTED.
            TokenError: the token failed; nothing is known of the key.
        """
        loaded = self._objects.get(key.cka_id, Kind.KEY_PAIR)
        pair = _pair(loaded, key.spec)
        why = "" if loaded.use is key.use else "it is for another use"
        why = why or self._fault_of(pair, key)
        if why:
            self._objects.drop(key.cka_id)
            self._objects.log("backing_key_damaged", cka_id=key.cka_id.hex(), why=why)
            raise ItemError(Outcome.KEY_DAMAGED, f"{key.cka_id.hex()}: {why}")

    def judged(self, error: TokenError, key: KeyPairRef) -> Exception:
        """Return what a failed unwrap or decryption by OAEP means.

        Whatever the padding's fault was, and whatever the token calls it, the key is proven, so that all take the same way to
        INVALID_CIPHERTEXT. Where the padding was right and the token cannot hold what came out, it is LENGTH_NOT_PROVEN.
        """
        if error.function not in TAKES_CALLERS_DATA or not may_be_the_keys(error):
            return error
        try:
            self.prove(key)
        except ItemError as damaged:
            return damaged
        except TokenError:
            return error
        if error.ckr in (CKR.TEMPLATE_INCONSISTENT, CKR.KEY_SIZE_RANGE, CKR.UNWRAPPING_KEY_SIZE_RANGE):
            return ItemError(Outcome.LENGTH_NOT_PROVEN, f"{error}: the token cannot hold a secret of that length")
        return ItemError(Outcome.INVALID_CIPHERTEXT, f"{error}, and the key works")

    def _fault_of(self, pair: Pair, key: KeyPairRef) -> str:
        """Return what is wrong with a pair, or nothing."""
        try:
            if read_info(self._cryptoki, pair.public, pair.kind) != key.public_key:
                return "the public key is another one"
            return "" if self.works(pair, key.use) else "the private key is another one, or damaged"
        except TokenError as error:
            # As with a canary: a damaged key is refused as by a broken token, but it is still there, and the token is well.
            refused = error.function in _PROOF_FUNCTIONS and may_be_the_keys(error)
            there = refused and pair.private.value in self._objects.search(key.cka_id)
            if there and self._wrapping.wraps_well():
                return f"the private key does not work: {error}"
            raise

    def works(self, pair: Pair, use: PairUse) -> bool:
        """Say whether a private key is the one of its public key.

        Raises:
            ItemError: UNSUPPORTED: the token lacks what the proof needs.
            TokenError: a call failed, as it may with a damaged key.
        """
        if pair.kind.key_type is CKK.RSA and rsa_numbers(self._cryptoki, pair.private) != rsa_numbers(
            self._cryptoki, pair.public
        ):
            return False
        match use:
            case PairUse.ENCRYPT:
                return self._unwraps(pair)
            case PairUse.SIGN:
                return self._signs(pair)
            case PairUse.AGREE:
                return self._agrees(pair)

    def _unwraps(self, pair: Pair) -> bool:
        if not (self._found.oaep_sha1 or self._found.oaep_sha256):
            raise ItemError(Outcome.UNSUPPORTED, "the token neither wraps nor unwraps by OAEP")
        mechanism = OAEP[Oaep.SHA_1 if self._found.oaep_sha1 else Oaep.SHA_256]
        payload = self._wrapping.generate_payload()
        try:
            wrapped = self._wrapping.wrap_under(pair.public, mechanism, payload)
            again = self._wrapping.unwrap_under(pair.private, mechanism, wrapped, self._payload)
            try:
                return self._wrapping.same(payload, again)
            finally:
                self._cryptoki.destroy_object(again)
        finally:
            self._cryptoki.destroy_object(payload)

    def _signs(self, pair: Pair) -> bool:
        calls, text, signature = self._cryptoki, self._in, self._out
        mechanism = Mechanism(_PROOFS[pair.kind.key_type])
        text.put(_PROOF_TEXT)
        signature.make_room()
        calls.sign_init(mechanism.pointer, pair.private)
        calls.sign(text.pointer, text.length, signature.pointer, signature.length_pointer)
        calls.verify_init(mechanism.pointer, pair.public)
        try:
            calls.verify(text.pointer, text.length, signature.pointer, signature.length)
        except TokenError as error:
            if error.ckr in (CKR.SIGNATURE_INVALID, CKR.SIGNATURE_LEN_RANGE):
                return False
            raise
        return True

    def _agrees(self, pair: Pair) -> bool:
        info = read_info(self._cryptoki, pair.public, pair.kind)
        point = info[-point_bytes(pair.kind) :]
        return self.own_x(pair.private, pair.kind) == point[1 : 1 + pair.kind.coordinate_bytes]

    def own_x(self, private: c_ulong, kind: PairKind) -> bytes:
        """Return the x coordinate of the public key of a private key that agrees: what ECDH with the base point gives.

        Raises:
            TokenError: a call failed.
        """
        return self.shared_x(private, kind, BASE_POINTS[kind.curve])

    def shared_x(self, private: c_ulong, kind: PairKind, point: bytes) -> bytes:
        """Return what ECDH with a point gives: an x coordinate.

        Args:
            private: A private key that agrees.
            kind: Its kind.
            point: On its curve, uncompressed.

        Raises:
            TokenError: a call failed.
        """
        handle = Handle()
        self._agreed.put_number(CKA.VALUE_LEN, kind.coordinate_bytes)
        self._cryptoki.derive_key(
            agreement(point, in_der=self._found.ec_points_in_der).pointer,
            private,
            self._agreed.pointer,
            self._agreed.count,
            handle.pointer,
        )
        try:
            self._cryptoki.read(handle.value, self._coordinate)
            return self._coordinate.get(CKA.VALUE) or b""
        finally:
            self._coordinate.wipe(CKA.VALUE)
            self._cryptoki.destroy_object(handle.value)

    def generate(self, cka_id: bytes, spec: PairSpec, use: PairUse, label: bytes) -> bytes:
        """Generate a key pair on the token and return its public key in DER.

        What an interrupted generation left behind (same CKA_ID and label) is destroyed first, never adopted.

        Args:
            cka_id: 20 bytes.
            spec: Its kind.
            use: What it is for.
            label: The deployment's label, 1 to 64 bytes of ASCII.

        Raises:
            ItemError: UNSUPPORTED: the token cannot make it, or nobody can; FAILED: a foreign object has this CKA_ID.
            TokenError: a call failed; a pair that is not proven has been destroyed if that could be done.
        """
        kind = PAIR_KINDS[spec]
        if use not in kind.allowed or not self._found.makes(spec):
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot generate {spec.name} for {use.name}")
        self._objects.make_way(cka_id, label)
        public, private = PAIR[use]
        named: Attributes = ((CKA.ID, cka_id), (CKA.LABEL, label))
        handles = self.generate_pair(kind, public, private, named, allowed=kind.allowed[use])
        return self.adopt(cka_id, Pair(*handles, kind), spec, use)

    def adopt(self, cka_id: bytes, pair: Pair, spec: PairSpec, use: PairUse) -> bytes:
        """Prove a key pair that was just made on the token, keep its handles, and return its public key. One that fails is destroyed.

        Raises:
            ItemError: FAILED: the token made something else than was asked for.
            TokenError: a call failed.
        """
        try:
            info = self._proven_info(pair, use)
        except BaseException:
            self._cryptoki.destroy_object(pair.private)
            self._cryptoki.destroy_object(pair.public)
            raise
        loaded = Loaded(Kind.KEY_PAIR, pair.private, pair.public, use=use)
        loaded.proven = KeyPairRef(cka_id, spec, use, info)
        self._objects.keep(cka_id, loaded)
        return info

    def _proven_info(self, pair: Pair, use: PairUse) -> bytes:
        info = read_info(self._cryptoki, pair.public, pair.kind)
        if not info or not self.works(pair, use):
            raise ItemError(Outcome.FAILED, "the token made a pair of another kind, or one that does not work")
        return info

    def canary_of(self, listed: Listed, public: c_ulong) -> tuple[PairSpec, bytes]:
        """Return what kind a key pair on the token is, and its public key in DER, once the private key has proven that it is that one's.

        Args:
            listed: A private key without a fault.
            public: The public key of its CKA_ID.

        Raises:
            ItemError: FAILED: it is of no known kind, not for that use, or the private key is not its public key's; UNSUPPORTED.
            TokenError: a call failed, as it may with a damaged key.
        """
        assert listed.use is not None, "a private key without a fault has a use"
        for spec, kind in PAIR_KINDS.items():
            info = read_info(self._cryptoki, public, kind)
            if info and listed.use in kind.allowed:
                if not self.works(Pair(c_ulong(listed.handle), public, kind), listed.use):
                    raise ItemError(Outcome.FAILED, "the private key is another one than its public key's, or damaged")
                return spec, info
        raise ItemError(Outcome.FAILED, f"a key pair for {listed.use.name} of a kind that this service does not make")

    def create_public(
        self, kind: PairKind, public: Attributes, key: Attributes, named: Attributes, allowed: tuple[int, ...]
    ) -> c_ulong:
        """Make a public key object and hand it over.

        Args:
            kind: Its kind.
            public: Its template.
            key: Modulus and exponent, or curve and point.
            named: Further attributes.
            allowed: Its mechanisms, where the template confines it.

        Raises:
            TokenError: the call failed.
        """
        handle = Handle()
        extra: Attributes = ((CKA.KEY_TYPE, kind.key_type), *named, *key)
        template = render(public, self._found, extra=extra, allowed=allowed)
        self._cryptoki.create_object(template.pointer, template.count, handle.pointer)
        return handle.value

    def generate_pair(
        self,
        kind: PairKind,
        public: Attributes,
        private: Attributes,
        named: Attributes = (),
        allowed: tuple[int, ...] = (),
    ) -> tuple[c_ulong, c_ulong]:
        """Generate a key pair; return the handles of the private and the public key, which are the caller's to destroy.

        Args:
            kind: Its kind.
            public: The public key's template.
            private: The private key's template.
            named: Attributes for both.
            allowed: The mechanisms of both, where the templates confine them.

        Raises:
            TokenError: the call failed.
        """
        size: Attributes = (
            ((CKA.MODULUS_BITS, kind.bits), (CKA.PUBLIC_EXPONENT, PUBLIC_EXPONENT))
            if kind.key_type is CKK.RSA
            else ((CKA.EC_PARAMS, kind.curve),)
        )
        key_type: Attributes = ((CKA.KEY_TYPE, kind.key_type),)
        first = render(public, self._found, extra=(*key_type, *named, *size), allowed=allowed)
        second = render(private, self._found, extra=(*key_type, *named), allowed=allowed)
        publics, privates = Handle(), Handle()
        self._cryptoki.generate_key_pair(
            Mechanism(kind.generation).pointer,
            first.pointer,
            first.count,
            second.pointer,
            second.count,
            publics.pointer,
            privates.pointer,
        )
        return privates.value, publics.value

    def unwrap_private(
        self,
        key: c_ulong,
        mechanism: Mechanism,
        wrapped: bytes,
        attributes: Attributes,
        key_type: CKK,
        named: Attributes = (),
        allowed: tuple[int, ...] = (),
    ) -> c_ulong:
        """Unwrap a private key under a key at hand and hand it over, confined to the usages of its template.

        Args:
            key: The unwrapping key.
            mechanism: How.
            wrapped: The wrapped private key.
            attributes: The private key's template.
            key_type: Its type.
            named: Further attributes.
            allowed: The mechanisms of its `CKA_ALLOWED_MECHANISMS`, where the template confines it.

        Raises:
            TokenError: a call failed; `C_UnwrapKey` also where the ciphertext is wrong.
        """
        template = self.private_template(attributes, key_type, named, allowed)
        return self.confined(self._wrapping.unwrap_under(key, mechanism, wrapped, template), attributes)

    def private_template(
        self, attributes: Attributes, key_type: CKK, named: Attributes = (), allowed: tuple[int, ...] = ()
    ) -> Template:
        """Return the template to unwrap a private key with; what comes out goes through `confined`."""
        without = () if self._found.unwrap_keeps_usages else (CKA.MODIFIABLE,)
        extra: Attributes = ((CKA.KEY_TYPE, key_type), *named)
        return render(attributes, self._found, extra=extra, without=without, allowed=allowed)

    def confined(self, private: c_ulong, attributes: Attributes) -> c_ulong:
        """Give an unwrapped private key the usages of its template, where the token gave it others (NSS softokn).

        Raises:
            TokenError: a call failed; the key has been destroyed if that could be done.
        """
        if not self._found.unwrap_keeps_usages:
            usages = tuple((kind, value) for kind, value in attributes if kind in PRIVATE_USAGES)
            template = Template(usages)
            try:
                self._cryptoki.set_attribute_value(private, template.pointer, template.count)
            except TokenError:
                self._cryptoki.destroy_object(private)
                raise
        return private


def _pair(loaded: Loaded, spec: PairSpec) -> Pair:
    assert loaded.public is not None, "a key pair is loaded with its public key"
    return Pair(loaded.handle, loaded.public, PAIR_KINDS[spec])
