"""moto's source package in `.cache/moto`: an environment of its own with what its tests import, and the tests themselves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
LOCK: Final = ROOT / "requirements" / "moto.txt"
CACHE: Final = ROOT / ".cache" / "moto"
PYTHON: Final = CACHE / "venv" / "bin" / "python"
INSTALL_S: Final = 900
RUN_S: Final = 1500
TESTS: Final = "tests/test_kms"


@dataclass(frozen=True, slots=True)
class Case:
    """A case that ran.

    Args:
        name: pytest's id, from the file on.
        passed: Whether it passed.
        requests: How many requests the service got of it. None: it tries moto's own code.
        why: The end of what pytest says of a failure.
    """

    name: str
    passed: bool
    requests: int
    why: str


def version() -> str:
    """Return moto's locked version."""
    (found,) = re.findall(r"(?m)^moto==(\S+)", LOCK.read_text())
    return str(found)


def prepare() -> Path:
    """Fetch and install what is locked, unless it is there; return the folder of moto's sources."""
    sources = CACHE / f"moto-{version()}"
    stamp, wanted = CACHE / "stamp", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        _run(sys.executable, "-m", "venv", "--clear", str(CACHE / "venv"))
        pip = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input")
        locked = ("--require-hashes", "--no-binary", "moto", "--requirement", str(LOCK))
        _run(*pip, "install", "--quiet", *locked)
        _run(*pip, "download", "--quiet", "--no-deps", "--dest", str(CACHE), *locked)
        with tarfile.open(CACHE / f"moto-{version()}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
        stamp.write_text(wanted)
    return sources


def run(sources: Path, endpoint: str, results: Path) -> list[Case]:
    """Run moto's tests in its server mode.

    Args:
        sources: moto's sources.
        endpoint: The shim's URL.
        results: A file that is not there yet.
    """
    mode = {"TEST_SERVER_MODE": "true", "TEST_SERVER_MODE_ENDPOINT": endpoint, "MOTO_RESULTS": str(results)}
    mode |= {
        "PYTHONPATH": f"{sources}:{HERE}",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_", "MOTO_"))}
    command = [str(PYTHON), "-m", "pytest", "-q", "-p", "plugin", "-p", "no:cacheprovider", "--color=no", TESTS]
    done = subprocess.run(
        command, cwd=sources, env={**kept, **mode}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=RUN_S, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert all(line["outcome"] in ("passed", "failed") for line in lines), "a case was skipped"
    return [Case(line["case"], line["outcome"] == "passed", line["requests"], "\n".join(line["why"])) for line in lines]


def _run(*command: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_S, cwd=CACHE, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
