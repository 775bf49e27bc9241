"""One service for all end-to-end tests: what they create, they name after themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hsmkms.client import Client
from support.service import Deployment, Service, make_deployment, running


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment with a token of its own."""
    return make_deployment(tmp_path_factory.mktemp("deployment"))


@pytest.fixture(scope="session")
def service(deployment: Deployment) -> Iterator[Service]:
    """The service, with the keys alias/source and alias/destination."""
    with running(deployment) as service:
        service.wait_for_workers(4)
        client = service.client()
        for name in ("source", "destination"):
            key_id = client.create_key(description=name).key_metadata.key_id
            client.create_alias(alias_name=f"alias/{name}", target_key_id=key_id)
        yield service


@pytest.fixture(scope="session")
def client(service: Service) -> Client:
    """A client that the authority has certified."""
    return service.client()
