"""Samples, what they come to over the rounds, and the ratios that are judged. Pure: no clock, no process, no file.

Of several rounds, processor time counts by its minimum, since whatever else the machine does only adds to it; throughput and latencies
count by their median. Both sides of a ratio are taken in the same way.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

MICROSECONDS: Final = 1e6
SESSION_KEYS: Final = "session"
"""raw_rewrap on backing keys that are session objects: the reference."""
TOKEN_KEYS: Final = "token"  # noqa: S105  # a kind of object
"""raw_rewrap on backing keys that are token objects, as the service keeps them."""


class BenchError(Exception):
    """Something could not be measured; the text is one line that says why."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What is measured once in each round.

    Args:
        subject: `ReEncrypt`, `empty RPC`, `raw_rewrap`…
        size: Bytes of payload.
        clients: Callers at a time, each with one request, batch or stream; processes of raw_rewrap.
        variant: What else tells it from others, such as `session` or `10,000 keys`.
    """

    subject: str
    size: int = 32
    clients: int = 1
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Args:
        count: Items done: requests, entries of batches and streams, rewraps.
        wall_s: How long it took.
        front_s: Processor seconds of the front, or of whatever process is measured alone.
        workers_s: Processor seconds of the token workers.
        client_s: Processor seconds of the clients; never part of what is measured.
        p50_us: Median latency of a call (a batch is one call) or of a stream's entry, in microseconds; 0 where there is none.
        p99_us: The same for the 99th percentile.
    """

    count: int
    wall_s: float
    front_s: float
    workers_s: float = 0.0
    client_s: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """What a cell's samples come to; times in microseconds.

    Args:
        per_second: Items per second, median.
        front_us: Processor time of the front per item, of the sample with the least in all.
        workers_us: The same of the workers.
        client_us: The same of the clients, median.
        p50_us: Median of the rounds' medians.
        p99_us: Median of the rounds' 99th percentiles.
        spread: Largest over smallest processor time per item in the rounds.
    """

    per_second: float
    front_us: float
    workers_us: float
    client_us: float
    p50_us: float
    p99_us: float
    spread: float

    @property
    def cpu_us(self) -> float:
        """Processor time of the service per item."""
        return self.front_us + self.workers_us


def figure_of(samples: Sequence[Sample]) -> Figure:
    """Return what the rounds come to.

    Raises:
        ValueError: there is no sample, or one without an item.
    """
    if not samples or any(sample.count <= 0 for sample in samples):
        raise ValueError("nothing was counted")

    def median(of: Callable[[Sample], float]) -> float:
        return statistics.median(map(of, samples))

    def cost(sample: Sample) -> float:
        return (sample.front_s + sample.workers_s) / sample.count

    least = min(samples, key=cost)
    return Figure(
        per_second=median(lambda sample: sample.count / sample.wall_s),
        front_us=least.front_s / least.count * MICROSECONDS,
        workers_us=least.workers_s / least.count * MICROSECONDS,
        client_us=median(lambda sample: sample.client_s / sample.count) * MICROSECONDS,
        p50_us=median(lambda sample: sample.p50_us),
        p99_us=median(lambda sample: sample.p99_us),
        spread=max(map(cost, samples)) / cost(least),
    )


@dataclass(slots=True)
class Results:
    """Everything that a run found.

    Args:
        machine: What it ran on, by name.
        cells: The samples, one for each round.
        facts: Single numbers: memory in bytes, times in seconds, counts.
        profiles: Tables of where time goes, by title: rows of name and share.
        failures: What could not be measured, and why.
    """

    machine: dict[str, str] = field(default_factory=dict)
    cells: dict[Cell, list[Sample]] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    profiles: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, cell: Cell, sample: Sample) -> None:
        """Keep a round's sample."""
        self.cells.setdefault(cell, []).append(sample)

    def measure(self, cell: Cell, measure: Callable[[], Sample]) -> None:
        """Measure once, and keep the sample or why there is none: one failure does not cost the whole run."""
        try:
            self.add(cell, measure())
        except BenchError as error:
            what = ", ".join(
                filter(None, (cell.subject, f"{cell.size} bytes", f"{cell.clients} clients", cell.variant))
            )
            self.failures.append(f"{what}: {error}")

    def figure(self, cell: Cell) -> Figure | None:
        """Return a cell's figure, or None where it was not measured."""
        samples = self.cells.get(cell)
        return figure_of(samples) if samples else None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "machine": self.machine,
            "facts": self.facts,
            "profiles": self.profiles,
            "failures": self.failures,
            "cells": [
                {**asdict(cell), "samples": [asdict(sample) for sample in samples]}
                for cell, samples in self.cells.items()
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Results:
        """Return what `to_document` wrote down."""
        results = cls(
            dict(document["machine"]),
            {},
            dict(document["facts"]),
            {
                title: [(str(name), float(share)) for name, share in rows]
                for title, rows in document["profiles"].items()
            },
            list(document["failures"]),
        )
        for entry in document["cells"]:
            cell = Cell(entry["subject"], entry["size"], entry["clients"], entry["variant"])
            results.cells[cell] = [Sample(**sample) for sample in entry["samples"]]
        return results


@dataclass(frozen=True, slots=True)
class Ratio:
    """A number that has a bound.

    Args:
        name: What it is.
        bound: The bound.
        at_most: Whether the bound is an upper one.
        value: The number, or None where a part of it was not measured.
        other: The number against the other reference, where there are two: the first is `SESSION_KEYS`, this is `TOKEN_KEYS`.
        unit: Empty for a ratio.
        needs_quiet: Whether other work on the machine spoils it: everything but memory. Processor time is spoilt too, through caches.
    """

    name: str
    bound: float
    at_most: bool
    value: float | None
    other: float | None = None
    unit: str = ""
    needs_quiet: bool = True

    def keeps(self, value: float | None) -> bool | None:
        """Say whether a value keeps the bound; None where there is none."""
        if value is None:
            return None
        return value <= self.bound if self.at_most else value >= self.bound


def quotient(above: float | None, below: float | None) -> float | None:
    """Return above / below where both are known."""
    return None if above is None or not below else above / below


def steps(throughput: Mapping[int, float]) -> dict[int, float]:
    """Return what each further worker added, as a part of the first one's throughput, by how many workers there were then.

    Args:
        throughput: Items per second by number of workers; one worker must be among them.
    """
    counts = sorted(throughput)
    first = throughput[1]
    return {
        after: (throughput[after] - throughput[before]) / (after - before) / first
        for before, after in itertools.pairwise(counts)
    }


def cpu_of(figures: Iterable[Figure | None]) -> float | None:
    """Return the processor time of several figures together, or None where one is missing."""
    total = 0.0
    for figure in figures:
        if figure is None:
            return None
        total += figure.cpu_us
    return total
