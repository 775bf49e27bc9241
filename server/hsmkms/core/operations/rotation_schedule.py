"""EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus. Who rotates when the day has come, `server.rotation_scheduler` says."""

from __future__ import annotations

from typing import Final

from hsmkms.core.errors import UnsupportedOperationException
from hsmkms.core.messages import (
    DisableKeyRotationRequest,
    Empty,
    EnableKeyRotationRequest,
    GetKeyRotationStatusRequest,
    GetKeyRotationStatusResponse,
)
from hsmkms.core.model import BackingKeyState, KeySpec, KeyState, KmsKey, Origin, RotationType
from hsmkms.core.operations.environment import Environment, mutation, optional_datetime
from hsmkms.core.operations.identify import NamedKey, resolve_key_only
from hsmkms.core.operations.judge import Side, authorise, require_origin, require_state
from hsmkms.core.ports import Call

DEFAULT_PERIOD_DAYS: Final = 365


async def enable_key_rotation(environment: Environment, call: Call, request: EnableKeyRotationRequest) -> Empty:
    """Let a key rotate by itself every 90 to 2560 days (365 by default), for the first time after that many days from now.

    For a key that rotates by itself with that period already, nothing changes.

    Raises:
        DisabledException, KMSInvalidStateException: the key is not Enabled.
        UnsupportedOperationException: the key is not a symmetric one, or its material was imported.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    period = request.rotation_period_in_days or DEFAULT_PERIOD_DAYS
    target = resolve_key_only(environment, call, request.key_id, "kms:EnableKeyRotation")
    conditions = {"kms:RotationPeriodInDays": str(period)}
    authorise(environment, call, "kms:EnableKeyRotation", target, Side(conditions=conditions))
    require_rotatable(target)
    await environment.changes.enable_rotation(mutation(call, "EnableKeyRotation", request), target.key, period)
    return Empty()


async def disable_key_rotation(environment: Environment, call: Call, request: DisableKeyRotationRequest) -> Empty:
    """Let a key rotate by itself no longer. Material that it has stays.

    Raises:
        DisabledException, KMSInvalidStateException: the key is not Enabled.
        UnsupportedOperationException: the key is not a symmetric one, or its material was imported.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:DisableKeyRotation")
    authorise(environment, call, "kms:DisableKeyRotation", target)
    require_rotatable(target)
    await environment.changes.disable_rotation(mutation(call, "DisableKeyRotation", request), target.key)
    return Empty()


async def get_key_rotation_status(
    environment: Environment, call: Call, request: GetKeyRotationStatusRequest
) -> GetKeyRotationStatusResponse:
    """Tell whether and when a key rotates by itself. Of a key that is pending deletion: that it does not.

    Raises:
        KmsError: the key cannot be found, the caller may not see it, or its material cannot be rotated.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:GetKeyRotationStatus", cross_account=True)
    authorise(environment, call, "kms:GetKeyRotationStatus", target)
    require_rotatable(target)
    require_state(target, "GetKeyRotationStatus")
    key = target.key
    rotates = key.rotation_period_days is not None and key.state is not KeyState.PENDING_DELETION
    return GetKeyRotationStatusResponse(
        key_rotation_enabled=rotates,
        key_id=key.key_id,
        rotation_period_in_days=key.rotation_period_days if rotates else None,
        next_rotation_date=optional_datetime(key.next_rotation) if rotates else None,
        on_demand_rotation_start_date=optional_datetime(_on_demand_since(key)),
    )


def require_rotatable(target: NamedKey) -> None:
    """Do nothing if a key is a symmetric one whose material the token makes.

    Raises:
        UnsupportedOperationException: no other key rotates by itself.
    """
    require_several_materials(target)
    require_origin(target, Origin.AWS_KMS)


def require_several_materials(target: NamedKey) -> None:
    """Do nothing if a key is of a kind that has more than one material in the course of its life.

    Raises:
        UnsupportedOperationException: key pairs and HMAC keys do not rotate.
    """
    if target.key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise UnsupportedOperationException(
            f"{target.arn} key spec is {target.key.spec} which is not valid for this operation: "
            "only symmetric encryption keys rotate."
        )


def _on_demand_since(key: KmsKey) -> int | None:
    """Return when the rotation on demand began that is under way, or None."""
    for backing_key in key.backing_keys.values():
        if backing_key.state is BackingKeyState.CREATING and backing_key.rotation_type is RotationType.ON_DEMAND:
            return backing_key.created
    return None
