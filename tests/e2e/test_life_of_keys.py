"""Deletion, rotation by date, last use, descriptions and tags as a caller sees them, on a real token."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hsmkms.client import Client, KmsError, errors
from hsmkms.client.contract import Tag
from support.service import ACCOUNT, REGION, Deployment, Service, eventually, make_deployment, run_cli, running

pytestmark = pytest.mark.every_token

DAY = timedelta(days=1)
DAY_US = 24 * 60 * 60 * 1_000_000


def arn_of(key_id: str) -> str:
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"


def refusal(kind: type[KmsError], call: object, **members: object) -> str:
    assert callable(call)
    with pytest.raises(kind) as refused:
        call(**members)
    return refused.value.message


def test_a_key_is_scheduled_for_deletion_and_kept_after_all(client: Client) -> None:
    key_id = client.create_key().key_metadata.key_id
    sealed = client.encrypt(key_id=key_id, plaintext=b"kept").ciphertext_blob
    answer = client.schedule_key_deletion(key_id=key_id, pending_window_in_days=7)
    assert (answer.key_id, answer.key_state, answer.pending_window_in_days) == (arn_of(key_id), "PendingDeletion", 7)
    assert abs(answer.deletion_date - datetime.now(UTC) - 7 * DAY) < timedelta(minutes=1)
    described = client.describe_key(key_id=key_id).key_metadata
    assert (described.key_state, described.enabled) == ("PendingDeletion", False)
    assert described.deletion_date == answer.deletion_date
    pending = f"{arn_of(key_id)} is pending deletion."
    assert refusal(errors.KMSInvalidStateException, client.decrypt, ciphertext_blob=sealed) == pending
    assert refusal(errors.KMSInvalidStateException, client.encrypt, key_id=key_id, plaintext=b"x") == pending
    assert refusal(errors.KMSInvalidStateException, client.schedule_key_deletion, key_id=key_id) == pending
    assert refusal(errors.KMSInvalidStateException, client.enable_key, key_id=key_id) == pending
    assert client.cancel_key_deletion(key_id=key_id).key_id == arn_of(key_id)
    assert refusal(errors.DisabledException, client.decrypt, ciphertext_blob=sealed) == f"{arn_of(key_id)} is disabled."
    not_pending = f"{arn_of(key_id)} is not pending deletion."
    assert refusal(errors.KMSInvalidStateException, client.cancel_key_deletion, key_id=key_id) == not_pending
    client.enable_key(key_id=key_id)
    assert client.decrypt(ciphertext_blob=sealed).plaintext == b"kept"


@pytest.mark.parametrize("days", [6, 31])
def test_waiting_periods_that_cannot_be(client: Client, days: int) -> None:
    key_id = client.create_key().key_metadata.key_id
    text = refusal(errors.ValidationException, client.schedule_key_deletion, key_id=key_id, pending_window_in_days=days)
    assert f"Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: Member must have value" in text


def test_the_rotation_schedule(client: Client) -> None:
    key_id = client.create_key().key_metadata.key_id
    assert not client.get_key_rotation_status(key_id=key_id).key_rotation_enabled
    client.enable_key_rotation(key_id=key_id)
    status = client.get_key_rotation_status(key_id=key_id)
    assert (status.key_rotation_enabled, status.rotation_period_in_days, status.key_id) == (True, 365, key_id)
    assert status.next_rotation_date is not None
    assert abs(status.next_rotation_date - datetime.now(UTC) - 365 * DAY) < timedelta(minutes=1)
    client.enable_key_rotation(key_id=key_id, rotation_period_in_days=2560)
    assert client.get_key_rotation_status(key_id=key_id).rotation_period_in_days == 2560
    client.disable_key(key_id=key_id)
    disabled = f"{arn_of(key_id)} is disabled."
    assert refusal(errors.DisabledException, client.disable_key_rotation, key_id=key_id) == disabled
    assert client.get_key_rotation_status(key_id=key_id).key_rotation_enabled
    client.enable_key(key_id=key_id)
    client.disable_key_rotation(key_id=key_id)
    assert client.get_key_rotation_status(key_id=key_id).next_rotation_date is None
    text = refusal(errors.ValidationException, client.enable_key_rotation, key_id=key_id, rotation_period_in_days=89)
    assert "Member must have value greater than or equal to 90" in text


def test_the_last_use(client: Client) -> None:
    source, target = (client.create_key().key_metadata for _ in range(2))
    never = client.get_key_last_usage(key_id=source.key_id)
    assert never.key_last_usage.operation is None
    assert never.tracking_start_date == never.key_creation_date == source.creation_date
    sealed = client.encrypt(key_id=source.key_id, plaintext=b"x").ciphertext_blob
    assert client.get_key_last_usage(key_id=source.key_id).key_last_usage.operation == "Encrypt"
    client.re_encrypt(ciphertext_blob=sealed, destination_key_id=target.key_id)
    uses = [client.get_key_last_usage(key_id=key.key_id).key_last_usage for key in (source, target)]
    assert uses[0] == uses[1]
    assert uses[0].operation == "ReEncrypt"
    assert uses[0].kms_request_id


def test_descriptions_and_tags(client: Client, service: Service) -> None:
    key_id = client.create_key(tags=(Tag("team", "payments"),)).key_metadata.key_id
    client.update_key_description(key_id=key_id, description="für Zahlungen")
    assert client.describe_key(key_id=key_id).key_metadata.description == "für Zahlungen"
    client.tag_resource(key_id=key_id, tags=(Tag("team", "billing"), Tag("cost", "1")))
    assert [(tag.tag_key, tag.tag_value) for tag in client.iterate_resource_tags(key_id=key_id, limit=1)] == [
        ("cost", "1"),
        ("team", "billing"),
    ]
    client.untag_resource(key_id=key_id, tag_keys=("cost", "unknown"))
    shown = run_cli(service, "list-resource-tags", "--key-id", key_id)
    assert json.loads(shown.stdout)["Tags"] == [{"TagKey": "team", "TagValue": "billing"}]
    text = refusal(errors.TagException, client.tag_resource, key_id=key_id, tags=(Tag("aws:x", "1"),))
    assert text == "Tag keys that begin with aws: are reserved: 'aws:x'"
    many = tuple(Tag(f"key {number}", "") for number in range(50))
    text = refusal(errors.LimitExceededException, client.tag_resource, key_id=key_id, tags=many)
    assert text == f"{arn_of(key_id)} would have more than 50 tags."


@pytest.mark.parametrize(
    "operation",
    ["schedule_key_deletion", "cancel_key_deletion", "enable_key_rotation", "get_key_last_usage", "list_resource_tags"],
)
def test_operations_that_take_no_alias_say_so(client: Client, operation: str) -> None:
    text = refusal(errors.NotFoundException, getattr(client, operation), key_id="alias/source")
    assert "not by an alias" in text


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment that looks after its keys all the time."""
    return make_deployment(tmp_path_factory.mktemp("upkeep"), limits={"upkeep_every_s": 0.2})


class TestUpkeep:
    """What happens by itself when its time has come. The dates are changed in the catalog's file, as no test waits for a week."""

    @staticmethod
    def change(deployment: Deployment, statement: str, *values: object) -> None:
        connection = sqlite3.connect(deployment.catalog_file, timeout=10)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE sequence SET sequence = sequence + 1")
            connection.execute(statement, values)
        connection.close()

    @staticmethod
    def audited(deployment: Deployment, name: str) -> dict[str, Any] | None:
        """Return the audit record of an act of the service's own, or None."""
        lines = [line for file in (deployment.folder / "audit").glob("*.jsonl") for line in file.open()]
        return next((record for record in map(json.loads, lines) if record.get("eventName") == name), None)

    def test_a_key_whose_waiting_period_has_passed_is_destroyed(self, own: Deployment) -> None:
        with running(own) as service:
            client = service.client()
            kept, gone = (client.create_key().key_metadata.key_id for _ in range(2))
            client.create_alias(alias_name="alias/gone", target_key_id=gone)
            client.rotate_key_on_demand(key_id=gone)
            sealed = client.encrypt(key_id=gone, plaintext=b"x").ciphertext_blob
            client.schedule_key_deletion(key_id=gone, pending_window_in_days=7)
            now = int(time.time() * 1_000_000)
            self.change(own, "UPDATE keys SET deletion_date = ? WHERE key_id = ?", now - 1, gone)
            eventually(lambda: service.logged("deletion held back"), what="the refusal to believe the date alone")
            assert client.describe_key(key_id=gone).key_metadata.key_state == "PendingDeletion"
            assert service.metric("hsm_kms_held_back_deletions") == 1

            eventually(lambda: self.pending_since(own, gone) is not None, what="a heartbeat")
            self.change(own, "UPDATE keys SET pending_since = pending_since - ? WHERE key_id = ?", 8 * DAY_US, gone)
            eventually(lambda: service.metric("hsm_kms_destroyed_backing_keys_total", result="destroyed") == 2)
            assert refusal(errors.NotFoundException, client.describe_key, key_id=gone) == (
                f"Key '{arn_of(gone)}' does not exist"
            )
            refusal(errors.NotFoundException, client.describe_key, key_id="alias/gone")
            refusal(errors.AccessDeniedException, client.decrypt, ciphertext_blob=sealed)
            assert [entry.key_id for entry in client.iterate_keys()] == [kept]
            assert client.encrypt(key_id=kept, plaintext=b"x").ciphertext_blob
            assert service.metric("hsm_kms_deleted_keys_total") == 1
            record = eventually(lambda: self.audited(own, "DeleteKey"), what="the audit record")
            assert record["eventType"] == "AwsServiceEvent"
            assert [resource["ARN"] for resource in record["resources"]] == [arn_of(gone)]
        with running(own) as service:
            refusal(errors.NotFoundException, service.client().describe_key, key_id=gone)
            assert service.metric("hsm_kms_reconciler_objects", finding="missing") == 0
            assert service.metric("hsm_kms_reconciler_objects", finding="unknown") == 0

    @staticmethod
    def pending_since(deployment: Deployment, key_id: str) -> int | None:
        connection = sqlite3.connect(deployment.catalog_file, timeout=10)
        found = connection.execute("SELECT pending_since FROM keys WHERE key_id = ?", (key_id,)).fetchone()[0]
        connection.close()
        assert found is None or isinstance(found, int)
        return found

    def test_a_key_whose_day_has_come_rotates_once(self, own: Deployment) -> None:
        with running(own) as service:
            client = service.client()
            key_id = client.create_key().key_metadata.key_id
            sealed = client.encrypt(key_id=key_id, plaintext=b"old").ciphertext_blob
            client.enable_key_rotation(key_id=key_id, rotation_period_in_days=90)
            due = int(time.time() * 1_000_000) - 1
            self.change(own, "UPDATE keys SET next_rotation = ? WHERE key_id = ?", due, key_id)
            (rotation,) = eventually(lambda: client.list_key_rotations(key_id=key_id).rotations)
            assert rotation.rotation_type == "AUTOMATIC"
            time.sleep(1)
            assert len(client.list_key_rotations(key_id=key_id).rotations) == 1
            status = client.get_key_rotation_status(key_id=key_id)
            assert status.next_rotation_date == datetime.fromtimestamp(0, UTC) + timedelta(microseconds=due) + 90 * DAY
            assert client.decrypt(ciphertext_blob=sealed).plaintext == b"old"
            moved = client.re_encrypt(ciphertext_blob=sealed, destination_key_id=key_id)
            assert moved.destination_key_material_id == rotation.key_material_id != moved.source_key_material_id
            assert service.metric("hsm_kms_automatic_rotations_total", result="rotated") == 1

    def test_the_last_use_outlives_the_service(self, own: Deployment) -> None:
        with running(own) as service:
            client = service.client()
            key_id = client.create_key().key_metadata.key_id
            client.generate_data_key(key_id=key_id, key_spec="AES_256")
            use = client.get_key_last_usage(key_id=key_id).key_last_usage
        with running(own) as service:
            kept = service.client().get_key_last_usage(key_id=key_id)
            assert kept.key_last_usage == use
            assert use.operation == "GenerateDataKey"
