"""The four directions of ReEncrypt, tried on a running service: what becomes of payloads of some lengths, exactly."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsmkms.client import Client, KmsError

LENGTHS = (1, 13, 16, 24, 32, 100)
SYMMETRIC = "SYMMETRIC_DEFAULT"
ALGORITHMS = {"RSAES_OAEP_SHA_1": (hashes.SHA1(), 214), "RSAES_OAEP_SHA_256": (hashes.SHA256(), 190)}
"""The hash of each, and the longest payload that an RSA_2048 key encrypts by it (RFC 8017, section 7.1.1)."""
DIRECTIONS = ("symmetric → symmetric", "symmetric → RSA", "RSA → symmetric", "RSA → RSA")
EXACT = "exact"


@dataclass(frozen=True)
class Tried:
    """What was tried on one token by one algorithm.

    Args:
        token: The token's name.
        algorithm: The algorithm of the RSA sides.
        outcomes: For each length (the longest last) and direction, `EXACT`, or the refusal.
    """

    token: str
    algorithm: str
    outcomes: dict[tuple[str, str], str]


class _Keys:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.symmetric = [client.create_key().key_metadata.arn for _ in range(2)]
        rsa_key = {"key_spec": "RSA_2048", "key_usage": "ENCRYPT_DECRYPT"}
        self.rsa = [client.create_key(**rsa_key).key_metadata.arn for _ in range(2)]
        self.public: list[rsa.RSAPublicKey] = []
        for key in self.rsa:
            public = load_der_public_key(client.get_public_key(key_id=key).public_key)
            assert isinstance(public, rsa.RSAPublicKey)
            self.public.append(public)

    def outcome(self, direction: str, algorithm: str, length: int) -> str:
        """Return what becomes of a random payload of that length."""
        payload = os.urandom(length)
        source, destination = direction.split(" → ")
        try:
            blob, opening = self._sealed(source, algorithm, payload)
            target = (self.symmetric if destination == "symmetric" else self.rsa)[1]
            by = SYMMETRIC if destination == "symmetric" else algorithm
            moved = self.client.re_encrypt(
                ciphertext_blob=blob, destination_key_id=target, destination_encryption_algorithm=by, **opening
            )
            opened = self.client.decrypt(ciphertext_blob=moved.ciphertext_blob, key_id=target, encryption_algorithm=by)
        except KmsError as error:
            return f"{error.code}: {re.sub(r'arn:[a-z0-9:/-]+', '*key ARN*', error.message)}"
        assert opened.plaintext == payload, f"{direction} by {algorithm} changed a payload of {length} bytes"
        return EXACT

    def _sealed(self, source: str, algorithm: str, payload: bytes) -> tuple[bytes, dict[str, str]]:
        if source == "symmetric":
            return self.client.encrypt(key_id=self.symmetric[0], plaintext=payload).ciphertext_blob, {}
        algorithm_hash = ALGORITHMS[algorithm][0]
        oaep = padding.OAEP(padding.MGF1(algorithm_hash), algorithm_hash, None)
        blob = self.public[0].encrypt(payload, oaep)  # outside, as a caller would who has the public key
        return blob, {"source_key_id": self.rsa[0], "source_encryption_algorithm": algorithm}


def try_everything(token: str, client: Client) -> list[Tried]:
    """Try every direction, length and algorithm with new keys."""
    keys = _Keys(client)
    tried = []
    for algorithm, (_, longest) in ALGORITHMS.items():
        outcomes = {}
        for direction in DIRECTIONS:
            last = 4096 if direction == DIRECTIONS[0] else longest
            for length in (*LENGTHS, last):
                shown = f"{last}, the longest" if length == last else str(length)
                outcomes[shown, direction] = keys.outcome(direction, algorithm, length)
        tried.append(Tried(token, algorithm, outcomes))
    return tried


def document(tried: list[Tried], table: Callable[[tuple[str, ...], list[tuple[str, ...]]], str]) -> str:
    """Return the tables, and the refusals' texts below them.

    Args:
        tried: What was tried.
        table: Makes a table of a header and rows.
    """
    refusals: list[str] = []
    text = ""
    for one in tried:
        rows = []
        for length in (*map(str, LENGTHS), "longest"):
            cells = []
            for direction in DIRECTIONS:
                found = [
                    outcome
                    for (shown, way), outcome in one.outcomes.items()
                    if way == direction and (shown == length or (length == "longest" and "longest" in shown))
                ]
                cells.append(_cell(found[0], refusals))
            longest = f"{ALGORITHMS[one.algorithm][1]}, symmetric → symmetric 4096"
            rows.append((longest if length == "longest" else length, *cells))
        text += f"\n{one.token}, {one.algorithm} with RSA_2048:\n\n" + table(("bytes", *DIRECTIONS), rows)
    return text + "\n" + "".join(f"{number}. {refusal}\n" for number, refusal in enumerate(refusals, 1)) + "\n"


def _cell(outcome: str, refusals: list[str]) -> str:
    if outcome == EXACT:
        return EXACT
    if outcome not in refusals:
        refusals.append(outcome)
    return f"refused ({refusals.index(outcome) + 1})"
