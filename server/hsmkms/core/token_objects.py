"""What an operator's look at a token finds: its keys of every kind, each with the canary that it makes now. Nothing here is secret."""

from __future__ import annotations

from dataclasses import dataclass

from hsmkms.core.ciphertext import Suite
from hsmkms.core.model import KeySpec, KeyUsage


@dataclass(frozen=True, slots=True)
class TokenObject:
    """A key on the token, whoever made it: an AES key that derives, a key pair, or a secret that makes MACs.

    Args:
        cka_id: Its CKA_ID, at most 255 bytes.
        label: Its label, at most 255 bytes.
        spec: The kind of KMS key that it is the material of, or None where it is of none.
        usage: What it is for, or None where that is no usage of a KMS key.
        suite: The derivation that an AES key is for; NONE for key pairs and HMAC keys.
        canary: The canary that it makes, as `BackingKey` has it: 40 bytes of an AES key, a key pair's public key in DER, 32 bytes of an
            HMAC key; empty where it makes none.
        fault: Why it is no key that may be used, or empty: then spec, usage and canary are there.
    """

    cka_id: bytes
    label: bytes
    spec: KeySpec | None
    usage: KeyUsage | None
    suite: Suite
    canary: bytes
    fault: str
