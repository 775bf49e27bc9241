"""Conditions: each row is a Condition element, a request's condition keys, and whether an Allow with it allows."""

# ruff: noqa: E501 - tables, a case a line

import pytest

from policy.deciding import ALICE, allow, check, deny, row, table
from policy.random_cases import KEY, A


def asked(says, expected, condition, context=None, **more):
    return row(says, expected, key=[allow(ALICE, Condition=condition)], context=context, **more)


DEPT = "kms:EncryptionContext:Dept"

STRINGS = [
    asked("equal", "allowed", {"StringEquals": {DEPT: "hr"}}, {DEPT: "hr"}),
    asked("not equal", "denied", {"StringEquals": {DEPT: "hr"}}, {DEPT: "it"}),
    asked("a value's case matters", "denied", {"StringEquals": {DEPT: "hr"}}, {DEPT: "HR"}),
    asked("a key's case does not", "allowed", {"StringEquals": {"KMS:encryptioncontext:DEPT": "hr"}}, {DEPT: "hr"}),
    asked("one of several values", "allowed", {"StringEquals": {DEPT: ["it", "hr"]}}, {DEPT: "hr"}),
    asked("all of several keys", "denied", {"StringEquals": {DEPT: "hr", "kms:KeySpec": "RSA_2048"}}, {DEPT: "hr"}),
    asked("all of several operators", "denied", {"StringEquals": {DEPT: "hr"}, "Bool": {"aws:SecureTransport": "true"}}, {DEPT: "hr"}),
    asked("a missing key equals nothing", "denied", {"StringEquals": {DEPT: "hr"}}),
    asked("an empty condition holds", "allowed", {}),
    asked("StringEquals takes a star as it is", "denied", {"StringEquals": {DEPT: "h*"}}, {DEPT: "hr"}),
    asked("StringNotEquals of another value", "allowed", {"StringNotEquals": {DEPT: "hr"}}, {DEPT: "it"}),
    asked("StringNotEquals of none of several values", "denied", {"StringNotEquals": {DEPT: ["it", "hr"]}}, {DEPT: "it"}),
    asked("StringNotEquals of a missing key", "allowed", {"StringNotEquals": {DEPT: "hr"}}),
    asked("StringEqualsIgnoreCase", "allowed", {"StringEqualsIgnoreCase": {DEPT: "HR"}}, {DEPT: "hr"}),
    asked("StringNotEqualsIgnoreCase", "denied", {"StringNotEqualsIgnoreCase": {DEPT: "HR"}}, {DEPT: "hr"}),
    asked("StringLike with a star", "allowed", {"StringLike": {DEPT: "h*r*"}}, {DEPT: "human resources"}),
    asked("a star may be nothing", "allowed", {"StringLike": {DEPT: "*h*r*"}}, {DEPT: "hr"}),
    asked("a star alone matches what is there", "allowed", {"StringLike": {DEPT: "*"}}, {DEPT: ""}),
    asked("a star alone does not match what is not", "denied", {"StringLike": {DEPT: "*"}}),
    asked("StringLike with question marks", "allowed", {"StringLike": {DEPT: "?r"}}, {DEPT: "hr"}),
    asked("a question mark over a line's end", "allowed", {"StringLike": {DEPT: "a?b*"}}, {DEPT: "a\nb\n"}),
    asked("StringLike matches the whole", "denied", {"StringLike": {DEPT: "h?"}}, {DEPT: "the hr"}),
    asked("StringLike minds case", "denied", {"StringLike": {DEPT: "H*"}}, {DEPT: "hr"}),
    asked("StringLike takes no regular expression", "denied", {"StringLike": {DEPT: "h.*|(x)"}}, {DEPT: "hr"}),
    asked("StringNotLike", "denied", {"StringNotLike": {DEPT: "h*"}}, {DEPT: "hr"}),
    asked("StringNotLike of a missing key", "allowed", {"StringNotLike": {DEPT: "h*"}}),
]  # fmt: skip

ME = "aws:PrincipalArn"
ROLE_ARN = f"arn:aws:iam::{A}:role/service/Rewrapper"
ARNS = [
    asked("ArnEquals the same", "allowed", {"ArnEquals": {ME: ALICE}}, {ME: ALICE}),
    asked("ArnEquals takes wildcards as ArnLike", "allowed", {"ArnEquals": {ME: f"arn:aws:iam::{A}:user/*"}}, {ME: ALICE}),
    asked("ArnLike with a star in the account", "allowed", {"ArnLike": {ME: "arn:aws:iam::*:user/alice"}}, {ME: ALICE}),
    asked("ArnLike: a star stays in its field", "denied", {"ArnLike": {ME: "arn:aws:*:user/*:*:*"}}, {ME: ALICE}),
    asked("ArnLike: a star reaches over slashes", "allowed", {"ArnLike": {ME: f"arn:aws:iam::{A}:role/*"}}, {ME: ROLE_ARN}),
    asked("ArnLike: a lone star is any ARN", "allowed", {"ArnLike": {ME: "*"}}, {ME: ALICE}),
    asked("ArnLike of what is no ARN", "denied", {"ArnLike": {ME: "arn:*:*:*:*:*"}}, {ME: "alice"}),
    asked("ArnNotEquals", "denied", {"ArnNotEquals": {ME: ALICE}}, {ME: ALICE}),
    asked("ArnNotLike", "allowed", {"ArnNotLike": {ME: "arn:aws:iam::*:role/*"}}, {ME: ALICE}),
    asked("ArnNotLike of a missing key", "allowed", {"ArnNotLike": {ME: "arn:aws:iam::*:role/*"}}),
    asked(
        "a variable in an ARN",
        "allowed",
        {"ArnLike": {ME: "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"}},
        {ME: ALICE, "aws:PrincipalAccount": A, "aws:username": "alice"},
    ),
]  # fmt: skip

DAYS = "kms:ScheduleKeyDeletionPendingWindowInDays"
NUMBERS = [
    asked("NumericEquals", "allowed", {"NumericEquals": {DAYS: "7"}}, {DAYS: "7"}),
    asked("NumericEquals of a JSON number", "allowed", {"NumericEquals": {DAYS: 7}}, {DAYS: "7"}),
    asked("NumericEquals is no comparison of texts", "allowed", {"NumericEquals": {DAYS: "7.0"}}, {DAYS: "7"}),
    asked("NumericNotEquals", "denied", {"NumericNotEquals": {DAYS: "7"}}, {DAYS: "7"}),
    asked("NumericNotEquals of a missing key", "allowed", {"NumericNotEquals": {DAYS: "7"}}),
    asked("NumericLessThan, and 10 is not less than 7", "denied", {"NumericLessThan": {DAYS: "7"}}, {DAYS: "10"}),
    asked("NumericLessThan is strict", "denied", {"NumericLessThan": {DAYS: "7"}}, {DAYS: "7"}),
    asked("NumericLessThanEquals is not", "allowed", {"NumericLessThanEquals": {DAYS: "7"}}, {DAYS: "7"}),
    asked("NumericGreaterThan", "allowed", {"NumericGreaterThan": {DAYS: "-7.5"}}, {DAYS: "7"}),
    asked("NumericGreaterThanEquals", "allowed", {"NumericGreaterThanEquals": {DAYS: "30"}}, {DAYS: "30"}),
    asked("a number of a missing key", "denied", {"NumericGreaterThanEquals": {DAYS: "7"}}),
    asked("a value that is no number", "denied", {"NumericLessThan": {DAYS: "7"}}, {DAYS: "six"}),
]  # fmt: skip

NOW, EPOCH = "aws:CurrentTime", "aws:EpochTime"
NOON = {NOW: "2026-03-01T12:00:00Z", EPOCH: "1772366400"}
DATES = [
    asked("DateLessThan", "allowed", {"DateLessThan": {NOW: "2026-03-01T12:00:01Z"}}, NOON),
    asked("DateLessThan is strict", "denied", {"DateLessThan": {NOW: "2026-03-01T12:00:00Z"}}, NOON),
    asked("DateLessThanEquals is not", "allowed", {"DateLessThanEquals": {NOW: "2026-03-01T12:00:00.000Z"}}, NOON),
    asked("a date of another zone", "allowed", {"DateEquals": {NOW: "2026-03-01T14:30:00+02:30"}}, NOON),
    asked("a date without a time is midnight UTC", "allowed", {"DateGreaterThan": {NOW: "2026-03-01"}}, NOON),
    asked("a date in seconds since 1970", "allowed", {"DateEquals": {NOW: "1772366400"}}, NOON),
    asked("seconds since 1970 against a date", "allowed", {"DateGreaterThanEquals": {EPOCH: "2026-03-01T12:00:00Z"}}, NOON),
    asked("seconds since 1970 as a number", "allowed", {"NumericLessThan": {EPOCH: 1772366401}}, NOON),
    asked("DateNotEquals", "denied", {"DateNotEquals": {NOW: "2026-03-01T12:00:00Z"}}, NOON),
    asked("between two dates", "denied", {"DateGreaterThan": {NOW: "2026-01-01"}, "DateLessThan": {NOW: "2026-02-01"}}, NOON),
]  # fmt: skip

SSL, IP = "aws:SecureTransport", "aws:SourceIp"
OTHERS = [
    asked("Bool true", "allowed", {"Bool": {SSL: "true"}}, {SSL: "true"}),
    asked("Bool of a JSON boolean", "allowed", {"Bool": {SSL: True}}, {SSL: "true"}),
    asked("Bool in any case", "allowed", {"Bool": {SSL: "FALSE"}}, {SSL: "false"}),
    asked("Bool false", "denied", {"Bool": {SSL: "false"}}, {SSL: "true"}),
    asked("Bool of a missing key", "denied", {"Bool": {SSL: "false"}}),
    asked("BinaryEquals", "allowed", {"BinaryEquals": {"kms:X": "QmluYXJ5"}}, {"kms:X": "QmluYXJ5"}),
    asked("BinaryEquals of other bytes", "denied", {"BinaryEquals": {"kms:X": "QmluYXJ5"}}, {"kms:X": "QmluYXJ6"}),
    asked("an address in a network", "allowed", {"IpAddress": {IP: "203.0.113.0/24"}}, {IP: "203.0.113.77"}),
    asked("an address beside it", "denied", {"IpAddress": {IP: "203.0.113.0/24"}}, {IP: "203.0.114.77"}),
    asked("a network written with an address in it", "allowed", {"IpAddress": {IP: "203.0.113.5/24"}}, {IP: "203.0.113.77"}),
    asked("one address", "allowed", {"IpAddress": {IP: "203.0.113.77"}}, {IP: "203.0.113.77"}),
    asked("one of two networks", "allowed", {"IpAddress": {IP: ["10.0.0.0/8", "2001:db8::/32"]}}, {IP: "2001:db8:1::5"}),
    asked("IPv6 written differently", "allowed", {"IpAddress": {IP: "2001:DB8:0:0::1"}}, {IP: "2001:db8::1"}),
    asked("IPv4 is in no IPv6 network", "denied", {"IpAddress": {IP: "::/0"}}, {IP: "203.0.113.77"}),
    asked("an IPv4 address mapped into IPv6 is the IPv4 address", "allowed", {"IpAddress": {IP: "203.0.113.0/24"}}, {IP: "::ffff:203.0.113.77"}),
    asked("the whole of IPv4", "allowed", {"IpAddress": {IP: "0.0.0.0/0"}}, {IP: "203.0.113.77"}),
    asked("NotIpAddress", "denied", {"NotIpAddress": {IP: ["10.0.0.0/8", "203.0.113.0/24"]}}, {IP: "203.0.113.77"}),
    asked("NotIpAddress of a missing address", "allowed", {"NotIpAddress": {IP: "10.0.0.0/8"}}),
    asked("no address at all", "denied", {"IpAddress": {IP: "0.0.0.0/0"}}, {IP: "unix:/run/x"}),
    asked("Null true of a missing key", "allowed", {"Null": {DEPT: "true"}}),
    asked("Null true of a present key", "denied", {"Null": {DEPT: "true"}}, {DEPT: "hr"}),
    asked("Null false of a present key", "allowed", {"Null": {DEPT: False}}, {DEPT: "hr"}),
    asked("Null false of a missing key", "denied", {"Null": {DEPT: "false"}}),
    asked("Null true of a key without values", "allowed", {"Null": {"aws:TagKeys": "true"}}, {"aws:TagKeys": []}),
]  # fmt: skip

IF_EXISTS = [
    asked("IfExists of a missing key", "allowed", {"StringEqualsIfExists": {DEPT: "hr"}}),
    asked("IfExists of a present key", "denied", {"StringEqualsIfExists": {DEPT: "hr"}}, {DEPT: "it"}),
    asked("IfExists with addresses", "allowed", {"IpAddressIfExists": {IP: "10.0.0.0/8"}}),
    asked("IfExists with dates", "denied", {"DateLessThanIfExists": {NOW: "2026-01-01"}}, NOON),
    asked("IfExists and ForAnyValue of a missing key", "allowed", {"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "team"}}),
]  # fmt: skip

TAGS = "aws:TagKeys"
SETS = [
    asked("ForAllValues: all are listed", "allowed", {"ForAllValues:StringEquals": {TAGS: ["a", "b", "c"]}}, {TAGS: ["a", "b"]}),
    asked("ForAllValues: one is not", "denied", {"ForAllValues:StringEquals": {TAGS: ["a", "b"]}}, {TAGS: ["a", "d"]}),
    asked("ForAllValues of a missing key", "allowed", {"ForAllValues:StringEquals": {TAGS: "a"}}),
    asked("ForAllValues of no values", "allowed", {"ForAllValues:StringEquals": {TAGS: "a"}}, {TAGS: []}),
    asked("ForAllValues with Null, against a missing key", "denied", {"ForAllValues:StringEquals": {TAGS: "a"}, "Null": {TAGS: "false"}}),
    asked("ForAllValues of a single-valued key", "allowed", {"ForAllValues:StringLike": {DEPT: "h*"}}, {DEPT: "hr"}),
    asked("ForAnyValue: one is listed", "allowed", {"ForAnyValue:StringEquals": {TAGS: ["a", "x"]}}, {TAGS: ["a", "b"]}),
    asked("ForAnyValue: none is", "denied", {"ForAnyValue:StringEquals": {TAGS: ["x", "y"]}}, {TAGS: ["a", "b"]}),
    asked("ForAnyValue of a missing key", "denied", {"ForAnyValue:StringEquals": {TAGS: "a"}}),
    asked("ForAnyValue, negated, of a missing key", "denied", {"ForAnyValue:StringNotEquals": {TAGS: "a"}}),
    asked("ForAnyValue, negated: one is not listed", "allowed", {"ForAnyValue:StringNotEquals": {TAGS: "a"}}, {TAGS: ["a", "b"]}),
    asked("ForAllValues, negated: one is listed", "denied", {"ForAllValues:StringNotEquals": {TAGS: "a"}}, {TAGS: ["a", "b"]}),
    asked("ForAllValues, negated: none is", "allowed", {"ForAllValues:StringNotLike": {TAGS: "x*"}}, {TAGS: ["a", "b"]}),
    asked("several values without a set operator do not allow", "denied", {"StringEquals": {TAGS: ["a", "b"]}}, {TAGS: ["a", "b"]}),
    asked("nor does a negated operator", "denied", {"StringNotEquals": {TAGS: "x"}}, {TAGS: ["a", "b"]}),
    row(
        "several values without a set operator deny when one would", "denied", key=[allow(ALICE), deny(ALICE, Condition={"StringEquals": {TAGS: "b"}})], context={TAGS: ["a", "b"]}
    ),
    row("a negated operator too", "denied", key=[allow(ALICE), deny(ALICE, Condition={"StringNotEquals": {TAGS: "b"}})], context={TAGS: ["a", "b"]}),
]  # fmt: skip

TEAM, OWNER = "aws:PrincipalTag/team", "aws:ResourceTag/team"
VARIABLES = [
    asked("a principal's tag equals the resource's", "allowed", {"StringEquals": {OWNER: "${aws:PrincipalTag/team}"}}, {TEAM: "a", OWNER: "a"}),
    asked("a principal's tag does not", "denied", {"StringEquals": {OWNER: "${aws:PrincipalTag/team}"}}, {TEAM: "a", OWNER: "b"}),
    asked("a variable's case does not matter", "allowed", {"StringEquals": {OWNER: "${AWS:principaltag/TEAM}"}}, {TEAM: "a", OWNER: "a"}),
    asked("a variable within text", "allowed", {"StringLike": {OWNER: "x-${aws:PrincipalTag/team}-*"}}, {TEAM: "a", OWNER: "x-a-y"}),
    asked("a star that a variable brings is a star", "denied", {"StringLike": {OWNER: "${aws:PrincipalTag/team}"}}, {TEAM: "*", OWNER: "a"}),
    asked("a variable without a value equals nothing", "denied", {"StringEquals": {OWNER: "${aws:PrincipalTag/team}"}}, {OWNER: ""}),
    asked("a variable without a value is not equal", "allowed", {"StringNotEquals": {OWNER: "${aws:PrincipalTag/team}"}}, {OWNER: "a"}),
    asked("a default value", "allowed", {"StringEquals": {OWNER: "${aws:PrincipalTag/team, 'open'}"}}, {OWNER: "open"}),
    asked("a default value that is not needed", "denied", {"StringEquals": {OWNER: "${aws:PrincipalTag/team, 'open'}"}}, {TEAM: "a", OWNER: "open"}),
    asked("a default value for a key without values", "allowed", {"StringEquals": {OWNER: "${aws:TagKeys, 'open'}"}}, {OWNER: "open", TAGS: []}),
    asked("a variable in another case", "allowed", {"StringEqualsIgnoreCase": {OWNER: "X${aws:PrincipalTag/team}"}}, {TEAM: "a", OWNER: "xA"}),
    asked("an empty default value", "allowed", {"StringEquals": {OWNER: "${aws:PrincipalTag/team, ''}x"}}, {OWNER: "x"}),
    asked("an escaped star", "allowed", {"StringLike": {OWNER: "a${*}"}}, {OWNER: "a*"}),
    asked("an escaped star is no wildcard", "denied", {"StringLike": {OWNER: "a${*}"}}, {OWNER: "ab"}),
    asked("escaped question mark and dollar", "allowed", {"StringLike": {OWNER: "${?}${$}{x}"}}, {OWNER: "?${x}"}),
    asked("a multi-valued key is no variable", "denied", {"StringEquals": {OWNER: "${aws:TagKeys}"}}, {OWNER: "a", TAGS: ["a"]}),
    asked("the old version takes a variable for text", "allowed", {"StringEquals": {OWNER: "${aws:username}"}}, {OWNER: "${aws:username}"}, version="2008-10-17"),
    asked("the old version does not close it either", "allowed", {"StringEquals": {OWNER: "${aws"}}, {OWNER: "${aws"}, version="2008-10-17"),
]  # fmt: skip


@table(STRINGS + ARNS + NUMBERS + DATES + OTHERS + IF_EXISTS + SETS + VARIABLES)
def test_condition(row):
    check(row)


def test_the_tables_hold_enough_cases():
    from policy import test_documented_examples, test_trust

    tables = [STRINGS, ARNS, NUMBERS, DATES, OTHERS, IF_EXISTS, SETS, VARIABLES, test_documented_examples.EXAMPLES]
    tables += [value for name, value in vars(test_trust).items() if name.isupper() and isinstance(value, list)]
    assert sum(map(len, tables)) >= 150


@pytest.mark.parametrize("pattern", ["*a" * 900 + "b", "?a" * 90 + "*" + "?a" * 9 + "b", "*" * 900 + "b"])
def test_hostile_patterns_cost_little(pattern):
    check(asked("", "denied", {"StringLike": {DEPT: pattern}}, {DEPT: "a" * 8000}, on=KEY))
