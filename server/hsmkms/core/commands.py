"""What the front asks of a token worker, as values.

One frozen dataclass per kind of command; `frames` turns them into bytes and back. A command names a backing key by a `KeyRef` and
carries digests and wrapped keys; only commands whose callers gave a plaintext, or asked for one, carry it. What has to do with key
pairs, MAC keys and import is in `material_commands`. Every field states its length, and `frames` refuses what does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from hsmkms.core.ciphertext import KeyType, Mode, Suite


class Opcode(IntEnum):
    """The kind of a command, as a frame names it."""

    REWRAP = 1
    VERIFY = 2
    ENCRYPT = 3
    DECRYPT = 4
    GENERATE_DATA_KEY = 5
    RANDOM = 6
    LOAD = 7
    GENERATE_BACKING_KEY = 8
    DESTROY_BACKING_KEYS = 9
    LIST_BACKING_KEYS = 10
    STATISTICS = 11
    START = 12
    REWRAP_TO_RSA = 13
    REWRAP_FROM_RSA = 14
    REWRAP_RSA = 15
    VERIFY_RSA = 16
    ENCRYPT_RSA = 17
    DECRYPT_RSA = 18
    GENERATE_DATA_KEY_PAIR = 19
    GENERATE_KEY_PAIR = 20
    GENERATE_MAC_KEY = 21
    SIGN = 22
    VERIFY_SIGNATURE = 23
    MAC = 24
    VERIFY_MAC = 25
    AGREE = 26
    GENERATE_IMPORT_PAIR = 27
    IMPORT_KEY = 28


class Outcome(IntEnum):
    """How one item of a command ended."""

    OK = 0
    EXPIRED = 1
    """Not started: its caller's deadline had passed."""
    INVALID_CIPHERTEXT = 2
    """The wrapped key did not unwrap, and the key's canary did: the ciphertext is wrong, the token well."""
    KEY_NOT_LOADED = 3
    """This worker has no handle for the backing key."""
    KEY_DAMAGED = 4
    """The object with the backing key's CKA_ID is not the key that made its canary."""
    UNAVAILABLE = 5
    """The token, the session or the object cannot be used just now."""
    FAILED = 6
    """The token failed in another way."""
    UNSUPPORTED = 7
    """The token lacks what this needs."""
    BUSY = 8
    """The token has no room for another session or object just now."""
    PIN_REFUSED = 9
    """The token refused the PIN, or has locked it."""
    MISCONFIGURED = 10
    """Module, token or PIN file cannot be used; the detail says what to change."""
    LENGTH_NOT_PROVEN = 11
    """What an RSA key unwrapped has a length that this token cannot prove, or cannot wrap exactly; or it is empty."""
    TOO_LONG = 12
    """The payload is longer than the destination RSA key and algorithm can encrypt."""
    WRONG_MATERIAL = 13
    """The material to be imported is not the one that made the canary."""
    WRONG_LENGTH = 14
    """The material to be imported is not as long as its key's kind demands, or no private key of that kind."""
    INVALID_PUBLIC_KEY = 15
    """The other's public key is none, or not on this key's curve."""
    INVALID_IMPORT_TOKEN = 16
    """The wrapped private key of an import pair did not unwrap, and the service key's canary did: the import token is wrong."""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A backing key.

    Args:
        cka_id: 20 bytes: the KMS key's UUID and the version.
        suite: Its derivation.
        canary: 40 bytes: proves that the object on the token is that key.
    """

    cka_id: bytes
    suite: Suite
    canary: bytes


@dataclass(slots=True)
class Rewrap:
    """Unwrap under one backing key and wrap under another: the whole of ReEncrypt on the token. Result: the new wrapped key.

    Args:
        source: The backing key it is wrapped under.
        source_digest: 32 bytes to derive the source's wrapping key from.
        wrapped: The wrapped key, 16 to 2,608 bytes.
        destination: The backing key to wrap it under.
        destination_digest: 32 bytes to derive the destination's wrapping key from.
        mode: The ciphertext's mode (`ciphertext.Mode`): it says how to unwrap and wrap.
        key_type: What kind of private key it is in mode PRIVATE_KEY (`ciphertext.KeyType`), else 0.
    """

    opcode: ClassVar[Opcode] = Opcode.REWRAP
    source: KeyRef
    source_digest: bytes
    wrapped: bytes
    destination: KeyRef
    destination_digest: bytes
    mode: int = Mode.DIRECT
    key_type: int = KeyType.NONE


@dataclass(frozen=True, slots=True)
class Verify:
    """Unwrap, and keep nothing: what a dry run does on the token. Result: empty. Its fields are those of `Rewrap`."""

    opcode: ClassVar[Opcode] = Opcode.VERIFY
    source: KeyRef
    source_digest: bytes
    wrapped: bytes
    mode: int = Mode.DIRECT
    key_type: int = KeyType.NONE


@dataclass(frozen=True, slots=True)
class Encrypt:
    """Seal a plaintext. Result: the body of the ciphertext.

    Args:
        destination: The backing key.
        header: The ciphertext's 48 bytes of header; they say mode and length.
        context: The encryption context in canonical form.
        plaintext: 1 to 4,096 bytes.
    """

    opcode: ClassVar[Opcode] = Opcode.ENCRYPT
    destination: KeyRef
    header: bytes
    context: bytes
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Decrypt:
    """Open a ciphertext. Result: the plaintext.

    Args:
        source: The backing key.
        source_digest: 32 bytes to derive the wrapping key from.
        header: The ciphertext's 48 bytes of header; they say mode and length.
        wrapped: The wrapped key.
        sealed: `nonce || ciphertext || tag` in mode ENVELOPE, empty in mode DIRECT.
    """

    opcode: ClassVar[Opcode] = Opcode.DECRYPT
    source: KeyRef
    source_digest: bytes
    header: bytes
    wrapped: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class GenerateDataKey:
    """Make a data key on the token and seal it. Result: `u32 length of the body, body, plaintext or nothing`.

    Args:
        destination: The backing key.
        header: The ciphertext's 48 bytes of header; its length is the data key's, 1 to 1,024 bytes.
        context: The encryption context in canonical form.
        with_plaintext: 1 to return the data key in plaintext too, else 0.
    """

    opcode: ClassVar[Opcode] = Opcode.GENERATE_DATA_KEY
    destination: KeyRef
    header: bytes
    context: bytes
    with_plaintext: int


@dataclass(frozen=True, slots=True)
class Random:
    """Bytes from the token's generator. Result: `length` bytes, 1 to 1,024."""

    opcode: ClassVar[Opcode] = Opcode.RANDOM
    length: int


@dataclass(frozen=True, slots=True)
class Load:
    """Find backing keys on the token and keep their handles. Result: the CKA_IDs of those found, 20 bytes each, joined.

    Args:
        cka_ids: The CKA_IDs wanted, 20 bytes each, joined; empty for every one on the token.
    """

    opcode: ClassVar[Opcode] = Opcode.LOAD
    cka_ids: bytes


@dataclass(frozen=True, slots=True)
class GenerateBackingKey:
    """Generate a backing key as a token object and make its canary. Result: the canary, 40 bytes.

    Any object of that CKA_ID that carries this deployment's label is destroyed first: an interrupted generation is never adopted.

    Args:
        cka_id: 20 bytes.
        suite: Its derivation.
        label: The deployment's label, ASCII, at most 64 bytes. Never a caller's text.
    """

    opcode: ClassVar[Opcode] = Opcode.GENERATE_BACKING_KEY
    cka_id: bytes
    suite: int
    label: bytes


@dataclass(frozen=True, slots=True)
class DestroyBackingKeys:
    """Destroy every object (secret, private, public) of one CKA_ID that carries the label, and no other. Result: u32, how many."""

    opcode: ClassVar[Opcode] = Opcode.DESTROY_BACKING_KEYS
    cka_id: bytes
    label: bytes


@dataclass(frozen=True, slots=True)
class ListBackingKeys:
    """List the token objects that are key material: AES keys that derive, private keys, MAC keys.

    Result: for each, u8 length and CKA_ID, u8 length and label.
    """

    opcode: ClassVar[Opcode] = Opcode.LIST_BACKING_KEYS


@dataclass(frozen=True, slots=True)
class Statistics:
    """Return the worker's counters as JSON (see `hsmkms.core.statistics`)."""

    opcode: ClassVar[Opcode] = Opcode.STATISTICS


@dataclass(frozen=True, slots=True)
class Start:
    """The first command a worker gets: load the module, log in, probe. Result: JSON (`hsmkms.core.startup`).

    Args:
        settings: JSON (`hsmkms.core.startup`): module, token, PIN file, capabilities if they are known already.
    """

    opcode: ClassVar[Opcode] = Opcode.START
    settings: bytes


@dataclass(slots=True)
class Result:
    """How one item ended.

    Args:
        outcome: The outcome.
        value: The result where the outcome is OK; else what only the log may hold, in UTF-8.
    """

    outcome: Outcome
    value: bytes = field(repr=False)
