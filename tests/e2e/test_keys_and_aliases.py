"""KMS keys, aliases, lists and rotations as a caller sees them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from hsmkms.client import Client, KmsError, errors
from hsmkms.client.contract import Tag
from support.service import ACCOUNT, REGION, Service, make_deployment, running

UUID_4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_new_key(client: Client) -> None:
    key = client.create_key(description="für Zahlungen", tags=(Tag("team", "payments"),)).key_metadata
    assert UUID_4.fullmatch(key.key_id)
    assert key.arn == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key.key_id}"
    assert (key.aws_account_id, key.description, key.enabled) == (ACCOUNT, "für Zahlungen", True)
    assert (key.key_state, key.key_usage, key.key_spec) == ("Enabled", "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT")
    assert (key.origin, key.key_manager, key.multi_region) == ("AWS_KMS", "CUSTOMER", False)
    assert client.describe_key(key_id=key.arn).key_metadata == key
    sealed = client.encrypt(key_id=key.key_id, plaintext=b"x").ciphertext_blob
    assert client.decrypt(ciphertext_blob=sealed).key_material_id == key.current_key_material_id


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"key_spec": "RSA_2048"}, errors.ValidationException, "KeyUsage"),
        ({"key_spec": "SM2", "key_usage": "SIGN_VERIFY"}, errors.UnsupportedOperationException, "SM2"),
        ({"key_usage": "SIGN_VERIFY"}, errors.ValidationException, "use ENCRYPT_DECRYPT"),
        ({"origin": "EXTERNAL_KEY_STORE"}, errors.UnsupportedOperationException, "Custom key stores do not apply"),
        ({"origin": "AWS_CLOUDHSM"}, errors.UnsupportedOperationException, "Custom key stores do not apply"),
        ({"multi_region": True}, errors.UnsupportedOperationException, "Multi-Region keys do not apply"),
        ({"custom_key_store_id": "cks-1"}, errors.UnsupportedOperationException, "Custom key stores do not apply"),
        ({"description": "x" * 8193}, errors.ValidationException, "length less than or equal to 8192"),
        ({"tags": (Tag("a", "1"), Tag("a", "2"))}, errors.TagException, "given twice"),
        ({"tags": (Tag("aws:a", "1"),)}, errors.TagException, "reserved"),
        ({"tags": (Tag("a" * 129, "1"),)}, errors.ValidationException, "tags.1.member.tagKey"),
    ],
)
def test_what_cannot_be_created(client: Client, arguments: dict[str, Any], error: type[KmsError], text: str) -> None:
    with pytest.raises(error) as refused:
        client.create_key(**arguments)
    assert text in refused.value.message


def test_an_alias_is_made_moved_and_deleted(client: Client) -> None:
    first, second = (client.create_key().key_metadata for _ in range(2))
    name = "alias/moves/about_1"
    client.create_alias(alias_name=name, target_key_id=first.arn)
    assert client.describe_key(key_id=name).key_metadata.key_id == first.key_id

    with pytest.raises(errors.AlreadyExistsException) as refused:
        client.create_alias(alias_name=name, target_key_id=second.key_id)
    assert f"arn:aws:kms:{REGION}:{ACCOUNT}:{name}" in refused.value.message

    client.update_alias(alias_name=name, target_key_id=second.key_id)
    assert client.describe_key(key_id=name).key_metadata.key_id == second.key_id
    (entry,) = client.list_aliases(key_id=second.key_id).aliases
    assert (entry.alias_name, entry.target_key_id) == (name, second.key_id)
    assert entry.alias_arn == f"arn:aws:kms:{REGION}:{ACCOUNT}:{name}"
    assert entry.last_updated_date > entry.creation_date

    client.delete_alias(alias_name=name)
    with pytest.raises(errors.NotFoundException):
        client.describe_key(key_id=name)
    with pytest.raises(errors.NotFoundException):
        client.delete_alias(alias_name=name)
    with pytest.raises(errors.NotFoundException):
        client.update_alias(alias_name=name, target_key_id=first.key_id)
    assert client.describe_key(key_id=second.key_id).key_metadata.enabled, "the key stays"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("payments", errors.ValidationException),
        ("alias/", errors.ValidationException),
        ("alias/with space", errors.ValidationException),
        ("alias/" + "x" * 251, errors.ValidationException),
        ("alias/aws/ebs", errors.InvalidAliasNameException),
    ],
)
def test_names_that_no_alias_may_have(client: Client, name: str, error: type[KmsError]) -> None:
    key_id = client.describe_key(key_id="alias/source").key_metadata.key_id
    with pytest.raises(error):
        client.create_alias(alias_name=name, target_key_id=key_id)


def test_an_alias_points_to_a_key_not_to_an_alias(client: Client) -> None:
    with pytest.raises(errors.ValidationException) as refused:
        client.create_alias(alias_name="alias/of-alias", target_key_id="alias/source")
    assert refused.value.message == "Aliases must refer to keys. Not aliases"


def test_a_key_has_fifty_aliases_at_the_most(client: Client) -> None:
    key_id = client.create_key().key_metadata.key_id
    for number in range(50):
        client.create_alias(alias_name=f"alias/fifty/{number}", target_key_id=key_id)
    with pytest.raises(errors.LimitExceededException):
        client.create_alias(alias_name="alias/fifty/50", target_key_id=key_id)
    assert len(list(client.iterate_aliases(key_id=key_id))) == 50


@pytest.mark.parametrize("operation", ["enable_key", "disable_key", "rotate_key_on_demand", "list_key_rotations"])
def test_operations_that_take_no_alias_say_so(client: Client, operation: str) -> None:
    call: Callable[..., object] = getattr(client, operation)
    with pytest.raises(errors.NotFoundException) as refused:
        call(key_id="alias/source")
    assert "not by an alias" in refused.value.message


class TestPages:
    """Lists come in pages."""

    def test_of_keys(self, client: Client) -> None:
        for _ in range(5):
            client.create_key()
        everything = [entry.key_id for entry in client.iterate_keys()]
        assert everything == sorted(everything)
        seen: list[str] = []
        marker = None
        while True:
            page = client.list_keys(limit=2, marker=marker)
            assert len(page.keys) <= 2
            seen += [entry.key_id for entry in page.keys]
            assert page.truncated == (page.next_marker is not None)
            if not page.truncated:
                break
            marker = page.next_marker
        assert seen == everything

    def test_a_marker_is_good_for_its_own_list_only(self, client: Client) -> None:
        marker = client.list_keys(limit=1).next_marker
        assert marker is not None
        assert client.list_keys(marker=marker).keys
        for wrong in (marker[:-4] + "AAAA", "x", marker + "AAAA"):
            with pytest.raises(errors.InvalidMarkerException):
                client.list_keys(marker=wrong)
        with pytest.raises(errors.InvalidMarkerException):
            client.list_aliases(marker=marker)

    @pytest.mark.parametrize("limit", [0, -1, 1001])
    def test_of_a_wrong_length(self, client: Client, limit: int) -> None:
        with pytest.raises(errors.ValidationException) as refused:
            client.list_keys(limit=limit)
        assert refused.value.message.startswith(f"1 validation error detected: Value '{limit}' at 'limit' failed")


def test_rotations_are_listed_and_limited(client: Client) -> None:
    key = client.create_key().key_metadata
    ciphertexts = [client.encrypt(key_id=key.key_id, plaintext=b"generation 0").ciphertext_blob]
    for number in range(1, 26):
        client.rotate_key_on_demand(key_id=key.key_id)
        ciphertexts.append(client.encrypt(key_id=key.key_id, plaintext=f"generation {number}".encode()).ciphertext_blob)
    with pytest.raises(errors.LimitExceededException):
        client.rotate_key_on_demand(key_id=key.key_id)

    for number, blob in enumerate(ciphertexts):
        assert client.decrypt(ciphertext_blob=blob).plaintext == f"generation {number}".encode()
    rotations = list(client.iterate_key_rotations(key_id=key.key_id))
    assert len(rotations) == 25
    assert {entry.rotation_type for entry in rotations} == {"ON_DEMAND"}
    assert [entry.key_material_state for entry in rotations] == ["NON_CURRENT"] * 24 + ["CURRENT"]
    everything = client.list_key_rotations(key_id=key.key_id, include_key_material="ALL_KEY_MATERIAL").rotations
    assert everything[0].key_material_id == key.current_key_material_id
    assert everything[0].rotation_date is None
    assert len({entry.key_material_id for entry in everything}) == 26
    page = client.list_key_rotations(key_id=key.key_id, limit=10)
    assert page.truncated
    assert client.list_key_rotations(key_id=key.key_id, marker=page.next_marker).rotations == tuple(rotations[10:])


class TestIdempotency:
    """The same change under one key has one effect and one answer."""

    def test_of_a_new_key(self, client: Client) -> None:
        first = client.create_key(description="once", idempotency_key="create-once")
        client.disable_key(key_id=first.key_metadata.key_id)
        assert client.create_key(description="once", idempotency_key="create-once") == first
        with pytest.raises(errors.ValidationException):
            client.create_key(description="another", idempotency_key="create-once")

    def test_of_a_rotation(self, client: Client) -> None:
        key_id = client.create_key().key_metadata.key_id
        for _ in range(3):
            client.rotate_key_on_demand(key_id=key_id, idempotency_key="rotate-once")
        assert len(client.list_key_rotations(key_id=key_id).rotations) == 1

    def test_of_an_alias(self, client: Client) -> None:
        key_id = client.create_key().key_metadata.key_id
        for _ in range(2):
            client.create_alias(alias_name="alias/once", target_key_id=key_id, idempotency_key="alias-once")
        for _ in range(2):
            client.delete_alias(alias_name="alias/once", idempotency_key="delete-once")

    def test_keys_of_different_callers_never_meet(self, service: Service, client: Client) -> None:
        mine = client.create_key(idempotency_key="shared-name")
        other = service.client("somebody-else").create_key(idempotency_key="shared-name")
        assert mine.key_metadata.key_id != other.key_metadata.key_id

    def test_an_idempotency_key_that_is_none(self, client: Client) -> None:
        with pytest.raises(errors.ValidationException):
            client.create_key(idempotency_key="x" * 129)


def test_everything_is_kept_over_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    deployment = make_deployment(tmp_path_factory.mktemp("restarted"))
    with running(deployment) as service:
        client = service.client()
        key = client.create_key(description="kept").key_metadata
        client.create_alias(alias_name="alias/kept", target_key_id=key.key_id)
        client.rotate_key_on_demand(key_id=key.key_id)
        sealed = client.encrypt(key_id="alias/kept", plaintext=b"kept").ciphertext_blob
        for _ in range(3):
            client.create_key()
        marker = client.list_keys(limit=1).next_marker
        answer = client.create_key(idempotency_key="kept")
    with running(deployment) as service:
        client = service.client()
        assert client.decrypt(ciphertext_blob=sealed).plaintext == b"kept"
        assert client.list_keys(marker=marker).keys, "a marker outlives a restart"
        assert client.create_key(idempotency_key="kept") == answer
        described = client.describe_key(key_id="alias/kept").key_metadata
        assert described.creation_date == key.creation_date


def test_a_repetition_is_recognised_before_it_is_judged(client: Client) -> None:
    key_id = client.create_key().key_metadata.key_id
    client.rotate_key_on_demand(key_id=key_id, idempotency_key="rotate-then-disable")
    client.create_alias(alias_name="alias/then-gone", target_key_id=key_id, idempotency_key="alias-then-gone")
    client.disable_key(key_id=key_id, idempotency_key="disable-then-repeat")
    client.delete_alias(alias_name="alias/then-gone")

    assert client.rotate_key_on_demand(key_id=key_id, idempotency_key="rotate-then-disable").key_id == key_id
    client.create_alias(alias_name="alias/then-gone", target_key_id=key_id, idempotency_key="alias-then-gone")
    client.enable_key(key_id=key_id)
    client.disable_key(key_id=key_id, idempotency_key="disable-then-repeat")
    assert client.describe_key(key_id=key_id).key_metadata.enabled, "the repetition changed nothing"
    with pytest.raises(errors.NotFoundException):
        client.describe_key(key_id="alias/then-gone")
