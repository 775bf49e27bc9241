"""docs/aws-kms-divergences.md says of each operation what is true of the contract."""

import re
from pathlib import Path

from hsmkms.core.messages import OPERATIONS
from hsmkms.core.operations import HANDLERS
from hsmkms.core.operations.inapplicable import refuse

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "aws-kms-divergences.md"


def test_every_operation_has_the_state_that_the_contract_shows():
    states = dict(re.findall(r"^\| ([A-Z]\w+) \| (yes|refused|not yet) \|", DOCUMENT.read_text(), re.MULTILINE))
    assert {name for name, state in states.items() if state != "not yet"} == set(OPERATIONS)
    refused = {name for name, handler in HANDLERS.items() if handler is refuse}
    assert {name for name, state in states.items() if state == "refused"} == refused
    assert len(states) == 56
    assert list(states) == sorted(states)
