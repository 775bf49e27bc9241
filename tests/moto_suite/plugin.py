"""A plugin for the pytest that runs moto's tests, in moto's own environment: the standard library and pytest alone.

It writes one line of JSON for each case: how it ended, what was wrong, and how many requests it sent to the service. A case that
sent none tries moto's own code.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

SHIM = os.environ["TEST_SERVER_MODE_ENDPOINT"]
RESULTS = Path(os.environ["MOTO_RESULTS"])
FIRST = "test_kms.py::test_list_keys"
"""Counts all keys, and the service forgets none: it comes before the others."""
REPORTS: pytest.StashKey[list[pytest.TestReport]] = pytest.StashKey()


def requests_so_far() -> int:
    """Ask the shim."""
    with urllib.request.urlopen(SHIM, timeout=30) as answer:
        return int(answer.read())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put FIRST first."""
    items.sort(key=lambda item: not item.nodeid.endswith(FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note how many requests a case sends."""
    before = requests_so_far()
    item.stash[REPORTS] = []
    result = yield
    reports = item.stash[REPORTS]
    failed = next((report for report in reports if report.outcome != "passed"), None)
    line = {
        "case": item.nodeid.removeprefix("tests/test_kms/"),
        "outcome": failed.outcome if failed else "passed",
        "why": failed.longreprtext.strip().splitlines()[-8:] if failed else [],
        "requests": requests_so_far() - before,
    }
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the reports of a case."""
    report = yield
    item.stash[REPORTS].append(report)
    return report
