"""A real gRPC server over mTLS that answers as a test tells it to: for tests of the client, without a service behind it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hsmkms.core.messages import BULKS, OPERATIONS
from hsmkms.wire import ERROR_DOMAIN, IDEMPOTENCY_METADATA, REQUEST_ID_METADATA, SERVICE
from hsmkms.wire.codec import bulk_codec, operation_codec

from .certificates import Authority, Issued


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error.

    Args:
        code: The gRPC code.
        reason: The exception's name; empty for a status without details, as a proxy gives it.
        message: The text.
        retry_delay_s: With RetryInfo of that delay; None for none.
        domain: The ErrorInfo's domain.
    """

    code: grpc.StatusCode
    reason: str = ""
    message: str = ""
    retry_delay_s: float | None = None
    domain: str = ERROR_DOMAIN


@dataclass(frozen=True, slots=True)
class Received:
    """A request that reached the server."""

    operation: str
    request: Any
    idempotency_key: str | None
    remaining_s: float


@dataclass(slots=True)
class ScriptedServer:
    """What the server will say, and what it was asked.

    Each request takes the next answer of `script`: a response, a `Refusal`, or a function from the request to either. Each stream takes
    the next one of `streams`: a function from its messages to its answers, all of protobuf, the last of which may be a `Refusal`.
    """

    endpoint: str
    script: deque[Any] = field(default_factory=deque)
    streams: deque[Callable[[Iterator[Any]], Iterator[Any]]] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Set when the server stops: what a hanging answer waits for."""

    def answers(self, *answers: Any) -> None:
        """Add answers to the script."""
        self.script.extend(answers)

    def hang(self, _request: Any) -> Refusal:
        """Be the answer that does not come until the server stops."""
        self.released.wait(20)
        return Refusal(grpc.StatusCode.CANCELLED)

    def answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Note a request and return its answer, or end it with an error."""
        metadata: Mapping[str, Any] = dict(context.invocation_metadata())
        remaining = context.time_remaining()
        self.received.append(Received(name, request, metadata.get(IDEMPOTENCY_METADATA), remaining or 0.0))
        request_id = f"request-{len(self.received)}"
        context.set_trailing_metadata(((REQUEST_ID_METADATA, request_id),))
        answer = (
            self.script.popleft() if self.script else Refusal(grpc.StatusCode.INTERNAL, message="the script is over")
        )
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Refusal):
            _refuse(context, answer, request_id)
        return answer

    def stream(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Behave as the next stream shall."""
        for answer in self.streams.popleft()(messages):
            if isinstance(answer, Refusal):
                _refuse(context, answer, "request-of-a-stream")
            yield answer


def _refuse(context: grpc.ServicerContext, refusal: Refusal, request_id: str) -> None:
    if not refusal.reason:
        context.abort(refusal.code, refusal.message)
    context.abort_with_status(rpc_status.to_status(_status(refusal, request_id)))


def _status(refusal: Refusal, request_id: str) -> status_pb2.Status:
    details: list[Any] = [
        error_details_pb2.ErrorInfo(
            reason=refusal.reason, domain=refusal.domain, metadata={"request_id": request_id} if request_id else {}
        )
    ]
    if refusal.retry_delay_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(refusal.retry_delay_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


@contextmanager
def scripted_server(
    authority: Authority, server: Issued, *, endpoint: str = "127.0.0.1:0", trusted: Authority | None = None
) -> Iterator[ScriptedServer]:
    """Run a server on loopback until the block ends.

    Args:
        authority: Whose certificates clients must have.
        server: The server's certificate.
        endpoint: Where to listen; port 0 for any.
        trusted: Another authority whose clients it accepts instead.
    """
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_file.read_bytes(), server.certificate_file.read_bytes())],
        root_certificates=(trusted or authority).certificate_file.read_bytes(),
        require_client_auth=True,
    )
    grpc_server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
    scripted = ScriptedServer("")
    grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, _handlers(scripted)),))
    port = grpc_server.add_secure_port(endpoint, credentials)
    scripted.endpoint = f"{endpoint.rpartition(':')[0]}:{port}"
    grpc_server.start()
    try:
        yield scripted
    finally:
        scripted.released.set()
        grpc_server.stop(None).wait()


def _handlers(scripted: ScriptedServer) -> dict[str, grpc.RpcMethodHandler]:
    def handler(name: str) -> grpc.RpcMethodHandler:
        codec = operation_codec(name)

        def behave(message: Any, context: grpc.ServicerContext) -> Any:
            return codec.encode_response(scripted.answer(name, codec.decode_request(message), context))

        return grpc.unary_unary_rpc_method_handler(
            behave,
            request_deserializer=codec.request_type.FromString,
            response_serializer=codec.response_type.SerializeToString,
        )

    def stream_handler(name: str) -> grpc.RpcMethodHandler:
        codec = bulk_codec(name)
        return grpc.stream_stream_rpc_method_handler(
            scripted.stream,
            request_deserializer=codec.request_type.FromString,
            response_serializer=codec.response_type.SerializeToString,
        )

    streams = {bulk.name: stream_handler(bulk.name) for bulk in BULKS.values() if bulk.streams}
    return {name: handler(name) for name in OPERATIONS} | streams
