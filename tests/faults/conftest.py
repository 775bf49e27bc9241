"""Each of these tests breaks a service of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.service import Deployment, Service, make_deployment, running

WORKERS = 4
"""Two active ones, the spare and the admin worker."""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment with a token of its own."""
    return make_deployment(tmp_path)


@pytest.fixture
def service(deployment: Deployment) -> Iterator[Service]:
    """A service with all its workers."""
    with running(deployment) as service:
        service.wait_for_workers(WORKERS)
        yield service
