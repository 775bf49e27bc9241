"""Processes that are killed at a named step: `python child.py`, one line of orders on standard input for each process.

An order is `CATALOG TOKEN CLOCK WHAT STEP REQUEST [KEY]`. For each one a process is forked that does WHAT on the catalog and on a token
whose objects are files, and kills itself with SIGKILL at STEP, `before:NAME` or `after:NAME` of a call's name, if it comes there. What
it was answered, it says in a line `answered KEY`; how it ended follows in a line `ended CODE`, negative for a signal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog

from catalog.helpers import Clocks, Object
from hsmkms.server.deleter import Deleter
from life.helpers import front


class Objects(list[Object]):
    """The objects of a token, each in a file, there before the call that made it returns."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            Object(bytes.fromhex(path.name.partition(".")[0]), *path.read_bytes().split(b"\n", 1))
            for path in sorted(folder.iterdir())
            if path.suffix == ".object"
        )
        self.folder = folder

    def append(self, found: Object) -> None:
        target = self._path(found)
        target.with_suffix(".new").write_bytes(found.label + b"\n" + found.value)
        target.with_suffix(".new").rename(target)
        super().append(found)

    def remove(self, found: Object) -> None:
        self._path(found).unlink()
        super().remove(found)

    def _path(self, found: Object) -> Path:
        return self.folder / f"{found.cka_id.hex()}.{found.value[:8].hex()}.object"


class Stepping:
    """Another object, whose calls end this process at the named step."""

    def __init__(self, inner: Any, step: str) -> None:
        self._inner = inner
        self._step = step

    def __getattr__(self, name: str) -> Any:
        inner, step = getattr(self._inner, name), self._step
        if not asyncio.iscoroutinefunction(inner):
            return inner

        async def call(*arguments: Any, **named: Any) -> Any:
            if step == f"before:{name}":
                os.kill(os.getpid(), signal.SIGKILL)
            result = await inner(*arguments, **named)
            if step == f"after:{name}":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


async def work(catalog: str, token: str, clock: str, what: str, step: str, request: str, key_id: str = "") -> None:
    clocks = Clocks(int(clock))
    async with front(Path(catalog), clocks, Objects(Path(token))) as world:
        stepping = dataclasses.replace(
            world.environment,
            changes=Stepping(world.environment.changes, step),
            token=Stepping(world.token, step),
        )
        world.environment = stepping
        world.scheduler._environment = stepping
        if what == "create":
            answer = await world.ask("CreateKey", idempotency_key=request)
            print("answered", answer.key_metadata.key_id, flush=True)
        elif what == "rotate":
            answer = await world.ask("RotateKeyOnDemand", key_id=key_id, idempotency_key=request)
            print("answered", answer.key_id, flush=True)
        elif what == "rotate-by-date":
            await world.scheduler.run_once()
        elif what == "import":
            await world.import_into(key_id, bytes.fromhex(request))
            print("answered", key_id, flush=True)
        elif what == "delete-imported":
            await world.ask("DeleteImportedKeyMaterial", key_id=key_id)
            print("answered", key_id, flush=True)
        elif what == "delete":
            await world.heartbeat.beat()
            catalog_steps, token_steps = Stepping(world.catalog, step), Stepping(world.token, step)
            await Deleter(catalog_steps, token_steps, world.environment.creations, clocks).run_once()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                asyncio.run(work(*line.split()))
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        _, status = os.waitpid(process, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
