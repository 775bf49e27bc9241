"""The generated parts of docs/performance.md: ratios, tables, the machine. Pure but for `write`.

A part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. What is outside of them is written by hand and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.figures import SESSION_KEYS, TOKEN_KEYS, Cell, Figure, Ratio, Results, cpu_of, quotient, steps

OPERATIONS: Final = ("ReEncrypt", "BatchReEncrypt", "StreamReEncrypt", "Encrypt", "Decrypt", "GenerateDataKey")
USUAL_CLIENTS: Final = 16
FEW_KEYS: Final = 10
FULL_CPU: Final = 0.9
"""Part of the machine's processors, or of the front's one, that is a full CPU."""
QUIET: Final = 0.93
"""Part of the processors that raw_rewrap must get, in every round, for anything but memory to be judged."""
MB: Final = 1e6
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def replace_part(text: str, name: str, part: str) -> str:
    """Return the text with a generated part replaced.

    Raises:
        ValueError: the text does not have the part exactly once.
    """
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    replaced, count = pattern.subn(lambda found: f"{found[1]}{part.strip()}\n{found[2]}", text)
    if count != 1:
        raise ValueError(f"the document has {count} parts named {name}; it needs one")
    return replaced


def write(document: Path, results: Results) -> None:
    """Write every generated part into the document."""
    text = document.read_text(encoding="utf-8")
    for name, part in PARTS.items():
        text = replace_part(text, name, part(results))
    document.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; every column but the first is aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for a table, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def quiet(results: Results) -> float | None:
    """Return which part of the processors raw_rewrap got when it ran once on each and nothing else was to run, the worst of all rounds."""
    shares = [
        sample.front_s / sample.wall_s / cell.clients
        for cell, samples in results.cells.items()
        if cell.subject == "raw_rewrap"
        for sample in samples
    ]
    return min(shares, default=None)


# Ratios


def cpu(results: Results, cell: Cell) -> float | None:
    """Return a cell's processor time per item in microseconds."""
    return cpu_of([results.figure(cell)])


def per_second(results: Results, cell: Cell) -> float | None:
    """Return a cell's items per second."""
    figure = results.figure(cell)
    return figure.per_second if figure else None


def raw(kind: str, size: int = 32, processes: int = 1) -> Cell:
    """Return raw_rewrap's cell."""
    return Cell("raw_rewrap", size, processes, kind)


def most_raw(results: Results, kind: str) -> Cell:
    """Return the cell of raw_rewrap that runs once per core."""
    cores = max((cell.clients for cell in results.cells if cell.subject == "raw_rewrap"), default=1)
    return raw(kind, processes=cores)


def best(results: Results, operation: str, value: Callable[[Figure], float]) -> float | None:
    """Return an operation's smallest value over all numbers of clients, at 32 bytes."""
    cells = [cell for cell in results.cells if cell == Cell(operation, 32, cell.clients)]
    return min((value(figure) for cell in cells if (figure := results.figure(cell))), default=None)


def ratios(results: Results) -> list[Ratio]:
    """Return every number that has a bound."""

    def against(name: str, bound: float, of: Callable[[str], float | None], *, at_most: bool = True) -> Ratio:
        return Ratio(name, bound, at_most, of(SESSION_KEYS), of(TOKEN_KEYS))

    def usual(operation: str, size: int = 32, variant: str = "") -> Cell:
        return Cell(operation, size, USUAL_CLIENTS, variant)

    def bulk_cpu(operation: str) -> Callable[[str], float | None]:
        return lambda kind: quotient(cpu(results, usual(operation)), cpu(results, raw(kind)))

    def bulk_speed(operation: str) -> Callable[[str], float | None]:
        return lambda kind: quotient(
            per_second(results, usual(operation)), per_second(results, most_raw(results, kind))
        )

    def unary(kind: str) -> float | None:
        floor = cpu_of([results.figure(usual("empty RPC")), results.figure(raw(kind))])
        return quotient(cpu(results, usual("ReEncrypt")), floor)

    def worker(items: int) -> Callable[[str], float | None]:
        cell = Cell("worker", variant=_frames(items))
        return lambda kind: quotient(cpu(results, cell), cpu(results, raw(kind)))

    def keys(variant: str) -> float | None:
        return quotient(
            cpu(results, usual("ReEncrypt", variant=variant)),
            cpu(results, usual("ReEncrypt", variant=f"{FEW_KEYS} keys")),
        )

    many = many_keys(results)
    large, small = results.figure(Cell("ReEncrypt", 4096, 1)), results.figure(Cell("ReEncrypt", 32, 1))
    return [
        against("worker's rewrap / raw_rewrap, processor time; one rewrap a frame", 1.25, worker(1)),
        against("the same, 16 rewraps a frame", 1.25, worker(16)),
        against("BatchReEncrypt per entry / raw_rewrap, processor time", 1.7, bulk_cpu("BatchReEncrypt")),
        against("StreamReEncrypt per entry / raw_rewrap, processor time", 1.7, bulk_cpu("StreamReEncrypt")),
        against("BatchReEncrypt / raw_rewrap once per core, throughput", 0.4, bulk_speed("BatchReEncrypt"), at_most=False),
        against("StreamReEncrypt / raw_rewrap once per core, throughput", 0.4, bulk_speed("StreamReEncrypt"), at_most=False),
        against("ReEncrypt / (empty RPC + raw_rewrap), processor time", 1.6, unary),
        Ratio(
            "ReEncrypt of 4,096 bytes / of 32 bytes, median latency of one client", 1.15, True,
            quotient(large.p50_us if large else None, small.p50_us if small else None),
        ),
        Ratio(
            "the same, processor time", 1.15, True, quotient(cpu(results, usual("ReEncrypt", 4096)), cpu(results, usual("ReEncrypt"))),
        ),
        Ratio(f"ReEncrypt with {many:,} keys / with {FEW_KEYS}, processor time", 1.10, True, keys(f"{many:,} keys")),
        Ratio("the same while keys are created", 1.10, True, keys(f"{many:,} keys, creating")),
        Ratio(f"a worker is ready, {many:,} keys", 10, True, results.facts.get(f"worker ready seconds/{many}"), unit="s"),
        Ratio(f"front at rest, {many:,} keys", 200, True, _megabytes(results, f"front bytes/{many}"), unit="MB", needs_quiet=False),
        Ratio(f"worker at rest, {many:,} keys", 150, True, _megabytes(results, f"worker bytes/{many}"), unit="MB", needs_quiet=False),
        Ratio("most that a worker grew before it was replaced", 150, True, _growth(results), unit="MB", needs_quiet=False),
        *(
            Ratio(
                f"least that a further worker adds, network HSM, {operation}: part of the first one's throughput", 0.8, False,
                min(found.values(), default=None) if (found := steps_until_full(results, operation)) is not None else None,
            )
            for operation in ("ReEncrypt", "BatchReEncrypt")
        ),
    ]  # fmt: skip


def _frames(items: int) -> str:
    return f"{items} a frame"


def _megabytes(results: Results, fact: str) -> float | None:
    value = results.facts.get(fact)
    return None if value is None else value / MB


def _growth(results: Results) -> float | None:
    """Return how much a worker grew until it was replaced: where none was, nobody knows."""
    return _megabytes(results, "worker growth bytes") if results.facts.get("workers replaced") else None


def slow_workers(results: Results, operation: str) -> dict[int, Cell]:
    """Return the cells of the network HSM by number of workers."""
    return {
        int(cell.variant.split()[0]): cell
        for cell in results.cells
        if cell.subject == operation and cell.variant.endswith("slow workers")
    }


def busy(results: Results, cell: Cell) -> tuple[float, float]:
    """Return how much of the machine's processors all of it took, clients too, and how much of one the front took."""
    figure = results.figure(cell)
    assert figure is not None
    cores = int(results.machine.get("processors", "1"))
    everything = (figure.front_us + figure.workers_us + figure.client_us) * figure.per_second / 1e6
    return everything / cores, figure.front_us * figure.per_second / 1e6


def steps_until_full(results: Results, operation: str) -> dict[int, float] | None:
    """Return what each further worker added until a CPU was full, or None where it was not measured."""
    cells = slow_workers(results, operation)
    if 1 not in cells:
        return None
    counts = sorted(cells)
    full = next((count for count in counts if max(busy(results, cells[count])) >= FULL_CPU), counts[-1] + 1)
    throughput = {count: per_second(results, cells[count]) or 0.0 for count in counts if count < full}
    return steps(throughput) if 1 in throughput else {}


# Parts


def machine(results: Results) -> str:
    """Return what it ran on."""
    got = quiet(results)
    rows = [[name, value] for name, value in results.machine.items()]
    rows.append(["raw_rewrap got of the processors it asked for, worst round", "-" if got is None else f"{got:.0%}"])
    return table(["", ""], rows)


def ratio_table(results: Results) -> str:
    """Return the ratios, their bounds, and which are kept. What a busy machine spoils is not judged where the machine was busy."""
    got = quiet(results)
    is_quiet = got is not None and got >= QUIET

    def shown(ratio: Ratio, value: float | None) -> str:
        kept = ratio.keeps(value)
        mark = "" if kept is None else " ?" if ratio.needs_quiet and not is_quiet else " ✓" if kept else " ✗"
        return number(value) + (f" {ratio.unit}" if ratio.unit and value is not None else "") + mark

    rows = [
        [
            ratio.name,
            f"{'≤' if ratio.at_most else '≥'} {ratio.bound:g}" + (f" {ratio.unit}" if ratio.unit else ""),
            shown(ratio, ratio.value),
            "" if ratio.other is None else shown(ratio, ratio.other),
        ]
        for ratio in ratios(results)
    ]
    made = table(["", "bound", "measured", "measured, raw_rewrap on token keys"], rows)
    if results.failures:
        made += "\n\nNot measured, or not in every round:\n\n" + "\n".join(
            f"- {failure}" for failure in results.failures
        )
    if is_quiet or got is None:
        return made
    warning = (
        f"**The machine was busy with something else: raw_rewrap got {got:.0%} of the processors that it asked for. What has a question "
        "mark is not judged; measure again on a quiet machine.**"
    )
    return f"{warning}\n\n{made}"


def cost_table(results: Results) -> str:
    """Return processor time per item and throughput of everything, at 32 bytes."""
    rows = [
        _cost_row(results, name, cell)
        for name, cell in (
            ("raw_rewrap, session backing keys", raw(SESSION_KEYS)),
            ("raw_rewrap, token backing keys", raw(TOKEN_KEYS)),
            ("raw_rewrap, session backing keys, once per core", most_raw(results, SESSION_KEYS)),
            ("raw_rewrap, token backing keys, once per core", most_raw(results, TOKEN_KEYS)),
            ("token worker alone, one rewrap a frame", Cell("worker", variant=_frames(1))),
            ("token worker alone, 16 rewraps a frame", Cell("worker", variant=_frames(16))),
            ("empty RPC", Cell("empty RPC", 32, USUAL_CLIENTS)),
            *((operation, Cell(operation, 32, USUAL_CLIENTS)) for operation in OPERATIONS),
        )
    ]
    return table(_COST_HEAD, rows)


def size_table(results: Results) -> str:
    """Return the service's operations by size of payload."""
    rows = [
        _cost_row(results, f"{operation}, {size:,} bytes", cell)
        for operation in ("empty RPC", *OPERATIONS)
        for size in sorted({cell.size for cell in results.cells if cell.subject == operation})
        if (cell := Cell(operation, size, USUAL_CLIENTS)) in results.cells
    ]
    return table(_COST_HEAD, rows)


def client_table(results: Results) -> str:
    """Return the service's operations by number of clients."""
    rows = [
        _cost_row(results, f"{operation}, {clients} client{'s' * (clients > 1)}", cell)
        for operation in ("empty RPC", *OPERATIONS)
        for clients in sorted({cell.clients for cell in results.cells if cell.subject == operation})
        if (cell := Cell(operation, 32, clients)) in results.cells
    ]
    return table(_COST_HEAD, rows)


_COST_HEAD: Final = (
    "", "front, µs", "workers, µs", "together, µs", "client, µs", "per second", "p50, ms", "p99, ms", "spread",
)  # fmt: skip


def _cost_row(results: Results, name: str, cell: Cell) -> list[str]:
    figure = results.figure(cell)
    if figure is None:
        return [name, *["-"] * (len(_COST_HEAD) - 1)]
    alone = cell.subject in ("raw_rewrap", "worker")
    return [
        name,
        *(("", "") if alone else (number(figure.front_us, 0), number(figure.workers_us, 0))),
        number(figure.cpu_us, 0),
        "" if alone else number(figure.client_us, 0),
        number(figure.per_second, 0),
        *(("", "") if alone else (number(figure.p50_us / 1000), number(figure.p99_us / 1000))),
        number(figure.spread),
    ]


def many_keys(results: Results) -> int:
    """Return how many keys were many in this run."""
    return int(results.facts.get("many keys", 10_000))


def key_table(results: Results) -> str:
    """Return what many keys cost."""
    many = many_keys(results)
    rows = [
        _cost_row(results, f"ReEncrypt, {variant}", Cell("ReEncrypt", 32, USUAL_CLIENTS, variant))
        for variant in (f"{FEW_KEYS} keys", f"{many:,} keys", f"{many:,} keys, creating")
    ]
    facts = [
        ["keys created per second meanwhile", number(results.facts.get(f"created per second/{many}"), 1)],
        ["what the admin worker needs for each of them, ms", number(results.facts.get(f"creation milliseconds/{many}"), 0)],
        *(
            [f"{process} at rest, {count:,} keys, MB", number(_megabytes(results, f"{process} bytes/{count}"), 0)]
            for process in ("front", "worker")
            for count in (FEW_KEYS, many)
        ),
        [f"from a worker's death to a new one that is ready, {many:,} keys, s", number(results.facts.get(f"worker ready seconds/{many}"))],
        ["front, most in the whole run, MB", number(_megabytes(results, "front most bytes"), 0)],
        ["worker, most in the whole run, MB", number(_megabytes(results, "worker most bytes"), 0)],
        ["workers replaced in the whole run because they had grown", number(results.facts.get("workers replaced"), 0)],
    ]  # fmt: skip
    return table(_COST_HEAD, rows) + "\n\n" + table(["", ""], facts)


def scaling_table(results: Results) -> str:
    """Return throughput by number of workers where each call waits."""
    rows = []
    for operation in ("ReEncrypt", "BatchReEncrypt"):
        cells = slow_workers(results, operation)
        if 1 not in cells:
            continue
        throughput = {count: per_second(results, cell) or 0.0 for count, cell in cells.items()}
        added = steps(throughput)
        for count in sorted(cells):
            machine_busy, front_busy = busy(results, cells[count])
            rows.append([
                f"{operation}, {count} worker{'s' * (count > 1)}", number(throughput[count], 0), number(added.get(count)),
                f"{front_busy:.0%}", f"{machine_busy:.0%}",
            ])  # fmt: skip
    head = ["", "per second", "each further worker adds, of the first", "front's processor", "all processors"]
    return table(head, rows)


def profile_tables(results: Results) -> str:
    """Return where time goes."""
    parts = [
        f"{title}:\n\n" + table(["", "share"], [[name, f"{share:.1%}"] for name, share in rows if share >= 0.005])
        for title, rows in results.profiles.items()
        if rows
    ]
    return "\n\n".join(parts) if parts else "py-spy could not look into the processes of this run."


PARTS: Final[Mapping[str, Callable[[Results], str]]] = {
    "ratios": ratio_table,
    "cost": cost_table,
    "sizes": size_table,
    "clients": client_table,
    "keys": key_table,
    "scaling": scaling_table,
    "profiles": profile_tables,
    "machine": machine,
}
