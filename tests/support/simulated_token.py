"""A token in memory: `core.ports.Token`, with `cryptography` and the reference decoder.

It really derives, wraps, encrypts, signs and proves, refuses what a token refuses, and passes the contract suites that the real one
passes (tests/contract). Which features it has can be chosen: `EVERYTHING`, or those of SoftHSM.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsmkms.core import material_commands as material
from hsmkms.core.ciphertext import (
    CANARY_VALUE,
    CKA_ID_BYTES,
    KEY_UUID_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    WRAPPED_DATA_KEY_BYTES,
    Header,
    KeyType,
    Mode,
    Suite,
    derivation_digest,
    is_direct_length,
    parse_header,
    sealed_digest,
    wrapped_bytes,
)
from hsmkms.core.commands import Decrypt, Encrypt, GenerateDataKey, KeyRef, Rewrap, Verify
from hsmkms.core.errors import (
    DependencyTimeoutException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KeyUnavailableException,
    KMSInternalException,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import (
    Command,
    ImportWrapping,
    KeyPairRef,
    MacHash,
    MacKeyRef,
    Oaep,
    PairSpec,
    PairUse,
    Signing,
)
from hsmkms.core.model import (
    DataKeyPairSpec,
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    MacAlgorithm,
    SigningAlgorithm,
    WrappingAlgorithm,
)
from hsmkms.core.ports import Call, ImportedMaterial
from support import reference_decoder as reference

_RSA_SPECS = {KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096}
_NO_TOKEN_HAS = {spec for spec in KeySpec if spec.startswith(("SM2", "ML_"))}
EVERYTHING = TokenFeatures(
    suites=frozenset({Suite.AES_CBC_ENCRYPT_DATA}),
    proves_lengths=True,
    key_specs=frozenset(set(KeySpec) - _NO_TOKEN_HAS),
    imported_specs=frozenset({KeySpec.SYMMETRIC_DEFAULT, *_RSA_SPECS}),
    key_pair_specs=frozenset(spec for spec in DataKeyPairSpec if not spec.startswith(("SM2", "ML_"))),
    encryption_algorithms=frozenset(set(EncryptionAlgorithm) - {EncryptionAlgorithm.SM2PKE}),
    signing_algorithms=frozenset(set(SigningAlgorithm) - {SigningAlgorithm.SM2DSA, SigningAlgorithm.ML_DSA_SHAKE_256}),
    mac_algorithms=frozenset(MacAlgorithm),
    key_agreement_algorithms=frozenset(KeyAgreementAlgorithm),
    wrapping_algorithms=frozenset(one for one in WrappingAlgorithm if one.startswith(("RSAES_OAEP", "RSA_AES"))),
)
"""Everything that a token of this service can do."""
LIKE_SOFTHSM = TokenFeatures(
    suites=frozenset({Suite.AES_CBC_ENCRYPT_DATA}),
    key_specs=EVERYTHING.key_specs - {KeySpec.ECC_NIST_EDWARDS25519},
    imported_specs=frozenset({KeySpec.SYMMETRIC_DEFAULT}),
    key_pair_specs=EVERYTHING.key_pair_specs - {DataKeyPairSpec.ECC_NIST_EDWARDS25519},
    encryption_algorithms=EVERYTHING.encryption_algorithms - {EncryptionAlgorithm.RSAES_OAEP_SHA_256},
    signing_algorithms=frozenset(one for one in EVERYTHING.signing_algorithms if not one.startswith("ED25519")),
    mac_algorithms=EVERYTHING.mac_algorithms,
    key_agreement_algorithms=EVERYTHING.key_agreement_algorithms,
    wrapping_algorithms=frozenset({WrappingAlgorithm.RSAES_OAEP_SHA_1}),
    needs={
        "RSAES_OAEP_SHA_256": "CKM_RSA_PKCS_OAEP with SHA-256",
        "ECC_NIST_EDWARDS25519": "CKM_EC_EDWARDS_KEY_PAIR_GEN (PKCS#11 3.0) of Ed25519",
        "RSA_AES_KEY_WRAP_SHA_256": "CKM_AES_KEY_WRAP_PAD that is RFC 5649",
        "RSA_2048": "C_UnwrapKey of an RSA private key by RFC 5649",
    },
)
"""Less: no OAEP with SHA-256, no Ed25519, no proof of every length, no import of private keys."""

_HASHES = {"1": hashes.SHA1, "224": hashes.SHA224, "256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
_CURVES = {
    PairSpec.ECC_NIST_P256: ec.SECP256R1,
    PairSpec.ECC_NIST_P384: ec.SECP384R1,
    PairSpec.ECC_NIST_P521: ec.SECP521R1,
    PairSpec.ECC_SECG_P256K1: ec.SECP256K1,
}
_BITS = {PairSpec.RSA_2048: 2048, PairSpec.RSA_3072: 3072, PairSpec.RSA_4096: 4096}
_SIMPLE_PROOFS = (16, 24, 32)
"""The lengths that a token can prove of what it unwrapped by RSA, if it does not tell the length itself."""
_FAILED = "The token failed."


class SimulatedToken:
    """`core.ports.Token`, refusing what a token refuses."""

    def __init__(
        self, *, features: TokenFeatures = EVERYTHING, seals_directly: bool = True, suite: Suite | None = None
    ) -> None:
        self.features = features if seals_directly else dataclasses.replace(features, seals_directly=False)
        self.suite = suite or min(features.suites)
        self.gone = False
        self.asked: list[Command] = []
        self.destroyed: list[bytes] = []
        self._values: dict[bytes, bytes] = {}
        self._pairs: dict[bytes, tuple[PairSpec, PairUse, Any]] = {}
        self._mac_keys: dict[bytes, bytes] = {}
        self._import_key = os.urandom(32)

    @property
    def seals_directly(self) -> bool:
        return self.features.seals_directly

    # Symmetric keys

    async def rewrap(self, call: Call, command: Rewrap) -> bytes:
        self._ask(call, command)
        source, destination = self._value(command.source), self._value(command.destination)
        opened = _unwrap(source, command)
        return _wrap(
            reference.derive(destination, command.destination_digest, command.destination.suite), command.mode, opened
        )

    async def verify(self, call: Call, command: Verify) -> None:
        self._ask(call, command)
        _unwrap(self._value(command.source), command)

    async def encrypt(self, call: Call, command: Encrypt) -> bytes:
        self._ask(call, command)
        header = _header_of(command.header, command.destination)
        if header.length != len(command.plaintext):
            raise KMSInternalException(_FAILED, detail="a header of another length than the plaintext")
        return self._sealed(command.destination, header, command.context, command.plaintext)

    async def decrypt(self, call: Call, command: Decrypt) -> bytes:
        self._ask(call, command)
        header = _header_of(command.header, command.source)
        value = self._value(command.source)
        if header.mode is Mode.ENVELOPE:
            fits = len(command.wrapped) == WRAPPED_DATA_KEY_BYTES and len(command.sealed) == (
                NONCE_BYTES + header.length + TAG_BYTES
            )
        else:
            fits = not command.sealed and (
                header.mode is Mode.PRIVATE_KEY or len(command.wrapped) == wrapped_bytes(header.length)
            )
        if not fits:
            raise InvalidCiphertextException(detail="a body of another length than its header says")
        opened = _unwrap(
            value, Verify(command.source, command.source_digest, command.wrapped, header.mode, header.key_type)
        )
        if header.mode is Mode.PRIVATE_KEY:
            return reference.without_tail(opened)
        if header.mode is not Mode.ENVELOPE:
            return opened
        try:
            return AESGCM(opened).decrypt(command.sealed[:NONCE_BYTES], command.sealed[NONCE_BYTES:], None)
        except InvalidTag:
            raise InvalidCiphertextException(detail="the tag does not fit") from None

    async def generate_data_key(self, call: Call, command: GenerateDataKey) -> tuple[bytes, bytes]:
        self._ask(call, command)
        header = _header_of(command.header, command.destination)
        plaintext = os.urandom(header.length)
        body = self._sealed(command.destination, header, command.context, plaintext)
        return body, plaintext if command.with_plaintext else b""

    async def random(self, call: Call, length: int) -> bytes:
        self._ask(call)
        if not 1 <= length <= 1024:
            raise KMSInternalException(_FAILED, detail=f"{length} random bytes")
        return os.urandom(length)

    async def generate_backing_key(self, key_id: bytes, suite: Suite) -> bytes:
        self._ask()
        self._require(suite is self.suite, f"suite {suite}")
        _require_cka_id(key_id)
        self._values[key_id] = os.urandom(32)
        return reference.canary(self._values[key_id], key_id[:KEY_UUID_BYTES], suite)

    # RSA keys to encrypt with

    async def rewrap_to_rsa(self, call: Call, command: material.RewrapToRsa) -> bytes:
        self._ask(call, command)
        if command.mode not in (Mode.DIRECT, Mode.DIRECT_PADDED):
            raise KMSInternalException(_FAILED, detail=f"mode {command.mode} to RSA")
        opened = _unwrap(self._value(command.source), command)
        return self._oaep_wrapped(command.destination, command.algorithm, opened)

    async def rewrap_from_rsa(self, call: Call, command: material.RewrapFromRsa) -> bytes:
        self._ask(call, command)
        opened = self._oaep_opened(command.source, command.algorithm, command.oaep)
        self._value(command.destination)
        provable = bool(opened) if self.features.proves_lengths else len(opened) in _SIMPLE_PROOFS
        padded = self.features.wraps_padded and len(opened) <= 256
        if not provable or not (is_direct_length(len(opened)) or padded):
            raise UnsupportedOperationException(
                "The token cannot prove the length of what the ciphertext holds, or cannot wrap it exactly.",
                detail=f"{len(opened)} bytes",
            )
        mode = Mode.DIRECT if is_direct_length(len(opened)) else Mode.DIRECT_PADDED
        key = command.destination
        version = int.from_bytes(key.cka_id[KEY_UUID_BYTES:], "big")
        header = Header(key.suite, mode, key.cka_id[:KEY_UUID_BYTES], version, len(opened), command.salt)
        return header.to_bytes() + self._sealed(key, header, command.context, opened)

    async def rewrap_rsa(self, call: Call, command: material.RewrapRsa) -> bytes:
        self._ask(call, command)
        opened = self._oaep_opened(command.source, command.algorithm, command.oaep)
        if not opened:
            raise UnsupportedOperationException("The ciphertext holds nothing.")
        return self._oaep_wrapped(command.destination, command.destination_algorithm, opened)

    async def verify_rsa(self, call: Call, command: material.VerifyRsa) -> None:
        self._ask(call, command)
        self._oaep_opened(command.source, command.algorithm, command.oaep)

    async def encrypt_rsa(self, call: Call, command: material.EncryptRsa) -> bytes:
        self._ask(call, command)
        return self._oaep_wrapped(command.destination, command.algorithm, command.plaintext)

    async def decrypt_rsa(self, call: Call, command: material.DecryptRsa) -> bytes:
        self._ask(call, command)
        return self._oaep_opened(command.source, command.algorithm, command.oaep)

    # Key pairs and HMAC keys

    async def generate_data_key_pair(
        self, call: Call, command: material.GenerateDataKeyPair
    ) -> tuple[bytes, bytes, bytes]:
        self._ask(call, command)
        header = _header_of(command.header, command.destination)
        spec = PairSpec(command.spec)
        kind = KeyType.RSA if spec in _BITS else KeyType.EC if spec in _CURVES else KeyType.EDWARDS
        if header.mode is not Mode.PRIVATE_KEY or header.key_type is not kind:
            raise KMSInternalException(_FAILED, detail="a header that is none for this kind of key pair")
        self._require(spec.name in self.features.key_pair_specs, spec.name)
        private = _new_private_key(spec)
        body = self._sealed(command.destination, header, command.context, pkcs8(private))
        return public_der(private), body, pkcs8(private) if command.with_plaintext else b""

    async def generate_key_pair(self, cka_id: bytes, spec: PairSpec, use: PairUse) -> bytes:
        self._ask()
        _require_cka_id(cka_id)
        self._require(spec.name in self.features.key_specs, spec.name)
        private = _new_private_key(spec)
        self._pairs[cka_id] = (spec, use, private)
        return public_der(private)

    async def generate_mac_key(self, cka_id: bytes, length: int) -> bytes:
        self._ask()
        _require_cka_id(cka_id)
        if length not in (28, 32, 48, 64):
            raise KMSInternalException(_FAILED, detail=f"an HMAC key of {length} bytes")
        self._mac_keys[cka_id] = os.urandom(length)
        return _hmac(self._mac_keys[cka_id], MacHash.SHA_256, CANARY_VALUE)

    async def sign(self, call: Call, command: material.Sign) -> bytes:
        self._ask(call, command)
        private = self._pair(command.key, PairUse.SIGN)
        algorithm = Signing(command.algorithm)
        if algorithm.name.startswith("ED25519"):
            self._require(algorithm is Signing.ED25519_SHA_512, algorithm.name)  # `cryptography` has no Ed25519ph
            return private.sign(command.message)
        digest = _digest_of(algorithm, command.message)
        return private.sign(command.message, *_scheme(algorithm, digest))

    async def verify_signature(self, call: Call, command: material.VerifySignature) -> bool:
        self._ask(call, command)
        public = self._pair(command.key, PairUse.SIGN).public_key()
        algorithm = Signing(command.algorithm)
        arguments: tuple[Any, ...] = ()
        if algorithm.name.startswith("ED25519"):
            self._require(algorithm is Signing.ED25519_SHA_512, algorithm.name)
        else:
            arguments = _scheme(algorithm, _digest_of(algorithm, command.message))
        try:
            public.verify(command.signature, command.message, *arguments)
        except InvalidSignature:
            return False
        return True

    async def mac(self, call: Call, command: material.Mac) -> bytes:
        self._ask(call, command)
        return _hmac(self._mac_key(command.key), MacHash(command.algorithm), command.message)

    async def verify_mac(self, call: Call, command: material.VerifyMac) -> bool:
        self._ask(call, command)
        return _hmac(self._mac_key(command.key), MacHash(command.algorithm), command.message) == command.mac

    async def agree(self, call: Call, command: material.Agree) -> bytes:
        self._ask(call, command)
        private = self._pair(command.key, PairUse.AGREE)
        try:
            other = serialization.load_der_public_key(command.public_key)
            if not isinstance(other, ec.EllipticCurvePublicKey):
                raise ValueError("not on a curve")  # noqa: TRY301, TRY004 - one refusal for all of them
            return private.exchange(ec.ECDH(), other)
        except ValueError as error:
            raise ValidationException("The public key is none on the curve of the KMS key.") from error

    # Import

    async def generate_import_pair(self, call: Call, digest: bytes, spec: PairSpec) -> tuple[bytes, bytes]:
        self._ask(call)
        private = _new_private_key(spec)
        return public_der(private), keywrap.aes_key_wrap(
            reference.derive(self._import_key, digest), _padded(pkcs8(private))
        )

    async def import_key(self, material: ImportedMaterial) -> bytes:
        self._ask()
        try:
            opened = keywrap.aes_key_unwrap(reference.derive(self._import_key, material.digest), material.wrapped)
        except keywrap.InvalidUnwrap:
            raise InvalidImportTokenException("The import token is not one that this service issued.") from None
        pair = serialization.load_der_private_key(reference.without_tail(opened), None)
        value = _imported(pair, material)
        if material.kind is None:
            if len(value) != 32:
                raise ValidationException("The key material is not exactly 32 bytes long.")
            proof = reference.canary(value, material.cka_id[:KEY_UUID_BYTES], material.suite)
            entry: Callable[[], None] = lambda: self._values.__setitem__(material.cka_id, value)  # noqa: E731
        else:
            private = _private_key_of(value, material.kind)
            proof, use = public_der(private), material.use
            assert use is not None
            pair_entry = (material.kind, use, private)
            entry = lambda: self._pairs.__setitem__(material.cka_id, pair_entry)  # noqa: E731
        if material.expected not in (b"", proof):
            raise IncorrectKeyMaterialException("The key material is not what was imported into this key before.")
        entry()
        return proof

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        self._ask()
        stores: tuple[dict[bytes, Any], ...] = (self._values, self._pairs, self._mac_keys)
        found = [store.pop(cka_id) for store in stores if cka_id in store]
        self.destroyed += [cka_id] * len(found)
        return len(found)

    # By hand

    def lose(self, cka_id: bytes) -> None:
        """Lose a key, as when somebody destroys it behind the service's back."""
        for store in (self._values, self._pairs, self._mac_keys):
            store.pop(cka_id, None)  # type: ignore[attr-defined]

    def has(self, cka_id: bytes) -> bool:
        """Say whether there is an object of that CKA_ID."""
        return any(cka_id in store for store in (self._values, self._pairs, self._mac_keys))

    # Behind all of them

    def _ask(self, call: Call | None = None, command: Command | None = None) -> None:
        if self.gone:
            raise KeyUnavailableException("The token is out of reach. Try again.")
        if call is not None and call.expiry_ns and call.expiry_ns <= time.monotonic_ns():
            raise DependencyTimeoutException("The token did not answer in time. Try again.")
        if command is not None:
            self.asked.append(command)

    @staticmethod
    def _require(can: bool, what: str) -> None:
        if not can:
            raise UnsupportedOperationException("The token cannot do this.", detail=what)

    def _value(self, key: KeyRef) -> bytes:
        value = self._values.get(key.cka_id)
        if value is None:
            raise _missing(key.cka_id)
        self._require(key.suite is self.suite, f"suite {key.suite}")
        if key.canary != reference.canary(value, key.cka_id[:KEY_UUID_BYTES], key.suite):
            raise _damaged()
        return value

    def _pair(self, key: KeyPairRef, use: PairUse) -> Any:
        found = self._pairs.get(key.cka_id)
        if found is None:
            raise _missing(key.cka_id)
        spec, allowed, private = found
        if (spec, allowed) != (key.spec, key.use) or public_der(private) != key.public_key:
            raise _damaged()
        if allowed is not use:
            raise KMSInternalException(_FAILED, detail="the object does not allow this use")
        return private

    def _mac_key(self, key: MacKeyRef) -> bytes:
        value = self._mac_keys.get(key.cka_id)
        if value is None:
            raise _missing(key.cka_id)
        if key.canary != _hmac(value, MacHash.SHA_256, CANARY_VALUE):
            raise _damaged()
        return value

    def _sealed(self, key: KeyRef, header: Header, context: bytes, plaintext: bytes) -> bytes:
        wrapped, sealed = plaintext, b""
        if header.mode is Mode.ENVELOPE:
            wrapped, nonce = os.urandom(32), os.urandom(NONCE_BYTES)
            sealed = nonce + AESGCM(wrapped).encrypt(nonce, plaintext, None)
        elif header.mode is Mode.PRIVATE_KEY:
            wrapped = _padded(plaintext)
        digest = derivation_digest(header.to_bytes(), context, sealed_digest(sealed))
        return _wrap(reference.derive(self._value(key), digest, key.suite), header.mode, wrapped) + sealed

    def _oaep_opened(self, key: KeyPairRef, algorithm: int, blob: bytes) -> bytes:
        private = self._pair(key, PairUse.ENCRYPT)
        self._require_oaep(algorithm)
        try:
            return private.decrypt(blob, _oaep(Oaep(algorithm)))
        except ValueError:
            raise InvalidCiphertextException(detail="it does not unwrap") from None

    def _oaep_wrapped(self, key: KeyPairRef, algorithm: int, plaintext: bytes) -> bytes:
        public = self._pair(key, PairUse.ENCRYPT).public_key()
        self._require_oaep(algorithm)
        try:
            return public.encrypt(plaintext, _oaep(Oaep(algorithm)))
        except ValueError:
            raise ValidationException("The payload is too long for the RSA key.") from None

    def _require_oaep(self, algorithm: int) -> None:
        name = f"RSAES_OAEP_{Oaep(algorithm).name}"
        self._require(name in self.features.encryption_algorithms, name)


def pkcs8(private: Any) -> bytes:
    """Return a private key as DER PKCS#8."""
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_der(private: Any) -> bytes:
    """Return the public key of a private key as DER SubjectPublicKeyInfo."""
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def wrap_material(public_key: bytes, wrapping: WrappingAlgorithm, value: bytes) -> bytes:
    """Encrypt key material for import, as its owner does."""
    public = serialization.load_der_public_key(public_key)
    scheme = _oaep(Oaep.SHA_256 if wrapping.endswith("256") else Oaep.SHA_1)
    if wrapping.startswith("RSAES_"):
        return public.encrypt(value, scheme)  # type: ignore[union-attr]
    one_time = os.urandom(32)
    return public.encrypt(one_time, scheme) + keywrap.aes_key_wrap_with_padding(one_time, value)  # type: ignore[union-attr]


def _imported(pair: Any, imported: ImportedMaterial) -> bytes:
    """Return what was encrypted under the import pair."""
    with_sha256 = imported.wrapping in (ImportWrapping.OAEP_SHA_256, ImportWrapping.RSA_AES_SHA_256)
    scheme = _oaep(Oaep.SHA_256 if with_sha256 else Oaep.SHA_1)
    modulus = pair.key_size // 8
    try:
        opened: bytes = pair.decrypt(imported.material[:modulus], scheme)
        if imported.wrapping in (ImportWrapping.RSA_AES_SHA_1, ImportWrapping.RSA_AES_SHA_256):
            return keywrap.aes_key_unwrap_with_padding(opened, imported.material[modulus:])
        if len(imported.material) != modulus:
            raise ValueError("bytes after the OAEP ciphertext")  # noqa: TRY301 - one refusal for all of them
    except (ValueError, keywrap.InvalidUnwrap):
        raise InvalidCiphertextException(detail="the material does not unwrap") from None
    return opened


def _private_key_of(value: bytes, kind: PairSpec) -> Any:
    refusal = ValidationException(f"The key material is no private key of kind {kind.name}, DER PKCS#8.")
    try:
        private = serialization.load_der_private_key(value, None)
    except ValueError:
        raise refusal from None
    if not isinstance(private, rsa.RSAPrivateKey) or private.key_size != _BITS.get(kind):
        raise refusal
    return private


_RSA_STOCK: dict[PairSpec, list[Any]] = {}
_RSA_STOCK_SIZE = 6


def _new_private_key(spec: PairSpec) -> Any:
    """Return a private key; of RSA keys, which take long to make, one of the last six again: a test needs no more of them."""
    if spec in _BITS:
        stock = _RSA_STOCK.setdefault(spec, [])
        stock.append(stock.pop(0) if len(stock) >= _RSA_STOCK_SIZE else rsa.generate_private_key(65537, _BITS[spec]))
        return stock[-1]
    return ec.generate_private_key(_CURVES[spec]()) if spec in _CURVES else ed25519.Ed25519PrivateKey.generate()


def _oaep(hash_of_it: Oaep) -> padding.OAEP:
    algorithm = _HASHES[hash_of_it.name.removeprefix("SHA_")]()
    return padding.OAEP(padding.MGF1(algorithm), algorithm, None)


def _digest_of(algorithm: Signing, message: bytes) -> hashes.HashAlgorithm:
    digest = _HASHES[algorithm.name.rpartition("_")[2]]()
    if len(message) != digest.digest_size:
        raise KMSInternalException(_FAILED, detail=f"a digest of {len(message)} bytes")
    return digest


def _scheme(algorithm: Signing, digest: hashes.HashAlgorithm) -> tuple[Any, ...]:
    hashed = utils.Prehashed(digest)
    if algorithm.name.startswith("ECDSA"):
        return (ec.ECDSA(hashed),)
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return (pss if "PSS" in algorithm.name else padding.PKCS1v15(), hashed)


def _hmac(key: bytes, algorithm: MacHash, message: bytes) -> bytes:
    made = hmac.HMAC(key, _HASHES[algorithm.name.removeprefix("SHA_")]())
    made.update(message)
    return made.finalize()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _wrap(key: bytes, mode: int, data: bytes) -> bytes:
    if mode == Mode.DIRECT_PADDED:
        return keywrap.aes_key_wrap_with_padding(key, data)
    return keywrap.aes_key_wrap(key, data)


def _unwrap(value: bytes, command: Rewrap | Verify | material.RewrapToRsa) -> bytes:
    key = reference.derive(value, command.source_digest, command.source.suite)
    try:
        if command.mode == Mode.DIRECT_PADDED:
            return keywrap.aes_key_unwrap_with_padding(key, command.wrapped)
        return keywrap.aes_key_unwrap(key, command.wrapped)
    except keywrap.InvalidUnwrap:
        raise InvalidCiphertextException(detail="it does not unwrap") from None


def _require_cka_id(cka_id: bytes) -> None:
    if len(cka_id) != CKA_ID_BYTES:
        raise KMSInternalException(_FAILED, detail=f"a CKA_ID of {len(cka_id)} bytes")


def _header_of(head: bytes, key: KeyRef) -> Header:
    try:
        header = parse_header(head)
    except InvalidCiphertextException as error:
        raise KMSInternalException(_FAILED, detail=error.detail) from error
    if header.cka_id != key.cka_id or header.suite is not key.suite:
        raise KMSInternalException(_FAILED, detail="a header that names another backing key")
    return header


def _missing(cka_id: bytes) -> KeyUnavailableException:
    return KeyUnavailableException("The key material is not on the token.", detail=cka_id.hex())


def _damaged() -> KeyUnavailableException:
    return KeyUnavailableException("The key material on the token is not what it was.")
