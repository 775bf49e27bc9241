"""5,000 random policies and requests, decided by ours and by @cloud-copilot/iam-simulate: each difference is explained or a bug."""

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from hsmkms.core.policy.decision import Reason
from policy.deciding import decide_case
from policy.divergences import DIVERGENCES
from policy.random_cases import Draw

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "tools" / "node_modules"
CASES = 5_000
SEED = 20_261_122

DENIED = {Reason.DENIED_BY_KEY_POLICY, Reason.DENIED_BY_IDENTITY_POLICY}


def ask_oracle(cases):
    node = shutil.which("node")
    assert node, "the policy oracle needs node; run scripts/setup.sh test"
    assert (MODULES / "@cloud-copilot" / "iam-simulate").is_dir(), "no iam-simulate; run scripts/setup.sh test"
    asked = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
    answer = subprocess.run(
        [node, Path(__file__).with_name("oracle.mjs"), MODULES],
        input=asked, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    verdicts = answer.stdout.splitlines()
    assert len(verdicts) == len(cases)
    return verdicts


def ask_ours(case):
    decision = decide_case(case)
    if decision.allowed:
        return "Allowed"
    return "ExplicitlyDenied" if decision.reason in DENIED else "ImplicitlyDenied"


@pytest.fixture(scope="module")
def cases():
    draw = Draw(SEED)
    return [draw.case() for _ in range(CASES)]


@pytest.fixture(scope="module")
def verdicts(cases):
    return [ask_ours(case) for case in cases], ask_oracle(cases)


def shown(case, ours, theirs):
    return f"ours {ours}, theirs {theirs}:\n{json.dumps(asdict(case), indent=1)}"


def test_every_difference_is_explained(cases, verdicts):
    differing = [entry for entry in zip(cases, *verdicts, strict=True) if entry[1] != entry[2]]
    rewritten, used = [], Counter()
    for case, ours, theirs in differing:
        again = case
        for rewrite in DIVERGENCES:
            before, again = again, rewrite(again)
            used[rewrite] += before != again
        assert again != case, f"a difference without a known cause: {shown(case, ours, theirs)}"
        rewritten.append(again)
    for case, theirs in zip(rewritten, ask_oracle(rewritten), strict=True):
        ours = ask_ours(case)
        assert ours == theirs, f"a difference that its known cause does not explain: {shown(case, ours, theirs)}"
    assert all(used[rewrite] for rewrite in DIVERGENCES), "an explanation that nothing needs any more"
    assert len(differing) < CASES * 0.05


def test_the_cases_are_worth_asking(cases, verdicts):
    ours = Counter(verdicts[0])
    assert min(ours.values()) > CASES / 10
    assert Counter(decide_case(case).reason for case in cases).keys() == set(Reason) - {Reason.ALLOWED_BY_GRANT}
    across = sum(
        case.account != case.resource_account and verdict == "Allowed"
        for case, verdict in zip(cases, verdicts[0], strict=True)
    )
    assert across > 100
