"""A catalog's file, and clocks that are set by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.helpers import Clocks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()
