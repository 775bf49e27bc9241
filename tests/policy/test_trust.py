"""Who is allowed: key policies, identity policies and grants together, in one account and across."""

# ruff: noqa: E501 - tables, a case a line

import pytest

from hsmkms.core.errors import MalformedPolicyDocumentException
from hsmkms.core.policy.decision import Reason, check_lockout, default_key_policy
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.evaluate import Facts
from policy.deciding import ALICE, NOBODY, allow, check, decide_case, deny, identity_policy, key_policy, row, table
from policy.random_cases import ALIAS, KEY, OTHER_KEY, A, B, C, root

BOB = f"arn:aws:iam::{A}:user/path/bob"
ROLE = f"arn:aws:iam::{A}:role/service/Rewrapper"
SESSION = f"arn:aws:sts::{A}:assumed-role/Rewrapper/session-1"
OTHER_SESSION = f"arn:aws:sts::{A}:assumed-role/Rewrapper/session-2"
FOREIGNER = f"arn:aws:iam::{B}:user/zoe"
FOREIGN_SESSION = f"arn:aws:sts::{B}:assumed-role/Rewrapper/session-1"
MINE = allow(None)  # an identity policy that allows everything of KMS

SAME_ACCOUNT = [
    row("without any policy nothing is allowed", "denied"),
    row("a key policy that names the user suffices", "allowed", key=[allow(ALICE)]),
    row("a key policy that names the user does not help another", "denied", key=[allow(ALICE)], who=BOB),
    row("a user with a path is named with the path", "allowed", key=[allow(BOB)], who=BOB),
    row("a user with a path is not named without it", "denied", key=[allow(f"arn:aws:iam::{A}:user/bob")], who=BOB),
    row("a list of principals names each", "allowed", key=[allow([ALICE, BOB])], who=BOB),
    row("an identity policy alone is not enough for a key", "denied", identity=[MINE]),
    row("the account's root in the key policy delegates to an identity policy", "allowed", key=[allow(root(A))], identity=[MINE]),
    row("the account's number delegates as its root does", "allowed", key=[allow(A)], identity=[MINE]),
    row("delegation alone allows nobody", "denied", key=[allow(root(A))]),
    row("delegation to another account does not reach one's own", "denied", key=[allow(root(B))], identity=[MINE]),
    row("delegation of another action does not help", "denied", key=[allow(root(A), "kms:Encrypt")], identity=[MINE]),
    row("an identity policy for another action does not help", "denied", key=[allow(root(A))], identity=[allow(None, "kms:Encrypt")]),
    row("an identity policy for another key does not help", "denied", key=[allow(root(A))], identity=[allow(None, "kms:*", OTHER_KEY)]),
    row("an identity policy may name the key", "allowed", key=[allow(root(A))], identity=[allow(None, "kms:*", KEY)]),
    row("one of several identity policies suffices", "allowed", key=[allow(root(A))], identity=[allow(None, "s3:*"), MINE]),
    row("everyone in the key policy includes a user without identity policies", "allowed", key=[allow("*")]),
    row("everyone may be written as an AWS principal", "allowed", key=[allow({"AWS": "*"})]),
    row("everyone in a list of others", "allowed", key=[allow([NOBODY, "*"])]),
    row("everyone of one account, by a condition", "allowed", key=[allow("*", Condition={"StringEquals": {"kms:CallerAccount": A}})], context={"kms:CallerAccount": A}),
    row(
        "everyone of one account leaves out the others",
        "denied",
        identity=[MINE],
        who=FOREIGNER,
        key=[allow("*", Condition={"StringEquals": {"kms:CallerAccount": A}})],
        context={"kms:CallerAccount": B},
    ),
    row(
        "everyone by a pattern of principal ARNs",
        "allowed",
        who=SESSION,
        key=[allow("*", Condition={"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{A}:role/*"}})],
        context={"aws:PrincipalArn": f"arn:aws:iam::{A}:role/Rewrapper"},
    ),
    row(
        "everyone by a pattern of principal ARNs, which a user does not match",
        "denied",
        key=[allow("*", Condition={"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{A}:role/*"}})],
        context={"aws:PrincipalArn": ALICE},
    ),
    row("a service principal is nobody here", "denied", key=[allow({"Service": "s3.amazonaws.com"})]),
    row("a federated principal is nobody here", "denied", key=[allow({"Federated": "cognito-identity.amazonaws.com"})]),
    row("a canonical user is nobody here", "denied", key=[allow({"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"})]),
    row("a service beside a user leaves the user in", "allowed", key=[allow({"Service": "s3.amazonaws.com", "AWS": ALICE})]),
    row("a deny for a service denies nobody", "allowed", key=[allow(ALICE), deny({"Service": "s3.amazonaws.com"})]),
]  # fmt: skip

ROLES = [
    row("a role's entry means its sessions", "allowed", key=[allow(ROLE)], who=SESSION),
    row("a role's entry means the role itself", "allowed", key=[allow(ROLE)], who=ROLE),
    row("a role's entry does not mean another role's session", "denied", key=[allow(ROLE)], who=f"arn:aws:sts::{A}:assumed-role/Other/session-1"),
    row("a role's entry does not mean a role of the same name elsewhere", "denied", key=[allow(ROLE)], identity=[MINE], who=FOREIGN_SESSION),
    row("a session's entry means that session", "allowed", key=[allow(SESSION)], who=SESSION),
    row("a session's entry means no other session", "denied", key=[allow(SESSION)], who=OTHER_SESSION),
    row("a role's name is part of another's and still another role", "denied", key=[allow(f"arn:aws:iam::{A}:role/Rewrap")], who=SESSION),
    row("a user is no role of the same name", "denied", key=[allow(f"arn:aws:iam::{A}:role/alice")]),
    row("a federated user is named by its ARN", "allowed", key=[allow(f"arn:aws:sts::{A}:federated-user/ann")], who=f"arn:aws:sts::{A}:federated-user/ann"),
    row("a session is delegated to as a user is", "allowed", key=[allow(root(A))], identity=[MINE], who=SESSION),
    row("a deny for a role denies its sessions", "denied", key=[allow("*"), deny(ROLE)], who=SESSION),
]  # fmt: skip

DENIES = [
    row("a deny in the key policy wins over its allow", "denied", key=[allow(ALICE), deny(ALICE)]),
    row("a deny wins whatever the order", "denied", key=[deny(ALICE), allow(ALICE)]),
    row("a deny for another user does not matter", "allowed", key=[allow(ALICE), deny(BOB)]),
    row("a deny for the account denies each of its users", "denied", key=[allow(ALICE), deny(root(A))]),
    row("a deny for the account's number too", "denied", key=[allow(ALICE), deny(A)]),
    row("a deny for another account does not matter", "allowed", key=[allow(ALICE), deny(root(B))]),
    row("a deny for everyone denies", "denied", key=[allow(ALICE), deny("*")]),
    row("a deny of another action does not matter", "allowed", key=[allow(ALICE), deny("*", "kms:Encrypt")]),
    row("a deny for another resource does not matter", "allowed", key=[allow(ALICE), deny("*", "kms:*", OTHER_KEY)]),
    row(
        "a deny whose condition does not hold does not matter",
        "allowed",
        key=[allow(ALICE), deny("*", Condition={"Bool": {"aws:SecureTransport": "false"}})],
        context={"aws:SecureTransport": "true"},
    ),
    row(
        "a deny whose condition holds denies",
        "denied",
        key=[allow(ALICE), deny("*", Condition={"Bool": {"aws:SecureTransport": "false"}})],
        context={"aws:SecureTransport": "false"},
    ),
    row("a deny in an identity policy wins over the key policy", "denied", key=[allow(ALICE)], identity=[deny(None)]),
    row("a deny in an identity policy wins over another's allow", "denied", key=[allow(root(A))], identity=[MINE, deny(None)]),
    row("a deny in the first of two identity policies wins too", "denied", key=[allow(root(A))], identity=[deny(None), MINE]),
    row("a deny with NotPrincipal spares the one it names", "allowed", key=[allow([ALICE, BOB]), deny(None, NotPrincipal={"AWS": [ALICE, root(A)]})]),
    row("a deny with NotPrincipal hits the others", "denied", who=BOB, key=[allow([ALICE, BOB]), deny(None, NotPrincipal={"AWS": [ALICE, root(A)]})]),
    row("a deny with NotPrincipal of the account alone hits its users", "denied", key=[allow(ALICE), deny(None, NotPrincipal={"AWS": root(A)})]),
    row("a deny with NotPrincipal of the account spares its root", "allowed", who=root(A), key=[allow(root(A)), deny(None, NotPrincipal={"AWS": A})]),
    row("a deny with NotPrincipal of a role spares its sessions", "allowed", who=SESSION, key=[allow(ROLE), deny(None, NotPrincipal={"AWS": [ROLE, root(A)]})]),
    row("a deny with NotPrincipal of one session hits another", "denied", who=OTHER_SESSION, key=[allow(ROLE), deny(None, NotPrincipal={"AWS": SESSION})]),
    row("a deny with NotPrincipal of a service hits everyone", "denied", key=[allow(ALICE), deny(None, NotPrincipal={"Service": "s3.amazonaws.com"})]),
    row("a deny with NotPrincipal hits foreigners", "denied", who=FOREIGNER, identity=[MINE], key=[allow("*"), deny(None, NotPrincipal={"AWS": ALICE})]),
]  # fmt: skip

ACROSS = [
    row("both sides allow: the key policy names the foreigner, whose account agrees", "allowed", who=FOREIGNER, key=[allow(FOREIGNER)], identity=[MINE]),
    row("the key policy names the foreigner, whose account is silent", "denied", who=FOREIGNER, key=[allow(FOREIGNER)]),
    row("the key policy names the foreign account, which agrees", "allowed", who=FOREIGNER, key=[allow(root(B))], identity=[MINE]),
    row("the key policy names the foreign account, which is silent", "denied", who=FOREIGNER, key=[allow(root(B))]),
    row("the key policy is silent, the foreign account agrees", "denied", who=FOREIGNER, identity=[MINE]),
    row("the key policy names a third account", "denied", who=FOREIGNER, key=[allow(root(C))], identity=[MINE]),
    row("everyone is not enough across accounts", "denied", who=FOREIGNER, key=[allow("*")]),
    row("everyone and the foreign account's consent are", "allowed", who=FOREIGNER, key=[allow("*")], identity=[MINE]),
    row("the owner's delegation to itself is none to others", "denied", who=FOREIGNER, key=[allow(root(A))], identity=[MINE]),
    row("the foreign account consents to another key only", "denied", who=FOREIGNER, key=[allow(root(B))], identity=[allow(None, "kms:*", OTHER_KEY)]),
    row("the foreign account consents to this key by its ARN", "allowed", who=FOREIGNER, key=[allow(root(B))], identity=[allow(None, "kms:*", KEY)]),
    row("the foreign account denies", "denied", who=FOREIGNER, key=[allow(FOREIGNER)], identity=[MINE, deny(None)]),
    row("the key policy denies the foreign account", "denied", who=FOREIGNER, key=[allow(FOREIGNER), deny(root(B))], identity=[MINE]),
    row("a foreign role's session, both sides allowing", "allowed", who=FOREIGN_SESSION, key=[allow(f"arn:aws:iam::{B}:role/Rewrapper")], identity=[MINE]),
    row("the root of a trusted foreign account", "allowed", who=root(B), key=[allow(root(B))]),
    row("the root of a foreign account that is not trusted", "denied", who=root(B), key=[allow(root(A))]),
    row("ReEncryptTo on a foreign key that takes only ciphertexts", "allowed", who=FOREIGNER, does="kms:ReEncryptTo", key=[allow(root(B), "kms:ReEncryptTo")], identity=[MINE]),
    row("ReEncryptFrom on that key", "denied", who=FOREIGNER, does="kms:ReEncryptFrom", key=[allow(root(B), "kms:ReEncryptTo")], identity=[MINE]),
]  # fmt: skip

GRANTS = [
    row("a grant suffices in the key's account", "allowed", grant="g1"),
    row("a grant needs no identity policy", "allowed", grant="g1", key=[allow(root(A))]),
    row("no grant whose constraints hold, so none", "denied", grant=""),
    row("a deny in the key policy wins over a grant", "denied", grant="g1", key=[deny(ALICE)]),
    row("a deny for the account wins over a grant", "denied", grant="g1", key=[deny(root(A))]),
    row("a deny in an identity policy wins over a grant", "denied", grant="g1", identity=[deny(None)]),
    row(
        "a deny with an encryption context wins over a grant in that context",
        "denied",
        grant="g1",
        key=[deny("*", Condition={"StringEquals": {"kms:EncryptionContext:Dept": "hr"}})],
        context={"kms:EncryptionContext:Dept": "hr"},
    ),
    row(
        "and leaves the grant alone in another",
        "allowed",
        grant="g1",
        key=[deny("*", Condition={"StringEquals": {"kms:EncryptionContext:Dept": "hr"}})],
        context={"kms:EncryptionContext:Dept": "it"},
    ),
    row("a grant to a foreigner needs the foreign account's consent", "denied", grant="g1", who=FOREIGNER),
    row("and works with it", "allowed", grant="g1", who=FOREIGNER, identity=[MINE]),
    row("a deny of the foreign account wins over the grant", "denied", grant="g1", who=FOREIGNER, identity=[MINE, deny(None)]),
    row("the root of a foreign account with a grant", "allowed", grant="g1", who=root(B)),
]  # fmt: skip

ROOTS = [
    row("a key policy that names the account allows its root", "allowed", who=root(A), key=[allow(root(A))]),
    row("a key policy that names only a user does not allow the root", "denied", who=root(A), key=[allow(ALICE)]),
    row("a deny for the root's account denies the root", "denied", who=root(A), key=[allow(root(A)), deny(root(A))]),
    row("the root may do in its account what takes no key", "allowed", who=root(A), key=None, on="*", does="kms:CreateKey"),
    row("the root may not in another account", "denied", who=root(B), key=None, on=ALIAS, does="kms:CreateAlias"),
    row("a user is not the root for being called so", "denied", who=f"arn:aws:iam::{A}:user/root", key=[allow(root(A))]),
]  # fmt: skip

WITHOUT_A_KEY = [
    row("CreateKey by an identity policy", "allowed", key=None, on="*", does="kms:CreateKey", identity=[allow(None, "kms:CreateKey")]),
    row("CreateKey without one", "denied", key=None, on="*", does="kms:CreateKey"),
    row("CreateKey against a deny", "denied", key=None, on="*", does="kms:CreateKey", identity=[MINE, deny(None, "kms:Create*")]),
    row("GenerateRandom by an identity policy", "allowed", key=None, on="*", does="kms:GenerateRandom", identity=[MINE]),
    row("ListKeys is not covered by an allowance for one key", "denied", key=None, on="*", does="kms:ListKeys", identity=[allow(None, "kms:*", KEY)]),
    row("ListKeys is not covered by an allowance for every key's ARN", "denied", key=None, on="*", does="kms:ListKeys", identity=[allow(None, "kms:*", "arn:aws:kms:*:*:*")]),
    row("ListAliases by the action's pattern", "allowed", key=None, on="*", does="kms:ListAliases", identity=[allow(None, "kms:List*")]),
    row("CreateAlias on an alias by its ARN", "allowed", key=None, on=ALIAS, does="kms:CreateAlias", identity=[allow(None, "kms:CreateAlias", ALIAS)]),
    row("CreateAlias on an alias by a pattern", "allowed", key=None, on=ALIAS, does="kms:CreateAlias", identity=[allow(None, "kms:*Alias", f"arn:aws:kms:*:{A}:alias/team/*")]),
    row("CreateAlias on another team's alias", "denied", key=None, on=ALIAS, does="kms:CreateAlias", identity=[allow(None, "kms:*Alias", f"arn:aws:kms:*:{A}:alias/other/*")]),
    row("a foreign alias is out of reach", "denied", key=None, on=ALIAS, does="kms:DeleteAlias", who=FOREIGNER, identity=[MINE]),
    row(
        "CreateKey of one key spec only",
        "allowed",
        key=None,
        on="*",
        does="kms:CreateKey",
        context={"kms:KeySpec": "SYMMETRIC_DEFAULT"},
        identity=[allow(None, "kms:CreateKey", Condition={"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}})],
    ),
    row(
        "CreateKey of another",
        "denied",
        key=None,
        on="*",
        does="kms:CreateKey",
        context={"kms:KeySpec": "RSA_2048"},
        identity=[allow(None, "kms:CreateKey", Condition={"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}})],
    ),
]  # fmt: skip

ACTIONS_AND_RESOURCES = [
    row("an action's case does not matter", "allowed", key=[allow(ALICE, "KMS:decrypt")]),
    row("a star matches the rest of an action", "allowed", key=[allow(ALICE, "kms:ReEncrypt*")], does="kms:ReEncryptFrom"),
    row("a question mark is one character", "allowed", key=[allow(ALICE, "kms:?ecrypt")]),
    row("a question mark is not none", "denied", key=[allow(ALICE, "kms:?Decrypt")]),
    row("kms:ReEncrypt without a star is neither From nor To", "denied", key=[allow(ALICE, "kms:ReEncrypt")], does="kms:ReEncryptTo"),
    row("every action of every service", "allowed", key=[allow(ALICE, "*")]),
    row("another service's actions are not KMS's", "denied", key=[allow(ALICE, "s3:*")]),
    row("NotAction leaves out what it names", "denied", key=[allow(ALICE, NotAction="kms:Decrypt")]),
    row("NotAction takes in the rest", "allowed", key=[allow(ALICE, NotAction=["kms:Encrypt", "kms:Put*"])]),
    row("a deny with NotAction leaves only what it names", "denied", key=[allow(ALICE), deny(ALICE, NotAction="kms:Encrypt")]),
    row("a key policy may name its key", "allowed", key=[allow(ALICE, "kms:*", KEY)]),
    row("a key policy that names another key says nothing", "denied", key=[allow(ALICE, "kms:*", OTHER_KEY)]),
    row("stars in Region and key id", "allowed", key=[allow(ALICE, "kms:*", f"arn:aws:kms:*:{A}:key/*")]),
    row("a star does not reach over a colon", "denied", key=[allow(ALICE, "kms:*", "arn:aws:k*:*:*:*:*")]),
    row("a short ARN that ends in a star is as good as the long one", "allowed", key=[allow(ALICE, "kms:*", "arn:aws:kms:*")]),
    row("an ARN's case matters", "denied", key=[allow(ALICE, "kms:*", KEY.upper().replace("ARN:AWS:KMS", "arn:aws:kms"))]),
    row("keys only is not aliases", "denied", key=None, on=ALIAS, does="kms:CreateAlias", identity=[allow(None, "kms:*", f"arn:aws:kms:*:{A}:key/*")]),
    row("NotResource leaves out what it names", "denied", key=[allow(ALICE, NotResource=KEY)]),
    row("NotResource takes in the rest", "allowed", key=[allow(ALICE, NotResource=OTHER_KEY)]),
    row("a deny with NotResource spares what it names", "allowed", key=[allow(ALICE), deny(ALICE, NotResource=[KEY, OTHER_KEY])]),
    row(
        "a variable in a resource",
        "allowed",
        key=None,
        on=ALIAS,
        does="kms:CreateAlias",
        context={"aws:PrincipalTag/team": "team"},
        identity=[allow(None, "kms:*", f"arn:aws:kms:*:{A}:alias/${{aws:PrincipalTag/team}}/*")],
    ),
    row(
        "a variable without a value in an allow",
        "denied",
        key=None,
        on=ALIAS,
        does="kms:CreateAlias",
        identity=[allow(None, "kms:*", f"arn:aws:kms:*:{A}:alias/${{aws:PrincipalTag/team}}/*")],
    ),
    row(
        "a star that a variable brings is no wildcard",
        "denied",
        key=None,
        on=ALIAS,
        does="kms:CreateAlias",
        context={"aws:PrincipalTag/team": "*"},
        identity=[allow(None, "kms:*", f"arn:aws:kms:*:{A}:alias/${{aws:PrincipalTag/team}}/*")],
    ),
    row("a NotResource whose variable has no value does not allow", "denied", key=[allow(ALICE, NotResource=f"arn:aws:kms:*:{A}:alias/${{aws:username}}")]),
    row("a NotResource whose variable has no value denies", "denied", key=[allow(ALICE), deny(ALICE, NotResource=f"arn:aws:kms:*:{A}:key/${{aws:username}}")]),
    row(
        "the old version knows no variables",
        "denied",
        key=None,
        on=ALIAS,
        does="kms:CreateAlias",
        context={"aws:PrincipalTag/team": "team"},
        version="2008-10-17",
        identity=[allow(None, "kms:*", f"arn:aws:kms:*:{A}:alias/${{aws:PrincipalTag/team}}/*")],
    ),
    row("the old version allows as the new one", "allowed", key=[allow(ALICE)], version="2008-10-17"),
]  # fmt: skip


@table(SAME_ACCOUNT + ROLES + DENIES + ACROSS + GRANTS + ROOTS + WITHOUT_A_KEY + ACTIONS_AND_RESOURCES)
def test_decision(row):
    check(row)


REASONS = [
    (row("", "denied", key=[deny(ALICE, Sid="No Alice")]), Reason.DENIED_BY_KEY_POLICY, "No Alice"),
    (row("", "denied", identity=[deny(None)]), Reason.DENIED_BY_IDENTITY_POLICY, "Statement[0]"),
    (row("", "allowed", key=[allow(NOBODY), allow(ALICE)]), Reason.ALLOWED_BY_KEY_POLICY, "Statement[1]"),
    (row("", "allowed", grant="grant-7"), Reason.ALLOWED_BY_GRANT, "grant-7"),
    (row("", "allowed", key=[allow(A)], identity=[MINE]), Reason.ALLOWED_BY_IDENTITY_POLICY, "Statement[0]"),
    (row("", "allowed", key=[allow(B, Sid="B")], identity=[MINE], who=FOREIGNER), Reason.ALLOWED_BY_BOTH_ACCOUNTS, "B"),
    (row("", "allowed", key=None, on="*", identity=[MINE]), Reason.ALLOWED_IN_ACCOUNT, "Statement[0]"),
    (row("", "allowed", key=None, on="*", who=root(A)), Reason.ALLOWED_IN_ACCOUNT, "root"),
    (row("", "denied"), Reason.NOT_ALLOWED_BY_KEY, ""),
    (row("", "denied", key=[allow(A)]), Reason.NOT_ALLOWED_BY_ACCOUNT, ""),
    (row("", "denied", key=None, who=FOREIGNER), Reason.FOREIGN_RESOURCE, ""),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason", "decisive"), REASONS, ids=[reason.name for _, reason, _ in REASONS])
def test_the_decision_says_why(row, reason, decisive):
    decision = decide_case(row.case, row.grant)
    assert (decision.reason, decision.statement) == (reason, decisive)


def test_the_default_key_policy_leaves_it_to_the_account():
    policy = parse_policy(default_key_policy("aws-cn", A), PolicyKind.KEY)
    (statement,) = policy.statements
    assert (statement.label, statement.denies) == ("Enable IAM User Permissions", False)
    assert statement.principals.accounts == {A}
    assert statement.actions.match("kms:decrypt")
    assert "arn:aws-cn:iam::" in default_key_policy("aws-cn", A)


LOCKOUTS = [
    ("the user keeps PutKeyPolicy by name", [allow(ALICE)], [], True),
    ("the user keeps it by an identity policy", [allow(root(A))], [MINE], True),
    ("delegation without an identity policy", [allow(root(A))], [], False),
    ("everything but PutKeyPolicy", [allow(ALICE, NotAction="kms:PutKeyPolicy")], [MINE], False),
    ("another user only", [allow(BOB)], [MINE], False),
    ("a deny of PutKeyPolicy", [allow(ALICE), deny("*", "kms:PutKeyPolicy")], [], False),
    ("an address from which the caller does not come", [allow(ALICE, Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})], [], False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "identity", "passes"), [entry[1:] for entry in LOCKOUTS], ids=[entry[0] for entry in LOCKOUTS]
)
def test_lockout_safety_check(key, identity, passes):
    facts = Facts(ALICE, A, "kms:CreateKey", KEY, A, {"aws:sourceip": "10.0.0.1"})
    new = key_policy({"Version": "2012-10-17", "Statement": key})
    mine = [identity_policy({"Version": "2012-10-17", "Statement": identity})] if identity else []
    if passes:
        check_lockout(new, facts, mine)
    else:
        with pytest.raises(MalformedPolicyDocumentException, match="will not allow you to update the key policy"):
            check_lockout(new, facts, mine)
