"""docs/aws-kms-divergences.md says of each operation what is true of the contract."""

import re
from pathlib import Path

from hsmkms.core.messages import OPERATIONS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "aws-kms-divergences.md"


def test_every_operation_has_the_state_that_the_contract_shows():
    states = dict(re.findall(r"^\| ([A-Z]\w+) \| (yes|not yet|will not come) \|", DOCUMENT.read_text(), re.MULTILINE))
    assert {name for name, state in states.items() if state == "yes"} == set(OPERATIONS)
    assert len(states) == 56
    assert list(states) == sorted(states)
