"""AWS's documented examples of KMS policies, in our words, asked with the condition keys that a real request brings."""

# ruff: noqa: E501 - tables, a case a line

from dataclasses import replace

from hsmkms.core.policy.condition_keys import ConditionInputs, condition_context
from policy.deciding import ALICE, allow, check, deny, row, table
from policy.random_cases import ALIAS, KEY, A, B, root

SESSION = f"arn:aws:sts::{A}:assumed-role/App/i-1"
APP = f"arn:aws:iam::{A}:role/App"
PLAIN = ConditionInputs(
    principal=SESSION,
    account=A,
    now_us=1_772_366_400_000_000,
    source_ip="203.0.113.7",
    key_spec="SYMMETRIC_DEFAULT",
    key_usage="ENCRYPT_DECRYPT",
    key_origin="AWS_KMS",
    encryption_algorithm="SYMMETRIC_DEFAULT",
)


def example(says, expected, *, key, who=SESSION, does="kms:Decrypt", identity=(), grant="", on=KEY, **inputs):
    made = condition_context(replace(PLAIN, principal=who, account=who.split(":")[4], **inputs))
    return row(says, expected, key=key, who=who, does=does, identity=identity, grant=grant, on=on, context=made)


DEFAULT = [allow(root(A), Sid="Enable IAM User Permissions")]
CONTEXT_ONLY = [allow(APP, ["kms:Encrypt", "kms:Decrypt"], Condition={"StringEquals": {"kms:EncryptionContext:AppName": "ExampleApp"}})]  # fmt: skip
CONTEXT_KEYS = [
    allow(APP, Condition={"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["AppName", "FilePath"]}})
]
CASE_SENSITIVE = [allow(APP, Condition={"StringEquals": {"kms:EncryptionContext:AppName": "ExampleApp"}, "ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "AppName"}})]  # fmt: skip
NEEDS_CONTEXT = [allow(APP, Condition={"Null": {"kms:EncryptionContextKeys": "false"}})]
DEPUTY = [allow("*", Condition={"StringEquals": {"aws:SourceAccount": A}, "ArnLike": {"aws:SourceArn": f"arn:aws:cloudtrail:*:{A}:trail/*"}})]  # fmt: skip
VIA = [allow(APP, Condition={"StringEquals": {"kms:ViaService": "ec2.us-west-2.amazonaws.com"}})]
GRANTING = [allow(APP, "kms:CreateGrant", Condition={"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "Decrypt"]}})]  # fmt: skip
CONSTRAINED = [allow(APP, "kms:CreateGrant", Condition={"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}})]  # fmt: skip
FOR_AWS = [allow(APP, "kms:CreateGrant", Condition={"Bool": {"kms:GrantIsForAWSResource": True}})]
GRANTEE = [allow(APP, "kms:CreateGrant", Condition={"StringEquals": {"kms:GranteePrincipal": APP, "kms:RetiringPrincipal": ALICE}})]  # fmt: skip
WINDOW = [allow(APP), deny("*", "kms:ScheduleKeyDeletion", Condition={"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "21"}})]  # fmt: skip
PERIOD = [allow(APP, "kms:EnableKeyRotation", Condition={"NumericLessThanEquals": {"kms:RotationPeriodInDays": "180"}})]  # fmt: skip
BYPASS = [allow(APP), deny("*", ["kms:CreateKey", "kms:PutKeyPolicy"], Condition={"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}})]  # fmt: skip
SAME_KEY = [allow(APP, "kms:ReEncrypt*", Condition={"Bool": {"kms:ReEncryptOnSameKey": True}})]
BY_ALIAS = [allow(APP, Condition={"StringEquals": {"kms:RequestAlias": "alias/ExampleAlias"}})]
OF_ALIAS = [allow(APP, Condition={"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/Example*"}})]
ALGORITHM = [allow(APP), deny("*", Condition={"StringNotEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}})]
ABAC = [allow(APP, Condition={"StringEquals": {"aws:ResourceTag/Project": "${aws:PrincipalTag/Project}"}})]
TAGGING = [allow(APP, "kms:TagResource", Condition={"StringEquals": {"aws:RequestTag/Project": "Alpha"}, "ForAllValues:StringEquals": {"aws:TagKeys": "Project"}})]  # fmt: skip
OFFICE = [allow(APP), deny("*", Condition={"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]}})]
ORIGIN = [allow(APP, Condition={"StringEquals": {"kms:KeyOrigin": "AWS_KMS", "kms:KeyUsage": "ENCRYPT_DECRYPT", "kms:KeySpec": "SYMMETRIC_DEFAULT"}})]  # fmt: skip
USE_IT = allow(None, ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"], KEY)
PUBLIC_BUT = [allow("*", Condition={"StringEquals": {"aws:PrincipalAccount": [A, B]}})]
ONLY_APP = [allow(root(A)), deny("*", ["kms:Decrypt"], Condition={"ArnNotLike": {"aws:PrincipalArn": APP}})]

EXAMPLES = [
    example("the default key policy with an identity policy", "allowed", key=DEFAULT, identity=[USE_IT]),
    example("the default key policy without one", "denied", key=DEFAULT),
    example("an encryption context as the policy wants it", "allowed", key=CONTEXT_ONLY, encryption_context={"AppName": "ExampleApp"}),
    example("an encryption context with more in it", "allowed", key=CONTEXT_ONLY, encryption_context={"AppName": "ExampleApp", "x": "y"}),
    example("an encryption context with another value", "denied", key=CONTEXT_ONLY, encryption_context={"AppName": "exampleapp"}),
    example("no encryption context", "denied", key=CONTEXT_ONLY),
    example("the name of a pair has no case", "allowed", key=CONTEXT_ONLY, encryption_context={"appname": "ExampleApp"}),
    example("two pairs whose names differ in case only", "denied", key=CONTEXT_ONLY, encryption_context={"appname": "ExampleApp", "AppName": "x"}),
    example("with kms:EncryptionContextKeys the name has a case", "denied", key=CASE_SENSITIVE, encryption_context={"appname": "ExampleApp"}),
    example("and is found in it", "allowed", key=CASE_SENSITIVE, encryption_context={"AppName": "ExampleApp"}),
    example("only the listed names", "allowed", key=CONTEXT_KEYS, encryption_context={"FilePath": "/x"}),
    example("a name that is not listed", "denied", key=CONTEXT_KEYS, encryption_context={"FilePath": "/x", "filepath": "/y"}),
    example("ForAllValues lets a request without a context pass", "allowed", key=CONTEXT_KEYS),
    example("an encryption context is required", "denied", key=NEEDS_CONTEXT),
    example("and given", "allowed", key=NEEDS_CONTEXT, encryption_context={"a": "b"}),
    example("the confused deputy's keys are never there", "denied", key=DEPUTY, who=f"arn:aws:iam::{A}:user/alice"),
    example("kms:ViaService is never there", "denied", key=VIA),
    example("a grant for allowed operations", "allowed", key=GRANTING, does="kms:CreateGrant", grant_operations=("Decrypt",)),
    example("a grant for one operation too many", "denied", key=GRANTING, does="kms:CreateGrant", grant_operations=("Decrypt", "CreateGrant")),
    example("a grant with the constraint that is wanted", "allowed", key=CONSTRAINED, does="kms:CreateGrant", grant_constraint_types=("EncryptionContextEquals",)),
    example("a grant with another constraint", "denied", key=CONSTRAINED, does="kms:CreateGrant", grant_constraint_types=("EncryptionContextSubset",)),
    example("a grant without constraint", "denied", key=CONSTRAINED, does="kms:CreateGrant"),
    example("grants for AWS services only", "denied", key=FOR_AWS, does="kms:CreateGrant", grant_is_for_aws_resource=False),
    example("a grant to the named principals", "allowed", key=GRANTEE, does="kms:CreateGrant", grantee_principal=APP, retiring_principal=ALICE),
    example("a grant that someone else may retire", "denied", key=GRANTEE, does="kms:CreateGrant", grantee_principal=APP, retiring_principal=APP),
    example("a deletion window that is too short", "denied", key=WINDOW, does="kms:ScheduleKeyDeletion", pending_window_in_days=7),
    example("a deletion window that is long enough", "allowed", key=WINDOW, does="kms:ScheduleKeyDeletion", pending_window_in_days=21),
    example("a rotation period that is short enough", "allowed", key=PERIOD, does="kms:EnableKeyRotation", rotation_period_in_days=90),
    example("a rotation period that is too long", "denied", key=PERIOD, does="kms:EnableKeyRotation", rotation_period_in_days=365),
    example("nobody bypasses the lock-out safety check", "denied", key=BYPASS, does="kms:PutKeyPolicy", bypass_policy_lockout_safety_check=True),
    example("without bypassing it goes", "allowed", key=BYPASS, does="kms:PutKeyPolicy", bypass_policy_lockout_safety_check=False),
    example("re-encryption on the same key", "allowed", key=SAME_KEY, does="kms:ReEncryptFrom", re_encrypt_on_same_key=True),
    example("re-encryption to another key", "denied", key=SAME_KEY, does="kms:ReEncryptTo", re_encrypt_on_same_key=False),
    example("the key named by the alias", "allowed", key=BY_ALIAS, request_alias="alias/ExampleAlias"),
    example("the same key named by its id", "denied", key=BY_ALIAS, resource_aliases=("alias/ExampleAlias",)),
    example("a key that has such an alias, named anyhow", "allowed", key=OF_ALIAS, resource_aliases=("alias/x", "alias/Example1")),
    example("a key that has no such alias", "denied", key=OF_ALIAS, resource_aliases=("alias/x",)),
    example("the algorithm that is left", "allowed", key=ALGORITHM),
    example("an algorithm that is denied", "denied", key=ALGORITHM, encryption_algorithm="RSAES_OAEP_SHA_256"),
    example("a principal and a key of one project", "allowed", key=ABAC, principal_tags={"Project": "Alpha"}, resource_tags={"project": "Alpha"}),
    example("a principal and a key of two projects", "denied", key=ABAC, principal_tags={"Project": "Alpha"}, resource_tags={"Project": "Beta"}),
    example("neither has a project", "denied", key=ABAC),
    example("tagging with what is allowed", "allowed", key=TAGGING, does="kms:TagResource", request_tags={"Project": "Alpha"}, tag_keys=("Project",)),
    example("tagging with more than that", "denied", key=TAGGING, does="kms:TagResource", request_tags={"Project": "Alpha", "x": ""}, tag_keys=("Project", "x")),
    example("from the office", "allowed", key=OFFICE),
    example("from elsewhere", "denied", key=OFFICE, source_ip="198.51.100.1"),
    example("a key of the right origin, usage and spec", "allowed", key=ORIGIN),
    example("a key with imported material", "denied", key=ORIGIN, key_origin="EXTERNAL"),
    example("two accounts by a condition, the other's side agreeing", "allowed", key=PUBLIC_BUT, who=f"arn:aws:iam::{B}:user/zoe", identity=[USE_IT]),
    example("two accounts by a condition, the other's side silent", "denied", key=PUBLIC_BUT, who=f"arn:aws:iam::{B}:user/zoe"),
    example("only one role may decrypt, which is in the session's aws:PrincipalArn", "allowed", key=ONLY_APP, identity=[USE_IT]),
    example("an administrator may not decrypt", "denied", key=ONLY_APP, identity=[allow(None)], who=f"arn:aws:iam::{A}:user/admin"),
    example("nor by a grant", "denied", key=ONLY_APP, grant="g1", who=f"arn:aws:iam::{A}:user/admin"),
    example("but may encrypt", "allowed", key=ONLY_APP, identity=[allow(None)], who=f"arn:aws:iam::{A}:user/admin", does="kms:Encrypt"),
    example(
        "each user's own aliases",
        "allowed",
        key=None,
        who=f"arn:aws:iam::{A}:user/path/team",
        does="kms:CreateAlias",
        on=ALIAS,
        identity=[allow(None, "kms:*Alias", "arn:aws:kms:*:*:alias/${aws:username}/*")],
    ),
]  # fmt: skip


@table(EXAMPLES)
def test_example(row):
    check(row)
