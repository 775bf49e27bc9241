"""What `make bench` makes of its samples: figures, ratios, tables. What it measures is its own proof; how it counts is tested here."""

import json

import pytest

from bench import figures, profile, report
from bench.__main__ import FULL, SHORT
from bench.figures import SESSION_KEYS, TOKEN_KEYS, Cell, Results, Sample, figure_of

MACHINE = {"processors": "2"}


def sample(cpu_us, *, per_second=1000, workers_us=0.0, client_us=0.0, p50_us=0.0):
    count = 500
    return Sample(
        count,
        count / per_second,
        cpu_us * count / 1e6,
        workers_us * count / 1e6,
        client_us * count / 1e6,
        p50_us,
        2 * p50_us,
    )


def results_of(cells):
    found = Results(dict(MACHINE))
    for cell, samples in cells.items():
        for one in samples if isinstance(samples, list) else [samples]:
            found.add(cell, one)
    return found


def usual(subject, size=32, variant=""):
    return Cell(subject, size, report.USUAL_CLIENTS, variant)


def by_name(results):
    return {ratio.name: ratio for ratio in report.ratios(results)}


def test_processor_time_counts_by_its_minimum_and_the_rest_by_its_median():
    rounds = [
        sample(300, per_second=900, workers_us=100, p50_us=10),
        sample(200, per_second=1000, workers_us=150, p50_us=30),
        sample(500, per_second=2000, workers_us=200, p50_us=20),
    ]
    figure = figure_of(rounds)
    assert (round(figure.front_us), round(figure.workers_us), round(figure.cpu_us)) == (200, 150, 350)
    assert (round(figure.per_second), figure.p50_us, figure.p99_us) == (1000, 20, 40)
    assert figure.spread == pytest.approx(700 / 350)


@pytest.mark.parametrize("samples", [[], [sample(1), Sample(0, 1.0, 1.0)]])
def test_nothing_counted_is_no_figure(samples):
    with pytest.raises(ValueError, match="nothing was counted"):
        figure_of(samples)


def test_results_survive_their_file():
    results = results_of(
        {usual("ReEncrypt"): [sample(1), sample(2)], Cell("raw_rewrap", variant=TOKEN_KEYS): sample(3)}
    )
    results.facts["workers replaced"] = 2
    results.profiles["Front"] = [("core", 0.25)]
    assert Results.from_document(json.loads(json.dumps(results.to_document()))) == results


def test_what_cannot_be_measured_is_told_and_does_not_end_the_run():
    def refused():
        raise figures.BenchError("status 8")

    results = results_of({usual("ReEncrypt"): sample(100)})
    results.measure(usual("Encrypt"), refused)
    results.measure(usual("Encrypt"), lambda: sample(50))
    assert results.figure(usual("Encrypt")).cpu_us == pytest.approx(50)
    assert "- Encrypt, 32 bytes, 16 clients: status 8" in report.ratio_table(results)
    assert Results.from_document(results.to_document()).failures == results.failures


def test_the_ratios_are_of_what_they_say():
    cells = {
        report.raw(SESSION_KEYS): sample(80),
        report.raw(TOKEN_KEYS): sample(128),
        report.raw(SESSION_KEYS, processes=2): sample(80, per_second=20_000),
        report.raw(TOKEN_KEYS, processes=2): sample(128, per_second=10_000),
        Cell("worker", variant="1 a frame"): sample(0, workers_us=96),
        usual("empty RPC"): sample(120),
        usual("ReEncrypt"): sample(200, workers_us=100),
        usual("BatchReEncrypt"): sample(20, workers_us=100, per_second=5_000, client_us=1000),
    }
    found = by_name(results_of(cells))
    worker = found["worker's rewrap / raw_rewrap, processor time; one rewrap a frame"]
    assert (worker.value, worker.other) == (pytest.approx(96 / 80), pytest.approx(96 / 128))
    unary = found["ReEncrypt / (empty RPC + raw_rewrap), processor time"]
    assert (unary.value, unary.other) == (pytest.approx(300 / 200), pytest.approx(300 / 248))
    batch = found["BatchReEncrypt per entry / raw_rewrap, processor time"]
    assert (batch.value, batch.other) == (
        pytest.approx(120 / 80),
        pytest.approx(120 / 128),
    )  # the client's time is not in it
    speed = found["BatchReEncrypt / raw_rewrap once per core, throughput"]
    assert (speed.value, speed.other) == (pytest.approx(0.25), pytest.approx(0.5))
    assert (speed.keeps(speed.value), speed.keeps(speed.other)) == (False, True)
    assert found["StreamReEncrypt per entry / raw_rewrap, processor time"].value is None


def test_many_keys_are_compared_with_few():
    results = results_of({
        usual("ReEncrypt", variant="10 keys"): sample(100),
        usual("ReEncrypt", variant="1,000 keys"): sample(104),
        usual("ReEncrypt", variant="1,000 keys, creating"): sample(150),
    })  # fmt: skip
    results.facts |= {"many keys": 1000, "worker bytes/1000": 42e6}
    found = by_name(results)
    assert found["ReEncrypt with 1,000 keys / with 10, processor time"].value == pytest.approx(1.04)
    assert found["the same while keys are created"].keeps(found["the same while keys are created"].value) is False
    assert found["worker at rest, 1,000 keys"].value == pytest.approx(42)


def test_growth_is_judged_only_where_a_worker_was_replaced():
    results = Results(dict(MACHINE), facts={"worker growth bytes": 20e6, "workers replaced": 0})
    name = "most that a worker grew before it was replaced"
    assert by_name(results)[name].value is None
    results.facts["workers replaced"] = 1
    assert by_name(results)[name].value == pytest.approx(20)


def test_each_further_worker_is_compared_with_the_first():
    assert figures.steps({1: 100.0, 2: 190.0, 4: 350.0}) == {2: pytest.approx(0.9), 4: pytest.approx(0.8)}


def slow(workers, per_second, front_us=100):
    return Cell("ReEncrypt", 32, 64, f"{workers} slow workers"), sample(front_us, per_second=per_second)


def test_scaling_is_judged_until_a_processor_is_full():
    # At 16 workers the front takes 950 of 1,000 ms: no further worker can add anything.
    cells = dict([slow(1, 100), slow(2, 190), slow(8, 730), slow(16, 800, front_us=1190)])
    assert report.steps_until_full(results_of(cells), "ReEncrypt") == {2: pytest.approx(0.9), 8: pytest.approx(0.9)}
    name = "least that a further worker adds, network HSM, ReEncrypt: part of the first one's throughput"
    assert by_name(results_of(cells))[name].value == pytest.approx(0.9)


def test_a_busy_machine_is_not_let_off_and_not_blamed():
    def run(got):
        raw = [Sample(1000, 1.0, 2 * got), Sample(1000, 1.0, 2.0)]
        return report.ratio_table(results_of({
            report.raw(SESSION_KEYS): sample(1000), report.raw(SESSION_KEYS, processes=2): raw,
            usual("BatchReEncrypt"): sample(1000),
        }))  # fmt: skip

    speed, cost = "throughput | ≥ 0.4 | 1.00 {}", "per entry / raw_rewrap, processor time | ≤ 1.7 | 1.00 {}"
    assert speed.format("✓") in run(0.99)
    assert speed.format("?") in run(0.5)
    assert cost.format("✓") in run(0.99)
    assert cost.format("?") in run(0.5)
    assert "got 50% of the processors" in run(0.5)
    assert "busy" not in run(0.99)


def test_a_part_of_the_page_is_replaced_and_the_rest_stays():
    page = "by hand\n<!-- generated: cost -->\nold\n<!-- end of cost -->\nby hand too\n"
    new = report.replace_part(page, "cost", r"| new \1 |")
    assert new == "by hand\n<!-- generated: cost -->\n| new \\1 |\n<!-- end of cost -->\nby hand too\n"
    assert report.replace_part(new, "cost", "old") == page
    with pytest.raises(ValueError, match="0 parts named speed"):
        report.replace_part(page, "speed", "")


def test_the_page_has_a_place_for_every_part_and_takes_a_run_without_results(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text((report.PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    report.write(page, Results(dict(MACHINE)))
    report.write(page, results_of({usual("ReEncrypt"): sample(200, workers_us=100)}))
    assert "| ReEncrypt | 200 | 100 | 300 |" in page.read_text(encoding="utf-8")


def test_samples_of_a_profile_count_for_the_innermost_module_of_ours():
    stacks = [
        "main (server/cli.py:1);Handle._run (asyncio/events.py:80);rpc (server/grpc/edge.py:9);decide (core/policy/decision.py:3) 3",
        "main (server/cli.py:1);rpc (server/grpc/edge.py:9);uuid4 (uuid.py:723) 2",
        "main (server/cli.py:1);Handle._run (asyncio/events.py:80) 4",
        "main (server/cli.py:1);select (selectors.py:468) 1",
        "",
    ]
    assert profile.shares(stacks) == [
        ("grpcio's own code, in the event loop", 0.4),
        ("policies: core/policy", 0.3),
        ("gRPC edge: server/grpc", 0.2),
        ("asyncio and the rest of Python", 0.1),
    ]
    worker = "main (hsm/worker.py:1);Worker._read (hsm/worker.py:2)"
    assert profile.group_of(worker) == "the worker's loop: hsm/worker"
    assert profile.group_of(f"{worker};Worker._receive (hsm/worker.py:171)") == "waiting for the next frame"
    assert profile.shares([]) == []


def test_no_plan_asks_for_more_than_an_operation_takes():
    for plan in (FULL, SHORT):
        assert all(size <= 1024 for size, _ in plan.shapes("GenerateDataKey"))
        assert {(32, 1), (4096, 1), (32, 16), (4096, 16)} <= set(plan.shapes("ReEncrypt"))
    assert {size for size, _ in FULL.shapes("BatchReEncrypt")} == {32, 256, 1024, 4096}
    assert (min(FULL.clients), max(FULL.clients)) == (1, 64)
