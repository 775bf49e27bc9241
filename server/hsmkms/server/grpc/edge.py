"""One RPC for each operation: who calls, until when, what was asked, and how the answer or the error goes back.

Nothing a caller sends is trusted before it has been through here: messages are parsed by hand so that bytes that are no message get
an answer of ours. What happens in between is `requests`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from hsmkms.core.errors import KmsError, LimitExceededException, ValidationException
from hsmkms.core.messages import OPERATIONS
from hsmkms.core.model import Principal
from hsmkms.server.grpc.calls import Context, address_of, principal_of, seconds_of, user_agent_of
from hsmkms.server.grpc.status import CODES, trailers
from hsmkms.server.identity import Authenticator
from hsmkms.server.requests import DRAIN_POLL_S, Requests
from hsmkms.wire import IDEMPOTENCY_METADATA, MAX_MESSAGE_BYTES, REQUEST_ID_METADATA, SERVICE
from hsmkms.wire.codec import OperationCodec, operation_codec

MAX_IDEMPOTENCY_KEY: Final = 128
HOLD_S: Final = 0.1
NO_BULKS: Final[Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = MappingProxyType({})


@dataclass(slots=True)
class _Rpc:
    """One RPC as `requests.Asked`.

    Args:
        authenticator: Makes principals from certificates.
        codec: Of the operation.
        data: The message, unparsed.
        context: gRPC's.
    """

    authenticator: Authenticator
    codec: OperationCodec
    data: bytes = field(repr=False)
    context: Context = field(repr=False)

    def principal(self) -> Principal:
        """Return who the client's certificate says it is."""
        return principal_of(self.context, self.authenticator)

    def seconds(self) -> float | None:
        """Return how long the caller waits, less what the answer's way back takes."""
        return seconds_of(self.context)

    def idempotency_key(self) -> str | None:
        """Return the key in the metadata, if there is one."""
        for name, value in self.context.invocation_metadata() or ():
            if name == IDEMPOTENCY_METADATA:
                if not isinstance(value, str) or not 1 <= len(value) <= MAX_IDEMPOTENCY_KEY or not value.isprintable():
                    raise ValidationException(
                        f"The metadata {IDEMPOTENCY_METADATA} must have 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."
                    )
                return value
        return None

    def request(self) -> Any:
        """Return the parsed message."""
        if len(self.data) > MAX_MESSAGE_BYTES:
            raise LimitExceededException(f"The request has {len(self.data)} bytes; {MAX_MESSAGE_BYTES} is the most.")
        try:
            message = self.codec.request_type.FromString(self.data)
        except DecodeError:
            raise ValidationException("The request is not a valid protobuf message of this operation.") from None
        return self.codec.decode_request(message)

    def answer(self, response: Any) -> bytes:
        """Return the response's message."""
        answer: bytes = self.codec.encode_response(response).SerializeToString()
        return answer


class Edge:
    """The handlers of all RPCs.

    Args:
        requests: Carries requests out.
        authenticator: Makes principals from certificates.
        bulks: The handlers of batches and streams (`grpc.batches`).
    """

    def __init__(
        self,
        requests: Requests,
        authenticator: Authenticator,
        bulks: Mapping[str, grpc.RpcMethodHandler[Any, Any]] = NO_BULKS,
    ) -> None:
        self._requests = requests
        self._authenticator = authenticator
        self._bulks = bulks

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers for a server."""
        operations: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(self._rpc(name)) for name in OPERATIONS
        }
        return grpc.method_handlers_generic_handler(SERVICE, {**operations, **self._bulks})

    async def close(self, stop: Coroutine[Any, Any, None]) -> None:
        """Stop the server while late requests are held, then refuse those too.

        gRPC's stop drops, with CANCELLED, what has arrived and has not reached its handler. Callers who wait for an answer send nothing
        more, so that there is next to nothing to drop.

        Args:
            stop: Stops the server, with a grace.
        """
        self._requests.hold()
        await asyncio.sleep(HOLD_S)
        stopping = asyncio.ensure_future(stop)
        await asyncio.sleep(DRAIN_POLL_S)
        self._requests.release()
        await stopping

    def _rpc(self, name: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
        codec = operation_codec(name)

        async def rpc(data: bytes, context: Context) -> bytes:
            attempt = self._requests.attempt(name, address_of(context.peer()), user_agent_of(context))
            try:
                answer: bytes = await self._requests.carry_out(attempt, _Rpc(self._authenticator, codec, data, context))
            except KmsError as error:
                await context.abort(CODES[type(error)], error.message, trailers(error, attempt.request_id))
                raise  # abort has raised: this line tells the type checker so
            context.set_trailing_metadata(((REQUEST_ID_METADATA, attempt.request_id),))
            return answer

        return rpc
