"""One service with an AWS endpoint for all tests here: what they create, they name after themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.aws import AccessKey, boto_client, make_access_key
from support.service import Deployment, Person, Service, make_deployment, running

NOBODY = Person("nobody", policy=None)
"""Who has an access key and no permission."""


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment with a token of its own."""
    return make_deployment(tmp_path_factory.mktemp("deployment"), people=(NOBODY,), aws={"address": "127.0.0.1:0"})


@pytest.fixture(scope="session")
def service(deployment: Deployment) -> Iterator[Service]:
    """The service."""
    with running(deployment) as service:
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
    """A boto3 client."""
    return boto_client(service, operator)


@pytest.fixture(scope="session")
def key_id(kms: Any) -> str:
    """A key that every test may use and none changes."""
    made: str = kms.create_key(Description="for all tests of the AWS endpoint")["KeyMetadata"]["KeyId"]
    return made
