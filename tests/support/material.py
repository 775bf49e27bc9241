"""Key pairs on a token's session, for tests of what is done with them. RSA pairs take long to make: one of each kind is shared."""

from __future__ import annotations

import functools
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from hsmkms.core import context
from hsmkms.core.ciphertext import Header, Mode, cka_id
from hsmkms.core.commands import KeyRef
from hsmkms.core.material_commands import (
    GenerateDataKeyPair,
    KeyPairRef,
    Oaep,
    PairSpec,
    PairUse,
    RewrapFromRsa,
    RewrapToRsa,
)
from hsmkms.hsm.agreement import Agreements
from hsmkms.hsm.imports import ImportSequences
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.key_pairs import KeyPairs
from hsmkms.hsm.mac_keys import MacKeys
from hsmkms.hsm.macs import MacSequences
from hsmkms.hsm.pair_sequences import PairSequences
from hsmkms.hsm.rsa import RsaSequences
from hsmkms.hsm.signing import SigningSequences
from support.sealing import CONTEXT, Sealed

CANONICAL = context.canonical(CONTEXT)
HASHES = {Oaep.SHA_1: hashes.SHA1(), Oaep.SHA_256: hashes.SHA256()}
DEPLOYMENT = b"hsm-kms/deployment-1"


class Material:
    """Everything that has to do with key pairs, on one session."""

    def __init__(self, session) -> None:
        wrapping, keys, found = session.wrapping, session.keys, session.found
        self.found = found
        self.objects = keys.objects
        self.pairs = KeyPairs(wrapping, keys.objects, found)
        self.macs = MacKeys(wrapping, keys.objects, found)
        self.rsa = RsaSequences(wrapping, keys, self.pairs, found)
        self.made = PairSequences(wrapping, keys, self.pairs, found)
        self.imports = ImportSequences(wrapping, keys, self.pairs, self.rsa, found)
        self.signing = SigningSequences(self.pairs, session.cryptoki, found)
        self.mac_sequences = MacSequences(self.macs, session.cryptoki)
        self.agreements = Agreements(self.pairs, found)
        self.shared = functools.cache(self.generate)

    def generate(self, spec=PairSpec.RSA_2048, use=PairUse.ENCRYPT, number=0) -> KeyPairRef:
        """Generate a key pair; return how the front names it."""
        del number  # tells shared pairs apart
        identifier = cka_id(os.urandom(16), 1)
        return KeyPairRef(identifier, spec, use, self.pairs.generate(identifier, spec, use, DEPLOYMENT))

    @property
    def oaeps(self) -> list[Oaep]:
        """The algorithms that the token has."""
        return [one for one, has in ((Oaep.SHA_1, self.found.oaep_sha1), (Oaep.SHA_256, self.found.oaep_sha256)) if has]


def public_key(key: KeyPairRef):
    """Return a key pair's public key for software."""
    return serialization.load_der_public_key(key.public_key)


def oaep(algorithm: Oaep) -> padding.OAEP:
    """Return an algorithm's padding for software."""
    return padding.OAEP(padding.MGF1(HASHES[algorithm]), HASHES[algorithm], None)


def encrypted(key: KeyPairRef, algorithm: Oaep, plaintext: bytes) -> bytes:
    """Encrypt in software."""
    loaded = public_key(key)
    assert isinstance(loaded, rsa.RSAPublicKey)
    return loaded.encrypt(plaintext, oaep(algorithm))


def largest(key: KeyPairRef, algorithm: Oaep) -> int:
    """Return the longest plaintext that a key takes."""
    return PAIR_KINDS[key.spec].bits // 8 - 2 * HASHES[algorithm].digest_size - 2


def from_rsa(source: KeyPairRef, algorithm: Oaep, ciphertext: bytes, destination: KeyRef) -> RewrapFromRsa:
    """Return the command."""
    return RewrapFromRsa(source, algorithm, ciphertext, destination, os.urandom(16), CANONICAL)


def to_rsa(source: Sealed, destination: KeyPairRef, algorithm: Oaep) -> RewrapToRsa:
    """Return the command."""
    return RewrapToRsa(source.key, source.digest, source.blob.wrapped, source.blob.header.mode, destination, algorithm)


def data_key_pair(destination: KeyRef, spec: PairSpec, *, with_plaintext: bool) -> GenerateDataKeyPair:
    """Return the command."""
    header = Header(
        destination.suite,
        Mode.PRIVATE_KEY,
        destination.cka_id[:16],
        int.from_bytes(destination.cka_id[16:], "big"),
        0,
        os.urandom(16),
        PAIR_KINDS[spec].sealed_as,
    )
    return GenerateDataKeyPair(destination, header.to_bytes(), CANONICAL, spec, int(with_plaintext))


def fields(value: bytes) -> list[bytes]:
    """Return the fields of a result, each of which stands after its length."""
    found, position = [], 0
    while position < len(value):
        end = position + 4 + int.from_bytes(value[position : position + 4], "big")
        found.append(value[position + 4 : end])
        position = end
    return found
