"""Many requests of one operation: in batches, or as a stream. Every entry gets a result of its own: a response or an error.

Batches are split where they are larger than the service takes. Each call of a batch is tried again as single calls are (`transport`);
what became of an entry is final: a result whose error is retryable is for the caller to send again.

A stream has at most `WINDOW` entries under way. What is at hand when the connection can take a message goes into it; nothing waits for
more. When the connection breaks or the service stops, the entries that have no answer yet are sent again on a new one, after a pause,
`Profile.attempts` times in a row at the most. No answer for `Profile.timeout_s` ends it.

Threads: entries are taken, and results given, in the thread that iterates. Streams of one client may run in several threads.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from hsmkms.client.transport import Transport
from hsmkms.core.errors import BY_CODE
from hsmkms.core.messages import MAX_BATCH_ENTRIES
from hsmkms.wire import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, MAX_STREAM_ENTRIES
from hsmkms.wire.codec import BulkCodec, bulk_codec

WINDOW: Final = 256
ENTRY_OVERHEAD_BYTES: Final = 19
"""What an entry needs in a batch or in a stream's message beside its own bytes, at the most: two tags and lengths, and its number."""

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
    attempts = transport.stream_attempts()
    under_way = _Stream(transport, name, entries, kind)
    try:
        while (results := attempts(under_way.results)) is not None:
            yield from results
    except _EntriesFailed as failed:
        raise failed.error from None
    finally:
        under_way.close()


class _EntriesFailed(Exception):
    """Taking the next entry raised an error: the caller's, even if it is one of this library's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Stream(Generic[ResultT]):
    """The entries of a stream, over as many connections as it takes.

    Args:
        transport: The channel.
        name: The stream's name.
        entries: What is sent.
        kind: The type of the results.
    """

    def __init__(self, transport: Transport, name: str, entries: Iterable[Any], kind: type[ResultT]) -> None:
        self._transport = transport
        self._name = name
        self._codec = _codec(name)
        self._numbered = enumerate(entries)
        self._kind = kind
        self._has_more = True
        self._unanswered: dict[int, Any] = {}
        self._connection: _Connection | None = None

    def results(self) -> Iterable[ResultT] | None:
        """Send what there is, and return the next results, or None when every entry has its own; iterate them before the next call.

        Raises:
            KmsError: the service ended the stream; called again, this opens another one.
            ClientError: the connection broke, or there is no answer; likewise.
            _EntriesFailed: the caller's entries raised such an error.
        """
        try:
            return self._results(self._connected())
        except (KmsError, ClientError):
            self.close()
            raise

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(self._transport, self._name, self._codec, self._unanswered)
            if not self._has_more:
                self._connection.finish()
        return self._connection

    def _results(self, connection: _Connection) -> Iterable[ResultT] | None:
        while self._has_more or self._unanswered:
            answer = connection.answer(0.0) if self._unanswered else None
            if answer is None and self._has_more and len(self._unanswered) < WINDOW:
                refused = self._send_next(connection)
                if refused is not None:
                    return (refused,)
                continue
            timeout_s = self._transport.timeout_s
            if answer is None:
                answer = connection.answer(timeout_s)
            if answer is None:
                raise DeadlineExceeded(f"no answer from the service within {timeout_s:g} s")
            return map(self._result, answer.results)
        return None

    def _send_next(self, connection: _Connection) -> ResultT | None:
        """Send the next entry if there is one; return a result for one that cannot be sent."""
        try:
            number, entry = next(self._numbered, (-1, None))
        except (KmsError, ClientError) as error:
            raise _EntriesFailed(error) from error
        if number < 0:
            self._has_more = False
            connection.finish()
            return None
        try:
            message = _encoded(self._codec, entry)
        except ValidationException as error:
            return self._kind(number, None, error, "")
        self._unanswered[number] = message
        connection.send(number, message)
        return None

    def _result(self, result: Any) -> ResultT:
        if self._unanswered.pop(result.number, None) is None:
            raise UnexpectedAnswer(f"{self._name} answered entry {result.number}, which has no answer to come")
        return _result(self._name, self._codec, result.number, result, self._kind)


class _Connection:
    """One gRPC stream, and the thread that reads it.

    Args:
        transport: The channel.
        name: The stream's name.
        codec: Its messages.
        first: Entries that an earlier connection left without an answer, by their numbers.
    """

    def __init__(self, transport: Transport, name: str, codec: BulkCodec, first: Mapping[int, Any]) -> None:
        self._outgoing: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for number, entry in first.items():
            self.send(number, entry)
        self._request_type = codec.request_type
        self._call = transport.stream(name, self._messages(), codec.request_type, codec.response_type)
        self._transport = transport
        self._reader = threading.Thread(target=self._read, name=f"hsm-kms {name}", daemon=True)
        self._reader.start()

    def send(self, number: int, entry: Any) -> None:
        """Send an entry; never blocks: its caller counts what is under way."""
        self._outgoing.put((number, entry))

    def finish(self) -> None:
        """Say that no further entry comes."""
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

    def _messages(self) -> Iterator[Any]:
        """Yield messages of the entries at hand; a thread of gRPC's asks for the next one when the last one is on its way."""
        message: Any = self._request_type()
        room = MAX_MESSAGE_BYTES
        while (numbered := self._outgoing.get()) is not None:
            number, entry = numbered
            size = entry.ByteSize() + ENTRY_OVERHEAD_BYTES
            if size > room or len(message.entries) == MAX_STREAM_ENTRIES:
                yield message
                message, room = self._request_type(), MAX_MESSAGE_BYTES
            message.entries.add(number=number, request=entry)
            room -= size
            if self._outgoing.empty():
                yield message
                message, room = self._request_type(), MAX_MESSAGE_BYTES
        if message.entries:
            yield message

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
