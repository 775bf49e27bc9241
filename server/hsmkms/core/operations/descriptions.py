"""UpdateKeyDescription."""

from __future__ import annotations

from hsmkms.core.messages import Empty, UpdateKeyDescriptionRequest
from hsmkms.core.operations.environment import Environment, mutation
from hsmkms.core.operations.identify import resolve_key_only
from hsmkms.core.operations.judge import authorise
from hsmkms.core.ports import Call


async def update_key_description(environment: Environment, call: Call, request: UpdateKeyDescriptionRequest) -> Empty:
    """Change a key's description.

    Raises:
        KMSInvalidStateException: the key is pending deletion.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.description is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:UpdateKeyDescription")
    authorise(environment, call, "kms:UpdateKeyDescription", target)
    change = mutation(call, "UpdateKeyDescription", request)
    await environment.changes.set_description(change, target.key, request.description)
    return Empty()
