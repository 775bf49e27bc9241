"""Encrypt and Decrypt."""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import HEADER_BYTES, NAMING_BYTES, Ciphertext, derivation_digest, parse, sealed_digest
from hsmkms.core.commands import Decrypt, Encrypt, Verify
from hsmkms.core.context import canonical
from hsmkms.core.material_commands import DecryptRsa, EncryptRsa, VerifyRsa
from hsmkms.core.messages import DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse
from hsmkms.core.model import EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, current_backing_key, pair_reference, resolve, usable
from hsmkms.core.operations.judge import (
    Side,
    algorithm_or_default,
    authorise,
    keep,
    kept,
    null_member,
    refuse_context,
    refuse_dry_run,
    require_algorithm,
    require_state,
    require_usage,
)
from hsmkms.core.operations.judgements import Usable, asked
from hsmkms.core.operations.open import backing_key_of, key_to_open, require_named_key, required_blob
from hsmkms.core.operations.rsa import is_rsa, require_modulus_length, require_room
from hsmkms.core.operations.seal import Sealing
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call
from hsmkms.core.specs import OAEP

_ENCRYPT = "kms:Encrypt"
_DECRYPT = "kms:Decrypt"
_SYMMETRIC: Final = EncryptionAlgorithm.SYMMETRIC_DEFAULT


async def encrypt(environment: Environment, call: Call, request: EncryptRequest) -> EncryptResponse:
    """Encrypt under a key: 1 to 4,096 bytes under a symmetric one, under an RSA key what its modulus has room for.

    Raises:
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.plaintext is not None, "its constraint says that it is required"
    algorithm = algorithm_or_default(request.encryption_algorithm)
    context = canonical(request.encryption_context)
    about = asked(call, request, _ENCRYPT, request.key_id, request.encryption_algorithm)
    ends = kept(environment, call, about)
    if ends is not None:
        return await _encrypt_symmetric(environment, call, request.plaintext, Sealing(ends[0], context))
    target = resolve(environment, call, request.key_id, _ENCRYPT)
    authorise(environment, call, _ENCRYPT, target, Side(request.encryption_context, algorithm, request.grant_tokens))
    require_state(target, "Encrypt")
    require_usage(target)
    require_algorithm(environment, target, algorithm)
    refuse_context(target, "EncryptionContext", request.encryption_context)
    if is_rsa(target):
        require_room(target, algorithm, len(request.plaintext))
        refuse_dry_run(request.dry_run)
        command = EncryptRsa(pair_reference(target), OAEP[algorithm], request.plaintext)
        blob = await environment.token.encrypt_rsa(call, command)
        note_use(environment, call, "Encrypt", target.key)
        return EncryptResponse(blob, target.arn, algorithm)
    refuse_dry_run(request.dry_run)
    end = usable(target, current_backing_key(target))
    keep(environment, call, about, (_ENCRYPT, end))
    return await _encrypt_symmetric(environment, call, request.plaintext, Sealing(end, context))


async def _encrypt_symmetric(
    environment: Environment, call: Call, plaintext: bytes, sealing: Sealing
) -> EncryptResponse:
    end = sealing.end
    header = sealing.header(environment, len(plaintext))
    body = await environment.token.encrypt(call, Encrypt(end.reference, header, sealing.context, plaintext))
    note_use(environment, call, "Encrypt", end.key)
    return EncryptResponse(header + body, end.arn, _SYMMETRIC)


async def decrypt(environment: Environment, call: Call, request: DecryptRequest) -> DecryptResponse:
    """Decrypt a ciphertext; of one that GenerateDataKeyPair made, the plaintext is the private key, DER PKCS#8.

    Raises:
        InvalidCiphertextException: the ciphertext or its context is wrong.
        IncorrectKeyException: KeyId is not the key that the ciphertext names.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    blob = required_blob(request.ciphertext_blob, request.dry_run, request.dry_run_modifiers, request.key_id, "keyId")
    context = canonical(request.encryption_context)
    algorithm = algorithm_or_default(request.encryption_algorithm)
    symmetric = algorithm is _SYMMETRIC
    if not symmetric and request.key_id is None:
        raise null_member("keyId")
    ciphertext = parse(blob) if symmetric and blob is not None else None

    names = blob[:NAMING_BYTES] if blob is not None else None
    about = asked(call, request, _DECRYPT, request.key_id, request.encryption_algorithm, names)
    ends = kept(environment, call, about)
    if ends is not None and ciphertext is not None and blob is not None:
        return await _decrypt_symmetric(environment, call, blob, ciphertext, context, ends[0])
    target, refusal = key_to_open(environment, call, request.key_id, ciphertext, _DECRYPT)
    side = Side(request.encryption_context, algorithm, request.grant_tokens)
    authorise(environment, call, _DECRYPT, target, side, refusal=refusal)
    require_named_key(ciphertext, target)
    require_state(target, "Decrypt")
    require_usage(target)
    require_algorithm(environment, target, algorithm)
    refuse_context(target, "EncryptionContext", request.encryption_context)
    if blob is None:
        refuse_dry_run(True)
        raise null_member("ciphertextBlob")
    if ciphertext is None:
        return await _decrypt_rsa(environment, call, request, blob, target, algorithm)
    end = usable(target, backing_key_of(target.key, ciphertext.header))
    keep(environment, call, about, (_DECRYPT, end))
    return await _decrypt_symmetric(environment, call, blob, ciphertext, context, end, dry_run=bool(request.dry_run))


async def _decrypt_symmetric(
    environment: Environment,
    call: Call,
    blob: bytes,
    ciphertext: Ciphertext,
    context: bytes,
    end: Usable,
    *,
    dry_run: bool = False,
) -> DecryptResponse:
    header = blob[:HEADER_BYTES]
    digest = derivation_digest(header, context, sealed_digest(ciphertext.sealed))
    if dry_run:
        mode, key_type = ciphertext.header.mode, ciphertext.header.key_type
        await environment.token.verify(call, Verify(end.reference, digest, ciphertext.wrapped, mode, key_type))
        refuse_dry_run(dry_run)
    plaintext = await environment.token.decrypt(
        call, Decrypt(end.reference, digest, header, ciphertext.wrapped, ciphertext.sealed)
    )
    note_use(environment, call, "Decrypt", end.key)
    return DecryptResponse(end.arn, plaintext, _SYMMETRIC, end.backing_key.material_id)


async def _decrypt_rsa(
    environment: Environment,
    call: Call,
    request: DecryptRequest,
    blob: bytes,
    target: NamedKey,
    algorithm: EncryptionAlgorithm,
) -> DecryptResponse:
    require_modulus_length(target, blob)
    source = pair_reference(target)
    if request.dry_run:
        await environment.token.verify_rsa(call, VerifyRsa(source, OAEP[algorithm], blob))
        refuse_dry_run(request.dry_run)
    plaintext = await environment.token.decrypt_rsa(call, DecryptRsa(source, OAEP[algorithm], blob))
    note_use(environment, call, "Decrypt", target.key)
    return DecryptResponse(target.arn, plaintext, algorithm)
