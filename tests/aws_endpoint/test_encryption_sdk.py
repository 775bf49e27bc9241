"""The AWS Encryption SDK for Python, unmodified: envelopes whose data keys are this service's."""

from __future__ import annotations

from typing import Any

import aws_encryption_sdk
import botocore.session
import pytest
from aws_encryption_sdk.exceptions import DecryptKeyError, GenerateKeyError
from botocore.config import Config

from aws_endpoint.clients import CONTEXT, recorded
from support.aws import AccessKey, boto_client, environment
from support.service import Service

LETTER = b"Pay 1,000 EUR to the bearer. " * 1000


@pytest.fixture
def new_session(service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes botocore sessions that know the service by the environment's variables alone, as the SDK's key providers do."""

    def make(access_key: AccessKey) -> Any:
        for name, value in environment(service, access_key).items():
            monkeypatch.setenv(name, value)
        return botocore.session.Session()

    return make


def test_it_does_what_a_client_does(
    service: Service, kms: Any, operator: AccessKey, nobody: AccessKey, new_session: Any
) -> None:
    client = aws_encryption_sdk.EncryptionSDKClient()
    with recorded("aws-encryption-sdk") as did:
        first, second = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        did("create")
        both = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(
            key_ids=[first, second], botocore_session=new_session(operator)
        )
        sealed, _ = client.encrypt(source=LETTER, key_provider=both, encryption_context=CONTEXT)
        # the first key makes the data key, the second one encrypts it as well: either opens the message
        for arn in (first, second):
            one = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(
                key_ids=[arn], botocore_session=new_session(operator)
            )
            opened, header = client.decrypt(source=sealed, key_provider=one)
            assert opened == LETTER
            assert CONTEXT.items() <= header.encryption_context.items()
        did("encrypt")
        did("data keys")
        kms.rotate_key_on_demand(KeyId=first)
        found = aws_encryption_sdk.DiscoveryAwsKmsMasterKeyProvider(botocore_session=new_session(operator))
        assert client.decrypt(source=sealed, key_provider=found)[0] == LETTER
        did("rotate")
        theirs = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[first], botocore_session=new_session(nobody))
        with pytest.raises(GenerateKeyError):
            client.encrypt(source=LETTER, key_provider=theirs)
        with pytest.raises(DecryptKeyError):
            client.decrypt(source=sealed, key_provider=theirs)
        did("deny")
        kms.disable_key(KeyId=first)
        only = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[first], botocore_session=new_session(operator))
        with pytest.raises(GenerateKeyError) as refused:
            client.encrypt(source=LETTER, key_provider=only)
        assert "is disabled" in str(refused.value.__cause__ or refused.value.__context__)
        did("error")
    assert boto_client(service, operator, config=Config(retries={"max_attempts": 1}))
