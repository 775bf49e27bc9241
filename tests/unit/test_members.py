"""What breaks a member's constraint, in AWS's words."""

import dataclasses
import re
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsmkms.core import members
from hsmkms.core.errors import ValidationException
from hsmkms.core.members import Constraint, aws_name, check, constraint_of, wire_name
from hsmkms.core.messages import (
    OPERATIONS,
    CreateAliasRequest,
    CreateGrantRequest,
    CreateKeyRequest,
    DecryptRequest,
    EnableKeyRotationRequest,
    EncryptRequest,
    GenerateDataKeyRequest,
    GenerateRandomRequest,
    ListKeysRequest,
    PutKeyPolicyRequest,
    ReEncryptRequest,
    ScheduleKeyDeletionRequest,
    TagMember,
    UntagResourceRequest,
    UpdateKeyDescriptionRequest,
)

KEY = "alias/a"
ALGORITHMS = "[SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, SM2PKE]"

GRANTABLE = (
    "[Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, ReEncryptFrom, ReEncryptTo, Sign, Verify, "
    "GetPublicKey, CreateGrant, RetireGrant, DescribeKey, GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext, "
    "GenerateMac, VerifyMac, DeriveSharedSecret]"
)


def problem(value, member, constraint):
    return f"Value {value} at '{member}' failed to satisfy constraint: Member must {constraint}".replace("Value  ", "Value ")  # fmt: skip


CASES = {
    "null": (ReEncryptRequest(), [problem("null", "destinationKeyId", "not be null")]),
    "text too short": (
        ReEncryptRequest(destination_key_id=""),
        [problem("''", "destinationKeyId", "have length greater than or equal to 1")],
    ),
    "text too long, cut at 64": (
        ReEncryptRequest(destination_key_id="k" * 2049),
        [problem("'" + "k" * 64 + "…'", "destinationKeyId", "have length less than or equal to 2048")],
    ),
    "length counts characters, not bytes": (ReEncryptRequest(destination_key_id="é" * 2048), []),
    "value too small": (
        GenerateRandomRequest(number_of_bytes=0),
        [problem("'0'", "numberOfBytes", "have value greater than or equal to 1")],
    ),
    "value too great": (
        GenerateRandomRequest(number_of_bytes=1025),
        [problem("'1025'", "numberOfBytes", "have value less than or equal to 1024")],
    ),
    "negative": (ListKeysRequest(limit=-1), [problem("'-1'", "limit", "have value greater than or equal to 1")]),
    "enum": (
        EncryptRequest(key_id=KEY, plaintext=b"x", encryption_algorithm="ROT13"),
        [problem("'ROT13'", "encryptionAlgorithm", f"satisfy enum value set: {ALGORITHMS}")],
    ),
    "enum, empty": (
        EncryptRequest(key_id=KEY, plaintext=b"x", encryption_algorithm=""),
        [problem("''", "encryptionAlgorithm", f"satisfy enum value set: {ALGORITHMS}")],
    ),
    "enum, wrong case": (
        GenerateDataKeyRequest(key_id=KEY, key_spec="aes_256"),
        [problem("'aes_256'", "keySpec", "satisfy enum value set: [AES_256, AES_128]")],
    ),
    "pattern": (
        CreateAliasRequest(alias_name="alias/a b", target_key_id=KEY),
        [problem("'alias/a b'", "aliasName", "satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")],
    ),
    "pattern holds for the whole text": (
        CreateAliasRequest(alias_name="alias/a\n", target_key_id=KEY),
        [problem("'alias/a\n'", "aliasName", "satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")],
    ),
    "list too long": (
        EncryptRequest(key_id=KEY, plaintext=b"x", grant_tokens=("t",) * 11),
        [problem("'[t, t, t, t, t, t, t, t, t, t, t]'", "grantTokens", "have length less than or equal to 10")],
    ),
    "element too short": (
        EncryptRequest(key_id=KEY, plaintext=b"x", grant_tokens=("t", "")),
        [problem("'[t, ]'", "grantTokens", "satisfy constraint: [Member must have length greater than or equal to 1]")],
    ),
    "element too long, cut": (
        EncryptRequest(key_id=KEY, plaintext=b"x", grant_tokens=("t" * 8193,)),
        [problem("'[" + "t" * 63 + "…'", "grantTokens", "satisfy constraint: [Member must have length less than or equal to 8192]")],
    ),
    "element of an enum": (
        DecryptRequest(ciphertext_blob=b"x", dry_run=True, dry_run_modifiers=("IGNORE_CIPHERTEXT", "ALL")),
        [problem("'[IGNORE_CIPHERTEXT, ALL]'", "dryRunModifiers",
                 "satisfy constraint: [Member must satisfy enum value set: [IGNORE_CIPHERTEXT]]")],
    ),
    "nested": (
        CreateKeyRequest(tags=(TagMember("a", "b"), TagMember("", "x" * 257), TagMember("c", None))),
        [
            problem("''", "tags.2.member.tagKey", "have length greater than or equal to 1"),
            problem("'" + "x" * 64 + "…'", "tags.2.member.tagValue", "have length less than or equal to 256"),
            problem("null", "tags.3.member.tagValue", "not be null"),
        ],
    ),
    "several at once": (
        EncryptRequest(encryption_algorithm="x", grant_tokens=("",)),
        [
            problem("null", "keyId", "not be null"),
            problem("null", "plaintext", "not be null"),
            problem("'[]'", "grantTokens", "satisfy constraint: [Member must have length greater than or equal to 1]"),
            problem("'x'", "encryptionAlgorithm", f"satisfy enum value set: {ALGORITHMS}"),
        ],
    ),
    "blob without its value": (
        DecryptRequest(ciphertext_blob=b"secret" * 1025),
        ["Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144"],
    ),
    "empty blob": (
        DecryptRequest(ciphertext_blob=b""),
        ["Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length greater than or equal to 1"],
    ),
    "plaintext without its value": (
        EncryptRequest(key_id=KEY, plaintext=b"secret" * 683),
        ["Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"],
    ),
    "a waiting period below 7 days": (
        ScheduleKeyDeletionRequest(key_id=KEY, pending_window_in_days=6),
        [problem("'6'", "pendingWindowInDays", "have value greater than or equal to 7")],
    ),
    "a waiting period over 30 days": (
        ScheduleKeyDeletionRequest(key_id=KEY, pending_window_in_days=31),
        [problem("'31'", "pendingWindowInDays", "have value less than or equal to 30")],
    ),
    "a waiting period of 7 days": (ScheduleKeyDeletionRequest(key_id=KEY, pending_window_in_days=7), []),
    "a waiting period of 30 days": (ScheduleKeyDeletionRequest(key_id=KEY, pending_window_in_days=30), []),
    "a rotation period below 90 days": (
        EnableKeyRotationRequest(key_id=KEY, rotation_period_in_days=89),
        [problem("'89'", "rotationPeriodInDays", "have value greater than or equal to 90")],
    ),
    "a rotation period over 2560 days": (
        EnableKeyRotationRequest(key_id=KEY, rotation_period_in_days=2561),
        [problem("'2561'", "rotationPeriodInDays", "have value less than or equal to 2560")],
    ),
    "a policy that is too long": (
        PutKeyPolicyRequest(key_id=KEY, policy="{" * 32769),
        [problem("'" + "{" * 64 + "…'", "policy", "have length less than or equal to 32768")],
    ),
    "a policy's name": (
        PutKeyPolicyRequest(key_id=KEY, policy="{}", policy_name="my policy"),
        [problem("'my policy'", "policyName", r"satisfy regular expression pattern: [\w]+")],
    ),
    "a grant of nothing": (
        CreateGrantRequest(key_id=KEY, grantee_principal="arn:aws:iam::111122223333:root"),
        [problem("null", "operations", "not be null")],
    ),
    "a grant of what there is not, with a name that is none, to nobody": (
        CreateGrantRequest(key_id=KEY, grantee_principal="", operations=("Decrypt", "ReEncrypt"), name="a b"),
        [
            problem("''", "granteePrincipal", "have length greater than or equal to 1"),
            problem("'[Decrypt, ReEncrypt]'", "operations", f"satisfy constraint: [Member must satisfy enum value set: {GRANTABLE}]"),
            problem("'a b'", "name", "satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"),
        ],
    ),
    "no tag keys": (UntagResourceRequest(key_id=KEY), [problem("null", "tagKeys", "not be null")]),
    "a tag key that is empty": (
        UntagResourceRequest(key_id=KEY, tag_keys=("a", "")),
        [problem("'[a, ]'", "tagKeys", "satisfy constraint: [Member must have length greater than or equal to 1]")],
    ),
    "a description must be given to be changed, and may be empty": (
        UpdateKeyDescriptionRequest(key_id=KEY), [problem("null", "description", "not be null")],
    ),
    "an empty description": (UpdateKeyDescriptionRequest(key_id=KEY, description=""), []),
    "false is a value": (ReEncryptRequest(destination_key_id=KEY, dry_run=False), []),
    "all well": (CreateKeyRequest(description="", tags=(TagMember("a", ""),), multi_region=False), []),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "problems"), CASES.values(), ids=CASES)
def test_all_that_is_wrong_is_told_at_once_in_awss_words(request_, problems):
    if not problems:
        check(request_)
        return
    with pytest.raises(ValidationException) as refused:
        check(request_)
    plural = "s" if len(problems) > 1 else ""
    assert refused.value.message == f"{len(problems)} validation error{plural} detected: " + "; ".join(problems)


@dataclasses.dataclass(frozen=True)
class Confidential:
    """A request with a sensitive member that is text."""

    pass_phrase: str | None = members.member("a secret", sensitive=True, maximum=4, choices=("a",))


def test_a_sensitive_member_never_shows_its_value():
    for value, constraint in (("hunter2", "have length less than or equal to 4"), ("x", "satisfy enum value set: [a]")):
        with pytest.raises(ValidationException) as refused:
            check(Confidential(value))
        assert refused.value.message == (
            f"1 validation error detected: Value at 'passPhrase' failed to satisfy constraint: Member must {constraint}"
        )
        assert value not in repr(Confidential(value))


def test_a_value_of_exactly_64_characters_is_shown_whole():
    with pytest.raises(ValidationException) as refused:
        check(GenerateDataKeyRequest(key_id=KEY, key_spec="s" * 64))
    assert f"'{'s' * 64}'" in refused.value.message


VALUES = {
    str: st.sampled_from(["", "a", "k" * 2048, "k" * 2049, "alias/a", "é\n", *ALGORITHMS.strip("[]").split(", ")]),
    bytes: st.sampled_from([b"", b"x", b"x" * 4096, b"x" * 4097, b"x" * 6144, b"x" * 6145]),
    int: st.sampled_from([-(10**30), -1, 0, 1, 7, 30, 31, 90, 1024, 1025, 2560, 2561, 10**30]),
    bool: st.booleans(),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_request_is_refused_where_a_member_on_its_own_breaks_its_constraint_and_nowhere_else(operation, data):
    values = {}
    for name, annotation in typing.get_type_hints(operation.request).items():
        kinds = [kind for kind in VALUES if kind is annotation or kind in typing.get_args(annotation)]
        if typing.get_origin(annotation) is tuple and typing.get_args(annotation)[0] is str:
            values[name] = tuple(data.draw(st.lists(VALUES[str], max_size=11)))
        elif kinds:
            values[name] = data.draw(st.one_of(st.none(), VALUES[kinds[0]]))
    request = operation.request(**values)
    paths = [wire_name(f.name) for f in dataclasses.fields(request)
             if list(members._problems("x", getattr(request, f.name), constraint_of(f)))]  # fmt: skip
    if not paths:
        check(request)
        return
    with pytest.raises(ValidationException, match=f"^{len(paths)} validation error") as refused:
        check(request)
    named = re.findall(r" at '(\w+)' failed to satisfy", refused.value.message)
    assert named == (paths[: len(named)] if refused.value.message.endswith("…") else paths), "a long text is cut"


@pytest.mark.parametrize(
    ("field", "aws", "wire"),
    [
        ("key_id", "KeyId", "keyId"),
        ("dry_run_modifiers", "DryRunModifiers", "dryRunModifiers"),
        ("plaintext", "Plaintext", "plaintext"),
        ("aws_account_id", "AWSAccountId", "aWSAccountId"),
    ],
)
def test_members_have_awss_names(field, aws, wire):
    assert (aws_name(field), wire_name(field)) == (aws, wire)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_every_request_member_says_what_it_is(operation):
    for field in dataclasses.fields(operation.request):
        assert constraint_of(field).doc, f"{operation.name}.{field.name}"


LIMITS = {  # the numbers of the AWS model, written down a second time
    "ciphertext_blob": (1, 6144), "plaintext": (1, 4096), "number_of_bytes": (1, 1024), "limit": (1, 1000),
    "key_id": (1, 2048), "source_key_id": (1, 2048), "destination_key_id": (1, 2048), "target_key_id": (1, 2048),
    "alias_name": (1, 256), "description": (0, 8192), "grant_tokens": (None, 10), "marker": (1, 1024),
    "custom_key_store_id": (1, 64), "rotation_period_in_days": (90, 2560), "policy_name": (1, 128),
    "grantee_principal": (1, 256), "retiring_principal": (1, 256), "name": (1, 256), "grant_id": (1, 128),
    "grant_token": (1, 8192), "xks_key_id": (1, 128), "message": (1, 4096), "signature": (1, 6144), "mac": (1, 6144),
    "public_key": (1, 8192), "import_token": (1, 6144), "encrypted_key_material": (1, 6144),
    "key_material_id": (64, 64), "key_material_description": (0, 256),
}  # fmt: skip
STRICTER = {  # where the documentation of the model, or this service, is stricter than its numbers
    ("pending_window_in_days", (7, 30)), ("policy", (1, 32768)), ("tags", (None, 50)), ("tags", (1, 50)),
    ("tag_keys", (1, 50)), ("operations", (1, None)),
}  # fmt: skip
LIMITS_OF_ELEMENTS = {"grant_tokens": (1, 8192), "tag_keys": (1, 128)}


def rules():
    """The constraints of every request member, by its name."""
    for operation in OPERATIONS.values():
        for field in dataclasses.fields(operation.request):
            if field.name != "key_spec":
                yield field.name, constraint_of(field)


def test_the_limits_are_the_models():
    limited = {(name, (rule.minimum, rule.maximum)) for name, rule in rules()}
    assert {(name, limits) for name, limits in limited if limits != (None, None)} == set(LIMITS.items()) | STRICTER
    elements = {(name, (rule.each.minimum, rule.each.maximum)) for name, rule in rules() if rule.each}
    assert {(name, limits) for name, limits in elements if limits != (None, None)} == set(LIMITS_OF_ELEMENTS.items())
    assert [(f.name, constraint_of(f).minimum, constraint_of(f).maximum) for f in dataclasses.fields(TagMember)] == [
        ("tag_key", 1, 128),
        ("tag_value", 0, 256),
    ]


def test_a_field_without_a_constraint_is_free():
    @dataclasses.dataclass
    class Free:
        anything: str | None = None

    check(Free("x" * 10_000))
    assert constraint_of(dataclasses.fields(Free)[0]) == Constraint()
