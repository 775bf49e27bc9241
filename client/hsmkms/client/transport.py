"""One call of one operation: deadline, idempotency key, attempts.

A call has one deadline, `Profile.timeout_s` from its start, for all its attempts and the waits between them; the service is told
what is left of it. What is tried again: errors that carry RetryInfo, after the delay it asks for at the least; and a connection
that failed. That is safe, since an operation either reads or carries an idempotency key, the same one in every attempt of a call.
Waits double from 0.1 s up to 2 s and are random, so that clients of a service that comes back do not come all at once.

Threads: a transport may be used by any number of threads. Processes: it must not be used after a fork.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import grpc
import tenacity

from hsmkms.client.contract import Effect, Operation
from hsmkms.client.errors import ClientError, ConnectionFailed, KmsError, UnexpectedAnswer, ValidationException
from hsmkms.client.profiles import Profile
from hsmkms.client.status import error_of
from hsmkms.client.tls import load_identity
from hsmkms.wire import (
    IDEMPOTENCY_METADATA,
    MAX_BATCH_ANSWER_BYTES,
    MAX_BATCH_BYTES,
    MAX_MESSAGE_BYTES,
    method_path,
)
from hsmkms.wire.codec import OperationCodec, operation_codec

FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 2.0
MAX_IDEMPOTENCY_KEY_CHARACTERS: Final = 128

_codec = functools.cache(operation_codec)
_back_off = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


class Transport:
    """A channel to the service, over mTLS.

    Args:
        profile: Where the service is. Its files are read now; the connection is made by the first call.

    Raises:
        ProfileError: a file cannot be used.
    """

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", MAX_BATCH_BYTES),
            ("grpc.max_receive_message_length", MAX_BATCH_ANSWER_BYTES),
            # gRPC's own pause after a failed connection is 1 s, longer than all our attempts: let ours count.
            ("grpc.initial_reconnect_backoff_ms", round(FIRST_WAIT_S * 1000)),
            ("grpc.max_reconnect_backoff_ms", round(LONGEST_WAIT_S * 1000)),
            # A key service is reached directly: http_proxy in the environment is for the web.
            ("grpc.enable_http_proxy", 0),
        ]
        if profile.server_name is not None:
            options.append(("grpc.ssl_target_name_override", profile.server_name))
        self._identity = load_identity(profile)
        self._channel = grpc.secure_channel(f"dns:///{profile.endpoint}", self._identity.credentials, options=options)
        self._stubs: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}

    def close(self) -> None:
        """Close the channel; calls under way fail. It can be closed twice."""
        self._channel.close()

    def call(self, operation: Operation, request: Any, idempotency_key: str | None = None) -> Any:
        """Call an operation and return its response.

        Args:
            operation: The operation.
            request: Its request.
            idempotency_key: The key of an operation that changes something, 1 to 128 printable ASCII characters; made if None.

        Raises:
            KmsError: the service refused or failed; ValidationException without a request id: the request cannot be sent.
            ClientError: there is no answer.
        """
        codec = _codec(operation.name)
        message = _encoded(codec, request)
        metadata: tuple[tuple[str, str], ...] = ()
        if operation.effect is Effect.CHANGES:
            metadata = ((IDEMPOTENCY_METADATA, _checked(idempotency_key or str(uuid.uuid4()))),)
        answer = self.exchange(operation.name, message, codec.response_type, metadata)
        try:
            return codec.decode_response(answer)
        except (ValueError, TypeError) as error:
            raise UnexpectedAnswer(f"the answer of {operation.name} cannot be read: {error}") from error

    def exchange(
        self, name: str, message: Any, response_type: type[Any], metadata: tuple[tuple[str, str], ...] = ()
    ) -> Any:
        """Send a message to an RPC, as often as it takes, and return the answer; both are of protobuf.

        Args:
            name: The RPC.
            message: The request.
            response_type: The class of the answer.
            metadata: What goes with the request.

        Raises:
            KmsError: the service refused or failed.
            ClientError: there is no answer.
        """
        stub = self._stub(name, response_type)
        deadline = time.monotonic() + self._profile.timeout_s
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_retryable),
            wait=_wait,
            stop=tenacity.stop_after_attempt(self._profile.attempts)
            | tenacity.stop_before_delay(self._profile.timeout_s),
            reraise=True,
        )
        return attempts(self._attempt, stub, message, metadata, deadline)

    def stream_attempts(self) -> tenacity.Retrying:
        """Return what calls a step of a stream again where its connection fails: `Profile.attempts` times in a row at the most."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_retryable),
            wait=_wait,
            stop=tenacity.stop_after_attempt(self._profile.attempts),
            reraise=True,
        )

    @property
    def timeout_s(self) -> float:
        """Longest time for a call, in seconds."""
        return self._profile.timeout_s

    def stream(self, name: str, messages: Iterator[Any], request_type: type[Any], response_type: type[Any]) -> Any:
        """Open a stream.

        Args:
            name: The RPC.
            messages: What is sent; iterated in a thread of gRPC's.
            request_type: The class of what is sent.
            response_type: The class of what comes.

        Returns:
            gRPC's call: an iterator of what comes, with `cancel`.

        Raises:
            ConnectionFailed: the client is closed.
        """
        try:
            return self._channel.stream_stream(
                method_path(name),
                request_serializer=request_type.SerializeToString,
                response_deserializer=response_type.FromString,
            )(messages)
        except ValueError as error:  # gRPC's way to say that the channel is closed
            raise ConnectionFailed("the client is closed") from error

    def error_of(self, error: grpc.RpcError) -> KmsError | ClientError:
        """Return what an error of gRPC's means."""
        return error_of(error, self._profile, self._identity)

    def _attempt(
        self,
        stub: grpc.UnaryUnaryMultiCallable[Any, Any],
        message: Any,
        metadata: tuple[tuple[str, str], ...],
        deadline: float,
    ) -> Any:
        try:
            return stub(message, timeout=max(deadline - time.monotonic(), 0.001), metadata=metadata)
        except grpc.RpcError as error:
            raise error_of(error, self._profile, self._identity) from error
        except ValueError as error:  # gRPC's way to say that the channel is closed
            raise ConnectionFailed("the client is closed") from error

    def _stub(self, name: str, response_type: type[Any]) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
        stub = self._stubs.get(name)
        if stub is None:
            stub = self._stubs[name] = self._channel.unary_unary(
                method_path(name),
                request_serializer=_serialized,
                response_deserializer=response_type.FromString,
            )
        return stub


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _encoded(codec: OperationCodec, request: Any) -> Any:
    try:
        message = codec.encode_request(request)
    except ValueError as error:
        raise ValidationException(f"the request cannot be sent: {error}") from error
    if message.ByteSize() > MAX_MESSAGE_BYTES:
        raise ValidationException(f"the request has {message.ByteSize()} bytes; {MAX_MESSAGE_BYTES} is the most")
    return message


def _checked(idempotency_key: str) -> str:
    if not (
        len(idempotency_key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS
        and idempotency_key.isascii()
        and idempotency_key.isprintable()
    ):
        raise ValidationException("an idempotency key is 1 to 128 printable ASCII characters")
    return idempotency_key


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, KmsError | ClientError) and error.retryable


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_delay_s if isinstance(error, KmsError | ClientError) else 0.0
    return max(asked, 0.0) + _back_off(state)
