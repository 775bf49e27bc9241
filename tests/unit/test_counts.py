"""What is counted in plain numbers is shown as the library's own counters and histograms show it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from hsmkms.core.audit import RecordType
from hsmkms.core.messages import OPERATIONS
from hsmkms.server.counts import Counts, Durations
from hsmkms.server.metrics import _REQUEST_BUCKETS, Metrics

BOUNDS = (0.001, 0.25, 1.0, 30.0)


@pytest.fixture
def without_created() -> Iterator[None]:
    prometheus_client.disable_created_metrics()
    yield
    prometheus_client.enable_created_metrics()


def scrape(registry: CollectorRegistry) -> str:
    """Return what a scrape shows in both formats; when a series began is another moment, and left out."""
    text = generate_latest(registry) + generate_openmetrics(registry)
    return re.sub(r"(_created(?:\{.*\})?) .*", r"\1", text.decode())


def own(operations: list[tuple[str, str, float]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    counts = Counts("requests", "Requests.", ["operation", "result"], [("a", "OK"), ("b", "OK")])
    durations = Durations("duration_seconds", "Time.", "operation", ["a", "b"], BOUNDS)
    registry.register(counts)
    registry.register(durations)
    for operation, result, seconds in operations:
        counts.totals[operation, result] += 1
        durations.observe(operation, seconds)
    return registry


def the_library_s(operations: list[tuple[str, str, float]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("requests", "Requests.", ["operation", "result"], registry=registry)
    histogram = Histogram("duration_seconds", "Time.", ["operation"], buckets=BOUNDS, registry=registry)
    for name in ("a", "b"):
        counter.labels(name, "OK")
        histogram.labels(name)
    for operation, result, seconds in operations:
        counter.labels(operation, result).inc()
        histogram.labels(operation).observe(seconds)
    return registry


results = st.sampled_from(("OK", "NotFoundException", 'odd "\n\\'))
seconds = st.sampled_from((0.0, *BOUNDS)) | st.floats(0, 100)


@given(st.lists(st.tuples(st.sampled_from("ab"), results, seconds)))
def test_a_scrape_looks_as_before(operations: list[tuple[str, str, float]]) -> None:
    assert scrape(own(operations)) == scrape(the_library_s(operations))


def test_created_is_shown_when_the_library_shows_it(without_created: None) -> None:
    operations = [("a", "OK", 0.2), ("b", "x", 7.0)]
    shown = scrape(own(operations))
    assert "_created" not in shown
    assert shown == scrape(the_library_s(operations))


def test_when_a_series_began() -> None:
    registry = own([("a", "x", 0.1)])
    first = registry.get_sample_value("requests_created", {"operation": "a", "result": "x"})
    assert first is not None
    assert first > 1_700_000_000
    assert registry.get_sample_value("requests_created", {"operation": "a", "result": "x"}) == first


def test_what_every_request_counts() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    expected = CollectorRegistry()
    requests = Counter(
        "hsm_kms_requests", "Requests by operation and result.", ["operation", "result"], registry=expected
    )
    durations = Histogram(
        "hsm_kms_request_duration_seconds",
        "Time from a request's arrival to its answer.",
        ["operation"],
        buckets=_REQUEST_BUCKETS,
        registry=expected,
    )
    moved = Counter(
        "hsm_kms_reencrypted_ciphertexts",
        "Ciphertexts re-encrypted, by whether source and destination material was the key's current one.",
        ["source_material", "destination_material"],
        registry=expected,
    )
    records = Counter("hsm_kms_audit_records", "Records of the audit log, by type.", ["type"], registry=expected)
    for name in OPERATIONS:
        requests.labels(name, "OK")
        durations.labels(name)
    for source in ("current", "old"):
        moved.labels(source, "current")
    for kind in RecordType:
        records.labels(kind.value)

    for result in ("OK", "OK", "Cancelled", "KMSInternalException"):
        metrics.request_done("ReEncrypt", result, 0.0005)
        requests.labels("ReEncrypt", result).inc()
        durations.labels("ReEncrypt").observe(0.0005)
    for is_current in (True, False, False):
        metrics.re_encrypted(source_is_current=is_current)
        moved.labels("current" if is_current else "old", "current").inc()
    for kind in ("start", "request", "request"):
        metrics.audit_recorded(kind)
        records.labels(kind).inc()

    shown = scrape(registry)
    for family in scrape(expected).split("# HELP ")[1:]:
        assert f"# HELP {family.removesuffix('# EOF' + chr(10))}" in shown
