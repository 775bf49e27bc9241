"""Several fronts on one machine: a parent that starts them, replaces one that dies, and ends with them. It serves nothing itself.

Every front is a whole service in a process of its own, with its own token workers and its own connections to the catalog. The kernel
spreads new connections over them (SO_REUSEPORT). `token.workers` is a total for the machine and is divided; limits hold for each
front. Front i has its probes and metrics on the configured port + i, since an orchestrator must be able to ask each one.

The first front is started alone, so that migrations and service keys are made once; the others follow together. A front that cannot
start ends the service, with the front's exit code; one that dies later is started anew.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import structlog

from hsmkms.server.config import Config, ConfigError

MAX_FRONTS: Final = 64
START_S: Final = 180.0
"""How long a front may take to start: another one may be making a service key."""
STOP_MARGIN_S: Final = 30.0
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 30.0
STEADY_S: Final = 60.0
"""A front that has run so long counts as started well: the next attempt is made without a long pause."""
READY: Final = b"ready\n"

_PR_SET_PDEATHSIG: Final = 1

_log = structlog.get_logger(__name__)


class FrontFailed(Exception):
    """A front could not start; it has said why itself.

    Args:
        code: Its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def follow_parent() -> None:
    """Finish as after SIGTERM when the parent dies. For a front, at its start."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def say_ready() -> None:
    """Tell the parent that this front serves."""
    os.write(sys.stdout.fileno(), READY)


def settings_of(config: Config, fronts: int, address: str, aws_address: str | None = None) -> list[dict[str, str]]:
    """Return what differs from the configuration for each front, as environment variables.

    Args:
        config: The configuration.
        fronts: How many fronts there are.
        address: The gRPC address, its port known.
        aws_address: The AWS endpoint's address, its port known, if there is one.

    Raises:
        ConfigError: the workers cannot be divided, or there are not enough ports.
    """
    share, rest = divmod(config.token.workers, fronts)
    if not share:
        raise ConfigError(
            f"token.workers is {config.token.workers}, too few for {fronts} fronts: each one needs a worker of its own"
        )
    host, _, port = config.listen.metrics_address.rpartition(":")
    first = int(port)
    if first + fronts - 1 > 65535:
        raise ConfigError(f"listen.metrics_address: there are no {fronts} ports from {port} on, one for each front")
    shared = {"HSM_KMS_LISTEN__ADDRESS": address}
    if aws_address is not None:
        shared["HSM_KMS_AWS__ADDRESS"] = aws_address
    return [
        {
            **shared,
            "HSM_KMS_LISTEN__METRICS_ADDRESS": f"{host}:{first + number if first else 0}",
            "HSM_KMS_TOKEN__WORKERS": str(share + (number < rest)),
        }
        for number in range(fronts)
    ]


def reserve(address: str, setting: str = "listen.address") -> tuple[socket.socket, str]:
    """Hold a port for the fronts, without listening: nobody but this user's fronts can take it meanwhile.

    Args:
        address: The address.
        setting: Where the configuration has it.

    Returns:
        The socket to keep, and the address with the port that was taken.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    host, _, port = address.rpartition(":")
    held: socket.socket | None = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(where)
    except OSError as error:
        if held is not None:
            held.close()
        raise ConfigError(f"{setting}: {address} cannot be listened on: {error.strerror or error}") from error
    return held, f"{host}:{held.getsockname()[1]}"


class Fronts:
    """The fronts of one machine.

    Args:
        config: The configuration.
        config_file: Where it is.
        count: How many fronts.
    """

    def __init__(self, config: Config, config_file: Path, count: int) -> None:
        self._config = config
        self._config_file = config_file
        self._count = count
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run the fronts until SIGTERM or SIGINT, then let them finish.

        Raises:
            ConfigError: a setting cannot be used.
            FrontFailed: a front could not start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with ExitStack() as stack:
            held, address = reserve(self._config.listen.address)
            stack.callback(held.close)
            aws_address = self._config.aws.address
            if aws_address is not None:
                held, aws_address = reserve(aws_address, "aws.address")
                stack.callback(held.close)
            settings = settings_of(self._config, self._count, address, aws_address)
            try:
                await self._start_all(settings)
                if not self._stop.is_set():
                    _log.info("all fronts serve", fronts=self._count, grpc=address, aws=aws_address)
                    await self._keep_all(settings)
            finally:
                await self._stop_all()

    async def _start_all(self, settings: list[dict[str, str]]) -> None:
        await self._start(0, settings[0])
        async with asyncio.TaskGroup() as group:
            for number in range(1, self._count):
                group.create_task(self._start(number, settings[number]))

    async def _start(self, number: int, settings: dict[str, str]) -> None:
        """Start a front and wait until it serves, or until the service is stopped.

        Raises:
            FrontFailed: it ended instead, or took too long.
        """
        if self._stop.is_set():
            return
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hsmkms.server.cli", "serve"),
            *("--config", str(self._config_file), "--front", str(number)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **settings},
        )
        self._processes[number] = process
        assert process.stdout is not None
        ready = asyncio.ensure_future(process.stdout.readline())
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((ready, stopped), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        said = ready.result() if ready.done() else b""
        ready.cancel()
        if said == READY or self._stop.is_set():
            return
        if not ready.done():
            _log.error("a front did not start in time", front=number, pid=process.pid)
            process.kill()
        raise FrontFailed(await process.wait())

    async def _keep_all(self, settings: list[dict[str, str]]) -> None:
        keepers = [asyncio.create_task(self._keep(number, settings[number])) for number in range(self._count)]
        await self._stop.wait()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, number: int, settings: dict[str, str]) -> None:
        """Start a front anew whenever it has ended."""
        loop = asyncio.get_running_loop()
        pause = FIRST_RETRY_S
        while True:
            started = loop.time()
            code = await self._processes[number].wait()
            pause = FIRST_RETRY_S if loop.time() - started >= STEADY_S else min(2 * pause, LONGEST_RETRY_S)
            _log.error("a front has ended and is started anew", front=number, exit_code=code, in_s=pause)
            await asyncio.sleep(pause)
            with suppress(FrontFailed):  # it has said why; the next turn tries again
                await self._start(number, settings)

    async def _stop_all(self) -> None:
        processes = [process for process in self._processes.values() if process.returncode is None]
        for process in processes:
            with suppress(ProcessLookupError):
                process.terminate()
        if not processes:
            return
        waits = [asyncio.create_task(process.wait()) for process in processes]
        _, late = await asyncio.wait(waits, timeout=self._config.limits.drain_s + STOP_MARGIN_S)
        for process in processes if late else ():
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*waits)


async def serve_fronts(config: Config, config_file: Path, count: int) -> None:
    """Run several fronts until SIGTERM or SIGINT.

    Raises:
        ConfigError: a setting cannot be used.
        FrontFailed: a front could not start.
    """
    try:
        await Fronts(config, config_file, count).run()
    except* FrontFailed as group:
        first = group.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
