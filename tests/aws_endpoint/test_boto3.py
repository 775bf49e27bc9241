"""boto3, unmodified: every operation at least once, and errors as its exceptions."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws_endpoint.clients import CONTEXT, recorded
from hsmkms.core.messages import OPERATIONS
from support.aws import AccessKey, boto_client
from support.service import ACCOUNT, Service

DONE: set[str] = set()
REFUSED = {
    "connect_custom_key_store": {"CustomKeyStoreId": "cks-1"},
    "create_custom_key_store": {"CustomKeyStoreName": "a"},
    "delete_custom_key_store": {"CustomKeyStoreId": "cks-1"},
    "describe_custom_key_stores": {},
    "disconnect_custom_key_store": {"CustomKeyStoreId": "cks-1"},
    "update_custom_key_store": {"CustomKeyStoreId": "cks-1"},
    "replicate_key": {"KeyId": "mrk-1", "ReplicaRegion": "us-east-1"},
    "update_primary_region": {"KeyId": "mrk-1", "PrimaryRegion": "us-east-1"},
}


class Watched:
    """A client that notes which operations it was asked for."""

    def __init__(self, client: Any) -> None:
        self._client = client
        client.meta.events.register("before-call.kms", self._note)

    def _note(self, model: Any, **_: Any) -> None:
        DONE.add(model.name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture(scope="module")
def client(service: Service, operator: AccessKey) -> Watched:
    return Watched(boto_client(service, operator))


@pytest.fixture
def key(client: Watched) -> str:
    made: str = client.create_key()["KeyMetadata"]["KeyId"]
    return made


def test_it_does_what_a_client_does(service: Service, client: Watched, nobody: AccessKey) -> None:
    with recorded("boto3") as did:
        key_id = client.create_key(Tags=[{"TagKey": "team", "TagValue": "a"}])["KeyMetadata"]["KeyId"]
        other = client.create_key()["KeyMetadata"]["KeyId"]
        did("create")
        sealed = client.encrypt(KeyId=key_id, Plaintext=b"hello", EncryptionContext=CONTEXT)["CiphertextBlob"]
        assert client.decrypt(CiphertextBlob=sealed, EncryptionContext=CONTEXT)["Plaintext"] == b"hello"
        did("encrypt")
        moved = client.re_encrypt(
            CiphertextBlob=sealed, SourceEncryptionContext=CONTEXT, DestinationKeyId=other,
            DestinationEncryptionContext={"purpose": "archive"},
        )  # fmt: skip
        assert moved["SourceKeyId"].endswith(key_id)
        assert moved["KeyId"].endswith(other)
        opened = client.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"purpose": "archive"})
        assert opened["Plaintext"] == b"hello"
        did("re-encrypt")
        data_key = client.generate_data_key(KeyId=key_id, KeySpec="AES_256")
        assert client.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
        without = client.generate_data_key_without_plaintext(KeyId=key_id, NumberOfBytes=24)
        assert len(client.decrypt(CiphertextBlob=without["CiphertextBlob"])["Plaintext"]) == 24
        did("data keys")
        client.rotate_key_on_demand(KeyId=key_id)
        assert [entry["RotationType"] for entry in client.list_key_rotations(KeyId=key_id)["Rotations"]] == [
            "ON_DEMAND"
        ]
        assert client.decrypt(CiphertextBlob=sealed, EncryptionContext=CONTEXT)["Plaintext"] == b"hello"
        did("rotate")
        with pytest.raises(ClientError) as denied:
            boto_client(service, nobody).encrypt(KeyId=key_id, Plaintext=b"x")
        assert denied.value.response["Error"]["Code"] == "AccessDeniedException"
        did("deny")
        with pytest.raises(client.exceptions.NotFoundException) as refused:
            client.describe_key(KeyId="alias/nobody-has-this")
        assert "is not found" in refused.value.response["Error"]["Message"]
        with pytest.raises(client.exceptions.InvalidCiphertextException):
            client.decrypt(CiphertextBlob=sealed)
        did("error")


def test_keys(client: Watched, key: str) -> None:
    client.update_key_description(KeyId=key, Description="described")
    client.disable_key(KeyId=key)
    metadata = client.describe_key(KeyId=key)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Description"], metadata["AWSAccountId"]) == (
        "Disabled",
        "described",
        ACCOUNT,
    )
    with pytest.raises(client.exceptions.DisabledException, match="is disabled"):
        client.encrypt(KeyId=key, Plaintext=b"x")
    client.enable_key(KeyId=key)
    pages = client.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})
    assert key in {entry["KeyId"] for page in pages for entry in page["Keys"]}
    scheduled = client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert (scheduled["KeyState"], type(scheduled["DeletionDate"])) == ("PendingDeletion", datetime)
    assert client.cancel_key_deletion(KeyId=key)["KeyId"].endswith(key)


def test_aliases(client: Watched, key: str) -> None:
    name = f"alias/boto3-{uuid.uuid4()}"
    client.create_alias(AliasName=name, TargetKeyId=key)
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_alias(AliasName=name, TargetKeyId=key)
    other = client.create_key()["KeyMetadata"]["KeyId"]
    client.update_alias(AliasName=name, TargetKeyId=other)
    assert [entry["AliasName"] for entry in client.list_aliases(KeyId=other)["Aliases"]] == [name]
    client.delete_alias(AliasName=name)
    assert client.list_aliases(KeyId=other)["Aliases"] == []


def test_rotation(client: Watched, key: str) -> None:
    client.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = client.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    assert isinstance(status["NextRotationDate"], datetime)
    client.disable_key_rotation(KeyId=key)
    assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_tags_and_last_usage(client: Watched, key: str) -> None:
    client.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": ""}])
    client.untag_resource(KeyId=key, TagKeys=["a"])
    assert client.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "b", "TagValue": ""}]
    answer = client.encrypt(KeyId=key, Plaintext=b"x")
    last = client.get_key_last_usage(KeyId=key)["KeyLastUsage"]
    assert (last["Operation"], last["KmsRequestId"]) == ("Encrypt", answer["ResponseMetadata"]["RequestId"])


def test_policies(client: Watched, key: str) -> None:
    assert client.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
    policy = client.get_key_policy(KeyId=key)["Policy"]
    client.put_key_policy(KeyId=key, PolicyName="default", Policy=policy)
    assert json.loads(policy)["Statement"]
    with pytest.raises(client.exceptions.MalformedPolicyDocumentException):
        client.put_key_policy(KeyId=key, Policy="{}")


def test_grants(service: Service, client: Watched, nobody: AccessKey, key: str) -> None:
    grantee = f"arn:aws:iam::{ACCOUNT}:user/nobody"
    grant = {
        "KeyId": key, "GranteePrincipal": grantee, "RetiringPrincipal": grantee, "Operations": ["Encrypt"],
        "Constraints": {"EncryptionContextSubset": {"tenant": "a"}},
    }  # fmt: skip
    made = client.create_grant(**grant, Name="one")
    theirs = boto_client(service, nobody)
    assert theirs.encrypt(
        KeyId=key, Plaintext=b"x", EncryptionContext={"tenant": "a"}, GrantTokens=[made["GrantToken"]]
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.encrypt(KeyId=key, Plaintext=b"x")
    (listed,) = client.list_grants(KeyId=key)["Grants"]
    assert listed["Constraints"] == {"EncryptionContextSubset": {"tenant": "a"}}
    assert len(client.list_retirable_grants(RetiringPrincipal=grantee)["Grants"]) == 1
    client.retire_grant(KeyId=client.describe_key(KeyId=key)["KeyMetadata"]["Arn"], GrantId=made["GrantId"])
    client.revoke_grant(KeyId=key, GrantId=client.create_grant(**grant, Name="two")["GrantId"])
    assert client.list_grants(KeyId=key)["Grants"] == []


def test_random_bytes(client: Watched) -> None:
    assert len(client.generate_random(NumberOfBytes=1024)["Plaintext"]) == 1024


def test_dry_runs_and_invalid_requests(client: Watched, key: str) -> None:
    with pytest.raises(client.exceptions.DryRunOperationException, match="would have succeeded"):
        client.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)
    with pytest.raises(ClientError, match="ValidationException"):
        client.encrypt(KeyId=key, Plaintext=b"x" * 4097)
    with pytest.raises(ClientError, match="ValidationException"):
        client.encrypt(KeyId=key, Plaintext=b"x", EncryptionAlgorithm="ROT13")


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(client: Watched, name: str) -> None:
    with pytest.raises(ClientError, match="UnsupportedOperationException"):
        getattr(client, name)(**REFUSED[name])


def test_every_operation_was_asked_for_here() -> None:
    assert set(OPERATIONS) - DONE == set()
