"""The front dies while a worker logs in: the token must survive it.

SoftHSM writes token.object anew at each login, in place. A worker killed in that moment leaves an empty file, and with it every key is
lost. So a worker that logs in outlives its parent until it is through.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from support.service import eventually
from support.softhsm import SoftHsm, make_token

MOMENTS = 12
MOST_TRIES = 60
TESTS = Path(__file__).resolve().parents[1]
PARENT = """
import os, sys
from hsmkms.core.commands import Start
from hsmkms.core.frames import Request, encode_request
from support.worker import SpawnedWorker
worker = SpawnedWorker(dict(os.environ))
worker.send(encode_request(Request(1, (0,), (Start(sys.argv[1].encode()),))))
print(worker.process.pid, flush=True)
worker.process.wait()
"""


def kill_at_the_worst_moment(token: SoftHsm, token_object: Path) -> tuple[int, bool]:
    """Kill a worker's parent while token.object is empty; return the worker's pid, and whether that moment was met."""
    settings = token.settings(load_keys=False).to_json().decode()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, settings],
        env=token.environment(PYTHONPATH=str(TESTS)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    before = token_object.stat().st_mtime_ns
    pid = int(parent.stdout.readline())
    met = False
    end = time.monotonic() + 5
    while not met and time.monotonic() < end:
        status = token_object.stat()
        met = status.st_size == 0
        if status.st_mtime_ns != before and not met:
            break
    parent.kill()
    parent.wait()
    parent.stdout.close()
    return pid, met


def test_the_token_survives_the_fronts_death_at_any_moment_of_a_login(tmp_path: Path) -> None:
    token = make_token(tmp_path / "softhsm")
    (token_object,) = token.tokens.glob("*/token.object")
    met = 0
    for _ in range(MOST_TRIES):
        pid, at_the_moment = kill_at_the_worst_moment(token, token_object)
        met += at_the_moment
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the orphaned worker's end")  # noqa: B023, PTH110
        assert token_object.stat().st_size > 0, "the token is lost"
        if met == MOMENTS:
            break
    assert met >= 3, "the moment was not met often enough to say anything"
