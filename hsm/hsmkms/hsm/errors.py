"""The one table from PKCS#11 return values to outcomes, and what makes a worker retire.

A call can fail because of the data it was given, or because of anything else. Only the unwrapping of a key and the decryption of a
payload take a caller's data, so only they can fail because of it; some tokens answer a failed integrity check as they answer a
broken device (`AMBIGUOUS`), and then the key's canary decides (`sequences`). After every other failure the worker retires: an
operation may have stayed active in its session, a handle may point elsewhere, and a new process is the only clean epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pkcs11 import exceptions as p11

from hsmkms.core.commands import Outcome
from hsmkms.hsm.constants import CKR, CKR_VENDOR_DEFINED, ckr_name


class TokenError(Exception):
    """A PKCS#11 call that did not return CKR_OK.

    Args:
        function: The function, such as `C_UnwrapKey`.
        ckr: What it returned.
    """

    def __init__(self, function: str, ckr: int) -> None:
        super().__init__(f"{function}: {ckr_name(ckr)}")
        self.function = function
        self.ckr = ckr


class StartError(Exception):
    """The token cannot be used. The worker, or the operator's command, says so and ends.

    Args:
        outcome: PIN_REFUSED (never try again by itself), MISCONFIGURED, UNAVAILABLE, BUSY, UNSUPPORTED or FAILED.
        detail: One line that says what to do. It never holds a PIN.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


class ItemError(Exception):
    """One item ends so, and the token is well: the worker goes on.

    Args:
        outcome: Not OK.
        detail: For the log only; never a value.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


_BY_OUTCOME: Final[Mapping[Outcome, tuple[CKR, ...]]] = {
    Outcome.INVALID_CIPHERTEXT: (
        CKR.WRAPPED_KEY_INVALID,
        CKR.WRAPPED_KEY_LEN_RANGE,
        CKR.ENCRYPTED_DATA_INVALID,
        CKR.ENCRYPTED_DATA_LEN_RANGE,
        CKR.AEAD_DECRYPT_FAILED,
    ),
    Outcome.PIN_REFUSED: (
        CKR.PIN_INCORRECT,
        CKR.PIN_INVALID,
        CKR.PIN_LEN_RANGE,
        CKR.PIN_EXPIRED,
        CKR.PIN_LOCKED,
        CKR.PIN_TOO_WEAK,
        CKR.NEW_PIN_MODE,
        CKR.NEXT_OTP,
        CKR.USER_PIN_NOT_INITIALIZED,
    ),
    Outcome.UNAVAILABLE: (
        CKR.SLOT_ID_INVALID,
        CKR.DEVICE_ERROR,
        CKR.DEVICE_REMOVED,
        CKR.KEY_HANDLE_INVALID,
        CKR.OBJECT_HANDLE_INVALID,
        CKR.UNWRAPPING_KEY_HANDLE_INVALID,
        CKR.WRAPPING_KEY_HANDLE_INVALID,
        CKR.OPERATION_ACTIVE,
        CKR.OPERATION_NOT_INITIALIZED,
        CKR.OPERATION_CANCEL_FAILED,
        CKR.SESSION_CLOSED,
        CKR.SESSION_HANDLE_INVALID,
        CKR.SESSION_READ_ONLY,
        CKR.SESSION_EXISTS,
        CKR.SESSION_READ_ONLY_EXISTS,
        CKR.SESSION_READ_WRITE_SO_EXISTS,
        CKR.TOKEN_NOT_PRESENT,
        CKR.TOKEN_NOT_RECOGNIZED,
        CKR.TOKEN_WRITE_PROTECTED,
        CKR.USER_ALREADY_LOGGED_IN,
        CKR.USER_NOT_LOGGED_IN,
        CKR.USER_ANOTHER_ALREADY_LOGGED_IN,
        CKR.USER_TOO_MANY_TYPES,
        CKR.CRYPTOKI_NOT_INITIALIZED,
        CKR.CRYPTOKI_ALREADY_INITIALIZED,
        CKR.CANCEL,
        CKR.FUNCTION_CANCELED,
    ),
    Outcome.BUSY: (CKR.HOST_MEMORY, CKR.DEVICE_MEMORY, CKR.SESSION_COUNT, CKR.TOKEN_RESOURCE_EXCEEDED),
    Outcome.UNSUPPORTED: (
        CKR.FUNCTION_NOT_SUPPORTED,
        CKR.FUNCTION_NOT_PARALLEL,
        CKR.SESSION_PARALLEL_NOT_SUPPORTED,
        CKR.MECHANISM_INVALID,
        CKR.MECHANISM_PARAM_INVALID,
        CKR.RANDOM_NO_RNG,
        CKR.RANDOM_SEED_NOT_SUPPORTED,
        CKR.CURVE_NOT_SUPPORTED,
        CKR.NEED_TO_CREATE_THREADS,
        CKR.CANT_LOCK,
    ),
    Outcome.MISCONFIGURED: (CKR.LIBRARY_LOAD_FAILED, CKR.USER_TYPE_INVALID),
    Outcome.FAILED: (
        CKR.GENERAL_ERROR,
        CKR.FUNCTION_FAILED,
        CKR.ARGUMENTS_BAD,
        CKR.NO_EVENT,
        CKR.ATTRIBUTE_READ_ONLY,
        CKR.ATTRIBUTE_SENSITIVE,
        CKR.ATTRIBUTE_TYPE_INVALID,
        CKR.ATTRIBUTE_VALUE_INVALID,
        CKR.ACTION_PROHIBITED,
        CKR.DATA_INVALID,
        CKR.DATA_LEN_RANGE,
        CKR.KEY_SIZE_RANGE,
        CKR.KEY_TYPE_INCONSISTENT,
        CKR.KEY_NOT_NEEDED,
        CKR.KEY_CHANGED,
        CKR.KEY_NEEDED,
        CKR.KEY_INDIGESTIBLE,
        CKR.KEY_FUNCTION_NOT_PERMITTED,
        CKR.KEY_NOT_WRAPPABLE,
        CKR.KEY_UNEXTRACTABLE,
        CKR.KEY_EXHAUSTED,
        CKR.SIGNATURE_INVALID,
        CKR.SIGNATURE_LEN_RANGE,
        CKR.TEMPLATE_INCOMPLETE,
        CKR.TEMPLATE_INCONSISTENT,
        CKR.UNWRAPPING_KEY_SIZE_RANGE,
        CKR.UNWRAPPING_KEY_TYPE_INCONSISTENT,
        CKR.WRAPPING_KEY_SIZE_RANGE,
        CKR.WRAPPING_KEY_TYPE_INCONSISTENT,
        CKR.DOMAIN_PARAMS_INVALID,
        CKR.BUFFER_TOO_SMALL,
        CKR.SAVED_STATE_INVALID,
        CKR.INFORMATION_SENSITIVE,
        CKR.STATE_UNSAVEABLE,
        CKR.MUTEX_BAD,
        CKR.MUTEX_NOT_LOCKED,
        CKR.EXCEEDED_MAX_ITERATIONS,
        CKR.FIPS_SELF_TEST_FAILED,
        CKR.PUBLIC_KEY_INVALID,
        CKR.FUNCTION_REJECTED,
    ),
}
OUTCOMES: Final[Mapping[int, Outcome]] = {int(ckr): outcome for outcome, ckrs in _BY_OUTCOME.items() for ckr in ckrs}
"""Every return value but CKR_OK; what is not in it is FAILED."""

TAKES_CALLERS_DATA: Final = frozenset({"C_UnwrapKey", "C_Decrypt"})
"""The only functions whose failure can be the caller's ciphertext."""

AMBIGUOUS: Final = frozenset(
    {
        CKR.GENERAL_ERROR,
        CKR.FUNCTION_FAILED,
        CKR.ARGUMENTS_BAD,
        CKR.DATA_INVALID,
        CKR.DATA_LEN_RANGE,
        CKR.FUNCTION_REJECTED,
    }
)
"""What tokens return both for a failed integrity check and for a fault of their own; vendors' codes count as such, too.
SoftHSM: GENERAL_ERROR. nShield and CloudHSM (from their documents): FUNCTION_FAILED."""


def outcome_of(error: TokenError) -> Outcome:
    """Return the outcome of a failed call. INVALID_CIPHERTEXT only from the functions that take a caller's data."""
    outcome = OUTCOMES.get(error.ckr, Outcome.FAILED)
    if outcome is Outcome.INVALID_CIPHERTEXT and error.function not in TAKES_CALLERS_DATA:
        return Outcome.FAILED
    return outcome


def is_ambiguous(error: TokenError) -> bool:
    """Say whether only a canary can tell if the data or the token is at fault."""
    return error.function in TAKES_CALLERS_DATA and (error.ckr in AMBIGUOUS or error.ckr >= CKR_VENDOR_DEFINED)


GONE: Final = frozenset({Outcome.UNAVAILABLE, Outcome.BUSY, Outcome.PIN_REFUSED, Outcome.MISCONFIGURED})
"""Outcomes that speak of the token and of no key or ciphertext."""


def may_be_the_keys(error: TokenError) -> bool:
    """Say whether a damaged key could be why a token refuses to work with it."""
    return error.ckr >= CKR_VENDOR_DEFINED or outcome_of(error) not in GONE


def retires(error: Exception) -> bool:
    """Say whether a worker ends after this error: after everything but an `ItemError`."""
    return not isinstance(error, ItemError)


_CODES: Final[Mapping[type[p11.PKCS11Error], CKR]] = {
    p11.PinIncorrect: CKR.PIN_INCORRECT,
    p11.PinInvalid: CKR.PIN_INVALID,
    p11.PinLenRange: CKR.PIN_LEN_RANGE,
    p11.PinExpired: CKR.PIN_EXPIRED,
    p11.PinLocked: CKR.PIN_LOCKED,
    p11.PinTooWeak: CKR.PIN_TOO_WEAK,
    p11.UserPinNotInitialized: CKR.USER_PIN_NOT_INITIALIZED,
    p11.GeneralError: CKR.GENERAL_ERROR,
    p11.FunctionFailed: CKR.FUNCTION_FAILED,
    p11.DeviceError: CKR.DEVICE_ERROR,
    p11.DeviceRemoved: CKR.DEVICE_REMOVED,
    p11.DeviceMemory: CKR.DEVICE_MEMORY,
    p11.HostMemory: CKR.HOST_MEMORY,
    p11.SessionCount: CKR.SESSION_COUNT,
    p11.TokenNotPresent: CKR.TOKEN_NOT_PRESENT,
    p11.TokenNotRecognised: CKR.TOKEN_NOT_RECOGNIZED,
    p11.TokenWriteProtected: CKR.TOKEN_WRITE_PROTECTED,
    p11.SlotIDInvalid: CKR.SLOT_ID_INVALID,
    p11.UserAlreadyLoggedIn: CKR.USER_ALREADY_LOGGED_IN,
    p11.AnotherUserAlreadyLoggedIn: CKR.USER_ANOTHER_ALREADY_LOGGED_IN,
    p11.FunctionNotSupported: CKR.FUNCTION_NOT_SUPPORTED,
    p11.ArgumentsBad: CKR.ARGUMENTS_BAD,
}


def code_of(error: p11.PKCS11Error) -> CKR:
    """Return the return value behind an exception of python-pkcs11 at start.

    What it has no class for is CKR_FUNCTION_FAILED, which is not tried again: it could be a vendor's way to refuse a PIN.
    """
    return _CODES.get(type(error), CKR.FUNCTION_FAILED)
