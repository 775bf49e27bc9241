"""The frames between the front and a token worker: fixed binary structures, defined here once.

A frame is `u32 length` and that many bytes. Integers are big-endian.

- to the worker: `u64 id, u8 opcode, u16 count`, then `count` items, each `u64 expiry` and its command. The expiry is a time of
  CLOCK_MONOTONIC in nanoseconds, 0 for none; a worker does not start an item whose expiry has passed. Each item has its own, so that
  requests of different callers may share a frame.
- to the front: `u64 id, u8 flags, u16 count`, then for each item `u8 outcome, u32 length, value`. The answers come in the order of
  the commands. A frame with the flag `RETIRING` may answer fewer items than were asked: those that are missing were not started.

A command is its fields in their order: numbers as u32, byte strings as `u32 length, bytes`, a `KeyRef` as its 61 bytes,
a `KeyPairRef` as `CKA_ID, u8 spec, u8 use, u32 length, public key`, a `MacKeyRef` as `CKA_ID, canary`.
Every field has a limit, every frame too; whatever does not fit is a `FrameError` on either side.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hsmkms.core import material_commands
from hsmkms.core.ciphertext import (
    CANARY_BYTES,
    CKA_ID_BYTES,
    DIGEST_BYTES,
    HEADER_BYTES,
    MAC_CANARY_BYTES,
    MAX_BLOB_BYTES,
    MAX_KEY_PROOF_BYTES,
    MAX_MODULUS_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_PUBLIC_KEY_BYTES,
    MAX_WRAPPED_BYTES,
    NONCE_BYTES,
    SALT_BYTES,
    TAG_BYTES,
    Suite,
)
from hsmkms.core.commands import KeyRef, Opcode, Outcome, Result
from hsmkms.core.context import MAX_CONTEXT_BYTES
from hsmkms.core.material_commands import Command, KeyPairRef, MacKeyRef, PairSpec, PairUse

MAX_REQUEST_BYTES: Final = 1 << 20
MAX_RESPONSE_BYTES: Final = 16 << 20
"""The longest answer lists a token's backing keys: room for some 150,000."""
MAX_ITEMS: Final = 16
LENGTH: Final = struct.Struct("!I")

RETIRING: Final = 1
"""Flag of an answer: this worker starts nothing more and ends; the token failed in a way that a new process may not."""

_REQUEST: Final = struct.Struct("!QBH")
_EXPIRY: Final = struct.Struct("!Q")
_RESPONSE: Final = struct.Struct("!QBH")
_ITEM: Final = struct.Struct("!BI")
_KEY: Final = struct.Struct(f"!{CKA_ID_BYTES}sB{CANARY_BYTES}s")
_PAIR: Final = struct.Struct(f"!{CKA_ID_BYTES}sBB")
_MAC_KEY: Final = struct.Struct(f"!{CKA_ID_BYTES}s{MAC_CANARY_BYTES}s")


class FrameError(Exception):
    """Bytes that are no frame, or a value that does not fit into one."""


@dataclass(frozen=True, slots=True)
class Request:
    """A frame to a worker.

    Args:
        number: Its id, unique while the worker lives.
        expiries_ns: For each item CLOCK_MONOTONIC in nanoseconds, 0 for none.
        items: 1 to `MAX_ITEMS` commands of one kind.
    """

    number: int
    expiries_ns: tuple[int, ...]
    items: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """A frame to the front.

    Args:
        number: The id of the request that it answers.
        retiring: Whether the worker ends after it.
        results: One result for each item, in order; where the worker ends, for those that it started.
    """

    number: int
    retiring: bool
    results: tuple[Result, ...]


_EXACT: Final = {
    "cka_id": CKA_ID_BYTES,
    "source_digest": DIGEST_BYTES,
    "destination_digest": DIGEST_BYTES,
    "digest": DIGEST_BYTES,
    "header": HEADER_BYTES,
    "salt": SALT_BYTES,
}
_LONGEST: Final = {
    "wrapped": MAX_WRAPPED_BYTES,
    "context": MAX_CONTEXT_BYTES,
    "plaintext": MAX_PLAINTEXT_BYTES,
    "sealed": NONCE_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES,
    "cka_ids": 16384 * CKA_ID_BYTES,
    "label": 64,
    "settings": 65536,
    "oaep": MAX_MODULUS_BYTES,
    "message": MAX_PLAINTEXT_BYTES,
    "signature": MAX_BLOB_BYTES,
    "mac": MAX_BLOB_BYTES,
    "material": MAX_BLOB_BYTES,
    "public_key": MAX_PUBLIC_KEY_BYTES,
    "expected": MAX_KEY_PROOF_BYTES,
}
"""Longest fields in bytes, by name."""


class _Reader:
    """A cursor over a frame that never reads past its end."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self.data):
            raise FrameError("a field reaches past the end of its frame")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def finish(self) -> None:
        if self.position != len(self.data):
            raise FrameError("bytes after the last field of a frame")


def _pack_bytes(name: str) -> Callable[[bytes], bytes]:
    exact, longest = _EXACT.get(name), _LONGEST.get(name, 0)

    def pack(value: bytes) -> bytes:
        if (len(value) != exact) if exact is not None else (len(value) > longest):
            raise FrameError(f"{name} has {len(value)} bytes")
        return LENGTH.pack(len(value)) + value

    return pack


def _take_bytes(name: str) -> Callable[[_Reader], bytes]:
    exact, longest = _EXACT.get(name), _LONGEST.get(name, 0)

    def take(reader: _Reader) -> bytes:
        length = reader.number()
        if (length != exact) if exact is not None else (length > longest):
            raise FrameError(f"{name} has {length} bytes")
        return reader.take(length)

    return take


def _pack_key(key: KeyRef) -> bytes:
    if len(key.cka_id) != CKA_ID_BYTES or len(key.canary) != CANARY_BYTES:
        raise FrameError("a key reference of the wrong length")
    return _KEY.pack(key.cka_id, key.suite, key.canary)


def _take_key(reader: _Reader) -> KeyRef:
    identifier, suite, canary = _KEY.unpack(reader.take(_KEY.size))
    try:
        return KeyRef(identifier, Suite(suite), canary)
    except ValueError:
        raise FrameError(f"unknown suite {suite}") from None


def _pack_pair(pair: KeyPairRef) -> bytes:
    if len(pair.cka_id) != CKA_ID_BYTES or not 0 < len(pair.public_key) <= MAX_KEY_PROOF_BYTES:
        raise FrameError("a key pair reference of the wrong length")
    return _PAIR.pack(pair.cka_id, pair.spec, pair.use) + LENGTH.pack(len(pair.public_key)) + pair.public_key


def _take_pair(reader: _Reader) -> KeyPairRef:
    identifier, spec, use = _PAIR.unpack(reader.take(_PAIR.size))
    length = reader.number()
    if not 0 < length <= MAX_KEY_PROOF_BYTES:
        raise FrameError(f"a public key of {length} bytes")
    try:
        return KeyPairRef(identifier, PairSpec(spec), PairUse(use), reader.take(length))
    except ValueError:
        raise FrameError(f"unknown kind {spec} or use {use} of a key pair") from None


def _pack_mac_key(key: MacKeyRef) -> bytes:
    if len(key.cka_id) != CKA_ID_BYTES or len(key.canary) != MAC_CANARY_BYTES:
        raise FrameError("a MAC key reference of the wrong length")
    return _MAC_KEY.pack(key.cka_id, key.canary)


def _take_mac_key(reader: _Reader) -> MacKeyRef:
    return MacKeyRef(*_MAC_KEY.unpack(reader.take(_MAC_KEY.size)))


def _pack_number(value: int) -> bytes:
    if not 0 <= value < 1 << 32:
        raise FrameError(f"{value} does not fit into 32 bits")
    return LENGTH.pack(value)


def _require_64_bits(*values: int) -> None:
    for value in values:
        if not 0 <= value < 1 << 64:
            raise FrameError(f"{value} does not fit into 64 bits")


@dataclass(frozen=True, slots=True)
class _Layout:
    kind: Callable[..., Command]
    packers: tuple[tuple[str, Callable[[Any], bytes]], ...]
    takers: tuple[Callable[[_Reader], Any], ...]

    def pack(self, item: Command) -> bytes:
        return b"".join([pack(getattr(item, name)) for name, pack in self.packers])

    def take(self, reader: _Reader) -> Command:
        return self.kind(*[take(reader) for take in self.takers])


_REFERENCES: Final[dict[Any, tuple[Callable[[Any], bytes], Callable[[_Reader], Any]]]] = {
    KeyRef: (_pack_key, _take_key),
    KeyPairRef: (_pack_pair, _take_pair),
    MacKeyRef: (_pack_mac_key, _take_mac_key),
}


def _layout(kind: type) -> _Layout:
    hints = typing.get_type_hints(kind)
    packers: list[tuple[str, Callable[[Any], bytes]]] = []
    takers: list[Callable[[_Reader], Any]] = []
    for field in dataclasses.fields(kind):
        annotation = hints[field.name]
        if annotation in _REFERENCES:
            pack, take = _REFERENCES[annotation]
            packers.append((field.name, pack))
            takers.append(take)
        elif annotation is bytes:
            packers.append((field.name, _pack_bytes(field.name)))
            takers.append(_take_bytes(field.name))
        else:
            packers.append((field.name, _pack_number))
            takers.append(_Reader.number)
    return _Layout(kind, tuple(packers), tuple(takers))


_LAYOUTS: Final[dict[int, _Layout]] = {
    kind.opcode: _layout(kind) for kind in typing.get_args(material_commands.Command)
}


def encode_request(request: Request) -> bytes:
    """Return the frame of a request, length included.

    Raises:
        FrameError: a field, or the whole, is over its limit, or the items are not of one kind.
    """
    items = request.items
    if not 1 <= len(items) <= MAX_ITEMS:
        raise FrameError(f"{len(items)} items in a frame")
    opcode = items[0].opcode
    if any(item.opcode is not opcode for item in items):
        raise FrameError("items of different kinds in a frame")
    if len(request.expiries_ns) != len(items):
        raise FrameError(f"{len(request.expiries_ns)} expiries of {len(items)} items in a frame")
    pack = _LAYOUTS[opcode].pack
    _require_64_bits(request.number, *request.expiries_ns)
    parts = [_REQUEST.pack(request.number, opcode, len(items))]
    for expiry_ns, item in zip(request.expiries_ns, items, strict=True):
        parts += (_EXPIRY.pack(expiry_ns), pack(item))
    body = b"".join(parts)
    if len(body) > MAX_REQUEST_BYTES:
        raise FrameError(f"a request of {len(body)} bytes")
    return LENGTH.pack(len(body)) + body


def decode_request(body: bytes) -> Request:
    """Parse a request frame without its length.

    Raises:
        FrameError: it is none.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise FrameError(f"a request of {len(body)} bytes")
    reader = _Reader(body)
    number, opcode, count = _REQUEST.unpack(reader.take(_REQUEST.size))
    layout = _LAYOUTS.get(opcode)
    if layout is None or not 1 <= count <= MAX_ITEMS:
        raise FrameError(f"{count} items of opcode {opcode}")
    expiries: list[int] = []
    items: list[Command] = []
    for _ in range(count):
        expiries += _EXPIRY.unpack(reader.take(_EXPIRY.size))
        items.append(layout.take(reader))
    reader.finish()
    return Request(number, tuple(expiries), tuple(items))


def encode_response(number: int, results: Sequence[Result], *, retiring: bool = False) -> bytes:
    """Return the frame of a response, length included.

    Raises:
        FrameError: it is over its limit.
    """
    _require_64_bits(number)
    if len(results) > MAX_ITEMS:
        raise FrameError(f"{len(results)} items in a frame")
    parts = [_RESPONSE.pack(number, RETIRING if retiring else 0, len(results))]
    for result in results:
        parts += (_ITEM.pack(result.outcome, len(result.value)), result.value)
    body = b"".join(parts)
    if len(body) > MAX_RESPONSE_BYTES:
        raise FrameError(f"a response of {len(body)} bytes")
    return LENGTH.pack(len(body)) + body


def decode_response(body: bytes) -> Response:
    """Parse a response frame without its length.

    Raises:
        FrameError: it is none.
    """
    if len(body) > MAX_RESPONSE_BYTES:
        raise FrameError(f"a response of {len(body)} bytes")
    reader = _Reader(body)
    number, flags, count = _RESPONSE.unpack(reader.take(_RESPONSE.size))
    if flags not in (0, RETIRING) or count > MAX_ITEMS:
        raise FrameError(f"{count} items, flags {flags}")
    results = []
    for _ in range(count):
        outcome, length = _ITEM.unpack(reader.take(_ITEM.size))
        try:
            results.append(Result(Outcome(outcome), reader.take(length)))
        except ValueError:
            raise FrameError(f"unknown outcome {outcome}") from None
    reader.finish()
    return Response(number, flags == RETIRING, tuple(results))


def frame_length(prefix: bytes, limit: int) -> int:
    """Return how many bytes follow the four of `prefix`.

    Raises:
        FrameError: more than `limit`, or `prefix` is not four bytes.
    """
    if len(prefix) != LENGTH.size:
        raise FrameError("a frame without a length")
    (length,) = LENGTH.unpack(prefix)
    if length > limit:
        raise FrameError(f"a frame of {length} bytes, over the limit of {limit}")
    return int(length)


__all__ = [
    "MAX_ITEMS",
    "MAX_REQUEST_BYTES",
    "MAX_RESPONSE_BYTES",
    "FrameError",
    "Opcode",
    "Request",
    "Response",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "frame_length",
]
