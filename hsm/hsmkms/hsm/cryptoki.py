"""A thin binding of the PKCS#11 functions that the token sequences need, on python-pkcs11's session.

python-pkcs11 finds the token and logs in; its handles are valid here because both use one library in one process. Every argument is
a ctypes object that was made beforehand, so that a call costs little more than in C: the session, the mechanisms and templates, and
the `Handle`s that results are written into. The functions come from `C_GetFunctionList`, the only symbol a module must export.

Threads: none. A `Handle` or a `Template` is memory that the next call may overwrite.

Each call is counted and timed. A call that does not return CKR_OK raises `TokenError`; none is ever made twice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, PYFUNCTYPE, c_ubyte, c_ulong, c_void_p
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from hsmkms.core.statistics import BUCKETS, CallStatistics, WorkerStatistics
from hsmkms.hsm.constants import CK_UNAVAILABLE_INFORMATION, CKR, ckr_name
from hsmkms.hsm.errors import TokenError
from hsmkms.hsm.memory import Pointer
from hsmkms.hsm.templates import Template

_LAST: Final = BUCKETS - 1

_FUNCTION_NAMES: Final = (  # noqa: SIM905  # 68 names are easier to compare with the header in lines
    "C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList "
    "C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo "
    "C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize "
    "C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt "
    "C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest C_DigestUpdate "
    "C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover C_VerifyInit C_Verify "
    "C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate C_DecryptDigestUpdate "
    "C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey C_SeedRandom "
    "C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent"
).split()
"""The order of `CK_FUNCTION_LIST` (PKCS#11 2.40, `pkcs11f.h`); it has never changed and never may."""


class _Version(ctypes.Structure):
    _fields_ = (("major", c_ubyte), ("minor", c_ubyte))


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", _Version), *((name, c_void_p) for name in _FUNCTION_NAMES))


class _Mechanism(ctypes.Structure):
    _fields_ = (("mechanism", c_ulong), ("pParameter", c_void_p), ("ulParameterLen", c_ulong))


class _TokenInfo(ctypes.Structure):
    _fields_ = (
        ("label", c_ubyte * 32),
        ("manufacturerID", c_ubyte * 32),
        ("model", c_ubyte * 16),
        ("serialNumber", c_ubyte * 16),
        ("flags", c_ulong),
        ("ulMaxSessionCount", c_ulong),
        ("ulSessionCount", c_ulong),
        ("ulMaxRwSessionCount", c_ulong),
        ("ulRwSessionCount", c_ulong),
        ("ulMaxPinLen", c_ulong),
        ("ulMinPinLen", c_ulong),
        ("ulTotalPublicMemory", c_ulong),
        ("ulFreePublicMemory", c_ulong),
        ("ulTotalPrivateMemory", c_ulong),
        ("ulFreePrivateMemory", c_ulong),
        ("hardwareVersion", _Version),
        ("firmwareVersion", _Version),
        ("utcTime", c_ubyte * 16),
    )


class _SessionInfo(ctypes.Structure):
    _fields_ = (("slotID", c_ulong), ("state", c_ulong), ("flags", c_ulong), ("ulDeviceError", c_ulong))


class _MechanismInfo(ctypes.Structure):
    _fields_ = (("ulMinKeySize", c_ulong), ("ulMaxKeySize", c_ulong), ("flags", c_ulong))


_PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "C_DeriveKey": (c_void_p, c_ulong, c_void_p, c_ulong, c_void_p),
    "C_UnwrapKey": (c_void_p, c_ulong, c_void_p, c_ulong, c_void_p, c_ulong, c_void_p),
    "C_WrapKey": (c_void_p, c_ulong, c_ulong, c_void_p, c_void_p),
    "C_CreateObject": (c_void_p, c_ulong, c_void_p),
    "C_GenerateKey": (c_void_p, c_void_p, c_ulong, c_void_p),
    "C_GenerateKeyPair": (c_void_p, c_void_p, c_ulong, c_void_p, c_ulong, c_void_p, c_void_p),
    "C_DestroyObject": (c_ulong,),
    "C_GetAttributeValue": (c_ulong, c_void_p, c_ulong),
    "C_SetAttributeValue": (c_ulong, c_void_p, c_ulong),
    "C_EncryptInit": (c_void_p, c_ulong),
    "C_Encrypt": (c_void_p, c_ulong, c_void_p, c_void_p),
    "C_DecryptInit": (c_void_p, c_ulong),
    "C_Decrypt": (c_void_p, c_ulong, c_void_p, c_void_p),
    "C_SignInit": (c_void_p, c_ulong),
    "C_Sign": (c_void_p, c_ulong, c_void_p, c_void_p),
    "C_VerifyInit": (c_void_p, c_ulong),
    "C_Verify": (c_void_p, c_ulong, c_void_p, c_ulong),
    "C_GetSessionInfo": (c_void_p,),
    "C_GenerateRandom": (c_void_p, c_ulong),
    "C_FindObjectsInit": (c_void_p, c_ulong),
    "C_FindObjects": (c_void_p, c_ulong, c_void_p),
    "C_FindObjectsFinal": (),
}
"""Arguments after the session."""


class Handle:
    """An object handle that calls write into and read from."""

    __slots__ = ("pointer", "value")

    def __init__(self, number: int = 0) -> None:
        self.value = c_ulong(number)
        self.pointer = Pointer(self.value)


class Buffer:
    """Memory for a call's input or output, with its length.

    Args:
        size: Its room in bytes.
    """

    __slots__ = ("_room", "data", "length", "length_pointer", "pointer")

    def __init__(self, size: int) -> None:
        self.data = ctypes.create_string_buffer(size)
        self.pointer = Pointer(self.data)
        self.length = c_ulong(0)
        self.length_pointer = Pointer(self.length)
        self._room = size

    def put(self, data: bytes) -> None:
        """Hold these bytes."""
        self.data.raw = data  # refuses more than there is room for
        self.length.value = len(data)

    def make_room(self) -> None:
        """Offer the whole of it to a call."""
        self.length.value = self._room

    def get(self) -> bytes:
        """Return what a call wrote."""
        return self.data[: self.length.value]  # type: ignore[return-value]  # a slice of an array of c_char is bytes

    def wipe(self) -> None:
        """Overwrite it with zeros."""
        ctypes.memset(self.data, 0, self._room)
        self.length.value = 0


class Mechanism:
    """A mechanism and its parameter, kept alive together.

    Args:
        number: The mechanism.
        parameter: Its parameter, or None.
        keep: What the parameter points to.
    """

    __slots__ = ("pointer",)

    def __init__(self, number: int, parameter: ctypes.Structure | None = None, *keep: object) -> None:
        structure = _Mechanism(number, None, 0)
        if parameter is not None:
            structure.pParameter = ctypes.addressof(parameter)
            structure.ulParameterLen = ctypes.sizeof(parameter)
        self.pointer = Pointer(structure, parameter, keep)


class Module:
    """A loaded module's functions, before there is a session.

    Args:
        path: The module's path; it must be loaded and initialised already, by python-pkcs11.
    """

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        functions = ctypes.POINTER(_FunctionList)()
        get = CFUNCTYPE(c_ulong, c_void_p)(("C_GetFunctionList", self.library))
        code = get(ctypes.addressof(functions))
        if code:
            raise TokenError("C_GetFunctionList", code)
        self.functions = functions.contents

    def function(self, name: str, *arguments: Any) -> Callable[..., int]:
        """Return a function of the module that takes `arguments` (ctypes types) and returns its CKR."""
        return CFUNCTYPE(c_ulong, *arguments)(self._address(name))

    def bare(self, name: str) -> Callable[..., int]:
        """Return a function of the module that takes ctypes objects of the right types, and nothing else, and returns its CKR.

        It converts and checks no argument, and keeps the interpreter's lock: for a process of one thread.
        """
        return PYFUNCTYPE(c_ulong)(self._address(name))

    def _address(self, name: str) -> int:
        address: int | None = getattr(self.functions, name)
        if not address:
            raise TokenError(name, CKR.FUNCTION_NOT_SUPPORTED)
        return address

    def max_sessions(self, slot: int) -> int | None:
        """Return how many sessions the slot's token allows, or None where it states no limit."""
        info = _TokenInfo()
        code = self.function("C_GetTokenInfo", c_ulong, c_void_p)(slot, ctypes.addressof(info))
        if code:
            raise TokenError("C_GetTokenInfo", code)
        limit = int(info.ulMaxSessionCount)
        return None if limit in (0, CK_UNAVAILABLE_INFORMATION) else limit

    def key_sizes(self, slot: int, mechanism: int) -> tuple[int, int]:
        """Return the smallest and the largest key, in bits, that a slot's token takes for a mechanism of RSA."""
        info = _MechanismInfo()
        code = self.function("C_GetMechanismInfo", c_ulong, c_ulong, c_void_p)(slot, mechanism, ctypes.addressof(info))
        if code:
            raise TokenError("C_GetMechanismInfo", code)
        return int(info.ulMinKeySize), int(info.ulMaxKeySize)

    def init_token(self, slot: int, so_pin: bytes, label: bytes) -> None:
        """Initialise the token in a slot, which destroys whatever is on it. The label is at most 32 bytes."""
        init = self.function("C_InitToken", c_ulong, ctypes.c_char_p, c_ulong, ctypes.c_char_p)
        code = init(slot, so_pin, len(so_pin), label.ljust(32))
        if code:
            raise TokenError("C_InitToken", code)


class Cryptoki:
    """The calls of one session.

    The attributes named after PKCS#11 functions take that function's arguments after the session, as ctypes objects.

    Args:
        module: The module.
        session: The session's handle.
        statistics: Where calls are counted.
    """

    def __init__(self, module: Module, session: int, statistics: WorkerStatistics) -> None:
        self.module = module
        self.session = c_ulong(session)
        self.statistics = statistics
        self.derive_key = self._bind("C_DeriveKey")
        self.unwrap_key = self._bind("C_UnwrapKey")
        self.wrap_key = self._bind("C_WrapKey")
        self.create_object = self._bind("C_CreateObject")
        self.generate_key = self._bind("C_GenerateKey")
        self.generate_key_pair = self._bind("C_GenerateKeyPair")
        self.destroy_object = self._bind("C_DestroyObject")
        self.get_attribute_value = self._bind("C_GetAttributeValue")
        self.set_attribute_value = self._bind("C_SetAttributeValue")
        self.encrypt_init = self._bind("C_EncryptInit")
        self.encrypt = self._bind("C_Encrypt")
        self.decrypt_init = self._bind("C_DecryptInit")
        self.decrypt = self._bind("C_Decrypt")
        self.sign_init = self._bind("C_SignInit")
        self.sign = self._bind("C_Sign")
        self.verify_init = self._bind("C_VerifyInit")
        self.verify = self._bind("C_Verify")
        self.get_session_info = self._bind("C_GetSessionInfo")
        self.generate_random = self._bind("C_GenerateRandom")
        self._find_init = self._bind("C_FindObjectsInit")
        self._find = self._bind("C_FindObjects")
        self._find_final = self._bind("C_FindObjectsFinal")

    def _bind(self, name: str) -> Callable[..., None]:
        function = self.module.function(name, c_ulong, *_PROTOTYPES[name])
        counters = self.statistics.calls.setdefault(name, CallStatistics())
        buckets = counters.buckets
        session = self.session

        def call(*arguments: Any) -> None:
            # What CallStatistics.observe does, in place: most commands make some ten calls.
            start = perf_counter_ns()
            code = function(session, *arguments)
            elapsed = perf_counter_ns() - start
            counters.nanoseconds += elapsed
            bucket = (elapsed // 1000).bit_length()
            buckets[bucket if bucket < _LAST else _LAST] += 1  # noqa: FURB136  # min() costs a call
            if code:
                self.fail(name, code)

        return call

    def bare(self, name: str) -> Callable[..., int]:
        """Return a function that takes the session, too, and returns its CKR: see `Module.bare`. Its calls are not counted."""
        return self.module.bare(name)

    def fail(self, name: str, code: int) -> NoReturn:
        """Count a failed call among its function's errors.

        Raises:
            TokenError: always.
        """
        errors, text = self.statistics.calls[name].errors, ckr_name(code)
        errors[text] = errors.get(text, 0) + 1
        raise TokenError(name, code)

    def read(self, handle: c_ulong, template: Template) -> None:
        """Read attributes into `template`; what the object does not show is None there (`Template.get`).

        Raises:
            TokenError: the object cannot be read at all.
        """
        template.make_room()
        try:
            self.get_attribute_value(handle, template.pointer, template.count)
        except TokenError as error:
            if error.ckr not in (CKR.ATTRIBUTE_TYPE_INVALID, CKR.ATTRIBUTE_SENSITIVE):
                raise

    def find(self, template: Template, most: int = 1 << 20) -> list[int]:
        """Return the handles of all objects that match, at most `most`; the search is ended whatever happens."""
        found: list[int] = []
        batch = (c_ulong * 256)()
        count = Handle()
        self._find_init(template.pointer, template.count)
        try:
            while len(found) < most:
                self._find(Pointer(batch), c_ulong(len(batch)), count.pointer)
                if not count.value.value:
                    break
                found += batch[: count.value.value]
        finally:
            self._find_final()
        return found

    def key_sizes(self, mechanism: int) -> tuple[int, int]:
        """Return the smallest and the largest key, in bits, that this session's token takes for a mechanism of RSA."""
        info = _SessionInfo()
        self.get_session_info(Pointer(info))
        return self.module.key_sizes(int(info.slotID), mechanism)

    def random(self, length: int) -> bytes:
        """Return `length` bytes from the token's generator."""
        data = ctypes.create_string_buffer(length)
        self.generate_random(Pointer(data), c_ulong(length))
        value = data.raw
        ctypes.memset(data, 0, length)
        return value

    def scratch(self) -> Scratch:
        """Return a context manager that destroys the objects added to it when its block ends."""
        return Scratch(self)


class Scratch:
    """Session objects that live as long as a `with` block; for whatever is not hot."""

    def __init__(self, cryptoki: Cryptoki) -> None:
        self._cryptoki = cryptoki
        self._handles: list[int] = []

    def __enter__(self) -> Self:
        return self

    def add(self, handle: Handle) -> c_ulong:
        """Destroy this object at the end; return its handle. To be called once the object is there."""
        self._handles.append(handle.value.value)
        return c_ulong(handle.value.value)

    def own(self, handle: c_ulong) -> c_ulong:
        """Destroy this object at the end; return its handle."""
        self._handles.append(handle.value)
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failed: TokenError | None = None
        for number in reversed(self._handles):
            try:
                self._cryptoki.destroy_object(c_ulong(number))
            except TokenError as caught:
                failed = failed or caught
        if failed is not None and error is None:
            raise failed
