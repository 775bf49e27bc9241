"""Many requests of one operation: in batches, or as a stream. Every entry gets a result of its own: a response or an error.

Batches are split where they are larger than the service takes. Each call of a batch is tried again as single calls are (`transport`);
what became of an entry is final: a result whose error is retryable is for the caller to send again.

A stream has at most `WINDOW` entries under way. When the connection breaks or the service stops, the entries that have no answer yet are
sent again on a new one, after a pause, `Profile.attempts` times in a row at the most. No answer for `Profile.timeout_s` ends it.

Threads: entries are taken, and results given, in the thread that iterates. Streams of one client may run in several threads.
"""

from __future__ import annotations

import functools
import queue
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import grpc

from hsmkms.client.contract import (
    DecryptResponse,
    EncryptResponse,
    GenerateDataKeyResponse,
    ReEncryptResponse,
)
from hsmkms.client.errors import (
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    KmsError,
    UnexpectedAnswer,
    UnknownKmsError,
    ValidationException,
)
from hsmkms.client.status import MAX_CODE_CHARACTERS
from hsmkms.client.transport import FIRST_WAIT_S, LONGEST_WAIT_S, Transport
from hsmkms.core.errors import BY_CODE
from hsmkms.core.messages import MAX_BATCH_ENTRIES
from hsmkms.wire import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES
from hsmkms.wire.codec import BulkCodec, bulk_codec

WINDOW: Final = 256
ENTRY_OVERHEAD_BYTES: Final = 8
"""What an entry needs in a batch beside its own bytes, at the most."""

ResponseT = TypeVar("ResponseT")
_codec = functools.cache(bulk_codec)


@dataclass(frozen=True, slots=True)
class EntryResult(Generic[ResponseT]):
    """What became of one entry.

    Args:
        number: Which one, counted from 0.
        response: The response, or None where there is an error.
        error: Why there is none. ValidationException without a request id: the entry could not be sent.
        request_id: Under which the service's logs have it; empty where it was not sent.
    """

    number: int
    response: ResponseT | None
    error: KmsError | None
    request_id: str


@dataclass(frozen=True, slots=True)
class ReEncryptResult(EntryResult[ReEncryptResponse]):
    """What became of one entry of BatchReEncrypt or StreamReEncrypt."""


@dataclass(frozen=True, slots=True)
class EncryptResult(EntryResult[EncryptResponse]):
    """What became of one entry of BatchEncrypt."""


@dataclass(frozen=True, slots=True)
class DecryptResult(EntryResult[DecryptResponse]):
    """What became of one entry of BatchDecrypt."""


@dataclass(frozen=True, slots=True)
class GenerateDataKeyResult(EntryResult[GenerateDataKeyResponse]):
    """What became of one entry of BatchGenerateDataKey."""


ResultT = TypeVar("ResultT", bound=EntryResult[Any])


def batch(transport: Transport, name: str, entries: Sequence[Any], kind: type[ResultT]) -> tuple[ResultT, ...]:
    """Send entries in as few batches as they fit into.

    Args:
        transport: The connection.
        name: A batch of `core.messages.BULKS`.
        entries: Requests of its operation, any number.
        kind: The type of its results.

    Returns:
        One result for each entry, in their order.

    Raises:
        KmsError: the service refused a batch as a whole.
        ClientError: there is no answer to a batch; those before it were carried out.
    """
    codec = _codec(name)
    results: dict[int, ResultT] = {}
    together: list[tuple[int, Any]] = []
    size = 0
    for number, entry in enumerate(entries):
        try:
            message = _encoded(codec, entry)
        except ValidationException as error:
            results[number] = kind(number, None, error, "")
            continue
        length = message.ByteSize() + ENTRY_OVERHEAD_BYTES
        if together and (len(together) == MAX_BATCH_ENTRIES or size + length > MAX_BATCH_BYTES):
            results.update(_sent(transport, name, codec, together, kind))
            together, size = [], 0
        together.append((number, message))
        size += length
    if together:
        results.update(_sent(transport, name, codec, together, kind))
    return tuple(results[number] for number in range(len(entries)))


def _sent(
    transport: Transport, name: str, codec: BulkCodec, together: list[tuple[int, Any]], kind: type[ResultT]
) -> dict[int, ResultT]:
    """Send one batch; return the results by the entries' numbers."""
    request: Any = codec.request_type(entries=[message for _, message in together])
    answer = transport.exchange(name, request, codec.response_type)
    if len(answer.results) != len(together):
        raise UnexpectedAnswer(f"the answer of {name} has {len(answer.results)} results for {len(together)} entries")
    return {
        number: _result(name, codec, number, result, kind)
        for (number, _), result in zip(together, answer.results, strict=True)
    }


def stream(transport: Transport, name: str, entries: Iterable[Any], kind: type[ResultT]) -> Iterator[ResultT]:
    """Send entries as long as there are any, and yield results as they come, in any order.

    Args:
        transport: The connection.
        name: A stream of `core.messages.BULKS`.
        entries: Requests of its operation; the next one is taken when fewer than `WINDOW` are under way.
        kind: The type of its results.

    Raises:
        KmsError: the service refused the stream.
        ClientError: the connection cannot be made again, or nothing is answered any more.
    """
    codec = _codec(name)
    unanswered: dict[int, Any] = {}
    numbered = enumerate(entries)
    failures = 0
    while True:
        connection = _Connection(transport, name, codec, unanswered)
        try:
            for result in _results(connection, name, codec, numbered, unanswered, kind, transport.timeout_s):
                failures = 0
                yield result
        except _EntriesFailed as failed:
            raise failed.error from None
        except (KmsError, ClientError) as error:
            failures += 1
            if not error.retryable or failures >= transport.attempts:
                raise
            pause = random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**failures))  # noqa: S311  # spreads clients, hides nothing
            time.sleep(max(error.retry_delay_s, pause))
        else:
            return
        finally:
            connection.close()


def _results(
    connection: _Connection,
    name: str,
    codec: BulkCodec,
    numbered: Iterator[tuple[int, Any]],
    unanswered: dict[int, Any],
    kind: type[ResultT],
    timeout_s: float,
) -> Iterator[ResultT]:
    """Yield results until every entry has one, or the connection breaks."""
    has_more = True
    while has_more or unanswered:
        answer = connection.answer(0.0) if unanswered else None
        if answer is None and has_more and len(unanswered) < WINDOW:
            number, entry = _next(numbered)
            has_more = number >= 0
            if has_more:
                try:
                    message: Any = codec.request_type(number=number, entry=_encoded(codec, entry))
                except ValidationException as error:
                    yield kind(number, None, error, "")
                    continue
                unanswered[number] = message
                connection.send(message)
            else:
                connection.finish()
            continue
        if answer is None:
            answer = connection.answer(timeout_s)
        if answer is None:
            raise DeadlineExceeded(f"no answer from the service within {timeout_s:g} s")
        if unanswered.pop(answer.number, None) is None:
            raise UnexpectedAnswer(f"{name} answered entry {answer.number}, which has no answer to come")
        yield _result(name, codec, answer.number, answer.result, kind)


class _EntriesFailed(Exception):
    """Taking the next entry raised an error: the caller's, even if it is one of this library's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _next(numbered: Iterator[tuple[int, Any]]) -> tuple[int, Any]:
    """Return the next entry and its number, or -1 for the number where there is none."""
    try:
        return next(numbered, (-1, None))
    except (KmsError, ClientError) as error:
        raise _EntriesFailed(error) from error


class _Connection:
    """One gRPC stream, and the thread that reads it.

    Args:
        transport: The channel.
        name: The stream's name.
        codec: Its messages.
        first: Messages that an earlier connection left without an answer.
    """

    def __init__(self, transport: Transport, name: str, codec: BulkCodec, first: dict[int, Any]) -> None:
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for message in first.values():
            self._outgoing.put(message)
        self._call = transport.stream(name, iter(self._outgoing.get, None), codec.request_type, codec.response_type)
        self._transport = transport
        self._reader = threading.Thread(target=self._read, name=f"hsm-kms {name}", daemon=True)
        self._reader.start()

    def send(self, message: Any) -> None:
        """Send a message; never blocks: its caller counts what is under way."""
        self._outgoing.put(message)

    def finish(self) -> None:
        """Say that no further message comes."""
        self._outgoing.put(None)

    def answer(self, timeout_s: float) -> Any:
        """Return the next answer, or None if there is none within the time.

        Raises:
            KmsError: the service ended the stream.
            ClientError: the connection broke.
        """
        try:
            answer = self._incoming.get(timeout=timeout_s) if timeout_s else self._incoming.get_nowait()
        except queue.Empty:
            return None
        if isinstance(answer, KmsError | ClientError):
            raise answer
        return answer

    def close(self) -> None:
        """End the stream, answered or not. It can be called twice."""
        self._outgoing.put(None)
        self._call.cancel()

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._incoming.put(answer)
            self._incoming.put(ConnectionFailed("the service ended the stream before its last answer"))
        except grpc.RpcError as error:
            self._incoming.put(self._transport.error_of(error))


def _encoded(codec: BulkCodec, entry: Any) -> Any:
    try:
        message = codec.encode_entry(entry)
    except (ValueError, TypeError) as error:
        raise ValidationException(f"the request cannot be sent: {error}") from error
    if message.ByteSize() + ENTRY_OVERHEAD_BYTES > MAX_MESSAGE_BYTES:
        raise ValidationException(f"the request has {message.ByteSize()} bytes; {MAX_MESSAGE_BYTES} is the most")
    return message


def _result(name: str, codec: BulkCodec, number: int, result: Any, kind: type[ResultT]) -> ResultT:
    if result.WhichOneof("outcome") == "error":
        known = BY_CODE.get(result.error.code)
        message = result.error.message
        error = known(message) if known else UnknownKmsError(result.error.code[:MAX_CODE_CHARACTERS], message)
        error.retryable = result.error.retryable
        error.request_id = result.request_id
        return kind(number, None, error, result.request_id)
    try:
        return kind(number, codec.decode_response(result.response), None, result.request_id)
    except (ValueError, TypeError) as error:
        raise UnexpectedAnswer(f"an answer of {name} cannot be read: {error}") from error
