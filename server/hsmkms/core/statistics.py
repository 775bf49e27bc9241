"""Counts and latencies of token calls, kept by a worker and added up by the front.

Latencies fall into buckets that double: bucket i counts calls that took less than 2^i microseconds, the last one everything else.

The calls of ReEncrypt are made one right after the other and noted together: each is taken to begin when the one before it ended. So
some tenths of a microsecond of Python count as the token's in each, where a call takes 10 and more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = 24
"""The last bucket's bound would be 8.4 s; a crypto command's budget is 5 s."""
NOTED: Final = 64
"""How many sequences are noted before they are counted: counting many at a time costs a quarter, and 64 take a tenth of a millisecond."""


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

    def observe_many(self, nanoseconds: Sequence[int]) -> None:
        """Count calls that took that long each."""
        self.nanoseconds += sum(nanoseconds)
        for bucket, count in Counter([(taken // 1000).bit_length() for taken in nanoseconds]).items():
            self.buckets[min(bucket, BUCKETS - 1)] += count

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
        sequences: Those whose calls are noted first and counted later.
    """

    calls: dict[str, CallStatistics] = field(default_factory=dict)
    objects: int = 0
    resident_bytes: int = 0
    sequences: list[SequenceStatistics] = field(default_factory=list)

    def settle(self) -> None:
        """Count what is only noted so far: to be called before the counters are read."""
        for sequence in self.sequences:
            sequence.settle()

    def reset(self) -> None:
        """Begin to count anew: what a probe tries and is refused is no failure of the service's."""
        self.settle()
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


class SequenceStatistics:
    """Calls that are made one right after the other, always the same, noted at once and counted `NOTED` at a time.

    Args:
        statistics: Where they are counted.
        functions: The names of the PKCS#11 functions, in their order.
    """

    __slots__ = ("_counters", "_noted")

    def __init__(self, statistics: WorkerStatistics, functions: Sequence[str]) -> None:
        self._counters = [statistics.calls.setdefault(name, CallStatistics()) for name in functions]
        self._noted: list[list[int]] = []
        statistics.sequences.append(self)

    def note(self, times: list[int]) -> None:
        """Note a whole sequence: when its first call began, and when each ended, in nanoseconds of one clock."""
        noted = self._noted
        noted.append(times)
        if len(noted) == NOTED:
            self.settle()

    def count(self, times: Sequence[int]) -> None:
        """Count a sequence that was broken off: `times` as of `note`, up to the last call that was made."""
        for counters, began, ended in zip(self._counters, times, times[1:], strict=False):
            counters.observe(ended - began)

    def settle(self) -> None:
        """Count what is noted."""
        noted, self._noted = self._noted, []
        columns = list(zip(*noted, strict=True))
        for counters, began, ended in zip(self._counters, columns, columns[1:], strict=False):
            counters.observe_many([end - begin for begin, end in zip(began, ended, strict=True)])
