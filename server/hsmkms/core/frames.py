"""The frames between the front and a token worker: fixed binary structures, defined here once.

A frame is `u32 length` and that many bytes. Integers are big-endian.

- to the worker: `u64 id, u8 opcode, u16 count`, then `count` expiries, u64 each, then as many commands. An expiry is a time of
  CLOCK_MONOTONIC in nanoseconds, 0 for none; a worker does not start an item whose expiry has passed. Each item has its own, so that
  requests of different callers may share a frame.
- to the front: `u64 id, u8 flags, u16 count`, then for each item `u8 outcome, u32 length`, then the values. The answers come in the
  order of the commands. A frame with the flag `RETIRING` may answer fewer items than were asked: those that are missing were not
  started.

A command is a head of one size for each kind, then its tails. In the head are its fields in their order: numbers as u32, byte strings
of one possible length as they are, a `KeyRef` as `CKA_ID, u8 suite, canary`, a `MacKeyRef` as `CKA_ID, canary`; of each other field its
length as u32. The tails are those other fields, in the same order: byte strings, and a `KeyPairRef` as `CKA_ID, u8 spec, u8 use,
public key`. Every field has a limit, every frame too; whatever does not fit is a `FrameError` on either side.

Both ends are always of one version, and the whole cost of a command that is not the token's passes through here, twice: so heads are
read and written by one `struct` call, and a worker keeps the last 1,024 references it has read, since most name the same few keys.
"""

from __future__ import annotations

import dataclasses
import struct
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
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
from hsmkms.core.members import values_getter

MAX_REQUEST_BYTES: Final = 1 << 20
MAX_RESPONSE_BYTES: Final = 16 << 20
"""The longest answer lists a token's backing keys: room for some 150,000."""
MAX_ITEMS: Final = 16
LENGTH: Final = struct.Struct("!I")

RETIRING: Final = 1
"""Flag of an answer: this worker starts nothing more and ends; the token failed in a way that a new process may not."""

_START: Final = struct.Struct("!QBH")
"""Of a request: id, opcode, count. Of a response: id, flags, count."""
_EXPIRIES: Final = tuple([struct.Struct(f"!{count}Q") for count in range(MAX_ITEMS + 1)])
_RESULTS: Final = tuple([struct.Struct("!" + "BI" * count) for count in range(MAX_ITEMS + 1)])
"""By the number of items."""
_KEY: Final = struct.Struct(f"!{CKA_ID_BYTES}sB{CANARY_BYTES}s")
_PAIR: Final = struct.Struct(f"!{CKA_ID_BYTES}sBB")
_MAC_KEY: Final = struct.Struct(f"!{CKA_ID_BYTES}s{MAC_CANARY_BYTES}s")
_REMEMBERED: Final = 1024
_OUTCOMES: Final = {int(outcome): outcome for outcome in Outcome}


class FrameError(Exception):
    """Bytes that are no frame, or a value that does not fit into one."""


@dataclass(slots=True)
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


@dataclass(slots=True)
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


def _pack_key(key: KeyRef) -> bytes:
    cka_id, canary = key.cka_id, key.canary
    if len(cka_id) != CKA_ID_BYTES or len(canary) != CANARY_BYTES:
        raise FrameError("a key reference of the wrong length")
    return _KEY.pack(cka_id, key.suite, canary)


@lru_cache(_REMEMBERED)
def _key_of(packed: bytes) -> KeyRef:
    cka_id, suite, canary = _KEY.unpack(packed)
    try:
        return KeyRef(cka_id, Suite(suite), canary)
    except ValueError:
        raise FrameError(f"unknown suite {suite}") from None


def _pack_pair(pair: KeyPairRef) -> bytes:
    if len(pair.cka_id) != CKA_ID_BYTES or not 0 < len(pair.public_key) <= MAX_KEY_PROOF_BYTES:
        raise FrameError("a key pair reference of the wrong length")
    return _PAIR.pack(pair.cka_id, pair.spec, pair.use) + pair.public_key


@lru_cache(_REMEMBERED)
def _pair_of(packed: bytes) -> KeyPairRef:
    if len(packed) <= _PAIR.size:
        raise FrameError(f"a key pair reference of {len(packed)} bytes")
    cka_id, spec, use = _PAIR.unpack_from(packed)
    try:
        return KeyPairRef(cka_id, PairSpec(spec), PairUse(use), packed[_PAIR.size :])
    except ValueError:
        raise FrameError(f"unknown kind {spec} or use {use} of a key pair") from None


def _pack_mac_key(key: MacKeyRef) -> bytes:
    if len(key.cka_id) != CKA_ID_BYTES or len(key.canary) != MAC_CANARY_BYTES:
        raise FrameError("a MAC key reference of the wrong length")
    return _MAC_KEY.pack(key.cka_id, key.canary)


@lru_cache(_REMEMBERED)
def _mac_key_of(packed: bytes) -> MacKeyRef:
    return MacKeyRef(*_MAC_KEY.unpack(packed))


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the commands of one kind are written.

    Args:
        kind: Its class.
        fields: Returns its fields in their order.
        head: Its head.
        exact: Fields in the head that have one length: index, name, bytes.
        references: Fields that are references: index, how they are packed, how they are read.
        tails: Fields that are tails: index, name, most bytes.
    """

    kind: Callable[..., Command]
    fields: Callable[[Any], tuple[Any, ...]]
    head: struct.Struct
    exact: tuple[tuple[int, str, int], ...]
    references: tuple[tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]], ...]
    tails: tuple[tuple[int, str, int], ...]

    def pack(self, item: Command, parts: list[bytes]) -> None:
        """Append a command's head and tails to `parts`."""
        values = [*self.fields(item)]
        for index, pack, _ in self.references:
            values[index] = pack(values[index])
        for index, name, length in self.exact:
            if len(values[index]) != length:
                raise FrameError(f"{name} has {len(values[index])} bytes")
        tails = []
        for index, name, most in self.tails:
            tail = values[index]
            if len(tail) > most:
                raise FrameError(f"{name} has {len(tail)} bytes")
            values[index] = len(tail)
            tails.append(tail)
        parts.append(self.head.pack(*values))
        parts += tails

    def take(self, body: bytes, position: int) -> tuple[Command, int]:
        """Return the command at a position, and where it ends."""
        values = [*self.head.unpack_from(body, position)]
        position += self.head.size
        for index, name, most in self.tails:
            length = values[index]
            if length > most:
                raise FrameError(f"{name} has {length} bytes")
            end = position + length
            values[index] = body[position:end]
            position = end
        if position > len(body):
            raise FrameError("a field reaches past the end of its frame")
        for index, _, read in self.references:
            values[index] = read(values[index])
        return self.kind(*values), position


_IN_HEAD: Final[dict[Any, tuple[str, Callable[[Any], bytes], Callable[[bytes], Any]]]] = {
    KeyRef: (f"{_KEY.size}s", _pack_key, _key_of),
    MacKeyRef: (f"{_MAC_KEY.size}s", _pack_mac_key, _mac_key_of),
}


def _layout(kind: type) -> _Layout:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    head = "!"
    exact: list[tuple[int, str, int]] = []
    references: list[tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]]] = []
    tails: list[tuple[int, str, int]] = []
    for index, name in enumerate(names):
        annotation = hints[name]
        if annotation in _IN_HEAD:
            code, pack, read = _IN_HEAD[annotation]
            head += code
            references.append((index, pack, read))
        elif annotation is bytes and name in _EXACT:
            head += f"{_EXACT[name]}s"
            exact.append((index, name, _EXACT[name]))
        else:
            head += "I"
            if annotation is KeyPairRef:
                references.append((index, _pack_pair, _pair_of))
                tails.append((index, name, _PAIR.size + MAX_KEY_PROOF_BYTES))
            elif annotation is bytes:
                tails.append((index, name, _LONGEST[name]))
    return _Layout(kind, values_getter(names), struct.Struct(head), tuple(exact), tuple(references), tuple(tails))


_LAYOUTS: Final[dict[int, _Layout]] = {
    kind.opcode: _layout(kind) for kind in typing.get_args(material_commands.Command)
}


def encode_request(request: Request) -> bytes:
    """Return the frame of a request, length included.

    Raises:
        FrameError: a field, or the whole, is over its limit, or the items are not of one kind.
    """
    items, expiries = request.items, request.expiries_ns
    count = len(items)
    if not 1 <= count <= MAX_ITEMS:
        raise FrameError(f"{count} items in a frame")
    if len(expiries) != count:
        raise FrameError(f"{len(expiries)} expiries of {count} items in a frame")
    opcode = items[0].opcode
    pack = _LAYOUTS[opcode].pack
    try:
        parts = [_START.pack(request.number, opcode, count), _EXPIRIES[count].pack(*expiries)]
        for item in items:
            if item.opcode is not opcode:
                raise FrameError("items of different kinds in a frame")
            pack(item, parts)
    except (struct.error, OverflowError) as error:
        raise FrameError(f"a number does not fit: {error}") from error
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
    try:
        number, opcode, count = _START.unpack_from(body)
        layout = _LAYOUTS.get(opcode)
        if layout is None or not 1 <= count <= MAX_ITEMS:
            raise FrameError(f"{count} items of opcode {opcode}")
        expiries = _EXPIRIES[count].unpack_from(body, _START.size)
        position = _START.size + _EXPIRIES[count].size
        items: list[Command] = []
        for _ in range(count):
            item, position = layout.take(body, position)
            items.append(item)
    except struct.error:
        raise FrameError("a field reaches past the end of its frame") from None
    if position != len(body):
        raise FrameError("bytes after the last field of a frame")
    return Request(number, expiries, tuple(items))


def encode_response(number: int, results: Sequence[Result], *, retiring: bool = False) -> bytes:
    """Return the frame of a response, length included.

    Raises:
        FrameError: it is over its limit.
    """
    count = len(results)
    if count > MAX_ITEMS:
        raise FrameError(f"{count} items in a frame")
    lengths: list[int] = []
    values: list[bytes] = []
    size = _START.size + _RESULTS[count].size
    for result in results:
        value = result.value
        length = len(value)
        lengths += (result.outcome, length)
        values.append(value)
        size += length
    if size > MAX_RESPONSE_BYTES:
        raise FrameError(f"a response of {size} bytes")
    try:
        start = _START.pack(number, RETIRING if retiring else 0, count)
    except (struct.error, OverflowError) as error:
        raise FrameError(f"an id that does not fit: {error}") from error
    return b"".join((LENGTH.pack(size), start, _RESULTS[count].pack(*lengths), *values))


def decode_response(body: bytes) -> Response:
    """Parse a response frame without its length.

    Raises:
        FrameError: it is none.
    """
    if len(body) > MAX_RESPONSE_BYTES:
        raise FrameError(f"a response of {len(body)} bytes")
    try:
        number, flags, count = _START.unpack_from(body)
        if flags not in (0, RETIRING) or count > MAX_ITEMS:
            raise FrameError(f"{count} items, flags {flags}")
        heads = iter(_RESULTS[count].unpack_from(body, _START.size))
    except struct.error:
        raise FrameError("a field reaches past the end of its frame") from None
    position = _START.size + _RESULTS[count].size
    results: list[Result] = []
    for outcome, length in zip(heads, heads, strict=True):
        if outcome not in _OUTCOMES:
            raise FrameError(f"unknown outcome {outcome}")
        end = position + length
        results.append(Result(_OUTCOMES[outcome], body[position:end]))
        position = end
    if position != len(body):
        raise FrameError("the values of a frame are not as long as it says")
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
