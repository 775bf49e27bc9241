"""Symmetric backing keys: proven by their canaries before use, and generated.

- A handle is proven by the key's canary when it is first used, before anything is sealed under it.
- What objects there are, and which of them may be used, is `key_objects`' to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_ulong
from typing import Final

from hsmkms.core.ciphertext import KEY_UUID_BYTES, Suite, canary_digest
from hsmkms.core.commands import KeyRef, Outcome
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM, CKR_VENDOR_DEFINED
from hsmkms.hsm.cryptoki import Handle, Mechanism
from hsmkms.hsm.errors import AMBIGUOUS, ItemError, TokenError, is_ambiguous, outcome_of
from hsmkms.hsm.key_objects import KeyObjects, Kind, Listed, Loaded, Log
from hsmkms.hsm.templates import BACKING_KEY, render
from hsmkms.hsm.wrapping import Wrapping

_KEY_GEN: Final = Mechanism(CKM.AES_KEY_GEN)


class BackingKeys:
    """The backing keys of one session.

    Args:
        wrapping: The steps on that session.
        found: What the token can do.
        log: Where what is odd about an object is told.

    Its `objects` are the key objects of every kind.
    """

    def __init__(self, wrapping: Wrapping, found: Capabilities, log: Log) -> None:
        self.objects = KeyObjects(wrapping.cryptoki, found, log)
        self._loaded = self.objects.loaded
        self._wrapping = wrapping
        self._cryptoki = wrapping.cryptoki
        self._found = found
        self._log = log

    def use(self, key: KeyRef) -> c_ulong:
        """Return the handle of a backing key that its canary has proven.

        Raises:
            ItemError: KEY_NOT_LOADED, KEY_DAMAGED or UNSUPPORTED.
            TokenError: the token failed while it was proven.
        """
        loaded = self._loaded.get(key.cka_id)  # twice in each rewrap: without another call
        if loaded is None or (loaded.proven is not key and loaded.proven != key):
            loaded = self.objects.get(key.cka_id, Kind.BACKING_KEY)
            self.prove(key)
            loaded.proven = key
        return loaded.handle

    def prove(self, key: KeyRef) -> None:
        """Run a loaded key's canary. On KEY_DAMAGED its handle is dropped.

        Raises:
            ItemError: KEY_NOT_LOADED; KEY_DAMAGED: the object is not the key that made the canary; UNSUPPORTED.
            TokenError: the token failed; nothing is known of the key.
        """
        loaded = self.objects.get(key.cka_id, Kind.BACKING_KEY)
        if not self._found.has_suite(key.suite):
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot run suite {key.suite}")
        if loaded.suite not in (None, key.suite) or not self._canary_holds(loaded, key):
            self.objects.drop(key.cka_id)
            self._log("backing_key_damaged", cka_id=key.cka_id.hex())
            raise ItemError(Outcome.KEY_DAMAGED, f"{key.cka_id.hex()} is not the key that made its canary")

    def judged(self, error: TokenError, key: KeyRef) -> Exception:
        """Return what a failed unwrap or decryption under a key means.

        INVALID_CIPHERTEXT if the data is at fault, KEY_DAMAGED if the key is, else `error`.
        """
        if is_ambiguous(error):
            try:
                self.prove(key)
            except ItemError as damaged:
                return damaged
            except TokenError:
                return error
            return ItemError(Outcome.INVALID_CIPHERTEXT, f"{error}, and the canary holds")
        if outcome_of(error) is Outcome.INVALID_CIPHERTEXT:
            return ItemError(Outcome.INVALID_CIPHERTEXT, str(error))
        return error

    def _canary_holds(self, loaded: Loaded, key: KeyRef) -> bool:
        digest = canary_digest(key.cka_id[:KEY_UUID_BYTES])
        try:
            return self._wrapping.proves(loaded.handle, key.suite, digest, key.canary)
        except TokenError as error:
            # A damaged key refuses its canary as a broken token does. Two things tell them apart: the object is still on the
            # token (a token that went away finds none), and a new session key does the same steps well.
            refused = error.function in ("C_DeriveKey", "C_UnwrapKey") and (
                error.ckr in AMBIGUOUS
                or error.ckr >= CKR_VENDOR_DEFINED
                or outcome_of(error) is Outcome.INVALID_CIPHERTEXT
            )
            if refused and loaded.handle.value in self.objects.search(key.cka_id) and self._wrapping.is_well(key.suite):
                return False
            raise

    def load(self, wanted: Sequence[bytes] = ()) -> list[bytes]:
        """Find key objects of every kind and keep their handles (`KeyObjects.load`)."""
        return self.objects.load(wanted)

    def list_objects(self, cka_id: bytes | None = None) -> list[Listed]:
        """Return the token's key objects of every kind (`KeyObjects.list_objects`)."""
        return self.objects.list_objects(cka_id)

    def destroy(self, cka_id: bytes, label: bytes) -> int:
        """Destroy every object of exactly this CKA_ID and label; return how many there were (`KeyObjects.destroy`)."""
        return self.objects.destroy(cka_id, label)

    def generate(self, cka_id: bytes, suite: Suite, label: bytes) -> bytes:
        """Generate a backing key on the token and return its canary, 40 bytes.

        What an interrupted generation left behind (same CKA_ID and label) is destroyed first, never adopted.

        Args:
            cka_id: 20 bytes.
            suite: Its derivation.
            label: The deployment's label, 1 to 64 bytes of ASCII.

        Raises:
            ItemError: UNSUPPORTED: the token lacks the suite; FAILED: a foreign object has this CKA_ID.
            TokenError: a call failed; a key without a canary has been destroyed if that could be done.
        """
        self.require(suite)
        self.objects.make_way(cka_id, label)
        handle = Handle()
        template = render(BACKING_KEY[suite], self._found, extra=((CKA.ID, cka_id), (CKA.LABEL, label)))
        self._cryptoki.generate_key(_KEY_GEN.pointer, template.pointer, template.count, handle.pointer)
        return self.adopt(cka_id, suite, handle.value)

    def adopt(self, cka_id: bytes, suite: Suite, key: c_ulong) -> bytes:
        """Keep the handle of a backing key that was just made on the token, and return its canary. What makes none is destroyed.

        Raises:
            TokenError: a call failed.
        """
        try:
            canary = self._wrapping.make_canary(key, suite, canary_digest(cka_id[:KEY_UUID_BYTES]))
        except BaseException:
            self._cryptoki.destroy_object(key)
            raise
        self.objects.keep(cka_id, Loaded(Kind.BACKING_KEY, key, suite=suite))
        return canary

    def require(self, suite: Suite) -> None:
        """Do nothing if the token can do what backing keys of a suite need.

        Raises:
            ItemError: UNSUPPORTED.
        """
        if not self._found.has_suite(suite) or not self._found.aes_key_wrap:
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot run suite {suite}, or has no RFC 3394 key wrap")

    def canary_of(self, listed: Listed, suite: Suite) -> bytes:
        """Return the canary that an object makes now, 40 bytes: the one it made when it was generated, if it is still that key.

        Args:
            listed: A backing key without a fault, with a CKA_ID of 20 bytes.
            suite: Its derivation.

        Raises:
            ItemError: UNSUPPORTED: the token lacks the suite.
            TokenError: a call failed.
        """
        self.require(suite)
        digest = canary_digest(listed.cka_id[:KEY_UUID_BYTES])
        return self._wrapping.make_canary(c_ulong(listed.handle), suite, digest)
