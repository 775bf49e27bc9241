"""GetKeyLastUsage, and how the cryptographic operations note what they used."""

from __future__ import annotations

from hsmkms.core.messages import GetKeyLastUsageRequest, GetKeyLastUsageResponse, KeyLastUsage
from hsmkms.core.model import KmsKey
from hsmkms.core.operations.environment import Environment, to_datetime
from hsmkms.core.operations.identify import resolve_key_only
from hsmkms.core.operations.judge import authorise
from hsmkms.core.ports import Call
from hsmkms.core.usage import KeyUse


def note_use(environment: Environment, call: Call, operation: str, *keys: KmsKey) -> None:
    """Note that an operation succeeded with these keys.

    Args:
        environment: The ports.
        call: The request.
        operation: AWS's name of the operation.
        keys: The keys; of ReEncrypt both, each with a use of its own.
    """
    now, request_id, note = environment.clock.now_us(), call.request_id, environment.uses.note
    for key in keys:
        note(KeyUse(key.key_id, operation, now, request_id, key.created))


async def get_key_last_usage(
    environment: Environment, call: Call, request: GetKeyLastUsageRequest
) -> GetKeyLastUsageResponse:
    """Tell when a key was last used successfully, on any front whose uses are in the catalog, or on this one.

    Raises:
        KmsError: the key cannot be found, or the caller may not see it.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:GetKeyLastUsage")
    authorise(environment, call, "kms:GetKeyLastUsage", target)
    kept = environment.view.last_use(target.key.key_id)
    uses = [use for use in (environment.uses.last(target.key.key_id), kept) if use is not None and use.operation]
    last = max(uses, key=lambda use: use.used, default=None)
    return GetKeyLastUsageResponse(
        key_id=target.key.key_id,
        key_last_usage=KeyLastUsage(last.operation, to_datetime(last.used), last.request_id)
        if last
        else KeyLastUsage(),
        tracking_start_date=to_datetime(max(target.key.created, kept.recorded_since if kept else 0)),
        key_creation_date=to_datetime(target.key.created),
    )
