"""Data keys and random bytes."""

from __future__ import annotations

import pytest

from hsmkms.client import Client, errors

pytestmark = pytest.mark.every_token

CONTEXT = {"table": "customers"}


@pytest.mark.parametrize(("spec", "length"), [("AES_128", 16), ("AES_256", 32)])
def test_a_data_key_by_name(client: Client, spec: str, length: int) -> None:
    made = client.generate_data_key(key_id="alias/source", key_spec=spec, encryption_context=CONTEXT)
    assert len(made.plaintext) == length
    opened = client.decrypt(ciphertext_blob=made.ciphertext_blob, encryption_context=CONTEXT)
    assert opened.plaintext == made.plaintext
    assert opened.key_material_id == made.key_material_id


@pytest.mark.parametrize("length", [1, 15, 16, 24, 33, 64, 256, 257, 264, 1024])
def test_a_data_key_by_length_with_and_without_its_plaintext(client: Client, length: int) -> None:
    made = client.generate_data_key(key_id="alias/source", number_of_bytes=length)
    assert client.decrypt(ciphertext_blob=made.ciphertext_blob).plaintext == made.plaintext
    hidden = client.generate_data_key_without_plaintext(key_id="alias/source", number_of_bytes=length)
    assert len(client.decrypt(ciphertext_blob=hidden.ciphertext_blob).plaintext) == length
    moved = client.re_encrypt(ciphertext_blob=hidden.ciphertext_blob, destination_key_id="alias/destination")
    assert len(client.decrypt(ciphertext_blob=moved.ciphertext_blob).plaintext) == length


def test_the_length_is_said_exactly_once(client: Client) -> None:
    for arguments in ({}, {"key_spec": "AES_256", "number_of_bytes": 32}):
        for call in (client.generate_data_key, client.generate_data_key_without_plaintext):
            with pytest.raises(errors.ValidationException) as refused:
                call(key_id="alias/source", **arguments)
            assert refused.value.message == "Please specify either number of bytes or key spec."


@pytest.mark.parametrize(
    ("length", "constraint"),
    [
        (0, "Member must have value greater than or equal to 1"),
        (1025, "Member must have value less than or equal to 1024"),
    ],
)
def test_lengths_out_of_bounds(client: Client, length: int, constraint: str) -> None:
    text = (
        f"1 validation error detected: Value '{length}' at 'numberOfBytes' failed to satisfy constraint: {constraint}"
    )
    with pytest.raises(errors.ValidationException) as refused:
        client.generate_data_key(key_id="alias/source", number_of_bytes=length)
    assert refused.value.message == text
    with pytest.raises(errors.ValidationException) as refused:
        client.generate_random(number_of_bytes=length)
    assert refused.value.message == text


def test_random_bytes(client: Client) -> None:
    for length in (1, 32, 1024):
        assert len(client.generate_random(number_of_bytes=length).plaintext) == length
    assert client.generate_random(number_of_bytes=32) != client.generate_random(number_of_bytes=32)
    with pytest.raises(errors.ValidationException):
        client.generate_random()
    with pytest.raises(errors.UnsupportedOperationException):
        client.generate_random(number_of_bytes=1, custom_key_store_id="cks-1")


def test_plaintexts_out_of_bounds_are_not_repeated_in_the_error(client: Client) -> None:
    secret = b"SECRET" * 700
    with pytest.raises(errors.ValidationException) as refused:
        client.encrypt(key_id="alias/source", plaintext=secret)
    assert refused.value.message == (
        "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: "
        "Member must have length less than or equal to 4096"
    )
    with pytest.raises(errors.ValidationException):
        client.encrypt(key_id="alias/source", plaintext=b"")


def test_secrets_are_in_no_repr(client: Client) -> None:
    made = client.generate_data_key(key_id="alias/source", key_spec="AES_256")
    opened = client.decrypt(ciphertext_blob=made.ciphertext_blob)
    for answer in (made, opened, client.generate_random(number_of_bytes=32)):
        assert "plaintext" not in repr(answer)
