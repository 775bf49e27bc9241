"""The probe: what this token really does, found with known answers on session objects.

Mechanism numbers are no guide: 0x210A is RFC 5649 in one library and PKCS#7 then RFC 3394 in another. So each finding is an answer
compared with software (`cryptography`), with the templates that the service uses. Where the token lets nobody create a key from a
value (FIPS), a finding is only that the token agrees with itself, and `Capabilities.known_answers` is false.

It is run once per start of the service, in a worker that serves nothing yet. It makes one RSA-2048 pair, which is most of its time
(0.1 to 0.5 s with SoftHSM), leaves no object behind, and holds no secret: its keys are random and for this purpose only. A refused call
is a finding; an answer that says that the token is gone is not, and is raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from ctypes import c_ulong, c_void_p
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import cmac, keywrap
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsmkms.core.ciphertext import NONCE_BYTES, Suite
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK, CKM, CKO, CKR
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Handle, Mechanism
from hsmkms.hsm.derivations import KDF_LABEL, Derivation
from hsmkms.hsm.errors import TokenError
from hsmkms.hsm.probing import SESSION, Probing
from hsmkms.hsm.sequences import Gcm
from hsmkms.hsm.signing_probe import SigningProbe
from hsmkms.hsm.templates import (
    BACKING_KEY,
    DATA_KEY_DECRYPT,
    DATA_KEY_ENCRYPT,
    PAYLOAD,
    PAYLOAD_GENERATED,
    PAYLOAD_READABLE,
    USAGES,
    WRAPPING_KEY_UNWRAP,
    WRAPPING_KEY_WRAP,
    Attributes,
    Template,
    render,
)
from hsmkms.hsm.wrapping import Wrapping

_BARE: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
)


def derive_in_software(suite: Suite, key: bytes, digest: bytes) -> bytes:
    """Return the wrapping key that a suite derives from a backing key of 32 bytes and a digest of 32 bytes."""
    if suite is Suite.AES_CBC_ENCRYPT_DATA:
        encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
        return encryptor.update(digest) + encryptor.finalize()
    derived = b""
    for counter in (1, 2):
        mac = cmac.CMAC(algorithms.AES(key))
        mac.update(counter.to_bytes(4, "big") + KDF_LABEL + b"\0" + digest + (256).to_bytes(4, "big"))
        derived += mac.finalize()
    return derived


def probe(cryptoki: Cryptoki) -> Capabilities:
    """Find out what the token of a session can do.

    Raises:
        TokenError: the token went away meanwhile, or has no room for a session object.
    """
    leftovers = Template(((CKA.CLASS, CKO.SECRET_KEY), (CKA.TOKEN, False)))
    before = set(cryptoki.find(leftovers))
    try:
        return _Probe(cryptoki, Capabilities()).run()
    finally:
        # SoftHSM 2.6.1 keeps a half-made object when it refuses an attribute in C_GenerateKey, and tells no handle.
        for handle in set(cryptoki.find(leftovers)) - before:
            cryptoki.destroy_object(c_ulong(handle))


class _Probe(Probing):
    def run(self) -> Capabilities:
        self._set(
            allowed_mechanisms=self._attempt(self._allowed_mechanisms),
            copyable=self._attempt(self._copyable),
            modifiable=self._attempt(self._modifiable),
            unnamed_usages_off=self._attempt(self._unnamed_usages_off),
            unextractable=self._attempt(self._unextractable),
            usages_hold=self._attempt(self._usages_hold),
            created_objects=self._attempt(self._created_objects),
        )
        self._set(known_answers=self._found.created_objects)
        self._set(derive_template=self._attempt(self._derive_template))
        self._set(
            aes_key_wrap=self._attempt(lambda: self._key_wrap(CKM.AES_KEY_WRAP, 32, keywrap.aes_key_wrap)),
            aes_key_wrap_padded=self._padded(),
        )
        self._set(
            suite_1=self._attempt(lambda: self._suite(Suite.AES_CBC_ENCRYPT_DATA)),
            suite_2=self._attempt(lambda: self._suite(Suite.SP800_108_CMAC_COUNTER)),
        )
        self._attempt(self._readable)
        self._attempt(self._gcm)
        return SigningProbe(self._calls, self._found).run()

    # Templates.

    def _copyable(self) -> bool:
        """Accepted, and no copy can be made: NSS takes it for a session object, ignores it, and refuses it for a token object."""
        copy = self._calls.module.function("C_CopyObject", c_ulong, c_ulong, c_void_p, c_ulong, c_void_p)
        with self._calls.scratch() as made:
            key = self._generate(made, Template((*_BARE, (CKA.COPYABLE, False))))
            copied, template = Handle(), Template(SESSION)
            if copy(self._calls.session, key, template.pointer, template.count, copied.pointer) != CKR.OK:
                return True
            made.add(copied)
        return False

    def _modifiable(self) -> bool:
        """Accepted, and no usage can be added."""
        change = self._calls.module.function("C_SetAttributeValue", c_ulong, c_ulong, c_void_p, c_ulong)
        with self._calls.scratch() as made:
            key = self._generate(made, Template((*_BARE, (CKA.MODIFIABLE, False))))
            usage = Template(((CKA.DECRYPT, True),))
            return bool(change(self._calls.session, key, usage.pointer, usage.count) != CKR.OK)

    def _allowed_mechanisms(self) -> bool:
        """Accepted, and a mechanism that is not allowed is refused."""
        with self._calls.scratch() as made:
            attributes: Attributes = (*_BARE, (CKA.ENCRYPT, True), (CKA.ALLOWED_MECHANISMS, (CKM.AES_GCM,)))
            key = self._generate(made, Template(attributes))
            try:
                self._calls.encrypt_init(Mechanism(CKM.AES_ECB).pointer, key)
            except TokenError:
                return True
            # The operation that was begun must be ended, or it stays active in this session.
            block = Buffer(16)
            block.put(bytes(16))
            self._buffer.make_room()
            self._calls.encrypt(block.pointer, block.length, self._buffer.pointer, self._buffer.length_pointer)
        return False

    def _unextractable(self) -> bool:
        """A key that may not leave the token is not wrapped: NSS 3.87 wraps it."""
        with self._calls.scratch() as made:
            key = self._generate(made, Template(_BARE))
            wraps = self._generate(made, render(WRAPPING_KEY_WRAP, self._found))
            try:
                self._wrapped(Mechanism(CKM.AES_KEY_WRAP), wraps, key)
            except TokenError:
                return True
        return False

    def _usages_hold(self) -> bool:
        """A key that may not derive does not: with NSS 3.87, one derives by CKM_AES_CBC_ENCRYPT_DATA all the same."""
        for suite in BACKING_KEY:
            with self._calls.scratch() as made:
                key = self._generate(made, Template((*_BARE, (CKA.DERIVE, False))))
                derived, template = Handle(), render(WRAPPING_KEY_WRAP, self._found)
                mechanism = Derivation(suite).of(os.urandom(32))
                try:
                    self._calls.derive_key(mechanism, key, template.pointer, template.count, derived.pointer)
                except TokenError:
                    continue
                made.add(derived)
                return False
        return True

    def _unnamed_usages_off(self) -> bool:
        with self._calls.scratch() as made:
            key = self._generate(made, Template(_BARE))
            return all(self._value(key, usage) in (b"\0", None) for usage in USAGES)

    def _created_objects(self) -> bool:
        with self._calls.scratch() as made:
            self._create(made, PAYLOAD, os.urandom(32))
        return True

    def _derive_template(self) -> bool:
        """Accepted, and no readable key comes out of a key that has it."""
        mechanism = Wrapping(self._calls, self._found)._derivations  # noqa: SLF001  # the same derivations, without a second copy
        with_template = replace(self._found, derive_template=True)
        for suite in BACKING_KEY:
            with self._calls.scratch() as made:
                try:
                    key = self._generate(made, render(BACKING_KEY[suite], with_template, extra=SESSION))
                    wrapping = render(WRAPPING_KEY_WRAP, self._found)
                    handle = Handle()
                    digest = os.urandom(32)
                    self._calls.derive_key(
                        mechanism[suite].of(digest), key, wrapping.pointer, wrapping.count, handle.pointer
                    )
                    made.add(handle)
                except TokenError:
                    continue
                readable = Template((*_BARE[:-2], (CKA.SENSITIVE, False), (CKA.EXTRACTABLE, True)))
                try:
                    self._calls.derive_key(
                        mechanism[suite].of(digest), key, readable.pointer, readable.count, handle.pointer
                    )
                    return self._value(made.add(handle)) is None
                except TokenError:
                    return True
        return False

    # Mechanisms.

    def _key_wrap(self, mechanism: CKM, length: int, software: Callable[[bytes, bytes], bytes]) -> bool:
        number = Mechanism(mechanism)
        drop = () if mechanism is CKM.AES_KEY_WRAP else (CKA.ALLOWED_MECHANISMS,)
        with self._calls.scratch() as made:
            key_value, value = os.urandom(32), os.urandom(length)
            wraps = self._key(made, WRAPPING_KEY_WRAP, key_value, drop=drop)
            if not self._found.created_objects:
                payload = self._generate(
                    made,
                    render(PAYLOAD_GENERATED, self._found, extra=((CKA.VALUE_LEN, length),)),
                    CKM.GENERIC_SECRET_KEY_GEN,
                )
                return len(self._wrapped(number, wraps, payload)) == (length + 7) // 8 * 8 + 8
            wrapped = self._wrapped(number, wraps, self._create(made, PAYLOAD, value))
            if wrapped != software(key_value, value):
                return False
            unwraps = self._key(made, WRAPPING_KEY_UNWRAP, key_value, drop=drop)
            again = self._unwrapped(made, number, unwraps, wrapped, PAYLOAD)
            return self._wrapped(number, wraps, again) == wrapped

    def _padded(self) -> str:
        if not self._found.created_objects:
            return ""  # nothing short of a known answer tells RFC 5649 from its imitations
        for mechanism in (CKM.AES_KEY_WRAP_KWP, CKM.AES_KEY_WRAP_PAD):
            lengths = (1, 8, 13, 31)
            if all(
                self._attempt(lambda m=mechanism, n=length: self._key_wrap(m, n, keywrap.aes_key_wrap_with_padding))  # type: ignore[misc]
                for length in lengths
            ):
                return f"0x{mechanism:X}"
        return ""

    def _suite(self, suite: Suite) -> bool:
        wrapping = Wrapping(self._calls, self._found)
        with self._calls.scratch() as made:
            value, payload, digest = os.urandom(32), os.urandom(32), os.urandom(32)
            key = self._key(made, BACKING_KEY[suite], value)
            if not self._found.created_objects:
                target = self._generate(made, render(PAYLOAD_GENERATED, self._found), CKM.GENERIC_SECRET_KEY_GEN)
                wrapped = wrapping.wrap(key, suite, digest, target)
                return wrapping.proves(key, suite, digest, wrapped)
            wrapped = wrapping.wrap(key, suite, digest, self._create(made, PAYLOAD, payload))
            expected = keywrap.aes_key_wrap(derive_in_software(suite, value, digest), payload)
            return wrapped == expected and wrapping.proves(key, suite, digest, wrapped)

    def _readable(self) -> bool:
        number = Mechanism(CKM.AES_KEY_WRAP)
        with self._calls.scratch() as made:
            key, value = os.urandom(32), os.urandom(32)
            if not self._found.created_objects:
                return False  # a token that takes no value is not asked to show one: everything goes by mode ENVELOPE
            unwraps = self._key(made, WRAPPING_KEY_UNWRAP, key)
            wrapped = keywrap.aes_key_wrap(key, value)
            length = self._value(self._unwrapped(made, number, unwraps, wrapped, PAYLOAD), CKA.VALUE_LEN)
            self._set(value_len_after_unwrap=length == (32).to_bytes(8, "little"))
            self._set(
                readable_objects=self._value(self._unwrapped(made, number, unwraps, wrapped, PAYLOAD_READABLE)) == value
            )
        return True

    def _gcm(self) -> bool:
        gcm, plain, out = Gcm(), Buffer(64), self._buffer
        with self._calls.scratch() as made:
            key, text, nonce = os.urandom(32), os.urandom(13), os.urandom(NONCE_BYTES)
            encrypts = self._key(made, DATA_KEY_ENCRYPT, key)
            plain.put(text)
            out.make_room()
            self._calls.encrypt_init(gcm.of(nonce), encrypts)
            self._calls.encrypt(plain.pointer, plain.length, out.pointer, out.length_pointer)
            sealed, used = out.get(), bytes(gcm.nonce)
            if not self._found.created_objects:
                self._set(aes_gcm=len(sealed) == len(text) + 16, gcm_nonce="caller" if used == nonce else "token")
                return True
            try:
                right = AESGCM(key).decrypt(used, sealed, None) == text
            except InvalidTag:
                return False
            decrypts = self._create(made, DATA_KEY_DECRYPT, key)
            opened = self._opened(gcm, decrypts, used, sealed) == text
            changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
            refused = not self._attempt(lambda: self._opened(gcm, decrypts, used, changed) is not None)
            self._set(aes_gcm=right and opened and refused, gcm_nonce="caller" if used == nonce else "token")
        return True

    def _opened(self, gcm: Gcm, key: c_ulong, nonce: bytes, sealed: bytes) -> bytes:
        source, out = Buffer(64), self._buffer
        source.put(sealed)
        out.make_room()
        self._calls.decrypt_init(gcm.of(nonce), key)
        self._calls.decrypt(source.pointer, source.length, out.pointer, out.length_pointer)
        return out.get()
