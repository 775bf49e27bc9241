"""`@pytest.mark.needs("capability", …)`: what a token must have for a test to pass.

Nothing is skipped: where the token has it, the test must pass; where the probe finds that it has not, the test is run all the same and
must fail, and docs/tokens.md must say that this token lacks it. So a mark that is no longer true fails, and so does a table that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from support.token_document import capabilities_of


def expect_failure_where_lacking(request: pytest.FixtureRequest, token: str, found: Mapping[str, Any]) -> None:
    """Have the test that asks pass exactly if the token has what its mark names.

    Args:
        request: The test's own.
        token: The token's name in docs/tokens.md.
        found: What the probe found.
    """
    marker = request.node.get_closest_marker("needs")
    lacking = [name for name in marker.args if not found[name]]
    for name in marker.args:
        documented = capabilities_of(token)[name]
        assert (documented == "no") == (name in lacking), f"docs/tokens.md says of {token}: {name} {documented}"
    if lacking:
        reason = f"{token} lacks {', '.join(lacking)}"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
