"""GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial.

A key of origin EXTERNAL has one key material in the course of its life: what was imported first. It may go, by deletion or because its
time has come, and the same may be imported again; what proves that it is the same is its canary, or of a key pair its public key.
"""

from __future__ import annotations

import json
from typing import Final

from hsmkms.core import aws_json, import_tokens
from hsmkms.core.ciphertext import Suite, key_material_id
from hsmkms.core.errors import (
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KmsError,
    NotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.material_messages import (
    DeleteImportedKeyMaterialRequest,
    DeleteImportedKeyMaterialResponse,
    GetParametersForImportRequest,
    GetParametersForImportResponse,
    ImportKeyMaterialRequest,
    ImportKeyMaterialResponse,
)
from hsmkms.core.model import (
    BackingKey,
    BackingKeyState,
    ExpirationModel,
    ImportType,
    KeySpec,
    Origin,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from hsmkms.core.operations.environment import Environment, mutation, to_datetime, to_microseconds
from hsmkms.core.operations.identify import NamedKey, resolve_key_only
from hsmkms.core.operations.judge import Side, authorise, lacking, require_origin, require_state
from hsmkms.core.ports import Begun, Call, Import, ImportedMaterial
from hsmkms.core.specs import PAIR_USES, PAIRS

MAX_VALIDITY_US: Final = 365 * 24 * 3600 * 1_000_000
_VERSION: Final = 1
_REFUSED: Final = (
    InvalidCiphertextException,
    InvalidImportTokenException,
    IncorrectKeyMaterialException,
    UnsupportedOperationException,
    ValidationException,
)
"""Errors after which nothing of the material is on the token."""


async def get_parameters_for_import(
    environment: Environment, call: Call, request: GetParametersForImportRequest
) -> GetParametersForImportResponse:
    """Return a new public key to encrypt key material under, and an import token; good for 24 hours, for this key.

    Raises:
        UnsupportedOperationException: the key's material is not imported, or the token lacks what the wrapping algorithm needs.
        ValidationException: the wrapping algorithm cannot wrap such material.
        KMSInvalidStateException: the key is pending deletion.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.wrapping_algorithm is not None, "its constraint says that it is required"
    assert request.wrapping_key_spec is not None, "its constraint says that it is required"
    algorithm = WrappingAlgorithm(request.wrapping_algorithm)
    wrapping_key = WrappingKeySpec(request.wrapping_key_spec)
    target = resolve_key_only(environment, call, request.key_id, "kms:GetParametersForImport")
    conditions = {"kms:WrappingAlgorithm": str(algorithm), "kms:WrappingKeySpec": str(wrapping_key)}
    authorise(environment, call, "kms:GetParametersForImport", target, Side(conditions=conditions))
    require_origin(target, Origin.EXTERNAL)
    require_state(target, "GetParametersForImport")
    _require_wrapping(environment, target, algorithm, wrapping_key)
    expiry = environment.clock.now_us() + import_tokens.LIFETIME_US
    parameters = import_tokens.Parameters(
        target.key.uuid_bytes,
        import_tokens.WRAPPINGS[algorithm],
        import_tokens.PAIRS[wrapping_key],
        expiry,
        environment.entropy.salt(),
    )
    public_key, wrapped = await environment.token.generate_import_pair(call, parameters.digest, parameters.pair)
    return GetParametersForImportResponse(
        target.arn, import_tokens.issue(parameters, wrapped), public_key, to_datetime(expiry)
    )


def _require_wrapping(
    environment: Environment, target: NamedKey, algorithm: WrappingAlgorithm, wrapping_key: WrappingKeySpec
) -> None:
    possible = environment.token.features.wrapping_algorithms
    fitting = [one for one in WrappingAlgorithm if one in possible and _fits(target, one)]
    if wrapping_key not in import_tokens.PAIRS:
        raise lacking(environment, f"WrappingKeySpec {wrapping_key}", wrapping_key, import_tokens.PAIRS)
    if algorithm not in possible:
        raise lacking(environment, f"WrappingAlgorithm {algorithm}", algorithm, fitting)
    if algorithm not in fitting:
        raise ValidationException(
            f"WrappingAlgorithm {algorithm} cannot wrap an RSA private key: use {' or '.join(fitting) or 'no other'}."
        )


def _fits(target: NamedKey, algorithm: WrappingAlgorithm) -> bool:
    """Say whether material of that kind is short enough for an algorithm: an RSA private key is longer than any OAEP payload."""
    return not target.key.spec.startswith("RSA_") or algorithm.startswith("RSA_AES_")


async def import_key_material(
    environment: Environment, call: Call, request: ImportKeyMaterialRequest
) -> ImportKeyMaterialResponse:
    """Decrypt key material on the token and make it the key's, or have the same material there again, with another expiry.

    The row first, then the token, which proves the material before it keeps anything of it, and only then the answer. While that
    lasts, a key that had no material stays PendingImport. What dies in between is finished by the same request again, or abandoned
    by the reconciler.

    Raises:
        InvalidImportTokenException: the import token is none, of another key, or altered.
        ExpiredImportTokenException: it is older than 24 hours.
        InvalidCiphertextException: the material does not decrypt.
        IncorrectKeyMaterialException: it is not the material that the key had before.
        ValidationException: it is not as long as it must be, or members do not go together.
        UnsupportedOperationException: the key's material is not imported, or a second material was meant.
        ConflictException: another import into the key is under way.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.import_token is not None, "its constraint says that it is required"
    assert request.encrypted_key_material is not None, "its constraint says that it is required"
    now = environment.clock.now_us()
    model = ExpirationModel(request.expiration_model or ExpirationModel.KEY_MATERIAL_EXPIRES)
    expiry = _expiry(request, model, now)
    target = resolve_key_only(environment, call, request.key_id, "kms:ImportKeyMaterial")
    conditions = {"kms:ExpirationModel": str(model)}
    if expiry is not None:
        conditions["kms:ValidTo"] = to_datetime(expiry).strftime("%Y-%m-%dT%H:%M:%SZ")
    authorise(environment, call, "kms:ImportKeyMaterial", target, Side(conditions=conditions))
    require_origin(target, Origin.EXTERNAL)
    require_state(target, "ImportKeyMaterial")
    known = target.key.backing_keys.get(_VERSION)
    known = known if known is not None and known.canary else None
    _require_type(request, target, known)
    parameters, wrapped = import_tokens.read(request.import_token, target.key.uuid_bytes, now)

    is_symmetric = target.key.spec is KeySpec.SYMMETRIC_DEFAULT
    suite = Suite.NONE if not is_symmetric else known.suite if known is not None else environment.token.suite
    material = ImportedMaterial(
        digest=parameters.digest,
        wrapped=wrapped,
        wrapping=parameters.wrapping,
        material=request.encrypted_key_material,
        cka_id=target.key.cka_id(_VERSION),
        kind=PAIRS.get(target.key.spec),
        suite=suite,
        use=None if is_symmetric else PAIR_USES[target.key.usage],
        expected=known.canary if known is not None else b"",
    )
    imported = Import(_VERSION, suite, expiry, request.key_material_description)
    change = mutation(call, "ImportKeyMaterial", request)
    with environment.creations.importing(target.key, _VERSION):
        begun = await environment.changes.begin_import(change, target.key, imported)
        canary = await _on_the_token(environment, begun, material)
        response = ImportKeyMaterialResponse(target.arn, key_material_id(canary) if is_symmetric else None)
        document = json.dumps(aws_json.encode(response)).encode()
        await environment.changes.finish_import(change, begun, imported, canary, document)
    return response


async def _on_the_token(environment: Environment, begun: Begun, material: ImportedMaterial) -> bytes:
    """Have the token take the material in; return its canary or public key. What it refuses, leaves nothing behind."""
    try:
        return await environment.token.import_key(material)
    except _REFUSED:
        await environment.changes.abandon_import(begun)
        raise


def _expiry(request: ImportKeyMaterialRequest, model: ExpirationModel, now: int) -> int | None:
    """Return when the material is to expire, in microseconds since 1970, or None if it is not."""
    if model is ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE:
        if request.valid_to is not None:
            raise ValidationException(f"A validTo date must not be set if the ExpirationModel is {model}.")
        return None
    if request.valid_to is None:
        raise ValidationException(f"A validTo date must be set if the ExpirationModel is {model}.")
    expiry = to_microseconds(request.valid_to)
    if not now < expiry <= now + MAX_VALIDITY_US:
        raise ValidationException("The validTo date must be in the future, and at most 365 days from now.")
    return expiry


def _require_type(request: ImportKeyMaterialRequest, target: NamedKey, known: BackingKey | None) -> None:
    """Do nothing if what the request says of the material is true, as far as that can be known without it.

    Args:
        request: The request.
        target: The key.
        known: The material that was imported into the key before, or None.
    """
    if target.key.spec is not KeySpec.SYMMETRIC_DEFAULT:
        for member in ("import_type", "key_material_description", "key_material_id"):
            if getattr(request, member) is not None:
                name = "".join(word.capitalize() for word in member.split("_"))
                raise ValidationException(
                    f"{name} is for symmetric encryption keys alone: leave it out, since {target.arn} has key spec {target.key.spec}."
                )
        return
    if request.import_type == ImportType.NEW_KEY_MATERIAL:
        if request.key_material_id is not None:
            raise ValidationException("With ImportType NEW_KEY_MATERIAL, leave KeyMaterialId out.")
        if known is not None:
            raise UnsupportedOperationException(
                f"{target.arn} had key material before, and only the same can be imported again: this service keeps one imported "
                "material for each key. Use ImportType EXISTING_KEY_MATERIAL, or create another key."
            )
    elif known is None and (request.import_type is not None or request.key_material_id is not None):
        raise IncorrectKeyMaterialException(
            f"No key material was ever imported into {target.arn}: use ImportType NEW_KEY_MATERIAL, and leave KeyMaterialId out."
        )
    elif known is not None and request.key_material_id not in (None, known.material_id):
        raise IncorrectKeyMaterialException(f"{target.arn} has no key material of that KeyMaterialId.")


async def delete_imported_key_material(
    environment: Environment, call: Call, request: DeleteImportedKeyMaterialRequest
) -> DeleteImportedKeyMaterialResponse:
    """Take imported material out of use at once, and destroy it on the token.

    It is out of use, durably and on every front, when this answers, even if the token is out of reach: then it is destroyed once the
    token is back.

    Raises:
        NotFoundException: the key has no material of that KeyMaterialId.
        UnsupportedOperationException: the key's material is not imported.
        ConflictException: it is just being imported.
        KMSInvalidStateException: the key's state does not allow it.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:DeleteImportedKeyMaterial")
    authorise(environment, call, "kms:DeleteImportedKeyMaterial", target)
    require_origin(target, Origin.EXTERNAL)
    known = target.key.backing_keys.get(_VERSION)
    material_id = known.material_id if known is not None and target.key.spec is KeySpec.SYMMETRIC_DEFAULT else ""
    if request.key_material_id not in (None, material_id):
        raise NotFoundException(f"{target.arn} has no key material of that KeyMaterialId.")
    response = DeleteImportedKeyMaterialResponse(target.arn, material_id or None)
    if known is None:
        require_state(target, "DeleteImportedKeyMaterial")
        return response
    document = json.dumps(aws_json.encode(response)).encode()
    change = mutation(call, "DeleteImportedKeyMaterial", request)
    with environment.creations.importing(target.key, _VERSION):
        answer = await environment.changes.delete_imported(change, target.key, _VERSION, document)
        await _destroy(environment, target)
    return aws_json.decode(DeleteImportedKeyMaterialResponse, json.loads(answer))


async def _destroy(environment: Environment, target: NamedKey) -> None:
    """Destroy what is out of use already, and nothing that has come back; where that fails, the deleter tries again."""
    now = environment.view.key(target.key.scope, target.key.key_id)
    if now is None or now.backing_keys[_VERSION].state is not BackingKeyState.DESTROYING:
        return
    cka_id = target.key.cka_id(_VERSION)
    try:
        await environment.changes.claim_destruction(cka_id)
        await environment.token.destroy_backing_keys(cka_id)
        await environment.changes.finish_destruction(cka_id)
    except KmsError:
        return
