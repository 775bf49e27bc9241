"""Which objects a KMS key's material is on the token, and how the token makes them."""

from __future__ import annotations

from typing import Protocol

from hsmkms.core.ciphertext import Suite
from hsmkms.core.material_commands import PairSpec, PairUse
from hsmkms.core.model import KmsKey
from hsmkms.core.specs import MAC_KEY_BYTES, PAIR_USES, PAIRS


class Generator(Protocol):
    """The token's generators: each destroys what has that CKA_ID and this deployment's label, and makes it anew."""

    async def generate_backing_key(self, cka_id: bytes, suite: Suite, /) -> bytes:
        """Generate a backing key and return its canary."""

    async def generate_key_pair(self, cka_id: bytes, spec: PairSpec, use: PairUse, /) -> bytes:
        """Generate a key pair and return its public key, DER."""

    async def generate_mac_key(self, cka_id: bytes, length: int, /) -> bytes:
        """Generate an HMAC key of that many bytes and return its canary."""


async def generate_material(token: Generator, key: KmsKey, version: int) -> bytes:
    """Have the token generate a key's material of that version, and return its canary (`model.BackingKey`).

    Raises:
        KmsError: the token cannot, or is out of reach.
    """
    cka_id = key.cka_id(version)
    if key.spec in PAIRS:
        return await token.generate_key_pair(cka_id, PAIRS[key.spec], PAIR_USES[key.usage])
    if key.spec in MAC_KEY_BYTES:
        return await token.generate_mac_key(cka_id, MAC_KEY_BYTES[key.spec])
    return await token.generate_backing_key(cka_id, key.backing_keys[version].suite)
