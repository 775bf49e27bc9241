"""Documents that are refused, and the place that the error names."""

# ruff: noqa: E501 - tables, a case a line

import json

import pytest

from hsmkms.core.errors import MalformedPolicyDocumentException
from hsmkms.core.policy.documents import MAX_POLICY_BYTES, PolicyKind, parse_policy
from policy.deciding import ALICE, allow
from policy.random_cases import A, root

GOOD = allow(ALICE)


def one(**elements):
    """A policy of one statement in a list: the good one with elements replaced, or taken away by None."""
    changed = {name: value for name, value in (GOOD | elements).items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [changed]}


def condition(operator, values, key="kms:KeySpec"):
    return one(Condition={operator: {key: values}})


def two_sids():
    return {"Statement": [GOOD | {"Sid": "Same"}, GOOD | {"Sid": "Same"}]}


MALFORMED = [
    ("nothing", "", "Policy: must be JSON; Expecting value at line 1 column 1"),
    ("no JSON", "{'Version': 1}", "Policy: must be JSON; "),
    ("JSON with something behind", json.dumps(one()) + "x", "Policy: must be JSON; Extra data"),
    ("NaN", '{"Statement": NaN}', "Policy: must be JSON, which has no NaN"),
    ("a string", '"Statement"', "Policy: must be an object"),
    ("a list", "[]", "Policy: must be an object"),
    ("too long", " " * MAX_POLICY_BYTES + "{}", "Policy: must have at most 32768 bytes"),
    ("too deep", "[" * 17, "Policy: must not nest deeper than 16 levels"),
    ("brackets in a string are no depth", '{"Id": "' + "[" * 99 + '"}', "Policy: must have a Statement"),
    ("deep behind an escaped quote", '{"Id": "\\"", "Statement": ' + "[" * 20, "Policy: must not nest deeper"),
    ("no statement", {"Version": "2012-10-17"}, "Policy: must have a Statement"),
    ("an empty list of statements", {"Statement": []}, "Statement: must not be empty"),
    ("a statement that is text", {"Statement": "Allow"}, "Statement: must be an object"),
    ("a statement in a list that is none", {"Statement": [GOOD, 5]}, "Statement[1]: must be an object"),
    ("an unknown version", one() | {"Version": "2013-01-01"}, "Version: must be 2012-10-17 or 2008-10-17"),
    ("a version that is a number", one() | {"Version": 2012}, "Version: must be 2012-10-17 or 2008-10-17"),
    ("an Id that is no text", one() | {"Id": 7}, "Id: must be a string"),
    ("an unknown element of the policy", one() | {"Owner": "x"}, "Owner: is no element known here"),
    ("an unknown element of a statement", one(Actions="kms:*"), "Statement[0].Actions: is no element known here"),
    ("an element in the wrong case", one(action="kms:*"), "Statement[0].action: is no element known here"),
    ("an element twice", '{"Statement": {"Effect": "Allow", "Effect": "Deny"}}', "Statement: has the element 'Effect' twice"),
    (
        "a condition key twice",
        '{"Statement": [' + json.dumps(GOOD)[:-1] + ', "Condition": {"Null": {"a:b": "true", "a:b": "false"}}}]}',
        "Statement[0].Condition.Null: has the element 'a:b' twice",
    ),
    ("a Sid that is no text", one(Sid=1), "Statement[0].Sid: must be a string"),
    ("a Sid twice", two_sids(), "Statement: two statements have the Sid 'Same'"),
    ("no effect", one(Effect=None), "Statement[0].Effect: must be Allow or Deny"),
    ("an effect in the wrong case", one(Effect="allow"), "Statement[0].Effect: must be Allow or Deny"),
    ("an effect that is a list", one(Effect=["Allow"]), "Statement[0].Effect: must be Allow or Deny"),
    ("no action", one(Action=None), "Statement[0]: must have either Action or NotAction"),
    ("Action and NotAction", one(NotAction="kms:*"), "Statement[0]: must have either Action or NotAction, not both"),
    ("an empty list of actions", one(Action=[]), "Statement[0].Action: must not be empty"),
    ("an action that is a number", one(Action=["kms:*", 5]), "Statement[0].Action[1]: must be a string or a list of strings"),
    ("an action without a service", one(Action="Decrypt"), "Statement[0].Action: 'Decrypt' is no action such as kms:Decrypt"),
    ("an action with a space", one(Action=["kms:De crypt"]), "Statement[0].Action[0]: 'kms:De crypt' is no action"),
    ("an action with two colons", one(Action="kms:De:crypt"), "Statement[0].Action: 'kms:De:crypt' is no action"),
    ("a list in a list of actions", one(Action=[["kms:*"]]), "Statement[0].Action[0]: must be a string or a list of strings"),
    ("no resource", one(Resource=None), "Statement[0]: must have either Resource or NotResource"),
    ("Resource and NotResource", one(NotResource="*"), "Statement[0]: must have either Resource or NotResource, not both"),
    ("an empty list of resources", one(Resource=[]), "Statement[0].Resource: must not be empty"),
    ("a resource that is no ARN", one(Resource="key/1234"), "Statement[0].Resource: 'key/1234': must be an ARN or *"),
    ("a resource with too few fields", one(Resource=["arn:aws:kms:*:key/1"]), "Statement[0].Resource[0]: 'arn:aws:kms:*:key/1': must be an ARN of 6"),
    ("a resource without a name", one(Resource="arn:aws:kms:::"), "Statement[0].Resource: 'arn:aws:kms:::': must be an ARN that names"),
    ("an empty resource", one(Resource=""), "Statement[0].Resource: '': must be an ARN or *"),
    ("a variable before the fifth colon", one(Resource="arn:aws:kms:*:${aws:PrincipalAccount}:key/*"), "Statement[0].Resource: "),
    (
        "a variable that is not closed",
        one(Resource="arn:aws:kms:*:*:key/${aws:username"),
        "Statement[0].Resource: 'arn:aws:kms:*:*:key/${aws:username': a policy variable is not closed",
    ),
    ("a variable without a name", condition("StringLike", "${}"), "Statement[0].Condition.StringLike.kms:KeySpec: a policy variable has no proper name"),
    ("a default without quotes", condition("StringLike", "${a:b, c}"), "Statement[0].Condition.StringLike.kms:KeySpec: a policy variable's default"),
    ("no principal", one(Principal=None), "Statement[0]: must have either Principal or NotPrincipal"),
    ("Principal and NotPrincipal", one(Effect="Deny", NotPrincipal="*"), "Statement[0]: must have either Principal or NotPrincipal, not both"),
    ("an allow with NotPrincipal", one(Principal=None, NotPrincipal={"AWS": ALICE}), "Statement[0].NotPrincipal: must not stand in a statement that allows"),
    ("a principal that is a bare ARN", one(Principal=ALICE), "Statement[0].Principal: must be * or an object"),
    ("a principal that is a list", one(Principal=[ALICE]), "Statement[0].Principal: must be an object"),
    ("an empty principal", one(Principal={}), "Statement[0].Principal: must not be empty"),
    ("an empty list of principals", one(Principal={"AWS": []}), "Statement[0].Principal.AWS: must not be empty"),
    ("an unknown kind of principal", one(Principal={"Aws": ALICE}), "Statement[0].Principal.Aws: is no element known here"),
    ("a principal that is a number", one(Principal={"AWS": 111122223333}), "Statement[0].Principal.AWS: must be a string or a list of strings"),
    ("an account of eleven digits", one(Principal={"AWS": "11112222333"}), "Statement[0].Principal.AWS: '11112222333' is no account"),
    ("a star inside a principal", one(Principal={"AWS": [ALICE, f"arn:aws:iam::{A}:user/*"]}), "Statement[0].Principal.AWS[1]: 'arn:aws:iam::111122223333:user/*' is no account"),
    ("a group", one(Principal={"AWS": f"arn:aws:iam::{A}:group/x"}), "Statement[0].Principal.AWS: 'arn:aws:iam::111122223333:group/x' is no account"),
    ("a key as a principal", one(Principal={"AWS": f"arn:aws:kms:eu-central-1:{A}:key/x"}), "Statement[0].Principal.AWS: "),
    ("an id of a deleted principal", one(Principal={"AWS": "AIDACKCEVSQ6C2EXAMPLE"}), "Statement[0].Principal.AWS: 'AIDACKCEVSQ6C2EXAMPLE' is no account"),
    ("a root with something behind", one(Principal={"AWS": root(A) + "x"}), "Statement[0].Principal.AWS: "),
    ("a session without a name", one(Principal={"AWS": f"arn:aws:sts::{A}:assumed-role/x"}), "Statement[0].Principal.AWS: "),
    ("an empty service", one(Principal={"Service": ""}), "Statement[0].Principal.Service: must not be empty"),
    ("a condition that is a list", one(Condition=[]), "Statement[0].Condition: must be an object"),
    ("an unknown operator", condition("StringIs", "x"), "Statement[0].Condition.'StringIs': is no condition operator"),
    ("an operator in the wrong case", condition("stringEquals", "x"), "Statement[0].Condition.'stringEquals': is no condition operator"),
    ("an unknown set operator", condition("ForNoValue:StringEquals", "x"), "Statement[0].Condition.'ForNoValue:StringEquals': is no"),
    ("NullIfExists", condition("NullIfExists", "true"), "Statement[0].Condition.'NullIfExists': is no condition operator"),
    ("Null with a set operator", condition("ForAnyValue:Null", "true"), "Statement[0].Condition.'ForAnyValue:Null': is no condition operator"),
    ("an operator without keys", one(Condition={"Bool": {}}), "Statement[0].Condition.Bool: must not be empty"),
    ("an operator that is text", one(Condition={"Bool": "x"}), "Statement[0].Condition.Bool: must be an object"),
    ("a condition key without a colon", condition("Bool", "true", key="Secure"), "Statement[0].Condition.Bool: 'Secure' is no condition key"),
    ("an empty list of values", condition("StringEquals", []), "Statement[0].Condition.StringEquals.kms:KeySpec: must not be empty"),
    ("a value that is null", condition("StringEquals", None), "Statement[0].Condition.StringEquals.kms:KeySpec: must be a string"),
    ("a value that is an object", condition("StringEquals", [{}]), "Statement[0].Condition.StringEquals.kms:KeySpec[0]: must be a string"),
    ("a number that is none", condition("NumericEquals", "7 days"), "Statement[0].Condition.NumericEquals.kms:KeySpec: must be a number"),
    ("a date that is none", condition("DateLessThan", "1 March"), "Statement[0].Condition.DateLessThan.kms:KeySpec: must be a date of ISO 8601"),
    ("a day that is none", condition("DateLessThan", "2026-02-30"), "Statement[0].Condition.DateLessThan.kms:KeySpec: must be a date"),
    ("a zone that is none", condition("DateLessThan", "2026-02-20T10:00:00+99:00"), "Statement[0].Condition.DateLessThan.kms:KeySpec: must be a date"),
    ("a boolean that is none", condition("Bool", "yes"), "Statement[0].Condition.Bool.kms:KeySpec: must be true or false"),
    ("a Null that is none", condition("Null", "1"), "Statement[0].Condition.Null.kms:KeySpec: must be true or false"),
    ("bytes that are none", condition("BinaryEquals", "?"), "Statement[0].Condition.BinaryEquals.kms:KeySpec: must be base64"),
    ("a network that is none", condition("IpAddress", "10.0.0.0/33"), "Statement[0].Condition.IpAddress.kms:KeySpec: must be an IP address or a CIDR"),
    ("a network by its mask", condition("IpAddress", "10.0.0.0/255.0.0.0"), "Statement[0].Condition.IpAddress.kms:KeySpec: must be an IP"),
    ("an ARN that is none", condition("ArnLike", "user/x"), "Statement[0].Condition.ArnLike.kms:KeySpec: must be an ARN or *"),
    ("an ARN with too few fields", condition("ArnLike", "arn:aws:iam::*"), "Statement[0].Condition.ArnLike.kms:KeySpec: must be an ARN of 6 fields"),
    ("too many stars", condition("StringLike", "*" * 1001), "Statement[0].Condition.StringLike.kms:KeySpec: a policy must have at most 1000 *"),
    ("too many question marks", condition("StringLike", "?" * 101), "Statement[0].Condition.StringLike.kms:KeySpec: a policy must have at most"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "text"), [entry[1:] for entry in MALFORMED], ids=[entry[0] for entry in MALFORMED]
)
def test_the_place_that_is_wrong_is_named(document, text):
    written = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(MalformedPolicyDocumentException) as raised:
        parse_policy(written, PolicyKind.KEY)
    assert raised.value.message.startswith(text)


@pytest.mark.parametrize("element", ["Principal", "NotPrincipal"])
def test_an_identity_policy_names_no_principal(element):
    document = {"Statement": {"Effect": "Deny", element: "*", "Action": "*", "Resource": "*"}}
    with pytest.raises(
        MalformedPolicyDocumentException, match=f"Statement.{element}: must not stand in an identity policy"
    ):
        parse_policy(json.dumps(document), PolicyKind.IDENTITY)


@pytest.mark.parametrize(
    "document",
    [
        one(),
        {"Statement": GOOD},
        one(Sid="with spaces, and more", Condition={}),
        one(Principal={"AWS": [A, root(A), "*"], "Service": ["s3.amazonaws.com"]}),
        one(Principal={"AWS": f"arn:aws-us-gov:iam::{A}:role/a/b/c"}),
        one(Resource=["*", "arn:aws:kms:*", "arn:aws:kms:eu-central-1:*:alias/${aws:username}"]),
        condition("NumericEquals", [7, 7.5, "8"]),
        condition("Null", [True, "false"]),
    ],
)
def test_what_aws_accepts_is_accepted(document):
    assert parse_policy(json.dumps(document), PolicyKind.KEY).statements
