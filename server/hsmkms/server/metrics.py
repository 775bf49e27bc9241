"""Prometheus metrics. Names end in their unit; no label holds what a caller chose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hsmkms.core.messages import OPERATIONS
from hsmkms.core.statistics import BUCKETS, CallStatistics, WorkerStatistics
from hsmkms.server.reconciler import Report

_REQUEST_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 5.0, 30.0)


class Metrics:
    """Everything that is counted, on a registry of its own.

    It is the `core.ports.Observer` of the operations and the `PoolObserver` of the token pool.

    Args:
        registry: Where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "hsm_kms_requests", "Requests by operation and result.", ["operation", "result"], registry=registry
        )
        self._latency = Histogram(
            "hsm_kms_request_duration_seconds",
            "Time from a request's arrival to its answer.",
            ["operation"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._latencies = {name: self._latency.labels(name) for name in OPERATIONS}
        self._succeeded = {name: self._requests.labels(name, "OK") for name in OPERATIONS}
        reencrypted = Counter(
            "hsm_kms_reencrypted_ciphertexts",
            "Ciphertexts re-encrypted, by whether source and destination material was the key's current one.",
            ["source_material", "destination_material"],
            registry=registry,
        )
        self._from_current = reencrypted.labels("current", "current")
        self._from_old = reencrypted.labels("old", "current")
        self._started = Counter("hsm_kms_worker_starts", "Token workers started.", ["role"], registry=registry)
        self._ended = Counter(
            "hsm_kms_worker_ends", "Token workers that ended, by reason.", ["role", "reason"], registry=registry
        )
        self._ready = Gauge("hsm_kms_ready", "Whether the service can use its token: 1 or 0.", registry=registry)
        self._reconciled = Gauge(
            "hsm_kms_reconciler_objects",
            "What the last reconciliation found, by finding.",
            ["finding"],
            registry=registry,
        )
        self._calls = _TokenCalls()
        registry.register(self._calls)

    def request_done(self, operation: str, result: str, seconds: float) -> None:
        """Count a request: `OK` or the error's code, and how long it took."""
        if result == "OK":
            self._succeeded[operation].inc()
        else:
            self._requests.labels(operation, result).inc()
        self._latencies[operation].observe(seconds)

    def re_encrypted(self, *, source_is_current: bool) -> None:
        """Count a ReEncrypt; its destination is always the current material."""
        (self._from_current if source_is_current else self._from_old).inc()

    def worker_started(self, name: str, milliseconds: float) -> None:
        """Count a token worker that is ready."""
        del milliseconds
        self._started.labels(_role(name)).inc()

    def worker_ended(self, name: str, reason: str) -> None:
        """Count a token worker that is gone."""
        self._ended.labels(_role(name), reason).inc()
        self._calls.fold(name)

    def statistics(self, worker: str, statistics: WorkerStatistics) -> None:
        """Take a worker's counters of token calls."""
        self._calls.workers[worker] = statistics

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Show how many commands wait for a token worker."""
        gauge = Gauge("hsm_kms_token_queue_depth", "Commands that wait for a token worker.", registry=self.registry)
        gauge.set_function(depth)

    def ready(self, *, is_ready: bool) -> None:
        """Show whether the token can be used."""
        self._ready.set(1 if is_ready else 0)

    def reconciled(self, report: Report) -> None:
        """Show what the last reconciliation found."""
        for field in dataclasses.fields(report):
            found = getattr(report, field.name)
            self._reconciled.labels(field.name).set(found if isinstance(found, int) else len(found))


def _role(name: str) -> str:
    return name.partition("-")[0]


class _TokenCalls(Collector):
    """Token calls of all workers there were, added up when they are asked for."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerStatistics] = {}
        self._past: dict[str, CallStatistics] = {}

    def fold(self, worker: str) -> None:
        """Keep the sums of a worker that is gone, and forget its name."""
        gone = self.workers.pop(worker, None)
        if gone is not None:
            _add(self._past, gone.calls)

    def collect(self) -> Iterable[Metric]:
        """Return the sums (the registry calls this)."""
        sums: dict[str, CallStatistics] = {}
        for calls in (self._past, *(worker.calls for worker in self.workers.values())):
            _add(sums, calls)
        durations = HistogramMetricFamily(
            "hsm_kms_token_call_duration_seconds", "Time in PKCS#11 functions.", labels=["function"]
        )
        errors = CounterMetricFamily(
            "hsm_kms_token_call_errors", "PKCS#11 functions that failed, by return value.", labels=["function", "error"]
        )
        for function, counters in sorted(sums.items()):
            durations.add_metric([function], _cumulative(counters), counters.nanoseconds / 1e9)
            for error, count in sorted(counters.errors.items()):
                errors.add_metric([function, error], count)
        return [durations, errors]


def _add(sums: dict[str, CallStatistics], calls: dict[str, CallStatistics]) -> None:
    for function, counters in calls.items():
        sums.setdefault(function, CallStatistics()).add(counters)


def _cumulative(counters: CallStatistics) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for position, count in enumerate(counters.buckets):
        total += count
        bound = "+Inf" if position == BUCKETS - 1 else repr(2**position / 1e6)
        buckets.append((bound, float(total)))
    return buckets
