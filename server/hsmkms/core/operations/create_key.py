"""CreateKey."""

from __future__ import annotations

import json
from typing import Final

from hsmkms.core import aws_json
from hsmkms.core.arns import key_arn
from hsmkms.core.ciphertext import Suite
from hsmkms.core.errors import UnsupportedOperationException, ValidationException
from hsmkms.core.messages import CreateKeyRequest, CreateKeyResponse
from hsmkms.core.model import (
    BackingKey,
    BackingKeyState,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MultiRegionKind,
    Origin,
    Tag,
)
from hsmkms.core.operations.backing import generate
from hsmkms.core.operations.environment import Environment, mutation
from hsmkms.core.operations.identify import NamedKey
from hsmkms.core.operations.judge import Side, authorise, check_new_policy, lacking
from hsmkms.core.operations.keys import metadata
from hsmkms.core.operations.tags import checked_tags
from hsmkms.core.ports import Call
from hsmkms.core.specs import USAGES

_IMPORTED: Final = frozenset({KeySpec.SYMMETRIC_DEFAULT, KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096})


async def create_key(environment: Environment, call: Call, request: CreateKeyRequest) -> CreateKeyResponse:
    """Create a KMS key: its row first, then the material on the token, then what proves it, and only then the answer.

    A key of origin EXTERNAL has no material until some is imported.

    Raises:
        UnsupportedOperationException: a kind of key that this service or this token does not have.
        TagException: a tag is not valid.
        ValidationException: members do not go together.
        KmsError: any other refusal. After a KeyUnavailableException the same idempotency key goes on where it stopped.
    """
    _refuse_key_stores(request)
    spec = _spec(request)
    usage = _usage(request, spec)
    origin = Origin(request.origin or Origin.AWS_KMS)
    _require_possible(environment, spec, origin)
    tags = checked_tags(request.tags)
    bypass = bool(request.bypass_policy_lockout_safety_check)
    authorise(environment, call, "kms:CreateKey", "*", _side(spec, usage, origin, tags, bypass=bypass))
    now = environment.clock.now_us()
    change = mutation(call, "CreateKey", request)
    is_external = origin is Origin.EXTERNAL
    suite = environment.token.suite if spec is KeySpec.SYMMETRIC_DEFAULT else Suite.NONE
    key = KmsKey(
        scope=call.scope,
        key_id=environment.entropy.key_id(),
        state=KeyState.PENDING_IMPORT if is_external else KeyState.CREATING,
        description=request.description or "",
        spec=spec,
        usage=usage,
        origin=origin,
        multi_region=MultiRegionKind.SINGLE,
        current_version=0,
        backing_keys={} if is_external else {1: BackingKey(1, suite, BackingKeyState.CREATING, b"", "", now)},
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

    if is_external:
        document = json.dumps(aws_json.encode(answer(key))).encode()
        kept = await environment.changes.create_key_without_material(change, key, document)
        return aws_json.decode(CreateKeyResponse, json.loads(kept))
    return await generate(
        environment, change, lambda: environment.changes.begin_key(change, key), CreateKeyResponse, answer
    )


def _side(spec: KeySpec, usage: KeyUsage, origin: Origin, tags: tuple[Tag, ...], *, bypass: bool) -> Side:
    conditions: dict[str, str | tuple[str, ...]] = {f"aws:RequestTag/{tag.tag_key}": tag.tag_value for tag in tags}
    if tags:
        conditions["aws:TagKeys"] = tuple(tag.tag_key for tag in tags)
    conditions |= {
        "kms:KeySpec": spec,
        "kms:KeyUsage": usage,
        "kms:KeyOrigin": origin,
        "kms:BypassPolicyLockoutSafetyCheck": str(bypass).lower(),
    }
    return Side(conditions=conditions)


def _refuse_key_stores(request: CreateKeyRequest) -> None:
    in_a_store = request.origin in (Origin.AWS_CLOUDHSM, Origin.EXTERNAL_KEY_STORE)
    if request.custom_key_store_id is not None or request.xks_key_id is not None or in_a_store:
        raise UnsupportedOperationException(
            "Custom key stores do not apply to this service, whose keys are all on its own token: use Origin AWS_KMS."
        )
    if request.multi_region:
        raise UnsupportedOperationException("Multi-Region keys do not apply to this service: leave MultiRegion out.")


def _spec(request: CreateKeyRequest) -> KeySpec:
    """Return the key spec, under whichever of its two names it was given."""
    given = {name for name in (request.key_spec, request.customer_master_key_spec) if name is not None}
    if len(given) > 1:
        raise ValidationException(
            "You cannot specify KeySpec and CustomerMasterKeySpec, its older name, with different values: use KeySpec."
        )
    return KeySpec(given.pop()) if given else KeySpec.SYMMETRIC_DEFAULT


def _usage(request: CreateKeyRequest, spec: KeySpec) -> KeyUsage:
    if request.key_usage is None and spec is not KeySpec.SYMMETRIC_DEFAULT:
        raise ValidationException(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys. "
            f"For KeySpec {spec} use {_either(USAGES[spec])}."
        )
    usage = KeyUsage(request.key_usage or KeyUsage.ENCRYPT_DECRYPT)
    if usage not in USAGES[spec]:
        raise ValidationException(f"KeyUsage {usage} does not go with KeySpec {spec}: use {_either(USAGES[spec])}.")
    return usage


def _either(usages: tuple[KeyUsage, ...]) -> str:
    return " or ".join(usages)


def _require_possible(environment: Environment, spec: KeySpec, origin: Origin) -> None:
    """Do nothing if the token can make, or take in, that kind of key.

    Raises:
        UnsupportedOperationException: it cannot; the text names what is missing and what it can.
    """
    features = environment.token.features
    if spec not in features.key_specs:
        raise lacking(environment, f"KeySpec {spec}", spec, [one for one in KeySpec if one in features.key_specs])
    if origin is not Origin.EXTERNAL or spec in features.imported_specs:
        return
    possible = [one for one in KeySpec if one in features.imported_specs]
    if spec in _IMPORTED:
        raise lacking(environment, f"Origin EXTERNAL with KeySpec {spec}", spec, [f"KeySpec {one}" for one in possible])
    raise UnsupportedOperationException(
        f"Origin EXTERNAL does not go with KeySpec {spec}: this service imports symmetric keys and RSA keys only."
    )
