"""Batches and streams: many requests of one operation in one call. They are this service's own (`core.messages.BULKS`).

Each entry is an operation of its own: with a request id, a judgement, an audit record and a count. The batch has a request id too, which
its answer's metadata carries and the records of its entries repeat. What is wrong with the batch as a whole (who asks, its size, no
entry at all) is the error of the call, and is recorded once, as the operation.

Nothing of a batch is read before it is known who sends it and there is a place for it, so memory is bounded by the number of places.
A stream is read only as far as its window reaches: entries under way and answers that its client has not read both count. A client
that reads nothing is sent nothing more, and so is read no more.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from hsmkms.core.errors import (
    DependencyTimeoutException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    LimitExceededException,
    ThrottlingException,
    ValidationException,
)
from hsmkms.core.messages import BULKS, MAX_BATCH_ENTRIES, Bulk
from hsmkms.core.model import Principal
from hsmkms.server import bulk
from hsmkms.server.carrier import Carrier
from hsmkms.server.grpc.calls import Context, address_of, principal_of, seconds_of, user_agent_of
from hsmkms.server.grpc.status import CODES, trailers
from hsmkms.server.identity import Authenticator
from hsmkms.server.metrics import Metrics
from hsmkms.server.requests import Attempt, Entry, Requests, unexpected
from hsmkms.wire import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, MAX_STREAM_ENTRIES, REQUEST_ID_METADATA
from hsmkms.wire.codec import BulkCodec, bulk_codec

MAX_BULKS: Final = 64
"""Most batches and streams under way in one front."""
MAX_BULKS_OF_ONE: Final = 16
"""Most of them that one principal may have under way."""
WINDOW_OF_WORKER: Final = 32
"""How many entries of a batch may be under way for each token worker: as many as are in its pipe, and as many again that wait."""
LEAST_WINDOW: Final = 64
ANSWER_S: Final = 0.25
"""What ending a whole batch that is late, and making and sending its answer, takes at the most."""
ANSWER_PART: Final = 0.5
"""The most of a batch's time that is kept for that."""
FULL_ANSWER_BYTES: Final = MAX_MESSAGE_BYTES - (16 << 10)
"""How many bytes of results make a stream's message full: one more of them, and what frames them, have 16 KiB at the most."""
WORTH_AN_ANSWER: Final = 32
"""So many results of a stream are sent at once; fewer where no more entries than that are under way."""
LONGEST_HOLD_S: Final = 0.05
"""How long a result may wait for others, in seconds."""

_log = structlog.get_logger(__name__)
_Handler = Callable[[Any, Context], Awaitable[None]]


class Batches:
    """The handlers of batches and streams.

    Args:
        requests: Judges, records and counts entries.
        authenticator: Makes principals from certificates.
        carrier: Drives entries.
        metrics: Counts batches.
        workers: How many token workers there are.
    """

    def __init__(
        self, requests: Requests, authenticator: Authenticator, carrier: Carrier, metrics: Metrics, workers: int
    ) -> None:
        self._requests = requests
        self._authenticator = authenticator
        self._carrier = carrier
        self._metrics = metrics
        self._window = max(LEAST_WINDOW, WINDOW_OF_WORKER * workers)
        self._under_way: Counter[str] = Counter()

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the handlers by the names of their RPCs."""
        # Batches too are served as streams, of one message each: so it is for us to say when the message is read.
        return {name: grpc.stream_stream_rpc_method_handler(self._rpc(declared)) for name, declared in BULKS.items()}

    def _rpc(self, declared: Bulk) -> _Handler:
        codec = bulk_codec(declared.name)
        carry = self._stream if declared.streams else self._batch

        async def rpc(_: Any, context: Context) -> None:
            attempt = self._requests.attempt(declared.operation, address_of(context.peer()), user_agent_of(context))
            context.set_trailing_metadata(((REQUEST_ID_METADATA, attempt.request_id),))
            try:
                attempt.principal = principal_of(context, self._authenticator)
                await self._requests.refuse_when_stopping()
                with self._place(declared, attempt.principal):
                    await carry(declared, codec, context, attempt)
            except KmsError as error:
                await self._refuse(context, attempt, error)
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001  # the caller is told that much, and no more
                _log.exception("unexpected failure", operation=declared.name, request_id=attempt.request_id)
                await self._refuse(context, attempt, KMSInternalException("An internal error occurred."))

        return rpc

    async def _refuse(self, context: Context, attempt: Attempt, error: KmsError) -> None:
        """Answer the whole batch, or the rest of a stream, with an error."""
        attempt.refuse(error)
        self._requests.end(attempt)
        await context.abort(CODES[type(error)], error.message, trailers(error, attempt.request_id))

    @contextmanager
    def _place(self, declared: Bulk, principal: Principal) -> Iterator[None]:
        """Have a place for a batch or stream during the block.

        Raises:
            ThrottlingException: there is none.
        """
        if self._under_way[principal.arn] >= MAX_BULKS_OF_ONE:
            raise ThrottlingException(f"{MAX_BULKS_OF_ONE} batches and streams of yours are under way: wait for one.")
        if self._under_way.total() >= MAX_BULKS:
            raise ThrottlingException("Too many batches and streams are under way. Try again later.")
        self._under_way[principal.arn] += 1
        self._metrics.bulks(declared.name, 1)
        try:
            yield
        finally:
            self._under_way[principal.arn] -= 1
            if not self._under_way[principal.arn]:
                del self._under_way[principal.arn]
            self._metrics.bulks(declared.name, -1)

    async def _batch(self, declared: Bulk, codec: BulkCodec, context: Context, attempt: Attempt) -> None:
        expiry_ns = self._requests.expiry_ns(seconds_of(context, ANSWER_S, ANSWER_PART))
        messages = await self._entries(codec, context, expiry_ns)
        left = len(messages)
        self._metrics.batch(declared.name, left)
        response: Any = codec.response_type()
        results = [response.results.add() for _ in messages]
        all_over = asyncio.get_running_loop().create_future()

        def ended(entry: Entry) -> None:
            nonlocal left
            _fill(codec, results[entry.number], entry)
            left -= 1
            if not left and not all_over.done():
                all_over.set_result(None)

        carried = bulk.Bulk(self._requests, self._carrier, self._window, codec.decode_entry, ended)
        try:
            with self._requests.under_way():
                for number, message in enumerate(messages):
                    entry = self._requests.entry(attempt)
                    entry.number, entry.message, entry.expiry_ns = number, message, expiry_ns
                    carried.add(entry)
                await all_over
                await context.write(response.SerializeToString())
        finally:
            carried.close()

    async def _entries(self, codec: BulkCodec, context: Context, expiry_ns: int) -> Any:
        """Read the batch; return its entries, unchecked."""
        try:
            async with asyncio.timeout(max(0.0, expiry_ns / 1e9 - time.monotonic())):
                data = await context.read()
        except TimeoutError:
            raise DependencyTimeoutException("The batch did not arrive in time. Give it more time.") from None
        if data is grpc.aio.EOF:
            raise ValidationException(f"The call has no message: send one with 1 to {MAX_BATCH_ENTRIES} entries.")
        message = _parsed(codec, data, MAX_BATCH_BYTES)
        _require_length(len(message.entries), MAX_BATCH_ENTRIES, "send several batches")
        return message.entries

    async def _stream(self, declared: Bulk, codec: BulkCodec, context: Context, attempt: Attempt) -> None:
        del declared
        stream = _Stream(self._requests, self._carrier, self._window, codec, context, attempt)
        await stream.run()


class _Stream:
    """One stream: a task reads entries while there is room in the window; this one writes answers.

    A message is read when there is room for one entry at least, and is taken whole: so it holds `MAX_STREAM_ENTRIES` - 1 more than the
    window at the most.

    Each answer costs as much as half an entry, so results go together: when `WORTH_AN_ANSWER` of them are ready, or as many as entries are
    still under way, or one has waited for `LONGEST_HOLD_S`. So nobody waits who has nothing else under way, and a result that waits is
    one of fewer than those that its caller waits for anyhow.
    """

    def __init__(
        self,
        requests: Requests,
        carrier: Carrier,
        window: int,
        codec: BulkCodec,
        context: Context,
        attempt: Attempt,
    ) -> None:
        self._requests = requests
        self._window = window
        self._codec = codec
        self._context = context
        self._attempt = attempt
        self._carried = bulk.Bulk(requests, carrier, window, codec.decode_entry, self._ended)
        self._over: deque[Entry] = deque()
        """Entries whose results are not written yet."""
        self._has_result = asyncio.Event()
        self._has_room = asyncio.Event()
        self._hold: asyncio.TimerHandle | None = None
        """Ends the waiting of results."""
        self._is_released = False
        """Whether the results that are ready wait no longer."""
        self._unread = 0
        """Entries that are under way, and results that the client has not taken."""
        self._busy = ExitStack()
        """Lets a stop wait while there are any."""
        self._is_stopping = False

    async def run(self) -> None:
        """Carry the stream to its end.

        Raises:
            KmsError: it cannot go on; what was answered before is good.
        """
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(lambda _: self._has_result.set())
        try:
            with self._requests.told_of_stop(lambda: self._stop(reader)):
                await self._write(reader)
            with suppress(asyncio.CancelledError):
                reader.result()
        finally:
            reader.cancel()
            self._carried.close()
            self._busy.close()
            if self._hold is not None:
                self._hold.cancel()
        if self._is_stopping:
            raise KeyUnavailableException("The service is stopping. Try again.")

    def _stop(self, reader: asyncio.Task[None]) -> None:
        """Read no more: what was read is answered, and then the stream ends."""
        self._is_stopping = True
        reader.cancel()

    async def _read(self) -> None:
        deadline_ns = self._deadline_ns()
        while True:
            while self._unread >= self._window:
                self._has_room.clear()
                await self._has_room.wait()
            data = await self._context.read()
            if data is grpc.aio.EOF:
                return
            entries = _parsed(self._codec, data, MAX_MESSAGE_BYTES).entries
            _require_length(len(entries), MAX_STREAM_ENTRIES, "send several messages")
            if not self._unread:
                self._busy.enter_context(self._requests.under_way())
            self._unread += len(entries)
            expiry_ns = min(self._requests.expiry_ns(None), deadline_ns)
            for message in entries:
                entry = self._requests.entry(self._attempt)
                entry.number, entry.message, entry.expiry_ns = message.number, message.request, expiry_ns
                self._carried.add(entry)

    def _deadline_ns(self) -> int:
        """Return when the stream itself ends, on CLOCK_MONOTONIC."""
        seconds = seconds_of(self._context, ANSWER_S)
        return (1 << 63) - 1 if seconds is None else time.monotonic_ns() + int(seconds * 1e9)

    async def _write(self, reader: asyncio.Task[None]) -> None:
        while True:
            await self._has_result.wait()
            self._has_result.clear()
            while self._is_released or self._is_due():
                answer = self._answer()
                await self._context.write(answer.SerializeToString())
                self._unread -= len(answer.results)
                if not self._unread:
                    self._busy.close()
                self._has_room.set()
            if reader.done() and not self._carried.unfinished and not self._over:
                return

    def _answer(self) -> Any:
        """Return a message of the results that are ready, as many as it holds."""
        answer: Any = self._codec.response_type()
        room = FULL_ANSWER_BYTES
        while self._over and room > 0 and len(answer.results) < MAX_STREAM_ENTRIES:
            entry = self._over.popleft()
            result = answer.results.add()
            result.number = entry.number
            _fill(self._codec, result, entry)
            room -= result.ByteSize()
        self._is_released = bool(self._over)  # what did not fit goes next
        return answer

    def _ended(self, entry: Entry) -> None:
        self._over.append(entry)
        if self._is_due():
            self._has_result.set()
        elif self._hold is None:
            self._hold = asyncio.get_running_loop().call_later(LONGEST_HOLD_S, self._release)

    def _is_due(self) -> bool:
        ready = len(self._over)
        return ready >= WORTH_AN_ANSWER or (ready > 0 and ready >= self._carried.unfinished)

    def _release(self) -> None:
        self._hold = None
        self._is_released = bool(self._over)
        self._has_result.set()


def _parsed(codec: BulkCodec, data: bytes, most: int) -> Any:
    """Return a message.

    Raises:
        LimitExceededException: it is too long.
        ValidationException: it is none.
    """
    if len(data) > most:
        raise LimitExceededException(f"The message has {len(data)} bytes; {most} is the most.")
    try:
        return codec.request_type.FromString(data)
    except DecodeError:
        raise ValidationException("The request is not a valid protobuf message of this operation.") from None


def _require_length(count: int, most: int, instead: str) -> None:
    """Raise ValidationException unless a message has 1 to `most` entries; `instead` is what to do with more of them."""
    told = "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length"
    if not count:
        raise ValidationException(f"{told} greater than or equal to 1")
    if count > most:
        raise ValidationException(f"{told} less than or equal to {most}; it has {count}: {instead}")


def _fill(codec: BulkCodec, result: Any, entry: Entry) -> None:
    """Make the result of an entry that is over; whatever goes wrong in that is this entry's alone."""
    result.request_id = entry.request_id
    error = entry.error
    if error is None:
        try:
            result.response.SetInParent()
            codec.fill_response(result.response, entry.response)
        except Exception as raised:  # noqa: BLE001  # its batch waits for it
            error = unexpected(entry, raised)
    if error is not None:
        result.error.code = error.code
        result.error.message = error.message
        result.error.retryable = error.retryable
