"""How the policy tests ask: documents as Python objects in, decisions out."""

import json
from dataclasses import dataclass

import pytest

from hsmkms.core.policy.decision import decide
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.evaluate import Facts
from policy.random_cases import KEY, A, Case

ALICE = f"arn:aws:iam::{A}:user/alice"
NOBODY = f"arn:aws:iam::{A}:user/nobody"


def key_policy(document):
    return parse_policy(json.dumps(document), PolicyKind.KEY)


def identity_policy(document):
    return parse_policy(json.dumps(document), PolicyKind.IDENTITY)


def lowered(context):
    return {key.lower(): value if isinstance(value, str) else tuple(value) for key, value in context.items()}


def decide_case(case, grant=""):
    facts = Facts(
        case.principal, case.account, case.action, case.resource, case.resource_account, lowered(case.context)
    )
    return decide(
        facts,
        key_policy=None if case.key_policy is None else key_policy(case.key_policy),
        identity_policies=[identity_policy(document) for document in case.identity_policies],
        grant=grant,
    )


@dataclass(frozen=True)
class Row:
    """One row of a table of decisions: a sentence, what is expected, and what is asked."""

    says: str
    expected: str
    case: Case
    grant: str


def statement(effect, principal, action, resource="*", **elements):
    """A statement, a key policy's if it names a principal; `elements` replace or add elements."""
    written = {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource}
    if principal is None:
        del written["Principal"]
    elif principal != "*" and not isinstance(principal, dict):
        written["Principal"] = {"AWS": principal}
    for name, value in elements.items():
        written.pop(name.removeprefix("Not"), None)
        written[name] = value
    return written


def allow(principal, action="kms:*", resource="*", **elements):
    return statement("Allow", principal, action, resource, **elements)


def deny(principal, action="kms:*", resource="*", **elements):
    return statement("Deny", principal, action, resource, **elements)


def row(
    says, expected, *, key=(), identity=(), who=ALICE, does="kms:Decrypt", on=KEY, owner=A, context=None, grant="",
    version="2012-10-17",
):  # fmt: skip
    """A row; `key` None is for what has no key policy, a context's values are texts or lists."""
    account = who.split(":")[4]
    policies = [{"Version": version, "Statement": [entry]} for entry in identity]
    key_document = None if key is None else {"Version": version, "Statement": list(key) or [allow(NOBODY)]}
    case = Case(
        who, account, does, on, owner, context or {}, None if key is None else key_document, policies
    )  # fmt: skip
    return Row(says, expected, case, grant)


def check(row):
    decision = decide_case(row.case, row.grant)
    assert decision.allowed is (row.expected == "allowed"), decision


def table(rows):
    return pytest.mark.parametrize("row", rows, ids=[entry.says for entry in rows])
