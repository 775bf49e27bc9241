"""CreateKey, DescribeKey, ListKeys, EnableKey, DisableKey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hsmkms.core.arns import key_arn
from hsmkms.core.errors import UnsupportedOperationException, ValidationException
from hsmkms.core.members import shown
from hsmkms.core.messages import (
    CreateKeyRequest,
    CreateKeyResponse,
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
    BackingKeyState,
    KeyManager,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    Tag,
)
from hsmkms.core.operations.backing import generate
from hsmkms.core.operations.environment import Environment, mutation, optional_datetime, to_datetime
from hsmkms.core.operations.identify import NamedKey, resolve, resolve_key_only
from hsmkms.core.operations.judge import ALGORITHMS_OF_SPEC, Side, authorise, check_new_policy
from hsmkms.core.operations.pages import page
from hsmkms.core.operations.tags import checked_tags
from hsmkms.core.ports import Call

_DEFAULT_PAGE: Final = 100
_NEEDS: Final[Mapping[str, str]] = {
    "RSA_2048": "RSA keys are not supported by this version",
    "RSA_3072": "RSA keys are not supported by this version",
    "RSA_4096": "RSA keys are not supported by this version",
    "ECC_NIST_P256": "elliptic-curve keys are not supported by this version",
    "ECC_NIST_P384": "elliptic-curve keys are not supported by this version",
    "ECC_NIST_P521": "elliptic-curve keys are not supported by this version",
    "ECC_SECG_P256K1": "elliptic-curve keys are not supported by this version",
    "ECC_NIST_EDWARDS25519": "Edwards-curve keys are not supported by this version",
    "HMAC_224": "HMAC keys are not supported by this version",
    "HMAC_256": "HMAC keys are not supported by this version",
    "HMAC_384": "HMAC keys are not supported by this version",
    "HMAC_512": "HMAC keys are not supported by this version",
    "SM2": "SM2 has no standard PKCS#11 mechanism",
    "ML_DSA_44": "ML-DSA is not supported by this version",
    "ML_DSA_65": "ML-DSA is not supported by this version",
    "ML_DSA_87": "ML-DSA is not supported by this version",
    "ML_KEM_512": "ML-KEM is not supported by this version",
    "ML_KEM_768": "ML-KEM is not supported by this version",
    "ML_KEM_1024": "ML-KEM is not supported by this version",
}
"""Every other key spec of the AWS model, and why it is refused."""


async def create_key(environment: Environment, call: Call, request: CreateKeyRequest) -> CreateKeyResponse:
    """Create a KMS key: its row first, then the backing key on the token, then its canary, and only then the answer.

    Raises:
        UnsupportedOperationException: a kind of key that this version or this token does not have.
        TagException: a tag is not valid.
        KmsError: any other refusal. After a KeyUnavailableException the same idempotency key goes on where it stopped.
    """
    _refuse_unsupported(request)
    tags = checked_tags(request.tags)
    bypass = bool(request.bypass_policy_lockout_safety_check)
    authorise(environment, call, "kms:CreateKey", "*", _conditions(tags, bypass=bypass))
    now = environment.clock.now_us()
    change = mutation(call, "CreateKey", request)
    first = BackingKey(1, environment.token.suite, BackingKeyState.CREATING, b"", "", now)
    key = KmsKey(
        scope=call.scope,
        key_id=environment.entropy.key_id(),
        state=KeyState.CREATING,
        description=request.description or "",
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        origin=Origin.AWS_KMS,
        multi_region=MultiRegionKind.SINGLE,
        current_version=0,
        backing_keys={1: first},
        created=now,
        updated=now,
        policy=request.policy or "",
        tags=tags,
    )
    if request.policy is not None:
        arn = key_arn(environment.partition, key.scope, key.key_id)
        target = NamedKey(key, arn, asked_for=arn)  # not `named`: the key is not there yet, and no record lists it
        check_new_policy(environment, call, target, request.policy, bypass=bypass)

    def answer(finished: KmsKey) -> CreateKeyResponse:
        return CreateKeyResponse(metadata(environment, finished))

    return await generate(
        environment, change, lambda: environment.changes.begin_key(change, key), CreateKeyResponse, answer
    )


def _conditions(tags: tuple[Tag, ...], *, bypass: bool) -> Side:
    conditions: dict[str, str | tuple[str, ...]] = {f"aws:RequestTag/{tag.tag_key}": tag.tag_value for tag in tags}
    if tags:
        conditions["aws:TagKeys"] = tuple(tag.tag_key for tag in tags)
    conditions |= {
        "kms:KeySpec": KeySpec.SYMMETRIC_DEFAULT,
        "kms:KeyUsage": KeyUsage.ENCRYPT_DECRYPT,
        "kms:KeyOrigin": Origin.AWS_KMS,
        "kms:BypassPolicyLockoutSafetyCheck": str(bypass).lower(),
    }
    return Side(conditions=conditions)


def _refuse_unsupported(request: CreateKeyRequest) -> None:
    spec = request.key_spec or KeySpec.SYMMETRIC_DEFAULT
    if spec in _NEEDS:
        raise UnsupportedOperationException(f"KeySpec {spec}: {_NEEDS[spec]}; use SYMMETRIC_DEFAULT.")
    if spec != KeySpec.SYMMETRIC_DEFAULT:
        values = ", ".join([KeySpec.SYMMETRIC_DEFAULT, *_NEEDS])
        raise ValidationException(
            f"1 validation error detected: Value '{shown(spec)}' at 'keySpec' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{values}]"
        )
    if request.key_usage not in (None, KeyUsage.ENCRYPT_DECRYPT):
        raise ValidationException(f"KeyUsage {request.key_usage} does not go with KeySpec {spec}: use ENCRYPT_DECRYPT.")
    if request.custom_key_store_id is not None or request.origin in (Origin.AWS_CLOUDHSM, Origin.EXTERNAL_KEY_STORE):
        raise UnsupportedOperationException(
            "Custom key stores do not apply to this service, whose keys are all on its own token: use Origin AWS_KMS."
        )
    if request.origin == Origin.EXTERNAL:
        raise UnsupportedOperationException(
            "Imported key material is not supported by this version: use Origin AWS_KMS."
        )
    if request.multi_region:
        raise UnsupportedOperationException("Multi-Region keys do not apply to this service: leave MultiRegion out.")


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
    """Return KeyMetadata of a key."""
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
        encryption_algorithms=ALGORITHMS_OF_SPEC[key.spec],
        multi_region=key.multi_region is not MultiRegionKind.SINGLE,
        deletion_date=optional_datetime(key.deletion_date),
        current_key_material_id=current.material_id if current else None,
    )


__all__ = ["create_key", "describe_key", "disable_key", "enable_key", "list_keys"]
