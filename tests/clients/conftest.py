"""One service with an AWS endpoint for all SDKs; each makes keys of its own. Its token is NSS softokn, which has RSAES_OAEP_SHA_256."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.aws import AccessKey, boto_client, make_access_key
from support.nss import make_nss_token
from support.service import Person, Service, make_deployment, running

NOBODY = Person("nobody", policy=None)
"""Who has an access key and no permission."""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service."""
    folder = tmp_path_factory.mktemp("clients")
    token = make_nss_token(folder / "nss")
    with running(make_deployment(folder, token=token, people=(NOBODY,), aws={"address": "127.0.0.1:0"})) as service:
        yield service


@pytest.fixture(scope="session")
def operator(service: Service) -> AccessKey:
    """The access key of who may do everything."""
    return make_access_key(service, "operator")


@pytest.fixture(scope="session")
def nobody(service: Service) -> AccessKey:
    """The access key of who may do nothing."""
    return make_access_key(service, NOBODY.name)


@pytest.fixture(scope="session")
def kms(service: Service, operator: AccessKey) -> Any:
    """A boto3 client, to look at what the programs did."""
    return boto_client(service, operator)


@pytest.fixture(scope="session")
def rsa_key_id(kms: Any) -> str:
    """An RSA key."""
    made: str = kms.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    return made
