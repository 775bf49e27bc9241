"""Counts and latencies of token calls, kept by a worker and added up by the front.

Latencies fall into buckets that double: bucket i counts calls that took less than 2^i microseconds, the last one everything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = 24
"""The last bucket's bound would be 8.4 s; a crypto command's budget is 5 s."""


@dataclass(slots=True)
class CallStatistics:
    """Counters of one PKCS#11 function.

    Args:
        nanoseconds: Time spent in it.
        buckets: Calls by latency, `BUCKETS` of them.
        errors: Failed calls by the name of the return value.
    """

    nanoseconds: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many calls there were."""
        return sum(self.buckets)

    def observe(self, nanoseconds: int) -> None:
        """Count a call that took that long."""
        self.nanoseconds += nanoseconds
        self.buckets[min((nanoseconds // 1000).bit_length(), BUCKETS - 1)] += 1

    def add(self, other: CallStatistics) -> None:
        """Add another worker's counters to these."""
        self.nanoseconds += other.nanoseconds
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        for name, count in other.errors.items():
            self.errors[name] = self.errors.get(name, 0) + count


@dataclass(slots=True)
class WorkerStatistics:
    """All counters of one worker.

    Args:
        calls: Counters by PKCS#11 function.
        objects: Session objects made so far.
        resident_bytes: Resident memory of the process.
    """

    calls: dict[str, CallStatistics] = field(default_factory=dict)
    objects: int = 0
    resident_bytes: int = 0

    def reset(self) -> None:
        """Begin to count anew: what a probe tries and is refused is no failure of the service's."""
        for counters in self.calls.values():
            counters.nanoseconds = 0
            counters.buckets[:] = [0] * BUCKETS
            counters.errors.clear()

    def to_json(self) -> bytes:
        """Return the counters as JSON."""
        return json.dumps(
            {
                "calls": {name: [c.nanoseconds, c.buckets, c.errors] for name, c in self.calls.items()},
                "objects": self.objects,
                "resident_bytes": self.resident_bytes,
            }
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> WorkerStatistics:
        """Read what `to_json` wrote."""
        document = json.loads(data)
        calls = {name: CallStatistics(*counters) for name, counters in document["calls"].items()}
        return cls(calls, document["objects"], document["resident_bytes"])
