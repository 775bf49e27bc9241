"""The cases of moto's suite that fail against the service, and why that is right. Where moto and AWS disagree, AWS is right.

A case without its parameters stands for all of its parameters; … stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that fail for one reason.

    Args:
        why: The reason, in Markdown.
        cases: The cases, by file.
    """

    why: str
    cases: dict[str, tuple[str, ...]]

    def names(self) -> tuple[str, ...]:
        """Return the cases as pytest names them."""
        return tuple(f"{file}::{case}" for file, cases in self.cases.items() for case in cases)

    def of(self, ran: Iterable[str]) -> list[str]:
        """Return those of the cases that ran which are meant here."""
        patterns = [_pattern(name) for name in self.names()]
        return [case for case in ran if any(pattern.fullmatch(case) for pattern in patterns)]


def _pattern(name: str) -> re.Pattern[str]:
    form = ".*".join(re.escape(part) for part in name.split(ELLIPSIS))
    return re.compile(form if "[" in name else form + r"(\[.*\])?", re.DOTALL)


GROUPS: Final[tuple[Group, ...]] = (
    Group(
        "`my policy`, `policy 2.0` and the like are no policy documents: MalformedPolicyDocumentException, as at AWS. moto keeps any text",
        {
            "test_kms.py": (
                "test_create_key_without_description",
                "test_create_key",
                "test_non_multi_region_keys_should_not_have_multi_region_properties",
                "test_get_key_policy",
                "test_put_key_policy",
                "test_put_key_policy_using_alias_shouldnt_work",
            ),
            "test_kms_grants.py": (
                "test_create_grant",
                "test_list_grants",
                "test_list_retirable_grants",
                "test_revoke_grant",
                "test_revoke_grant_raises_when_grant_does_not_exist",
                "test_retire_grant_by_token",
                "test_retire_grant_by_grant_id",
            ),
            "test_kms_mac.py": (
                "test_generate_mac",
                "test_generate_mac_supports_aliases_for_hmac_keys",
                "test_verify_mac",
                "test_verify_mac_fails_for_another_key_id",
            ),
            "test_kms_key_rotation.py": (
                "test_rotate_key_on_demand_with_existing_key",
                "test_list_key_rotations_are_empty_on_new_key",
                "test_list_key_rotations_returns_one_rotation",
                "test_list_key_rotations_returns_truncated_and_next_marker",
                "test_list_key_rotations_pagination",
            ),
        },
    ),
    Group(
        "they make keys and aliases with AWS CloudFormation, which is another service; and their key policies are none",
        {
            "test_kms_cloudformation.py": (
                "test_alias_create_and_delete",
                "test_alias_create_and_update_with_arn",
            )
        },
    ),
    Group(
        "a key policy after which nobody can change it any more is refused, as at AWS, unless BypassPolicyLockoutSafetyCheck is set",
        {
            "test_kms_policy_enforcement.py": (
                "TestKMSPolicyEnforcement::test_policy__deny_based_on_actions",
                "TestKMSPolicyEnforcement::test_policy__allow_based_on_actions",
            )
        },
    ),
    Group(
        "a key or alias of account 012345678912, and the caller is of 123456789012: AccessDeniedException, as at AWS. "
        "moto looks at no account",
        {
            "test_kms.py": (
                "test_describe_key_via_alias_invalid_alias[…012345678912…]",
                "test_invalid_key_ids[…012345678912…]",
                "test_generate_data_key_invalid_key[…012345678912…]",
                "test_generate_data_key_all_valid_key_ids[…012345678912…]",
            )
        },
    ),
    Group(
        "KeyId of these answers is the key ARN, as AWS documents it. moto answers with the key ID",
        {
            "test_kms.py": (
                "test_schedule_key_deletion",
                "test_schedule_key_deletion_custom",
                "test_cancel_key_deletion",
            )
        },
    ),
    Group(
        "a key that is pending deletion cannot be tagged: KMSInvalidStateException, as in AWS's table of key states",
        {"test_kms.py": ("test_tag_resource", "test_list_resource_tags", "test_list_resource_tags_with_arn")},
    ),
    Group(
        "an alias is listed with CreationDate and LastUpdatedDate, as at AWS. moto leaves them out and compares whole entries",
        {
            "test_kms.py": (
                "test__create_alias__can_create_multiple_aliases_for_same_key_id",
                "test_list_aliases_for_key_id",
                "test_list_aliases_for_key_arn",
            )
        },
    ),
    Group(
        "a ciphertext of another key than KeyId names: IncorrectKeyException, as AWS documents it. moto says AccessDeniedException",
        {"test_kms.py": ("test_decrypt_validates_key_id",)},
    ),
    Group(
        "a reserved alias: InvalidAliasNameException, which AWS documents for CreateAlias; NotAuthorizedException is in "
        "AWS's model of no operation",
        {"test_kms.py": ("test__create_alias__raises_if_reserved_alias",)},
    ),
    Group(
        "the same exception as moto's; as at AWS the text says that an alias must start with the prefix `alias/`, and names "
        "the member `keySpec`, with the values of today",
        {
            "test_kms.py": (
                "test__create_alias__raises_if_wrong_prefix",
                "test__delete_alias__raises_if_wrong_prefix",
                "test_create_key_with_invalid_key_spec",
            )
        },
    ),
    Group(
        "the same exception as moto's; the text quotes the KeyId, as AWS's does, and says what to name instead of an alias",
        {"test_kms.py": ("test_enable_key_rotation_with_alias_name_should_fail",)},
    ),
    Group(
        "the same exception as moto's; as at AWS the text names the member `signingAlgorithm`, `message` or `signature`, and "
        "lists the algorithms of every kind of key, not of one",
        {
            "test_kms.py": (
                "test_sign_invalid_signing_algorithm",
                "test_sign_invalid_message",
                "test_verify_invalid_signing_algorithm",
                "test_verify_invalid_message",
                "test_verify_empty_signature",
            )
        },
    ),
    Group(
        "they sign a digest of 32 bytes with MessageType DIGEST whatever the algorithm's hash is, and verify it as a RAW message. AWS "
        "documents that a digest must be as long as the hash's, which is a ValidationException here, and that a signature that is not "
        "verified is a KMSInvalidSignatureException. moto treats DIGEST as RAW",
        {
            "test_kms.py": (
                "test_sign_and_verify_digest_message_type_RSA",
                "test_sign_and_verify_digest_message_type_ECDSA",
                "test_fail_verify_digest_message_type_RSA",
                "test_fail_verify_digest_message_type_ECDSA",
            )
        },
    ),
    Group(
        "a wrong signature: KMSInvalidSignatureException, as AWS documents it. moto answers with SignatureValid false, "
        "which AWS never does",
        {"test_kms.py": ("test_verify_happy_with_invalid_signature",)},
    ),
    Group(
        "a key of another KeyUsage, or an algorithm that the key does not have: InvalidKeyUsageException, as AWS documents it for "
        "Sign. moto says ValidationException",
        {
            "test_kms.py": (
                "test_sign_invalid_key_usage",
                "test_invalid_signing_algorithm_for_key_spec_type_ECDSA",
            )
        },
    ),
    Group(
        "a grant token that nobody issued: InvalidGrantTokenException, as AWS documents it for Sign and Verify. moto looks at no "
        "grant token",
        {"test_kms.py": ("test_sign_and_verify_ignoring_grant_tokens",)},
    ),
    Group(
        "CreateKey of an HMAC key to encrypt with, and of an RSA key for MACs: ValidationException, since AWS documents for each "
        "KeySpec which KeyUsage it may have. moto makes them, and refuses only GenerateMac",
        {
            "test_kms_mac.py": (
                "test_generate_fails_for_invalid_key_usage",
                "test_generate_fails_for_invalid_key_spec",
            )
        },
    ),
    Group(
        "departs from AWS, see [members](#members-and-constraints): a list of no tags is a mistake of the request, seen "
        "before the key is looked for",
        {"test_kms.py": ("test_unknown_tag_methods",)},
    ),
    Group(
        "departs from AWS, see [members](#members-and-constraints): CustomerMasterKeySpec is absent in answers",
        {"test_kms.py": ("test_describe_key", "test_create_key_deprecated_master_custom_key_spec")},
    ),
    Group(
        "departs from AWS, see [who may do what](#who-may-do-what): there are no AWS managed keys, so no aliases of theirs",
        {"test_kms.py": ("test_list_aliases",)},
    ),
    Group(
        "departs from AWS, see [operations](#operations): multi-Region keys do not apply",
        {
            "test_kms.py": (
                "test_create_multi_region_key",
                "test_create_multi_region_configuration_key",
                "test_replicate_key",
            )
        },
    ),
)
