"""Derive, unwrap, wrap, destroy: the steps that every sequence is made of, on handles of backing keys.

Every session object that a method makes is destroyed before it returns or raises, except where it says that it hands one over.
Nothing here knows KMS keys or whose fault a failure is. One thread: the handles and buffers are used again by the next call.
"""

from __future__ import annotations

from ctypes import c_ulong
from typing import Final

from hsmkms.core.ciphertext import CANARY_VALUE, MAX_BLOB_BYTES, WRAP_OVERHEAD_BYTES, Suite
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Handle, Mechanism
from hsmkms.hsm.derivations import Derivation
from hsmkms.hsm.memory import Pointer
from hsmkms.hsm.rewrap import ROOM, bind_rewrap
from hsmkms.hsm.templates import (
    BACKING_KEY,
    PAYLOAD,
    PAYLOAD_CREATED,
    PAYLOAD_GENERATED,
    WRAPPING_KEY_UNWRAP,
    WRAPPING_KEY_WRAP,
    Template,
    render,
)

_KEY_GEN: Final = Mechanism(CKM.AES_KEY_GEN)


class KeyWrap:
    """A key wrap mechanism, and the templates of wrapping keys that are confined to it.

    Args:
        number: The mechanism.
        found: What the token can do.
    """

    __slots__ = ("mechanism", "number", "unwraps", "wraps")

    def __init__(self, number: int, found: Capabilities) -> None:
        self.number = number
        self.mechanism = Mechanism(number)
        self.wraps = render(WRAPPING_KEY_WRAP, found, allowed=(number,))
        self.unwraps = render(WRAPPING_KEY_UNWRAP, found, allowed=(number,))


class Wrapping:
    """The steps on one session.

    `plain` is RFC 3394, for payloads and data keys; `padded` is RFC 5649 for payloads, `blocks` RFC 5649 for what is padded already:
    private keys. Either is None where the token lacks it. `rewrap` is ReEncrypt's seven calls with `plain` (`rewrap.Rewrapping`).

    Args:
        cryptoki: The session's calls.
        found: What the token can do.
    """

    def __init__(self, cryptoki: Cryptoki, found: Capabilities) -> None:
        self.cryptoki = cryptoki
        self.found = found
        self._derivations = {suite: Derivation(suite) for suite in BACKING_KEY}
        self.plain = KeyWrap(CKM.AES_KEY_WRAP, found)
        self.padded = KeyWrap(int(found.aes_key_wrap_padded, 16), found) if found.aes_key_wrap_padded else None
        self.blocks = KeyWrap(int(found.aes_key_unwrap_padded, 16), found) if found.aes_key_unwrap_padded else None
        self.rewrap = bind_rewrap(
            cryptoki,
            self._derivations,
            self.plain.mechanism,
            self.plain.unwraps,
            self.plain.wraps,
            render(PAYLOAD, found),
        )
        self._created = render(PAYLOAD_CREATED, found)
        self._generated = render(PAYLOAD_GENERATED, found)
        self._in = Buffer(MAX_BLOB_BYTES)
        self._out = Buffer(ROOM)
        self._source = Handle()
        self._target = Handle()
        self._object = Handle()

    def unwrap(
        self,
        key: c_ulong,
        suite: Suite,
        digest: bytes,
        wrapped: bytes,
        template: Template,
        by: KeyWrap | None = None,
    ) -> c_ulong:
        """Unwrap under a backing key, by `plain` or another key wrap, and hand the object over: the caller destroys it.

        Raises:
            TokenError: a call failed; `C_UnwrapKey` also where the ciphertext is wrong.
        """
        calls = self.cryptoki
        by = by or self.plain
        derivation = self._derivations[suite].of(digest)
        calls.derive_key(derivation, key, by.unwraps.pointer, by.unwraps.count, self._source.pointer)
        try:
            self._unwrap_object(wrapped, template, by.mechanism.pointer)
        finally:
            calls.destroy_object(self._source.value)
        return c_ulong(self._object.value.value)

    def wrap(self, key: c_ulong, suite: Suite, digest: bytes, target: c_ulong, by: KeyWrap | None = None) -> bytes:
        """Wrap an object under a backing key, by `plain` or another key wrap. Returns the wrapped key.

        Raises:
            TokenError: a call failed.
        """
        calls = self.cryptoki
        by = by or self.plain
        derivation = self._derivations[suite].of(digest)
        calls.derive_key(derivation, key, by.wraps.pointer, by.wraps.count, self._target.pointer)
        try:
            return self._wrap_object(target, by.mechanism.pointer)
        finally:
            calls.destroy_object(self._target.value)

    def unwrap_under(self, key: c_ulong, mechanism: Mechanism, wrapped: bytes, template: Template) -> c_ulong:
        """Unwrap under a key at hand and hand the object over: the caller destroys it, if it is a session object.

        Raises:
            TokenError: the call failed, also where the ciphertext is wrong.
        """
        handle = Handle()
        self._in.put(wrapped)
        self.cryptoki.unwrap_key(
            mechanism.pointer,
            key,
            self._in.pointer,
            self._in.length,
            template.pointer,
            template.count,
            handle.pointer,
        )
        return handle.value

    def wrap_under(self, key: c_ulong, mechanism: Mechanism, target: c_ulong) -> bytes:
        """Wrap an object under a key at hand. Returns the wrapped key.

        Raises:
            TokenError: the call failed.
        """
        out = self._out
        out.make_room()
        self.cryptoki.wrap_key(mechanism.pointer, key, target, out.pointer, out.length_pointer)
        return out.get()

    def generate(self, template: Template, number: CKM = CKM.AES_KEY_GEN) -> c_ulong:
        """Generate a session key and hand it over: the caller destroys it.

        Raises:
            TokenError: the call failed.
        """
        handle = Handle()
        self.cryptoki.generate_key(Mechanism(number).pointer, template.pointer, template.count, handle.pointer)
        return handle.value

    def generate_payload(self) -> c_ulong:
        """Generate a payload of 32 bytes that nobody reads and hand it over: the caller destroys it.

        Raises:
            TokenError: the call failed.
        """
        return self.generate(self._generated, CKM.GENERIC_SECRET_KEY_GEN)

    def same(self, one: c_ulong, other: c_ulong) -> bool:
        """Say whether two secrets, extractable and of 16 bytes or more, are equal: without reading them, by a key made for it.

        Raises:
            TokenError: a call failed.
        """
        key = self.generate(self.plain.wraps)
        try:
            mechanism = self.plain.mechanism
            return self.wrap_under(key, mechanism, one) == self.wrap_under(key, mechanism, other)
        finally:
            self.cryptoki.destroy_object(key)

    def create(self, value: bytes) -> c_ulong:
        """Make a payload object of a value of at most 256 bytes and hand it over: the caller destroys it.

        Raises:
            TokenError: the call failed.
        """
        handle = Handle()
        self._created.put(CKA.VALUE, value)
        try:
            self.cryptoki.create_object(self._created.pointer, self._created.count, handle.pointer)
        finally:
            self._created.wipe(CKA.VALUE)
        return handle.value

    def make_canary(self, key: c_ulong, suite: Suite, digest: bytes) -> bytes:
        """Return the canary of a backing key: a public value wrapped under it.

        Raises:
            TokenError: a call failed.
        """
        value = self.create(CANARY_VALUE)
        try:
            return self.wrap(key, suite, digest, value)
        finally:
            self.cryptoki.destroy_object(value)

    def proves(self, key: c_ulong, suite: Suite, digest: bytes, canary: bytes) -> bool:
        """Say whether a backing key is the one that made a canary: it unwraps it, and wraps to it again.

        Raises:
            TokenError: a call failed; `C_UnwrapKey` also where it is another key.
        """
        return self.rewrap(key, suite, digest, canary, key, suite, digest) == canary

    def is_well(self, suite: Suite) -> bool:
        """Say whether the token does the steps right with a new session key, whatever is wrong with some other key.

        Raises:
            TokenError: a call failed.
        """
        handle = Handle()
        template = render(BACKING_KEY[suite], self.found, extra=((CKA.TOKEN, False),))
        self.cryptoki.generate_key(_KEY_GEN.pointer, template.pointer, template.count, handle.pointer)
        try:
            digest = bytes(32)
            return self.proves(handle.value, suite, digest, self.make_canary(handle.value, suite, digest))
        finally:
            self.cryptoki.destroy_object(handle.value)

    def wrapped_length(self, secret: c_ulong) -> int:
        """Return the length of an extractable secret of 16 bytes or more, rounded up to a multiple of 8: by a key made for it.

        Raises:
            TokenError: a call failed.
        """
        key = self.generate(self.plain.wraps)
        try:
            return len(self.wrap_under(key, self.plain.mechanism, secret)) - WRAP_OVERHEAD_BYTES
        finally:
            self.cryptoki.destroy_object(key)

    def wraps_well(self) -> bool:
        """Say whether the token wraps a new secret under a new key twice to the same, whatever is wrong with some other key.

        Raises:
            TokenError: a call failed.
        """
        payload = self.generate_payload()
        try:
            return self.same(payload, payload)
        finally:
            self.cryptoki.destroy_object(payload)

    def _unwrap_object(self, wrapped: bytes, template: Template, mechanism: Pointer) -> None:
        self._in.put(wrapped)
        self.cryptoki.unwrap_key(
            mechanism,
            self._source.value,
            self._in.pointer,
            self._in.length,
            template.pointer,
            template.count,
            self._object.pointer,
        )

    def _wrap_object(self, target: c_ulong, mechanism: Pointer) -> bytes:
        out = self._out
        out.make_room()
        self.cryptoki.wrap_key(mechanism, self._target.value, target, out.pointer, out.length_pointer)
        return out.get()
