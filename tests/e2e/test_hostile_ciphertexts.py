"""10,000 mutated ciphertexts: every one refused by one error, no worker lost, nobody else slower for it."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from hsmkms.client import Client, KmsError, errors
from support.service import Service

MUTATIONS = 10_000
THREADS = 8
HEADER = slice(0, 48)
KEY_ID = range(8, 24)
CONTEXT = {"tenant": "blue"}


def mutated(blob: bytes, chance: random.Random) -> bytes:
    """Return a blob that differs: flipped bits, other bytes, cut, extended, pieces exchanged."""
    data = bytearray(blob)
    match chance.randrange(6):
        case 0:
            position = chance.randrange(len(data))
            data[position] ^= 1 << chance.randrange(8)
        case 1:
            for _ in range(chance.randint(2, 16)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        case 2:
            del data[chance.randrange(1, len(data)) :]
        case 3:
            data += chance.randbytes(chance.randint(1, 64))
        case 4:
            start = chance.randrange(len(data) - 8)
            data[start : start + 8] = chance.randbytes(8)
        case _:
            position = chance.randrange(len(data))
            data[position:position] = chance.randbytes(1)
    return bytes(data)


@pytest.fixture(scope="module")
def originals(client: Client) -> list[bytes]:
    return [
        client.encrypt(key_id="alias/source", plaintext=b"p" * length, encryption_context=CONTEXT).ciphertext_blob
        for length in (1, 16, 32, 100, 256, 4096)
    ]


def outcome(client: Client, blob: bytes, *, with_key_id: bool, decrypt: bool) -> tuple[str, str]:
    """Return the code and text of the refusal, or `accepted`."""
    source = "alias/source" if with_key_id else None
    try:
        if decrypt:
            client.decrypt(ciphertext_blob=blob, key_id=source, encryption_context=CONTEXT)
        else:
            client.re_encrypt(
                ciphertext_blob=blob,
                source_key_id=source,
                source_encryption_context=CONTEXT,
                destination_key_id="alias/destination",
            )
    except KmsError as error:
        return error.code, error.message
    return "accepted", ""


def test_ten_thousand_mutations(service: Service, originals: list[bytes]) -> None:
    chance = random.Random(20261122)
    client = service.client()
    workers = service.workers()
    blobs = []
    while len(blobs) < MUTATIONS:
        original = chance.choice(originals)
        blob = mutated(original, chance)
        if blob not in originals and len(blob) <= 6144:
            blobs.append((blob, original, chance.random() < 0.5, chance.random() < 0.5))

    def refused(case: tuple[bytes, bytes, bool, bool]) -> tuple[tuple[str, str], bool]:
        blob, original, with_key_id, decrypt = case
        names_another_key = len(blob) >= 48 and blob[8:24] != original[8:24]
        return outcome(client, blob, with_key_id=with_key_id, decrypt=decrypt), names_another_key

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(refused, blobs))

    for (code, text), names_another_key in results:
        if names_another_key and code != "InvalidCiphertextException":
            # Bytes that name another key are judged by that name: rule 9, no oracle; rule 1, the key given must be the same.
            assert code in ("AccessDeniedException", "IncorrectKeyException")
        else:
            assert (code, text) == ("InvalidCiphertextException", "")
    assert Counter(code for (code, _), _ in results)["InvalidCiphertextException"] > MUTATIONS * 0.7
    assert service.workers() == workers, "no worker was lost"
    assert client.decrypt(ciphertext_blob=originals[0], encryption_context=CONTEXT).plaintext == b"p"


def test_foreign_bytes(client: Client) -> None:
    for blob in (b"\0", b"HKC", b"x" * 48, b"\x01\x02\x02\x00" * 46, b"{}" * 100, b"\xff" * 6144):
        for decrypt in (True, False):
            assert outcome(client, blob, with_key_id=True, decrypt=decrypt) == ("InvalidCiphertextException", "")
            assert outcome(client, blob, with_key_id=False, decrypt=decrypt) == ("InvalidCiphertextException", "")


@pytest.mark.parametrize(
    ("position", "number", "why"),
    [
        (5, 3, "a length that its mode cannot have"),
        (5, 4, "key type 0, which mode 4 cannot have"),
        (5, 5, "unknown suite 1 or mode 5"),
        (4, 0, "unknown suite 0 or mode 1"),
        (4, 2, "no backing key of version 1 and suite 2"),
        (7, 1, "key type 1, which mode 1 cannot have"),
    ],
)
def test_another_mode_suite_or_key_type_is_refused_and_named_in_the_log(service, client, position, number, why) -> None:
    blob = bytearray(client.encrypt(key_id="alias/source", plaintext=b"m" * 32).ciphertext_blob)
    assert blob[4:8] == b"\1\1\0\0"
    blob[position] = number
    with pytest.raises(errors.InvalidCiphertextException) as refused:
        client.decrypt(ciphertext_blob=bytes(blob))
    assert refused.value.message == ""
    line = next(line for line in service.log if line.get("request_id") == refused.value.request_id)
    assert why in line["detail"]


def test_a_blob_that_is_too_long_is_a_wrong_shape(client: Client) -> None:
    with pytest.raises(errors.ValidationException) as refused:
        client.decrypt(ciphertext_blob=b"x" * 6145)
    assert refused.value.message == (
        "1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: "
        "Member must have length less than or equal to 6144"
    )
