"""Public keys in DER: what the token's attributes give as a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).

The same key always gives the same bytes: they are compared to tell whether an object on the token is the key it should be.
"""

from __future__ import annotations

from ctypes import c_ulong
from typing import Final

from hsmkms.hsm.constants import CKA, CKK
from hsmkms.hsm.cryptoki import Cryptoki
from hsmkms.hsm.key_kinds import PairKind
from hsmkms.hsm.templates import Room, Template

_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_SEQUENCE: Final = 0x30
_RSA_ENCRYPTION: Final = bytes.fromhex("06092a864886f70d0101010500")
"""OBJECT IDENTIFIER rsaEncryption, NULL (RFC 3279, section 2.3.1)."""
_EC_PUBLIC_KEY: Final = bytes.fromhex("06072a8648ce3d0201")
"""OBJECT IDENTIFIER id-ecPublicKey (RFC 5480, section 2.1.1); the curve follows it."""
_LONGEST: Final = 520
"""Of an attribute: the modulus of RSA-4096 has 512 bytes."""
_UNCOMPRESSED: Final = 4
_SHORT: Final = 0x80


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < _SHORT:
        return bytes([tag, length]) + content
    count = (length.bit_length() + 7) // 8
    return bytes([tag, _SHORT | count]) + length.to_bytes(count, "big") + content


def der_integer(value: int) -> bytes:
    """Return a number that is not negative as a DER INTEGER."""
    return _tagged(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def der_sequence(content: bytes) -> bytes:
    """Return members, each in DER, as a DER SEQUENCE."""
    return _tagged(_SEQUENCE, content)


def _info(algorithm: bytes, key: bytes) -> bytes:
    return der_sequence(der_sequence(algorithm) + _tagged(_BIT_STRING, b"\0" + key))


def rsa_info(modulus: int, exponent: int) -> bytes:
    """Return an RSA public key in DER (RFC 8017, appendix A.1.1)."""
    return _info(_RSA_ENCRYPTION, der_sequence(der_integer(modulus) + der_integer(exponent)))


def point_info(kind: PairKind, point: bytes) -> bytes:
    """Return a public key that is a point in DER: uncompressed on a curve (RFC 5480), or 32 bytes of Ed25519 (RFC 8410)."""
    algorithm = kind.curve if kind.key_type is CKK.EC_EDWARDS else _EC_PUBLIC_KEY + kind.curve
    return _info(algorithm, point)


def point_bytes(kind: PairKind) -> int:
    """Return how long a point is."""
    return kind.coordinate_bytes if kind.key_type is CKK.EC_EDWARDS else 1 + 2 * kind.coordinate_bytes


def octet_string(point: bytes) -> bytes:
    """Return a point as `CKA_EC_POINT` has it: a DER OCTET STRING (PKCS#11 2.40, section 2.3.3)."""
    return _tagged(_OCTET_STRING, point)


def rsa_numbers(cryptoki: Cryptoki, handle: c_ulong) -> tuple[int, int] | None:
    """Return modulus and exponent of an RSA key, public or private, or None where the object has none.

    Raises:
        TokenError: the object cannot be read.
    """
    look = Template(((CKA.MODULUS, Room(_LONGEST)), (CKA.PUBLIC_EXPONENT, Room(_LONGEST))))
    cryptoki.read(handle, look)
    modulus, exponent = look.get(CKA.MODULUS), look.get(CKA.PUBLIC_EXPONENT)
    if not modulus or not exponent:
        return None
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def read_info(cryptoki: Cryptoki, handle: c_ulong, kind: PairKind) -> bytes:
    """Return a public key object in DER; empty where it is none of that kind.

    Raises:
        TokenError: the object cannot be read.
    """
    if kind.key_type is CKK.RSA:
        numbers = rsa_numbers(cryptoki, handle)
        if numbers is None or numbers[0].bit_length() != kind.bits:
            return b""
        return rsa_info(*numbers)
    look = Template(((CKA.EC_PARAMS, Room(64)), (CKA.EC_POINT, Room(_LONGEST))))
    cryptoki.read(handle, look)
    point, length = look.get(CKA.EC_POINT) or b"", point_bytes(kind)
    if look.get(CKA.EC_PARAMS) != kind.curve:
        return b""
    if point == octet_string(point[-length:]):
        point = point[-length:]  # some tokens give the point itself
    if len(point) != length or (kind.key_type is CKK.EC and point[0] != _UNCOMPRESSED):
        return b""
    return point_info(kind, point)
