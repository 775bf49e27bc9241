"""The plots of docs/performance.md, as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")  # no window: before pyplot chooses one

from matplotlib import pyplot as plt
from matplotlib import ticker

from bench.figures import SESSION_KEYS, TOKEN_KEYS, Cell, Figure, Results
from bench.report import OPERATIONS, USUAL_CLIENTS, most_raw, raw, slow_workers

FRONT: Final = "#4477aa"
WORKERS: Final = "#ee6677"
OTHER: Final = "#bbbbbb"
LINE_OF: Final = dict(zip(("empty RPC", *OPERATIONS), ("o-", "s-", "^-", "d-", "v-", "x-", "+-"), strict=True))


def draw(folder: Path, results: Results) -> None:
    """Draw every plot into a folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in (("cost", _cost), ("clients", _clients), ("sizes", _sizes), ("scaling", _scaling)):
        figure = plot(results)
        # No dates or versions inside: the same results give the same file.
        figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


def _cost(results: Results) -> Any:
    bars = [
        ("raw_rewrap, session keys", raw(SESSION_KEYS)),
        ("raw_rewrap, token keys", raw(TOKEN_KEYS)),
        ("worker, 1 a frame", Cell("worker", variant="1 a frame")),
        ("worker, 16 a frame", Cell("worker", variant="16 a frame")),
        ("empty RPC", Cell("empty RPC", 32, USUAL_CLIENTS)),
        *((operation, Cell(operation, 32, USUAL_CLIENTS)) for operation in OPERATIONS),
    ]
    found = [(name, cell, figure) for name, cell in bars if (figure := results.figure(cell))]
    drawing, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    names = [name for name, _, _ in found]
    front = [0.0 if _is_raw(cell) else figure.front_us for _, cell, figure in found]
    reference = [figure.front_us if _is_raw(cell) else 0.0 for _, cell, figure in found]
    axes.barh(names, reference, color=OTHER, label="raw_rewrap")
    axes.barh(names, front, color=FRONT, label="front")
    axes.barh(names, [figure.workers_us for _, _, figure in found], left=front, color=WORKERS, label="token workers")
    for row, (_, _, figure) in enumerate(found):
        axes.text(figure.cpu_us, row, f" {figure.cpu_us:,.0f}", va="center")
    axes.invert_yaxis()
    axes.set_xlabel(f"processor time per item in µs, 32 bytes, {USUAL_CLIENTS} clients")
    axes.margins(x=0.1)
    axes.legend(loc="upper right")
    return drawing


def _is_raw(cell: Cell) -> bool:
    return cell.subject == "raw_rewrap"


def _clients(results: Results) -> Any:
    drawing, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for number, operation in enumerate(LINE_OF):
        figures, color = _by(results, operation, "clients"), f"C{number}"
        if not figures:
            continue
        left.plot(
            list(figures),
            [figure.per_second for figure in figures.values()],
            LINE_OF[operation],
            color=color,
            label=operation,
        )
        if operation == "BatchReEncrypt":
            continue  # a batch's latency is that of all its entries together
        medians = [figure.p50_us / 1000 for figure in figures.values()]
        right.plot(list(figures), medians, LINE_OF[operation], color=color)
        right.plot(list(figures), [figure.p99_us / 1000 for figure in figures.values()], ":", color=color)
    for kind, style in ((SESSION_KEYS, "--"), (TOKEN_KEYS, ":")):
        figure = results.figure(most_raw(results, kind))
        if figure:
            left.axhline(figure.per_second, color="black", linestyle=style, label=f"raw_rewrap per core, {kind} keys")
    for axes in (left, right):
        _whole_numbers(axes, "clients")
        if axes.lines:
            axes.set_yscale("log")
    left.set_ylabel("items per second, clients on the same processors")
    left.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    right.set_ylabel("latency in ms: median; dotted: 99th percentile")
    right.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    drawing.legend(loc="outside lower center", ncols=5, fontsize="small")
    return drawing


def _whole_numbers(axes: Any, label: str) -> None:
    if axes.lines:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def _sizes(results: Results) -> Any:
    drawing, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for operation, line in LINE_OF.items():
        figures = _by(results, operation, "size")
        if figures:
            axes.plot(list(figures), [figure.cpu_us for figure in figures.values()], line, label=operation)
    _whole_numbers(axes, "bytes of payload")
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"processor time per item in µs, {USUAL_CLIENTS} clients")
    drawing.legend(loc="outside right upper", fontsize="small")
    return drawing


def _scaling(results: Results) -> Any:
    drawing, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for operation in ("ReEncrypt", "BatchReEncrypt"):
        cells = slow_workers(results, operation)
        found = {count: figure.per_second for count in sorted(cells) if (figure := results.figure(cells[count]))}
        (drawn,) = axes.plot(list(found), list(found.values()), LINE_OF[operation], label=operation)
        if 1 in found:
            ideal = [found[1] * count for count in found]
            axes.plot(list(found), ideal, "--", color=drawn.get_color(), alpha=0.5, label="each as much as the first")
    axes.set_xlabel("token workers; 1 ms in each PKCS#11 call")
    axes.set_ylabel("items per second")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return drawing


def _by(results: Results, operation: str, axis: str) -> dict[int, Figure]:
    """Return an operation's figures by number of clients at 32 bytes, or by size at the usual number of clients."""
    found: dict[int, Figure] = {}
    for cell in sorted(cell for cell in results.cells if cell.subject == operation and not cell.variant):
        if axis == "clients" and cell.size == 32:
            found[cell.clients] = results.figure(cell)  # type: ignore[assignment]  # it is there: it was just listed
        elif axis == "size" and cell.clients == USUAL_CLIENTS:
            found[cell.size] = results.figure(cell)  # type: ignore[assignment]  # the same
    return found
