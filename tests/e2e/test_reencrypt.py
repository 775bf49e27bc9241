"""ReEncrypt as a caller sees it: the rules of the contract, one by one, against the whole service."""

from __future__ import annotations

import re

import pytest

from hsmkms.client import Client, errors
from hsmkms.client.contract import NO_CONTEXT
from support.service import ACCOUNT, REGION, Service

pytestmark = pytest.mark.every_token

TENANT = {"tenant": "blue", "purpose": "intake"}
HEX_64 = re.compile(r"[0-9a-f]{64}")


def arn(client: Client, alias: str) -> str:
    return client.describe_key(key_id=alias).key_metadata.arn


@pytest.fixture(scope="module")
def sealed(client: Client) -> bytes:
    return client.encrypt(key_id="alias/source", plaintext=b"s" * 32, encryption_context=TENANT).ciphertext_blob


@pytest.mark.parametrize("length", [1, 13, 32, 100, 4096])
def test_moves_a_ciphertext_to_another_key_and_context(client: Client, length: int) -> None:
    plaintext = bytes(range(256)) * 16
    blob = client.encrypt(
        key_id="alias/source", plaintext=plaintext[:length], encryption_context=TENANT
    ).ciphertext_blob

    moved = client.re_encrypt(
        ciphertext_blob=blob,
        source_key_id="alias/source",
        source_encryption_context=TENANT,
        destination_key_id="alias/destination",
        destination_encryption_context={"tenant": "green"},
    )

    assert moved.source_key_id == arn(client, "alias/source")
    assert moved.key_id == arn(client, "alias/destination")
    assert HEX_64.fullmatch(moved.source_key_material_id or "")
    assert HEX_64.fullmatch(moved.destination_key_material_id or "")
    assert moved.source_encryption_algorithm == moved.destination_encryption_algorithm == "SYMMETRIC_DEFAULT"
    opened = client.decrypt(ciphertext_blob=moved.ciphertext_blob, encryption_context={"tenant": "green"})
    assert opened.plaintext == plaintext[:length]
    assert opened.key_id == moved.key_id
    assert opened.key_material_id == moved.destination_key_material_id


def test_needs_no_source_key_id(client: Client, sealed: bytes) -> None:
    moved = client.re_encrypt(
        ciphertext_blob=sealed, source_encryption_context=TENANT, destination_key_id="alias/destination"
    )
    assert client.decrypt(ciphertext_blob=moved.ciphertext_blob).plaintext == b"s" * 32


@pytest.mark.parametrize("form", ["id", "arn", "alias", "alias arn"])
def test_takes_every_form_of_key_identifier(client: Client, sealed: bytes, form: str) -> None:
    key = client.describe_key(key_id="alias/source").key_metadata
    identifier = {
        "id": key.key_id,
        "arn": key.arn,
        "alias": "alias/source",
        "alias arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/source",
    }[form]
    moved = client.re_encrypt(
        ciphertext_blob=sealed,
        source_key_id=identifier,
        source_encryption_context=TENANT,
        destination_key_id=identifier,
    )
    assert moved.key_id == moved.source_key_id == key.arn


def test_under_the_same_key_verifies_and_makes_a_new_ciphertext(client: Client, sealed: bytes) -> None:
    again = client.re_encrypt(
        ciphertext_blob=sealed,
        source_encryption_context=TENANT,
        destination_key_id="alias/source",
        destination_encryption_context=TENANT,
    )
    assert again.ciphertext_blob != sealed
    assert again.source_key_material_id == again.destination_key_material_id

    broken = bytearray(sealed)
    broken[-1] ^= 1
    with pytest.raises(errors.InvalidCiphertextException):
        client.re_encrypt(
            ciphertext_blob=bytes(broken), source_encryption_context=TENANT, destination_key_id="alias/source"
        )


def test_under_the_same_key_moves_to_the_newest_material(service: Service, client: Client) -> None:
    key = client.create_key(description="rotated").key_metadata
    old = client.encrypt(key_id=key.key_id, plaintext=b"kept for ever").ciphertext_blob
    current_before = service.metric("hsm_kms_reencrypted_ciphertexts_total", source_material="old")

    assert client.rotate_key_on_demand(key_id=key.key_id).key_id == key.key_id
    assert client.decrypt(ciphertext_blob=old).plaintext == b"kept for ever"
    moved = client.re_encrypt(ciphertext_blob=old, destination_key_id=key.key_id)

    assert moved.source_key_material_id == key.current_key_material_id
    now = client.describe_key(key_id=key.key_id).key_metadata
    assert moved.destination_key_material_id == now.current_key_material_id != key.current_key_material_id
    assert client.decrypt(ciphertext_blob=moved.ciphertext_blob).plaintext == b"kept for ever"
    after = service.metric("hsm_kms_reencrypted_ciphertexts_total", source_material="old")
    assert after == current_before + 1


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"tenant": "blue"},
        {**TENANT, "more": "x"},
        {"tenant": "BLUE", "purpose": "intake"},
        {"Tenant": "blue", "purpose": "intake"},
    ],
    ids=["missing", "less", "more", "other case of a value", "other case of a key"],
)
def test_a_wrong_context_is_an_invalid_ciphertext_without_a_text(
    client: Client, sealed: bytes, context: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidCiphertextException) as refused:
        client.re_encrypt(
            ciphertext_blob=sealed, source_encryption_context=context, destination_key_id="alias/destination"
        )
    assert refused.value.message == ""


def test_the_order_of_a_context_does_not_matter(client: Client, sealed: bytes) -> None:
    turned = dict(reversed(TENANT.items()))
    moved = client.re_encrypt(
        ciphertext_blob=sealed, source_encryption_context=turned, destination_key_id="alias/destination"
    )
    assert moved.ciphertext_blob


def test_another_source_key_is_an_incorrect_key(client: Client, sealed: bytes) -> None:
    with pytest.raises(errors.IncorrectKeyException) as refused:
        client.re_encrypt(
            ciphertext_blob=sealed,
            source_key_id="alias/destination",
            source_encryption_context=TENANT,
            destination_key_id="alias/does-not-exist",
        )
    assert refused.value.message == (
        "The key ID in the request does not identify a CMK that can perform this operation."
    ), "and the source is judged before the destination"


def test_states_are_told_with_the_key_arn_even_where_an_alias_was_sent(client: Client) -> None:
    key = client.create_key(description="to be disabled").key_metadata
    client.create_alias(alias_name="alias/disabled", target_key_id=key.key_id)
    blob = client.encrypt(key_id="alias/disabled", plaintext=b"x").ciphertext_blob
    client.disable_key(key_id=key.key_id)
    for call in (
        lambda: client.re_encrypt(ciphertext_blob=blob, destination_key_id="alias/destination"),
        lambda: client.re_encrypt(
            ciphertext_blob=client.encrypt(key_id="alias/source", plaintext=b"x").ciphertext_blob,
            destination_key_id="alias/disabled",
        ),
        lambda: client.decrypt(ciphertext_blob=blob),
        lambda: client.encrypt(key_id="alias/disabled", plaintext=b"x"),
        lambda: client.generate_data_key(key_id="alias/disabled", key_spec="AES_256"),
        lambda: client.rotate_key_on_demand(key_id=key.key_id),
    ):
        with pytest.raises(errors.DisabledException) as refused:
            call()
        assert refused.value.message == f"{key.arn} is disabled."
    client.enable_key(key_id=key.key_id)
    assert client.decrypt(ciphertext_blob=blob).plaintext == b"x"


@pytest.mark.parametrize(
    ("identifier", "error", "text"),
    [
        ("no-key", errors.NotFoundException, "Invalid keyId 'no-key'"),
        (
            "11111111-2222-4333-8444-555555555555",
            errors.NotFoundException,
            f"Key 'arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-4333-8444-555555555555' does not exist",
        ),
        (
            "alias/nothing",
            errors.NotFoundException,
            f"Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/nothing is not found.",
        ),
        (
            f"arn:aws:kms:mars-north-1:{ACCOUNT}:key/11111111-2222-4333-8444-555555555555",
            errors.NotFoundException,
            "Invalid arn mars-north-1",
        ),
    ],
    ids=["no key id", "unknown key", "unknown alias", "other Region"],
)
def test_a_key_that_cannot_be_found(client: Client, sealed: bytes, identifier: str, error: type, text: str) -> None:
    with pytest.raises(error) as refused:
        client.re_encrypt(ciphertext_blob=sealed, source_encryption_context=TENANT, destination_key_id=identifier)
    assert refused.value.message == text
    with pytest.raises(error) as refused:
        client.re_encrypt(ciphertext_blob=sealed, source_key_id=identifier, destination_key_id="alias/destination")
    assert refused.value.message == text


def test_no_oracle_for_keys_named_by_a_foreign_arn_or_a_ciphertext(client: Client, sealed: bytes) -> None:
    own = client.describe_key(key_id="alias/source").key_metadata
    texts = set()
    for key_id in ("11111111-2222-4333-8444-555555555555", own.key_id):
        foreign = f"arn:aws:kms:{REGION}:999999999999:key/{key_id}"
        with pytest.raises(errors.AccessDeniedException) as refused:
            client.re_encrypt(ciphertext_blob=sealed, destination_key_id="alias/source", source_key_id=foreign)
        texts.add(refused.value.message.replace(key_id, "ID"))
    assert len(texts) == 1

    unknown = bytearray(sealed)
    unknown[8:24] = bytes.fromhex("11111111222243338444555555555555")
    with pytest.raises(errors.AccessDeniedException) as refused:
        client.re_encrypt(
            ciphertext_blob=bytes(unknown), source_encryption_context=TENANT, destination_key_id="alias/source"
        )
    assert refused.value.message.startswith("The ciphertext refers to a customer master key that does not exist")


class TestDryRun:
    """DryRun never succeeds."""

    SUCCEEDED = "The request would have succeeded, but the DryRun option is set."

    def test_all_is_well(self, client: Client, sealed: bytes) -> None:
        with pytest.raises(errors.DryRunOperationException) as refused:
            client.re_encrypt(
                ciphertext_blob=sealed,
                source_encryption_context=TENANT,
                destination_key_id="alias/destination",
                dry_run=True,
            )
        assert refused.value.message == self.SUCCEEDED

    def test_any_other_error_wins_the_ciphertext_included(self, client: Client, sealed: bytes) -> None:
        with pytest.raises(errors.InvalidCiphertextException):
            client.re_encrypt(ciphertext_blob=sealed, destination_key_id="alias/destination", dry_run=True)
        with pytest.raises(errors.NotFoundException):
            client.re_encrypt(
                ciphertext_blob=sealed, source_encryption_context=TENANT, destination_key_id="alias/x", dry_run=True
            )

    def test_of_the_permissions_alone(self, client: Client, sealed: bytes) -> None:
        modifiers = ("IGNORE_CIPHERTEXT",)
        with pytest.raises(errors.DryRunOperationException):
            client.re_encrypt(
                source_key_id="alias/source",
                destination_key_id="alias/destination",
                dry_run=True,
                dry_run_modifiers=modifiers,
            )
        for wrong in (
            {"ciphertext_blob": sealed, "source_key_id": "alias/source", "dry_run": True},
            {"dry_run": True},
            {"source_key_id": "alias/source"},
        ):
            with pytest.raises(errors.ValidationException):
                client.re_encrypt(destination_key_id="alias/destination", dry_run_modifiers=modifiers, **wrong)

    def test_of_the_other_operations(self, client: Client, sealed: bytes) -> None:
        for call in (
            lambda: client.encrypt(key_id="alias/source", plaintext=b"x", dry_run=True),
            lambda: client.decrypt(ciphertext_blob=sealed, encryption_context=TENANT, dry_run=True),
            lambda: client.generate_data_key(key_id="alias/source", key_spec="AES_256", dry_run=True),
            lambda: client.generate_data_key_without_plaintext(key_id="alias/source", key_spec="AES_256", dry_run=True),
        ):
            with pytest.raises(errors.DryRunOperationException):
                call()


class TestAlgorithms:
    """What an asymmetric algorithm on a symmetric key is told."""

    def test_on_the_source(self, client: Client, sealed: bytes) -> None:
        with pytest.raises(errors.ValidationException) as refused:
            client.re_encrypt(
                ciphertext_blob=sealed,
                destination_key_id="alias/destination",
                source_encryption_algorithm="RSAES_OAEP_SHA_256",
            )
        assert "sourceKeyId" in refused.value.message
        with pytest.raises(errors.InvalidKeyUsageException) as refused:
            client.re_encrypt(
                ciphertext_blob=sealed,
                source_key_id="alias/source",
                destination_key_id="alias/destination",
                source_encryption_algorithm="RSAES_OAEP_SHA_256",
            )
        assert "use SYMMETRIC_DEFAULT" in refused.value.message

    def test_on_the_destination(self, client: Client, sealed: bytes) -> None:
        with pytest.raises(errors.InvalidKeyUsageException):
            client.re_encrypt(
                ciphertext_blob=sealed,
                source_encryption_context=TENANT,
                destination_key_id="alias/destination",
                destination_encryption_algorithm="RSAES_OAEP_SHA_1",
            )


def test_a_context_longer_than_8_kib_is_refused_before_anything_else(client: Client, sealed: bytes) -> None:
    with pytest.raises(errors.ValidationException) as refused:
        client.re_encrypt(
            ciphertext_blob=sealed,
            destination_key_id="alias/destination",
            destination_encryption_context={"k": "v" * 8192},
        )
    assert "destinationEncryptionContext" in refused.value.message
    assert NO_CONTEXT == {}
