"""ReEncrypt: move a ciphertext to another key, another context or newer key material, inside the token.

Source and destination are each a symmetric key or an RSA key: four ways, each one unwrap and one wrap on the token.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsmkms.core.ciphertext import Ciphertext, Header, Mode, derivation_digest, parse, sealed_digest
from hsmkms.core.commands import Rewrap, Verify
from hsmkms.core.context import canonical
from hsmkms.core.errors import (
    IncorrectKeyException,
    KmsError,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.material_commands import RewrapFromRsa, RewrapRsa, RewrapToRsa
from hsmkms.core.messages import ReEncryptRequest, ReEncryptResponse
from hsmkms.core.model import BackingKey, EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import (
    NamedKey,
    current_backing_key,
    pair_reference,
    reference,
    resolve,
)
from hsmkms.core.operations.judge import (
    Side,
    algorithm_or_default,
    authorise,
    null_member,
    refuse_context,
    refuse_dry_run,
    require_algorithm,
    require_state,
    require_usage,
)
from hsmkms.core.operations.open import INCORRECT_KEY, backing_key_of, key_to_open, require_named_key, required_blob
from hsmkms.core.operations.rsa import is_rsa, require_modulus_length, require_room, too_long
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call
from hsmkms.core.specs import OAEP

_FROM = "kms:ReEncryptFrom"
_TO = "kms:ReEncryptTo"


@dataclass(frozen=True, slots=True)
class _End:
    """One side, judged.

    Args:
        target: The KMS key.
        context: The encryption context in canonical form.
        algorithm: The algorithm.
    """

    target: NamedKey
    context: bytes
    algorithm: EncryptionAlgorithm


@dataclass(frozen=True, slots=True)
class _Moved:
    """What came of it.

    Args:
        blob: The new ciphertext.
        opened: The backing key that it was under.
        sealing: The backing key that it is under now.
    """

    blob: bytes
    opened: BackingKey
    sealing: BackingKey


async def re_encrypt(environment: Environment, call: Call, request: ReEncryptRequest) -> ReEncryptResponse:
    """Decrypt a ciphertext and encrypt it again; the plaintext stays in the token.

    The source is judged before the destination, and both before the token is asked. Re-encrypting under the same key, material and
    context verifies the ciphertext and gives a new one all the same.

    Raises:
        InvalidCiphertextException: the ciphertext or its context is wrong.
        IncorrectKeyException: SourceKeyId is not the key that the ciphertext names.
        UnsupportedOperationException: what it holds cannot get there inside the token; the text says what would work.
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
    require_usage(source, error=IncorrectKeyException(INCORRECT_KEY))
    require_algorithm(environment, source, source_algorithm)
    refuse_context(source, "SourceEncryptionContext", request.source_encryption_context)

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
    require_algorithm(environment, destination, destination_algorithm)
    refuse_context(destination, "DestinationEncryptionContext", request.destination_encryption_context)
    if blob is None:
        refuse_dry_run(True)
        raise null_member("ciphertextBlob")

    start, end = (
        _End(source, source_context, source_algorithm),
        _End(destination, destination_context, destination_algorithm),
    )
    moved = await _move(environment, call, blob, ciphertext, start, end, dry_run=bool(request.dry_run))
    note_use(environment, call, "ReEncrypt", source.key, destination.key)
    environment.observer.re_encrypted(source_is_current=moved.opened.version == source.key.current_version)
    return ReEncryptResponse(
        ciphertext_blob=moved.blob,
        source_key_id=source.arn,
        key_id=destination.arn,
        source_encryption_algorithm=source_algorithm,
        destination_encryption_algorithm=destination_algorithm,
        source_key_material_id=None if is_rsa(source) else moved.opened.material_id,
        destination_key_material_id=None if is_rsa(destination) else moved.sealing.material_id,
    )


async def _move(
    environment: Environment,
    call: Call,
    blob: bytes,
    ciphertext: Ciphertext | None,
    source: _End,
    destination: _End,
    *,
    dry_run: bool,
) -> _Moved:
    if ciphertext is None:
        require_modulus_length(source.target, blob)
        if is_rsa(destination.target):
            return await _rsa_to_rsa(environment, call, blob, source, destination, dry_run=dry_run)
        return await _rsa_to_symmetric(environment, call, blob, source, destination, dry_run=dry_run)
    if is_rsa(destination.target):
        return await _symmetric_to_rsa(environment, call, ciphertext, source, destination, dry_run=dry_run)
    return await _symmetric(environment, call, ciphertext, source, destination, dry_run=dry_run)


async def _symmetric(
    environment: Environment, call: Call, ciphertext: Ciphertext, source: _End, destination: _End, *, dry_run: bool
) -> _Moved:
    opened = backing_key_of(source.target.key, ciphertext.header)
    sealing = current_backing_key(destination.target)
    verify = _verification(ciphertext, source, opened)
    if dry_run:
        await environment.token.verify(call, verify)
        refuse_dry_run(dry_run)
    header = Header(
        sealing.suite,
        ciphertext.header.mode,
        destination.target.key.uuid_bytes,
        sealing.version,
        ciphertext.header.length,
        environment.entropy.salt(),
        ciphertext.header.key_type,
    )
    rest = sealed_digest(ciphertext.sealed)
    wrapped = await environment.token.rewrap(
        call,
        Rewrap(
            verify.source,
            verify.source_digest,
            verify.wrapped,
            reference(destination.target.key, sealing),
            derivation_digest(header.to_bytes(), destination.context, rest),
            verify.mode,
            verify.key_type,
        ),
    )
    return _Moved(Ciphertext(header, wrapped, ciphertext.sealed).to_bytes(), opened, sealing)


async def _symmetric_to_rsa(
    environment: Environment, call: Call, ciphertext: Ciphertext, source: _End, destination: _End, *, dry_run: bool
) -> _Moved:
    opened = backing_key_of(source.target.key, ciphertext.header)
    _require_object(environment, ciphertext.header.mode, destination.target)
    require_room(destination.target, destination.algorithm, ciphertext.header.length)
    verify = _verification(ciphertext, source, opened)
    if dry_run:
        await environment.token.verify(call, verify)
        refuse_dry_run(dry_run)
    command = RewrapToRsa(
        verify.source,
        verify.source_digest,
        verify.wrapped,
        verify.mode,
        pair_reference(destination.target),
        OAEP[destination.algorithm],
    )
    blob = await environment.token.rewrap_to_rsa(call, command)
    return _Moved(blob, opened, current_backing_key(destination.target))


async def _rsa_to_symmetric(
    environment: Environment, call: Call, blob: bytes, source: _End, destination: _End, *, dry_run: bool
) -> _Moved:
    sealing = current_backing_key(destination.target)
    command = RewrapFromRsa(
        pair_reference(source.target),
        OAEP[source.algorithm],
        blob,
        reference(destination.target.key, sealing),
        environment.entropy.salt(),
        destination.context,
    )
    moved = await environment.token.rewrap_from_rsa(call, command)
    refuse_dry_run(
        dry_run
    )  # only the token can tell the payload's length, and whether it can be wrapped: so it was, for nothing
    return _Moved(moved, current_backing_key(source.target), sealing)


async def _rsa_to_rsa(
    environment: Environment, call: Call, blob: bytes, source: _End, destination: _End, *, dry_run: bool
) -> _Moved:
    command = RewrapRsa(
        pair_reference(source.target),
        OAEP[source.algorithm],
        blob,
        pair_reference(destination.target),
        OAEP[destination.algorithm],
    )
    try:
        moved = await environment.token.rewrap_rsa(call, command)
    except ValidationException as error:
        raise too_long(destination.target, destination.algorithm) from error
    refuse_dry_run(dry_run)  # as above: the payload's length is known to the token alone
    return _Moved(moved, current_backing_key(source.target), current_backing_key(destination.target))


def _verification(ciphertext: Ciphertext, source: _End, opened: BackingKey) -> Verify:
    header = ciphertext.header
    digest = derivation_digest(header.to_bytes(), source.context, sealed_digest(ciphertext.sealed))
    return Verify(reference(source.target.key, opened), digest, ciphertext.wrapped, header.mode, header.key_type)


def _require_object(environment: Environment, mode: Mode, destination: NamedKey) -> None:
    """Do nothing if a ciphertext wraps the plaintext itself, so that it can be wrapped under an RSA key without leaving the token.

    Raises:
        UnsupportedOperationException: it does not; the text says what would work.
    """
    if mode is Mode.ENVELOPE:
        direct = environment.token.features.seals_directly
        what_can = " (data keys and other plaintexts of 16 to 256 bytes, a multiple of 8, can)" if direct else ""
        raise UnsupportedOperationException(
            f"The ciphertext is an envelope, whose plaintext cannot move to an RSA key without leaving the token{what_can}: "
            f"Decrypt it, and Encrypt the plaintext under {destination.arn}."
        )
    if mode is Mode.PRIVATE_KEY:
        raise UnsupportedOperationException(
            "The ciphertext holds the private key of a data key pair, which cannot move to an RSA key: "
            "re-encrypt it under a key whose key spec is SYMMETRIC_DEFAULT, or Decrypt it."
        )


def _destination(environment: Environment, call: Call, request: ReEncryptRequest) -> NamedKey | KmsError:
    """Return the destination, or the error to raise once the source has been judged: its own condition keys need both."""
    assert request.destination_key_id is not None, "its constraint says that it is required"
    try:
        return resolve(environment, call, request.destination_key_id, _TO)
    except KmsError as error:
        return error
