"""The condition keys that a request brings: each one that can apply here, with its value, and none that does not apply."""

import pytest

from hsmkms.core.policy.condition_keys import ConditionInputs, condition_context
from policy.random_cases import A, root

ROLE = f"arn:aws:iam::{A}:role/App"
SESSION = f"arn:aws:sts::{A}:assumed-role/App/i-1"
BARE = ConditionInputs(principal=SESSION, account=A, now_us=1_772_366_400_999_999)

KEYS = [
    ({}, "kms:calleraccount", A),
    ({}, "aws:principalaccount", A),
    ({}, "aws:principalarn", ROLE),
    ({}, "aws:principaltype", "AssumedRole"),
    ({}, "aws:currenttime", "2026-03-01T12:00:00Z"),
    ({}, "aws:epochtime", "1772366400"),
    ({}, "aws:securetransport", "true"),
    ({"secure_transport": False}, "aws:securetransport", "false"),
    ({"principal": f"arn:aws:iam::{A}:user/path/bob"}, "aws:principalarn", f"arn:aws:iam::{A}:user/path/bob"),
    ({"principal": f"arn:aws:iam::{A}:user/path/bob"}, "aws:username", "bob"),
    ({"principal": f"arn:aws:iam::{A}:user/path/bob"}, "aws:principaltype", "User"),
    ({"principal": root(A)}, "aws:principaltype", "Account"),
    ({"principal": f"arn:aws:sts::{A}:federated-user/x"}, "aws:principaltype", "FederatedUser"),
    ({"principal_tags": {"Team": "X"}}, "aws:principaltag/team", "X"),
    ({"resource_tags": {"Team": "X"}}, "aws:resourcetag/team", "X"),
    ({"request_tags": {"Team": ""}}, "aws:requesttag/team", ""),
    ({"tag_keys": ("Team",)}, "aws:tagkeys", ("Team",)),
    ({"source_ip": "10.0.0.1"}, "aws:sourceip", "10.0.0.1"),
    ({"encryption_context": {"Dept": "hr"}}, "kms:encryptioncontext:dept", "hr"),
    ({"encryption_context": {"a:b/c": "hr"}}, "kms:encryptioncontext:a:b/c", "hr"),
    ({"encryption_context": {"Dept": "hr", "x": ""}}, "kms:encryptioncontextkeys", ("Dept", "x")),
    ({"encryption_context": {"Dept": "hr", "dept": "it", "DEPT": "x"}}, "kms:encryptioncontext:dept", ("hr", "it", "x")),
    ({"encryption_algorithm": "SYMMETRIC_DEFAULT"}, "kms:encryptionalgorithm", "SYMMETRIC_DEFAULT"),
    ({"request_alias": "alias/x"}, "kms:requestalias", "alias/x"),
    ({"resource_aliases": ("alias/x", "alias/y")}, "kms:resourcealiases", ("alias/x", "alias/y")),
    ({"re_encrypt_on_same_key": False}, "kms:reencryptonsamekey", "false"),
    ({"key_spec": "RSA_2048"}, "kms:keyspec", "RSA_2048"),
    ({"key_usage": "SIGN_VERIFY"}, "kms:keyusage", "SIGN_VERIFY"),
    ({"key_origin": "EXTERNAL"}, "kms:keyorigin", "EXTERNAL"),
    ({"grant_operations": ("Encrypt", "Decrypt")}, "kms:grantoperations", ("Encrypt", "Decrypt")),
    ({"grant_is_for_aws_resource": False}, "kms:grantisforawsresource", "false"),
    ({"grantee_principal": ROLE}, "kms:granteeprincipal", ROLE),
    ({"retiring_principal": ROLE}, "kms:retiringprincipal", ROLE),
    ({"grant_constraint_types": ("EncryptionContextSubset",)}, "kms:grantconstrainttype", "EncryptionContextSubset"),
    ({"grant_constraint_types": ("a", "b")}, "kms:grantconstrainttype", ("a", "b")),
    ({"pending_window_in_days": 7}, "kms:schedulekeydeletionpendingwindowindays", "7"),
    ({"rotation_period_in_days": 90}, "kms:rotationperiodindays", "90"),
    ({"bypass_policy_lockout_safety_check": True}, "kms:bypasspolicylockoutsafetycheck", "true"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "key", "value"), KEYS, ids=[f"{key} {value}" for _, key, value in KEYS])
def test_a_key_has_its_value(given, key, value):
    made = ConditionInputs(**{"principal": BARE.principal, "account": BARE.account, "now_us": BARE.now_us} | given)
    assert condition_context(made)[key] == value


def test_what_does_not_apply_is_absent():
    assert set(condition_context(BARE)) == {
        "kms:calleraccount",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principaltype",
        "aws:securetransport",
        "aws:currenttime",
        "aws:epochtime",
    }


def test_keys_are_in_lower_case():
    made = ConditionInputs(
        SESSION, A, 0, encryption_context={"ÄB": "x"}, principal_tags={"Σ": "y"}, request_tags={"Q": "z"}
    )
    assert all(key == key.lower() for key in condition_context(made))
