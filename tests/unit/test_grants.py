"""Grants as tables: whom they allow what, which grants a grantee may create, and who may end one."""

from __future__ import annotations

import dataclasses
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core.errors import InvalidArnException
from hsmkms.core.grants import (
    ACTIONS,
    CONTEXT_OPERATIONS,
    Retirement,
    allows_context,
    grant_allowing,
    grantee_names,
    is_principal,
    is_within,
    operations_on,
    require_principal,
    retirement,
)
from hsmkms.core.model import (
    Grant,
    GrantOperation,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    Principal,
    Scope,
)
from hsmkms.core.specs import USAGES

ACCOUNT, OTHER = "111122223333", "444455556666"
SCOPE = Scope(ACCOUNT, "eu-central-1")
KEY_ID, OTHER_KEY_ID = "1234abcd-12ab-4cd5-8fab-1234567890ab", "0987dcba-09fe-47dc-85ba-ab0987654321"
USER = f"arn:aws:iam::{ACCOUNT}:user/billing"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/billing"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/billing/night"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
OTHER_USER = f"arn:aws:iam::{OTHER}:user/billing"
OTHER_ROOT = f"arn:aws:iam::{OTHER}:root"
OPERATIONS = list(GrantOperation)
D, E, C, R = GrantOperation.DECRYPT, GrantOperation.ENCRYPT, GrantOperation.CREATE_GRANT, GrantOperation.RETIRE_GRANT

TEXTS = st.text("ab", max_size=2)
CONTEXTS = st.dictionaries(TEXTS, TEXTS, max_size=3)
CONSTRAINTS = st.one_of(
    st.just((None, None)), st.tuples(CONTEXTS, st.none()), st.tuples(st.none(), CONTEXTS), st.tuples(CONTEXTS, CONTEXTS)
)


def grant(operations=(D,), equals=None, subset=None, grantee=USER, retiring="", key_id=KEY_ID, issuing=ROOT):
    return Grant(
        SCOPE,
        key_id,
        uuid.uuid4().hex * 2,
        "",
        grantee,
        retiring,
        issuing,
        tuple(operations),
        equals,
        subset,
        created=1,
    )


def key(key_id=KEY_ID):
    return KmsKey(
        SCOPE,
        key_id,
        KeyState.ENABLED,
        "",
        KeySpec.SYMMETRIC_DEFAULT,
        KeyUsage.ENCRYPT_DECRYPT,
        Origin.AWS_KMS,
        MultiRegionKind.SINGLE,
        1,
        {},
        1,
        1,
    )


class Grants:
    def __init__(self, *grants):
        self.grants = grants
        self.asked = 0

    def grants_to(self, key_id, name):
        self.asked += 1
        return [g for g in self.grants if g.key_id == key_id and name in grantee_names(g.grantee_principal)]


@pytest.mark.parametrize(
    ("equals", "subset", "context", "allowed"),
    [
        (None, None, {}, True),
        (None, None, {"a": "1"}, True),
        ({"a": "1"}, None, {"a": "1"}, True),
        ({"a": "1", "b": "2"}, None, {"b": "2", "a": "1"}, True),
        ({"a": "1"}, None, {}, False),
        ({"a": "1"}, None, {"a": "2"}, False),
        ({"a": "1"}, None, {"A": "1"}, False),
        ({"a": "x"}, None, {"a": "X"}, False),
        ({"a": "1"}, None, {"a": "1", "b": "2"}, False),
        ({"a": "1", "b": "2"}, None, {"a": "1"}, False),
        (None, {"a": "1"}, {"a": "1"}, True),
        (None, {"a": "1"}, {"a": "1", "b": "2"}, True),
        (None, {"a": "1"}, {}, False),
        (None, {"a": "1"}, {"a": "2", "b": "2"}, False),
        (None, {"a": "1"}, {"A": "1"}, False),
        (None, {"a": "1", "b": "2"}, {"a": "1"}, False),
        (None, {"ä": "1"}, {"a\u0308": "1"}, False),
    ],
)
def test_constraints(equals, subset, context, allowed):
    for operation in CONTEXT_OPERATIONS:
        assert allows_context(grant(equals=equals, subset=subset), operation, context) is allowed
    for operation in set(OPERATIONS) - CONTEXT_OPERATIONS:
        assert allows_context(grant(equals=equals, subset=subset), operation, context)


@pytest.mark.parametrize("action", ["kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey"])
def test_a_grant_allows_its_operations_and_no_others(action):
    given_one = grant([ACTIONS[action]])
    others = grant([operation for operation in OPERATIONS if operation is not ACTIONS[action]])
    assert grant_allowing(Grants(given_one), key(), USER, action, {}) == given_one
    assert grant_allowing(Grants(others), key(), USER, action, {}) is None


@pytest.mark.parametrize(
    "action", ["kms:ReEncrypt", "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:RetireGrant", "Decrypt", ""]
)
def test_what_no_grant_allows(action):
    assert grant_allowing(Grants(grant(OPERATIONS)), key(), USER, action, {}, created=grant()) is None


@pytest.mark.parametrize(
    ("grantee", "caller", "matches"),
    [
        (USER, USER, True),
        (USER, USER + "x", False),
        (USER, OTHER_USER, False),
        (ROLE, ROLE, True),
        (ROLE, SESSION, True),
        (f"arn:aws:iam::{ACCOUNT}:role/billing", SESSION, True),
        (ROLE, f"arn:aws:sts::{OTHER}:assumed-role/billing/night", False),
        (ROLE, f"arn:aws:sts::{ACCOUNT}:assumed-role/team/night", False),
        (ROLE, f"arn:aws:sts::{ACCOUNT}:assumed-role/Billing/night", False),
        (ROLE, f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/billing/night", False),
        (ROLE, f"arn:aws:iam::{ACCOUNT}:user/team/billing", False),
        (SESSION, SESSION, True),
        (SESSION, f"arn:aws:sts::{ACCOUNT}:assumed-role/billing/day", False),
        (SESSION, ROLE, False),
        (ROOT, ROOT, True),
        (ROOT, USER, False),
        (USER, ROOT, False),
    ],
)
def test_who_a_grantee_is(grantee, caller, matches):
    assert is_principal(grantee, caller) is matches
    found = grant_allowing(Grants(grant(grantee=grantee)), key(), caller, "kms:Decrypt", {})
    by_token = grant_allowing(Grants(), key(), caller, "kms:Decrypt", {}, [grant(grantee=grantee)])
    assert (found is not None, by_token is not None) == (matches, matches)


def test_a_grant_to_an_account_needs_its_identity_policies():
    for view, tokens in ((Grants(grant(grantee=ROOT)), []), (Grants(), [grant(grantee=ROOT)])):
        assert grant_allowing(view, key(), USER, "kms:Decrypt", {}, tokens) is None
        assert grant_allowing(view, key(), USER, "kms:Decrypt", {}, tokens, for_account=True)
        assert grant_allowing(view, key(), OTHER_USER, "kms:Decrypt", {}, tokens, for_account=True) is None


def test_a_grant_is_good_for_its_key_alone_even_by_token():
    elsewhere = grant(key_id=OTHER_KEY_ID)
    assert grant_allowing(Grants(elsewhere), key(), USER, "kms:Decrypt", {}, [elsewhere]) is None
    moved = dataclasses.replace(grant(), scope=Scope(OTHER, SCOPE.region))
    assert grant_allowing(Grants(moved), key(), USER, "kms:Decrypt", {}, [moved]) is None


def test_one_of_several_grants_suffices():
    wanted = grant(subset={"a": "1"})
    view = Grants(grant([E]), grant(subset={"a": "2"}), wanted)
    assert grant_allowing(view, key(), USER, "kms:Decrypt", {"a": "1"}) == wanted
    assert view.asked == 1


@pytest.mark.parametrize(
    ("parent", "child", "possible"),
    [
        (grant([C, D, E]), grant([D]), True),
        (grant([C, D, E]), grant([C, D, E]), True),
        (grant([C, D]), grant([D, E]), False),
        (grant([C, D]), grant([D], key_id=OTHER_KEY_ID), False),
        (grant([C, D]), grant([D], grantee=OTHER_USER, retiring=OTHER_USER), True),
        (grant([C, D]), grant([D], subset={"a": "1"}), True),
        (grant([C, D], subset={"a": "1"}), grant([D]), False),
        (grant([C, D], subset={"a": "1"}), grant([D], subset={"a": "1"}), True),
        (grant([C, D], subset={"a": "1"}), grant([D], subset={"a": "1", "b": "2"}), True),
        (grant([C, D], subset={"a": "1"}), grant([D], subset={"a": "2"}), False),
        (grant([C, D], subset={"a": "1"}), grant([D], subset={"b": "1"}), False),
        (grant([C, D], subset={"a": "1", "b": "2"}), grant([D], subset={"a": "1"}), False),
        (grant([C, D], subset={"a": "1"}), grant([D], equals={"a": "1"}), True),
        (grant([C, D], subset={"a": "1"}), grant([D], equals={"a": "1", "b": "2"}), True),
        (grant([C, D], subset={"a": "1"}), grant([D], equals={"b": "2"}), False),
        (grant([C, D], equals={"a": "1"}), grant([D]), False),
        (grant([C, D], equals={"a": "1"}), grant([D], subset={"a": "1"}), False),
        (grant([C, D], equals={"a": "1"}), grant([D], equals={"a": "1"}), True),
        (grant([C, D], equals={"a": "1"}), grant([D], equals={"a": "1", "b": "2"}), False),
        (grant([C, R], equals={"a": "1"}), grant([R]), False),
    ],
)
def test_grants_by_grantees(parent, child, possible):
    assert is_within(child, parent) is possible
    allowing = grant_allowing(Grants(parent), key(), USER, "kms:CreateGrant", {}, created=child)
    assert allowing == (parent if possible else None)


def test_without_create_grant_or_without_a_grant_to_create_nothing_is_created():
    assert grant_allowing(Grants(grant([D])), key(), USER, "kms:CreateGrant", {}, created=grant([D])) is None
    assert grant_allowing(Grants(grant([C, D])), key(), USER, "kms:CreateGrant", {}) is None


@given(CONSTRAINTS, CONSTRAINTS, CONTEXTS, st.sets(st.sampled_from(OPERATIONS)), st.sets(st.sampled_from(OPERATIONS)))
def test_what_a_child_allows_its_parent_allows(parent, child, context, parent_operations, child_operations):
    parent_grant, child_grant = grant(parent_operations, *parent), grant(child_operations, *child)
    if is_within(child_grant, parent_grant):
        for operation in child_operations:
            assert operation in parent_operations
            if allows_context(child_grant, operation, context):
                assert allows_context(parent_grant, operation, context)


@pytest.mark.parametrize(
    ("granted", "caller", "expected"),
    [
        (grant(), USER, Retirement.DELEGATED),
        (grant([R]), USER, Retirement.YES),
        (grant(retiring=USER), USER, Retirement.YES),
        (grant(retiring=ROLE), SESSION, Retirement.YES),
        (grant(), ROOT, Retirement.YES),
        (grant(), OTHER_USER, Retirement.NO),
        (grant(), OTHER_ROOT, Retirement.NO),
        (grant([D, E, C], grantee=OTHER_USER), OTHER_USER, Retirement.NO),
        (grant([R], grantee=OTHER_USER), OTHER_USER, Retirement.YES),
        (grant(retiring=OTHER_USER), OTHER_USER, Retirement.YES),
        (grant(retiring=OTHER_USER), OTHER_ROOT, Retirement.NO),
        (grant(retiring=OTHER_ROOT), OTHER_USER, Retirement.DELEGATED),
        (grant(retiring=OTHER_ROOT), OTHER_ROOT, Retirement.YES),
        (grant(issuing=OTHER_ROOT), OTHER_USER, Retirement.DELEGATED),
        (grant(issuing=OTHER_ROOT), OTHER_ROOT, Retirement.YES),
        (grant(issuing=OTHER_ROOT), ROOT, Retirement.YES),
    ],
)
def test_who_may_retire(granted, caller, expected):
    assert retirement(granted, Principal("someone", caller.split(":")[4], caller)) is expected


@pytest.mark.parametrize("arn", [USER, ROLE, SESSION, ROOT, f"arn:aws:sts::{ACCOUNT}:federated-user/bob"])
def test_principals_that_a_grant_can_name(arn):
    require_principal(arn)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "billing",
        ACCOUNT,
        "*",
        f"arn:aws:iam::{ACCOUNT}:user/",
        f"arn:aws:iam::{ACCOUNT}:role/team/",
        f"arn:aws:iam::{ACCOUNT}:rootx",
        f"arn:aws:iam::{ACCOUNT}:root/x",
        f"arn:aws:iam::{ACCOUNT}:group/x",
        f"arn:aws:iam::{ACCOUNT}:assumed-role/a/b",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/billing",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/a/b/c",
        f"arn:aws:sts::{ACCOUNT}:user/a",
        "arn:aws:iam::1111222233334:root",
        f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/x",
        f"arn:aws:iam::{ACCOUNT}:user/é",
        f"arn:aws:iam::{ACCOUNT}:user/a\n",
    ],
)
def test_what_a_grant_cannot_name(arn):
    with pytest.raises(InvalidArnException):
        require_principal(arn)


def test_the_table_has_every_operation():
    assert set(ACTIONS.values()) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("spec", "usage", "operations"),
    [
        (
            KeySpec.SYMMETRIC_DEFAULT,
            KeyUsage.ENCRYPT_DECRYPT,
            (
                "Decrypt Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext "
                "GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo"
            ),
        ),
        (
            KeySpec.RSA_2048,
            KeyUsage.ENCRYPT_DECRYPT,
            "Decrypt Encrypt GetPublicKey ReEncryptFrom ReEncryptTo",
        ),
        (KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY, "GetPublicKey Sign Verify"),
        (KeySpec.ECC_NIST_P384, KeyUsage.KEY_AGREEMENT, "DeriveSharedSecret GetPublicKey"),
        (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, "GenerateMac VerifyMac"),
    ],
)
def test_a_grant_allows_what_its_key_can_do(spec, usage, operations):
    """Source: "Grant operations" of AWS's developer guide."""
    possible = operations_on(usage, spec) - {"CreateGrant", "RetireGrant", "DescribeKey"}
    assert sorted(possible) == operations.split()


def test_every_usage_of_every_spec_has_grant_operations():
    for spec, usages in USAGES.items():
        for usage in usages:
            assert operations_on(usage, spec) > {"CreateGrant", "RetireGrant", "DescribeKey"}
