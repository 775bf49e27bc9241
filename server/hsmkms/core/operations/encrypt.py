"""Encrypt and Decrypt."""

from __future__ import annotations

from hsmkms.core.ciphertext import derivation_digest, parse, sealed_digest
from hsmkms.core.commands import Decrypt, Encrypt, Verify
from hsmkms.core.context import canonical
from hsmkms.core.messages import DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse
from hsmkms.core.model import EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import reference
from hsmkms.core.operations.judge import (
    Side,
    algorithm_or_default,
    authorise,
    null_member,
    refuse_dry_run,
    require_algorithm,
    require_state,
    require_usage,
)
from hsmkms.core.operations.open import backing_key_of, key_to_open, require_named_key, required_blob
from hsmkms.core.operations.seal import sealing_key
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call

_DECRYPT = "kms:Decrypt"


async def encrypt(environment: Environment, call: Call, request: EncryptRequest) -> EncryptResponse:
    """Encrypt 1 to 4,096 bytes under a key.

    Raises:
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    algorithm = algorithm_or_default(request.encryption_algorithm)
    sealing = sealing_key(
        environment, call, "kms:Encrypt", request.key_id, request.encryption_context, request.grant_tokens, algorithm
    )
    refuse_dry_run(request.dry_run)
    assert request.plaintext is not None, "its constraint says that it is required"
    header = sealing.header(environment, len(request.plaintext))
    body = await environment.token.encrypt(call, Encrypt(sealing.reference, header, sealing.context, request.plaintext))
    note_use(environment, call, "Encrypt", sealing.target.key)
    return EncryptResponse(header + body, sealing.target.arn, algorithm)


async def decrypt(environment: Environment, call: Call, request: DecryptRequest) -> DecryptResponse:
    """Decrypt a ciphertext.

    Raises:
        InvalidCiphertextException: the ciphertext or its context is wrong.
        IncorrectKeyException: KeyId is not the key that the ciphertext names.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    blob = required_blob(request.ciphertext_blob, request.dry_run, request.dry_run_modifiers, request.key_id, "keyId")
    context = canonical(request.encryption_context)
    algorithm = algorithm_or_default(request.encryption_algorithm)
    symmetric = algorithm is EncryptionAlgorithm.SYMMETRIC_DEFAULT
    if not symmetric and request.key_id is None:
        raise null_member("keyId")
    ciphertext = parse(blob) if symmetric and blob is not None else None

    target, refusal = key_to_open(environment, call, request.key_id, ciphertext, _DECRYPT)
    side = Side(request.encryption_context, algorithm, request.grant_tokens)
    authorise(environment, call, _DECRYPT, target, side, refusal=refusal)
    require_named_key(ciphertext, target)
    require_state(target, "Decrypt")
    require_usage(target)
    require_algorithm(target, algorithm)
    if ciphertext is None:
        refuse_dry_run(True)
        raise null_member("ciphertextBlob")

    opened = backing_key_of(target.key, ciphertext.header)
    header = ciphertext.header.to_bytes()
    digest = derivation_digest(header, context, sealed_digest(ciphertext.sealed))
    source = reference(target.key, opened)
    if request.dry_run:
        await environment.token.verify(call, Verify(source, digest, ciphertext.wrapped))
        refuse_dry_run(request.dry_run)
    plaintext = await environment.token.decrypt(
        call, Decrypt(source, digest, header, ciphertext.wrapped, ciphertext.sealed)
    )
    note_use(environment, call, "Decrypt", target.key)
    return DecryptResponse(target.arn, plaintext, algorithm, opened.material_id)
