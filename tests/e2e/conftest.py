"""One service for all end-to-end tests on each token: what they create, they name after themselves.

What concerns cryptography runs on every token (`pytestmark = pytest.mark.every_token`); the rest on SoftHSM alone, as it would not differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hsmkms.client import Client
from support.nss import make_nss_token
from support.service import Deployment, Service, make_deployment, running
from support.softhsm import make_token

MAKERS = {"SoftHSM": make_token, "NSS": make_nss_token}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked so on every token."""
    if "token_name" in metafunc.fixturenames:
        every = metafunc.definition.get_closest_marker("every_token") is not None
        metafunc.parametrize("token_name", list(MAKERS) if every else ["SoftHSM"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def token_name(request: pytest.FixtureRequest) -> str:
    """The token that the service is on."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def deployment(token_name: str, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A deployment with a token of its own."""
    folder = tmp_path_factory.mktemp(f"deployment-{token_name}")
    return make_deployment(folder, token=MAKERS[token_name](folder / "token"))


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
