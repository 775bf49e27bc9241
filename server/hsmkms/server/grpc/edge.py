"""One RPC for each operation: who calls, until when, what was asked, and how the answer or the error goes back.

Nothing a caller sends is trusted before it has been through here: messages are parsed by hand so that bytes that are no message get
an answer of ours. What happens in between is `requests`'s.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from hsmkms.core.errors import DependencyTimeoutException, KmsError, UnauthenticatedException, ValidationException
from hsmkms.core.messages import OPERATIONS
from hsmkms.core.model import Principal
from hsmkms.server.grpc.status import CODES, trailers
from hsmkms.server.identity import Authenticator
from hsmkms.server.requests import DRAIN_POLL_S, Requests
from hsmkms.wire import IDEMPOTENCY_METADATA, REQUEST_ID_METADATA, SERVICE
from hsmkms.wire.codec import OperationCodec, operation_codec

MAX_IDEMPOTENCY_KEY: Final = 128
DEADLINE_MARGIN_S: Final = 0.05
"""How much earlier than its caller's deadline a request ends here, so that the error still arrives."""
DEADLINE_MARGIN_PART: Final = 0.1
HOLD_S: Final = 0.1
TOO_LATE_S: Final = 0.001
"""A request with less time left than this is not begun: nothing could be done in it, and trying would cost others theirs."""

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
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
    data: bytes
    context: _Context

    def principal(self) -> Principal:
        """Return who the client's certificate says it is."""
        for certificate in self.context.auth_context().get("x509_pem_cert", ()):
            return self.authenticator.principal(certificate)
        raise UnauthenticatedException("A client certificate is required.")

    def seconds(self) -> float | None:
        """Return how long the caller waits, less what the answer's way back takes."""
        remaining = self.context.time_remaining()
        if remaining is None:
            return None
        if remaining < TOO_LATE_S:
            raise DependencyTimeoutException("The request came too late for its deadline. Give it more time.")
        return float(max(remaining - min(DEADLINE_MARGIN_S, remaining * DEADLINE_MARGIN_PART), 0.0))

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
        try:
            message = self.codec.request_type.FromString(self.data)
        except DecodeError:
            raise ValidationException("The request is not a valid protobuf message of this operation.") from None
        return self.codec.decode_request(message)


class Edge:
    """The handlers of all RPCs.

    Args:
        requests: Carries requests out.
        authenticator: Makes principals from certificates.
    """

    def __init__(self, requests: Requests, authenticator: Authenticator) -> None:
        self._requests = requests
        self._authenticator = authenticator

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handlers for a server."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: grpc.unary_unary_rpc_method_handler(self._rpc(name)) for name in OPERATIONS}
        )

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

    def _rpc(self, name: str) -> Callable[[bytes, _Context], Awaitable[bytes]]:
        codec = operation_codec(name)

        async def rpc(data: bytes, context: _Context) -> bytes:
            attempt = self._requests.attempt(name, _address(context.peer()), _user_agent(context))
            try:
                response = await self._requests.carry_out(attempt, _Rpc(self._authenticator, codec, data, context))
            except KmsError as error:
                await context.abort(CODES[type(error)], error.message, trailers(error, attempt.request_id))
                raise  # abort has raised: this line tells the type checker so
            context.set_trailing_metadata(((REQUEST_ID_METADATA, attempt.request_id),))
            answer: bytes = codec.encode_response(response).SerializeToString()
            return answer

        return rpc


def _user_agent(context: _Context) -> str:
    agent = next((value for key, value in context.invocation_metadata() or () if key == "user-agent"), "")
    return agent if isinstance(agent, str) else ""


def _address(peer: str) -> str:
    """Return the address in what gRPC says of a peer: `ipv4:192.0.2.1:1234`, `ipv6:%5B2001:db8::1%5D:1234`, `unix:…`."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return peer
    return urllib.parse.unquote(rest).rpartition(":")[0].strip("[]")
