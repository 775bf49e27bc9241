"""Three whole services on one PostgreSQL and one SoftHSM token, each as an operator starts it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.postgres import Postgres, running_postgres
from support.service import Deployment, Service, make_deployment, with_workers


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of this folder."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Deployment:
    """A deployment whose catalog is on PostgreSQL."""
    folder = tmp_path_factory.mktemp("shared")
    deployment = make_deployment(
        folder,
        catalog={"url": postgres.url(postgres.new_database()), "max_staleness_s": 10.0},
        audit={"directory": str(folder / "audit")},
        limits={"upkeep_every_s": 0.3},
    )
    return with_workers(deployment, 1)


@pytest.fixture(scope="session")
def fronts(shared: Deployment) -> Iterator[list[Service]]:
    """Three services, started at the same moment on an empty database and an empty token."""
    shared.certificate("operator")
    with ThreadPoolExecutor(3) as starting:
        services = list(starting.map(lambda _: Service(shared), range(3)))
    yield services
    for service in services:
        service.stop()
