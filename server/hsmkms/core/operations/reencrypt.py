"""ReEncrypt: move a ciphertext to another key, another context or newer key material, inside the token."""

from __future__ import annotations

from hsmkms.core.ciphertext import Ciphertext, Header, derivation_digest, parse, sealed_digest
from hsmkms.core.commands import Rewrap, Verify
from hsmkms.core.context import canonical
from hsmkms.core.errors import IncorrectKeyException, KmsError, ValidationException
from hsmkms.core.messages import ReEncryptRequest, ReEncryptResponse
from hsmkms.core.model import EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import (
    NamedKey,
    current_backing_key,
    reference,
    resolve,
)
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
from hsmkms.core.operations.open import INCORRECT_KEY, backing_key_of, key_to_open, require_named_key, required_blob
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call

_FROM = "kms:ReEncryptFrom"
_TO = "kms:ReEncryptTo"


async def re_encrypt(environment: Environment, call: Call, request: ReEncryptRequest) -> ReEncryptResponse:
    """Decrypt a ciphertext and encrypt it again; the plaintext stays in the token.

    The source is judged before the destination, and both before the token is asked. Re-encrypting under the same key, material and
    context verifies the ciphertext and gives a new one all the same.

    Raises:
        InvalidCiphertextException: the ciphertext or its context is wrong.
        IncorrectKeyException: SourceKeyId is not the key that the ciphertext names.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal, in the order of docs/architecture.md.
    """
    blob = required_blob(
        request.ciphertext_blob, request.dry_run, request.dry_run_modifiers, request.source_key_id, "sourceKeyId"
    )
    source_context = canonical(request.source_encryption_context, "sourceEncryptionContext")
    destination_context = canonical(request.destination_encryption_context, "destinationEncryptionContext")
    source_algorithm = algorithm_or_default(request.source_encryption_algorithm)
    destination_algorithm = algorithm_or_default(request.destination_encryption_algorithm)
    _refuse_context(source_algorithm, bool(request.source_encryption_context), "source")
    _refuse_context(destination_algorithm, bool(request.destination_encryption_context), "destination")
    symmetric = source_algorithm is EncryptionAlgorithm.SYMMETRIC_DEFAULT
    if not symmetric and request.source_key_id is None:
        raise null_member("sourceKeyId")
    ciphertext = parse(blob) if symmetric and blob is not None else None

    source, refusal = key_to_open(environment, call, request.source_key_id, ciphertext, _FROM)
    destination = _destination(environment, call, request)
    same_key = str(isinstance(destination, NamedKey) and destination.arn == source.arn).lower()
    conditions = {"kms:ReEncryptOnSameKey": same_key}
    authorise(
        environment,
        call,
        _FROM,
        source,
        Side(request.source_encryption_context, source_algorithm, request.grant_tokens, conditions),
        refusal=refusal,
    )
    require_named_key(ciphertext, source)
    require_state(source, "ReEncrypt")
    require_usage(source, IncorrectKeyException(INCORRECT_KEY))
    require_algorithm(source, source_algorithm)

    if isinstance(destination, KmsError):
        raise destination
    authorise(
        environment,
        call,
        _TO,
        destination,
        Side(request.destination_encryption_context, destination_algorithm, request.grant_tokens, conditions),
    )
    require_state(destination, "ReEncrypt")
    require_usage(destination)
    require_algorithm(destination, destination_algorithm)
    if ciphertext is None:
        refuse_dry_run(True)
        raise null_member("ciphertextBlob")
    return await _move(environment, call, request, ciphertext, source, source_context, destination, destination_context)


async def _move(
    environment: Environment,
    call: Call,
    request: ReEncryptRequest,
    ciphertext: Ciphertext,
    source: NamedKey,
    source_context: bytes,
    destination: NamedKey,
    destination_context: bytes,
) -> ReEncryptResponse:
    opened = backing_key_of(source.key, ciphertext.header)
    sealing = current_backing_key(destination)
    rest = sealed_digest(ciphertext.sealed)
    source_digest = derivation_digest(ciphertext.header.to_bytes(), source_context, rest)
    if request.dry_run:
        await environment.token.verify(call, Verify(reference(source.key, opened), source_digest, ciphertext.wrapped))
        refuse_dry_run(request.dry_run)
    header = Header(
        sealing.suite,
        ciphertext.header.mode,
        destination.key.uuid_bytes,
        sealing.version,
        ciphertext.header.length,
        environment.entropy.salt(),
    )
    wrapped = await environment.token.rewrap(
        call,
        Rewrap(
            reference(source.key, opened),
            source_digest,
            ciphertext.wrapped,
            reference(destination.key, sealing),
            derivation_digest(header.to_bytes(), destination_context, rest),
        ),
    )
    note_use(environment, call, "ReEncrypt", source.key, destination.key)
    environment.observer.re_encrypted(source_is_current=opened.version == source.key.current_version)
    return ReEncryptResponse(
        ciphertext_blob=Ciphertext(header, wrapped, ciphertext.sealed).to_bytes(),
        source_key_id=source.arn,
        key_id=destination.arn,
        source_encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
        destination_encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
        source_key_material_id=opened.material_id,
        destination_key_material_id=sealing.material_id,
    )


def _destination(environment: Environment, call: Call, request: ReEncryptRequest) -> NamedKey | KmsError:
    """Return the destination, or the error to raise once the source has been judged: its own condition keys need both."""
    assert request.destination_key_id is not None, "its constraint says that it is required"
    try:
        return resolve(environment, call, request.destination_key_id, _TO)
    except KmsError as error:
        return error


def _refuse_context(algorithm: EncryptionAlgorithm, has_context: bool, side: str) -> None:
    if has_context and algorithm is not EncryptionAlgorithm.SYMMETRIC_DEFAULT:
        raise ValidationException(
            f"{algorithm} takes no encryption context: leave {side.capitalize()}EncryptionContext out, "
            f"or use SYMMETRIC_DEFAULT."
        )
