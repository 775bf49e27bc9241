"""The generated parts of docs/tokens.md: what was found on the tokens that the tests run on.

    PYTHONPATH=tests .venv/bin/python -m support.token_document

writes them anew; tests/token and tests/e2e compare them with what they find.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tokens.md"
TOKENS = ("SoftHSM", "NSS")
_PROBE = """
import json, sys
from hsmkms.core.startup import WorkerSettings
from hsmkms.hsm.operator import describe_token
print(json.dumps(describe_token(WorkerSettings.from_json(sys.argv[1])).capabilities))
"""


def part(name: str) -> str:
    """Return a generated part as the document has it.

    Args:
        name: Its name in the markers, for example `capabilities`.
    """
    return _pattern(name).search(DOCUMENT.read_text())[2]  # type: ignore[index]  # a document without it fails the test


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end: {name} -->)", re.DOTALL)


def _put(name: str, text: str) -> None:
    DOCUMENT.write_text(_pattern(name).sub(lambda found: found[1] + text + found[3], DOCUMENT.read_text()))


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def shown(value: object) -> str:
    """Return a finding as the table has it."""
    return value.replace(" ", ", ") if isinstance(value, str) and value else ("yes" if value else "no")


def capabilities(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of capabilities.

    Args:
        found: The probe's findings, by the token's name.
    """
    from hsmkms.hsm.capabilities import PURPOSES

    rows = [(f"`{name}`", *(shown(found[token][name]) for token in TOKENS), gives) for name, gives in PURPOSES.items()]
    return "\n" + table(("capability", *TOKENS, "what it gives"), rows) + "\n"


def capabilities_of(token: str) -> dict[str, str]:
    """Return what the document says that the probe finds on a token, by capability."""
    column = TOKENS.index(token) + 2
    rows = [line.split("|") for line in part("capabilities").splitlines() if line.startswith("| `")]
    return {cells[1].strip(" `"): cells[column].strip() for cells in rows}


def main() -> None:
    """Probe both tokens, try ReEncrypt on both, and write the document."""
    from support import directions
    from support.nss import make_nss_token
    from support.service import make_deployment, running
    from support.softhsm import make_token

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found, tried = {}, []
        for token in (make_token(folder / "softhsm"), make_nss_token(folder / "nss")):
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, token.settings().to_json().decode()],
                env=token.environment(),
                check=True,
                capture_output=True,
            )
            found[token.name] = json.loads(done.stdout)
            with running(make_deployment(folder / f"on-{token.name}", token=token)) as service:
                tried += directions.try_everything(token.name, service.client())
    _put("capabilities", capabilities(found))
    _put("directions", directions.document(tried, table))


if __name__ == "__main__":
    main()
