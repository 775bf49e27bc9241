"""What RSA keys do on the token, by OAEP: ReEncrypt from and to them, Encrypt and Decrypt with them.

On the way of a ReEncrypt OAEP is C_UnwrapKey and C_WrapKey, never C_Decrypt, and no value is read; one AES-ECB call on zeros, where a
token does not tell the length of what it unwrapped, is all that touches it besides.

What an RSA key unwraps must have a length that is proven before it is wrapped under a backing key, since key wraps fill up with zeros,
silently, on both tokens that this was measured with:

- where `CKA_VALUE_LEN` is right after C_UnwrapKey (NSS softokn), that is it: mode DIRECT, or DIRECT_PADDED where the token has RFC 5649;
- where it is not (SoftHSM), what unwraps as an AES key and encrypts one block has 16, 24 or 32 bytes, and its key wrap shows which.

Everything else is LENGTH_NOT_PROVEN. From one RSA key to another no length matters: OAEP carries it. Nothing empty passes.

Whatever is wrong with an OAEP ciphertext, its sender sees one outcome, and the source key is proven in between, always; a wrong length
and a number that is no residue are found sooner by the token, but those can be told from the outside.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_ulong
from typing import Final, TypeVar

from hsmkms.core.ciphertext import (
    MAX_MODULUS_BYTES,
    WRAP_OVERHEAD_BYTES,
    Header,
    Mode,
    derivation_digest,
    is_direct_length,
    is_padded_length,
    sealed_digest,
    wrapped_bytes,
)
from hsmkms.core.commands import KeyRef, Outcome
from hsmkms.core.material_commands import (
    DecryptRsa,
    EncryptRsa,
    KeyPairRef,
    Oaep,
    PairUse,
    RewrapFromRsa,
    RewrapRsa,
    RewrapToRsa,
    VerifyRsa,
)
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM, CKR
from hsmkms.hsm.cryptoki import Buffer, Mechanism
from hsmkms.hsm.errors import ItemError, TokenError
from hsmkms.hsm.key_pairs import KeyPairs, Pair
from hsmkms.hsm.oaep import OAEP, encrypting_oaep, largest_payload, wrapping_oaep
from hsmkms.hsm.templates import AES_TO_PROVE, PAYLOAD, Room, Template, render
from hsmkms.hsm.wrapping import Wrapping

T = TypeVar("T")
_BLOCK: Final = 16
_LIKELY_LENGTHS: Final = (32, 16, 24)
"""Of AES keys, the likeliest first."""
_NO_AES_KEY: Final = frozenset({CKR.KEY_SIZE_RANGE, CKR.MECHANISM_INVALID, CKR.KEY_TYPE_INCONSISTENT})
"""What tokens say of an AES key of another length when it is to encrypt. SoftHSM: MECHANISM_INVALID."""
_TOO_LONG: Final = frozenset({CKR.KEY_SIZE_RANGE, CKR.DATA_LEN_RANGE, CKR.WRAPPED_KEY_LEN_RANGE})
"""What tokens say of a secret that a key cannot wrap by OAEP. SoftHSM: KEY_SIZE_RANGE, NSS softokn: DATA_LEN_RANGE."""


class RsaSequences:
    """The commands with RSA keys on one session.

    Args:
        wrapping: The steps on that session.
        keys: The backing keys.
        pairs: The key pairs.
        found: What the token can do.
    """

    def __init__(self, wrapping: Wrapping, keys: BackingKeys, pairs: KeyPairs, found: Capabilities) -> None:
        self._wrapping = wrapping
        self._cryptoki = wrapping.cryptoki
        self._keys = keys
        self._pairs = pairs
        self._found = found
        self._payload = render(PAYLOAD, found)
        self._aes = render(AES_TO_PROVE, found)
        self._length = Template(((CKA.VALUE_LEN, Room(8)),))
        self._ecb = Mechanism(CKM.AES_ECB)
        self._zeros = Buffer(_BLOCK)
        self._in = Buffer(MAX_MODULUS_BYTES)
        self._out = Buffer(2 * MAX_MODULUS_BYTES)

    def rewrap_to_rsa(self, command: RewrapToRsa) -> bytes:
        """Unwrap under a backing key and wrap by OAEP. Returns the OAEP ciphertext.

        Raises:
            ItemError: INVALID_CIPHERTEXT, TOO_LONG, UNSUPPORTED, or a key cannot be used.
            TokenError: the token failed.
        """
        algorithm = wrapping_oaep(command.algorithm, self._found)
        source = self._keys.use(command.source)
        pair = self._pairs.use(command.destination, PairUse.ENCRYPT)
        match command.mode:
            case Mode.DIRECT:
                by = self._wrapping.plain
                _require_room(len(command.wrapped) - WRAP_OVERHEAD_BYTES, algorithm, pair)
            case Mode.DIRECT_PADDED if self._wrapping.padded is not None:
                by = self._wrapping.padded
            case Mode.DIRECT_PADDED:
                raise ItemError(Outcome.UNSUPPORTED, "the token lacks RFC 5649, which mode 3 needs")
            case _:
                raise ItemError(Outcome.FAILED, f"mode {command.mode} does not go to an RSA key")
        try:
            payload = self._wrapping.unwrap(
                source, command.source.suite, command.source_digest, command.wrapped, self._payload, by
            )
        except TokenError as error:
            raise self._keys.judged(error, command.source) from error
        try:
            return self._wrapped(pair, algorithm, payload)
        finally:
            self._cryptoki.destroy_object(payload)

    def rewrap_from_rsa(self, command: RewrapFromRsa) -> bytes:
        """Unwrap by OAEP and wrap under a backing key. Returns the ciphertext, header and all.

        Raises:
            ItemError: INVALID_CIPHERTEXT, LENGTH_NOT_PROVEN, UNSUPPORTED, or a key cannot be used.
            TokenError: the token failed.
        """
        algorithm = wrapping_oaep(command.algorithm, self._found)
        destination = self._keys.use(command.destination)
        if self._found.value_len_after_unwrap:
            return self._opened(
                command.source,
                algorithm,
                command.oaep,
                self._payload,
                lambda opened: self._sealed(command, destination, opened, self._told_length(opened)),
            )
        if self._found.aes_length_by_use:
            return self._opened(
                command.source,
                algorithm,
                command.oaep,
                self._aes,
                lambda opened: self._sealed_aes(command, destination, opened),
            )
        raise ItemError(Outcome.LENGTH_NOT_PROVEN, "the token tells no length of what it unwraps")

    def rewrap_rsa(self, command: RewrapRsa) -> bytes:
        """Unwrap by OAEP and wrap by OAEP. Returns the OAEP ciphertext.

        Raises:
            ItemError: INVALID_CIPHERTEXT, TOO_LONG, LENGTH_NOT_PROVEN: it is empty; UNSUPPORTED, or a key cannot be used.
            TokenError: the token failed.
        """
        algorithm = wrapping_oaep(command.algorithm, self._found)
        again = wrapping_oaep(command.destination_algorithm, self._found)
        pair = self._pairs.use(command.destination, PairUse.ENCRYPT)

        def wrapped(opened: c_ulong) -> bytes:
            if self._found.value_len_after_unwrap:
                _require_room(self._told_length(opened), again, pair)
            return self._wrapped(pair, again, opened)

        return self._opened(command.source, algorithm, command.oaep, self._payload, wrapped)

    def verify_rsa(self, command: VerifyRsa) -> bytes:
        """Unwrap by OAEP and keep nothing. Returns nothing.

        Raises:
            ItemError: INVALID_CIPHERTEXT, UNSUPPORTED, or the key cannot be used.
            TokenError: the token failed.
        """
        algorithm = wrapping_oaep(command.algorithm, self._found)
        self._opened(command.source, algorithm, command.oaep, self._payload, lambda _: None)
        return b""

    def encrypt_rsa(self, command: EncryptRsa) -> bytes:
        """Encrypt by OAEP. Returns the OAEP ciphertext.

        Raises:
            ItemError: TOO_LONG, UNSUPPORTED, or the key cannot be used.
            TokenError: the token failed.
        """
        algorithm = encrypting_oaep(command.algorithm, self._found)
        pair = self._pairs.use(command.destination, PairUse.ENCRYPT)
        _require_room(len(command.plaintext), algorithm, pair)
        calls, source, out = self._cryptoki, self._in, self._out
        out.make_room()
        try:
            source.put(command.plaintext)
            calls.encrypt_init(OAEP[algorithm].pointer, pair.public)
            calls.encrypt(source.pointer, source.length, out.pointer, out.length_pointer)
        finally:
            source.wipe()
        return out.get()

    def decrypt_rsa(self, command: DecryptRsa) -> bytes:
        """Decrypt by OAEP. Returns the plaintext.

        Raises:
            ItemError: INVALID_CIPHERTEXT, UNSUPPORTED, or the key cannot be used.
            TokenError: the token failed.
        """
        algorithm = encrypting_oaep(command.algorithm, self._found)
        pair = self._pairs.use(command.source, PairUse.ENCRYPT)
        calls, source, out = self._cryptoki, self._in, self._out
        source.put(command.oaep)
        out.make_room()
        try:
            calls.decrypt_init(OAEP[algorithm].pointer, pair.private)
            calls.decrypt(source.pointer, source.length, out.pointer, out.length_pointer)
            return out.get()
        except TokenError as error:
            raise self._pairs.judged(error, command.source) from error
        finally:
            out.wipe()

    def _opened(
        self, source: KeyPairRef, algorithm: Oaep, oaep: bytes, template: Template, use: Callable[[c_ulong], T]
    ) -> T:
        pair = self._pairs.use(source, PairUse.ENCRYPT)
        try:
            opened = self._wrapping.unwrap_under(pair.private, OAEP[algorithm], oaep, template)
        except TokenError as error:
            raise self._pairs.judged(error, source) from error
        try:
            return use(opened)
        finally:
            self._cryptoki.destroy_object(opened)

    def _wrapped(self, pair: Pair, algorithm: Oaep, payload: c_ulong) -> bytes:
        try:
            return self._wrapping.wrap_under(pair.public, OAEP[algorithm], payload)
        except TokenError as error:
            if error.ckr in _TOO_LONG:
                raise ItemError(Outcome.TOO_LONG, str(error)) from error
            if error.ckr == CKR.KEY_NOT_WRAPPABLE:
                raise ItemError(Outcome.LENGTH_NOT_PROVEN, f"{error}: an empty payload") from error
            raise

    def _told_length(self, opened: c_ulong) -> int:
        """Return what the token says that an unwrapped secret's length is.

        Raises:
            ItemError: LENGTH_NOT_PROVEN: none, or nothing.
            TokenError: the token failed.
        """
        self._cryptoki.read(opened, self._length)
        length = int.from_bytes(self._length.get(CKA.VALUE_LEN) or b"", "little")
        if not length:
            raise ItemError(Outcome.LENGTH_NOT_PROVEN, "an empty payload")
        return length

    def _sealed(self, command: RewrapFromRsa, destination: c_ulong, opened: c_ulong, length: int) -> bytes:
        if is_direct_length(length):
            mode, by = Mode.DIRECT, self._wrapping.plain
        elif self._wrapping.padded is not None and is_padded_length(length):
            mode, by = Mode.DIRECT_PADDED, self._wrapping.padded
        else:
            raise ItemError(Outcome.LENGTH_NOT_PROVEN, f"{length} bytes, which the token cannot wrap exactly")
        header = _header(command, mode, length)
        digest = derivation_digest(header, command.context, sealed_digest(b""))
        wrapped = self._wrapping.wrap(destination, command.destination.suite, digest, opened, by)
        if len(wrapped) != wrapped_bytes(length):
            raise ItemError(Outcome.LENGTH_NOT_PROVEN, "a key wrap of another length than the secret's")
        return header + wrapped

    def _sealed_aes(self, command: RewrapFromRsa, destination: c_ulong, opened: c_ulong) -> bytes:
        self.require_aes(opened)
        for length in _LIKELY_LENGTHS:
            header = _header(command, Mode.DIRECT, length)
            digest = derivation_digest(header, command.context, sealed_digest(b""))
            wrapped = self._wrapping.wrap(destination, command.destination.suite, digest, opened)
            if len(wrapped) == wrapped_bytes(length):
                return header + wrapped
        raise ItemError(Outcome.LENGTH_NOT_PROVEN, "a key wrap of no AES key's length")

    def require_aes(self, opened: c_ulong) -> None:
        """Do nothing if a secret that was unwrapped as an AES key has 16, 24 or 32 bytes: it encrypts a block of zeros.

        Raises:
            ItemError: LENGTH_NOT_PROVEN.
            TokenError: the token failed.
        """
        calls, zeros, out = self._cryptoki, self._zeros, self._out
        zeros.put(bytes(_BLOCK))
        out.make_room()
        try:
            calls.encrypt_init(self._ecb.pointer, opened)
        except TokenError as error:
            if error.ckr in _NO_AES_KEY:
                raise ItemError(Outcome.LENGTH_NOT_PROVEN, f"{error}: no AES key") from error
            raise
        try:
            calls.encrypt(zeros.pointer, zeros.length, out.pointer, out.length_pointer)
        finally:
            out.wipe()


def _header(command: RewrapFromRsa, mode: Mode, length: int) -> bytes:
    key: KeyRef = command.destination
    return Header(
        key.suite, mode, key.cka_id[:16], int.from_bytes(key.cka_id[16:], "big"), length, command.salt
    ).to_bytes()


def _require_room(length: int, algorithm: Oaep, pair: Pair) -> None:
    largest = largest_payload(algorithm, pair.kind.coordinate_bytes)
    if length > largest:
        raise ItemError(Outcome.TOO_LONG, f"{length} bytes, and the key can encrypt {largest}")
