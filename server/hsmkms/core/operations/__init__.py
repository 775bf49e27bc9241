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
from hsmkms.core.operations import aliases, data_keys, encrypt, keys, reencrypt, rotations
from hsmkms.core.operations.environment import Environment, mutation
from hsmkms.core.ports import Call

Handler = Callable[[Environment, Call, Any], Awaitable[Any]]

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType(
    {
        "CreateAlias": aliases.create_alias,
        "CreateKey": keys.create_key,
        "Decrypt": encrypt.decrypt,
        "DeleteAlias": aliases.delete_alias,
        "DescribeKey": keys.describe_key,
        "DisableKey": keys.disable_key,
        "EnableKey": keys.enable_key,
        "Encrypt": encrypt.encrypt,
        "GenerateDataKey": data_keys.generate_data_key,
        "GenerateDataKeyWithoutPlaintext": data_keys.generate_data_key_without_plaintext,
        "GenerateRandom": data_keys.generate_random,
        "ListAliases": aliases.list_aliases,
        "ListKeyRotations": rotations.list_key_rotations,
        "ListKeys": keys.list_keys,
        "ReEncrypt": reencrypt.re_encrypt,
        "RotateKeyOnDemand": rotations.rotate_key_on_demand,
        "UpdateAlias": aliases.update_alias,
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
    declared = OPERATIONS[operation]
    if declared.effect is Effect.CHANGES and call.idempotency_key is not None:
        answer = await environment.changes.recall(mutation(call, operation, request))
        if answer is not None:
            return aws_json.decode(declared.response, json.loads(answer))
    return await HANDLERS[operation](environment, call, request)


__all__ = ["HANDLERS", "Environment", "perform"]
