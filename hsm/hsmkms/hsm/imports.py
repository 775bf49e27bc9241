"""Import: material that somebody else made, encrypted under an import pair, becomes a backing key or key pair on the token.

The import pair's private key comes back wrapped under a service key, is unwrapped for this one call, and unwraps the material. That is
proven as a session object, in full, before anything on the token is replaced: a backing key has exactly 32 bytes, a private key is of
its kind and works, and it is the expected one. Only then is it unwrapped once more, into a token object with the template of one that
was generated here. It never has a readable form, in the token or outside.

An EC private key has no public key on most tokens: its x coordinate is what ECDH with the base point gives, and of the two points with
it the right one verifies what the private key signs.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_ulong
from dataclasses import dataclass
from typing import Final

from hsmkms.core.ciphertext import KEY_UUID_BYTES, Suite, canary_digest
from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import ImportKey, ImportWrapping, Oaep, PairSpec, PairUse
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK, CKR
from hsmkms.hsm.cryptoki import Mechanism
from hsmkms.hsm.errors import ItemError, TokenError, may_be_the_keys
from hsmkms.hsm.key_kinds import PAIR_KINDS, PairKind
from hsmkms.hsm.key_pairs import KeyPairs, Pair
from hsmkms.hsm.oaep import OAEP, wrapping_oaep
from hsmkms.hsm.pair_sequences import pair_spec
from hsmkms.hsm.private_keys import PrivateKeys
from hsmkms.hsm.public_keys import octet_string, read_info, rsa_numbers
from hsmkms.hsm.rsa import RsaSequences
from hsmkms.hsm.templates import (
    AES_TO_PROVE,
    BACKING_KEY,
    BACKING_KEY_BYTES,
    IMPORT_PRIVATE,
    IMPORTED_AES,
    PAIR,
    PAYLOAD,
    Attributes,
    Room,
    Template,
    render,
)
from hsmkms.hsm.wrapping import Wrapping

_OAEP: Final = {
    ImportWrapping.OAEP_SHA_1: Oaep.SHA_1,
    ImportWrapping.OAEP_SHA_256: Oaep.SHA_256,
    ImportWrapping.RSA_AES_SHA_1: Oaep.SHA_1,
    ImportWrapping.RSA_AES_SHA_256: Oaep.SHA_256,
}
_HYBRID: Final = frozenset({ImportWrapping.RSA_AES_SHA_1, ImportWrapping.RSA_AES_SHA_256})
_SESSION: Final[Attributes] = ((CKA.TOKEN, False),)
_TOO_LONG_TO_HOLD: Final = frozenset({CKR.TEMPLATE_INCONSISTENT, CKR.KEY_SIZE_RANGE})
"""What NSS softokn says of a secret of more than 256 bytes, or of an AES key of another length, that was unwrapped rightly."""


@dataclass(frozen=True, slots=True)
class _Material:
    """What is to be imported.

    Args:
        key: The key that unwraps it.
        mechanism: How.
        wrapped: What is unwrapped.
    """

    key: c_ulong
    mechanism: Mechanism
    wrapped: bytes


class ImportSequences:
    """Import on one session.

    Args:
        wrapping: The steps on that session.
        keys: The backing keys.
        pairs: The key pairs.
        rsa: The commands with RSA keys: they know how a length is proven.
        found: What the token can do.
    """

    def __init__(
        self, wrapping: Wrapping, keys: BackingKeys, pairs: KeyPairs, rsa: RsaSequences, found: Capabilities
    ) -> None:
        self._wrapping = wrapping
        self._cryptoki = wrapping.cryptoki
        self._keys = keys
        self._pairs = pairs
        self._rsa = rsa
        self._found = found
        self._private_keys = PrivateKeys(wrapping, found)
        self._payload = render(PAYLOAD, found)
        self._aes = render(AES_TO_PROVE, found)
        self._length = Template(((CKA.VALUE_LEN, Room(8)),))

    def import_key(self, command: ImportKey) -> bytes:
        """Import material. Returns its canary, or its public key in DER.

        Raises:
            ItemError: INVALID_IMPORT_TOKEN: the import pair's private key does not unwrap; INVALID_CIPHERTEXT: the material does not;
                WRONG_LENGTH: it is not what its kind demands; WRONG_MATERIAL: it is not the expected one; UNSUPPORTED, or the service
                key cannot be used.
            TokenError: the token failed.
        """
        try:
            wrapping = ImportWrapping(command.wrapping)
        except ValueError:
            raise ItemError(Outcome.FAILED, f"unknown wrapping {command.wrapping}") from None
        algorithm = wrapping_oaep(_OAEP[wrapping], self._found)
        self._keys.objects.ensure(command.service.cka_id)
        with self._cryptoki.scratch() as made:
            importer = made.own(self._importer(command))
            material = _Material(importer, OAEP[algorithm], command.material)
            if wrapping in _HYBRID:
                size = self._modulus_bytes(importer)
                key = _Material(importer, OAEP[algorithm], command.material[:size])
                number = self._private_keys.key_wrap.number
                template = render(IMPORTED_AES, self._found, allowed=(number,))
                inner = made.own(self._unwrapped(key, template))
                material = _Material(inner, self._private_keys.key_wrap.mechanism, command.material[size:])
            return self._backing_key(command, material) if not command.kind else self._pair(command, material)

    def _importer(self, command: ImportKey) -> c_ulong:
        service = command.service
        handle = self._keys.use(service)
        template = self._pairs.private_template(IMPORT_PRIVATE, CKK.RSA)
        key_wrap = self._private_keys.key_wrap
        try:
            private = self._wrapping.unwrap(handle, service.suite, command.digest, command.wrapped, template, key_wrap)
        except TokenError as error:
            judged = self._keys.judged(error, service)
            if isinstance(judged, ItemError) and judged.outcome is Outcome.INVALID_CIPHERTEXT:
                raise ItemError(Outcome.INVALID_IMPORT_TOKEN, judged.detail) from error
            raise judged from error
        return self._pairs.confined(private, IMPORT_PRIVATE)

    def _modulus_bytes(self, importer: c_ulong) -> int:
        numbers = rsa_numbers(self._cryptoki, importer)
        if numbers is None:
            raise ItemError(Outcome.FAILED, "the import pair's private key shows no modulus")
        return (numbers[0].bit_length() + 7) // 8

    # Material: every failure to unwrap it is its sender's, if the token is well.

    def _unwrapped(self, material: _Material, template: Template) -> c_ulong:
        return self._attempted(
            lambda: self._wrapping.unwrap_under(material.key, material.mechanism, material.wrapped, template),
            lambda error: error.ckr in _TOO_LONG_TO_HOLD,
        )

    def _unwrapped_private(
        self, material: _Material, attributes: Attributes, kind: PairKind, named: Attributes, allowed: tuple[int, ...]
    ) -> c_ulong:
        return self._attempted(
            lambda: self._pairs.unwrap_private(
                material.key, material.mechanism, material.wrapped, attributes, kind.key_type, named, allowed
            ),
            lambda _: self._is_whole(material),
        )

    def _attempted(self, unwrap: Callable[[], c_ulong], is_whole: Callable[[TokenError], bool]) -> c_ulong:
        try:
            return unwrap()
        except TokenError as error:
            if error.function != "C_UnwrapKey" or not may_be_the_keys(error) or not self._wrapping.wraps_well():
                raise
            if is_whole(error):
                raise ItemError(Outcome.WRONG_LENGTH, f"{error}: it is not what its kind demands") from error
            raise ItemError(Outcome.INVALID_CIPHERTEXT, f"{error}, and the token is well") from error

    def _is_whole(self, material: _Material) -> bool:
        """Say whether material unwraps, whatever it is: then it is no private key of the kind that it should be."""
        try:
            opened = self._wrapping.unwrap_under(material.key, material.mechanism, material.wrapped, self._payload)
        except TokenError as error:
            return error.ckr in _TOO_LONG_TO_HOLD
        self._cryptoki.destroy_object(opened)
        return True

    # Backing keys.

    def _backing_key(self, command: ImportKey, material: _Material) -> bytes:
        try:
            suite = Suite(command.suite)
            attributes = BACKING_KEY[suite]
        except (ValueError, KeyError):
            raise ItemError(Outcome.FAILED, f"unknown suite {command.suite}") from None
        self._keys.require(suite)
        self._require_32_bytes(material)
        without = (CKA.VALUE_LEN,)
        with self._cryptoki.scratch() as made:
            template = render(attributes, self._found, extra=_SESSION, without=without)
            trial = made.own(self._unwrapped(material, template))
            canary = self._wrapping.make_canary(trial, suite, canary_digest(command.cka_id[:KEY_UUID_BYTES]))
        if command.expected not in (b"", canary):
            raise ItemError(Outcome.WRONG_MATERIAL, "another canary than the expected one")
        self._keys.objects.make_way(command.cka_id, command.label)
        named: Attributes = ((CKA.ID, command.cka_id), (CKA.LABEL, command.label))
        template = render(attributes, self._found, extra=named, without=without)
        handle = self._unwrapped(material, template)
        if self._keys.adopt(command.cka_id, suite, handle) != canary:
            self._keys.destroy(command.cka_id, command.label)
            raise ItemError(Outcome.FAILED, "the token made another key of the same material")
        return canary

    def _require_32_bytes(self, material: _Material) -> None:
        with self._cryptoki.scratch() as made:
            if self._found.value_len_after_unwrap:
                opened = made.own(self._unwrapped(material, self._payload))
                self._cryptoki.read(opened, self._length)
                length = int.from_bytes(self._length.get(CKA.VALUE_LEN) or b"", "little")
            elif self._found.aes_length_by_use:
                opened = made.own(self._unwrapped(material, self._aes))
                length = self._aes_length(opened)
            else:
                raise ItemError(Outcome.UNSUPPORTED, "the token tells no length of what it unwraps")
        if length != BACKING_KEY_BYTES:
            raise ItemError(Outcome.WRONG_LENGTH, f"{length} bytes, not {BACKING_KEY_BYTES}")

    def _aes_length(self, opened: c_ulong) -> int:
        try:
            self._rsa.require_aes(opened)
        except ItemError as error:
            raise ItemError(Outcome.WRONG_LENGTH, error.detail) from error
        return self._wrapping.wrapped_length(opened)

    # Key pairs.

    def _pair(self, command: ImportKey, material: _Material) -> bytes:
        spec = pair_spec(command.kind)
        kind = PAIR_KINDS[spec]
        try:
            use = PairUse(command.use)
            allowed = kind.allowed[use]
        except (ValueError, KeyError):
            raise ItemError(Outcome.FAILED, f"{spec.name} is not for use {command.use}") from None
        if not self._found.imports(spec):
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot import private keys of {spec.name}")
        public, private = PAIR[use]
        with self._cryptoki.scratch() as made:
            trial = made.own(self._unwrapped_private(material, private, kind, _SESSION, allowed))
            key = self._public_key(material, kind, trial)
            trial_public = made.own(self._pairs.create_public(kind, public, key, _SESSION, allowed))
            info = read_info(self._cryptoki, trial_public, kind)
            self._require_works(Pair(trial, trial_public, kind), use)
        if command.expected not in (b"", info):
            raise ItemError(Outcome.WRONG_MATERIAL, "another public key than the expected one")
        self._keys.objects.make_way(command.cka_id, command.label)
        named: Attributes = ((CKA.ID, command.cka_id), (CKA.LABEL, command.label))
        handle = self._unwrapped_private(material, private, kind, named, allowed)
        try:
            pair = Pair(handle, self._pairs.create_public(kind, public, key, named, allowed), kind)
        except TokenError:
            self._cryptoki.destroy_object(handle)
            raise
        return self._pairs.adopt(command.cka_id, pair, spec, use)

    def _public_key(self, material: _Material, kind: PairKind, private: c_ulong) -> Attributes:
        """Return the attributes of the public key.

        Raises:
            ItemError: WRONG_LENGTH: the private key is of another kind.
            TokenError: the token failed.
        """
        if kind.key_type is not CKK.RSA:
            return self._point(material, kind, private)
        numbers = rsa_numbers(self._cryptoki, private)
        if numbers is None or numbers[0].bit_length() != kind.bits:
            bits = numbers[0].bit_length() if numbers else 0
            raise ItemError(Outcome.WRONG_LENGTH, f"a modulus of {bits} bits, not {kind.bits}")
        return tuple(
            (attribute, number.to_bytes((number.bit_length() + 7) // 8, "big"))
            for attribute, number in zip((CKA.MODULUS, CKA.PUBLIC_EXPONENT), numbers, strict=True)
        )

    def _point(self, material: _Material, kind: PairKind, private: c_ulong) -> Attributes:
        from cryptography.hazmat.primitives.asymmetric import ec  # only here: every worker would pay for it
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        look = Template(((CKA.EC_PARAMS, Room(64)),))
        self._cryptoki.read(private, look)
        if look.get(CKA.EC_PARAMS) != kind.curve:
            raise ItemError(Outcome.WRONG_LENGTH, "a private key on another curve")
        curve = {32: ec.SECP256R1(), 48: ec.SECP384R1(), 66: ec.SECP521R1()}[kind.coordinate_bytes]
        if kind is PAIR_KINDS[PairSpec.ECC_SECG_P256K1]:
            curve = ec.SECP256K1()
        verifying, signing = PAIR[PairUse.SIGN]
        with self._cryptoki.scratch() as made:
            agrees = made.own(self._agreeing(material, kind))
            signs = made.own(self._unwrapped_private(material, signing, kind, _SESSION, kind.allowed[PairUse.SIGN]))
            x = self._pairs.own_x(agrees, kind)
            for sign in (b"\2", b"\3"):
                point = ec.EllipticCurvePublicKey.from_encoded_point(curve, sign + x).public_bytes(
                    Encoding.X962, PublicFormat.UncompressedPoint
                )
                key: Attributes = ((CKA.EC_PARAMS, kind.curve), (CKA.EC_POINT, octet_string(point)))
                public = made.own(self._pairs.create_public(kind, verifying, key, _SESSION, kind.allowed[PairUse.SIGN]))
                if self._pairs.works(Pair(signs, public, kind), PairUse.SIGN):
                    return key
        raise ItemError(Outcome.WRONG_LENGTH, "a private key without a public key")

    def _agreeing(self, material: _Material, kind: PairKind) -> c_ulong:
        _, agreeing = PAIR[PairUse.AGREE]
        allowed = PAIR_KINDS[PairSpec.ECC_NIST_P256].allowed[PairUse.AGREE]
        return self._unwrapped_private(material, agreeing, kind, _SESSION, allowed)

    def _require_works(self, pair: Pair, use: PairUse) -> None:
        try:
            works = self._pairs.works(pair, use)
        except TokenError as error:
            if not may_be_the_keys(error) or not self._wrapping.wraps_well():
                raise
            raise ItemError(Outcome.WRONG_LENGTH, f"{error}: the private key does not work") from error
        if not works:
            raise ItemError(Outcome.WRONG_LENGTH, "the private key is not that of its own public key")
