"""Every attribute template of the service, spelled out.

The order matters: SoftHSM applies a template in order, and refuses in a derive or unwrap template whatever follows
`CKA_MODIFIABLE` = false, so MODIFIABLE is last. `render` turns a constant into what a token takes: it leaves out the optional
attributes that the probe found refused, and names every unused usage as false where a token would else allow it by default.
No caller's text ever gets into a template.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hsmkms.core.ciphertext import Suite
from hsmkms.core.material_commands import PairUse
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKK, CKM, CKO
from hsmkms.hsm.memory import Pointer


@dataclass(frozen=True, slots=True)
class Room:
    """A value that is filled in later: room for at most `size` bytes."""

    size: int


Value = bool | int | bytes | tuple[int, ...] | Room
Attributes = tuple[tuple[CKA, "Value | Attributes"], ...]

BACKING_KEY_BYTES: Final = 32

_DERIVED_ATTRIBUTES: Final[Attributes] = (
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
)
"""What `CKA_DERIVE_TEMPLATE` demands of each key derived from a backing key, where the token has it."""

BACKING_KEY_SUITE_1: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE_LEN, BACKING_KEY_BYTES),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.DERIVE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_CBC_ENCRYPT_DATA,)),
    (CKA.DERIVE_TEMPLATE, _DERIVED_ATTRIBUTES),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
BACKING_KEY_SUITE_2: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE_LEN, BACKING_KEY_BYTES),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.DERIVE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.SP800_108_COUNTER_KDF,)),
    (CKA.DERIVE_TEMPLATE, _DERIVED_ATTRIBUTES),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
BACKING_KEY: Final[Mapping[Suite, Attributes]] = {
    Suite.AES_CBC_ENCRYPT_DATA: BACKING_KEY_SUITE_1,
    Suite.SP800_108_CMAC_COUNTER: BACKING_KEY_SUITE_2,
}
"""A backing key: derives, by its suite's mechanism, and does nothing else."""

WRAPPING_KEY_WRAP: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.WRAP, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_KEY_WRAP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""A wrapping key that wraps."""
WRAPPING_KEY_UNWRAP: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.UNWRAP, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_KEY_WRAP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""A wrapping key that unwraps."""

PAYLOAD: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, True),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""What is unwrapped in ReEncrypt: no usage, never readable, extractable so that it can be wrapped again."""
PAYLOAD_READABLE: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, False),
    (CKA.EXTRACTABLE, True),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""What is unwrapped in Decrypt of mode DIRECT: its value is the plaintext, which the caller asked for."""
PAYLOAD_CREATED: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.VALUE, Room(256)),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, True),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""A plaintext that Encrypt was given, in mode DIRECT."""
PAYLOAD_GENERATED: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, True),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""A data key that the token makes and nobody reads; the length is set for each."""

DATA_KEY_ENCRYPT: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.ENCRYPT, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, True),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_GCM,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""The DEK of mode ENVELOPE when sealing: encrypts, and is extractable so that it can be wrapped."""
DATA_KEY_DECRYPT: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.DECRYPT, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_GCM,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""The DEK of mode ENVELOPE when opening: decrypts."""

AES_TO_PROVE: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.ENCRYPT, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, True),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_ECB,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""What an RSA key unwraps on a token that does not tell its length: one block of zeros, encrypted, shows that it is an AES key."""
IMPORTED_AES: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.UNWRAP, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_KEY_WRAP_KWP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""The AES key under which material to be imported is wrapped: unwraps by RFC 5649."""
KNOWN_WRAPPING_KEY: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.AES),
    (CKA.VALUE, Room(32)),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.WRAP, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.AES_KEY_WRAP_KWP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""A key of a value that this process chose for one call: how a private key whose plaintext the caller asked for leaves the token."""

DATA_PAIR_PUBLIC: Final[Attributes] = (
    (CKA.CLASS, CKO.PUBLIC_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.ENCRYPT, False),
    (CKA.VERIFY, False),
    (CKA.VERIFY_RECOVER, False),
    (CKA.WRAP, False),
    (CKA.DERIVE, False),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""The public key of a data key pair, or of a pair for import: it is read, and does nothing; the key type is set for each."""
DATA_PAIR_PRIVATE: Final[Attributes] = (
    (CKA.CLASS, CKO.PRIVATE_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.DECRYPT, False),
    (CKA.SIGN, False),
    (CKA.SIGN_RECOVER, False),
    (CKA.UNWRAP, False),
    (CKA.DERIVE, False),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, True),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""The private key of a data key pair: no usage, extractable so that it can be wrapped; the key type is set for each."""
IMPORT_PRIVATE: Final[Attributes] = (
    (CKA.CLASS, CKO.PRIVATE_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.DECRYPT, False),
    (CKA.SIGN, False),
    (CKA.SIGN_RECOVER, False),
    (CKA.UNWRAP, True),
    (CKA.DERIVE, False),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.RSA_PKCS_OAEP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""The private key of a pair for import, when material comes back: unwraps."""

PAIR_ENCRYPT_PUBLIC: Final[Attributes] = (
    (CKA.CLASS, CKO.PUBLIC_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.ENCRYPT, True),
    (CKA.VERIFY, False),
    (CKA.VERIFY_RECOVER, False),
    (CKA.WRAP, True),
    (CKA.DERIVE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.RSA_PKCS_OAEP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
PAIR_ENCRYPT_PRIVATE: Final[Attributes] = (
    (CKA.CLASS, CKO.PRIVATE_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.DECRYPT, True),
    (CKA.SIGN, False),
    (CKA.SIGN_RECOVER, False),
    (CKA.UNWRAP, True),
    (CKA.DERIVE, False),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.RSA_PKCS_OAEP,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
PAIR_SIGN_PUBLIC: Final[Attributes] = (
    (CKA.CLASS, CKO.PUBLIC_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.ENCRYPT, False),
    (CKA.VERIFY, True),
    (CKA.VERIFY_RECOVER, False),
    (CKA.WRAP, False),
    (CKA.DERIVE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.RSA_PKCS, CKM.RSA_PKCS_PSS)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
PAIR_SIGN_PRIVATE: Final[Attributes] = (
    (CKA.CLASS, CKO.PRIVATE_KEY),
    (CKA.KEY_TYPE, CKK.RSA),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.DECRYPT, False),
    (CKA.SIGN, True),
    (CKA.SIGN_RECOVER, False),
    (CKA.UNWRAP, False),
    (CKA.DERIVE, False),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.RSA_PKCS, CKM.RSA_PKCS_PSS)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
PAIR_AGREE_PUBLIC: Final[Attributes] = (
    (CKA.CLASS, CKO.PUBLIC_KEY),
    (CKA.KEY_TYPE, CKK.EC),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.ENCRYPT, False),
    (CKA.VERIFY, False),
    (CKA.VERIFY_RECOVER, False),
    (CKA.WRAP, False),
    (CKA.DERIVE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.ECDH1_DERIVE,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
PAIR_AGREE_PRIVATE: Final[Attributes] = (
    (CKA.CLASS, CKO.PRIVATE_KEY),
    (CKA.KEY_TYPE, CKK.EC),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.DECRYPT, False),
    (CKA.SIGN, False),
    (CKA.SIGN_RECOVER, False),
    (CKA.UNWRAP, False),
    (CKA.DERIVE, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.ECDH1_DERIVE,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
PAIR: Final[Mapping[PairUse, tuple[Attributes, Attributes]]] = {
    PairUse.ENCRYPT: (PAIR_ENCRYPT_PUBLIC, PAIR_ENCRYPT_PRIVATE),
    PairUse.SIGN: (PAIR_SIGN_PUBLIC, PAIR_SIGN_PRIVATE),
    PairUse.AGREE: (PAIR_AGREE_PUBLIC, PAIR_AGREE_PRIVATE),
}
"""A key pair of a KMS key, public and private; the key type and the mechanisms are set for its kind (`key_kinds`)."""
PAIR_USAGES: Final[Mapping[PairUse, frozenset[CKA]]] = {
    PairUse.ENCRYPT: frozenset({CKA.DECRYPT, CKA.UNWRAP}),
    PairUse.SIGN: frozenset({CKA.SIGN}),
    PairUse.AGREE: frozenset({CKA.DERIVE}),
}
"""The usages of the private key, as its template has them."""
PRIVATE_USAGES: Final = (CKA.DECRYPT, CKA.SIGN, CKA.SIGN_RECOVER, CKA.UNWRAP, CKA.DERIVE)

AGREED: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, False),
    (CKA.EXTRACTABLE, True),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""A shared secret: its value is what the caller asked for; the length, that of the curve's field, is set for each."""

MAC_KEY: Final[Attributes] = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.VALUE_LEN, 32),
    (CKA.TOKEN, True),
    (CKA.PRIVATE, True),
    (CKA.SIGN, True),
    (CKA.VERIFY, True),
    (CKA.SENSITIVE, True),
    (CKA.EXTRACTABLE, False),
    (CKA.ALLOWED_MECHANISMS, (CKM.SHA256_HMAC,)),
    (CKA.COPYABLE, False),
    (CKA.MODIFIABLE, False),
)
"""An HMAC key: makes and checks MACs with one hash; length and mechanism are set for each."""

TOKEN_SECRETS: Final[Attributes] = ((CKA.CLASS, CKO.SECRET_KEY), (CKA.TOKEN, True))
TOKEN_PRIVATES: Final[Attributes] = ((CKA.CLASS, CKO.PRIVATE_KEY), (CKA.TOKEN, True))
TOKEN_PUBLICS: Final[Attributes] = ((CKA.CLASS, CKO.PUBLIC_KEY), (CKA.TOKEN, True))
"""What searches ask for; by class, since one broken object spoils a search for everything."""

USAGES: Final = (CKA.ENCRYPT, CKA.DECRYPT, CKA.SIGN, CKA.VERIFY, CKA.WRAP, CKA.UNWRAP, CKA.DERIVE)
"""Of a secret key; named as false in each template that does not set them, on tokens that would else allow them."""


class CkAttribute(ctypes.Structure):
    """`CK_ATTRIBUTE`."""

    _fields_ = (("type", ctypes.c_ulong), ("pValue", ctypes.c_void_p), ("ulValueLen", ctypes.c_ulong))


class Template:
    """A template as the module takes it: built once, its memory kept for as long as it lives.

    Args:
        attributes: Types and values in their order.
    """

    __slots__ = ("_cells", "_entries", "attributes", "count", "pointer")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self._entries = (CkAttribute * len(attributes))()
        self.count = ctypes.c_ulong(len(attributes))
        self._cells: dict[int, tuple[CkAttribute, ctypes.Array[ctypes.c_char]]] = {}
        self.pointer = Pointer(self._entries, self._cells)
        for entry, (kind, value) in zip(self._entries, attributes, strict=True):
            data = _packed(value)
            cell = data if isinstance(data, ctypes.Array) else ctypes.create_string_buffer(data, max(len(data), 1))
            entry.type = kind
            entry.pValue = ctypes.addressof(cell)
            entry.ulValueLen = 0 if isinstance(value, Room) else len(data)
            self._cells[kind] = (entry, cell)
            if isinstance(value, tuple) and value and isinstance(value[0], tuple):
                nested = Template(value)
                self._cells[kind] = (entry, nested)  # type: ignore[assignment]  # kept alive; never set
                entry.pValue = nested.pointer.value
                entry.ulValueLen = ctypes.sizeof(CkAttribute) * nested.count.value

    def put(self, kind: CKA, data: bytes) -> None:
        """Set the value of an attribute that was given `Room`, or one of the same length."""
        entry, cell = self._cells[kind]
        if len(data) > len(cell):
            raise ValueError(f"{len(data)} bytes for {kind.name}, which has room for {len(cell)}")
        ctypes.memmove(cell, data, len(data))
        entry.ulValueLen = len(data)

    def put_number(self, kind: CKA, number: int) -> None:
        """Set the value of a numeric attribute."""
        self.put(kind, number.to_bytes(8, "little"))

    def get(self, kind: CKA) -> bytes | None:
        """Return an attribute's value after `Cryptoki.read`, or None where the token has none to show."""
        entry, cell = self._cells[kind]
        return None if entry.ulValueLen > len(cell) else bytes(cell.raw[: entry.ulValueLen])

    def make_room(self) -> None:
        """Offer the whole of every buffer again, before a `Cryptoki.read`."""
        for entry, cell in self._cells.values():
            entry.ulValueLen = len(cell)

    def wipe(self, kind: CKA) -> None:
        """Overwrite an attribute's buffer with zeros."""
        entry, cell = self._cells[kind]
        ctypes.memset(cell, 0, len(cell))
        entry.ulValueLen = 0


def _packed(value: object) -> bytes | ctypes.Array[ctypes.c_char]:
    match value:
        case Room():
            return ctypes.create_string_buffer(value.size)
        case bool():
            return bytes([value])
        case int():
            return value.to_bytes(8, "little")
        case bytes():
            return value
        case tuple():
            return b"".join(number.to_bytes(8, "little") for number in value if isinstance(number, int))
    raise TypeError(f"no attribute value: {type(value).__name__}")


def render(
    attributes: Attributes,
    found: Capabilities,
    *,
    extra: Attributes = (),
    without: Iterable[CKA] = (),
    allowed: tuple[int, ...] = (),
) -> Template:
    """Return a template as this token takes it.

    Args:
        attributes: One of this module's constants.
        found: What the probe found.
        extra: Attributes to add after class and key type, replacing those of the same type.
        without: Attributes to leave out.
        allowed: The mechanisms of `CKA_ALLOWED_MECHANISMS`, where they are others than the constant's.
    """
    dropped = {*without, *(kind for kind, _ in extra)}
    for accepted, kind in (
        (found.allowed_mechanisms, CKA.ALLOWED_MECHANISMS),
        (found.copyable, CKA.COPYABLE),
        (found.modifiable, CKA.MODIFIABLE),
        (found.derive_template, CKA.DERIVE_TEMPLATE),
    ):
        if not accepted:
            dropped.add(kind)
    named = {kind for kind, _ in attributes}
    secret = (CKA.CLASS, CKO.SECRET_KEY) in attributes  # templates of key pairs name each usage themselves
    unused: Attributes = (
        tuple((usage, False) for usage in USAGES if usage not in named)
        if secret and not found.unnamed_usages_off
        else ()
    )
    kept = tuple(
        (kind, allowed if allowed and kind is CKA.ALLOWED_MECHANISMS else value)
        for kind, value in attributes
        if kind not in dropped
    )
    return Template(kept[:2] + extra + unused + kept[2:])
