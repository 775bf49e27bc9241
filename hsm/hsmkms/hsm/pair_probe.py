"""The probe of what has to do with key pairs and HMACs: generation, OAEP, private keys in and out, lengths, import.

As in `probe`: answers compared with software, by the templates that the service uses, on session objects. Of RSA one pair of 2,048 bits
is made; that longer ones can be made is the token's word (C_GetMechanismInfo), since a pair of 4,096 bits takes seconds.
"""

from __future__ import annotations

import hmac
import os
from ctypes import c_ulong
from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from hsmkms.core.material_commands import MacHash, Oaep, PairSpec, PairUse
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK, CKM
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Mechanism
from hsmkms.hsm.errors import ItemError, TokenError
from hsmkms.hsm.key_kinds import MAC_HASHES, MAC_MECHANISMS, PAIR_KINDS
from hsmkms.hsm.key_objects import KeyObjects
from hsmkms.hsm.key_pairs import KeyPairs, Pair
from hsmkms.hsm.oaep import OAEP
from hsmkms.hsm.private_keys import PrivateKeys
from hsmkms.hsm.probing import SESSION, Probing
from hsmkms.hsm.public_keys import read_info, rsa_numbers
from hsmkms.hsm.rsa import RsaSequences
from hsmkms.hsm.templates import (
    AES_TO_PROVE,
    DATA_PAIR_PRIVATE,
    DATA_PAIR_PUBLIC,
    MAC_KEY,
    PAIR,
    PAYLOAD,
    PAYLOAD_READABLE,
    PRIVATE_USAGES,
    WRAPPING_KEY_UNWRAP,
    WRAPPING_KEY_WRAP,
    Attributes,
    Template,
    render,
)
from hsmkms.hsm.wrapping import Wrapping

_RSA_BITS: Final = 2048
CURVES: Final = {
    PairSpec.ECC_NIST_P256: ec.SECP256R1(),
    PairSpec.ECC_NIST_P384: ec.SECP384R1(),
    PairSpec.ECC_NIST_P521: ec.SECP521R1(),
    PairSpec.ECC_SECG_P256K1: ec.SECP256K1(),
}


class PairProbe(Probing):
    """The probe on one session."""

    def __init__(self, cryptoki: Cryptoki, found: Capabilities) -> None:
        super().__init__(cryptoki, found)
        self._largest_rsa = _RSA_BITS
        self._plaintexts: dict[PairSpec, bytes] = {}

    def run(self) -> Capabilities:
        """Return what was known with what was found."""
        self._pairs()
        self._macs()
        return self._found

    def _pairs(self) -> None:
        """Find out which kinds of key pair can be made, and of which the private key can be wrapped, unwrapped and imported."""
        self._set(aes_key_unwrap_padded=self._padded_blocks())
        made, wrapped, imported = [], [], []
        for spec, kind in PAIR_KINDS.items():
            if kind.key_type is CKK.RSA and kind.bits != _RSA_BITS:
                # Seconds each, with no other answer than the one before: the token says how long its keys may be.
                same = PairSpec.RSA_2048.name
                if kind.bits <= self._largest_rsa and same in made:
                    made.append(spec.name)
                    wrapped += [spec.name] if same in wrapped else []
                    imported += [spec.name] if same in imported else []
                continue
            if self._attempt(lambda s=spec: self._makes(s)):  # type: ignore[misc]
                made.append(spec.name)
                if self._attempt(lambda s=spec: self._wraps_private(s)):  # type: ignore[misc]
                    wrapped.append(spec.name)
                if self._attempt(lambda s=spec: self._imports(s)):  # type: ignore[misc]
                    imported.append(spec.name)
        self._set(
            key_pairs=" ".join(made), wrapped_private_keys=" ".join(wrapped), imported_key_pairs=" ".join(imported)
        )

    def _makes(self, spec: PairSpec) -> bool:
        """A pair is generated, and its private key works; of RSA, OAEP is tried with it too."""
        kind = PAIR_KINDS[spec]
        use = PairUse.ENCRYPT if kind.key_type is CKK.RSA else PairUse.SIGN
        public, private = PAIR[use]
        pairs = self._key_pairs()
        # Extractable, so that one pair answers every question: of RSA, a second one would cost as much again as all the rest.
        private = tuple((one, True if one is CKA.EXTRACTABLE else value) for one, value in private)
        with self._calls.scratch() as made:
            handles = pairs.generate_pair(kind, public, private, SESSION, allowed=kind.allowed[use])
            pair = Pair(made.own(handles[0]), made.own(handles[1]), kind)
            if not read_info(self._calls, pair.public, kind):
                return False
            if use is PairUse.ENCRYPT:
                self._largest_rsa = self._calls.key_sizes(kind.generation)[1]
                self._oaep(pair)
                if not (self._found.oaep_sha1 or self._found.oaep_sha256):
                    return False
                self._attempt(lambda: self._survives(spec, pair))
                return True
            return pairs.works(pair, use)

    def _key_pairs(self) -> KeyPairs:
        nothing = KeyObjects(self._calls, self._found, lambda *_, **__: None)
        return KeyPairs(Wrapping(self._calls, self._found), nothing, self._found)

    def _padded_blocks(self) -> str:
        if not self._found.created_objects:
            return ""
        for mechanism in (CKM.AES_KEY_WRAP_KWP, CKM.AES_KEY_WRAP_PAD):
            if self._attempt(lambda m=mechanism: self._unwraps_padded(m)):  # type: ignore[misc]
                return f"0x{mechanism:X}"
        return ""

    def _unwraps_padded(self, mechanism: CKM) -> bool:
        """What software wraps by RFC 5649 the token unwraps, and whole blocks it wraps as software does."""
        number, allowed = Mechanism(mechanism), (mechanism,)
        wrapping = Wrapping(self._calls, self._found)
        with self._calls.scratch() as made:
            value, block = os.urandom(32), os.urandom(40)
            extra: Attributes = (*SESSION, (CKA.VALUE, value))
            unwraps, wraps = (
                made.own(
                    self._created(render(one, self._found, extra=extra, without=(CKA.VALUE_LEN,), allowed=allowed))
                )
                for one in (WRAPPING_KEY_UNWRAP, WRAPPING_KEY_WRAP)
            )
            payload = render(PAYLOAD, self._found)
            for text in (block, block[:29]):
                wrapped = keywrap.aes_key_wrap_with_padding(value, text)
                opened = made.own(wrapping.unwrap_under(unwraps, number, wrapped, payload))
                if not wrapping.same(opened, self._create(made, PAYLOAD, text)):
                    return False
            return wrapping.wrap_under(
                wraps, number, self._create(made, PAYLOAD, block)
            ) == keywrap.aes_key_wrap_with_padding(value, block)

    def _wraps_private(self, spec: PairSpec) -> bool:
        """The private key of a data key pair is wrapped as software unwraps it, and unwraps into the same key."""
        kind = PAIR_KINDS[spec]
        if kind.key_type is not CKK.RSA:
            with self._calls.scratch() as made:
                private, public = self._key_pairs().generate_pair(kind, DATA_PAIR_PUBLIC, DATA_PAIR_PRIVATE)
                self._survives(spec, Pair(made.own(private), made.own(public), kind))
        return spec in self._plaintexts

    def _survives(self, spec: PairSpec, pair: Pair) -> bool:
        if not self._found.aes_key_unwrap_padded:
            return False
        wrapping = Wrapping(self._calls, self._found)
        privates = PrivateKeys(wrapping, replace(self._found, wrapped_private_keys=spec.name))
        try:
            plaintext = privates.plaintext_of(pair.private)
            loaded = serialization.load_der_private_key(plaintext, None)
        except (ItemError, ValueError):
            return False
        info = loaded.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if info != read_info(self._calls, pair.public, pair.kind):
            return False
        with self._calls.scratch() as made:
            opened = made.own(self._unwrapped_private(privates, plaintext, privates.template(pair.kind.sealed_as)))
            if privates.plaintext_of(opened) != plaintext:
                return False
        self._plaintexts[spec] = plaintext
        return True

    def _unwrapped_private(self, privates: PrivateKeys, plaintext: bytes, template: Template) -> c_ulong:
        """Unwrap a private key that software wraps, under a key of a value that is chosen for it."""
        value, by = os.urandom(32), privates.key_wrap
        extra: Attributes = (*SESSION, (CKA.VALUE, value))
        key = render(WRAPPING_KEY_UNWRAP, self._found, extra=extra, without=(CKA.VALUE_LEN,), allowed=(by.number,))
        with self._calls.scratch() as made:
            unwraps = made.own(self._created(key))
            wrapped = keywrap.aes_key_wrap_with_padding(value, plaintext)
            return Wrapping(self._calls, self._found).unwrap_under(unwraps, by.mechanism, wrapped, template)

    def _imports(self, spec: PairSpec) -> bool:
        """A private key of software's unwraps, with the usages of its template, and its public key can be had."""
        kind = PAIR_KINDS[spec]
        if not self._found.aes_key_unwrap_padded or kind.key_type is CKK.EC_EDWARDS:
            return False
        wrapping = Wrapping(self._calls, self._found)
        plaintext = self._plaintexts.get(spec) or _new_private_key(spec)
        privates = PrivateKeys(wrapping, self._found)
        _, attributes = PAIR[PairUse.SIGN]
        template = self._key_pairs().private_template(attributes, kind.key_type, SESSION, kind.allowed[PairUse.SIGN])
        with self._calls.scratch() as made:
            opened = made.own(self._unwrapped_private(privates, plaintext, template))
            usages = [usage for usage in PRIVATE_USAGES if self._value(opened, usage) == b"\1"]
            self._set(unwrap_keeps_usages=usages == [CKA.SIGN])
            if kind.key_type is CKK.RSA:
                return rsa_numbers(self._calls, opened) is not None
            _, agreeing = PAIR[PairUse.AGREE]
            template = self._key_pairs().private_template(
                agreeing, kind.key_type, SESSION, PAIR_KINDS[PairSpec.ECC_NIST_P256].allowed[PairUse.AGREE]
            )
            agrees = made.own(self._unwrapped_private(privates, plaintext, template))
            private = serialization.load_der_private_key(plaintext, None)
            point = private.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
            )
            return self._key_pairs().own_x(agrees, kind) == point[1:]

    def _macs(self) -> None:
        """HMACs as software makes them."""
        hashed = []
        for length, algorithm in MAC_HASHES.items():
            if self._attempt(lambda n=length, a=algorithm: self._mac(n, a)):  # type: ignore[misc]
                hashed.append(algorithm.name)
        self._set(mac_hashes=" ".join(hashed))

    def _mac(self, length: int, algorithm: MacHash) -> bool:
        number = MAC_MECHANISMS[algorithm]
        with self._calls.scratch() as made:
            value, text = os.urandom(length), Buffer(64)
            if self._found.created_objects:
                extra: Attributes = (*SESSION, (CKA.VALUE, value))
                template = render(MAC_KEY, self._found, extra=extra, without=(CKA.VALUE_LEN,), allowed=(number,))
                key = made.own(self._created(template))
            else:
                extra = (*SESSION, (CKA.VALUE_LEN, length))
                template = render(MAC_KEY, self._found, extra=extra, allowed=(number,))
                key = self._generate(made, template, CKM.GENERIC_SECRET_KEY_GEN)
            text.put(b"a text")
            self._buffer.make_room()
            self._calls.sign_init(Mechanism(number).pointer, key)
            self._calls.sign(text.pointer, text.length, self._buffer.pointer, self._buffer.length_pointer)
            made_here = self._buffer.get()
        if not self._found.created_objects:
            return len(made_here) == length
        return made_here == hmac.digest(value, b"a text", algorithm.name.replace("_", "").lower())

    def _oaep(self, pair: Pair) -> None:
        numbers = rsa_numbers(self._calls, pair.public)
        if numbers is None or not self._found.readable_objects:
            return
        public = rsa.RSAPublicNumbers(numbers[1], numbers[0]).public_key()
        for algorithm, wraps, encrypts in (
            (Oaep.SHA_1, "oaep_sha1", "oaep_sha1_encrypts"),
            (Oaep.SHA_256, "oaep_sha256", "oaep_sha256_encrypts"),
        ):
            self._set(**{wraps: self._attempt(lambda a=algorithm: self._oaep_wraps(a, pair, public))})  # type: ignore[misc]
            self._set(**{encrypts: self._attempt(lambda a=algorithm: self._oaep_encrypts(a, pair, public))})  # type: ignore[misc]
        if self._found.oaep_sha1 or self._found.oaep_sha256:
            self._attempt(lambda: self._lengths(pair, public))

    def _oaep_wraps(self, algorithm: Oaep, pair: Pair, public: rsa.RSAPublicKey) -> bool:
        """What software wraps the token unwraps, and what the token wraps the token unwraps."""
        mechanism, value = OAEP[algorithm], os.urandom(32)
        with self._calls.scratch() as made:
            wrapped = public.encrypt(value, _padding(algorithm))
            if self._value(self._unwrapped(made, mechanism, pair.private, wrapped, PAYLOAD_READABLE)) != value:
                return False
            wrapped = self._wrapped(mechanism, pair.public, self._create(made, PAYLOAD, value))
            return self._value(self._unwrapped(made, mechanism, pair.private, wrapped, PAYLOAD_READABLE)) == value

    def _oaep_encrypts(self, algorithm: Oaep, pair: Pair, public: rsa.RSAPublicKey) -> bool:
        """What software encrypts the token decrypts, and what the token encrypts the token decrypts."""
        mechanism, text = OAEP[algorithm], os.urandom(13)
        source, out = Buffer(512), self._buffer
        if self._oaep_decrypted(mechanism, pair, public.encrypt(text, _padding(algorithm))) != text:
            return False
        source.put(text)
        out.make_room()
        self._calls.encrypt_init(mechanism.pointer, pair.public)
        self._calls.encrypt(source.pointer, source.length, out.pointer, out.length_pointer)
        return self._oaep_decrypted(mechanism, pair, out.get()) == text

    def _oaep_decrypted(self, mechanism: Mechanism, pair: Pair, encrypted: bytes) -> bytes:
        source, out = Buffer(512), self._buffer
        source.put(encrypted)
        out.make_room()
        self._calls.decrypt_init(mechanism.pointer, pair.private)
        self._calls.decrypt(source.pointer, source.length, out.pointer, out.length_pointer)
        return out.get()

    def _lengths(self, pair: Pair, public: rsa.RSAPublicKey) -> bool:
        """Is the length of what OAEP unwraps told, or else that of an AES key to be found by use?"""
        algorithm = Oaep.SHA_1 if self._found.oaep_sha1 else Oaep.SHA_256
        mechanism = OAEP[algorithm]

        def told(length: int) -> bool:
            with self._calls.scratch() as made:
                wrapped = public.encrypt(os.urandom(length), _padding(algorithm))
                opened = self._unwrapped(made, mechanism, pair.private, wrapped, PAYLOAD)
                return self._value(opened, CKA.VALUE_LEN) == length.to_bytes(8, "little")

        def works(length: int) -> bool:
            rsa_sequences = _aes_prover(self._calls, self._found)
            with self._calls.scratch() as made:
                wrapped = public.encrypt(os.urandom(length), _padding(algorithm))
                try:
                    opened = self._unwrapped(made, mechanism, pair.private, wrapped, AES_TO_PROVE)
                    rsa_sequences.require_aes(opened)
                except (TokenError, ItemError):
                    return False
                return Wrapping(self._calls, self._found).wrapped_length(opened) == length

        if self._found.value_len_after_unwrap:
            self._set(value_len_after_unwrap=all(told(length) for length in (0, 1, 5, 31, 32, 33, 100)))
        others = (1, 5, 8, 15, 17, 23, 25, 31, 33, 40, 64)
        self._set(
            aes_length_by_use=all(works(length) for length in (16, 24, 32)) and not any(works(one) for one in others)
        )
        return True


def _new_private_key(spec: PairSpec) -> bytes:
    kind = PAIR_KINDS[spec]
    private = (
        rsa.generate_private_key(65537, kind.bits)
        if kind.key_type is CKK.RSA
        else ec.generate_private_key(CURVES[spec])
    )
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _aes_prover(cryptoki: Cryptoki, found: Capabilities) -> RsaSequences:
    wrapping = Wrapping(cryptoki, found)
    keys = BackingKeys(wrapping, found, lambda *_, **__: None)
    return RsaSequences(wrapping, keys, KeyPairs(wrapping, keys.objects, found), found)


def _padding(algorithm: Oaep) -> padding.OAEP:
    hashed = hashes.SHA256() if algorithm is Oaep.SHA_256 else hashes.SHA1()  # noqa: S303  # RSAES_OAEP_SHA_1 is one of KMS's
    return padding.OAEP(padding.MGF1(hashed), hashed, None)
