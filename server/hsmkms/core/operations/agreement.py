"""DeriveSharedSecret: elliptic-curve Diffie-Hellman, on the token."""

from __future__ import annotations

from hsmkms.core.material_commands import Agree
from hsmkms.core.material_messages import DeriveSharedSecretRequest, DeriveSharedSecretResponse
from hsmkms.core.model import KeyAgreementAlgorithm, KeyUsage
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import pair_reference, resolve
from hsmkms.core.operations.judge import (
    Side,
    authorise,
    refuse_dry_run,
    require_algorithm,
    require_state,
    require_usage,
)
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call

_ACTION = "kms:DeriveSharedSecret"


async def derive_shared_secret(
    environment: Environment, call: Call, request: DeriveSharedSecretRequest
) -> DeriveSharedSecretResponse:
    """Derive the secret that a key shares with the owner of a public key.

    Raises:
        ValidationException: the other's public key is none, or of another curve.
        InvalidKeyUsageException: the key is none for key agreement.
        DryRunOperationException: DryRun is set, and all was well, the public key included.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.public_key is not None, "its constraint says that it is required"
    assert request.key_agreement_algorithm is not None, "its constraint says that it is required"
    algorithm = KeyAgreementAlgorithm(request.key_agreement_algorithm)
    target = resolve(environment, call, request.key_id, _ACTION)
    conditions = {"kms:KeyAgreementAlgorithm": str(algorithm)}
    authorise(environment, call, _ACTION, target, Side(grant_tokens=request.grant_tokens, conditions=conditions))
    require_state(target, "DeriveSharedSecret")
    require_usage(target, KeyUsage.KEY_AGREEMENT)
    require_algorithm(environment, target, algorithm)
    secret = await environment.token.agree(call, Agree(pair_reference(target), request.public_key))
    refuse_dry_run(request.dry_run)  # only the token judges the other's public key
    note_use(environment, call, "DeriveSharedSecret", target.key)
    return DeriveSharedSecretResponse(target.arn, secret, algorithm, target.key.origin)
