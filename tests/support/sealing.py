"""What the front does around Encrypt, Decrypt and Rewrap: headers and digests, for tests that talk to the token's side."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from hsmkms.core import context
from hsmkms.core.ciphertext import (
    Ciphertext,
    Header,
    derivation_digest,
    mode_for_length,
    parse,
    sealed_digest,
)
from hsmkms.core.commands import Decrypt, Encrypt, GenerateDataKey, KeyRef, Rewrap, Verify

CONTEXT = {"tenant": "a", "purpose": "b"}


def header_for(key: KeyRef, length: int, *, padded: bool = False) -> Header:
    """Return a new header for a plaintext of that length; `padded` where the token has the true RFC 5649."""
    version = int.from_bytes(key.cka_id[16:], "big")
    mode = mode_for_length(length, padded=padded)
    return Header(key.suite, mode, key.cka_id[:16], version, length, os.urandom(16))


def digest_of(blob: Ciphertext, pairs: dict[str, str] | None = None) -> bytes:
    """Return the digest that the wrapping key of a ciphertext is derived from."""
    canonical = context.canonical(CONTEXT if pairs is None else pairs)
    return derivation_digest(blob.header.to_bytes(), canonical, sealed_digest(blob.sealed))


@dataclass(frozen=True)
class Sealed:
    """A ciphertext and the key it is under."""

    key: KeyRef
    blob: Ciphertext

    @property
    def digest(self) -> bytes:
        return digest_of(self.blob)

    def decrypt(self) -> Decrypt:
        return Decrypt(self.key, self.digest, self.blob.header.to_bytes(), self.blob.wrapped, self.blob.sealed)

    def verify(self) -> Verify:
        header = self.blob.header
        return Verify(self.key, self.digest, self.blob.wrapped, header.mode, header.key_type)

    def rewrap(self, destination: KeyRef) -> tuple[Rewrap, Header]:
        """Return the command and the new header."""
        old = self.blob.header
        header = replace(header_for(destination, old.length), mode=old.mode, key_type=old.key_type)
        digest = digest_of(Ciphertext(header, b"", self.blob.sealed))
        wrapped = self.blob.wrapped
        return Rewrap(self.key, self.digest, wrapped, destination, digest, old.mode, old.key_type), header

    def rewrapped(self, destination: KeyRef, header: Header, wrapped: bytes) -> Sealed:
        """Return the new ciphertext."""
        return Sealed(destination, Ciphertext(header, wrapped, self.blob.sealed))


def encrypt(key: KeyRef, plaintext: bytes, *, padded: bool = False) -> Encrypt:
    """Return the command that seals a plaintext."""
    header = header_for(key, len(plaintext), padded=padded)
    return Encrypt(key, header.to_bytes(), context.canonical(CONTEXT), plaintext)


def data_key(key: KeyRef, length: int, *, with_plaintext: bool, padded: bool = False) -> GenerateDataKey:
    """Return the command that makes a data key."""
    header = header_for(key, length, padded=padded)
    return GenerateDataKey(key, header.to_bytes(), context.canonical(CONTEXT), int(with_plaintext))


def sealed(command: Encrypt | GenerateDataKey, body: bytes) -> Sealed:
    """Return what a command's body makes, strictly parsed."""
    return Sealed(command.destination, parse(command.header + body))
