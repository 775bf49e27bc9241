"""The table of clients in docs/clients.md: its rows are what the tests of each client did, and no client has a row by any other way.

A test that differs from its row fails; with UPDATE_CLIENTS=1 in the environment it writes the row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import botocore.session

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
STEPS: Final = ("create", "encrypt", "re-encrypt", "data keys", "rotate", "re-encrypt RSA", "deny", "error")
"""What every client does: create keys; encrypt and decrypt; re-encrypt; data keys with and without plaintext; rotate a key and decrypt what
is older; re-encrypt from and to an RSA key, where the service has one; be denied; and read an error with its text."""
CONTEXT: Final = {"tenant": "blue", "purpose": "intake"}


def protocol_of_botocore() -> str:
    """Return what botocore speaks to KMS, and so what every Python client speaks."""
    model = botocore.session.Session().get_service_model("kms")
    assert model.resolved_protocol == "json"
    return f"AWS JSON {model.metadata['jsonVersion']}"


@contextmanager
def recorded(
    client: str, release: str = "", runs_in: str = "make test", protocol: Callable[[], str] = protocol_of_botocore
) -> Iterator[Callable[[str], None]]:
    """Note what a client does, and compare it with the document when it has done everything.

    Args:
        client: The client's name; of a Python package, its name on PyPI.
        release: Its version, if it is no Python package.
        runs_in: What runs the test.
        protocol: Says which protocol the client spoke, when it has done everything.
    """
    done: list[str] = []
    yield done.append
    assert tuple(step for step in STEPS if step in done) == tuple(dict.fromkeys(done)), done
    row = f"| {client} | {release or version(client)} | {protocol()} | {', '.join(done)} | `{runs_in}` |"
    text = DOCUMENT.read_text()
    if row in text.splitlines():
        return
    assert os.environ.get("UPDATE_CLIENTS") == "1", (
        f"{DOCUMENT.name} has another row: set UPDATE_CLIENTS=1 to write\n{row}"
    )
    others = [
        line
        for line in re.findall(r"^\| .*`make test.*` \|$", text, re.MULTILINE)
        if not line.startswith(f"| {client} |")
    ]
    rows = "\n".join(sorted([*others, row], key=str.lower))
    DOCUMENT.write_text(re.sub(r"(?s)((?:\| --- ){5}\|\n).*?(\n\n|\Z)", lambda found: found[1] + rows + "\n\n", text))
