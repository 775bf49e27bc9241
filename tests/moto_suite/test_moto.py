"""moto's own suite for KMS as a conformance run: exactly the cases fail of which docs/aws-kms-divergences.md says why that is right.

With UPDATE_MOTO=1 in the environment the list in the document is written anew from `expected.py` and the run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from moto_suite.expected import GROUPS
from moto_suite.shim import shimmed
from moto_suite.suite import INSTALL_S, RUN_S, Case, prepare, run, version

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "aws-kms-divergences.md"
BEGIN = "<!-- written by tests/moto_suite/test_moto.py: begin -->\n"
END = "<!-- written by tests/moto_suite/test_moto.py: end -->\n"

pytestmark = [pytest.mark.long, pytest.mark.timeout(3 * INSTALL_S + RUN_S)]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Every case that sent a request to the service; the others try moto's own code."""
    folder = tmp_path_factory.mktemp("moto")
    sources = prepare()
    with shimmed(folder / "services") as url:
        ran = run(sources, url, folder / "results")
    assert all(case.passed for case in ran if not case.requests), "moto does not pass its own tests here"
    return [case for case in ran if case.requests]


def test_exactly_the_expected_cases_fail(cases: list[Case]) -> None:
    expected = {case for group in GROUPS for case in group.of(case.name for case in cases)}
    failed = {case.name: case.why for case in cases if not case.passed}
    new = "\n\n".join(f"{name}\n{why}" for name, why in failed.items() if name not in expected)
    assert not new, f"cases fail that are not expected to:\n{new}"
    assert expected - set(failed) == set(), "cases pass that are expected to fail: take them out of expected.py"


def test_the_list_names_each_case_once_and_none_that_is_not_there(cases: list[Case]) -> None:
    ran = [case.name for case in cases]
    named = Counter(case for group in GROUPS for case in group.of(ran))
    assert {case for case, times in named.items() if times > 1} == set()
    plain = {re.sub(r"\[.*", "", case, flags=re.DOTALL) for case in ran}
    assert {re.sub(r"\[.*", "", name) for group in GROUPS for name in group.names()} <= plain


def test_the_document_has_the_list_and_the_count(cases: list[Case]) -> None:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    wanted = section(cases)
    listed, _, after = rest.partition(END)
    if os.environ.get("UPDATE_MOTO") == "1":
        DOCUMENT.write_text(before + BEGIN + wanted + END + after)
    else:
        assert listed == wanted, f"set UPDATE_MOTO=1 to write the list in {DOCUMENT.name}"


def section(cases: list[Case]) -> str:
    """Return the count and the list, in Markdown."""
    ran = [case.name for case in cases]
    failed = sum(not case.passed for case in cases)
    count = f"moto {version()}: of {len(ran)} cases that reach the service {len(ran) - failed} pass and {failed} fail."
    lines = [
        count,
        "",
        "| cases that fail | number | why |",
        "| --- | --- | --- |",
    ]
    for group in GROUPS:
        names = ", ".join(f"`{name.rpartition('::')[2]}`" for name in group.names())
        lines.append(f"| {names} | {len(group.of(ran))} | {group.why} |")
    return "\n".join([*lines, ""])
