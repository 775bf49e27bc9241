"""What holds for every policy: more denials and fewer allowances never allow more, and no text breaks the parser."""

import copy
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hsmkms.core.errors import MAX_MESSAGE_BYTES, MalformedPolicyDocumentException
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.patterns import Glob, tokens
from policy.deciding import decide_case
from policy.random_cases import Draw

seeds = st.integers(0, 2**64)


def documents_of(case):
    return ([] if case.key_policy is None else [case.key_policy]) + case.identity_policies


def as_list(document):
    written = document["Statement"]
    return written if isinstance(written, list) else [written]


@settings(max_examples=400, deadline=None)
@given(seeds, st.booleans())
def test_removing_an_allow_never_allows_more(seed, granted):
    case = Draw(seed).case()
    grant = "g" if granted else ""
    allowed = decide_case(case, grant).allowed
    for index, document in enumerate(documents_of(case)):
        for at, statement in enumerate(as_list(document)):
            if statement["Effect"] == "Allow" and len(as_list(document)) > 1:
                changed = copy.deepcopy(case)
                smaller = documents_of(changed)[index]
                smaller["Statement"] = as_list(smaller)
                del smaller["Statement"][at]
                assert decide_case(changed, grant).allowed <= allowed


@settings(max_examples=400, deadline=None)
@given(seeds, seeds, st.booleans())
def test_adding_a_deny_never_allows_more(seed, other, granted):
    case, draw = Draw(seed).case(), Draw(other)
    grant = "g" if granted else ""
    allowed = decide_case(case, grant).allowed
    for index, document in enumerate(documents_of(case)):
        changed = copy.deepcopy(case)
        larger = documents_of(changed)[index]
        statement = draw.statement(key_policy=document is case.key_policy) | {"Effect": "Deny"}
        larger["Statement"] = [*as_list(larger), statement]
        assert decide_case(changed, grant).allowed <= allowed


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_order_does_not_matter(seed):
    case = Draw(seed).case()
    turned = copy.deepcopy(case)
    for document in documents_of(turned):
        document["Statement"] = as_list(document)[::-1]
    turned = replace(turned, identity_policies=turned.identity_policies[::-1])
    assert decide_case(turned).allowed == decide_case(case).allowed


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_no_grant_and_no_policy_is_no_permission(seed):
    case = replace(Draw(seed).case(), identity_policies=[])
    if not case.principal.endswith(":root") and case.key_policy is None:
        assert not decide_case(case).allowed


elements = st.sampled_from(["Version", "Id", "Statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource",
                            "NotResource", "Condition", "AWS", "Service", "StringLike", "Bool", "IpAddress", "DateEquals", "ArnLike",
                            "ForAnyValue:NumericEquals", "Null", "aws:SourceIp", "kms:EncryptionContext:x"])  # fmt: skip
texts = st.one_of(
    st.text(max_size=20),
    elements,
    st.sampled_from(
        ["2012-10-17", "Allow", "Deny", "*", "kms:*", "arn:aws:kms:*:*:*", "${a:b}", "${", "true", "1e99", "\ud800"]
    ),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(elements, texts), inner, max_size=5)
    ),
    max_leaves=25,
)
statements = st.fixed_dictionaries(
    {"Effect": st.sampled_from(["Allow", "Deny"]), "Action": st.one_of(st.just("kms:*"), json_values),
     "Resource": st.one_of(st.just("*"), json_values), "Principal": st.one_of(st.just("*"), json_values)},
    optional={"Condition": st.one_of(json_values, st.dictionaries(elements, st.dictionaries(texts, json_values, max_size=2), max_size=2)),
              "Sid": json_values},
)  # fmt: skip


def parses_or_is_malformed(text):
    for kind in PolicyKind:
        try:
            parse_policy(text, kind)
        except MalformedPolicyDocumentException as error:
            message = error.message
        else:
            continue
        assert ": " in message
        assert len(message.encode()) <= MAX_MESSAGE_BYTES


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet='{}[]":,\\ue1-.')))
def test_any_text_is_a_policy_or_malformed(text):
    parses_or_is_malformed(text)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        json_values,
        st.fixed_dictionaries({"Statement": st.one_of(statements, st.lists(statements, max_size=3), json_values)}),
    )
)
def test_any_json_is_a_policy_or_malformed(value):
    parses_or_is_malformed(json.dumps(value))


def test_hostile_texts_are_refused_at_once():
    for text in ["[" * 32_000, '{"a":' * 5_000, '"' * 32_000, '\\"' * 16_000, '"' + '\\"' * 16_000, "1" * 32_000,
                 '{"Id": ' + "1" * 32_000 + "}",
                 "-" * 32_000, "\ud800", "\x00", '{"Statement": [' + "{}," * 9_000 + "{}]}"]:  # fmt: skip
        parses_or_is_malformed(text)


def slow_match(pattern, text):
    """The definition of a wildcard match, one character at a time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(slow_match(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and slow_match(pattern[1:], text[1:])


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="ab*?", max_size=9), st.text(alphabet="ab", max_size=9))
def test_wildcards_match_as_defined(pattern, text):
    assert Glob.of(tokens(pattern, variables=False, wildcards=True)).matches(text) == slow_match(pattern, text)
