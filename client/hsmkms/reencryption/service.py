"""The key management service, as a run uses it: streams of ReEncrypt, attempts, rate.

What is tried again, with growing pauses: rows whose error carries that it may pass (throttling, an unavailable key or token), and a
stream that broke. A row that fails for good, or for longer than `PATIENCE_S`, is that row's failure. A service that cannot be
reached for as long, or refuses the caller, ends the run: `ServiceGone`.

Repeating is safe: ReEncrypt changes nothing in the service. Threads: a sender may be used by any number of threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import tenacity

from hsmkms.client.contract import ReEncryptResponse
from hsmkms.client.errors import ClientError, DeadlineExceeded, KmsError
from hsmkms.core.messages import ReEncryptRequest

PATIENCE_S: Final = 300.0
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 15.0


class ServiceGone(Exception):
    """The service cannot be used any more: the text says why."""


class Interrupted(Exception):
    """The run is to end, and this was waiting."""


class Result(Protocol):
    """What became of an entry of a stream."""

    @property
    def number(self) -> int:
        """Which entry, from 0."""

    @property
    def response(self) -> ReEncryptResponse | None:
        """The answer, where there is one."""

    @property
    def error(self) -> KmsError | None:
        """The refusal, where there is one."""

    @property
    def request_id(self) -> str:
        """The service's id of the request."""


class Streams(Protocol):
    """What opens streams: the client library's client."""

    def stream_re_encrypt(self, entries: Iterable[ReEncryptRequest]) -> Iterator[Result]:
        """Send entries, and yield their results as they come, in any order."""


Answer: TypeAlias = ReEncryptResponse | KmsError


class RateLimit:
    """Permission to send so many rows in each second, on average.

    Args:
        rows_per_s: How many; None for no limit.
    """

    def __init__(self, rows_per_s: float | None) -> None:
        self._rows_per_s = rows_per_s
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def most(self, rows: int) -> int:
        """Return how many rows to send at once at most: a second's worth."""
        return rows if self._rows_per_s is None else max(1, min(rows, int(self._rows_per_s)))

    def wait(self, rows: int, stop: threading.Event) -> None:
        """Wait until so many rows may be sent.

        Raises:
            Interrupted: the run is to end.
        """
        if self._rows_per_s is None:
            return
        with self._lock:
            begin = max(self._next, time.monotonic())
            self._next = begin + rows / self._rows_per_s
        if stop.wait(max(0.0, begin - time.monotonic())):
            raise Interrupted


class _Pending(Exception):
    """Some rows have no final answer yet."""


@dataclass(slots=True)
class _Round:
    """What is known of a batch.

    Args:
        requests: What has no final answer, by its place in the batch.
        answers: The final answers.
        refusals: The newest errors of `requests` that may pass.
        broken: What the newest stream broke of, or None.
        heard: When the service was last heard, by `time.monotonic`.
    """

    requests: dict[int, ReEncryptRequest]
    answers: dict[int, Answer] = field(default_factory=dict)
    refusals: dict[int, KmsError] = field(default_factory=dict)
    broken: ClientError | KmsError | None = None
    heard: float = field(default_factory=time.monotonic)


class Sender:
    """Sends batches.

    Args:
        streams: The client.
        limit: The rate limit, shared by all threads.
        stop: Set when the run is to end.
        patience_s: How long to try again.
    """

    def __init__(
        self, streams: Streams, limit: RateLimit, stop: threading.Event, patience_s: float = PATIENCE_S
    ) -> None:
        self._streams = streams
        self._limit = limit
        self._stop = stop
        self._patience_s = patience_s

    def send(self, requests: Sequence[ReEncryptRequest]) -> Sequence[Answer]:
        """Return the answers to a batch, in its order.

        Raises:
            ServiceGone: the service cannot be used any more.
            Interrupted: the run is to end.
        """
        answers: list[Answer] = []
        most = self._limit.most(len(requests))
        for begin in range(0, len(requests), max(most, 1)):
            answers += self._send(requests[begin : begin + most])
        return answers

    def _send(self, requests: Sequence[ReEncryptRequest]) -> Sequence[Answer]:
        state = _Round(dict(enumerate(requests)))
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Pending),
            wait=_wait,
            stop=tenacity.stop_after_delay(self._patience_s),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            attempts(self._attempt, state)
        except _Pending:
            if state.broken is not None:
                raise ServiceGone(f"no answer for {self._patience_s:g} s: {state.broken.message}") from state.broken
            state.answers.update(state.refusals)
        return [state.answers[number] for number in range(len(requests))]

    def _attempt(self, state: _Round) -> None:
        self._limit.wait(len(state.requests), self._stop)
        if self._stop.is_set():
            raise Interrupted
        places = list(state.requests)
        state.broken = None
        state.refusals.clear()
        try:
            for result in self._streams.stream_re_encrypt([state.requests[place] for place in places]):
                self._take(state, places[result.number], result)
        except (ClientError, KmsError) as error:
            if not error.retryable and not isinstance(error, DeadlineExceeded):
                raise ServiceGone(_told(error)) from error
            state.broken = error
        if state.requests:
            if state.broken is None and len(state.refusals) < len(state.requests):
                state.broken = ClientError("the service ended the stream before it had answered everything")
            raise _Pending

    def _take(self, state: _Round, place: int, result: Result) -> None:
        answer: Answer
        if result.response is not None:
            answer = result.response
        else:
            assert result.error is not None, "a result is a response or an error"
            answer = result.error
            answer.request_id = answer.request_id or result.request_id
            if answer.retryable:
                state.refusals[place] = answer
                return
        del state.requests[place]
        state.answers[place] = answer

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted


def _told(error: ClientError | KmsError) -> str:
    named = f"{error.code}: " if isinstance(error, KmsError) else ""
    asked = f" (request id {error.request_id})" if error.request_id else ""
    return f"{named}{error.message}{asked}"


_back_off = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


def _wait(state: tenacity.RetryCallState) -> float:
    known: _Round = state.args[0]
    delays = [error.retry_delay_s for error in known.refusals.values()]
    return max([*delays, 0.0]) + float(_back_off(state))
