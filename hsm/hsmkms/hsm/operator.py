"""What an operator does with a token by hand: make one, and ask what it can do. Runs in the command's own process.

Nothing here parses arguments or prints. Errors are `StartError`, with one line to show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pkcs11
from pkcs11.constants import TokenFlag

from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import Outcome
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.core.token_objects import TokenObject
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import PURPOSES
from hsmkms.hsm.cryptoki import Module
from hsmkms.hsm.errors import OUTCOMES, StartError, TokenError, code_of
from hsmkms.hsm.locks import start_lock
from hsmkms.hsm.module import describe, load_library, open_token, read_pin
from hsmkms.hsm.probe import probe
from hsmkms.hsm.survey import Survey
from hsmkms.hsm.wrapping import Wrapping

_LABEL_BYTES: Final = 32
_SHORTEST_PIN: Final = 4
_LONGEST_PIN: Final = 255


@dataclass(frozen=True, slots=True)
class CapabilityRow:
    """One line of `hsm-kms token info`.

    Args:
        name: The finding's name, as `Capabilities` has it.
        found: `yes`, `no`, or what was found.
        purpose: What it gives the KMS.
    """

    name: str
    found: str
    purpose: str


def init_token(module: str, label: str, so_pin: str, user_pin: str) -> str:
    """Initialise a free token of a module and set both PINs. Never touches a token that is initialised.

    Args:
        module: The module's path.
        label: The new token's label: 1 to 32 printable ASCII characters.
        so_pin: The security officer's PIN, 4 to 255 bytes.
        user_pin: The user's PIN, 4 to 255 bytes.

    Returns:
        The token's serial number.

    Raises:
        StartError: there is a token of that label, or none that is free, or the token refused; the text says what to do.
    """
    if not label.isascii() or not label.isprintable() or not 1 <= len(label.strip()) == len(label) <= _LABEL_BYTES:
        raise StartError(Outcome.MISCONFIGURED, f"a token's label is 1 to {_LABEL_BYTES} printable ASCII characters")
    for pin, whose in ((so_pin, "security officer's"), (user_pin, "user's")):
        if not _SHORTEST_PIN <= len(pin.encode()) <= _LONGEST_PIN:
            raise StartError(
                Outcome.MISCONFIGURED, f"the {whose} PIN must have {_SHORTEST_PIN} to {_LONGEST_PIN} bytes"
            )
    try:
        return _init(module, label, so_pin, user_pin)
    except (pkcs11.PKCS11Error, TokenError) as error:
        code = error.ckr if isinstance(error, TokenError) else code_of(error)
        text = " ".join(f"{type(error).__name__} {error}".split())
        raise StartError(
            OUTCOMES.get(code, Outcome.FAILED),
            f"token {label!r} could not be made in {module} ({text}): see the module's log",
        ) from error


def _init(path: str, label: str, so_pin: str, user_pin: str) -> str:
    library = load_library(path)
    free = None
    for slot in library.get_slots(token_present=True):
        token = slot.get_token()
        if not token.flags & TokenFlag.TOKEN_INITIALIZED:
            free = slot if free is None else free
        elif token.label == label:
            raise StartError(
                Outcome.MISCONFIGURED,
                f"there is a token labelled {label!r} in {path} already: use it, or choose another label",
            )
    if free is None:
        raise StartError(Outcome.MISCONFIGURED, f"no slot of {path} has a token that is not initialised yet")
    Module(path).init_token(free.slot_id, so_pin.encode(), label.encode())
    library.reinitialize()  # SoftHSM gives the new token a slot of its own only then
    token = library.get_token(token_label=label)
    session = token.open(rw=True, so_pin=so_pin)
    try:
        session.init_pin(user_pin)
    finally:
        session.close()
    return token.serial.decode("utf-8", "replace").strip()


def describe_token(settings: WorkerSettings) -> TokenDescription:
    """Log in, probe, list the backing keys.

    Raises:
        StartError: the token cannot be used; the text says what to do.
    """
    start = time.monotonic()
    statistics = WorkerStatistics()
    with start_lock(settings.lock_file, settings.lock_wait_s):
        opened = open_token(settings, statistics)
    try:
        found = probe(opened.cryptoki)
        keys = BackingKeys(Wrapping(opened.cryptoki, found), found, lambda *_, **__: None)
        loaded = keys.load()
    except TokenError as error:
        raise StartError(
            OUTCOMES.get(error.ckr, Outcome.FAILED), f"the token failed while it was probed: {error}"
        ) from error
    return describe(settings, opened, found, loaded, (time.monotonic() - start) * 1000)


def probe_token(
    module: str, label: str | None, serial: str, ask_pin: Callable[[str], str], lock_file: Callable[[str, str], str]
) -> TokenDescription:
    """Probe a token that no configuration knows. Changes nothing: it makes session objects, in a read-only session if the token has such.

    Args:
        module: The module's path.
        label: The token's label, or None for the only token that there is.
        serial: The token's serial number where two have that label, else empty.
        ask_pin: Returns the PIN of the token of that label; asked once, after the token was found.
        lock_file: Returns the path of the login lock for a label and a serial number.

    Raises:
        StartError: the token cannot be used; the text says what to do. A refused PIN is not tried again.
    """
    start = time.monotonic()
    known = label if label is not None else _only_label(module)
    settings = WorkerSettings(module, known, serial, "", lock_file(known, serial))
    _require_token(settings)
    pin = ask_pin(known)
    with start_lock(settings.lock_file, settings.lock_wait_s):
        opened = open_token(settings, WorkerStatistics(), pin, read_only=True)
    try:
        found = probe(opened.cryptoki)
    except TokenError as error:
        raise StartError(
            OUTCOMES.get(error.ckr, Outcome.FAILED), f"the token failed while it was probed: {error}"
        ) from error
    return describe(settings, opened, found, [], (time.monotonic() - start) * 1000)


def _labels(module: str, flags: TokenFlag = TokenFlag.TOKEN_INITIALIZED) -> list[str]:
    try:
        slots = load_library(module).get_slots(token_present=True)
        tokens = [slot.get_token() for slot in slots]
    except pkcs11.PKCS11Error as error:
        text = " ".join(f"{type(error).__name__} {error}".split())
        raise StartError(
            Outcome.MISCONFIGURED,
            f"{module} cannot be used ({text}): check what it needs in its environment (--environment NAME=VALUE) and its log",
        ) from error
    return sorted(token.label for token in tokens if token.flags & flags == flags)


def _only_label(module: str) -> str:
    # NSS has a second token, without keys, that nobody logs in to.
    labels = _labels(module, TokenFlag.TOKEN_INITIALIZED | TokenFlag.LOGIN_REQUIRED)
    if len(labels) == 1:
        return labels[0]
    if not labels:
        raise StartError(
            Outcome.UNAVAILABLE, f"no token in {module}: make one (hsm-kms token init), or correct its environment"
        )
    named = ", ".join(repr(label) for label in labels)
    raise StartError(Outcome.MISCONFIGURED, f"{len(labels)} tokens in {module}: name one with --token-label ({named})")


def _require_token(settings: WorkerSettings) -> None:
    labels = _labels(settings.module)
    if settings.token_label not in labels:
        named = ", ".join(repr(label) for label in labels) or "none"
        raise StartError(
            Outcome.UNAVAILABLE, f"no token {settings.token_label!r} in {settings.module}; its tokens: {named}"
        )


def survey_token(
    settings: WorkerSettings, suites: Mapping[bytes, Suite], preferred: Suite | None = None
) -> list[TokenObject]:
    """Log in, list every key of whatever kind, whoever's, and have each one prove itself and make its canary. Changes nothing.

    Args:
        settings: Which token.
        suites: Derivations by CKA_ID, for tokens that cannot say what an AES key is for.
        preferred: The derivation of all others there, as `Survey` has it.

    Raises:
        StartError: the token cannot be used; the text says what to do.
    """
    with start_lock(settings.lock_file, settings.lock_wait_s):
        opened = open_token(settings, WorkerStatistics())
    try:
        found = probe(opened.cryptoki)
        return Survey(Wrapping(opened.cryptoki, found), found, suites, preferred).objects()
    except TokenError as error:
        raise StartError(
            OUTCOMES.get(error.ckr, Outcome.FAILED), f"the token failed while it was looked through: {error}"
        ) from error


def capability_rows(description: TokenDescription) -> list[CapabilityRow]:
    """Return the probe's findings as rows for a table, in a fixed order."""
    return [
        CapabilityRow(name, _text(description.capabilities.get(name)), purpose) for name, purpose in PURPOSES.items()
    ]


def _text(found: object) -> str:
    return found if isinstance(found, str) and found else ("yes" if found else "no")


__all__ = [
    "CapabilityRow",
    "StartError",
    "capability_rows",
    "describe",
    "describe_token",
    "init_token",
    "probe_token",
    "read_pin",
    "survey_token",
]
