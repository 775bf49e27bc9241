"""The key objects on the token: which there are, the handles of those that may be used, and their destruction.

- Only an object that is what its template says is loaded: a backing key, a key pair or an HMAC key, sensitive, not extractable, with
  the usages and mechanisms of one known use.
- Two objects of one CKA_ID and class are ambiguous: neither is loaded, since either could be the wrong one. A private key without its
  public key is of no use.
- Nothing is destroyed whose CKA_ID and label are not exactly the ones given; of those, everything is.

A search reads every object of the token, so the searches are few: one for each class, and the public keys only where there are private
ones. Nothing here proves a key: `backing_keys`, `key_pairs` and `mac_keys` do, before first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ctypes import c_ulong
from dataclasses import dataclass
from enum import Enum
from typing import Final

from hsmkms.core.ciphertext import CKA_ID_BYTES, Suite
from hsmkms.core.commands import KeyRef, Outcome
from hsmkms.core.material_commands import KeyPairRef, MacHash, MacKeyRef, PairUse
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK, CKM
from hsmkms.hsm.cryptoki import Cryptoki
from hsmkms.hsm.errors import AMBIGUOUS, ItemError, TokenError, outcome_of
from hsmkms.hsm.key_kinds import MAC_HASHES, MAC_MECHANISMS, PAIR_KINDS
from hsmkms.hsm.templates import (
    BACKING_KEY_BYTES,
    PAIR_USAGES,
    PRIVATE_USAGES,
    TOKEN_PRIVATES,
    TOKEN_PUBLICS,
    TOKEN_SECRETS,
    Attributes,
    Room,
    Template,
)

Log = Callable[..., None]
"""Takes an event's name and, as keywords, what is known of it."""

_LONGEST_NAME: Final = 255
_YES: Final = b"\1"
_NO: Final = b"\0"
_SUITE_OF: Final = {
    CKM.AES_CBC_ENCRYPT_DATA: Suite.AES_CBC_ENCRYPT_DATA,
    CKM.SP800_108_COUNTER_KDF: Suite.SP800_108_CMAC_COUNTER,
}
_NAMES: Final[Attributes] = ((CKA.ID, Room(_LONGEST_NAME)), (CKA.LABEL, Room(_LONGEST_NAME)))
_SECRET: Final[Attributes] = (
    *_NAMES,
    (CKA.KEY_TYPE, Room(8)),
    (CKA.VALUE_LEN, Room(8)),
    (CKA.SENSITIVE, Room(1)),
    (CKA.EXTRACTABLE, Room(1)),
    (CKA.DERIVE, Room(1)),
    (CKA.SIGN, Room(1)),
)
_PRIVATE: Final[Attributes] = (
    *_NAMES,
    (CKA.KEY_TYPE, Room(8)),
    (CKA.SENSITIVE, Room(1)),
    (CKA.EXTRACTABLE, Room(1)),
    *((usage, Room(1)) for usage in PRIVATE_USAGES),
)
_ALLOWED: Final[Attributes] = ((CKA.ALLOWED_MECHANISMS, Room(64)),)


class Kind(Enum):
    """What a key object is."""

    BACKING_KEY = "backing key"
    KEY_PAIR = "key pair"
    MAC_KEY = "MAC key"


@dataclass(frozen=True, slots=True)
class Listed:
    """A key object on the token: an AES key that derives, a private key, or a secret that makes MACs.

    Args:
        handle: Its handle in this process.
        kind: What it is.
        cka_id: Its CKA_ID, at most 255 bytes.
        label: Its label, at most 255 bytes.
        suite: The derivation that a backing key is for, or None where the token cannot say.
        use: What a key pair is for, or None.
        mac: The hash of an HMAC key, or None.
        fault: Why it may not be used, or empty.
    """

    handle: int
    kind: Kind
    cka_id: bytes
    label: bytes
    suite: Suite | None
    use: PairUse | None
    mac: MacHash | None
    fault: str


@dataclass(slots=True)
class Loaded:
    """A key object that may be used once it is proven.

    Args:
        kind: What it is.
        handle: Of the secret or private key.
        public: Of the public key of a key pair.
        suite: The derivation that a backing key is for, or None where the token cannot say.
        use: What a key pair is for, or None.
        mac: The hash of an HMAC key, or None.
        proven: The reference that proved it.
    """

    kind: Kind
    handle: c_ulong
    public: c_ulong | None = None
    suite: Suite | None = None
    use: PairUse | None = None
    mac: MacHash | None = None
    proven: KeyRef | KeyPairRef | MacKeyRef | None = None


class KeyObjects:
    """The table of one session.

    Args:
        cryptoki: The session's calls.
        found: What the token can do.
        log: Where what is odd about an object is told.

    Its `loaded` has the key objects that may be used, by CKA_ID.
    """

    def __init__(self, cryptoki: Cryptoki, found: Capabilities, log: Log) -> None:
        self.log = log
        self._cryptoki = cryptoki
        self._found = found
        self.loaded: dict[bytes, Loaded] = {}
        allowed = _ALLOWED if found.allowed_mechanisms else ()
        self._secret = Template(_SECRET + allowed)
        self._private = Template(_PRIVATE + allowed)
        self._names = Template(_NAMES)

    def get(self, cka_id: bytes, kind: Kind) -> Loaded:
        """Return a key object.

        Raises:
            ItemError: KEY_NOT_LOADED.
        """
        loaded = self.loaded.get(cka_id)
        if loaded is None or loaded.kind is not kind:
            raise ItemError(Outcome.KEY_NOT_LOADED, f"no handle for {kind.value} {cka_id.hex()}")
        return loaded

    def keep(self, cka_id: bytes, loaded: Loaded) -> None:
        """Keep the handle of a key object that was just made."""
        self.loaded[cka_id] = loaded

    def drop(self, cka_id: bytes) -> None:
        """Forget a handle."""
        self.loaded.pop(cka_id, None)

    def ensure(self, cka_id: bytes) -> None:
        """Look for a key object that is not loaded: for a worker that was started without any.

        Raises:
            TokenError: the search failed.
        """
        if cka_id not in self.loaded:
            self.load([cka_id])

    def load(self, wanted: Sequence[bytes] = ()) -> list[bytes]:
        """Find key objects and keep their handles; return the CKA_IDs of those that are loaded now, of the wanted ones.

        With several wanted ones, an object that has the handle of another loaded one is not looked at. On a token that gives a
        handle again it can so go unseen that there is a second object of a wanted CKA_ID; the canary proves the first all the same.

        Args:
            wanted: CKA_IDs of 20 bytes; empty for every one on the token, and then the table is made anew.

        Raises:
            TokenError: the search failed.
        """
        one = wanted[0] if len(wanted) == 1 else None
        by_id = self._sorted_objects(wanted, one, self._handles_besides(wanted) if len(wanted) > 1 else frozenset())
        if len(wanted) > 1 and any(cka_id not in by_id for cka_id in wanted):
            # Not every token gives each object a handle that none had before.
            by_id = self._sorted_objects(wanted, None, frozenset())
        publics: dict[bytes, list[int]] = {}
        if any(listed.kind is Kind.KEY_PAIR for objects in by_id.values() for listed in objects):
            publics = self.publics(one)
        if not wanted:
            self.loaded.clear()
        return [
            cka_id
            for cka_id in wanted or tuple(by_id)
            if self._load(cka_id, by_id.pop(cka_id, ()), publics.get(cka_id, ()))
        ]

    def _handles_besides(self, wanted: Sequence[bytes]) -> frozenset[int]:
        """Return the handles of what is loaded, but for the wanted: nobody need read again what they are."""
        without = frozenset(wanted)
        return frozenset(loaded.handle.value for cka_id, loaded in self.loaded.items() if cka_id not in without)

    def _sorted_objects(
        self, wanted: Sequence[bytes], one: bytes | None, known: frozenset[int]
    ) -> dict[bytes, list[Listed]]:
        """Return the objects by CKA_ID. Private keys are searched only for what no secret was found of."""
        by_id: dict[bytes, list[Listed]] = {}
        _sort(by_id, self._secrets(one, known))
        if not wanted or any(cka_id not in by_id for cka_id in wanted):
            _sort(by_id, self._privates(one, known))
        return by_id

    def _load(self, cka_id: bytes, objects: Sequence[Listed], publics: Sequence[int]) -> bool:
        self.loaded.pop(cka_id, None)
        if not objects:
            return False
        if len(objects) > 1:
            self.log("backing_key_ambiguous", cka_id=cka_id.hex(), objects=len(objects))
            return False
        (listed,) = objects
        fault = listed.fault
        if not fault and listed.kind is Kind.KEY_PAIR and len(publics) != 1:
            fault = f"{len(publics)} public keys"
        if fault:
            self.log("backing_key_unfit", cka_id=cka_id.hex(), why=fault)
            return False
        public = c_ulong(publics[0]) if listed.kind is Kind.KEY_PAIR else None
        self.loaded[cka_id] = Loaded(listed.kind, c_ulong(listed.handle), public, listed.suite, listed.use, listed.mac)
        return True

    def list_objects(self, cka_id: bytes | None = None) -> list[Listed]:
        """Return the key objects of the token, all or those of one CKA_ID. Unreadable ones are logged.

        Raises:
            TokenError: the search failed.
        """
        return [*self._secrets(cka_id), *self._privates(cka_id)]

    def _secrets(self, cka_id: bytes | None, known: frozenset[int] = frozenset()) -> list[Listed]:
        handles = self._cryptoki.find(_search(TOKEN_SECRETS, cka_id))
        return [
            listed
            for handle in handles
            if handle not in known and (listed := self._describe_secret(handle)) is not None
        ]

    def _privates(self, cka_id: bytes | None, known: frozenset[int] = frozenset()) -> list[Listed]:
        handles = self._cryptoki.find(_search(TOKEN_PRIVATES, cka_id))
        return [
            listed
            for handle in handles
            if handle not in known and (listed := self._describe_private(handle)) is not None
        ]

    def publics(self, cka_id: bytes | None = None) -> dict[bytes, list[int]]:
        """Return the handles of the public keys of the token, by CKA_ID: all, or those of one. Unreadable ones are logged.

        Raises:
            TokenError: the search failed.
        """
        by_id: dict[bytes, list[int]] = {}
        for handle in self._cryptoki.find(_search(TOKEN_PUBLICS, cka_id)):
            if self._read(handle, self._names):
                by_id.setdefault(self._names.get(CKA.ID) or b"", []).append(handle)
        return by_id

    def _read(self, handle: int, look: Template) -> bool:
        try:
            self._cryptoki.read(c_ulong(handle), look)
        except TokenError as error:
            if error.ckr not in AMBIGUOUS and outcome_of(error) is not Outcome.UNAVAILABLE:
                raise
            self.log("token_object_unreadable", error=str(error))
            return False
        return True

    def _describe_secret(self, handle: int) -> Listed | None:
        look = self._secret
        if not self._read(handle, look):
            return None
        key_type = _number(look.get(CKA.KEY_TYPE))
        if key_type == CKK.AES and look.get(CKA.DERIVE) == _YES:
            suite, fault = self._backing_key(look)
            return _listed(handle, Kind.BACKING_KEY, look, fault, suite=suite)
        if key_type == CKK.GENERIC_SECRET and look.get(CKA.SIGN) == _YES:
            algorithm = MAC_HASHES.get(_number(look.get(CKA.VALUE_LEN)))
            return _listed(handle, Kind.MAC_KEY, look, self._mac_key_fault(look, algorithm), mac=algorithm)
        return None

    def _backing_key(self, look: Template) -> tuple[Suite | None, str]:
        length = _number(look.get(CKA.VALUE_LEN))
        if length != BACKING_KEY_BYTES and (length or self._found.value_len_after_unwrap):
            # What was imported, by C_UnwrapKey, has no length on SoftHSM: it was proven then, and the canary proves it again.
            return None, "not 32 bytes long"
        if look.get(CKA.SENSITIVE) != _YES or look.get(CKA.EXTRACTABLE) != _NO:
            return None, "not sensitive, or extractable"
        if not self._found.allowed_mechanisms:
            return None, ""
        allowed = _mechanisms(look)
        suite = _SUITE_OF.get(CKM(allowed[0])) if len(allowed) == 1 and allowed[0] in _SUITE_OF else None
        return suite, "" if suite else "not confined to one known derivation"

    def _mac_key_fault(self, look: Template, algorithm: MacHash | None) -> str:
        if algorithm is None:
            return "not as long as the hash of an HMAC key"
        if look.get(CKA.SENSITIVE) != _YES or look.get(CKA.EXTRACTABLE) != _NO or look.get(CKA.DERIVE) == _YES:
            return "not sensitive, or extractable, or not for MACs alone"
        if self._found.allowed_mechanisms and _mechanisms(look) != (MAC_MECHANISMS[algorithm],):
            return "not confined to one hash"
        return ""

    def _describe_private(self, handle: int) -> Listed | None:
        look = self._private
        if not self._read(handle, look):
            return None
        usages = frozenset(usage for usage in PRIVATE_USAGES if look.get(usage) == _YES)
        use = next((use for use, named in PAIR_USAGES.items() if named == usages), None)
        fault = ""
        if look.get(CKA.SENSITIVE) != _YES or look.get(CKA.EXTRACTABLE) != _NO:
            fault = "not sensitive, or extractable"
        elif use is None:
            fault = "not for one known use"
        elif self._found.allowed_mechanisms and not _confined(use, _number(look.get(CKA.KEY_TYPE)), _mechanisms(look)):
            fault = "not confined to the mechanisms of its use"
        return _listed(handle, Kind.KEY_PAIR, look, fault, use=use)

    def make_way(self, cka_id: bytes, label: bytes) -> None:
        """Destroy what an interrupted generation left behind, of this CKA_ID and label: it is never adopted.

        Raises:
            ItemError: FAILED: a foreign object has this CKA_ID, or they are not ones that this service makes.
            TokenError: a call failed.
        """
        own, foreign = self._sorted(cka_id, label)
        if foreign:
            raise ItemError(Outcome.FAILED, f"an object of another label has CKA_ID {cka_id.hex()}")
        self._destroy(cka_id, own)

    def destroy(self, cka_id: bytes, label: bytes) -> int:
        """Destroy every key object, of whatever class, of exactly this CKA_ID and label; return how many there were.

        Raises:
            ItemError: FAILED: the CKA_ID or the label is not one that this service makes.
            TokenError: a call failed.
        """
        own, _ = self._sorted(cka_id, label)
        self._destroy(cka_id, own)
        return len(own)

    def _sorted(self, cka_id: bytes, label: bytes) -> tuple[list[int], list[int]]:
        """Return the handles of the objects of a CKA_ID: those of exactly this CKA_ID and label, and the others."""
        if len(cka_id) != CKA_ID_BYTES or not label:
            raise ItemError(Outcome.FAILED, "no backing key of this service")
        look = self._names
        own: list[int] = []
        foreign: list[int] = []
        for handle in self.search(cka_id):
            self._cryptoki.read(c_ulong(handle), look)
            exact = look.get(CKA.ID) == cka_id and look.get(CKA.LABEL) == label
            (own if exact else foreign).append(handle)
        return own, foreign

    def _destroy(self, cka_id: bytes, handles: Sequence[int]) -> None:
        for handle in handles:
            self.loaded.pop(cka_id, None)
            self._cryptoki.destroy_object(c_ulong(handle))

    def search(self, cka_id: bytes) -> list[int]:
        """Return the handles of the objects of a CKA_ID, of every class and whatever their state.

        Raises:
            TokenError: the search failed.
        """
        # The private key goes before its public key: what is left of a destruction that was interrupted is no secret.
        return [
            handle
            for kind in (TOKEN_SECRETS, TOKEN_PRIVATES, TOKEN_PUBLICS)
            for handle in self._cryptoki.find(_search(kind, cka_id))
        ]


def _search(kind: Attributes, cka_id: bytes | None) -> Template:
    return Template(kind if cka_id is None else (*kind, (CKA.ID, cka_id)))


def _sort(by_id: dict[bytes, list[Listed]], objects: Iterable[Listed]) -> None:
    for listed in objects:
        if len(listed.cka_id) == CKA_ID_BYTES:
            by_id.setdefault(listed.cka_id, []).append(listed)


def _listed(
    handle: int,
    kind: Kind,
    look: Template,
    fault: str,
    *,
    suite: Suite | None = None,
    use: PairUse | None = None,
    mac: MacHash | None = None,
) -> Listed:
    return Listed(handle, kind, look.get(CKA.ID) or b"", look.get(CKA.LABEL) or b"", suite, use, mac, fault)


def _number(value: bytes | None) -> int:
    return -1 if value is None else int.from_bytes(value, "little")


def _mechanisms(look: Template) -> tuple[int, ...]:
    value = look.get(CKA.ALLOWED_MECHANISMS) or b""
    return tuple(sorted(int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 8)))


def _confined(use: PairUse, key_type: int, mechanisms: tuple[int, ...]) -> bool:
    return any(
        kind.key_type == key_type and tuple(sorted(kind.allowed.get(use, ()))) == mechanisms
        for kind in PAIR_KINDS.values()
    )
