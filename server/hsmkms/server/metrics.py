"""Prometheus metrics. Names end in their unit; no label holds what a caller chose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hsmkms.core.audit import RecordType
from hsmkms.core.messages import BULKS, OPERATIONS
from hsmkms.core.statistics import BUCKETS, CallStatistics, WorkerStatistics
from hsmkms.server.catalog.heartbeats import Beat, Doubt
from hsmkms.server.counts import Counts, Durations
from hsmkms.server.deleter import Deletions
from hsmkms.server.reconciler import Report
from hsmkms.server.rotation_scheduler import Rotations

_BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_REQUEST_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 5.0, 30.0)
_FROM_CURRENT: Final = ("current", "current")
_FROM_OLD: Final = ("old", "current")


class Metrics:
    """Everything that is counted, on a registry of its own.

    It is the `core.ports.Observer` of the operations and the `PoolObserver` of the token pool.

    Args:
        registry: Where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        requests = Counts(
            "hsm_kms_requests",
            "Requests by operation and result.",
            ["operation", "result"],
            known=[(name, "OK") for name in OPERATIONS],
        )
        registry.register(requests)
        self._requests = requests.totals
        latencies = Durations(
            "hsm_kms_request_duration_seconds",
            "Time from a request's arrival to its answer.",
            "operation",
            known=OPERATIONS,
            bounds=_REQUEST_BUCKETS,
        )
        registry.register(latencies)
        self._observe_latency = latencies.observe
        batches = Histogram(
            "hsm_kms_batch_entries",
            "Entries of a batch.",
            ["operation"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._batches = {bulk.name: batches.labels(bulk.name) for bulk in BULKS.values() if not bulk.streams}
        self._bulks = Gauge(
            "hsm_kms_bulks_under_way", "Batches and streams under way.", ["operation"], registry=registry
        )
        for name in BULKS:
            self._bulks.labels(name)
        reencrypted = Counts(
            "hsm_kms_reencrypted_ciphertexts",
            "Ciphertexts re-encrypted, by whether source and destination material was the key's current one.",
            ["source_material", "destination_material"],
            known=[_FROM_CURRENT, _FROM_OLD],
        )
        registry.register(reencrypted)
        self._reencrypted = reencrypted.totals
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
        audit_records = Counts(
            "hsm_kms_audit_records",
            "Records of the audit log, by type.",
            ["type"],
            known=[(kind.value,) for kind in RecordType],
        )
        registry.register(audit_records)
        self._audit_records = audit_records.totals
        self._audit_lost = Counter(
            "hsm_kms_audit_lost_records", "Refused requests that the audit log has only as a number.", registry=registry
        )
        self._audit_failures = Counter(
            "hsm_kms_audit_write_failures", "Failed attempts to write the audit log.", registry=registry
        )
        rotations = Counter(
            "hsm_kms_automatic_rotations", "Rotations by date, by how they ended.", ["result"], registry=registry
        )
        self._rotated, self._not_rotated = rotations.labels("rotated"), rotations.labels("failed")
        self._deleted = Counter(
            "hsm_kms_deleted_keys", "KMS keys deleted after their waiting period.", registry=registry
        )
        self._expired = Counter(
            "hsm_kms_expired_key_materials", "Imported key materials taken out of use at their end.", registry=registry
        )
        destroyed = Counter(
            "hsm_kms_destroyed_backing_keys",
            "Backing keys, of deleted keys and of imported material, that the token was to destroy, by how that ended.",
            ["result"],
            registry=registry,
        )
        self._destroyed, self._not_destroyed = destroyed.labels("destroyed"), destroyed.labels("failed")
        self._held_back = Gauge(
            "hsm_kms_held_back_deletions",
            "KMS keys whose date, or whose material's, has come and that are kept, since it is not certain that the time has passed.",
            registry=registry,
        )
        self._doubts = Counter(
            "hsm_kms_clock_doubts", "Heartbeats that found a clock in doubt, by why.", ["doubt"], registry=registry
        )
        for doubt in Doubt:
            self._doubts.labels(doubt)
        self._clock_settled = Gauge(
            "hsm_kms_clock_settled", "Whether no clock was in doubt lately: 1 or 0.", registry=registry
        )
        self._calls = _TokenCalls()
        registry.register(self._calls)

    def request_done(self, operation: str, result: str, seconds: float) -> None:
        """Count a request: `OK` or the error's code, and how long it took."""
        self._requests[operation, result] += 1
        self._observe_latency(operation, seconds)

    def batch(self, name: str, entries: int) -> None:
        """Count a batch: `BatchReEncrypt`, and how many entries it has."""
        self._batches[name].observe(entries)

    def bulks(self, name: str, change: int) -> None:
        """Count a batch or stream that begins (1) or ends (-1)."""
        self._bulks.labels(name).inc(change)

    def re_encrypted(self, *, source_is_current: bool) -> None:
        """Count a ReEncrypt; its destination is always the current material."""
        self._reencrypted[_FROM_CURRENT if source_is_current else _FROM_OLD] += 1

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

    def audit_recorded(self, kind: str) -> None:
        """Count a record of the audit log."""
        self._audit_records[(kind,)] += 1

    def audit_lost(self) -> None:
        """Count a refused request that could not be recorded."""
        self._audit_lost.inc()

    def audit_failed(self) -> None:
        """Count a failed attempt to write the audit log."""
        self._audit_failures.inc()

    def watch_audit(self, trouble: Callable[[], str], pending_bytes: Callable[[], int]) -> None:
        """Show whether the audit log can be written, and how much of it waits for the disk."""
        writable = Gauge(
            "hsm_kms_audit_writable", "Whether the audit log can be written: 1 or 0.", registry=self.registry
        )
        writable.set_function(lambda: 0 if trouble() else 1)
        pending = Gauge(
            "hsm_kms_audit_pending_bytes",
            "Bytes of audit records that are not on the disk yet.",
            registry=self.registry,
        )
        pending.set_function(pending_bytes)

    def ready(self, *, is_ready: bool) -> None:
        """Show whether the token can be used."""
        self._ready.set(1 if is_ready else 0)

    def rotations(self, rotations: Rotations) -> None:
        """Count what a run of the rotation scheduler did."""
        self._rotated.inc(len(rotations.rotated))
        self._not_rotated.inc(len(rotations.failed))

    def deletions(self, deletions: Deletions) -> None:
        """Count what a run of the deleter did."""
        self._deleted.inc(len(deletions.deleted))
        self._expired.inc(len(deletions.expired))
        self._destroyed.inc(len(deletions.destroyed))
        self._not_destroyed.inc(len(deletions.failed))
        self._held_back.set(len(deletions.held_back))

    def beat(self, beat: Beat) -> None:
        """Show what a heartbeat found."""
        for doubt in beat.doubts:
            self._doubts.labels(doubt).inc()
        self._clock_settled.set(1 if beat.settled else 0)

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
