"""RotateKeyOnDemand and ListKeyRotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hsmkms.core.errors import UnsupportedOperationException
from hsmkms.core.messages import (
    ListKeyRotationsRequest,
    ListKeyRotationsResponse,
    RotateKeyOnDemandRequest,
    RotateKeyOnDemandResponse,
    RotationsListEntry,
)
from hsmkms.core.model import (
    BackingKey,
    BackingKeyState,
    ImportState,
    IncludeKeyMaterial,
    KeyMaterialState,
    KmsKey,
    Origin,
    RotationType,
)
from hsmkms.core.operations.backing import generate
from hsmkms.core.operations.environment import Environment, mutation, optional_datetime
from hsmkms.core.operations.identify import resolve_key_only
from hsmkms.core.operations.judge import authorise, require_state
from hsmkms.core.operations.keys import expiration_model
from hsmkms.core.operations.pages import page
from hsmkms.core.operations.rotation_schedule import require_several_materials
from hsmkms.core.ports import Call

_DEFAULT_PAGE: Final = 100
_AWAY: Final = frozenset({BackingKeyState.PENDING_IMPORT, BackingKeyState.DESTROYING, BackingKeyState.CREATING})


async def rotate_key_on_demand(
    environment: Environment, call: Call, request: RotateKeyOnDemandRequest
) -> RotateKeyOnDemandResponse:
    """Give a key new material now. Ciphertexts of older material stay readable, always.

    Raises:
        LimitExceededException: the key was rotated on demand 25 times.
        ConflictException: another rotation of the key is under way.
        UnsupportedOperationException: the key is not a symmetric one, or its material was imported.
        DisabledException, KMSInvalidStateException: the key is not Enabled; judged with the change, so that a repetition is recognised.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:RotateKeyOnDemand")
    authorise(environment, call, "kms:RotateKeyOnDemand", target)
    require_several_materials(target)
    if target.key.origin is Origin.EXTERNAL:
        raise UnsupportedOperationException(
            f"{target.arn} origin is EXTERNAL which is not valid for this operation: an imported key has one key material. "
            "Create another key with the new material, and re-encrypt to it."
        )
    change = mutation(call, "RotateKeyOnDemand", request)
    return await generate(
        environment,
        change,
        lambda: environment.changes.begin_rotation(change, target.key, environment.token.suite, RotationType.ON_DEMAND),
        RotateKeyOnDemandResponse,
        lambda key: RotateKeyOnDemandResponse(key.key_id),
    )


async def list_key_rotations(
    environment: Environment, call: Call, request: ListKeyRotationsRequest
) -> ListKeyRotationsResponse:
    """List the rotations of a key, oldest first, a page at a time; of imported material also whether it is there, and how long.

    Raises:
        UnsupportedOperationException: the key is not a symmetric one.
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:ListKeyRotations")
    authorise(environment, call, "kms:ListKeyRotations", target)
    require_several_materials(target)
    require_state(target, "ListKeyRotations")
    everything = request.include_key_material == IncludeKeyMaterial.ALL_KEY_MATERIAL
    materials = [
        backing_key
        for version, backing_key in sorted(target.key.backing_keys.items())
        if _is_listed(backing_key) and (everything or backing_key.rotated is not None)
    ]

    def after(position: str, limit: int) -> Sequence[BackingKey]:
        return [material for material in materials if _position(material) > position][:limit]

    shown, marker = page(
        environment,
        call,
        f"ListKeyRotations {target.key.key_id} {everything}",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        after,
        _position,
    )
    entries = tuple(_entry(target.key, material) for material in shown)
    return ListKeyRotationsResponse(entries, marker, marker is not None)


def _is_listed(material: BackingKey) -> bool:
    """Say whether material is on the token, or was imported before and can come back."""
    return material.state is BackingKeyState.ACTIVE or (material.state in _AWAY and bool(material.canary))


def _position(material: BackingKey) -> str:
    return f"{material.version:010}"


def _entry(key: KmsKey, material: BackingKey) -> RotationsListEntry:
    is_away = material.state is not BackingKeyState.ACTIVE
    is_current = material.version == key.current_version or is_away  # imported keys have one material
    is_imported = key.origin is Origin.EXTERNAL
    return RotationsListEntry(
        key_id=key.key_id,
        key_material_id=material.material_id,
        key_material_state=KeyMaterialState.CURRENT if is_current else KeyMaterialState.NON_CURRENT,
        rotation_date=optional_datetime(material.rotated),
        rotation_type=material.rotation_type,
        import_state=(ImportState.PENDING_IMPORT if is_away else ImportState.IMPORTED) if is_imported else None,
        expiration_model=expiration_model(material) if is_imported and not is_away else None,
        valid_to=optional_datetime(material.expiry) if is_imported and not is_away else None,
        key_material_description=(material.description or None) if is_imported else None,
    )
