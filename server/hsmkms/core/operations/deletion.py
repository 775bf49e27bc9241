"""ScheduleKeyDeletion and CancelKeyDeletion. What happens when the waiting period is over, `server.deleter` says."""

from __future__ import annotations

import json
from typing import Final

from hsmkms.core import aws_json
from hsmkms.core.messages import (
    CancelKeyDeletionRequest,
    CancelKeyDeletionResponse,
    ScheduleKeyDeletionRequest,
    ScheduleKeyDeletionResponse,
)
from hsmkms.core.model import KeyState
from hsmkms.core.operations.environment import Environment, mutation, to_datetime
from hsmkms.core.operations.identify import resolve_key_only
from hsmkms.core.operations.judge import Side, authorise
from hsmkms.core.ports import Call

DEFAULT_WINDOW_DAYS: Final = 30
_DAY_US: Final = 24 * 60 * 60 * 1_000_000


async def schedule_key_deletion(
    environment: Environment, call: Call, request: ScheduleKeyDeletionRequest
) -> ScheduleKeyDeletionResponse:
    """Make a key unusable at once, and have it deleted after a waiting period of 7 to 30 days (30 by default).

    Its rotation schedule and its aliases stay; while it is pending deletion it does not rotate.

    Raises:
        KMSInvalidStateException: the key is pending deletion already, or in a state that does not allow it.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    window = request.pending_window_in_days or DEFAULT_WINDOW_DAYS
    target = resolve_key_only(environment, call, request.key_id, "kms:ScheduleKeyDeletion")
    conditions = {"kms:ScheduleKeyDeletionPendingWindowInDays": str(window)}
    authorise(environment, call, "kms:ScheduleKeyDeletion", target, Side(conditions=conditions))
    deletion_date = environment.clock.now_us() + window * _DAY_US
    response = ScheduleKeyDeletionResponse(
        key_id=target.arn,
        deletion_date=to_datetime(deletion_date),
        key_state=KeyState.PENDING_DELETION,
        pending_window_in_days=window,
    )
    document = json.dumps(aws_json.encode(response)).encode()
    change = mutation(call, "ScheduleKeyDeletion", request)
    answer = await environment.changes.schedule_deletion(change, target.key, deletion_date, window, document)
    return aws_json.decode(ScheduleKeyDeletionResponse, json.loads(answer))


async def cancel_key_deletion(
    environment: Environment, call: Call, request: CancelKeyDeletionRequest
) -> CancelKeyDeletionResponse:
    """Keep a key that is pending deletion; it is Disabled then.

    Raises:
        KMSInvalidStateException: the key is not pending deletion.
        NotFoundException: there is no such key, or its waiting period is over and it is deleted.
        KmsError: any other refusal.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    target = resolve_key_only(environment, call, request.key_id, "kms:CancelKeyDeletion")
    authorise(environment, call, "kms:CancelKeyDeletion", target)
    document = json.dumps(aws_json.encode(CancelKeyDeletionResponse(target.arn))).encode()
    change = mutation(call, "CancelKeyDeletion", request)
    answer = await environment.changes.cancel_deletion(change, target.key, document)
    return aws_json.decode(CancelKeyDeletionResponse, json.loads(answer))
