"""The probe of signatures and shared secrets, after `pair_probe`, and with the RSA pair that it made."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from hsmkms.core.material_commands import PairSpec, PairUse, Signing
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK
from hsmkms.hsm.cryptoki import Scratch
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.key_pairs import PUBLIC_EXPONENT, Pair
from hsmkms.hsm.pair_probe import CURVES, PairProbe
from hsmkms.hsm.private_keys import PrivateKeys
from hsmkms.hsm.probing import SESSION
from hsmkms.hsm.public_keys import read_info
from hsmkms.hsm.signing import SCHEMES, Scheme, Signer
from hsmkms.hsm.templates import PAIR, Attributes
from hsmkms.hsm.wrapping import Wrapping

_HASHES: Final = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}


class SigningProbe(PairProbe):
    """The probe on one session."""

    def run(self) -> Capabilities:
        """Return what was known with what was found."""
        self._points()
        super().run()
        self._signing_algorithms()
        agreeing = [
            spec.name for spec, kind in PAIR_KINDS.items() if PairUse.AGREE in kind.allowed and self._agree(spec)
        ]
        self._set(agreeing_key_pairs=" ".join(agreeing))
        return self._found

    def _points(self) -> None:
        """Does ECDH take a point as it is, or only in DER?"""
        if not self._agree(PairSpec.ECC_NIST_P256):
            self._set(ec_points_in_der=True)
            self._set(ec_points_in_der=self._agree(PairSpec.ECC_NIST_P256))

    def _agree(self, spec: PairSpec) -> bool:
        return self._attempt(lambda: self._agrees(spec))

    def _agrees(self, spec: PairSpec) -> bool:
        """The secret shared with a key of software's is the one that software derives, zeros at its beginning and all."""
        pairs = self._key_pairs()
        private = ec.generate_private_key(CURVES[spec])
        with self._calls.scratch() as made:
            pair = self._generated(made, spec, PairUse.AGREE)
            theirs = serialization.load_der_public_key(read_info(self._calls, pair.public, pair.kind))
            if not isinstance(theirs, ec.EllipticCurvePublicKey):
                return False
            point = private.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
            return pairs.shared_x(pair.private, pair.kind, point) == private.exchange(ec.ECDH(), theirs)

    def _generated(self, made: Scratch, spec: PairSpec, use: PairUse) -> Pair:
        kind = PAIR_KINDS[spec]
        private, public = self._key_pairs().generate_pair(kind, *PAIR[use], SESSION, allowed=kind.allowed[use])
        return Pair(made.own(private), made.own(public), kind)

    def _signing_algorithms(self) -> None:
        """An algorithm is there if it works with every kind of key pair that it is for and that the token makes."""
        works: dict[Signing, bool] = {}
        for spec in PAIR_KINDS:
            algorithms = [one for one, scheme in SCHEMES.items() if spec in scheme.specs]
            if not self._found.makes(spec) or spec in (PairSpec.RSA_3072, PairSpec.RSA_4096):
                continue  # longer keys of RSA: seconds each, with no other answer
            with self._calls.scratch() as made:
                pair = self._signing_pair(made, spec)
                for algorithm in algorithms:
                    signs = pair is not None and self._attempt(lambda p=pair, a=algorithm: self._signs(p, SCHEMES[a]))  # type: ignore[misc]
                    works[algorithm] = works.get(algorithm, True) and signs
        self._set(signing_algorithms=" ".join(algorithm.name for algorithm, signs in works.items() if signs))

    def _signing_pair(self, made: Scratch, spec: PairSpec) -> Pair | None:
        pairs: list[Pair] = []

        def imported() -> bool:
            pairs.append(self._imported(made, self._plaintexts[spec]))
            return True

        def generated() -> bool:
            pairs.append(self._generated(made, spec, PairUse.SIGN))
            return True

        # Of RSA, another pair would cost as much as the whole probe.
        known = PAIR_KINDS[spec].key_type is CKK.RSA and spec in self._plaintexts and self._found.imports(spec)
        if not (known and self._attempt(imported)):
            self._attempt(generated)
        return pairs[0] if pairs else None

    def _imported(self, made: Scratch, plaintext: bytes) -> Pair:
        """Return the RSA pair of `pair_probe` as one that signs."""
        kind, use = PAIR_KINDS[PairSpec.RSA_2048], PairUse.SIGN
        pairs, allowed = self._key_pairs(), PAIR_KINDS[PairSpec.RSA_2048].allowed[PairUse.SIGN]
        public, private = PAIR[use]
        template = pairs.private_template(private, kind.key_type, SESSION, allowed)
        privates = PrivateKeys(Wrapping(self._calls, self._found), self._found)
        handle = made.own(pairs.confined(self._unwrapped_private(privates, plaintext, template), private))
        loaded = serialization.load_der_private_key(plaintext, None)
        assert isinstance(loaded, rsa.RSAPrivateKey), "an RSA pair"
        modulus = loaded.public_key().public_numbers().n.to_bytes(kind.coordinate_bytes, "big")
        key: Attributes = ((CKA.MODULUS, modulus), (CKA.PUBLIC_EXPONENT, PUBLIC_EXPONENT))
        return Pair(handle, made.own(pairs.create_public(kind, public, key, SESSION, allowed)), kind)

    def _signs(self, pair: Pair, scheme: Scheme) -> bool:
        """Software accepts the token's signature; so does the token, but of nothing else."""
        signer, message = Signer(self._calls), bytes(range(scheme.digest_bytes or 100))
        signature = signer.sign(pair, scheme, message)
        if not _software_accepts(read_info(self._calls, pair.public, pair.kind), scheme, message, signature):
            return False
        accepted = signer.is_valid(pair, scheme, message, signature)
        changed = bytes(len(message))
        return accepted and not self._attempt(lambda: signer.is_valid(pair, scheme, changed, signature))


def _software_accepts(info: bytes, scheme: Scheme, message: bytes, signature: bytes) -> bool:
    public, hashed = serialization.load_der_public_key(info), _HASHES.get(scheme.digest_bytes, hashes.SHA512())
    try:
        match public:
            case rsa.RSAPublicKey() if scheme.before:
                public.verify(signature, message, padding.PKCS1v15(), utils.Prehashed(hashed))
            case rsa.RSAPublicKey():
                salted = padding.PSS(padding.MGF1(hashed), hashed.digest_size)
                public.verify(signature, message, salted, utils.Prehashed(hashed))
            case ec.EllipticCurvePublicKey():
                public.verify(signature, message, ec.ECDSA(utils.Prehashed(hashed)))
            case ed25519.Ed25519PublicKey():
                public.verify(signature, message)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
