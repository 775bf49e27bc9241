"""The four directions of ReEncrypt on both tokens, and docs/tokens.md, which shows what became of each payload."""

from __future__ import annotations

import pytest

from support import token_document
from support.directions import DIRECTIONS, EXACT, document, try_everything
from support.service import Service

_TRIED = {}


@pytest.mark.every_token
def test_a_payload_arrives_exactly_or_is_refused(service: Service, token_name: str) -> None:
    """Nothing in between: `try_everything` compares each payload that arrives."""
    tried = _TRIED[token_name] = try_everything(token_name, service.client())
    outcomes = [outcome for one in tried for outcome in one.outcomes.values()]
    assert all(outcome == EXACT or outcome.startswith("UnsupportedOperationException: ") for outcome in outcomes), (
        outcomes
    )
    assert all(
        outcome == EXACT
        for one in tried
        for (_, direction), outcome in one.outcomes.items()
        if direction == DIRECTIONS[0] or (direction == DIRECTIONS[3] and one.algorithm == "RSAES_OAEP_SHA_1")
    )


def test_the_document_shows_it() -> None:
    """Of the tokens that the tests before this one ran on; make it anew with `python -m support.token_document`."""
    assert _TRIED, "the test above runs first"
    shown = document([one for name in token_document.TOKENS for one in _TRIED[name]], token_document.table)
    assert token_document.part("directions") == shown
