"""GenerateMac and VerifyMac, with HMAC keys, on the token."""

from __future__ import annotations

from hsmkms.core.errors import KMSInvalidMacException
from hsmkms.core.material_commands import Mac, MacHash, VerifyMac
from hsmkms.core.material_messages import GenerateMacRequest, GenerateMacResponse, VerifyMacRequest, VerifyMacResponse
from hsmkms.core.model import KeyUsage, MacAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, mac_reference, resolve
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


async def generate_mac(environment: Environment, call: Call, request: GenerateMacRequest) -> GenerateMacResponse:
    """Make the MAC of a message.

    Raises:
        InvalidKeyUsageException: the key is no HMAC key, or not for that algorithm.
        DryRunOperationException: DryRun is set, and all was well.
        KmsError: any other refusal.
    """
    assert request.message is not None, "its constraint says that it is required"
    target, algorithm = _judge(environment, call, request, "GenerateMac")
    refuse_dry_run(request.dry_run)
    command = Mac(mac_reference(target), _hash(algorithm), request.message)
    mac = await environment.token.mac(call, command)
    note_use(environment, call, "GenerateMac", target.key)
    return GenerateMacResponse(mac, algorithm, target.arn)


async def verify_mac(environment: Environment, call: Call, request: VerifyMacRequest) -> VerifyMacResponse:
    """Check the MAC of a message, on the token.

    Raises:
        KMSInvalidMacException: it is not that of the message, by that key and algorithm.
        InvalidKeyUsageException: the key is no HMAC key, or not for that algorithm.
        DryRunOperationException: DryRun is set, and all was well, the MAC included.
        KmsError: any other refusal.
    """
    assert request.message is not None, "its constraint says that it is required"
    assert request.mac is not None, "its constraint says that it is required"
    target, algorithm = _judge(environment, call, request, "VerifyMac")
    command = VerifyMac(mac_reference(target), _hash(algorithm), request.message, request.mac)
    if not await environment.token.verify_mac(call, command):
        raise KMSInvalidMacException
    refuse_dry_run(request.dry_run)
    note_use(environment, call, "VerifyMac", target.key)
    return VerifyMacResponse(target.arn, True, algorithm)


def _judge(
    environment: Environment, call: Call, request: GenerateMacRequest | VerifyMacRequest, operation: str
) -> tuple[NamedKey, MacAlgorithm]:
    assert request.key_id is not None, "its constraint says that it is required"
    assert request.mac_algorithm is not None, "its constraint says that it is required"
    algorithm = MacAlgorithm(request.mac_algorithm)
    action = f"kms:{operation}"
    target = resolve(environment, call, request.key_id, action)
    conditions = {"kms:MacAlgorithm": str(algorithm)}
    authorise(environment, call, action, target, Side(grant_tokens=request.grant_tokens, conditions=conditions))
    require_state(target, operation)
    require_usage(target, KeyUsage.GENERATE_VERIFY_MAC)
    require_algorithm(environment, target, algorithm)
    return target, algorithm


def _hash(algorithm: MacAlgorithm) -> MacHash:
    return MacHash[algorithm.name.removeprefix("HMAC_")]
