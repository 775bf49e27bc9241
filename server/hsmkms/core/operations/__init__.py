"""Every operation of the API, and the one way in: `perform`.

An operation is a coroutine that takes an `Environment`, a `Call` and its request, and returns its response or raises a `KmsError`.
The order in which an operation judges a request is part of its contract: shape, parse, resolve, authorise, match, state, usage,
algorithm, and only then the token. Nothing about a key's state is told before the caller is authorised.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from hsmkms.core import aws_json, members
from hsmkms.core.messages import OPERATIONS, Effect
from hsmkms.core.operations import (
    agreement,
    aliases,
    create_key,
    data_key_pairs,
    data_keys,
    deletion,
    descriptions,
    encrypt,
    grants,
    imports,
    inapplicable,
    keys,
    macs,
    policies,
    public_keys,
    reencrypt,
    rotation_schedule,
    rotations,
    signing,
    tags,
    usage,
)
from hsmkms.core.operations.environment import Environment, mutation
from hsmkms.core.ports import Call

Handler = Callable[[Environment, Call, Any], Awaitable[Any]]

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "CancelKeyDeletion": deletion.cancel_key_deletion,
        "ConnectCustomKeyStore": inapplicable.refuse,
        "CreateAlias": aliases.create_alias,
        "CreateCustomKeyStore": inapplicable.refuse,
        "CreateGrant": grants.create_grant,
        "CreateKey": create_key.create_key,
        "Decapsulate": inapplicable.refuse,
        "Decrypt": encrypt.decrypt,
        "DeleteAlias": aliases.delete_alias,
        "DeleteCustomKeyStore": inapplicable.refuse,
        "DeleteImportedKeyMaterial": imports.delete_imported_key_material,
        "DeriveSharedSecret": agreement.derive_shared_secret,
        "DescribeCustomKeyStores": inapplicable.refuse,
        "DescribeKey": keys.describe_key,
        "DisableKey": keys.disable_key,
        "DisableKeyRotation": rotation_schedule.disable_key_rotation,
        "DisconnectCustomKeyStore": inapplicable.refuse,
        "EnableKey": keys.enable_key,
        "EnableKeyRotation": rotation_schedule.enable_key_rotation,
        "Encapsulate": inapplicable.refuse,
        "Encrypt": encrypt.encrypt,
        "GenerateDataKey": data_keys.generate_data_key,
        "GenerateDataKeyPair": data_key_pairs.generate_data_key_pair,
        "GenerateDataKeyPairWithoutPlaintext": data_key_pairs.generate_data_key_pair_without_plaintext,
        "GenerateDataKeyWithoutPlaintext": data_keys.generate_data_key_without_plaintext,
        "GenerateMac": macs.generate_mac,
        "GenerateRandom": data_keys.generate_random,
        "GetKeyLastUsage": usage.get_key_last_usage,
        "GetKeyPolicy": policies.get_key_policy,
        "GetKeyRotationStatus": rotation_schedule.get_key_rotation_status,
        "GetParametersForImport": imports.get_parameters_for_import,
        "GetPublicKey": public_keys.get_public_key,
        "ImportKeyMaterial": imports.import_key_material,
        "ListAliases": aliases.list_aliases,
        "ListGrants": grants.list_grants,
        "ListKeyPolicies": policies.list_key_policies,
        "ListKeyRotations": rotations.list_key_rotations,
        "ListKeys": keys.list_keys,
        "ListResourceTags": tags.list_resource_tags,
        "ListRetirableGrants": grants.list_retirable_grants,
        "PutKeyPolicy": policies.put_key_policy,
        "ReEncrypt": reencrypt.re_encrypt,
        "ReplicateKey": inapplicable.refuse,
        "RetireGrant": grants.retire_grant,
        "RevokeGrant": grants.revoke_grant,
        "RotateKeyOnDemand": rotations.rotate_key_on_demand,
        "ScheduleKeyDeletion": deletion.schedule_key_deletion,
        "Sign": signing.sign,
        "TagResource": tags.tag_resource,
        "UntagResource": tags.untag_resource,
        "UpdateAlias": aliases.update_alias,
        "UpdateCustomKeyStore": inapplicable.refuse,
        "UpdateKeyDescription": descriptions.update_key_description,
        "UpdatePrimaryRegion": inapplicable.refuse,
        "Verify": signing.verify,
        "VerifyMac": macs.verify_mac,
    }
)
"""The coroutine of each operation; `OPERATIONS` and this table have the same names."""

assert HANDLERS.keys() == OPERATIONS.keys()


async def perform(environment: Environment, call: Call, operation: str, request: Any) -> Any:
    """Check a request's shape and perform the operation, unless it is the repetition of a change that was made.

    Args:
        environment: What the operations reach the outside by.
        call: Who asks, and by when.
        operation: A name of `OPERATIONS`.
        request: Its request, unchecked.

    Returns:
        Its response.

    Raises:
        KmsError: the operation is refused or failed.
    """
    members.check(request)
    environment.view.require_fresh()
    if call.idempotency_key is not None and OPERATIONS[operation].effect is Effect.CHANGES:
        answer = await environment.changes.recall(mutation(call, operation, request))
        if answer is not None:
            return aws_json.decode(OPERATIONS[operation].response, json.loads(answer))
    return await HANDLERS[operation](environment, call, request)


__all__ = ["HANDLERS", "Environment", "perform"]
