"""A token worker driven by hand: spawned as the front spawns it, asked one frame after the other."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from hsmkms.core.commands import Outcome, Result, Start
from hsmkms.core.frames import (
    LENGTH,
    MAX_RESPONSE_BYTES,
    Request,
    Response,
    decode_response,
    encode_request,
    frame_length,
)
from hsmkms.core.material_commands import Command
from hsmkms.core.startup import ALLOCATOR, TokenDescription, WorkerSettings


class SpawnedWorker:
    """One worker process and the front's end of its socket pair.

    Args:
        environment: The worker's environment; SOFTHSM2_CONF belongs in it.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(self, environment: Mapping[str, str], timeout_s: float = 30.0) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(timeout_s)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hsmkms.hsm.worker", "--fd", str(theirs.fileno()), "--parent", str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env={**ALLOCATOR, **environment},
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self._numbers = itertools.count(1)
        self.retired = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker by closing the socket, and wait for it."""
        self.socket.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def log(self) -> str:
        """Wait for the worker's end and return what it logged."""
        self.process.wait(10)
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.sendall(data)

    def receive(self) -> Response:
        """Wait for the next frame. Raises EOFError at the end of the stream."""
        return decode_response(self._exactly(frame_length(self._exactly(LENGTH.size), MAX_RESPONSE_BYTES)))

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise EOFError("the worker has closed its socket")
            data += piece
        return data

    def ask(self, *items: Command, expiry_ns: int = 0) -> list[Result]:
        """Send one frame and return its results."""
        number = next(self._numbers)
        self.send(encode_request(Request(number, (expiry_ns,) * len(items), items)))
        response = self.receive()
        assert response.number == number
        self.retired = response.retiring
        return list(response.results)

    def ask_one(self, item: Command, *, expiry_ns: int = 0) -> Result:
        """Send a frame of one item and return its result."""
        (result,) = self.ask(item, expiry_ns=expiry_ns)
        return result

    def value(self, item: Command) -> bytes:
        """Send a frame of one item that must succeed and return its value."""
        result = self.ask_one(item)
        assert result.outcome is Outcome.OK, (result.outcome, result.value)
        return result.value

    def start(self, settings: WorkerSettings) -> TokenDescription:
        """Start it; it must succeed."""
        return TokenDescription.from_json(self.value(Start(settings.to_json())))


def start_worker(environment: Mapping[str, str], settings: WorkerSettings) -> SpawnedWorker:
    """Spawn and start a worker."""
    worker = SpawnedWorker(environment)
    worker.start(settings)
    return worker
