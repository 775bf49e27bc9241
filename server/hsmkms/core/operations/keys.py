"""DescribeKey, ListKeys, EnableKey, DisableKey, and what is told of a key. CreateKey: `create_key`."""

from __future__ import annotations

from typing import Final

from hsmkms.core import specs
from hsmkms.core.arns import key_arn
from hsmkms.core.messages import (
    DescribeKeyRequest,
    DescribeKeyResponse,
    DisableKeyRequest,
    Empty,
    EnableKeyRequest,
    KeyListEntry,
    KeyMetadata,
    ListKeysRequest,
    ListKeysResponse,
)
from hsmkms.core.model import (
    BackingKey,
    ExpirationModel,
    KeyManager,
    KeySpec,
    KeyState,
    KmsKey,
    MultiRegionKind,
    Origin,
)
from hsmkms.core.operations.environment import Environment, mutation, optional_datetime, to_datetime
from hsmkms.core.operations.identify import resolve, resolve_key_only
from hsmkms.core.operations.judge import Side, authorise
from hsmkms.core.operations.pages import page
from hsmkms.core.ports import Call

_DEFAULT_PAGE: Final = 100


async def describe_key(environment: Environment, call: Call, request: DescribeKeyRequest) -> DescribeKeyResponse:
    """Tell what a key is, whatever its state.

    Raises:
        KmsError: the key cannot be found, or the caller may not see it.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve(environment, call, request.key_id, "kms:DescribeKey")
    authorise(environment, call, "kms:DescribeKey", target, Side(grant_tokens=request.grant_tokens))
    return DescribeKeyResponse(metadata(environment, target.key))


async def list_keys(environment: Environment, call: Call, request: ListKeysRequest) -> ListKeysResponse:
    """List the caller's account's keys, a page at a time, in the order of their ids.

    Raises:
        InvalidMarkerException: the marker is not one of this list.
        KmsError: any other refusal.
    """
    authorise(environment, call, "kms:ListKeys", "*")
    keys, marker = page(
        environment,
        call,
        "ListKeys",
        request.marker,
        request.limit or _DEFAULT_PAGE,
        lambda after, limit: environment.view.keys_after(call.scope, after, limit),
        lambda key: key.key_id,
    )
    entries = tuple(KeyListEntry(key.key_id, key_arn(environment.partition, key.scope, key.key_id)) for key in keys)
    return ListKeysResponse(entries, marker, marker is not None)


async def enable_key(environment: Environment, call: Call, request: EnableKeyRequest) -> Empty:
    """Make a key usable.

    Raises:
        KMSInvalidStateException: the key is in a state that does not allow it.
        KmsError: any other refusal.
    """
    return await _set_state(environment, call, request, "EnableKey", KeyState.ENABLED)


async def disable_key(environment: Environment, call: Call, request: DisableKeyRequest) -> Empty:
    """Make a key unusable until it is enabled again.

    Raises:
        KMSInvalidStateException: the key is in a state that does not allow it.
        KmsError: any other refusal.
    """
    return await _set_state(environment, call, request, "DisableKey", KeyState.DISABLED)


async def _set_state(
    environment: Environment, call: Call, request: EnableKeyRequest | DisableKeyRequest, operation: str, state: KeyState
) -> Empty:
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, f"kms:{operation}")
    authorise(environment, call, f"kms:{operation}", target)
    await environment.changes.set_state(mutation(call, operation, request), target.key, state)
    return Empty()


def metadata(environment: Environment, key: KmsKey) -> KeyMetadata:
    """Return KeyMetadata of a key: of its algorithms those that this token can do."""
    features = environment.token.features
    current = key.current
    return KeyMetadata(
        aws_account_id=key.scope.account,
        key_id=key.key_id,
        arn=key_arn(environment.partition, key.scope, key.key_id),
        creation_date=to_datetime(key.created),
        enabled=key.state is KeyState.ENABLED,
        description=key.description,
        key_usage=key.usage,
        key_state=key.state,
        origin=key.origin,
        key_manager=KeyManager.CUSTOMER,
        key_spec=key.spec,
        encryption_algorithms=specs.encryption_algorithms(key, features),
        signing_algorithms=specs.signing_algorithms(key, features),
        mac_algorithms=specs.mac_algorithms(key, features),
        key_agreement_algorithms=specs.key_agreement_algorithms(key, features),
        multi_region=key.multi_region is not MultiRegionKind.SINGLE,
        deletion_date=optional_datetime(key.deletion_date),
        current_key_material_id=current.material_id if current and key.spec is KeySpec.SYMMETRIC_DEFAULT else None,
        valid_to=optional_datetime(current.expiry) if current else None,
        expiration_model=expiration_model(current) if current and key.origin is Origin.EXTERNAL else None,
    )


def expiration_model(imported: BackingKey) -> ExpirationModel:
    """Return whether imported material expires."""
    if imported.expiry is None:
        return ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE
    return ExpirationModel.KEY_MATERIAL_EXPIRES


__all__ = ["describe_key", "disable_key", "enable_key", "expiration_model", "list_keys", "metadata"]
