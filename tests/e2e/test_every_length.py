"""Every plaintext length from 1 to 4,096 bytes: encrypted, re-encrypted and decrypted, equal to the byte.

On NSS every length to 300 bytes, which takes in modes 1 and 3, and some of the others, as these would not differ.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.service import Service

pytestmark = pytest.mark.every_token

THREADS = 8
LONGEST = 4096
LENGTHS = {"SoftHSM": range(1, LONGEST + 1), "NSS": [*range(1, 301), *range(301, LONGEST, 331), LONGEST]}


def test_every_length_survives_a_re_encryption(service: Service, token_name: str) -> None:
    client = service.client()
    random = os.urandom(LONGEST)

    def goes_round(length: int) -> bool:
        context = {"length": str(length)}
        sealed = client.encrypt(key_id="alias/source", plaintext=random[:length], encryption_context=context)
        moved = client.re_encrypt(
            ciphertext_blob=sealed.ciphertext_blob,
            source_encryption_context=context,
            destination_key_id="alias/destination",
        )
        return client.decrypt(ciphertext_blob=moved.ciphertext_blob).plaintext == random[:length]

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(goes_round, LENGTHS[token_name]))
    assert all(results)
    assert len(results) == len(LENGTHS[token_name])
