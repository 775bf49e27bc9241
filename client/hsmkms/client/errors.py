"""What can go wrong for a caller of the client library.

Two families. `KmsError`: the service answered, and refused or failed; one class for each error of the service, under AWS's names, and
`UnknownKmsError` for one that this version does not know. `ClientError`: there is no answer to speak of: the profile is wrong, the
service cannot be reached, the time ran out, or what came back makes no sense. Both have a text that may be shown, `retryable`
(the library has then already tried again as often as it may), and `request_id`, which is empty where there was no answer.
"""

from __future__ import annotations

from hsmkms.core.errors import (
    AccessDeniedException,
    AlreadyExistsException,
    ConflictException,
    DependencyTimeoutException,
    DisabledException,
    DryRunOperationException,
    ExpiredImportTokenException,
    IncorrectKeyException,
    IncorrectKeyMaterialException,
    InvalidAliasNameException,
    InvalidArnException,
    InvalidCiphertextException,
    InvalidGrantIdException,
    InvalidGrantTokenException,
    InvalidImportTokenException,
    InvalidKeyUsageException,
    InvalidMarkerException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    KMSInvalidMacException,
    KMSInvalidSignatureException,
    KMSInvalidStateException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NotFoundException,
    TagException,
    ThrottlingException,
    UnauthenticatedException,
    UnsupportedOperationException,
    ValidationException,
)

__all__ = [
    "AccessDeniedException",
    "AlreadyExistsException",
    "ClientError",
    "ConflictException",
    "ConnectionFailed",
    "DeadlineExceeded",
    "DependencyTimeoutException",
    "DisabledException",
    "DryRunOperationException",
    "ExpiredImportTokenException",
    "IncorrectKeyException",
    "IncorrectKeyMaterialException",
    "InvalidAliasNameException",
    "InvalidArnException",
    "InvalidCiphertextException",
    "InvalidGrantIdException",
    "InvalidGrantTokenException",
    "InvalidImportTokenException",
    "InvalidKeyUsageException",
    "InvalidMarkerException",
    "KMSInternalException",
    "KMSInvalidMacException",
    "KMSInvalidSignatureException",
    "KMSInvalidStateException",
    "KeyUnavailableException",
    "KmsError",
    "LimitExceededException",
    "MalformedPolicyDocumentException",
    "NotFoundException",
    "ProfileError",
    "TagException",
    "ThrottlingException",
    "TlsRefused",
    "UnauthenticatedException",
    "UnexpectedAnswer",
    "UnknownKmsError",
    "UnsupportedOperationException",
    "ValidationException",
]


class UnknownKmsError(KmsError, listed=False):
    """The service told an error that this version of the library has no class for.

    Args:
        code: The error's name, which stays in `code`.
        message: The service's text.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


class ClientError(Exception):
    """A failure on the way to the service or before it."""

    retryable: bool = False
    retry_delay_s: float = 0.0
    request_id: str = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ProfileError(ClientError):
    """The connection settings, or a file that they name, cannot be used. The text says which, and why."""


class ConnectionFailed(ClientError):
    """The service cannot be reached, or the connection broke; whether it did what was asked is not known."""

    retryable = True


class TlsRefused(ConnectionFailed):
    """This client does not accept the server's certificate. Trying again would not help."""

    retryable = False


class DeadlineExceeded(ClientError):
    """The profile's `timeout_s` passed without an answer; whether the service did what was asked is not known."""


class UnexpectedAnswer(ClientError):
    """What answered is not this service, or a newer one whose answer this version cannot read."""
