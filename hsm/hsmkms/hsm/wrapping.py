"""Derive, unwrap, wrap, destroy: the steps that every sequence is made of, on handles of backing keys.

Every session object that a method makes is destroyed before it returns or raises, except where it says that it hands one over.
Nothing here knows KMS keys or whose fault a failure is. One thread: the handles and buffers are used again by the next call.
"""

from __future__ import annotations

from ctypes import c_ulong
from typing import Final

from hsmkms.core.ciphertext import CANARY_VALUE, MAX_WRAPPED_BYTES, Suite
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Handle, Mechanism
from hsmkms.hsm.derivations import Derivation
from hsmkms.hsm.templates import (
    BACKING_KEY,
    PAYLOAD,
    PAYLOAD_CREATED,
    WRAPPING_KEY_UNWRAP,
    WRAPPING_KEY_WRAP,
    Template,
    render,
)

_ROOM: Final = MAX_WRAPPED_BYTES + 8
"""For a wrapped key; SoftHSM asks for no more than it writes, and 8 bytes are to spare."""
_KEY_GEN: Final = Mechanism(CKM.AES_KEY_GEN)


class Wrapping:
    """The steps on one session.

    Args:
        cryptoki: The session's calls.
        found: What the token can do.
    """

    def __init__(self, cryptoki: Cryptoki, found: Capabilities) -> None:
        self.cryptoki = cryptoki
        self.found = found
        self._derivations = {suite: Derivation(suite) for suite in Suite}
        self._wraps = render(WRAPPING_KEY_WRAP, found)
        self._unwraps = render(WRAPPING_KEY_UNWRAP, found)
        self._payload = render(PAYLOAD, found)
        self._created = render(PAYLOAD_CREATED, found)
        self._key_wrap = Mechanism(CKM.AES_KEY_WRAP)
        self._in = Buffer(_ROOM)
        self._out = Buffer(_ROOM)
        self._source = Handle()
        self._target = Handle()
        self._object = Handle()

    def rewrap(
        self,
        source: c_ulong,
        source_suite: Suite,
        source_digest: bytes,
        wrapped: bytes,
        target: c_ulong,
        target_suite: Suite,
        target_digest: bytes,
    ) -> bytes:
        """Unwrap under one backing key and wrap under another: derive, unwrap, derive, wrap, destroy three.

        Args:
            source: Handle of the source backing key.
            source_suite: Its suite.
            source_digest: 32 bytes.
            wrapped: The wrapped key, at most 264 bytes.
            target: Handle of the destination backing key.
            target_suite: Its suite.
            target_digest: 32 bytes.

        Returns:
            The new wrapped key, as long as the old one.

        Raises:
            TokenError: a call failed; `C_UnwrapKey` also where the ciphertext is wrong.
        """
        calls = self.cryptoki
        calls.derive_key(
            self._derivations[source_suite].of(source_digest),
            source,
            self._unwraps.pointer,
            self._unwraps.count,
            self._source.pointer,
        )
        try:
            self._unwrap_object(wrapped, self._payload)
            try:
                calls.derive_key(
                    self._derivations[target_suite].of(target_digest),
                    target,
                    self._wraps.pointer,
                    self._wraps.count,
                    self._target.pointer,
                )
                try:
                    return self._wrap_object(self._object.value)
                finally:
                    calls.destroy_object(self._target.value)
            finally:
                calls.destroy_object(self._object.value)
        finally:
            calls.destroy_object(self._source.value)

    def unwrap(self, key: c_ulong, suite: Suite, digest: bytes, wrapped: bytes, template: Template) -> c_ulong:
        """Unwrap under a backing key and hand the object over: the caller destroys it.

        Raises:
            TokenError: a call failed; `C_UnwrapKey` also where the ciphertext is wrong.
        """
        calls = self.cryptoki
        derivation = self._derivations[suite].of(digest)
        calls.derive_key(derivation, key, self._unwraps.pointer, self._unwraps.count, self._source.pointer)
        try:
            self._unwrap_object(wrapped, template)
        finally:
            calls.destroy_object(self._source.value)
        return c_ulong(self._object.value.value)

    def wrap(self, key: c_ulong, suite: Suite, digest: bytes, target: c_ulong) -> bytes:
        """Wrap an object under a backing key. Returns the wrapped key.

        Raises:
            TokenError: a call failed.
        """
        calls = self.cryptoki
        derivation = self._derivations[suite].of(digest)
        calls.derive_key(derivation, key, self._wraps.pointer, self._wraps.count, self._target.pointer)
        try:
            return self._wrap_object(target)
        finally:
            calls.destroy_object(self._target.value)

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

    def _unwrap_object(self, wrapped: bytes, template: Template) -> None:
        self._in.put(wrapped)
        self.cryptoki.unwrap_key(
            self._key_wrap.pointer,
            self._source.value,
            self._in.pointer,
            self._in.length,
            template.pointer,
            template.count,
            self._object.pointer,
        )

    def _wrap_object(self, target: c_ulong) -> bytes:
        out = self._out
        out.make_room()
        self.cryptoki.wrap_key(self._key_wrap.pointer, self._target.value, target, out.pointer, out.length_pointer)
        return out.get()
