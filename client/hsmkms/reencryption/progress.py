"""What a run shows while it works, on standard error: a bar on a terminal, else a line now and then.

rich, not tqdm: it is typed, draws from a thread of its own, so that a bar goes on while a batch waits, and keeps other lines clear
of the bar.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LINE_EVERY_S: Final = 10.0


class Display(Protocol):
    """Shows progress; a context manager. Threads: one."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""

    def begin(self, done: int, total: int | None) -> None:
        """Say how many rows were done before, and how many there are in all, if that is known."""

    def show(self, rows: int, remarks: str) -> None:
        """Show how many rows are done, and what they came to; called a few times each second."""

    def say(self, text: str) -> None:
        """Write a line beside the bar."""


def new_display() -> Display:
    """Return what suits standard error."""
    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines()


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """Return the newest rate."""
        speed = task.finished_speed or task.speed
        return Text("- rows/s" if speed is None else f"{speed:,.0f} rows/s")


class Bar:
    """A bar with rate and time left.

    Args:
        console: Where.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remarks]}"),
            console=console,
            speed_estimate_period=60.0,
        )
        self._task = self._progress.add_task("", total=None, remarks="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, done: int, total: int | None) -> None:
        """Set the bar."""
        self._progress.reset(self._task, total=total, completed=done)

    def show(self, rows: int, remarks: str) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=rows, remarks=remarks)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)


class Lines:
    """A line with counts every `LINE_EVERY_S`.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = self._shown = clock()
        self._before = 0
        self._total: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def begin(self, done: int, total: int | None) -> None:
        """Keep where the run begins."""
        self._begun = self._shown = self._clock()
        self._before, self._total = done, total

    def show(self, rows: int, remarks: str) -> None:
        """Write a line if the last one is old."""
        now = self._clock()
        if now - self._shown < LINE_EVERY_S:
            return
        self._shown = now
        rate = (rows - self._before) / (now - self._begun)
        left = ""
        if self._total is not None and rate > 0:
            left = f", {max(0, self._total - rows) / rate:,.0f} s left"
        of = f" of {self._total}" if self._total is not None else ""
        self.say(f"{rows}{of} rows: {remarks}; {rate:,.0f} rows/s{left}")

    def say(self, text: str) -> None:
        """Write a line."""
        if sys.stderr is not None:
            sys.stderr.write(f"hsm-kms: {text}\n")
            sys.stderr.flush()
