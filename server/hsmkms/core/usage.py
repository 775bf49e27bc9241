"""The last successful cryptographic operation of each KMS key, as this process saw it since it was last written to the catalog.

Noting a use costs a dictionary entry and never waits; what was noted is written in batches (`server.usage_keeper`), so a process that is
killed forgets the uses of the last minute, and no others. For one event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class KeyUse:
    """The last use of a key. Nobody changes it; every request makes one for each key.

    Args:
        key_id: The key.
        operation: AWS's name of the operation, or empty where none was recorded.
        used: When it was, in microseconds since 1970, UTC; 0 where none was recorded.
        request_id: The request's id.
        recorded_since: Since when uses of this key are recorded, in microseconds since 1970, UTC.
    """

    key_id: str
    operation: str
    used: int
    request_id: str
    recorded_since: int


class KeyUses:
    """Uses that are not in the catalog yet."""

    def __init__(self) -> None:
        self._uses: dict[str, KeyUse] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def note(self, use: KeyUse) -> None:
        """Note a use, if none that is as late is known."""
        known = self._uses.get(use.key_id)
        if known is None or known.used <= use.used:
            self._uses[use.key_id] = use

    def last(self, key_id: str) -> KeyUse | None:
        """Return the last use noted of that key, or None."""
        return self._uses.get(key_id)

    def first(self, limit: int) -> Sequence[KeyUse]:
        """Return at most `limit` of the uses; once they are in the catalog, call `written`."""
        return [use for _, use in zip(range(limit), self._uses.values(), strict=False)]

    def written(self, uses: Sequence[KeyUse]) -> None:
        """Forget uses that are in the catalog now, except of keys that were used again meanwhile."""
        for use in uses:
            if self._uses.get(use.key_id) is use:
                del self._uses[use.key_id]
