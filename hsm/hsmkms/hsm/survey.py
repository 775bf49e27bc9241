"""What keys there are on a token, of every kind and whoever's, each proven and with its canary: an operator's look. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import c_ulong
from typing import Final

from hsmkms.core.ciphertext import CKA_ID_BYTES, Suite
from hsmkms.core.material_commands import MacHash, PairSpec, PairUse
from hsmkms.core.model import KeySpec, KeyUsage
from hsmkms.core.specs import MAC_KEY_BYTES, PAIR_USES, PAIRS
from hsmkms.core.token_objects import TokenObject
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.errors import ItemError, TokenError
from hsmkms.hsm.key_kinds import MAC_HASHES
from hsmkms.hsm.key_objects import Kind, Listed
from hsmkms.hsm.key_pairs import KeyPairs
from hsmkms.hsm.mac_keys import MacKeys
from hsmkms.hsm.wrapping import Wrapping

_PAIR_SPECS: Final[Mapping[PairSpec, KeySpec]] = {pair: spec for spec, pair in PAIRS.items()}
_PAIR_USAGES: Final[Mapping[PairUse, KeyUsage]] = {use: usage for usage, use in PAIR_USES.items()}
_MAC_SPECS: Final[Mapping[MacHash, KeySpec]] = {MAC_HASHES[length]: spec for spec, length in MAC_KEY_BYTES.items()}


class Survey:
    """A look at the token of one session.

    Args:
        wrapping: The steps on that session.
        found: What the token can do.
        suites: Derivations by CKA_ID, for tokens that cannot say what an AES key is for.
        preferred: The derivation of all others there; None for the one that the service prefers, suite 2 where the token has it.
    """

    def __init__(
        self, wrapping: Wrapping, found: Capabilities, suites: Mapping[bytes, Suite], preferred: Suite | None = None
    ) -> None:
        self._keys = BackingKeys(wrapping, found, lambda *_, **__: None)
        self._pairs = KeyPairs(wrapping, self._keys.objects, found)
        self._macs = MacKeys(wrapping, self._keys.objects, found)
        self._suites = suites
        newest = Suite.SP800_108_CMAC_COUNTER if found.suite_2 else Suite.AES_CBC_ENCRYPT_DATA
        self._other_suite = preferred or newest

    def objects(self) -> list[TokenObject]:
        """Return every key of the token. What fails with one key is that key's fault, and the others are looked at all the same.

        Raises:
            TokenError: a search failed.
        """
        listed = self._keys.list_objects()
        publics = self._keys.objects.publics() if any(one.kind is Kind.KEY_PAIR for one in listed) else {}
        return [self._surveyed(one, publics.get(one.cka_id, ())) for one in listed]

    def _surveyed(self, listed: Listed, publics: Sequence[int]) -> TokenObject:
        spec, usage, suite = self._named(listed)
        canary, fault = b"", listed.fault
        if not fault and len(listed.cka_id) != CKA_ID_BYTES:
            fault = "its CKA_ID is not one of this service"
        if not fault and listed.kind is Kind.KEY_PAIR and len(publics) != 1:
            fault = f"it has {len(publics)} public keys"
        if not fault:
            try:
                match listed.kind:
                    case Kind.BACKING_KEY:
                        canary = self._keys.canary_of(listed, suite)
                    case Kind.MAC_KEY:
                        canary = self._macs.canary_of(listed)
                    case Kind.KEY_PAIR:
                        pair, canary = self._pairs.canary_of(listed, c_ulong(publics[0]))
                        spec = _PAIR_SPECS[pair]
            except (ItemError, TokenError) as error:
                fault = f"it makes no canary: {error}"
        return TokenObject(listed.cka_id, listed.label, spec, usage, suite, canary, fault)

    def _named(self, listed: Listed) -> tuple[KeySpec | None, KeyUsage | None, Suite]:
        """Return what a key's own attributes say of it: the kind of a key pair is in its public key."""
        match listed.kind:
            case Kind.BACKING_KEY:
                suite = listed.suite or self._suites.get(listed.cka_id, self._other_suite)
                return KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, suite
            case Kind.MAC_KEY:
                spec = None if listed.mac is None else _MAC_SPECS[listed.mac]
                return spec, KeyUsage.GENERATE_VERIFY_MAC, Suite.NONE
            case Kind.KEY_PAIR:
                return None, None if listed.use is None else _PAIR_USAGES[listed.use], Suite.NONE
