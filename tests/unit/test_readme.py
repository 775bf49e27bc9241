"""The README's commands are the ones that `make run` runs before the reader's eyes."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dev_environment(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import dev_environment

    return dev_environment


def test_the_quick_start_is_what_make_run_does(dev_environment):
    readme = (ROOT / "README.md").read_text()
    for _, template in dev_environment.SHOWN:
        assert template.format(var="var") in readme


def test_the_documents_that_are_named_exist():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} names {target}"
