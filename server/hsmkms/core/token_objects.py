"""What an operator's look at a token finds: its backing keys, each with the canary that it makes now. Nothing here is secret."""

from __future__ import annotations

from dataclasses import dataclass

from hsmkms.core.ciphertext import Suite


@dataclass(frozen=True, slots=True)
class TokenObject:
    """An AES object on the token that can derive, whoever made it.

    Args:
        cka_id: Its CKA_ID, at most 255 bytes.
        label: Its label, at most 255 bytes.
        suite: The derivation it is for.
        canary: The canary that it makes, 40 bytes, or empty where it makes none.
        fault: Why it is no backing key that may be used, or empty.
    """

    cka_id: bytes
    label: bytes
    suite: Suite
    canary: bytes
    fault: str
