"""MACs on the token, made and checked.

A MAC is checked by making it again and comparing in constant time here: no standard says that C_Verify compares so.
"""

from __future__ import annotations

import hmac
from typing import Final

from hsmkms.core.ciphertext import MAX_PLAINTEXT_BYTES
from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import Mac, MacKeyRef, VerifyMac
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Mechanism
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.key_kinds import MAC_MECHANISMS
from hsmkms.hsm.mac_keys import MacKeys

_VALID: Final = b"\1"
_INVALID: Final = b"\0"
_LONGEST_MAC: Final = 64
_MECHANISMS: Final = {algorithm: Mechanism(number) for algorithm, number in MAC_MECHANISMS.items()}


class MacSequences:
    """MAC and VERIFY_MAC on one session.

    Args:
        keys: The HMAC keys.
        cryptoki: The session's calls.
    """

    def __init__(self, keys: MacKeys, cryptoki: Cryptoki) -> None:
        self._keys = keys
        self._cryptoki = cryptoki
        self._in = Buffer(MAX_PLAINTEXT_BYTES)
        self._out = Buffer(_LONGEST_MAC)

    def mac(self, command: Mac) -> bytes:
        """Make a MAC. Returns it, as long as the hash.

        Raises:
            ItemError: the key cannot be used; FAILED: the hash is not the key's, or the message is not 1 to 4,096 bytes long.
            TokenError: the token failed.
        """
        return self._made(command.key, command.algorithm, command.message)

    def verify_mac(self, command: VerifyMac) -> bytes:
        """Check a MAC. Returns one byte: 1 if it is valid, else 0; part of a MAC is not valid.

        Raises:
            ItemError: the key cannot be used; FAILED: the hash is not the key's, or the message is not 1 to 4,096 bytes long.
            TokenError: the token failed.
        """
        made = self._made(command.key, command.algorithm, command.message)
        return _VALID if hmac.compare_digest(made, command.mac) else _INVALID

    def _made(self, key: MacKeyRef, number: int, message: bytes) -> bytes:
        handle, algorithm = self._keys.use(key)
        if number != algorithm:
            raise ItemError(Outcome.FAILED, f"hash {number} with a key for HMAC with {algorithm.name}")
        if not 1 <= len(message) <= MAX_PLAINTEXT_BYTES:
            raise ItemError(Outcome.FAILED, f"a message of {len(message)} bytes")
        calls, text, out = self._cryptoki, self._in, self._out
        out.make_room()
        try:
            text.put(message)
            calls.sign_init(_MECHANISMS[algorithm].pointer, handle)
            calls.sign(text.pointer, text.length, out.pointer, out.length_pointer)
            return out.get()
        finally:
            text.wipe()
            out.wipe()
