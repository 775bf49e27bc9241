"""GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext: key pairs for callers, made by the token."""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import KeyType
from hsmkms.core.material_commands import GenerateDataKeyPair, PairSpec
from hsmkms.core.material_messages import (
    GenerateDataKeyPairRequest,
    GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextRequest,
    GenerateDataKeyPairWithoutPlaintextResponse,
)
from hsmkms.core.model import DataKeyPairSpec
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.judge import lacking, refuse_dry_run
from hsmkms.core.operations.judgements import Usable
from hsmkms.core.operations.seal import sealing_key
from hsmkms.core.operations.usage import note_use
from hsmkms.core.ports import Call

_EDWARDS: Final = DataKeyPairSpec.ECC_NIST_EDWARDS25519


async def generate_data_key_pair(
    environment: Environment, call: Call, request: GenerateDataKeyPairRequest
) -> GenerateDataKeyPairResponse:
    """Make a key pair and return its private key in plaintext (DER PKCS#8) and encrypted.

    Raises:
        UnsupportedOperationException: the token cannot make that kind of key pair.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    action = "kms:GenerateDataKeyPair"
    end, public_key, blob, private_key = await _generate(environment, call, request, action, with_plaintext=True)
    return GenerateDataKeyPairResponse(
        private_key_ciphertext_blob=blob,
        private_key_plaintext=private_key,
        public_key=public_key,
        key_id=end.arn,
        key_pair_spec=_spec(request),
        key_material_id=end.backing_key.material_id,
    )


async def generate_data_key_pair_without_plaintext(
    environment: Environment, call: Call, request: GenerateDataKeyPairWithoutPlaintextRequest
) -> GenerateDataKeyPairWithoutPlaintextResponse:
    """Make a key pair and return its private key encrypted only: it leaves the token in no other form.

    Raises:
        UnsupportedOperationException: the token cannot make that kind of key pair.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    action = "kms:GenerateDataKeyPairWithoutPlaintext"
    end, public_key, blob, _ = await _generate(environment, call, request, action, with_plaintext=False)
    return GenerateDataKeyPairWithoutPlaintextResponse(
        private_key_ciphertext_blob=blob,
        public_key=public_key,
        key_id=end.arn,
        key_pair_spec=_spec(request),
        key_material_id=end.backing_key.material_id,
    )


async def _generate(
    environment: Environment,
    call: Call,
    request: GenerateDataKeyPairRequest | GenerateDataKeyPairWithoutPlaintextRequest,
    action: str,
    *,
    with_plaintext: bool,
) -> tuple[Usable, bytes, bytes, bytes]:
    """Return the key it was sealed under, the public key, the ciphertext, and the private key if it was asked for."""
    spec = _spec(request)
    conditions = {"kms:DataKeyPairSpec": str(spec)}
    sealing = sealing_key(environment, call, action, request, conditions)
    end = sealing.end
    possible = environment.token.features.key_pair_specs
    if spec not in possible:
        raise lacking(environment, f"KeyPairSpec {spec}", spec, [one for one in DataKeyPairSpec if one in possible])
    refuse_dry_run(request.dry_run)
    header = sealing.private_key_header(environment, _key_type(spec))
    command = GenerateDataKeyPair(end.reference, header, sealing.context, PairSpec[spec.name], int(with_plaintext))
    public_key, body, private_key = await environment.token.generate_data_key_pair(call, command)
    note_use(environment, call, action.removeprefix("kms:"), end.key)
    return end, public_key, header + body, private_key


def _spec(request: GenerateDataKeyPairRequest | GenerateDataKeyPairWithoutPlaintextRequest) -> DataKeyPairSpec:
    assert request.key_pair_spec is not None, "its constraint says that it is required"
    return DataKeyPairSpec(request.key_pair_spec)


def _key_type(spec: DataKeyPairSpec) -> KeyType:
    if spec.startswith("RSA_"):
        return KeyType.RSA
    return KeyType.EDWARDS if spec is _EDWARDS else KeyType.EC
