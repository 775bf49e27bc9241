"""ReEncrypt: move a ciphertext to another key, another context or newer key material, inside the token.

Source and destination are each a symmetric key or an RSA key: four ways, each one unwrap and one wrap on the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hsmkms.core.ciphertext import (
    HEADER_BYTES,
    NAMING_BYTES,
    Ciphertext,
    Mode,
    derivation_digest,
    pack_header,
    parse,
    sealed_digest,
)
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
from hsmkms.core.model import BackingKey, EncryptionAlgorithm, KeyUsage
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import (
    NamedKey,
    current_backing_key,
    pair_reference,
    reference,
    resolve,
    usable,
)
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
from hsmkms.core.operations.open import INCORRECT_KEY, backing_key_of, key_to_open, require_named_key, required_blob
from hsmkms.core.operations.rsa import is_rsa, require_modulus_length, require_room, too_long
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call
from hsmkms.core.specs import OAEP

_FROM = "kms:ReEncryptFrom"
_TO = "kms:ReEncryptTo"
_SYMMETRIC: Final = EncryptionAlgorithm.SYMMETRIC_DEFAULT


@dataclass(frozen=True, slots=True)
class _End:
    """One side of a way from or to an RSA key, judged.

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
    symmetric = source_algorithm is _SYMMETRIC
    if not symmetric and request.source_key_id is None:
        raise null_member("sourceKeyId")
    ciphertext = parse(blob) if symmetric and blob is not None else None

    about = asked(
        call,
        request,
        _FROM,
        request.source_key_id,
        request.destination_key_id,
        request.source_encryption_algorithm,
        request.destination_encryption_algorithm,
        blob[:NAMING_BYTES] if blob is not None else None,
    )
    ends = kept(environment, call, about)
    if ends is not None and ciphertext is not None and blob is not None:
        return await _symmetric(
            environment, call, request, blob, ciphertext, source_context, destination_context, *ends
        )

    source, destination = _judge(environment, call, request, ciphertext, source_algorithm, destination_algorithm)
    if blob is None:
        refuse_dry_run(True)
        raise null_member("ciphertextBlob")
    if ciphertext is None or is_rsa(destination):
        start = _End(source, source_context, source_algorithm)
        end = _End(destination, destination_context, destination_algorithm)
        return await _with_rsa(environment, call, request, blob, ciphertext, start, end)
    opened = usable(source, backing_key_of(source.key, ciphertext.header))
    sealing = usable(destination, current_backing_key(destination))
    keep(environment, call, about, (_FROM, opened), (_TO, sealing))
    return await _symmetric(
        environment, call, request, blob, ciphertext, source_context, destination_context, opened, sealing
    )


def _judge(
    environment: Environment,
    call: Call,
    request: ReEncryptRequest,
    ciphertext: Ciphertext | None,
    source_algorithm: EncryptionAlgorithm,
    destination_algorithm: EncryptionAlgorithm,
) -> tuple[NamedKey, NamedKey]:
    """Return source and destination, which the caller may use, and which can be used with these algorithms."""
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
    if source.key.usage is not KeyUsage.ENCRYPT_DECRYPT:
        raise IncorrectKeyException(INCORRECT_KEY)
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
    return source, destination


async def _symmetric(
    environment: Environment,
    call: Call,
    request: ReEncryptRequest,
    blob: bytes,
    ciphertext: Ciphertext,
    source_context: bytes,
    destination_context: bytes,
    source: Usable,
    destination: Usable,
) -> ReEncryptResponse:
    header = ciphertext.header
    mode, key_type, wrapped = header.mode, header.key_type, ciphertext.wrapped
    rest = sealed_digest(ciphertext.sealed)
    digest = derivation_digest(blob[:HEADER_BYTES], source_context, rest)
    if request.dry_run:
        await environment.token.verify(call, Verify(source.reference, digest, wrapped, mode, key_type))
        refuse_dry_run(request.dry_run)
    sealing = destination.backing_key
    new_header = pack_header(
        sealing.suite,
        mode,
        destination.key.uuid_bytes,
        sealing.version,
        header.length,
        environment.entropy.salt(),
        key_type,
    )
    moved = await environment.token.rewrap(
        call,
        Rewrap(
            source.reference,
            digest,
            wrapped,
            destination.reference,
            derivation_digest(new_header, destination_context, rest),
            mode,
            key_type,
        ),
    )
    opened, key = source.backing_key, source.key
    note_use(environment, call, "ReEncrypt", key, destination.key)
    environment.observer.re_encrypted(source_is_current=opened.version == key.current_version)
    return ReEncryptResponse(
        b"".join((new_header, moved, ciphertext.sealed)),
        source.arn,
        destination.arn,
        _SYMMETRIC,
        _SYMMETRIC,
        opened.material_id,
        sealing.material_id,
    )


async def _with_rsa(
    environment: Environment,
    call: Call,
    request: ReEncryptRequest,
    blob: bytes,
    ciphertext: Ciphertext | None,
    start: _End,
    end: _End,
) -> ReEncryptResponse:
    source, destination, dry_run = start.target, end.target, bool(request.dry_run)
    if ciphertext is not None:
        moved = await _symmetric_to_rsa(environment, call, blob, ciphertext, start, end, dry_run=dry_run)
    else:
        require_modulus_length(source, blob)
        way = _rsa_to_rsa if is_rsa(destination) else _rsa_to_symmetric
        moved = await way(environment, call, blob, start, end, dry_run=dry_run)
    note_use(environment, call, "ReEncrypt", source.key, destination.key)
    environment.observer.re_encrypted(source_is_current=moved.opened.version == source.key.current_version)
    return ReEncryptResponse(
        ciphertext_blob=moved.blob,
        source_key_id=source.arn,
        key_id=destination.arn,
        source_encryption_algorithm=start.algorithm,
        destination_encryption_algorithm=end.algorithm,
        source_key_material_id=None if is_rsa(source) else moved.opened.material_id,
        destination_key_material_id=None if is_rsa(destination) else moved.sealing.material_id,
    )


async def _symmetric_to_rsa(
    environment: Environment,
    call: Call,
    blob: bytes,
    ciphertext: Ciphertext,
    source: _End,
    destination: _End,
    *,
    dry_run: bool,
) -> _Moved:
    opened = backing_key_of(source.target.key, ciphertext.header)
    _require_object(environment, ciphertext.header.mode, destination.target)
    require_room(destination.target, destination.algorithm, ciphertext.header.length)
    header = ciphertext.header
    digest = derivation_digest(blob[:HEADER_BYTES], source.context, sealed_digest(ciphertext.sealed))
    verify = Verify(reference(source.target.key, opened), digest, ciphertext.wrapped, header.mode, header.key_type)
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
    moved = await environment.token.rewrap_to_rsa(call, command)
    return _Moved(moved, opened, current_backing_key(destination.target))


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
