"""Audit records of what the service does to keys of its own accord: deletion, expiry of imported material, rotation by date."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from hsmkms.core.arns import key_arn
from hsmkms.core.audit import Event
from hsmkms.core.model import KmsKey
from hsmkms.core.operations.environment import Environment
from hsmkms.server.audit.log import Auditor


class ServiceActs:
    """Records them.

    Args:
        audit: The audit log.
        environment: Partition and time.
    """

    def __init__(self, audit: Auditor, environment: Environment) -> None:
        self._audit = audit
        self._environment = environment

    def record(self, name: str, keys: Iterable[KmsKey]) -> None:
        """Record an act on some keys.

        Args:
            name: `DeleteKey`, `DeleteExpiredKeyMaterial` or `RotateKey`, as CloudTrail names them.
            keys: The keys.
        """
        for key in keys:
            self._audit.record(
                Event(
                    operation=name,
                    request_id=uuid.uuid4().hex,
                    event_id=str(uuid.uuid4()),
                    time_us=self._environment.clock.now_us(),
                    partition=self._environment.partition,
                    scope=key.scope,
                    touched=(key_arn(self._environment.partition, key.scope, key.key_id),),
                )
            )
