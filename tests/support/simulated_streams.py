"""A key management service for tests of re-encrypt-all: it moves ciphertexts by their headers, and refuses what it is told to.

A "ciphertext" here is a true header of format 1 and a body of 40 bytes, which is kept: the body tells whose content it is. The
encryption context it was sealed with is kept beside it, and a wrong one is refused, as the service does.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hsmkms.client.contract import EncryptionAlgorithm, ReEncryptResponse
from hsmkms.client.errors import (
    IncorrectKeyException,
    InvalidCiphertextException,
    KmsError,
    NotFoundException,
)
from hsmkms.core.ciphertext import HEADER_BYTES, Header, Mode, Suite, parse_header
from hsmkms.core.errors import InvalidCiphertextException as BadCiphertext
from hsmkms.core.messages import ReEncryptRequest

BODY_BYTES = 40


@dataclass(frozen=True)
class SimulatedResult:
    """A result of a stream."""

    number: int
    response: ReEncryptResponse | None
    error: KmsError | None
    request_id: str


class SimulatedStreams:
    """A service with keys that are named by their ids. Threads: any number of streams at a time."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.sent: Counter[bytes] = Counter()
        """How often each ciphertext came."""
        self.before: Callable[[ReEncryptRequest], KmsError | None] = lambda _request: None
        """Called with each entry: returns a refusal, or raises to break the stream."""
        self._contexts: dict[bytes, Mapping[str, str]] = {}
        self._lock = threading.Lock()

    def new_key(self) -> str:
        """Make a key and return its id."""
        key_id = str(uuid.uuid4())
        self.versions[key_id] = 1
        return key_id

    def seal(self, key_id: str, content: int, **context: str) -> bytes:
        """Return a ciphertext under a key's newest material."""
        return self._seal(key_id, content.to_bytes(BODY_BYTES, "big"), context)

    def content(self, ciphertext: bytes) -> int:
        """Return what a ciphertext holds; it must be one that this service made."""
        assert ciphertext in self._contexts, "not of this service"
        return int.from_bytes(ciphertext[HEADER_BYTES:], "big")

    def context(self, ciphertext: bytes) -> Mapping[str, str]:
        """Return what a ciphertext is bound to."""
        return self._contexts[ciphertext]

    def stream_re_encrypt(self, entries: Iterable[ReEncryptRequest]) -> Iterator[SimulatedResult]:
        """Answer the entries, the last one first."""
        for number, entry in reversed(list(enumerate(entries))):
            with self._lock:
                self.sent[bytes(entry.ciphertext_blob or b"")] += 1
                error = self.before(entry)
                answer = None
                if error is None:
                    try:
                        answer = self._answer(entry)
                    except KmsError as refusal:
                        error = refusal
            yield SimulatedResult(number, answer, error, f"request {number}")

    def _answer(self, entry: ReEncryptRequest) -> ReEncryptResponse:
        blob = bytes(entry.ciphertext_blob or b"")
        if blob not in self._contexts or dict(entry.source_encryption_context) != dict(self._contexts[blob]):
            raise InvalidCiphertextException("refused")
        source = key_of(blob)
        destination = str(entry.destination_key_id)
        if destination not in self.versions:
            raise NotFoundException(f"Key '{destination}' does not exist")
        if entry.source_key_id not in (None, source):
            raise IncorrectKeyException("refused")
        algorithm = EncryptionAlgorithm.SYMMETRIC_DEFAULT
        moved = self._seal(destination, blob[HEADER_BYTES:], entry.destination_encryption_context)
        materials = (f"material of {source}", f"material of {destination}")
        return ReEncryptResponse(moved, source, destination, algorithm, algorithm, *materials)

    def _seal(self, key_id: str, body: bytes, context: Mapping[str, str]) -> bytes:
        header = Header(
            Suite.AES_CBC_ENCRYPT_DATA, Mode.DIRECT, uuid.UUID(key_id).bytes, self.versions[key_id], 32, os.urandom(16)
        )
        blob = header.to_bytes() + body
        self._contexts[blob] = dict(context)
        return blob


def key_of(ciphertext: bytes) -> str:
    """Return the id of the key that a ciphertext is under, or an empty text."""
    try:
        return str(uuid.UUID(bytes=parse_header(ciphertext[:HEADER_BYTES]).key_uuid))
    except BadCiphertext:
        return ""
