"""What tests of the operations start from."""

import pytest

from support.deployment import Deployment


@pytest.fixture
async def world():
    """A deployment with the keys a, b and c, in memory."""
    return await Deployment().prepare()
