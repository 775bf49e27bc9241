"""Data keys and random bytes, made by the token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hsmkms.core.commands import GenerateDataKey
from hsmkms.core.errors import UnsupportedOperationException, ValidationException
from hsmkms.core.messages import (
    GenerateDataKeyRequest,
    GenerateDataKeyResponse,
    GenerateDataKeyWithoutPlaintextRequest,
    GenerateDataKeyWithoutPlaintextResponse,
    GenerateRandomRequest,
    GenerateRandomResponse,
)
from hsmkms.core.model import DataKeySpec
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.judge import authorise, null_member, refuse_dry_run
from hsmkms.core.operations.judgements import Usable
from hsmkms.core.operations.seal import sealing_key
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call

_LENGTHS: Final[Mapping[DataKeySpec, int]] = {DataKeySpec.AES_128: 16, DataKeySpec.AES_256: 32}


async def generate_data_key(
    environment: Environment, call: Call, request: GenerateDataKeyRequest
) -> GenerateDataKeyResponse:
    """Make a data key and return it in plaintext and encrypted.

    Raises:
        ValidationException: not exactly one of KeySpec and NumberOfBytes is given.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    end, blob, plaintext = await _generate(environment, call, request, "kms:GenerateDataKey", with_plaintext=True)
    return GenerateDataKeyResponse(blob, plaintext, end.arn, end.backing_key.material_id)


async def generate_data_key_without_plaintext(
    environment: Environment, call: Call, request: GenerateDataKeyWithoutPlaintextRequest
) -> GenerateDataKeyWithoutPlaintextResponse:
    """Make a data key and return it encrypted only.

    Raises:
        ValidationException: not exactly one of KeySpec and NumberOfBytes is given.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    action = "kms:GenerateDataKeyWithoutPlaintext"
    end, blob, _ = await _generate(environment, call, request, action, with_plaintext=False)
    return GenerateDataKeyWithoutPlaintextResponse(blob, end.arn, end.backing_key.material_id)


async def _generate(
    environment: Environment,
    call: Call,
    request: GenerateDataKeyRequest | GenerateDataKeyWithoutPlaintextRequest,
    action: str,
    *,
    with_plaintext: bool,
) -> tuple[Usable, bytes, bytes]:
    """Return the key it was sealed under, the ciphertext, and the data key if it was asked for."""
    length = _length(request.key_spec, request.number_of_bytes)
    sealing = sealing_key(environment, call, action, request)
    end = sealing.end
    refuse_dry_run(request.dry_run)
    header = sealing.header(environment, length)
    command = GenerateDataKey(end.reference, header, sealing.context, int(with_plaintext))
    body, plaintext = await environment.token.generate_data_key(call, command)
    note_use(environment, call, action.removeprefix("kms:"), end.key)
    return end, header + body, plaintext


def _length(key_spec: str | None, number_of_bytes: int | None) -> int:
    if key_spec is not None and number_of_bytes is None:
        return _LENGTHS[DataKeySpec(key_spec)]
    if number_of_bytes is not None and key_spec is None:
        return number_of_bytes
    raise ValidationException("Please specify either number of bytes or key spec.")


async def generate_random(
    environment: Environment, call: Call, request: GenerateRandomRequest
) -> GenerateRandomResponse:
    """Return random bytes from the token's generator.

    Raises:
        ValidationException: NumberOfBytes is missing.
        UnsupportedOperationException: a custom key store is named.
        KmsError: any other refusal.
    """
    if request.custom_key_store_id is not None:
        raise UnsupportedOperationException(
            "Custom key stores do not apply to this service, whose keys are all on its own token: leave CustomKeyStoreId out."
        )
    if request.number_of_bytes is None:
        raise null_member("numberOfBytes")
    authorise(environment, call, "kms:GenerateRandom", "*")
    return GenerateRandomResponse(await environment.token.random(call, request.number_of_bytes))
