"""Where the time of the front and of a token worker goes under load, by py-spy's samples. Linux lets root or a parent look.

Samples count by the innermost frame of this project on their stack; what has none, by who was asked: grpcio, asyncio, the interpreter.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.calls import Calls
from bench.figures import BenchError
from bench.subjects import Endpoint

SAMPLES_PER_S: Final = 200
CLIENTS: Final = 16
_WAITING: Final = "Worker._receive (hsm/worker.py"
_OURS: Final = ("core/", "server/", "wire/", "hsm/")
_GROUPS: Final = (
    ("core/policy/", "policies: core/policy"),
    ("core/authorisation", "policies: core/authorisation"),
    ("core/grants", "policies: core/grants"),
    ("core/operations/", "operations: core/operations"),
    ("core/audit", "audit: core/audit"),
    ("server/audit/", "audit: server/audit"),
    ("server/token/", "token pool: server/token"),
    ("server/grpc/", "gRPC edge: server/grpc"),
    ("server/requests", "requests: server/requests, bulk, carrier"),
    ("server/bulk", "requests: server/requests, bulk, carrier"),
    ("server/carrier", "requests: server/requests, bulk, carrier"),
    ("server/catalog/", "catalog: server/catalog"),
    ("server/metrics", "metrics: server/metrics"),
    ("server/counts", "metrics: server/metrics"),
    ("core/frames", "frames: core/frames"),
    ("wire/", "codec: wire"),
    ("hsm/cryptoki", "calls into the module: hsm/cryptoki, hsm/rewrap"),
    ("hsm/rewrap", "calls into the module: hsm/cryptoki, hsm/rewrap"),
    ("hsm/worker", "the worker's loop: hsm/worker"),
)


def group_of(stack: str) -> str:
    """Return what a stack of py-spy's `raw` format counts as; frames are `function (file:line)`, the innermost last."""
    if stack.rpartition(";")[2].startswith(_WAITING):
        return "waiting for the next frame"
    for frame in reversed(stack.split(";")):
        file = frame.rpartition("(")[2]
        for start, name in _GROUPS:
            if file.startswith(start):
                return name
        if file.startswith(_OURS) and not file.startswith(("server/cli", "server/operator_commands", "server/app")):
            return f"other modules of {file.partition('/')[0]}/"
    if "Handle._run" in stack.rpartition(";")[2]:
        return "grpcio's own code, in the event loop"
    return "asyncio and the rest of Python"


def shares(lines: Iterable[str]) -> list[tuple[str, float]]:
    """Return the groups and their shares of all samples, largest first.

    Args:
        lines: Lines of py-spy's `raw` format: a stack, a space, and how many samples it had.
    """
    counted: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rstrip().rpartition(" ")
        if stack:
            counted[group_of(stack)] += int(number)
    total = sum(counted.values())
    return [(name, count / total) for name, count in counted.most_common()] if total else []


def profile(
    endpoint: Endpoint, calls: Calls, pid: int, seconds: float, *, holding_gil: bool
) -> list[tuple[str, float]]:
    """Return where a process's time goes while clients call, or nothing where py-spy may not look.

    Args:
        endpoint: The service.
        calls: What the clients call.
        pid: The process to look at.
        seconds: How long.
        holding_gil: Whether only threads count that hold the interpreter; a worker does not while it is in the module.

    Raises:
        BenchError: py-spy is not installed, or a call failed.
    """
    command = [
        str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--duration", str(int(seconds)),
        "--rate", str(SAMPLES_PER_S), "--format", "raw",
    ]  # fmt: skip
    if not Path(command[0]).exists():
        raise BenchError("there is no py-spy beside this Python: scripts/setup.sh bench")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "stacks"
        command += ["--output", str(found), *(["--gil"] if holding_gil else [])]
        looking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            endpoint.load(calls, CLIENTS, seconds + 1)
            looking.wait(30)
        except subprocess.TimeoutExpired:
            looking.kill()
            looking.wait()
        return shares(found.read_text().splitlines()) if found.exists() else []
