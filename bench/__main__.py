"""`make bench`: measure everything, interleaved, and write docs/performance.md and its plots.

Every subject is measured once in each round, and every second round goes backwards, so that a machine that slows down is unjust to
nobody. All of it is on loopback and on throw-away tokens, certificates and catalogs, which are gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from bench import many_keys, profile, report, scaling
from bench.calls import LARGEST_DATA_KEY, Calls, Keys, Maker
from bench.figures import SESSION_KEYS, TOKEN_KEYS, BenchError, Cell, Results, Sample
from bench.programs import build
from bench.report import FEW_KEYS, OPERATIONS, USUAL_CLIENTS
from bench.subjects import START_S, Endpoint, Worker, create_keys, deploy, empty_calls, empty_rpc, raw_rewrap
from bench.usage import Memory, children, resident_bytes
from hsmkms.client import ClientError
from support.service import Deployment, Service, running

ROOT: Final = Path(__file__).resolve().parent.parent
SECTIONS: Final = ("core", "keys", "profiles", "scaling")
GROW_STEP_S: Final = 5.0
LONGEST_S: Final = 3600
"""A run that takes longer is ended."""

Measure = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Args:
        rounds: How often each subject is measured.
        seconds: For how long each time.
        sizes: Bytes of payload, at `USUAL_CLIENTS`.
        clients: Numbers of clients, at 32 bytes.
        grow_s: For how long, at most, to go on until a worker has grown so much that it is replaced.
        many_keys: How many keys are many.
        workers: Numbers of workers for the network HSM.
    """

    rounds: int
    seconds: float
    sizes: tuple[int, ...]
    clients: tuple[int, ...]
    grow_s: float
    many_keys: int = 10_000
    workers: tuple[int, ...] = (1, 2, 4, 8, 16)

    def shapes(self, operation: str) -> list[tuple[int, int]]:
        """Return the sizes and numbers of clients that an operation is measured with."""
        shapes = [(size, USUAL_CLIENTS) for size in self.sizes] + [(32, clients) for clients in self.clients]
        if operation == "ReEncrypt":
            shapes.append((4096, 1))
        if operation == "GenerateDataKey":
            shapes = [(min(size, LARGEST_DATA_KEY), clients) for size, clients in shapes]
        return sorted(set(shapes))


FULL: Final = Plan(rounds=4, seconds=1.8, sizes=(32, 256, 1024, 4096), clients=(1, 4, 16, 64), grow_s=200)
SHORT: Final = Plan(rounds=2, seconds=0.7, sizes=(32, 4096), clients=(1, 16), grow_s=0, many_keys=1000, workers=(1, 4))


def say(text: str) -> None:
    """Tell whoever waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def core(results: Results, plan: Plan, stack: ExitStack, deployment: Deployment, service: Service, keys: Keys) -> None:
    """Measure raw_rewrap, the empty RPC, the worker alone and the service's operations."""
    maker = Maker(service, keys)
    calls = {
        Cell(operation, size, clients): maker.make(operation, size)
        for operation in OPERATIONS
        for size, clients in plan.shapes(operation)
    }
    like = {size: made for (operation, size, made) in _distinct(calls) if operation == "ReEncrypt"}
    empty = stack.enter_context(empty_rpc(deployment, [made.answer_bytes for made in like.values()]))
    endpoint, cores = Endpoint.of(service), os.cpu_count() or 1
    worker = Worker(deployment.token)
    stack.callback(worker.close)

    subjects: dict[Cell, Measure] = {}
    for kind in (SESSION_KEYS, TOKEN_KEYS):
        for processes in sorted({1, cores}):
            subjects[Cell("raw_rewrap", 32, processes, kind)] = _raw(deployment, kind, processes, plan.seconds)
    for items in (1, 16):
        subjects[Cell("worker", variant=f"{items} a frame")] = _worker(worker, items, plan.seconds)
    for size, clients in plan.shapes("empty RPC"):
        subjects[Cell("empty RPC", size, clients)] = _load(empty, empty_calls(like[size]), clients, plan.seconds)
    for cell, made in calls.items():
        subjects[cell] = _load(endpoint, made, cell.clients, plan.seconds)

    with Memory(service.process.pid) as memory:
        for turn in range(plan.rounds):
            say(f"round {turn + 1} of {plan.rounds}: {len(subjects)} subjects")
            for cell in list(subjects) if turn % 2 == 0 else reversed(subjects):
                results.measure(cell, subjects[cell])
        end = time.monotonic() + plan.grow_s
        while not _replaced(service) and time.monotonic() < end:
            endpoint.load(calls[Cell("BatchReEncrypt", 32, USUAL_CLIENTS)], USUAL_CLIENTS, GROW_STEP_S)
    results.facts |= {
        f"front bytes/{FEW_KEYS}": memory.front_at_rest,
        f"worker bytes/{FEW_KEYS}": memory.worker_at_rest,
        "front most bytes": memory.front_most,
        "worker most bytes": memory.worker_most,
        "worker growth bytes": memory.worker_most - memory.worker_at_rest,
        "workers replaced": _replaced(service),
    }


def _replaced(service: Service) -> int:
    return sum(line.get("event") == "token worker is replaced" for line in list(service.log))


def _distinct(calls: dict[Cell, Calls]) -> Iterator[tuple[str, int, Calls]]:
    for cell, made in calls.items():
        yield cell.subject, cell.size, made


def _raw(deployment: Deployment, kind: str, processes: int, seconds: float) -> Measure:
    return lambda: raw_rewrap(deployment.token, kind, 32, processes, seconds)


def _worker(worker: Worker, items: int, seconds: float) -> Measure:
    return lambda: worker.load(items, seconds)


def _load(endpoint: Endpoint, calls: Calls, clients: int, seconds: float) -> Measure:
    return lambda: endpoint.load(calls, clients, seconds)


def with_many_keys(results: Results, plan: Plan, folder: Path, service: Service, keys: Keys) -> None:
    """Measure ReEncrypt with few keys and with many, in turn."""
    say(f"{plan.many_keys:,} keys")
    calls = Maker(service, keys).make("ReEncrypt", 32)
    cores = os.cpu_count() or 1
    with many_keys.running_with(folder / "many", plan.many_keys, cores) as many:
        for _ in range(plan.rounds):
            few = Cell("ReEncrypt", clients=USUAL_CLIENTS, variant=f"{FEW_KEYS} keys")
            results.measure(few, _load(Endpoint.of(service), calls, USUAL_CLIENTS, plan.seconds))
            many.measure(results, plan.seconds, creating=False)
            many.measure(results, 2 * plan.seconds, creating=True)
        many.facts(results)


def profiles(results: Results, service: Service, keys: Keys, seconds: float) -> None:
    """Look where time goes, in the front and in a worker."""
    endpoint, maker = Endpoint.of(service), Maker(service, keys)
    for operation in ("ReEncrypt", "BatchReEncrypt"):
        say(f"profile of {operation}")
        calls = maker.make(operation, 32)
        front = profile.profile(endpoint, calls, endpoint.pid, seconds, holding_gil=True)
        results.profiles[f"Front, {operation}, while it holds the interpreter"] = front
    active = max(children(endpoint.pid), key=resident_bytes)
    calls = maker.make("ReEncrypt", 32)
    results.profiles["A token worker, ReEncrypt"] = profile.profile(endpoint, calls, active, seconds, holding_gil=False)


def with_network_hsm(results: Results, plan: Plan, folder: Path, deployment: Deployment) -> None:
    """Measure ReEncrypt where each call of the token waits, with more and more workers."""
    say("network HSM")
    scaling.measure(results, folder / "slow", deployment.token, plan.workers, plan.seconds, plan.rounds)


def machine(plan: Plan) -> dict[str, str]:
    """Return what it runs on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    softhsm = subprocess.run(["softhsm2-util", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "processor": model,
        "processors": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "grpcio": grpc.__version__,
        "SoftHSM": softhsm,
        "rounds": str(plan.rounds),
        "seconds for each measurement": f"{plan.seconds:g}",
    }


def run(plan: Plan, sections: Sequence[str]) -> Results:
    """Measure."""
    results = Results(machine(plan))
    for program in ("raw_rewrap", "load", "slow_module.so"):
        build(program)
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="hsm-kms-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        deployment = deploy(folder / "main", workers=cores)
        ids = create_keys(deployment, FEW_KEYS)
        service = stack.enter_context(running(deployment, start_s=START_S))
        service.wait_for_workers(cores + 2)
        keys = Keys(service.client(timeout_s=60.0), ids)
        parts: dict[str, Callable[[], None]] = {
            "core": lambda: core(results, plan, stack, deployment, service, keys),
            "keys": lambda: with_many_keys(results, plan, folder, service, keys),
            "profiles": lambda: profiles(results, service, keys, 4 * plan.seconds),
            "scaling": lambda: with_network_hsm(results, plan, folder, deployment),
        }
        for section in SECTIONS:
            if section not in sections:
                continue
            try:
                parts[section]()
            except TooLong as error:
                results.failures.append(str(error))
                break
            except (BenchError, AssertionError, OSError, subprocess.SubprocessError, ClientError) as error:
                # What has been measured must not be lost to a section that fails; the page names it.
                results.failures.append(f"section {section}: {error}")
    return results


class TooLong(Exception):
    """The whole run takes too long."""


def _too_long(_number: int, _frame: Any) -> None:
    raise TooLong(f"not done after {LONGEST_S} s")


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(prog="make bench BENCH_ARGS=…", description=__doc__)
    parser.add_argument("--short", action="store_true", help="about two minutes instead of fifteen: a first look")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="measure this section only; may be given again"
    )
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing: write the page anew from the last results"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the page, the plots and the results (default: docs/; with --short or --only .cache/bench/out)",
    )
    arguments = parser.parse_args()
    partial = arguments.short or arguments.only
    output: Path = arguments.output or (ROOT / ".cache" / "bench" / "out" if partial else ROOT / "docs")
    plots_folder, page = output / "performance", output / "performance.md"
    results_file = plots_folder / "results.json"
    try:
        if arguments.redraw:
            results = Results.from_document(json.loads(results_file.read_text()))
        else:
            signal.signal(signal.SIGALRM, _too_long)
            signal.alarm(LONGEST_S)
            results = run(SHORT if arguments.short else FULL, arguments.only or SECTIONS)
            signal.alarm(0)
            plots_folder.mkdir(parents=True, exist_ok=True)
            results_file.write_text(json.dumps(results.to_document(), indent=1) + "\n")
    except (BenchError, TooLong) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if not page.exists():
        page.write_text(report.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    report.write(page, results)
    from bench import plots  # with it comes matplotlib, which the tests of the rest do not need

    plots.draw(plots_folder, results)
    print(report.ratio_table(results))
    say(f"written: {page} and {plots_folder}")
    for failure in results.failures:
        say(f"not measured: {failure}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
