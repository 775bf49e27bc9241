"""What is measured, each for a few seconds at a time: raw_rewrap, the empty RPC, a token worker by itself, and the service."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.calls import Calls
from bench.empty_server import path_of
from bench.figures import BenchError, Sample
from bench.programs import Program, build
from bench.usage import cpu_seconds, usage
from hsmkms.core.ciphertext import CKA_ID_BYTES, Suite
from hsmkms.core.commands import GenerateBackingKey, KeyRef, Outcome
from hsmkms.core.frames import LENGTH, MAX_ITEMS, Request, decode_response, encode_request
from support.sealing import encrypt, sealed
from support.service import Deployment, Service, make_deployment, running
from support.softhsm import MODULE, SoftHsm
from support.worker import SpawnedWorker, start_worker

START_S: Final = 120.0
"""A service's start on a busy machine."""
PRINCIPALS: Final = 16
"""Clients are so many principals in turn: a principal may have 16 batches and streams under way, and has one queue."""
FRAMES: Final = 4
"""Frames in a worker's pipe, as the front keeps them."""


def deploy(folder: Path, token: SoftHsm | None = None, **settings: Any) -> Deployment:
    """Make a deployment, on a token of its own or on a given one.

    Args:
        folder: Where to put it.
        token: The token.
        settings: The configuration's section `token`, as far as it is not the usual.
    """
    deployment = make_deployment(folder, token=token)
    deployment.settings = {"log": {"level": "info"}, "token": settings}
    deployment.write_config()
    return deployment


def create_keys(deployment: Deployment, count: int) -> list[str]:
    """Create so many KMS keys in a run of the service of their own: a worker of the next run has every key from its start."""
    with running(deployment, start_s=START_S) as service:
        client = service.client(timeout_s=60.0)
        return [client.create_key().key_metadata.key_id for _ in range(count)]


def raw_rewrap(token: SoftHsm, backing_keys: str, size: int, processes: int, seconds: float) -> Sample:
    """Run raw_rewrap, once or several times at the same moment.

    Args:
        token: The token to work on.
        backing_keys: `session` or `token`.
        size: Bytes of payload.
        processes: How many at a time.
        seconds: How long.
    """
    command = [
        build("raw_rewrap"), MODULE, token.label, token.pin_file, str(seconds), str(size), backing_keys,
    ]  # fmt: skip
    with ExitStack() as stack:
        # One after the other: SoftHSM disturbs itself when several log in at one moment.
        running = [stack.enter_context(Program(command, {"SOFTHSM2_CONF": str(token.conf)})) for _ in range(processes)]
        for program in running:
            program.begin()
        found = [program.result() for program in running]
    return Sample(
        count=sum(result["count"] for result in found),
        wall_s=max(result["wall_s"] for result in found),
        front_s=sum(result["cpu_s"] for result in found),
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something to call over mTLS.

    Args:
        deployment: Whose certificates it takes.
        port: Its port on 127.0.0.1.
        pid: The process whose time counts, its children's beside it.
    """

    deployment: Deployment
    port: int
    pid: int

    @classmethod
    def of(cls, service: Service) -> Endpoint:
        """Return a service's endpoint."""
        return cls(service.deployment, int(service.address.rpartition(":")[2]), service.process.pid)

    def load(self, calls: Calls, clients: int, seconds: float, *, without: Collection[int] = ()) -> Sample:
        """Let so many clients call for some time.

        Args:
            calls: What they call.
            clients: How many clients.
            seconds: For how long.
            without: Process ids of workers whose time does not count.

        Raises:
            BenchError: a call was not answered, or with an error.
        """
        identities = [self.deployment.certificate(f"caller-{number}") for number in range(PRINCIPALS)]
        with tempfile.TemporaryDirectory() as folder:
            command: list[str | Path] = [
                build("load"),
                str(self.port),
                self.deployment.authority.certificate_file,
                ",".join(str(identity.certificate_file) for identity in identities),
                ",".join(str(identity.private_key_file) for identity in identities),
                calls.path,
                calls.write(Path(folder) / "messages"),
                str(clients),
                str(seconds),
                str(calls.least),
                str(calls.window),
                str(calls.together),
            ]
            with Program(command) as program:
                before = usage(self.pid)
                program.begin()
                found = program.result()
                front_s, workers_s = usage(self.pid).since(before, without)
        if not found["count"]:
            raise BenchError(f"{calls.path}: no answer within {seconds} s")
        return Sample(
            count=found["count"] * calls.items,
            wall_s=found["wall_s"],
            front_s=front_s,
            workers_s=workers_s,
            client_s=found["cpu_s"],
            p50_us=found["p50_us"],
            p99_us=found["p99_us"],
        )


@contextmanager
def empty_rpc(deployment: Deployment, lengths: list[int]) -> Iterator[Endpoint]:
    """Serve the empty RPC, with answers of these lengths, with a deployment's certificates."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "bench.empty_server", str(deployment.authority.folder),
            str(deployment.authority.certificate_file), *map(str, sorted(set(lengths))),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise BenchError("the empty RPC's server did not start")
        yield Endpoint(deployment, int(port), process.pid)
    finally:
        process.kill()
        process.wait()


def empty_calls(like: Calls) -> Calls:
    """Return calls of the empty RPC whose messages are as long as those of another call."""
    messages = tuple(bytes(len(message)) for message in like.messages)
    return Calls(path_of(like.answer_bytes), messages, like.answer_bytes, like.answer_bytes)


class Worker:
    """A token worker by itself: this process is its front, and asks for rewraps of a 32-byte data key.

    Args:
        token: The token.
        size: Bytes of the data key.
    """

    def __init__(self, token: SoftHsm, size: int = 32) -> None:
        self._worker: SpawnedWorker = start_worker(token.environment(), token.settings())
        keys = [self._backing_key(number) for number in (1, 2)]
        command = encrypt(keys[0], bytes(size))
        self._rewrap, _ = sealed(command, self._worker.value(command)).rewrap(keys[1])

    def _backing_key(self, number: int) -> KeyRef:
        cka_id = number.to_bytes(1, "big") * (CKA_ID_BYTES - 4) + (1).to_bytes(4, "big")
        suite = Suite.AES_CBC_ENCRYPT_DATA
        return KeyRef(cka_id, suite, self._worker.value(GenerateBackingKey(cka_id, suite, b"hsm-kms bench")))

    def close(self) -> None:
        """End it."""
        self._worker.close()

    def load(self, items: int, seconds: float) -> Sample:
        """Ask for rewraps, so many in each frame (`MAX_ITEMS` at most), with `FRAMES` frames always under way."""
        if not 1 <= items <= MAX_ITEMS:
            raise BenchError(f"{items} items in a frame")
        socket = self._worker.socket
        frame = encode_request(Request(1, (0,) * items, (self._rewrap,) * items))
        answer = self._exchange(frame, items)
        pid, done, under_way = self._worker.process.pid, 0, 0
        before, began = cpu_seconds(pid), time.monotonic()
        end = began + seconds
        while under_way or time.monotonic() < end:
            while under_way < FRAMES and time.monotonic() < end:
                socket.sendall(frame)
                under_way += 1
            if not under_way:
                break
            self._receive(answer)
            under_way -= 1
            done += items
        return Sample(done, time.monotonic() - began, 0.0, cpu_seconds(pid) - before)

    def _exchange(self, frame: bytes, items: int) -> int:
        """Send a frame, require that every item was carried out, and return the answer's length."""
        self._worker.send(frame)
        prefix = self._exactly(LENGTH.size)
        body = self._exactly(int.from_bytes(prefix, "big"))
        results = decode_response(body).results
        if len(results) != items or any(result.outcome is not Outcome.OK for result in results):
            raise BenchError("the token worker did not rewrap")
        return len(prefix) + len(body)

    def _receive(self, length: int) -> None:
        answer = self._exactly(length)
        if int.from_bytes(answer[: LENGTH.size], "big") != length - LENGTH.size:
            raise BenchError("the token worker's answer has another length than before: an error")

    def _exactly(self, length: int) -> bytes:
        data: bytes = self._worker.socket.recv(length)
        while len(data) < length:
            piece = self._worker.socket.recv(length - len(data))
            if not piece:
                raise BenchError("the token worker has ended")
            data += piece
        return data
