"""What probes are made of: questions that a token may refuse, and session objects to ask them with."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_ulong
from dataclasses import replace
from typing import Any, Final

from hsmkms.core.commands import Outcome
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA, CKM
from hsmkms.hsm.cryptoki import Buffer, Cryptoki, Handle, Mechanism, Scratch
from hsmkms.hsm.errors import TokenError, outcome_of
from hsmkms.hsm.templates import Attributes, Room, Template, render

SESSION: Final[Attributes] = ((CKA.TOKEN, False),)
_GONE: Final = frozenset({Outcome.UNAVAILABLE, Outcome.BUSY})


class Probing:
    """One probe.

    Args:
        cryptoki: The session's calls.
        found: What is known already.
    """

    def __init__(self, cryptoki: Cryptoki, found: Capabilities) -> None:
        self._calls = cryptoki
        self._found = found
        self._buffer = Buffer(1024)

    def _set(self, **findings: Any) -> None:
        self._found = replace(self._found, **findings)

    @staticmethod
    def _attempt(question: Callable[[], bool]) -> bool:
        try:
            return question()
        except TokenError as error:
            if outcome_of(error) in _GONE:
                raise
            return False

    # Making keys: of a chosen value where the token allows it, else of one that nobody knows.

    def _generate(self, made: Scratch, template: Template, mechanism: CKM = CKM.AES_KEY_GEN) -> c_ulong:
        handle = Handle()
        self._calls.generate_key(Mechanism(mechanism).pointer, template.pointer, template.count, handle.pointer)
        return made.add(handle)

    def _create(self, made: Scratch, attributes: Attributes, value: bytes, *, drop: tuple[CKA, ...] = ()) -> c_ulong:
        handle = Handle()
        extra = (*SESSION, (CKA.VALUE, value))
        template = render(attributes, self._found, extra=extra, without=(CKA.VALUE_LEN, *drop))
        self._calls.create_object(template.pointer, template.count, handle.pointer)
        return made.add(handle)

    def _key(self, made: Scratch, attributes: Attributes, value: bytes, *, drop: tuple[CKA, ...] = ()) -> c_ulong:
        if self._found.created_objects:
            return self._create(made, attributes, value, drop=drop)
        return self._generate(made, render(attributes, self._found, extra=SESSION, without=drop))

    def _wrapped(self, mechanism: Mechanism, key: c_ulong, target: c_ulong) -> bytes:
        # One call into a large buffer: some libraries answer a length query with too little.
        self._buffer.make_room()
        self._calls.wrap_key(mechanism.pointer, key, target, self._buffer.pointer, self._buffer.length_pointer)
        return self._buffer.get()

    def _unwrapped(
        self, made: Scratch, mechanism: Mechanism, key: c_ulong, wrapped: bytes, attributes: Attributes
    ) -> c_ulong:
        handle = Handle()
        template = render(attributes, self._found)
        self._buffer.put(wrapped)
        self._calls.unwrap_key(
            mechanism.pointer,
            key,
            self._buffer.pointer,
            self._buffer.length,
            template.pointer,
            template.count,
            handle.pointer,
        )
        return made.add(handle)

    def _value(self, handle: c_ulong, kind: CKA = CKA.VALUE) -> bytes | None:
        look = Template(((kind, Room(512)),))
        self._calls.read(handle, look)
        return look.get(kind)

    def _created(self, template: Template) -> c_ulong:
        handle = Handle()
        self._calls.create_object(template.pointer, template.count, handle.pointer)
        return handle.value
