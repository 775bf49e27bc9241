"""The token worker: `python -m hsmkms.hsm.worker --fd N`. Frames in, token calls, frames out.

One process, one thread, one session on one token. The front spawns it with one end of a socket pair and nothing else. The first
frame must be `Start`; its answer is a `TokenDescription`, or an outcome and one line of detail, after which the process ends. Then
frames are answered strictly in order, and an item whose expiry has passed is not started.

It ends, and never recovers in place: at end of file, at a frame that is none, when its parent dies, and after any failure that is
not about the data of one item (the answer says so by `retiring`). It ends by `os._exit`: the kernel closes the connection to the
token, while C_Finalize and an interpreter's orderly end could hang or crash in a module that has just failed, and there is nothing
to save.

Nothing secret is ever logged: log lines are single JSON objects on standard error, with names, CKA_IDs and return values.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final, NoReturn

from hsmkms.core import commands, material_commands
from hsmkms.core.ciphertext import CKA_ID_BYTES, Suite
from hsmkms.core.commands import Opcode, Outcome, Result
from hsmkms.core.frames import (
    LENGTH,
    MAX_REQUEST_BYTES,
    FrameError,
    Request,
    decode_request,
    encode_response,
    frame_length,
)
from hsmkms.core.material_commands import PairSpec, PairUse
from hsmkms.core.startup import WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm.agreement import Agreements
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.errors import ItemError, StartError, TokenError, outcome_of, retires
from hsmkms.hsm.imports import ImportSequences
from hsmkms.hsm.key_pairs import KeyPairs
from hsmkms.hsm.locks import start_lock
from hsmkms.hsm.mac_keys import MacKeys
from hsmkms.hsm.macs import MacSequences
from hsmkms.hsm.module import describe, open_token
from hsmkms.hsm.pair_sequences import PairSequences
from hsmkms.hsm.rsa import RsaSequences
from hsmkms.hsm.sequences import Sequences
from hsmkms.hsm.signing import SigningSequences
from hsmkms.hsm.wrapping import Wrapping

EXIT_DONE: Final = 0
EXIT_START_FAILED: Final = 2
EXIT_BAD_FRAME: Final = 3
EXIT_RETIRED: Final = 4
EXIT_ORPHANED: Final = 5

_RECEIVE_BYTES: Final = 1 << 16
_OK: Final = Outcome.OK
_EXPIRED: Final = Outcome.EXPIRED
"""By themselves: finding a member in its enum takes as long as a call does."""
_LONGEST_ORPHANED_S: Final = 60
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_MAKES_OBJECTS: Final = ("C_DeriveKey", "C_UnwrapKey", "C_CreateObject", "C_GenerateKey", "C_GenerateKeyPair")
_LOG_LEVELS: Final = {
    "backing_key_damaged": "error",
    "start_failed": "error",
    "retiring": "error",
    "bad_frame": "error",
}


def log(event: str, **known: Any) -> None:
    """Write one line to standard error."""
    line = {
        "event": event,
        "level": _LOG_LEVELS.get(event, "info"),
        "time": round(time.time(), 6),
        "pid": os.getpid(),
        **known,
    }
    with_newline = json.dumps(line, default=str) + "\n"
    with contextlib.suppress(OSError):  # nobody reads the log any more; the socket's end of file ends the process
        os.write(sys.stderr.fileno(), with_newline.encode())


class Worker:
    """Answers frames.

    Args:
        connection: The blocking socket to the front.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._statistics = WorkerStatistics()
        self._handlers: dict[Opcode, Callable[[Any], bytes]] = {}

    def run(self) -> int:
        """Serve until the end; return the exit code."""
        try:
            return self._serve()
        except FrameError as error:
            log("bad_frame", why=str(error))
            return EXIT_BAD_FRAME
        except (BrokenPipeError, ConnectionResetError):
            return EXIT_DONE  # the front has closed the socket: it does not wait for this answer any more
        except OSError as error:
            log("connection_lost", why=type(error).__name__)
            return EXIT_DONE

    def _serve(self) -> int:
        request = self._read()
        if request is None:
            return EXIT_DONE
        (first,) = request.items[:1]
        if not isinstance(first, commands.Start) or len(request.items) != 1:
            raise FrameError("the first frame is not Start")
        try:
            description = self._start(first)
        except StartError as error:
            log("start_failed", outcome=error.outcome.name, why=error.detail)
            self._answer(request, [Result(error.outcome, error.detail.encode())], retiring=True)
            return EXIT_START_FAILED
        except FrameError:
            raise
        except Exception as error:  # noqa: BLE001  # the front must hear of it, whatever it is
            log("start_failed", outcome=Outcome.FAILED.name, why=type(error).__name__)
            self._answer(request, [Result(Outcome.FAILED, type(error).__name__.encode())], retiring=True)
            return EXIT_START_FAILED
        self._answer(request, [Result(Outcome.OK, description)], retiring=False)
        while (request := self._read()) is not None:
            results, retiring = self._run_items(request)
            self._answer(request, results, retiring=retiring)
            if retiring:
                return EXIT_RETIRED
        return EXIT_DONE

    def _read(self) -> Request | None:
        if not self._receive(LENGTH.size):
            if self._received:
                raise FrameError("a frame that ends in its middle")
            return None
        end = LENGTH.size + frame_length(self._received[: LENGTH.size], MAX_REQUEST_BYTES)
        if not self._receive(end):
            raise FrameError("a frame that ends in its middle")
        body, self._received = self._received[LENGTH.size : end], self._received[end:]
        try:
            return decode_request(body)
        except FrameError:
            raise
        except Exception as error:  # a parser's bug on hostile bytes must not look like a crash
            raise FrameError(type(error).__name__) from error

    def _receive(self, length: int) -> bool:
        """Wait until so many bytes have come, and say whether they have: not if the front has closed the socket."""
        while len(self._received) < length:
            piece = self._connection.recv(_RECEIVE_BYTES)
            if not piece:
                return False
            self._received += piece
        return True

    def _answer(self, request: Request, results: list[Result], *, retiring: bool) -> None:
        self._connection.sendall(encode_response(request.number, results, retiring=retiring))

    def _run_items(self, request: Request) -> tuple[list[Result], bool]:
        """Return the results, and whether the worker retires: then those of the items that it has not started are missing."""
        results: list[Result] = []
        opcode = request.items[0].opcode
        handle = self._handlers.get(opcode, _unsupported)
        for expiry, item in zip(request.expiries_ns, request.items, strict=True):
            if expiry and monotonic_ns() >= expiry:
                results.append(Result(_EXPIRED, b""))
                continue
            try:
                results.append(Result(_OK, handle(item)))
            except FrameError:
                raise
            except Exception as error:  # noqa: BLE001  # whatever it is, this item's caller and the front must hear of it
                results.append(_failure(opcode, error))
                if retires(error):
                    return results, True
        return results, False

    def _start(self, command: commands.Start) -> bytes:
        began = time.monotonic()
        try:
            settings = WorkerSettings.from_json(command.settings)
            known = None if settings.capabilities is None else Capabilities.from_dict(settings.capabilities)
        except (ValueError, TypeError) as error:
            raise FrameError(f"Start with settings that cannot be read: {type(error).__name__}") from error
        with start_lock(settings.lock_file, settings.lock_wait_s), outliving_the_parent():
            opened = open_token(settings, self._statistics)
        try:
            if known is None:
                from hsmkms.hsm.probe import probe  # with it comes `cryptography`, which later workers do not need

                known = probe(opened.cryptoki)
                self._statistics.reset()
            wrapping = Wrapping(opened.cryptoki, known)
            keys = BackingKeys(wrapping, known, log)
            loaded = keys.load() if settings.load_keys else []
        except TokenError as error:
            raise StartError(outcome_of(error), f"the token failed at the start: {error}") from error
        self._handlers = _handlers(Sequences(wrapping, keys, known), keys, self._statistics)
        self._handlers |= _material_handlers(wrapping, keys, known)
        self._opened = opened  # python-pkcs11's session must not be collected
        return describe(settings, opened, known, loaded, (time.monotonic() - began) * 1000).to_json()


def _unsupported(command: Any) -> NoReturn:
    raise ItemError(Outcome.UNSUPPORTED, f"this worker has no {command.opcode.name}")


def _failure(opcode: Opcode, error: Exception) -> Result:
    """Return what the front is told of an error; what is not about the data is logged."""
    if isinstance(error, ItemError):
        return Result(error.outcome, error.detail.encode())
    if isinstance(error, TokenError):
        log("retiring", operation=opcode.name, error=str(error))
        return Result(outcome_of(error), str(error).encode())
    # Only the type: the text of an unforeseen exception could hold a value.
    log("retiring", operation=opcode.name, error=type(error).__name__)
    return Result(Outcome.FAILED, type(error).__name__.encode())


def _handlers(
    sequences: Sequences, keys: BackingKeys, statistics: WorkerStatistics
) -> dict[Opcode, Callable[[Any], bytes]]:
    def load(command: commands.Load) -> bytes:
        joined = command.cka_ids
        if len(joined) % CKA_ID_BYTES:
            raise FrameError("CKA_IDs that are not all of 20 bytes")
        wanted = [joined[at : at + CKA_ID_BYTES] for at in range(0, len(joined), CKA_ID_BYTES)]
        return b"".join(keys.load(wanted))

    def generate(command: commands.GenerateBackingKey) -> bytes:
        try:
            suite = Suite(command.suite)
        except ValueError:
            raise FrameError(f"unknown suite {command.suite}") from None
        return keys.generate(command.cka_id, suite, command.label)

    def destroy(command: commands.DestroyBackingKeys) -> bytes:
        return keys.destroy(command.cka_id, command.label).to_bytes(4, "big")

    def listing(_: commands.ListBackingKeys) -> bytes:
        parts: list[bytes] = []
        for listed in keys.list_objects():
            parts += (bytes([len(listed.cka_id)]), listed.cka_id, bytes([len(listed.label)]), listed.label)
        return b"".join(parts)

    def count(_: commands.Statistics) -> bytes:
        statistics.settle()
        statistics.objects = sum(
            counters.count - sum(counters.errors.values())
            for name in _MAKES_OBJECTS
            if (counters := statistics.calls.get(name)) is not None
        )
        statistics.resident_bytes = resident_bytes()
        return statistics.to_json()

    def start_again(_: commands.Start) -> bytes:
        raise FrameError("a second Start")

    return {
        Opcode.REWRAP: sequences.rewrap,
        Opcode.VERIFY: sequences.verify,
        Opcode.ENCRYPT: sequences.encrypt,
        Opcode.DECRYPT: sequences.decrypt,
        Opcode.GENERATE_DATA_KEY: sequences.generate_data_key,
        Opcode.RANDOM: sequences.random,
        Opcode.LOAD: load,
        Opcode.GENERATE_BACKING_KEY: generate,
        Opcode.DESTROY_BACKING_KEYS: destroy,
        Opcode.LIST_BACKING_KEYS: listing,
        Opcode.STATISTICS: count,
        Opcode.START: start_again,
    }


def _material_handlers(
    wrapping: Wrapping, keys: BackingKeys, found: Capabilities
) -> dict[Opcode, Callable[[Any], bytes]]:
    pairs = KeyPairs(wrapping, keys.objects, found)
    mac_keys = MacKeys(wrapping, keys.objects, found)
    macs = MacSequences(mac_keys, wrapping.cryptoki)
    signing = SigningSequences(pairs, wrapping.cryptoki, found)
    rsa = RsaSequences(wrapping, keys, pairs, found)
    made = PairSequences(wrapping, keys, pairs, found)

    def generate_key_pair(command: material_commands.GenerateKeyPair) -> bytes:
        try:
            spec, use = PairSpec(command.spec), PairUse(command.use)
        except ValueError:
            raise FrameError(f"unknown kind {command.spec} or use {command.use} of a key pair") from None
        return pairs.generate(command.cka_id, spec, use, command.label)

    def generate_mac_key(command: material_commands.GenerateMacKey) -> bytes:
        return mac_keys.generate(command.cka_id, command.length, command.label)

    return {
        Opcode.REWRAP_TO_RSA: rsa.rewrap_to_rsa,
        Opcode.REWRAP_FROM_RSA: rsa.rewrap_from_rsa,
        Opcode.REWRAP_RSA: rsa.rewrap_rsa,
        Opcode.VERIFY_RSA: rsa.verify_rsa,
        Opcode.ENCRYPT_RSA: rsa.encrypt_rsa,
        Opcode.DECRYPT_RSA: rsa.decrypt_rsa,
        Opcode.GENERATE_DATA_KEY_PAIR: made.generate_data_key_pair,
        Opcode.GENERATE_IMPORT_PAIR: made.generate_import_pair,
        Opcode.GENERATE_KEY_PAIR: generate_key_pair,
        Opcode.GENERATE_MAC_KEY: generate_mac_key,
        Opcode.SIGN: signing.sign,
        Opcode.VERIFY_SIGNATURE: signing.verify_signature,
        Opcode.MAC: macs.mac,
        Opcode.VERIFY_MAC: macs.verify_mac,
        Opcode.AGREE: Agreements(pairs, found).agree,
        Opcode.IMPORT_KEY: ImportSequences(wrapping, keys, pairs, rsa, found).import_key,
    }


def resident_bytes() -> int:
    """Return the process's resident memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def outliving_the_parent() -> Iterator[None]:
    """Let the block end before this process dies with its parent; the end of the socket or `os.getppid` ends it afterwards.

    SoftHSM writes token.object anew at each login, in place: who is killed in it leaves an empty file, and with it every key is lost.
    """
    parent = os.getppid()
    _die_with_parent(0)
    signal.alarm(_LONGEST_ORPHANED_S)
    try:
        yield
    finally:
        signal.alarm(0)
        _die_with_parent(int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(EXIT_ORPHANED)


def _die_with_parent(number: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def confine(parent: int | None) -> None:
    """Die with the parent, leave no core, let nobody attach, and leave the terminal's Ctrl-C to the front.

    Args:
        parent: The front's process id if it gave it, to notice that it died before this was called.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # systemd sends it to every process of a service; the end of the socket ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    before = os.getppid() if parent is None else parent
    for option, value in ((_PR_SET_PDEATHSIG, int(signal.SIGKILL)), (_PR_SET_DUMPABLE, 0)):
        if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != before:
        os._exit(EXIT_ORPHANED)


def main() -> None:
    """Run a worker on the socket that `--fd` names. Never returns."""
    parser = argparse.ArgumentParser(prog="hsmkms.hsm.worker", description="A token worker; the service starts it.")
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket to the front")
    parser.add_argument("--parent", type=int, help="the front's process id")
    arguments = parser.parse_args()
    confine(arguments.parent)
    code = Worker(socket.socket(fileno=arguments.fd)).run()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
