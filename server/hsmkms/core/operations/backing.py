"""How a backing key comes to be: row, token, canary, row; the same for a new KMS key and for a rotation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hsmkms.core import aws_json
from hsmkms.core.ciphertext import key_material_id
from hsmkms.core.generation import generate_material
from hsmkms.core.model import BackingKey, BackingKeyState, KeyState, KmsKey
from hsmkms.core.operations.environment import Environment
from hsmkms.core.ports import Begun, Mutation

Response = TypeVar("Response")


async def generate(
    environment: Environment,
    change: Mutation,
    begin: Callable[[], Awaitable[Begun]],
    kind: type[Response],
    answer: Callable[[KmsKey], Response],
) -> Response:
    """Generate a backing key in the order that survives being killed at any point.

    The row is written as Creating with the CKA_ID; the token generates; the canary proves the material; the row becomes Active, and the
    key Enabled, together with the answer that the idempotency key repeats. What dies in between is finished by the reconciler, or by
    the same idempotency key.

    Args:
        environment: The ports.
        change: The idempotency key.
        begin: Writes the row, or finds what was begun before.
        kind: The type of the answer.
        answer: Makes the answer from the key as it will be.

    Raises:
        KeyUnavailableException: the same change is under way, or the token is out of reach; try again with the same idempotency key.
    """
    begun = await begin()
    if begun.answer:
        return aws_json.decode(kind, json.loads(begun.answer))
    if begun.finished:
        return answer(begun.key)
    with environment.creations.creating(begun):
        canary = await generate_material(environment.token, begun.key, begun.version)
        response = answer(_finished(begun, canary, environment.clock.now_us()))
        document = json.dumps(aws_json.encode(response)).encode()
        await environment.changes.finish_backing_key(change, begun, canary, document)
    return response


def _finished(begun: Begun, canary: bytes, now: int) -> KmsKey:
    """Return the key as it will be once its new backing key is current."""
    backing_key: BackingKey = begun.key.backing_keys[begun.version]
    ready = dataclasses.replace(
        backing_key, state=BackingKeyState.ACTIVE, canary=canary, material_id=key_material_id(canary)
    )
    state = KeyState.ENABLED if begun.key.state is KeyState.CREATING else begun.key.state
    return dataclasses.replace(
        begun.key,
        state=state,
        current_version=begun.version,
        backing_keys={**begun.key.backing_keys, begun.version: ready},
        updated=now,
    )
