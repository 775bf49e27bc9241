"""The calls that clients make: messages made beforehand, and the shortest answer that is not an error.

Every kind of call is made once by a gRPC client, and its answer read, before it is measured: a bench of error messages would be fast.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from hsmkms.client import Client
from hsmkms.client.tls import load_identity
from hsmkms.v1 import kms_pb2
from hsmkms.wire import method_path
from support.service import Service

BATCH: Final = 100
"""Entries of a batch."""
WINDOW: Final = 100
"""Entries of a stream that are unanswered at most, for each client."""
TOGETHER: Final = 20
"""Entries of a stream's message."""
MESSAGES: Final = 16
"""Different messages of each kind, sent in turn."""
LARGEST_DATA_KEY: Final = 1024
"""GenerateDataKey's bound; of 4,096 bytes there is none."""
_SLACK: Final = 0.95
"""An answer may be a little shorter than another: a number's varint, a shorter alias. An error is much shorter."""
_MAX_MESSAGE_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one kind.

    Args:
        path: The RPC's path.
        messages: Requests, sent in turn; of a stream, its entries without their numbers.
        least: Bytes of the shortest answer, of a stream's shortest result, that is none of an error.
        answer_bytes: Length of an answer, or of a stream's result.
        items: Items in what is counted: in a call, or in an entry of a stream.
        window: Unanswered entries of a stream, or 0 for a unary call.
        together: Entries of a stream's message.
    """

    path: str
    messages: tuple[bytes, ...]
    least: int
    answer_bytes: int
    items: int = 1
    window: int = 0
    together: int = 1

    def write(self, file: Path) -> Path:
        """Write the messages as the load generator reads them."""
        file.write_bytes(b"".join(len(message).to_bytes(4, "big") + message for message in self.messages))
        return file


@dataclass(frozen=True, slots=True)
class Keys:
    """KMS keys to work with, and the client that made them."""

    client: Client
    ids: Sequence[str]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return a source and a destination, again and again, over all keys."""
        return zip(itertools.cycle(self.ids), itertools.cycle([*self.ids[1:], self.ids[0]]), strict=False)


@contextmanager
def channel_to(service: Service) -> Iterator[grpc.Channel]:
    """Return a channel of the caller's to a service."""
    profile = service.profile("caller")
    options = (("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),)
    with grpc.secure_channel(service.address, load_identity(profile).credentials, options) as channel:
        yield channel


class Maker:
    """Makes calls for one service.

    Args:
        service: The service.
        keys: The keys to use.
        messages: How many different messages.
    """

    def __init__(self, service: Service, keys: Keys, messages: int = MESSAGES) -> None:
        self._service = service
        self._keys = keys
        self._messages = messages

    def make(self, operation: str, size: int) -> Calls:
        """Return calls of an operation with a payload of so many bytes, after one of them was made and its answer was right."""
        kinds: dict[str, Callable[[str, int], Calls]] = {
            "BatchReEncrypt": self._batch,
            "StreamReEncrypt": self._stream,
        }
        return kinds.get(operation, self._unary)(operation, size)

    def _requests(self, operation: str, size: int) -> list[Any]:
        client, plaintext = self._keys.client, bytes(size)
        requests: list[Any] = []
        for source, destination in itertools.islice(self._keys.pairs(), self._messages):
            blob = b""
            if operation in ("ReEncrypt", "Decrypt"):
                blob = client.encrypt(key_id=source, plaintext=plaintext).ciphertext_blob
            if operation == "ReEncrypt":
                requests.append(kms_pb2.ReEncryptRequest(ciphertext_blob=blob, destination_key_id=destination))
            elif operation == "Decrypt":
                requests.append(kms_pb2.DecryptRequest(ciphertext_blob=blob))
            elif operation == "Encrypt":
                requests.append(kms_pb2.EncryptRequest(key_id=source, plaintext=plaintext))
            else:
                requests.append(kms_pb2.GenerateDataKeyRequest(key_id=source, number_of_bytes=size))
        return requests

    def _unary(self, operation: str, size: int) -> Calls:
        requests = self._requests(operation, size)
        answers = [self._ask(operation, request) for request in requests]
        if operation == "ReEncrypt":
            self._require_plaintext(answers[0].ciphertext_blob, size)
        lengths = [answer.ByteSize() for answer in answers]
        return Calls(
            method_path(operation),
            tuple(request.SerializeToString() for request in requests),
            int(min(lengths) * _SLACK),
            max(lengths),
        )

    def _batch(self, operation: str, size: int) -> Calls:
        entries = list(itertools.islice(itertools.cycle(self._requests("ReEncrypt", size)), BATCH))
        request = kms_pb2.BatchReEncryptRequest(entries=entries)
        answer = self._ask(operation, request)
        if len(answer.results) != BATCH or not all(result.HasField("response") for result in answer.results):
            raise AssertionError("a batch was not carried out")
        self._require_plaintext(answer.results[-1].response.ciphertext_blob, size)
        length = answer.ByteSize()
        return Calls(method_path(operation), (request.SerializeToString(),), int(length * _SLACK), length, BATCH)

    def _stream(self, operation: str, size: int) -> Calls:
        entries = [kms_pb2.StreamReEncryptEntry(request=request) for request in self._requests("ReEncrypt", size)]
        with channel_to(self._service) as channel:
            call = channel.stream_stream(
                method_path(operation),
                request_serializer=kms_pb2.StreamReEncryptRequest.SerializeToString,
                response_deserializer=kms_pb2.StreamReEncryptResponse.FromString,
            )
            messages = [kms_pb2.StreamReEncryptRequest(entries=entries)]
            results = [result for answer in call(iter(messages), timeout=30) for result in answer.results]
        if len(results) != len(entries) or not all(result.HasField("response") for result in results):
            raise AssertionError("a stream was not carried out")
        self._require_plaintext(results[0].response.ciphertext_blob, size)
        lengths = [result.ByteSize() for result in results]
        return Calls(
            method_path(operation),
            tuple(entry.SerializeToString() for entry in entries),
            int(min(lengths) * _SLACK),
            max(lengths),
            window=WINDOW,
            together=TOGETHER,
        )

    def _ask(self, operation: str, request: Message) -> Any:
        with channel_to(self._service) as channel:
            call = channel.unary_unary(
                method_path(operation),
                request_serializer=type(request).SerializeToString,
                response_deserializer=getattr(kms_pb2, f"{operation}Response").FromString,
            )
            return call(request, timeout=30)

    def _require_plaintext(self, blob: bytes, size: int) -> None:
        if self._keys.client.decrypt(ciphertext_blob=blob).plaintext != bytes(size):
            raise AssertionError("what was re-encrypted does not decrypt to its plaintext")
