"""Load on a service: callers in threads, each with a client and a principal of its own, who call again and again until told to stop.

Nothing that goes wrong ends a caller: every call becomes a `Sample` with its time and its error, and the test judges them.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hsmkms.client import Client
from support.service import Service

JOIN_S = 60.0

Call = Callable[[], None]


class WrongAnswer(AssertionError):
    """The service answered, and the answer is not the right one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One call.

    Args:
        began: When, by `time.monotonic`.
        seconds: How long it took.
        error: What it raised, or None.
    """

    began: float
    seconds: float
    error: Exception | None

    @property
    def ended(self) -> float:
        """When it ended, by `time.monotonic`."""
        return self.began + self.seconds


class Load:
    """Callers, one thread each, for the length of a `with`.

    Args:
        calls: What each caller calls; each in a thread of its own.
        pause_s: What a caller waits after each call.
    """

    def __init__(self, calls: Sequence[Call], pause_s: float = 0.0) -> None:
        self._samples: list[list[Sample]] = [[] for _ in calls]
        self._under_way: list[float | None] = [None] * len(calls)
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, call), name=f"caller {number}", daemon=True)
            for number, call in enumerate(calls)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the callers."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish its call, and wait for that. It can be called twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_S)
        assert not any(thread.is_alive() for thread in self._threads), f"a call did not end within {JOIN_S} s"

    def _run(self, number: int, call: Call) -> None:
        samples = self._samples[number]
        while not self._stop.is_set():
            error: Exception | None = None
            began = time.monotonic()
            self._under_way[number] = began
            try:
                call()
            except Exception as raised:
                error = raised
            self._under_way[number] = None
            samples.append(Sample(began, time.monotonic() - began, error))
            if self._pause_s:
                self._stop.wait(self._pause_s)

    @property
    def samples(self) -> list[Sample]:
        """Every call that has ended."""
        return [sample for samples in self._samples for sample in list(samples)]

    def count(self) -> int:
        """Return how many calls have ended."""
        return sum(map(len, self._samples))

    def under_way_for(self, seconds: float) -> int:
        """Return how many calls have been under way for longer than that."""
        before = time.monotonic() - seconds
        return sum(1 for began in list(self._under_way) if began is not None and began < before)

    def errors(self) -> list[Exception]:
        """Return what calls raised."""
        return [sample.error for sample in self.samples if sample.error is not None]

    def tally(self) -> dict[str, int]:
        """Return how many calls ended how: `OK`, or an error's class."""
        return dict(Counter(type(sample.error).__name__ if sample.error else "OK" for sample in self.samples))

    def assert_no_errors(self) -> None:
        """Fail unless every call succeeded, and there was one."""
        assert self.count(), "nothing was called"
        errors = self.errors()
        assert not errors, (self.tally(), errors[:3])


def percentile(seconds: Sequence[float], part: float) -> float:
    """Return a percentile, `part` of 1, of what was measured."""
    assert seconds, "nothing was measured"
    return sorted(seconds)[min(len(seconds) - 1, math.ceil(part * len(seconds)) - 1)]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext whose plaintext the test knows.

    Args:
        blob: The ciphertext.
        context: Its encryption context.
        plaintext: What it holds.
    """

    blob: bytes
    context: dict[str, str]
    plaintext: bytes


def make_keys(service: Service) -> Client:
    """Make the keys alias/source and alias/destination, and return the client that did."""
    client = service.client()
    for name in ("source", "destination"):
        key_id = client.create_key(description=name).key_metadata.key_id
        client.create_alias(alias_name=f"alias/{name}", target_key_id=key_id)
    return client


def seal(client: Client, plaintext: bytes, key_id: str = "alias/source", **context: str) -> Sealed:
    """Encrypt a plaintext."""
    answer = client.encrypt(key_id=key_id, plaintext=plaintext, encryption_context=context)
    return Sealed(answer.ciphertext_blob, context, plaintext)


def re_encrypting(client: Client, sealed: Sealed) -> Call:
    """Return a call: re-encrypt a ciphertext under alias/destination."""

    def call() -> None:
        answer = client.re_encrypt(
            ciphertext_blob=sealed.blob,
            source_encryption_context=sealed.context,
            destination_key_id="alias/destination",
        )
        if answer.ciphertext_blob == sealed.blob:
            raise WrongAnswer("the ciphertext came back as it was")

    return call


def re_encrypting_and_reading(client: Client, sealed: Sealed) -> Call:
    """Return a call: re-encrypt a ciphertext under alias/destination, decrypt the result, and compare."""

    def call() -> None:
        answer = client.re_encrypt(
            ciphertext_blob=sealed.blob,
            source_encryption_context=sealed.context,
            destination_key_id="alias/destination",
            destination_encryption_context={"to": "destination"},
        )
        read = client.decrypt(ciphertext_blob=answer.ciphertext_blob, encryption_context={"to": "destination"})
        if read.plaintext != sealed.plaintext:
            raise WrongAnswer("the result does not decrypt to the plaintext")

    return call


def callers(
    service: Service, count: int, make: Callable[[Client, Sealed], Call], sealed: Sequence[Sealed], **profile: Any
) -> list[Call]:
    """Return the calls of several callers, each with a client and a certificate of its own, once each is connected.

    Args:
        service: The service.
        count: How many callers.
        make: Makes a caller's call.
        sealed: Ciphertexts; the callers take them in turn.
        profile: Settings of the clients' profiles.
    """
    calls = []
    for number in range(count):
        client = service.client(f"caller-{number}", **profile)
        with suppress(Exception):  # connects; what is wrong, the load will show
            client.list_aliases()
        calls.append(make(client, sealed[number % len(sealed)]))
    return calls
