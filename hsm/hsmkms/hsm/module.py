"""Load the module, find exactly one token, read the PIN, log in.

What can be wrong is a `StartError` with one line that says what to do. A PIN is read from a file that nobody else can read, goes to
the module, and nowhere else; a refused PIN is never tried again, since a real HSM locks itself.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pkcs11
from pkcs11.constants import TokenFlag

from hsmkms.core.commands import Outcome
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKR
from hsmkms.hsm.cryptoki import Cryptoki, Module
from hsmkms.hsm.errors import OUTCOMES, StartError, TokenError, code_of

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib as Library  # noqa: N812  # a class with a function's name

_ATTEMPTS: Final = 3
"""SoftHSM disturbs itself when several processes start at one moment: GENERAL_ERROR, or a token that is not found."""
_PAUSE_S: Final = 0.1
_MAX_PIN_BYTES: Final = 255
_TRANSIENT: Final = frozenset({CKR.GENERAL_ERROR, CKR.TOKEN_NOT_PRESENT, CKR.TOKEN_NOT_RECOGNIZED, CKR.DEVICE_ERROR})


@dataclass(slots=True)
class OpenToken:
    """A token with a logged-in session.

    Args:
        library: The library's description and version.
        token: The token, as python-pkcs11 has it.
        session: The session; closing it would log every session of the process out, so it ends with the process.
        cryptoki: The binding on that session.
        max_sessions: How many sessions the token allows, or None.
    """

    library: str
    token: pkcs11.Token
    session: pkcs11.Session
    cryptoki: Cryptoki
    max_sessions: int | None


def read_pin(path: str) -> str:
    """Read a PIN file: a regular file of this user or root that nobody else can read; one newline at its end is not the PIN's.

    Raises:
        StartError: MISCONFIGURED; the text says what to change.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise StartError(Outcome.MISCONFIGURED, f"PIN file {path}: {error.strerror}") from error
    try:
        _check_pin_file(path, os.fstat(descriptor))
        data = os.read(descriptor, _MAX_PIN_BYTES + 3)
    finally:
        os.close(descriptor)
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    try:
        pin = data.decode()
    except UnicodeDecodeError:
        raise StartError(Outcome.MISCONFIGURED, f"PIN file {path} is not UTF-8") from None
    if not pin or len(data) > _MAX_PIN_BYTES or "\n" in pin:
        raise StartError(
            Outcome.MISCONFIGURED, f"PIN file {path} must hold one line with the PIN, 1 to {_MAX_PIN_BYTES} bytes"
        )
    return pin


def _check_pin_file(path: str, status: os.stat_result) -> None:
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        why = "is not a regular file"
    elif status.st_uid not in (os.geteuid(), 0):
        why = f"must belong to user {os.geteuid()} or root, not to user {status.st_uid}"
    elif mode & (0o037 if _is_credential(path, status) else 0o077):
        why = f"may be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 it"
    else:
        return
    raise StartError(Outcome.MISCONFIGURED, f"PIN file {path} {why}")


def _is_credential(path: str, status: os.stat_result) -> bool:
    """Say whether a file is a systemd credential: root's, and the group bits are an ACL's mask for this one user."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(folder) and status.st_uid == 0 and Path(path).parent == Path(str(folder))


def open_token(
    settings: WorkerSettings, statistics: WorkerStatistics, pin: str | None = None, *, read_only: bool = False
) -> OpenToken:
    """Load the module, find the token, log in. At most three attempts, and only one with a PIN that is refused.

    To be called under the host's lock (`worker`), as processes that start at the same moment disturb each other.

    Args:
        settings: Which token.
        statistics: Counts the calls.
        pin: The PIN, or None to read it from the file that the settings name.
        read_only: Whether to open a read-only session, which makes and changes no token object, if the token has such.

    Raises:
        StartError: it cannot be done; the text says what to change.
    """
    pin = read_pin(settings.pin_file) if pin is None else pin
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _open(settings, statistics, pin, again=attempt > 1, read_only=read_only)
        except (pkcs11.PKCS11Error, TokenError, _NotFoundError) as error:
            transient = isinstance(error, _NotFoundError) or _code(error) in _TRANSIENT
            if not transient or attempt == _ATTEMPTS:
                raise _start_error(settings, error) from error
            time.sleep(_PAUSE_S * attempt)
    raise AssertionError("the last attempt returns or raises")


def describe(
    settings: WorkerSettings, opened: OpenToken, found: Capabilities, loaded: list[bytes], startup_ms: float
) -> TokenDescription:
    """Return what there is to say of an open token."""
    token = opened.token
    return TokenDescription(
        module=os.fspath(settings.module),
        library=opened.library,
        token_label=token.label,
        token_serial=token.serial.decode("utf-8", "replace").strip(),
        model=token.model.strip(),
        manufacturer=token.manufacturer_id,
        max_sessions=opened.max_sessions,
        capabilities=found.to_dict(),
        cka_ids=[cka_id.hex() for cka_id in loaded],
        startup_ms=round(startup_ms, 1),
    )


class _NotFoundError(Exception):
    pass


def load_library(path: str) -> Library:
    """Load and initialise a module.

    Raises:
        StartError: MISCONFIGURED: it is not there, or no PKCS#11 module.
        PKCS11Error: it does not initialise.
    """
    if not Path(path).is_file():
        raise StartError(
            Outcome.MISCONFIGURED,
            f"no PKCS#11 module at {path}: install it (Debian: apt install softhsm2) or name another path",
        )
    try:
        return pkcs11.lib(path)
    except pkcs11.PKCS11Error as error:
        if type(error) is pkcs11.PKCS11Error and "loading" in str(error):
            raise StartError(Outcome.MISCONFIGURED, f"{path} is not a PKCS#11 module: {_line(error)}") from error
        raise


def _open(
    settings: WorkerSettings, statistics: WorkerStatistics, pin: str, *, again: bool, read_only: bool
) -> OpenToken:
    library = load_library(settings.module)
    if again:
        library.reinitialize()  # a module looks for tokens when it is initialised; nothing of it is in use yet
    token = _find(library, settings)
    session = token.open(rw=not (read_only and _has_read_only_sessions(token)), user_pin=pin)
    module = Module(settings.module)
    cryptoki = Cryptoki(
        module,
        session.handle,  # type: ignore[attr-defined]  # missing from its stubs
        statistics,
    )
    major, minor = library.library_version
    description = f"{library.library_description or library.manufacturer_id} {major}.{minor}"
    return OpenToken(description, token, session, cryptoki, module.max_sessions(token.slot.slot_id))


def _has_read_only_sessions(token: pkcs11.Token) -> bool:
    """Find out before the PIN is used, which is not tried twice: AWS CloudHSM has none."""
    try:
        token.open(rw=False).close()
    except pkcs11.PKCS11Error:
        return False
    return True


def _find(library: Library, settings: WorkerSettings) -> pkcs11.Token:
    tokens = [
        token
        for token in library.get_tokens(token_label=settings.token_label)
        if token.flags & TokenFlag.TOKEN_INITIALIZED
        and settings.token_serial in ("", token.serial.decode("utf-8", "replace").strip())
    ]
    if not tokens:
        raise _NotFoundError
    if len(tokens) > 1:
        serials = ", ".join(sorted(token.serial.decode("utf-8", "replace").strip() for token in tokens))
        raise StartError(
            Outcome.MISCONFIGURED,
            f"{len(tokens)} tokens are labelled {settings.token_label!r}: name one by its serial number ({serials})",
        )
    return tokens[0]


def _code(error: Exception) -> int:
    if isinstance(error, TokenError):
        return error.ckr
    return code_of(error) if isinstance(error, pkcs11.PKCS11Error) else CKR.TOKEN_NOT_PRESENT


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _start_error(settings: WorkerSettings, error: Exception) -> StartError:
    where = f"token {settings.token_label!r}"
    if isinstance(error, _NotFoundError):
        serial = f" with serial number {settings.token_serial}" if settings.token_serial else ""
        return StartError(
            Outcome.UNAVAILABLE,
            f"no {where}{serial} in {settings.module}: make one (hsm-kms token init), or correct the label or the module's configuration",
        )
    code = _code(error)
    pin = settings.pin_file or "the PIN"
    match code:
        case CKR.PIN_LOCKED:
            text = f"the PIN of {where} is locked: have the security officer unlock it"
        case CKR.USER_PIN_NOT_INITIALIZED:
            text = f"{where} has no user PIN yet: have the security officer set one (hsm-kms token init does)"
        case CKR.PIN_EXPIRED:
            text = f"the PIN of {where} has expired: set a new one, and put it into {pin}"
        case _ if OUTCOMES.get(code) is Outcome.PIN_REFUSED:
            text = f"{where} refused the PIN: correct {pin}, then start again (it is not tried twice)"
        case CKR.SESSION_COUNT:
            text = f"{where} has no session left: lower the number of workers, or end other programs that use it"
        case _:
            name = str(error) if isinstance(error, TokenError) else f"{type(error).__name__} {_line(error)}".strip()
            text = (
                f"{where} in {settings.module} cannot be opened ({name}): check the module's configuration and its log"
            )
    outcome = OUTCOMES.get(code, Outcome.FAILED)
    return StartError(Outcome.UNAVAILABLE if outcome is Outcome.FAILED else outcome, text)
