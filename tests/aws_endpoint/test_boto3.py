"""boto3, unmodified: every operation at least once, and errors as its exceptions."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from aws_endpoint.clients import CONTEXT, recorded
from hsmkms.core.messages import OPERATIONS
from support.aws import AccessKey, boto_client, post
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
    "encapsulate": {"KeyId": "alias/a", "EncapsulationAlgorithm": "ML_KEM"},
    "decapsulate": {
        "KeyId": "alias/a", "EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": b"x",
    },
}  # fmt: skip
OAEP_SHA_1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


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


def new_key(client: Any, **parameters: Any) -> str:
    made: str = client.create_key(**parameters)["KeyMetadata"]["KeyId"]
    return made


def public_key(client: Any, key_id: str) -> Any:
    return serialization.load_der_public_key(client.get_public_key(KeyId=key_id)["PublicKey"])


def spki(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def re_encrypt_through_rsa(client: Any, key_id: str) -> None:
    """Re-encrypt a data key from a symmetric key to an RSA key and back, and one that was encrypted outside with the public key."""
    pair = new_key(client, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    made = client.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext=CONTEXT)
    moved = client.re_encrypt(
        CiphertextBlob=made["CiphertextBlob"], SourceEncryptionContext=CONTEXT, DestinationKeyId=pair,
        DestinationEncryptionAlgorithm="RSAES_OAEP_SHA_1",
    )  # fmt: skip
    algorithms = moved["SourceEncryptionAlgorithm"], moved["DestinationEncryptionAlgorithm"]
    assert algorithms == ("SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1")
    outside = public_key(client, pair).encrypt(made["Plaintext"], OAEP_SHA_1)
    for sealed in (moved["CiphertextBlob"], outside):
        opened = client.decrypt(KeyId=pair, CiphertextBlob=sealed, EncryptionAlgorithm="RSAES_OAEP_SHA_1")
        assert opened["Plaintext"] == made["Plaintext"]
        back = client.re_encrypt(
            CiphertextBlob=sealed, SourceKeyId=pair, SourceEncryptionAlgorithm="RSAES_OAEP_SHA_1",
            DestinationKeyId=key_id, DestinationEncryptionContext=CONTEXT,
        )["CiphertextBlob"]  # fmt: skip
        assert client.decrypt(CiphertextBlob=back, EncryptionContext=CONTEXT)["Plaintext"] == made["Plaintext"]


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
        re_encrypt_through_rsa(client, key_id)
        did("re-encrypt RSA")
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


def test_signatures(client: Watched) -> None:
    message = os.urandom(100)
    asked = {"Message": message, "SigningAlgorithm": "RSASSA_PSS_SHA_256"}
    pair = new_key(client, KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    signature = client.sign(KeyId=pair, **asked)["Signature"]
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public_key(client, pair).verify(signature, message, pss, hashes.SHA256())
    assert client.verify(KeyId=pair, Signature=signature, **asked)["SignatureValid"] is True
    with pytest.raises(client.exceptions.KMSInvalidSignatureException):
        client.verify(KeyId=pair, Signature=signature, **(asked | {"Message": b"another"}))

    asked = {"Message": hashlib.sha256(message).digest(), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    pair = new_key(client, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    signature = client.sign(KeyId=pair, **asked)["Signature"]
    public = public_key(client, pair)
    public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"another", ec.ECDSA(hashes.SHA256()))
    assert client.verify(KeyId=pair, Signature=signature, **asked)["SignatureValid"] is True


def test_macs(client: Watched) -> None:
    asked = {
        "KeyId": new_key(client, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"),
        "MacAlgorithm": "HMAC_SHA_256",
    }
    mac = client.generate_mac(Message=b"hello", **asked)["Mac"]
    assert len(mac) == 32
    assert client.verify_mac(Message=b"hello", Mac=mac, **asked)["MacValid"] is True
    with pytest.raises(client.exceptions.KMSInvalidMacException):
        client.verify_mac(Message=b"hallo", Mac=mac, **asked)


def test_shared_secrets(client: Watched) -> None:
    pair = new_key(client, KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    other = ec.generate_private_key(ec.SECP256R1())
    answer = client.derive_shared_secret(KeyId=pair, KeyAgreementAlgorithm="ECDH", PublicKey=spki(other.public_key()))
    assert answer["SharedSecret"] == other.exchange(ec.ECDH(), public_key(client, pair))


def test_data_key_pairs(client: Watched, key: str) -> None:
    made = client.generate_data_key_pair(KeyId=key, KeyPairSpec="RSA_2048", EncryptionContext=CONTEXT)
    private = serialization.load_der_private_key(made["PrivateKeyPlaintext"], None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert (private.key_size, spki(private.public_key())) == (2048, made["PublicKey"])
    opened = client.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == made["PrivateKeyPlaintext"]
    made = client.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    assert "PrivateKeyPlaintext" not in made
    opened = client.decrypt(CiphertextBlob=made["PrivateKeyCiphertextBlob"])
    private = serialization.load_der_private_key(opened["Plaintext"], None)
    assert spki(private.public_key()) == made["PublicKey"]


def import_of(client: Any, key_id: str, material: bytes) -> dict[str, Any]:
    given = client.get_parameters_for_import(
        KeyId=key_id, WrappingAlgorithm="RSAES_OAEP_SHA_1", WrappingKeySpec="RSA_2048"
    )
    assert given["ParametersValidTo"] > datetime.now(UTC)
    wrapping_key = serialization.load_der_public_key(given["PublicKey"])
    assert isinstance(wrapping_key, rsa.RSAPublicKey)
    encrypted = wrapping_key.encrypt(material, OAEP_SHA_1)
    return {"KeyId": key_id, "ImportToken": given["ImportToken"], "EncryptedKeyMaterial": encrypted}


def test_imported_material(client: Watched) -> None:
    key_id, material = new_key(client, Origin="EXTERNAL"), os.urandom(32)
    request = import_of(client, key_id, material)
    valid_to = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    with pytest.raises(client.exceptions.InvalidImportTokenException, match="is not one that this service issued"):
        client.import_key_material(**(request | {"ImportToken": os.urandom(64)}), ValidTo=valid_to)
    with pytest.raises(ClientError, match=r"ValidationException.*at most 365 days"):
        client.import_key_material(**request, ValidTo=datetime(9999, 12, 31, tzinfo=UTC))
    imported = client.import_key_material(**request, ValidTo=valid_to)
    metadata = client.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["ValidTo"]) == ("Enabled", valid_to)
    sealed = client.encrypt(KeyId=key_id, Plaintext=b"hello")["CiphertextBlob"]
    deleted = client.delete_imported_key_material(KeyId=key_id)
    assert deleted["KeyMaterialId"] == imported["KeyMaterialId"]
    assert client.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "PendingImport"
    with pytest.raises(client.exceptions.KMSInvalidStateException):
        client.decrypt(CiphertextBlob=sealed)
    for_ever = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    with pytest.raises(client.exceptions.IncorrectKeyMaterialException):
        client.import_key_material(**import_of(client, key_id, os.urandom(32)), **for_ever)
    client.import_key_material(**import_of(client, key_id, material), **for_ever)
    assert client.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"hello"


def test_an_imported_pair_is_what_was_sent(client: Watched) -> None:
    key_id = new_key(client, Origin="EXTERNAL", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    pair = rsa.generate_private_key(65537, 2048)
    encoded = pair.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    given = client.get_parameters_for_import(
        KeyId=key_id, WrappingAlgorithm="RSA_AES_KEY_WRAP_SHA_1", WrappingKeySpec="RSA_2048"
    )
    wrapping_key = serialization.load_der_public_key(given["PublicKey"])
    assert isinstance(wrapping_key, rsa.RSAPublicKey)
    aes = os.urandom(32)
    client.import_key_material(
        KeyId=key_id, ImportToken=given["ImportToken"], ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        EncryptedKeyMaterial=wrapping_key.encrypt(aes, OAEP_SHA_1) + aes_key_wrap_with_padding(aes, encoded),
    )  # fmt: skip
    assert client.get_public_key(KeyId=key_id)["PublicKey"] == spki(pair.public_key())
    signed = client.sign(KeyId=key_id, Message=b"hello", SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256")["Signature"]
    pair.public_key().verify(signed, b"hello", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("time", [1e300, -1e300, 10**30, 253402300800, -62135596801])
def test_a_time_beyond_all_calendars_is_refused(service: Service, operator: AccessKey, time: float) -> None:
    """boto3 cannot send it, others can."""
    answer = post(service, operator, "ImportKeyMaterial", {"KeyId": "alias/a", "ValidTo": time})
    assert answer.error == (400, "SerializationException")
    assert "NUMBER_VALUE can not be converted" in answer.document["Message"]


def test_equal_calls_in_a_row_need_one_retry_each(service: Service, operator: AccessKey) -> None:
    """They are signed alike within one second: the answer says how long that second still lasts."""
    once_more = Config(retries={"total_max_attempts": 2, "mode": "standard"})
    client = boto_client(service, operator, config=once_more)
    made = [client.create_key(Description="in a row") for _ in range(5)]
    assert len({answer["KeyMetadata"]["KeyId"] for answer in made}) == 5
    assert sum(answer["ResponseMetadata"]["RetryAttempts"] for answer in made) >= 1


def test_every_operation_was_asked_for_here() -> None:
    assert set(OPERATIONS) - DONE == set()
