"""Counters and histograms for what happens with every request: plain numbers, made into Prometheus's metrics when they are asked for.

What is asked for looks as the library's own Counter and Histogram would, `_created` included. They are not used since they take a
lock for each change. There is none here: counting and collecting belong to one event loop (`probes` collects in the front's).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class _Totals(dict[Labels, int]):
    """Totals by the labels' values: what is counted for the first time begins at 0."""

    def __init__(self, known: Iterable[Labels]) -> None:
        super().__init__()
        self.created: dict[Labels, float] = {}
        for labels in known:
            self[labels] = self[labels]

    def __missing__(self, labels: Labels) -> int:
        self.created[labels] = time.time()
        return 0


class Counts(Collector):
    """A counter: `counts.totals[labels] += 1`.

    Args:
        name: Its name, without `_total`.
        documentation: What it counts.
        labels: Names of its labels, one at least.
        known: Values of the labels that are shown before anything was counted.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], known: Iterable[Labels]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._shows_created = _shows_created()
        self.totals = _Totals(known)
        """What was counted, by the labels' values."""

    def collect(self) -> Iterable[Metric]:
        """Return the counter (the registry calls this)."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, total in self.totals.items():
            family.add_metric(labels, float(total), self.totals.created[labels] if self._shows_created else None)
        return [family]


class _Series:
    """Durations with one value of the label."""

    __slots__ = ("buckets", "seconds")

    def __init__(self, buckets: int) -> None:
        self.buckets = [0] * buckets
        """How many there were in each bucket, those of the buckets below it not included."""
        self.seconds = 0.0


class Durations(Collector):
    """A histogram of durations.

    Args:
        name: Its name.
        documentation: What took so long.
        label: The name of its label.
        known: The label's values; there are no others.
        bounds: Upper bounds of the buckets in seconds, ascending, each in its bucket; the last bucket has none.
    """

    def __init__(
        self, name: str, documentation: str, label: str, known: Iterable[str], bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = tuple(map(float, bounds))
        self._series = {value: _Series(len(self._bounds) + 1) for value in known}
        self._created = time.time()
        self._shows_created = _shows_created()

    def observe(self, value: str, seconds: float) -> None:
        """Count a duration under a value of the label."""
        series = self._series[value]
        series.seconds += seconds
        series.buckets[bisect_left(self._bounds, seconds)] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the histogram (the registry calls this)."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        bounds = (*map(repr, self._bounds), "+Inf")
        for value, series in self._series.items():
            total = 0
            cumulative: list[tuple[str, float]] = []
            for bound, count in zip(bounds, series.buckets, strict=True):
                total += count
                cumulative.append((bound, float(total)))
            family.add_metric([value], cumulative, series.seconds)
            if self._shows_created:
                family.add_sample(f"{self._name}_created", {self._label: value}, self._created)
        return [family]


def _shows_created() -> bool:
    """Say whether the library's own metrics have `_created` (PROMETHEUS_DISABLE_CREATED_SERIES turns it off)."""
    [family] = Counter("hsm_kms_probe", "Registered nowhere.", registry=None).collect()
    return len(family.samples) > 1
