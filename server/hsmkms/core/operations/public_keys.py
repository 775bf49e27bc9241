"""GetPublicKey."""

from __future__ import annotations

from hsmkms.core import specs
from hsmkms.core.errors import UnsupportedOperationException
from hsmkms.core.material_messages import GetPublicKeyRequest, GetPublicKeyResponse
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import current_backing_key, resolve
from hsmkms.core.operations.judge import Side, authorise, require_state
from hsmkms.core.ports import Call

_ACTION = "kms:GetPublicKey"


async def get_public_key(environment: Environment, call: Call, request: GetPublicKeyRequest) -> GetPublicKeyResponse:
    """Return the public key of an asymmetric key, and the algorithms that this service can use it with.

    The token is not asked: the public key is what the token's key pair is recognised by, and in the catalog.

    Raises:
        UnsupportedOperationException: the key is not an asymmetric one.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve(environment, call, request.key_id, _ACTION)
    authorise(environment, call, _ACTION, target, Side(grant_tokens=request.grant_tokens))
    require_state(target, "GetPublicKey")
    key, features = target.key, environment.token.features
    if key.spec not in specs.PAIRS:
        raise UnsupportedOperationException(
            f"{target.arn} key spec is {key.spec} which is not valid for GetPublicKey: only asymmetric keys have a public key."
        )
    return GetPublicKeyResponse(
        key_id=target.arn,
        public_key=current_backing_key(target).canary,
        key_spec=key.spec,
        key_usage=key.usage,
        encryption_algorithms=specs.encryption_algorithms(key, features),
        signing_algorithms=specs.signing_algorithms(key, features),
        key_agreement_algorithms=specs.key_agreement_algorithms(key, features),
    )
