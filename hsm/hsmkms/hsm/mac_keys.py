"""HMAC keys on the token: proven by their canaries before use, and generated.

The canary is a MAC of a public value with the key's own hash, the one of its length: some tokens let a key work with no longer hash.
"""

from __future__ import annotations

from ctypes import c_ulong
from typing import Final

from hsmkms.core.ciphertext import CANARY_VALUE, MAC_CANARY_BYTES
from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import MacHash, MacKeyRef
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM
from hsmkms.hsm.cryptoki import Buffer, Handle, Mechanism
from hsmkms.hsm.errors import ItemError, TokenError, may_be_the_keys
from hsmkms.hsm.key_kinds import MAC_HASHES, MAC_MECHANISMS
from hsmkms.hsm.key_objects import KeyObjects, Kind, Listed, Loaded
from hsmkms.hsm.templates import MAC_KEY, render
from hsmkms.hsm.wrapping import Wrapping

_LONGEST_MAC: Final = 64
_SECRET_GEN: Final = Mechanism(CKM.GENERIC_SECRET_KEY_GEN)


class MacKeys:
    """The HMAC keys of one session.

    Args:
        wrapping: The steps on that session.
        objects: The key objects.
        found: What the token can do.
    """

    def __init__(self, wrapping: Wrapping, objects: KeyObjects, found: Capabilities) -> None:
        self._wrapping = wrapping
        self._cryptoki = wrapping.cryptoki
        self._objects = objects
        self._found = found
        self._in = Buffer(64)
        self._out = Buffer(_LONGEST_MAC)

    def use(self, key: MacKeyRef) -> tuple[c_ulong, MacHash]:
        """Return the handle of an HMAC key that its canary has proven, and its hash.

        Raises:
            ItemError: KEY_NOT_LOADED or KEY_DAMAGED.
            TokenError: the token failed while it was proven.
        """
        loaded = self._objects.get(key.cka_id, Kind.MAC_KEY)
        assert loaded.mac is not None, "an HMAC key is loaded with its hash"
        if loaded.proven is not key and loaded.proven != key:
            if not self._canary_holds(loaded.handle, loaded.mac, key):
                self._objects.drop(key.cka_id)
                self._objects.log("backing_key_damaged", cka_id=key.cka_id.hex())
                raise ItemError(Outcome.KEY_DAMAGED, f"{key.cka_id.hex()} is not the key that made its canary")
            loaded.proven = key
        return loaded.handle, loaded.mac

    def _canary_holds(self, handle: c_ulong, algorithm: MacHash, key: MacKeyRef) -> bool:
        try:
            return self._canary(handle, algorithm) == key.canary
        except TokenError as error:
            # As with a backing key's: a damaged key is refused as by a broken token, but it is still there, and the token is well.
            there = may_be_the_keys(error) and handle.value in self._objects.search(key.cka_id)
            if there and self._wrapping.wraps_well():
                return False
            raise

    def generate(self, cka_id: bytes, length: int, label: bytes) -> bytes:
        """Generate an HMAC key on the token and return its canary, 32 bytes.

        What an interrupted generation left behind (same CKA_ID and label) is destroyed first, never adopted.

        Args:
            cka_id: 20 bytes.
            length: 28, 32, 48 or 64 bytes.
            label: The deployment's label, 1 to 64 bytes of ASCII.

        Raises:
            ItemError: UNSUPPORTED: the token lacks the HMAC; FAILED: a foreign object has this CKA_ID.
            TokenError: a call failed; a key without a canary has been destroyed if that could be done.
        """
        algorithm = MAC_HASHES.get(length)
        if algorithm is None or not self._found.macs(algorithm):
            raise ItemError(Outcome.UNSUPPORTED, f"the token makes no HMAC with a key of {length} bytes")
        self._objects.make_way(cka_id, label)
        handle = Handle()
        template = render(
            MAC_KEY,
            self._found,
            extra=((CKA.VALUE_LEN, length), (CKA.ID, cka_id), (CKA.LABEL, label)),
            allowed=(MAC_MECHANISMS[algorithm],),
        )
        self._cryptoki.generate_key(_SECRET_GEN.pointer, template.pointer, template.count, handle.pointer)
        try:
            canary = self._canary(handle.value, algorithm)
        except BaseException:
            self._cryptoki.destroy_object(handle.value)
            raise
        self._objects.keep(cka_id, Loaded(Kind.MAC_KEY, handle.value, mac=algorithm))
        return canary

    def canary_of(self, listed: Listed) -> bytes:
        """Return the canary that an object makes now, 32 bytes: the one it made when it was generated, if it is still that key.

        Args:
            listed: An HMAC key without a fault.

        Raises:
            TokenError: a call failed.
        """
        assert listed.mac is not None, "an HMAC key without a fault has a hash"
        return self._canary(c_ulong(listed.handle), listed.mac)

    def _canary(self, handle: c_ulong, algorithm: MacHash) -> bytes:
        calls, text, mac = self._cryptoki, self._in, self._out
        text.put(CANARY_VALUE)
        mac.make_room()
        calls.sign_init(Mechanism(MAC_MECHANISMS[algorithm]).pointer, handle)
        calls.sign(text.pointer, text.length, mac.pointer, mac.length_pointer)
        return mac.get()[:MAC_CANARY_BYTES].ljust(MAC_CANARY_BYTES, b"\0")
