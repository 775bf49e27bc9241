"""What each cryptographic command does on the token: the sequences of docs/ciphertext-format.md.

ReEncrypt (`rewrap`) makes seven calls and no other: derive, unwrap, derive, wrap, destroy three. Its plaintext is in the token and
nowhere else. Whatever a sequence made is destroyed before it ends, however it ends.

Whose fault a failed unwrap is: some return values say so; for the ambiguous ones the source key's canary is run on the same
session. If it holds, the ciphertext is wrong (INVALID_CIPHERTEXT) and the worker goes on; if not, the key or the token is.
What has to do with RSA keys is in `rsa`, what makes key pairs in `pair_sequences`, imports in `imports`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import c_ubyte, c_ulong, c_void_p
from typing import Final, TypeVar

from hsmkms.core.ciphertext import (
    DIRECT_MAX_BYTES,
    MAX_PLAINTEXT_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    WRAP_OVERHEAD_BYTES,
    WRAPPED_DATA_KEY_BYTES,
    Header,
    Mode,
    derivation_digest,
    parse_header,
    sealed_digest,
    wrapped_bytes,
)
from hsmkms.core.commands import Decrypt, Encrypt, GenerateDataKey, KeyRef, Outcome, Random, Rewrap, Verify
from hsmkms.core.errors import InvalidCiphertextException
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM
from hsmkms.hsm.cryptoki import Buffer, Handle, Mechanism
from hsmkms.hsm.errors import ItemError, TokenError
from hsmkms.hsm.private_keys import PrivateKeys
from hsmkms.hsm.templates import (
    DATA_KEY_DECRYPT,
    DATA_KEY_ENCRYPT,
    PAYLOAD,
    PAYLOAD_GENERATED,
    PAYLOAD_READABLE,
    Room,
    Template,
    render,
)
from hsmkms.hsm.wrapping import KeyWrap, Wrapping

T = TypeVar("T")
_LENGTH_BYTES: Final = 4
_PLAIN: Final = frozenset({int(Mode.DIRECT), int(Mode.ENVELOPE)})
"""Modes whose wrapped key is by RFC 3394: a data key or a payload."""
_DIRECT: Final = frozenset({Mode.DIRECT, Mode.DIRECT_PADDED})
_KEY_GEN: Final = Mechanism(CKM.AES_KEY_GEN)
_SECRET_GEN: Final = Mechanism(CKM.GENERIC_SECRET_KEY_GEN)


class GcmParams(ctypes.Structure):
    """`CK_GCM_PARAMS` (PKCS#11 2.40 errata and 3.0, section 2.13.2)."""

    _fields_ = (
        ("pIv", c_void_p),
        ("ulIvLen", c_ulong),
        ("ulIvBits", c_ulong),
        ("pAAD", c_void_p),
        ("ulAADLen", c_ulong),
        ("ulTagBits", c_ulong),
    )


class Gcm:
    """AES-GCM with a 12-byte nonce, a 16-byte tag and no additional data, with memory for the nonce."""

    def __init__(self) -> None:
        self.nonce = (c_ubyte * NONCE_BYTES)()
        params = GcmParams(ctypes.addressof(self.nonce), NONCE_BYTES, NONCE_BYTES * 8, None, 0, TAG_BYTES * 8)
        self._mechanism = Mechanism(CKM.AES_GCM, params, self.nonce)

    def of(self, nonce: bytes) -> c_void_p:
        """Return the mechanism with this nonce; a token that makes its own writes it into `nonce` on encryption."""
        ctypes.memmove(self.nonce, nonce, NONCE_BYTES)
        return self._mechanism.pointer


class Sequences:
    """The commands on one session.

    Args:
        wrapping: The steps on that session.
        keys: The backing keys.
        found: What the token can do.
    """

    def __init__(self, wrapping: Wrapping, keys: BackingKeys, found: Capabilities) -> None:
        self._wrapping = wrapping
        self._cryptoki = wrapping.cryptoki
        self._keys = keys
        self._found = found
        self._payload = render(PAYLOAD, found)
        self._readable = render(PAYLOAD_READABLE, found)
        self._generated = render(PAYLOAD_GENERATED, found)
        self._encrypting = render(DATA_KEY_ENCRYPT, found)
        self._decrypting = render(DATA_KEY_DECRYPT, found)
        self._value = Template(((CKA.VALUE, Room(DIRECT_MAX_BYTES)),))
        self._private_keys = PrivateKeys(wrapping, found)
        self._gcm = Gcm()
        self._in = Buffer(MAX_PLAINTEXT_BYTES + TAG_BYTES)
        self._out = Buffer(MAX_PLAINTEXT_BYTES + 2 * TAG_BYTES)

    def rewrap(self, command: Rewrap) -> bytes:
        """Run ReEncrypt. Returns the new wrapped key.

        Raises:
            ItemError: INVALID_CIPHERTEXT, or a key cannot be used.
            TokenError: the token failed.
        """
        source, destination = command.source, command.destination
        source_handle = self._keys.use(source)
        destination_handle = self._keys.use(destination)
        _require_blocks(command.wrapped)
        if command.mode not in _PLAIN:
            return self._rewrapped(command, destination_handle)
        try:
            return self._wrapping.rewrap(
                source_handle,
                source.suite,
                command.source_digest,
                command.wrapped,
                destination_handle,
                destination.suite,
                command.destination_digest,
            )
        except TokenError as error:
            raise self._keys.judged(error, source) from error

    def _rewrapped(self, command: Rewrap, destination: c_ulong) -> bytes:
        """The same with another key wrap and another kind of object."""
        by, template = self._way(command.mode, command.key_type)
        suite, digest = command.destination.suite, command.destination_digest
        return self._opened(
            command.source,
            command.source_digest,
            command.wrapped,
            template,
            lambda opened: self._wrapping.wrap(destination, suite, digest, opened, by),
            by,
        )

    def _way(self, mode: int, key_type: int) -> tuple[KeyWrap, Template]:
        """Return how what a mode wraps is unwrapped: by which key wrap, into what."""
        match mode:
            case Mode.DIRECT | Mode.ENVELOPE:
                return self._wrapping.plain, self._payload
            case Mode.DIRECT_PADDED:
                return self._padded, self._payload
            case Mode.PRIVATE_KEY:
                return self._private_keys.key_wrap, self._private_keys.template(key_type)
        raise ItemError(Outcome.FAILED, f"unknown mode {mode}")

    @property
    def _padded(self) -> KeyWrap:
        if self._wrapping.padded is None:
            raise ItemError(Outcome.UNSUPPORTED, "the token lacks RFC 5649, which mode 3 needs")
        return self._wrapping.padded

    def verify(self, command: Verify) -> bytes:
        """Unwrap and keep nothing. Returns nothing.

        Raises:
            ItemError: INVALID_CIPHERTEXT, or the key cannot be used.
            TokenError: the token failed.
        """
        by, template = self._way(command.mode, command.key_type)
        self._opened(command.source, command.source_digest, command.wrapped, template, lambda _: None, by)
        return b""

    def encrypt(self, command: Encrypt) -> bytes:
        """Seal a plaintext. Returns the ciphertext's body.

        Raises:
            ItemError: the key cannot be used, the token lacks what the mode needs, or the header does not fit.
            TokenError: the token failed.
        """
        header = checked(command.header, command.destination)
        if header.length != len(command.plaintext):
            raise ItemError(Outcome.FAILED, "a header of another length than the plaintext")
        return self._sealed(command.destination, header, command.header, command.context, command.plaintext)

    def decrypt(self, command: Decrypt) -> bytes:
        """Open a ciphertext. Returns the plaintext.

        Raises:
            ItemError: INVALID_CIPHERTEXT, or the key cannot be used, or the token lacks what the mode needs.
            TokenError: the token failed.
        """
        header = checked(command.header, command.source)
        match header.mode:
            case Mode.PRIVATE_KEY:
                by, template = self._way(header.mode, header.key_type)
                read = self._private_keys.plaintext_of
                return self._opened(command.source, command.source_digest, command.wrapped, template, read, by)
            case Mode.ENVELOPE:
                plaintext = self._opened_envelope(command, header)
            case _:
                plaintext = self._opened_directly(command, header)
        if len(plaintext) != header.length:
            raise ItemError(Outcome.INVALID_CIPHERTEXT, "a plaintext of another length than its header says")
        return plaintext

    def _opened_directly(self, command: Decrypt, header: Header) -> bytes:
        self._require(self._found.readable_objects, f"readable objects, which Decrypt of mode {header.mode} needs")
        if len(command.wrapped) != wrapped_bytes(header.length) or command.sealed:
            raise ItemError(Outcome.INVALID_CIPHERTEXT, "a body of another length than its header says")
        by = self._padded if header.mode is Mode.DIRECT_PADDED else None
        return self._opened(
            command.source, command.source_digest, command.wrapped, self._readable, self._read_value, by
        )

    def _opened_envelope(self, command: Decrypt, header: Header) -> bytes:
        self._require(self._found.aes_gcm, "AES-GCM")
        if (
            len(command.wrapped) != WRAPPED_DATA_KEY_BYTES
            or len(command.sealed) != NONCE_BYTES + header.length + TAG_BYTES
        ):
            raise ItemError(Outcome.INVALID_CIPHERTEXT, "a body of another length than its header says")
        return self._opened(
            command.source,
            command.source_digest,
            command.wrapped,
            self._decrypting,
            lambda data_key: self._decrypted(data_key, command.sealed),
        )

    def generate_data_key(self, command: GenerateDataKey) -> bytes:
        """Make a data key and seal it. Returns `u32 length of the body, body, plaintext or nothing`.

        Without plaintext and of a direct length, the data key is made on the token and never read. Else its bytes come from the
        token's generator and pass through this process's memory.

        Raises:
            ItemError: the key cannot be used, the token lacks what the mode needs, or the header does not fit.
            TokenError: the token failed.
        """
        header = checked(command.header, command.destination)
        if header.mode in _DIRECT and not command.with_plaintext:
            plaintext = b""
            body = self._sealed_unread(command.destination, header, command.header, command.context)
        else:
            plaintext = self._cryptoki.random(header.length)
            body = self._sealed(command.destination, header, command.header, command.context, plaintext)
        return len(body).to_bytes(_LENGTH_BYTES, "big") + body + (plaintext if command.with_plaintext else b"")

    def random(self, command: Random) -> bytes:
        """Return bytes from the token's generator.

        Raises:
            ItemError: FAILED: not 1 to 1,024 bytes.
            TokenError: the token failed.
        """
        if not 1 <= command.length <= 1024:  # GenerateRandom's bound, as Random states it
            raise ItemError(Outcome.FAILED, f"{command.length} random bytes")
        return self._cryptoki.random(command.length)

    def _opened(
        self,
        source: KeyRef,
        digest: bytes,
        wrapped: bytes,
        template: Template,
        use: Callable[[c_ulong], T],
        by: KeyWrap | None = None,
    ) -> T:
        handle = self._keys.use(source)
        _require_blocks(wrapped)
        try:
            opened = self._wrapping.unwrap(handle, source.suite, digest, wrapped, template, by)
            try:
                return use(opened)
            finally:
                self._cryptoki.destroy_object(opened)
        except TokenError as error:
            raise self._keys.judged(error, source) from error

    def _read_value(self, opened: c_ulong) -> bytes:
        try:
            self._cryptoki.read(opened, self._value)
            value = self._value.get(CKA.VALUE)
            if value is None:
                raise ItemError(Outcome.INVALID_CIPHERTEXT, "a plaintext that is longer than mode 1 allows")
            return value
        finally:
            self._value.wipe(CKA.VALUE)

    def _decrypted(self, data_key: c_ulong, sealed: bytes) -> bytes:
        calls, source, out = self._cryptoki, self._in, self._out
        source.put(sealed[NONCE_BYTES:])
        out.make_room()
        try:
            calls.decrypt_init(self._gcm.of(sealed[:NONCE_BYTES]), data_key)
            calls.decrypt(source.pointer, source.length, out.pointer, out.length_pointer)
            return out.get()
        finally:
            out.wipe()

    def _encrypted(self, data_key: c_ulong, plaintext: bytes) -> bytes:
        """Return `nonce || ciphertext || tag`. The nonce is read back: FIPS tokens make their own."""
        calls, source, out = self._cryptoki, self._in, self._out
        out.make_room()
        try:
            source.put(plaintext)
            calls.encrypt_init(self._gcm.of(os.urandom(NONCE_BYTES)), data_key)
            calls.encrypt(source.pointer, source.length, out.pointer, out.length_pointer)
        finally:
            source.wipe()
        return bytes(self._gcm.nonce) + out.get()

    def _sealed(self, key: KeyRef, header: Header, head: bytes, context: bytes, plaintext: bytes) -> bytes:
        handle = self._keys.use(key)
        if header.mode is Mode.PRIVATE_KEY:
            raise ItemError(Outcome.FAILED, "a private key is sealed by who generates it")
        if header.mode in _DIRECT:
            self._require(self._found.created_objects, "objects created from a value, which Encrypt in mode 1 needs")
            by = self._padded if header.mode is Mode.DIRECT_PADDED else None
            payload = self._wrapping.create(plaintext)
            try:
                digest = derivation_digest(head, context, sealed_digest(b""))
                return self._wrapping.wrap(handle, key.suite, digest, payload, by)
            finally:
                self._cryptoki.destroy_object(payload)
        self._require(self._found.aes_gcm, "AES-GCM")
        data_key = self._generate(_KEY_GEN, self._encrypting)
        try:
            sealed = self._encrypted(data_key, plaintext)
            digest = derivation_digest(head, context, sealed_digest(sealed))
            return self._wrapping.wrap(handle, key.suite, digest, data_key) + sealed
        finally:
            self._cryptoki.destroy_object(data_key)

    def _sealed_unread(self, key: KeyRef, header: Header, head: bytes, context: bytes) -> bytes:
        handle = self._keys.use(key)
        by = self._padded if header.mode is Mode.DIRECT_PADDED else None
        self._generated.put_number(CKA.VALUE_LEN, header.length)
        payload = self._generate(_SECRET_GEN, self._generated)
        try:
            digest = derivation_digest(head, context, sealed_digest(b""))
            wrapped = self._wrapping.wrap(handle, key.suite, digest, payload, by)
        finally:
            self._cryptoki.destroy_object(payload)
        if len(wrapped) != wrapped_bytes(header.length):
            raise ItemError(Outcome.UNSUPPORTED, "the token made a data key of another length than asked for")
        return wrapped

    def _generate(self, mechanism: Mechanism, template: Template) -> c_ulong:
        handle = Handle()
        self._cryptoki.generate_key(mechanism.pointer, template.pointer, template.count, handle.pointer)
        return handle.value

    @staticmethod
    def _require(found: bool, what: str) -> None:
        if not found:
            raise ItemError(Outcome.UNSUPPORTED, f"the token lacks {what}")


def checked(head: bytes, key: KeyRef) -> Header:
    """Return the header. The front made or parsed it, so what does not fit is a fault of the service, and harms nobody else."""
    try:
        header = parse_header(head)
    except InvalidCiphertextException as error:
        raise ItemError(Outcome.FAILED, error.detail) from error
    if header.cka_id != key.cka_id or header.suite is not key.suite:
        raise ItemError(Outcome.FAILED, "a header that names another backing key")
    return header


def _require_blocks(wrapped: bytes) -> None:
    """Refuse what no key wrap makes before the token sees it: NSS calls it a lack of memory."""
    if len(wrapped) < 2 * WRAP_OVERHEAD_BYTES or len(wrapped) % WRAP_OVERHEAD_BYTES:
        raise ItemError(Outcome.INVALID_CIPHERTEXT, "a wrapped key that is no whole number of blocks")
