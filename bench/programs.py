"""The C programs of this folder: compiled when they have changed, and run side by side with what they load.

Each program prints `ready`, waits for a line, works, and prints one JSON object. So whoever measures can look at other processes'
clocks after it has prepared and before it begins.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench.figures import BenchError

FOLDER: Final = Path(__file__).resolve().parent
BUILT: Final = FOLDER.parent / ".cache" / "bench"
READY_S: Final = 60.0
_CC: Final = ("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-I/usr/include/p11-kit-1")
_PROGRAMS: Final = {
    "raw_rewrap": ("raw_rewrap.c", ("-ldl",)),
    "load": ("load.c", ("-lnghttp2", "-lssl", "-lcrypto")),
    "slow_module.so": ("slow_module.c", ("-shared", "-fPIC", "-ldl")),
}


def build(name: str) -> Path:
    """Compile a program if that has not been done since it changed, and return its path.

    Args:
        name: `raw_rewrap`, `load` or `slow_module.so`.

    Raises:
        BenchError: it does not compile.
    """
    source, options = _PROGRAMS[name]
    text = (FOLDER / source).read_bytes()
    target = BUILT / sha256(repr((_CC, options)).encode() + text).hexdigest()[:16] / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    half_made = target.with_name(f"{name}.{os.getpid()}")
    done = subprocess.run(
        [*_CC, "-o", str(half_made), str(FOLDER / source), *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{source} does not compile:\n{done.stderr}")
    half_made.rename(target)
    return target


class Program:
    """A running program, ready to begin.

    Args:
        command: The program and its arguments.
        environment: Variables beside this process's own.

    Raises:
        BenchError: it did not become ready.
    """

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self._name = Path(command[0]).name
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        if self._line() != "ready":
            raise BenchError(self._why())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        text = self.close()
        if error is None and self.process.returncode:
            raise BenchError(text or f"{self._name} ended with exit code {self.process.returncode}")

    def begin(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for what it found.

        Raises:
            BenchError: it failed.
        """
        line = self._line()
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            raise BenchError(self._why()) from None
        return found

    def close(self) -> str:
        """Wait for its end, kill it if it does not end, and return what it wrote to standard error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        if self.process.stderr.closed:
            return ""
        self.process.stdin.close()
        try:
            self.process.wait(READY_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        text = self.process.stderr.read().strip()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        return text

    def _line(self) -> str:
        """Return the next line, or what there is after `READY_S`: a program that says nothing for so long has failed."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(READY_S):
                self.process.kill()
                return ""
        return self.process.stdout.readline().strip()

    def _why(self) -> str:
        self.process.kill()
        return self.close() or f"{self._name} ended without a word"
