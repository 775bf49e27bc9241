"""Random policies and requests, drawn so that about a third is allowed: the food of the oracle and of the property tests."""

import random
from dataclasses import dataclass

A, B, C = "111122223333", "444455556666", "777788889999"
KEY = f"arn:aws:kms:eu-central-1:{A}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = f"arn:aws:kms:eu-central-1:{A}:key/99999999-12ab-34cd-56ef-1234567890ab"
ALIAS = f"arn:aws:kms:eu-central-1:{A}:alias/team/payments"

KEY_ACTIONS = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey", "kms:CreateGrant",
               "kms:PutKeyPolicy", "kms:TagResource", "kms:ScheduleKeyDeletion")  # fmt: skip
ALIAS_ACTIONS = ("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias")
ACCOUNT_ACTIONS = ("kms:CreateKey", "kms:ListKeys", "kms:ListAliases", "kms:GenerateRandom")

ACTION_PATTERNS = (*KEY_ACTIONS, *ALIAS_ACTIONS, *ACCOUNT_ACTIONS, "kms:*", "kms:*", "*", "kms:ReEncrypt*", "kms:*crypt*",
                   "kms:?ncrypt", "kms:*Alias", "kms:List*", "kms:de*", "kms:DECRYPT", "s3:GetObject", "kms:?e*t")  # fmt: skip
RESOURCE_PATTERNS = ("*", "*", "*", "*", KEY, KEY, OTHER_KEY, ALIAS, f"arn:aws:kms:*:{A}:key/*", f"arn:aws:kms:*:{A}:*",
                     "arn:aws:kms:eu-*-1:*:key/1234abcd-*", "arn:aws:kms:*:*:alias/team/*", "arn:aws:kms:*", "arn:aws:*",
                     f"arn:aws:kms:eu-central-1:{B}:key/*", "arn:aws:kms:*:*:key/????abcd-*-1234567890ab",
                     f"arn:aws:kms:*:{A}:alias/${{aws:PrincipalTag/team}}/*", "arn:aws:kms:*:*:key/${aws:ResourceTag/none, '1234abcd'}-*",
                     "arn:aws:s3:::bucket/*")  # fmt: skip


def root(account):
    return f"arn:aws:iam::{account}:root"


def users(account):
    return (
        f"arn:aws:iam::{account}:user/alice",
        f"arn:aws:iam::{account}:user/path/bob",
        f"arn:aws:iam::{account}:role/Rewrapper",
        f"arn:aws:sts::{account}:assumed-role/Rewrapper/session-1",
        f"arn:aws:sts::{account}:assumed-role/Batch/night",
    )


ENTRIES = tuple(
    entry
    for account in (A, B)
    for entry in (root(account), account, *users(account), f"arn:aws:iam::{account}:role/service/Batch")
)

CONTEXT_VALUES = {
    "kms:EncryptionContext:Dept": ("finance", "research", "Finance"),
    "kms:EncryptionAlgorithm": ("SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256"),
    "kms:RequestAlias": ("alias/team/payments", "alias/other"),
    "kms:KeySpec": ("SYMMETRIC_DEFAULT", "RSA_2048"),
    "kms:CallerAccount": (A, B),
    "kms:ReEncryptOnSameKey": ("true", "false"),
    "kms:ScheduleKeyDeletionPendingWindowInDays": ("7", "14", "30"),
    "aws:PrincipalArn": (*users(A), *users(B)),
    "aws:PrincipalAccount": (A, B),
    "aws:PrincipalTag/team": ("team", "payments", "*"),
    "aws:ResourceTag/team": ("team", "payments"),
    "aws:RequestTag/team": ("team", "x"),
    "aws:SourceIp": ("10.1.2.3", "192.0.2.77", "203.0.113.9", "2001:db8::1"),
    "aws:CurrentTime": ("2026-03-01T12:00:00Z", "2027-01-01T00:00:00Z"),
    "aws:EpochTime": ("1772366400", "1798761600"),
    "aws:SecureTransport": ("true", "false"),
    "aws:SourceAccount": (A,),
}
MULTI_VALUES = {
    "kms:EncryptionContextKeys": ("Dept", "Owner", "Secret"),
    "kms:GrantOperations": ("Encrypt", "Decrypt", "CreateGrant"),
    "kms:ResourceAliases": ("alias/team/payments", "alias/other", "alias/team/x"),
    "aws:TagKeys": ("team", "Owner"),
}
PATTERNS = ("fin*", "*", "?inance", "${aws:PrincipalTag/team}", "alias/team/*", "RSA*", "FINANCE", "${*}",
            "${aws:PrincipalTag/none, 'finance'}", "${aws:PrincipalTag/none}", "${aws:PrincipalTag/team, 'x'}")  # fmt: skip
ARN_PATTERNS = (*ENTRIES[2:7], f"arn:aws:iam::{A}:*", "arn:aws:iam::*:role/*", f"arn:aws:*::{B}:*",
                "arn:aws:iam::*:user/${aws:PrincipalTag/none, 'alice'}", "arn:aws:iam::*:user/*b*")  # fmt: skip


@dataclass(frozen=True)
class Case:
    principal: str
    account: str
    action: str
    resource: str
    resource_account: str
    context: dict
    key_policy: dict | None
    identity_policies: list


class Draw:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, probability):
        return self.random.random() < probability

    def some(self, choices, most=3):
        drawn = [self.random.choice(choices) for _ in range(self.random.randint(1, most))]
        return drawn[0] if len(drawn) == 1 and self.chance(0.7) else drawn

    def test(self):
        quantifier = ""
        draw = self.random.random()
        if draw < 0.25:
            key = self.random.choice(list(MULTI_VALUES))
            quantifier = self.random.choice(("ForAnyValue:", "ForAllValues:", "ForAllValues:", "ForAnyValue:", ""))
            operator, choices = self.string_operator(MULTI_VALUES[key])
        elif draw < 0.35:
            key, operator = (
                "aws:PrincipalArn",
                self.random.choice(("ArnLike", "ArnEquals", "ArnNotLike", "ArnNotEquals")),
            )
            choices = ARN_PATTERNS
        elif draw < 0.42:
            key = self.random.choice(("kms:ScheduleKeyDeletionPendingWindowInDays", "aws:EpochTime"))
            operator = "Numeric" + self.comparison()
            choices = ("7", "10", "14", "30", "1772366400", "1780000000", "7.0")
        elif draw < 0.49:
            key, operator = "aws:CurrentTime", "Date" + self.comparison()
            choices = ("2026-03-01T12:00:00Z", "2026-06-01T00:00:00Z", "2026-03-01T13:00:00+01:00", "2028-01-01")
        elif draw < 0.56:
            key, operator = "aws:SourceIp", self.random.choice(("IpAddress", "NotIpAddress"))
            choices = ("10.0.0.0/8", "192.0.2.0/24", "203.0.113.9", "203.0.113.9/32", "2001:db8::/32", "0.0.0.0/0")
        elif draw < 0.63:
            key, operator = self.random.choice(("kms:ReEncryptOnSameKey", "aws:SecureTransport")), "Bool"
            choices = ("true", "false", "TRUE")
        elif draw < 0.70:
            key, operator = self.random.choice([*CONTEXT_VALUES, *MULTI_VALUES]), "Null"
            return operator, key, self.random.choice(("true", "false"))
        else:
            key = self.random.choice(list(CONTEXT_VALUES))
            if self.chance(0.1):
                quantifier = self.random.choice(("ForAnyValue:", "ForAllValues:"))
            operator, choices = self.string_operator(CONTEXT_VALUES[key])
        if self.chance(0.15):
            operator += "IfExists"
        if self.chance(0.2):
            key = key.upper() if self.chance(0.5) else key.lower()
        return quantifier + operator, key, self.some(choices)

    def comparison(self):
        return self.random.choice(
            ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
        )

    def string_operator(self, values):
        operator = self.random.choice(("StringEquals", "StringNotEquals", "StringLike", "StringNotLike",
                                       "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"))  # fmt: skip
        return operator, (*values, *values, *PATTERNS)

    def condition(self):
        condition = {}
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            operator, key, values = self.test()
            condition.setdefault(operator, {})[key] = values
        return condition

    def statement(self, *, key_policy):
        statement = {"Effect": "Deny" if self.chance(0.2) else "Allow"}
        if key_policy:
            if statement["Effect"] == "Deny" and self.chance(0.4):
                statement["NotPrincipal"] = {"AWS": self.some(ENTRIES, 4)}
            elif self.chance(0.15):
                statement["Principal"] = self.random.choice(("*", {"AWS": "*"}))
            elif self.chance(0.1):
                statement["Principal"] = {"Service": "s3.amazonaws.com"}
            else:
                statement["Principal"] = {"AWS": self.some(ENTRIES, 4)}
        statement["NotAction" if self.chance(0.1) else "Action"] = self.some(ACTION_PATTERNS, 4)
        statement["NotResource" if self.chance(0.1) else "Resource"] = self.some(RESOURCE_PATTERNS)
        if self.chance(0.45):
            statement["Condition"] = self.condition()
        return statement

    def policy(self, *, key_policy):
        statements = [self.statement(key_policy=key_policy) for _ in range(self.random.randint(1, 4))]
        if key_policy and self.chance(0.3):
            trusted = self.random.choice((A, A, B))
            statements.append(
                {"Effect": "Allow", "Principal": {"AWS": root(trusted)}, "Action": "kms:*", "Resource": "*"}
            )
        return {"Version": "2012-10-17", "Statement": statements[0] if len(statements) == 1 else statements}

    def context(self):
        context = {key: self.random.choice(values) for key, values in CONTEXT_VALUES.items() if self.chance(0.55)}
        for key, values in MULTI_VALUES.items():
            if self.chance(0.55):
                context[key] = self.random.sample(values, self.random.randint(1, len(values)))
        return context

    def case(self):
        account = A if self.chance(0.6) else B
        kind = self.random.random()
        context = self.context()
        key_policy = None
        if kind < 0.8:
            action, resource, owner = self.random.choice(KEY_ACTIONS), KEY, A
            key_policy = self.policy(key_policy=True)
        elif kind < 0.9:
            action, resource, owner = self.random.choice(ALIAS_ACTIONS), ALIAS, A
        else:
            action, resource, owner = self.random.choice(ACCOUNT_ACTIONS), "*", account
            context = {key: value for key, value in context.items() if not key.startswith("kms:")}
        principal = root(account) if self.chance(0.03) else self.random.choice(users(account))
        identity = [self.policy(key_policy=False) for _ in range(self.random.choice((0, 1, 1, 1, 2)))]
        return Case(principal, account, action, resource, owner, context, key_policy, identity)
