"""The backing keys on the token: their handles by CKA_ID, proven by their canaries before use; making and destroying them.

- Only an object that is what its template says is loaded: AES-256, sensitive, not extractable, deriving, by one known derivation.
- Two objects of one CKA_ID are ambiguous: neither is loaded, since either could be the wrong one.
- A handle is proven by the key's canary when it is first used, before anything is sealed under it.
- Nothing is destroyed whose CKA_ID and label are not exactly the ones given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ctypes import c_ulong
from dataclasses import dataclass
from typing import Final

from hsmkms.core.ciphertext import CKA_ID_BYTES, KEY_UUID_BYTES, Suite, canary_digest
from hsmkms.core.commands import KeyRef, Outcome
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM, CKO, CKR_VENDOR_DEFINED
from hsmkms.hsm.cryptoki import Handle, Mechanism
from hsmkms.hsm.errors import AMBIGUOUS, ItemError, TokenError, outcome_of
from hsmkms.hsm.templates import BACKING_KEY, BACKING_KEY_BYTES, BACKING_KEYS, Attributes, Room, Template, render
from hsmkms.hsm.wrapping import Wrapping

Log = Callable[..., None]
"""Takes an event's name and, as keywords, what is known of it."""

_LONGEST_NAME: Final = 255
_KEY_GEN: Final = Mechanism(CKM.AES_KEY_GEN)
_SUITE_OF: Final = {
    CKM.AES_CBC_ENCRYPT_DATA.to_bytes(8, "little"): Suite.AES_CBC_ENCRYPT_DATA,
    CKM.SP800_108_COUNTER_KDF.to_bytes(8, "little"): Suite.SP800_108_CMAC_COUNTER,
}
_LOOKED_AT: Final[Attributes] = (
    (CKA.ID, Room(_LONGEST_NAME)),
    (CKA.LABEL, Room(_LONGEST_NAME)),
    (CKA.VALUE_LEN, Room(8)),
    (CKA.SENSITIVE, Room(1)),
    (CKA.EXTRACTABLE, Room(1)),
    (CKA.DERIVE, Room(1)),
)
_ALLOWED: Final[Attributes] = ((CKA.ALLOWED_MECHANISMS, Room(64)),)


@dataclass(frozen=True, slots=True)
class Listed:
    """An AES object on the token that can derive.

    Args:
        handle: Its handle in this process.
        cka_id: Its CKA_ID, at most 255 bytes.
        label: Its label, at most 255 bytes.
        suite: The derivation it is for, or None where the token cannot say.
        fault: Why it is not a backing key that may be used, or empty.
    """

    handle: int
    cka_id: bytes
    label: bytes
    suite: Suite | None
    fault: str


@dataclass(slots=True)
class _Loaded:
    handle: c_ulong
    suite: Suite | None
    proven: KeyRef | None = None


class BackingKeys:
    """The table of one session.

    Args:
        wrapping: The steps on that session.
        found: What the token can do.
        log: Where what is odd about an object is told.
    """

    def __init__(self, wrapping: Wrapping, found: Capabilities, log: Log) -> None:
        self._wrapping = wrapping
        self._cryptoki = wrapping.cryptoki
        self._found = found
        self._log = log
        self._loaded: dict[bytes, _Loaded] = {}
        self._look = Template(_LOOKED_AT + (_ALLOWED if found.allowed_mechanisms else ()))

    def use(self, key: KeyRef) -> c_ulong:
        """Return the handle of a backing key that its canary has proven.

        Raises:
            ItemError: KEY_NOT_LOADED, KEY_DAMAGED or UNSUPPORTED.
            TokenError: the token failed while it was proven.
        """
        loaded = self._loaded.get(key.cka_id)
        if loaded is None:
            raise ItemError(Outcome.KEY_NOT_LOADED, f"no handle for {key.cka_id.hex()}")
        if loaded.proven is not key and loaded.proven != key:
            self.prove(key)
            loaded.proven = key
        return loaded.handle

    def prove(self, key: KeyRef) -> None:
        """Run a loaded key's canary. On KEY_DAMAGED its handle is dropped.

        Raises:
            ItemError: KEY_NOT_LOADED; KEY_DAMAGED: the object is not the key that made the canary; UNSUPPORTED.
            TokenError: the token failed; nothing is known of the key.
        """
        loaded = self._loaded.get(key.cka_id)
        if loaded is None:
            raise ItemError(Outcome.KEY_NOT_LOADED, f"no handle for {key.cka_id.hex()}")
        if not self._found.has_suite(key.suite):
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot run suite {key.suite}")
        if loaded.suite not in (None, key.suite) or not self._canary_holds(loaded, key):
            del self._loaded[key.cka_id]
            self._log("backing_key_damaged", cka_id=key.cka_id.hex())
            raise ItemError(Outcome.KEY_DAMAGED, f"{key.cka_id.hex()} is not the key that made its canary")

    def _canary_holds(self, loaded: _Loaded, key: KeyRef) -> bool:
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
            if refused and loaded.handle.value in self._search(key.cka_id) and self._wrapping.is_well(key.suite):
                return False
            raise

    def load(self, wanted: Sequence[bytes] = ()) -> list[bytes]:
        """Find backing keys and keep their handles; return the CKA_IDs of those that are loaded now, of the wanted ones.

        Args:
            wanted: CKA_IDs of 20 bytes; empty for every backing key, and then the table is made anew.

        Raises:
            TokenError: the search failed.
        """
        one = wanted[0] if len(wanted) == 1 else None
        by_id: dict[bytes, list[Listed]] = {}
        for listed in self.list_objects(one):
            if len(listed.cka_id) == CKA_ID_BYTES:
                by_id.setdefault(listed.cka_id, []).append(listed)
        if not wanted:
            self._loaded.clear()
        return [cka_id for cka_id in wanted or tuple(by_id) if self._keep(cka_id, by_id.get(cka_id, ()))]

    def _keep(self, cka_id: bytes, objects: Sequence[Listed]) -> bool:
        self._loaded.pop(cka_id, None)
        if not objects:
            return False
        if len(objects) > 1:
            self._log("backing_key_ambiguous", cka_id=cka_id.hex(), objects=len(objects))
            return False
        (listed,) = objects
        if listed.fault:
            self._log("backing_key_unfit", cka_id=cka_id.hex(), why=listed.fault)
            return False
        self._loaded[cka_id] = _Loaded(c_ulong(listed.handle), listed.suite)
        return True

    def list_objects(self, cka_id: bytes | None = None) -> Iterable[Listed]:
        """Return the AES token objects that can derive, all of them or those of one CKA_ID. Unreadable ones are logged.

        Raises:
            TokenError: the search failed.
        """
        search = BACKING_KEYS if cka_id is None else (*BACKING_KEYS, (CKA.ID, cka_id))
        return [
            listed for handle in self._cryptoki.find(Template(search)) if (listed := self._describe(handle)) is not None
        ]

    def _describe(self, handle: int) -> Listed | None:
        look = self._look
        try:
            self._cryptoki.read(c_ulong(handle), look)
        except TokenError as error:
            if error.ckr not in AMBIGUOUS and outcome_of(error) is not Outcome.UNAVAILABLE:
                raise
            self._log("token_object_unreadable", error=str(error))
            return None
        suite, fault = None, ""
        length = look.get(CKA.VALUE_LEN)
        if length is None or int.from_bytes(length, "little") != BACKING_KEY_BYTES:
            fault = "not 32 bytes long"
        elif look.get(CKA.SENSITIVE) != b"\1" or look.get(CKA.EXTRACTABLE) != b"\0" or look.get(CKA.DERIVE) != b"\1":
            fault = "not sensitive, or extractable, or not for derivation"
        elif self._found.allowed_mechanisms:
            suite = _SUITE_OF.get(look.get(CKA.ALLOWED_MECHANISMS) or b"")
            fault = "" if suite else "not confined to one known derivation"
        return Listed(handle, look.get(CKA.ID) or b"", look.get(CKA.LABEL) or b"", suite, fault)

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
        if not self._found.has_suite(suite) or not self._found.aes_key_wrap:
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot run suite {suite}, or has no RFC 3394 key wrap")
        self.destroy(cka_id, label)
        if self._search(cka_id):
            raise ItemError(Outcome.FAILED, f"an object of another label has CKA_ID {cka_id.hex()}")
        handle = Handle()
        template = render(BACKING_KEY[suite], self._found, extra=((CKA.ID, cka_id), (CKA.LABEL, label)))
        self._cryptoki.generate_key(_KEY_GEN.pointer, template.pointer, template.count, handle.pointer)
        key = c_ulong(handle.value.value)
        try:
            canary = self._wrapping.make_canary(key, suite, canary_digest(cka_id[:KEY_UUID_BYTES]))
        except BaseException:
            self._cryptoki.destroy_object(key)
            raise
        self._loaded[cka_id] = _Loaded(key, suite)
        return canary

    def canary_of(self, listed: Listed, suite: Suite) -> bytes:
        """Return the canary that an object makes now, 40 bytes: the one it made when it was generated, if it is still that key.

        Args:
            listed: An object without a fault, with a CKA_ID of 20 bytes.
            suite: Its derivation.

        Raises:
            ItemError: UNSUPPORTED: the token lacks the suite.
            TokenError: a call failed.
        """
        if not self._found.has_suite(suite) or not self._found.aes_key_wrap:
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot run suite {suite}, or has no RFC 3394 key wrap")
        digest = canary_digest(listed.cka_id[:KEY_UUID_BYTES])
        return self._wrapping.make_canary(c_ulong(listed.handle), suite, digest)

    def destroy(self, cka_id: bytes, label: bytes) -> int:
        """Destroy every secret key object of exactly this CKA_ID and label; return how many there were.

        Raises:
            ItemError: FAILED: the CKA_ID or the label is not one that this service makes.
            TokenError: a call failed.
        """
        if len(cka_id) != CKA_ID_BYTES or not label:
            raise ItemError(Outcome.FAILED, "no backing key of this service")
        look = Template(((CKA.ID, Room(_LONGEST_NAME)), (CKA.LABEL, Room(_LONGEST_NAME))))
        destroyed = 0
        for handle in self._search(cka_id):
            self._cryptoki.read(c_ulong(handle), look)
            if look.get(CKA.ID) != cka_id or look.get(CKA.LABEL) != label:
                continue
            self._loaded.pop(cka_id, None)
            self._cryptoki.destroy_object(c_ulong(handle))
            destroyed += 1
        return destroyed

    def _search(self, cka_id: bytes) -> Sequence[int]:
        # Not asking for DERIVE: what is left of an interrupted generation must be found, whatever its state.
        return self._cryptoki.find(Template(((CKA.CLASS, CKO.SECRET_KEY), (CKA.TOKEN, True), (CKA.ID, cka_id))))
