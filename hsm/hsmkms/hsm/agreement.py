"""Shared secrets: ECDH on the token (SEC 1, section 3.3.1), without a key derivation function: the x coordinate.

The other's public key is checked here, before the token sees it: a point that is not on the curve could make it give away the private
key. It must be the DER of a SubjectPublicKeyInfo with the curve by name (RFC 5480), compressed or not, to the byte: on the key's own
curve, and not the point at infinity. These curves have no other points of a small order (SEC 2, section 2: the cofactor is 1).
"""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import MAX_PUBLIC_KEY_BYTES
from hsmkms.core.commands import Outcome
from hsmkms.core.material_commands import Agree, PairUse
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.errors import ItemError, TokenError, may_be_the_keys
from hsmkms.hsm.key_kinds import PairKind
from hsmkms.hsm.key_pairs import KeyPairs
from hsmkms.hsm.public_keys import point_bytes, point_info

_COMPRESSED: Final = (b"\2", b"\3")
"""What a compressed point begins with, for an even and an odd y (SEC 1, section 2.3.3)."""


class Agreements:
    """AGREE on one session.

    Args:
        pairs: The key pairs.
        found: What the token can do.
    """

    def __init__(self, pairs: KeyPairs, found: Capabilities) -> None:
        self._pairs = pairs
        self._found = found

    def agree(self, command: Agree) -> bytes:
        """Derive a shared secret. Returns it, as long as the curve's field.

        Raises:
            ItemError: INVALID_PUBLIC_KEY, UNSUPPORTED, or the key cannot be used.
            TokenError: the token failed.
        """
        key = command.key
        if not self._found.agrees(key.spec):
            raise ItemError(Outcome.UNSUPPORTED, f"the token does not agree with {key.spec.name}")
        pair = self._pairs.use(key, PairUse.AGREE)
        point = point_of(command.public_key, pair.kind)
        try:
            secret = self._pairs.shared_x(pair.private, pair.kind, point)
        except TokenError as error:
            if error.function != "C_DeriveKey" or not may_be_the_keys(error):
                raise
            try:
                self._pairs.prove(key)  # with the base point: if that succeeds, it is this point that the token refuses
            except TokenError:
                raise error from None
            raise ItemError(Outcome.INVALID_PUBLIC_KEY, f"{error}, and the key works") from error
        if len(secret) != pair.kind.coordinate_bytes:
            raise ItemError(Outcome.FAILED, f"a shared secret of {len(secret)} bytes")
        return secret


def point_of(info: bytes, kind: PairKind) -> bytes:
    """Return the point of a public key, uncompressed.

    Args:
        info: DER SubjectPublicKeyInfo.
        kind: The kind of key pair whose curve it must be on.

    Raises:
        ItemError: INVALID_PUBLIC_KEY.
    """
    # Only here: every worker would pay for it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    if len(info) > MAX_PUBLIC_KEY_BYTES:
        raise ItemError(Outcome.INVALID_PUBLIC_KEY, f"{len(info)} bytes")
    try:
        other = load_der_public_key(info)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ItemError(Outcome.INVALID_PUBLIC_KEY, f"no public key: {type(error).__name__}") from error
    if not isinstance(other, ec.EllipticCurvePublicKey):
        raise ItemError(Outcome.INVALID_PUBLIC_KEY, "a public key of another kind")
    point = other.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if len(point) != point_bytes(kind):
        raise ItemError(Outcome.INVALID_PUBLIC_KEY, "a point on another curve")
    # One form of each: with the curve's name in it, this also says that it is the same curve.
    compressed = _COMPRESSED[point[-1] & 1] + point[1 : 1 + kind.coordinate_bytes]
    if info not in (point_info(kind, point), point_info(kind, compressed)):
        raise ItemError(Outcome.INVALID_PUBLIC_KEY, "on another curve, or not in DER with the curve's name")
    return point
