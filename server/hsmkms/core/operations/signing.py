"""Sign and Verify. The front hashes messages, which is no work with a key; signing and checking is the token's."""

from __future__ import annotations

import hashlib
from typing import Final

from hsmkms.core.errors import KMSInvalidSignatureException, ValidationException
from hsmkms.core.material_commands import Sign, Signing, VerifySignature
from hsmkms.core.material_messages import SignRequest, SignResponse, VerifyRequest, VerifyResponse
from hsmkms.core.model import KeyUsage, MessageType, SigningAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, pair_reference, resolve
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

_PURE: Final = SigningAlgorithm.ED25519_SHA_512
_PREHASHED: Final = SigningAlgorithm.ED25519_PH_SHA_512


async def sign(environment: Environment, call: Call, request: SignRequest) -> SignResponse:
    """Sign a message, or its digest.

    Raises:
        ValidationException: the message's type or length does not go with the algorithm.
        InvalidKeyUsageException: the key is none to sign with, or not by that algorithm.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    target, algorithm, message = _judge(environment, call, request, "Sign")
    refuse_dry_run(request.dry_run)
    command = Sign(pair_reference(target), Signing[algorithm.name], message)
    signature = await environment.token.sign(call, command)
    note_use(environment, call, "Sign", target.key)
    return SignResponse(target.arn, signature, algorithm)


async def verify(environment: Environment, call: Call, request: VerifyRequest) -> VerifyResponse:
    """Check a signature, on the token.

    Raises:
        KMSInvalidSignatureException: it is not that of the message, by that key and algorithm.
        ValidationException: the message's type or length does not go with the algorithm.
        InvalidKeyUsageException: the key is none to sign with, or not by that algorithm.
        DryRunOperationException: DryRun is set, and all was well, the signature included.
        KmsError: any other refusal.
    """
    assert request.signature is not None, "its constraint says that it is required"
    target, algorithm, message = _judge(environment, call, request, "Verify")
    command = VerifySignature(pair_reference(target), Signing[algorithm.name], message, request.signature)
    if not await environment.token.verify_signature(call, command):
        raise KMSInvalidSignatureException
    refuse_dry_run(request.dry_run)
    note_use(environment, call, "Verify", target.key)
    return VerifyResponse(target.arn, True, algorithm)


def _judge(
    environment: Environment, call: Call, request: SignRequest | VerifyRequest, operation: str
) -> tuple[NamedKey, SigningAlgorithm, bytes]:
    """Return the key, the algorithm, and what the token is to sign: all but a signature is judged."""
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.message is not None, "its constraint says that it is required"
    assert request.signing_algorithm is not None, "its constraint says that it is required"
    algorithm = SigningAlgorithm(request.signing_algorithm)
    message_type = MessageType(request.message_type or MessageType.RAW)
    action = f"kms:{operation}"
    target = resolve(environment, call, request.key_id, action)
    conditions = {"kms:SigningAlgorithm": str(algorithm), "kms:MessageType": str(message_type)}
    authorise(environment, call, action, target, Side(grant_tokens=request.grant_tokens, conditions=conditions))
    require_state(target, operation)
    require_usage(target, KeyUsage.SIGN_VERIFY)
    require_algorithm(environment, target, algorithm)
    return target, algorithm, _to_be_signed(algorithm, message_type, request.message)


def _to_be_signed(algorithm: SigningAlgorithm, message_type: MessageType, message: bytes) -> bytes:
    """Return what the token signs.

    ED25519_SHA_512 signs the message itself. Of ED25519_PH_SHA_512, as in AWS, the digest that the caller sends is the message (FIPS
    186-5, section 7.8.1, hashes it again). Every other algorithm signs the digest.

    Raises:
        ValidationException: the message's type or length does not go with the algorithm.
    """
    if message_type is MessageType.EXTERNAL_MU:
        raise ValidationException(
            "MessageType EXTERNAL_MU is for ML-DSA keys alone, which need CKM_ML_DSA (PKCS#11 3.2): use RAW or DIGEST."
        )
    needed = {_PURE: MessageType.RAW, _PREHASHED: MessageType.DIGEST}.get(algorithm, message_type)
    if message_type is not needed:
        raise ValidationException(f"MessageType {message_type} does not go with algorithm {algorithm}: use {needed}.")
    if algorithm is _PURE:
        return message
    digest = hashlib.new("sha" + algorithm.rpartition("_")[2])
    if message_type is MessageType.DIGEST:
        if len(message) != digest.digest_size:
            raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")
        return message
    digest.update(message)
    return digest.digest()
