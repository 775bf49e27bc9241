"""Private keys as payloads: how they are wrapped and unwrapped (mode PRIVATE_KEY), and how one is handed to who asked for it.

A private key is wrapped as RFC 5649 wraps its PKCS#8 (RFC 5958, section 2); some tokens fill that up with zeros to whole blocks first
(SoftHSM), so fewer than 8 zeros may follow the DER. No token reads a private key out, and NSS keeps no secret of more than 256 bytes:
so the plaintext leaves the token under a wrapping key whose value this process chose for that one call.
"""

from __future__ import annotations

import os
from ctypes import c_ulong
from typing import Final

from hsmkms.core.ciphertext import KeyType
from hsmkms.core.commands import Outcome
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK
from hsmkms.hsm.cryptoki import Handle
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.key_kinds import KEY_TYPES, PAIR_KINDS
from hsmkms.hsm.templates import DATA_PAIR_PRIVATE, KNOWN_WRAPPING_KEY, Attributes, Template, render
from hsmkms.hsm.wrapping import KeyWrap, Wrapping

_BLOCK: Final = 8
_SEQUENCE: Final = 0x30
_LONG_FORM: Final = 0x80


class PrivateKeys:
    """The steps with private keys on one session.

    Args:
        wrapping: The steps on that session.
        found: What the token can do.
    """

    def __init__(self, wrapping: Wrapping, found: Capabilities) -> None:
        self._wrapping = wrapping
        self._found = found
        self._templates: dict[KeyType, Template] = {}
        known: Attributes = KNOWN_WRAPPING_KEY
        allowed = (wrapping.blocks.number,) if wrapping.blocks is not None else ()
        self._known = render(known, found, allowed=allowed)

    @property
    def key_wrap(self) -> KeyWrap:
        """The key wrap of private keys.

        Raises:
            ItemError: UNSUPPORTED: the token has none.
        """
        if self._wrapping.blocks is None:
            raise ItemError(Outcome.UNSUPPORTED, "the token lacks RFC 5649, which private keys are wrapped by")
        return self._wrapping.blocks

    def template(self, number: int) -> Template:
        """Return the template to unwrap a private key with, by the number of its `KeyType`.

        Raises:
            ItemError: UNSUPPORTED: the token cannot unwrap that kind; FAILED: there is none of that number.
        """
        try:
            kind = KeyType(number)
            key_type = KEY_TYPES[kind]
        except (ValueError, KeyError):
            raise ItemError(Outcome.FAILED, f"unknown key type {number}") from None
        if not any(one.sealed_as is kind and self._found.wraps_private(spec) for spec, one in PAIR_KINDS.items()):
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot wrap and unwrap private keys of type {kind.name}")
        if kind not in self._templates:
            self._templates[kind] = self._rendered(key_type)
        return self._templates[kind]

    def _rendered(self, key_type: CKK) -> Template:
        return render(DATA_PAIR_PRIVATE, self._found, extra=((CKA.KEY_TYPE, key_type),))

    def plaintext_of(self, private: c_ulong) -> bytes:
        """Return a private key that is extractable, in DER PKCS#8.

        Raises:
            ItemError: UNSUPPORTED: the token takes no key of a chosen value; INVALID_CIPHERTEXT: it is no DER with a tail of zeros.
            TokenError: a call failed.
        """
        if not self._found.created_objects:
            raise ItemError(
                Outcome.UNSUPPORTED, "the token takes no key of a chosen value, which a private key leaves under"
            )
        # Only here: the library is no part of what every worker needs.
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

        value, handle = os.urandom(32), Handle()
        self._known.put(CKA.VALUE, value)
        try:
            self._wrapping.cryptoki.create_object(self._known.pointer, self._known.count, handle.pointer)
        finally:
            self._known.wipe(CKA.VALUE)
        try:
            wrapped = self._wrapping.wrap_under(handle.value, self.key_wrap.mechanism, private)
        finally:
            self._wrapping.cryptoki.destroy_object(handle.value)
        try:
            return without_tail(aes_key_unwrap_with_padding(value, wrapped))
        except InvalidUnwrap as error:
            raise ItemError(Outcome.FAILED, "what the token wrapped is not RFC 5649") from error


def without_tail(data: bytes) -> bytes:
    """Return a DER SEQUENCE without the zeros, fewer than 8, that may follow it.

    Raises:
        ItemError: INVALID_CIPHERTEXT: it is none, or something else follows.
    """
    end = _der_length(data)
    if not end or not 0 <= len(data) - end < _BLOCK or any(data[end:]):
        raise ItemError(Outcome.INVALID_CIPHERTEXT, "no DER, or something after it")
    return data[:end]


def _der_length(data: bytes) -> int:
    """Return the length of the SEQUENCE that data begins with, header included, or 0."""
    if len(data) < 2 or data[0] != _SEQUENCE:  # tag and length
        return 0
    if data[1] < _LONG_FORM:
        return 2 + data[1]
    count = data[1] - _LONG_FORM
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big") if 0 < count < len(data) - 2 else 0
