"""Where we know that we and the oracle differ, and why.

An entry is a reason and a rewrite that takes the cause out of a case, or returns the case as it is when the cause is not in it. A
difference counts as explained only when both agree on the rewritten case.
"""

import copy
import re
from dataclasses import replace

from policy.random_cases import MULTI_VALUES, C

MULTI_VALUED = {key.lower() for key in MULTI_VALUES}


def _statements(document):
    written = document["Statement"]
    return written if isinstance(written, list) else [written]


def _rewritten(case, rewrite):
    """Return the case with `rewrite(statement)` done to a copy of each statement."""
    documents = copy.deepcopy([case.key_policy, *case.identity_policies])
    for document in documents:
        for statement in [] if document is None else _statements(document):
            rewrite(statement)
    return replace(case, key_policy=documents[0], identity_policies=documents[1:])


def _listed(value):
    return value if isinstance(value, list) else [value]


def _with_tests(statement, rewrite):
    """Give a statement the tests that `rewrite(operator, key, values)` makes of its own."""
    condition = {}
    for operator, pairs in statement.get("Condition", {}).items():
        for key, values in pairs.items():
            new_operator, new_values = rewrite(operator, key, values)
            condition.setdefault(new_operator, {})[key] = new_values
    if condition:
        statement["Condition"] = condition


def the_caller_is_a_root(case):
    return replace(case, principal=case.principal.replace(":root", ":user/alice"))


def not_principal_names_an_account(case):
    def rewrite(statement):
        if "NotPrincipal" in statement:
            entries = [
                entry for entry in _listed(statement["NotPrincipal"]["AWS"]) if not re.search(r":root$|^\d+$", entry)
            ]
            statement["NotPrincipal"]["AWS"] = entries or [f"arn:aws:iam::{C}:user/nobody"]

    return _rewritten(case, rewrite)


def for_any_value_if_exists(case):
    def test(operator, _, values):
        return operator.removesuffix("IfExists") if operator.startswith("ForAnyValue:") else operator, values

    return _rewritten(case, lambda statement: _with_tests(statement, test))


def a_negated_test_has_a_variable_without_a_value(case):
    known = {key.lower() for key in case.context}

    def literal(value):
        return re.sub(r"\$\{(aws:\w+(?:/\w+)?)\}", lambda m: m[0] if m[1].lower() in known else "never", value)

    def test(operator, _, values):
        return operator, [literal(value) for value in _listed(values)] if "Not" in operator else values

    def rewrite(statement):
        _with_tests(statement, test)
        if "NotResource" in statement:
            statement["NotResource"] = [literal(value) for value in _listed(statement["NotResource"])]

    return _rewritten(case, rewrite)


def a_deny_asks_a_multi_valued_key_without_a_set_operator(case):
    def test(operator, key, values):
        plain = key.lower() in MULTI_VALUED and not operator.startswith("For") and operator != "Null"
        present = any(key.lower() == name.lower() for name in case.context)
        return f"ForAnyValue:{operator}" if plain and present else operator, values

    def rewrite(statement):
        if statement["Effect"] == "Deny":
            _with_tests(statement, test)

    return _rewritten(case, rewrite)


def not_resource_is_a_short_arn(case):
    def rewrite(statement):
        if "NotResource" in statement:
            statement["NotResource"] = [
                entry + ":*" * (5 - entry.count(":")) if entry.startswith("arn:") else entry
                for entry in _listed(statement["NotResource"])
            ]

    return _rewritten(case, rewrite)


def the_whole_internet_as_a_cidr(case):
    def test(operator, _, values):
        halves = {"0.0.0.0/0": ["0.0.0.0/1", "128.0.0.0/1"]}
        return operator, [half for value in _listed(values) for half in halves.get(value, [value])]

    return _rewritten(case, lambda statement: _with_tests(statement, test))


def not_ip_address_without_a_prefix_length(case):
    def test(operator, _, values):
        if operator.startswith("NotIpAddress"):
            values = [value if "/" in value else f"{value}/32" for value in _listed(values)]
        return operator, values

    return _rewritten(case, lambda statement: _with_tests(statement, test))


def an_escape_where_there_are_no_wildcards(case):
    def test(operator, _, values):
        if operator.rpartition(":")[2].startswith("String") and "Like" not in operator:
            values = [value.replace("${*}", "*") for value in _listed(values)]
        return operator, values

    return _rewritten(case, lambda statement: _with_tests(statement, test))


DIVERGENCES = {
    the_caller_is_a_root: "The simulator asks the root of an account for identity policies, which AWS does not let it have; AWS's root is "
    "allowed by a key policy that names its account, and by its own account unless something denies.",
    not_principal_names_an_account: "The simulator exempts everyone in an account that NotPrincipal names, and says in its source that "
    "this is open. AWS's page on NotPrincipal: the account's entry keeps the account from being denied, and each exempt principal must be "
    "named beside it.",
    for_any_value_if_exists: "AWS's page on condition operators: with IfExists a missing key makes the test true. The simulator lets "
    "ForAnyValue win over IfExists.",
    a_negated_test_has_a_variable_without_a_value: "AWS's page on policy variables: a variable without a value is null, which equals "
    "nothing, so that negated operators match. In the simulator they do not. "
    "Such a NotResource, of which AWS does not speak, fails closed here: a Deny matches, an Allow does not.",
    a_deny_asks_a_multi_valued_key_without_a_set_operator: "AWS does not say what this means. The simulator lets such a Deny fall away; "
    "ours holds when it holds for any value, so that leaving out ForAnyValue: opens nothing.",
    not_resource_is_a_short_arn: "The simulator does not negate an entry with fewer than six fields when it does not match: its "
    "NotResource arn:aws:kms:* means neither a key nor anything else.",
    the_whole_internet_as_a_cidr: "The simulator shifts by 32 bits, which in JavaScript shifts by none: its /0 is a /32.",
    not_ip_address_without_a_prefix_length: "For the simulator an IPv6 address is not in 203.0.113.9/32, but neither not in 203.0.113.9.",
    an_escape_where_there_are_no_wildcards: "AWS's page on policy variables: ${*} is a star wherever variables may stand. For the "
    "simulator it is one in StringLike only, and five characters in StringEquals.",
}
