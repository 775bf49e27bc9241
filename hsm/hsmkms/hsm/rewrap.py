"""The seven calls of ReEncrypt as one function: derive, unwrap, derive, wrap, destroy three.

Nearly all that a token worker does is this, and Python's part of it is what the service costs beside the token. So the calls are made
without what `Cryptoki` puts around each: no argument is converted, since every one is a ctypes object made beforehand; the
interpreter's lock is kept, since a worker has one thread; and their times are noted together (`core.statistics.SequenceStatistics`).

Whatever was made is destroyed before the function ends, however it ends. Where a call fails, the others are made and counted by
`Cryptoki`: that way is slow and rare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import c_ulong, c_void_p
from time import perf_counter_ns
from typing import Final, Protocol

from hsmkms.core.ciphertext import MAX_BLOB_BYTES, MAX_WRAPPED_BYTES, Suite
from hsmkms.core.statistics import SequenceStatistics
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Handle, Mechanism
from hsmkms.hsm.derivations import Derivation
from hsmkms.hsm.errors import TokenError
from hsmkms.hsm.templates import Template

ROOM: Final = MAX_WRAPPED_BYTES + 8
"""For a wrapped key; SoftHSM asks for no more than it writes, and 8 bytes are to spare."""
_CALLS: Final = (
    "C_DeriveKey",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_WrapKey",
    "C_DestroyObject",
    "C_DestroyObject",
    "C_DestroyObject",
)


class Rewrapping(Protocol):
    """The function that `bind_rewrap` returns."""

    def __call__(
        self,
        source: c_ulong,
        source_suite: Suite,
        source_digest: bytes,
        wrapped: bytes,
        target: c_ulong,
        target_suite: Suite,
        target_digest: bytes,
        /,
    ) -> bytes:
        """Unwrap under one backing key and wrap under another.

        Args:
            source: Handle of the source backing key.
            source_suite: Its suite.
            source_digest: 32 bytes.
            wrapped: The wrapped key, at most 264 bytes.
            target: Handle of the destination backing key.
            target_suite: Its suite.
            target_digest: 32 bytes.

        Returns:
            The new wrapped key, as long as the old one.

        Raises:
            TokenError: a call failed; `C_UnwrapKey` also where the ciphertext is wrong.
        """


def bind_rewrap(
    calls: Cryptoki,
    derivations: Mapping[Suite, Derivation],
    mechanism: Mechanism,
    unwraps: Template,
    wraps: Template,
    payload: Template,
) -> Rewrapping:
    """Return the function for one session.

    Args:
        calls: The session's calls.
        derivations: The suites' derivations.
        mechanism: The key wrap.
        unwraps: Of a wrapping key that unwraps.
        wraps: Of a wrapping key that wraps.
        payload: Of what is unwrapped.
    """
    session = calls.session
    derive, unwrap = calls.bare("C_DeriveKey"), calls.bare("C_UnwrapKey")
    wrap, destroy = calls.bare("C_WrapKey"), calls.bare("C_DestroyObject")
    statistics = SequenceStatistics(calls.statistics, _CALLS)
    fail, note, clock = calls.fail, statistics.note, perf_counter_ns

    derivation_of = {suite: derivation.of for suite, derivation in derivations.items()}
    key_wrap = mechanism.pointer
    unwraps_pointer, unwraps_count = unwraps.pointer, unwraps.count
    wraps_pointer, wraps_count = wraps.pointer, wraps.count
    payload_pointer, payload_count = payload.pointer, payload.count
    source_key, opened, target_key = Handle(), Handle(), Handle()
    source_value, source_pointer = source_key.value, source_key.pointer
    opened_value, opened_pointer = opened.value, opened.pointer
    target_value, target_pointer = target_key.value, target_key.pointer
    made = (source_value, opened_value, target_value)
    old, new = Buffer(MAX_BLOB_BYTES), Buffer(ROOM)
    old_data, old_pointer, old_length = old.data, old.pointer, old.length
    new_data, new_pointer, new_length, new_length_pointer = new.data, new.pointer, new.length, new.length_pointer

    def rewrap(
        source: c_ulong,
        source_suite: Suite,
        source_digest: bytes,
        wrapped: bytes,
        target: c_ulong,
        target_suite: Suite,
        target_digest: bytes,
        /,
    ) -> bytes:
        left = 0  # how many of `made` are there
        times = [clock()]
        ended = times.append
        try:
            derivation: c_void_p = derivation_of[source_suite](source_digest)
            code = derive(session, derivation, source, unwraps_pointer, unwraps_count, source_pointer)
            ended(clock())
            if code:
                fail("C_DeriveKey", code)
            left = 1
            old_data.raw = wrapped  # refuses more than there is room for
            old_length.value = len(wrapped)
            code = unwrap(
                session,
                key_wrap,
                source_value,
                old_pointer,
                old_length,
                payload_pointer,
                payload_count,
                opened_pointer,
            )
            ended(clock())
            if code:
                fail("C_UnwrapKey", code)
            left = 2
            derivation = derivation_of[target_suite](target_digest)
            code = derive(session, derivation, target, wraps_pointer, wraps_count, target_pointer)
            ended(clock())
            if code:
                fail("C_DeriveKey", code)
            left = 3
            new_length.value = ROOM
            code = wrap(session, key_wrap, target_value, opened_value, new_pointer, new_length_pointer)
            ended(clock())
            if code:
                fail("C_WrapKey", code)
            left = 2
            code = destroy(session, target_value)
            ended(clock())
            if code:
                fail("C_DestroyObject", code)
            left = 1
            code = destroy(session, opened_value)
            ended(clock())
            if code:
                fail("C_DestroyObject", code)
            left = 0
            code = destroy(session, source_value)
            ended(clock())
            if code:
                fail("C_DestroyObject", code)
        except BaseException:
            statistics.count(times)
            _destroy(calls, made[:left])
            raise
        note(times)
        return new_data[: new_length.value]  # type: ignore[return-value]  # a slice of an array of c_char is bytes

    return rewrap


def _destroy(calls: Cryptoki, handles: Sequence[c_ulong]) -> None:
    """Destroy the objects, the newest first; whichever cannot be destroyed, the others are. Raises what failed last."""
    failed: TokenError | None = None
    for handle in reversed(handles):
        try:
            calls.destroy_object(handle)
        except TokenError as error:
            failed = error
    if failed is not None:
        raise failed
