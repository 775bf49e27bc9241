"""The one vocabulary of errors, named as AWS KMS names them.

Everything that can be told to a caller is a `KmsError`; nothing else crosses the service's edge. The text of an error is part of
the contract and is safe to show: it never holds key material, plaintext, a PIN, a path, a handle or a PKCS#11 return value. What
only an operator may read goes into `detail`, which is logged under the request id and never sent.
"""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 1200
"""Longest error text in bytes of UTF-8. An error travels twice in gRPC trailers, percent-encoded and in base64, and trailers over
8 KiB are dropped by clients."""


class KmsError(Exception):
    """A refusal or failure that the caller is told of.

    Args:
        message: The text for the caller; cut at `MAX_MESSAGE_BYTES`.
        detail: What the operator's log says beside it; never sent to the caller.
    """

    code: str = "KMSInternalException"
    retryable: bool = False
    retry_delay_s: float = 0.05
    """For retryable errors: how long a client should wait at the least before it tries again, in seconds."""
    request_id: str = ""
    """The id under which the service's log has the request: set by the client library, from the answer."""

    def __init_subclass__(cls, *, listed: bool = True) -> None:
        """Give the class its code, and list it in `BY_CODE` unless it is no error that a service tells."""
        cls.code = cls.__name__
        if listed:
            BY_CODE[cls.code] = cls

    def __init__(self, message: str = "", *, detail: str = "") -> None:
        encoded = message.encode("utf-8", "replace")
        if len(encoded) > MAX_MESSAGE_BYTES:
            encoded = encoded[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore").encode() + "…".encode()
        message = encoded.decode()  # a lone surrogate has become a question mark: no transport could carry it
        super().__init__(message)
        self.message = message
        self.detail = detail


BY_CODE: Final[dict[str, type[KmsError]]] = {}
"""Every error by its code, which is its class's name."""


class AccessDeniedException(KmsError):
    """The caller may not do this, or the key does not exist: which of the two is not told."""


class AlreadyExistsException(KmsError):
    """A resource of that name exists."""


class ConflictException(KmsError):
    """Another change of the same key is under way."""


class DependencyTimeoutException(KmsError):
    """The token did not answer within the time allowed."""

    retryable = True


class DisabledException(KmsError):
    """The KMS key is disabled."""


class DryRunOperationException(KmsError):
    """The request would have succeeded, and DryRun was set."""


class ExpiredImportTokenException(KmsError):
    """The import token has expired: ask for new parameters."""


class IncorrectKeyException(KmsError):
    """The KMS key named in the request is not the one that can do this."""


class IncorrectKeyMaterialException(KmsError):
    """The key material is not what was imported into this key before."""


class InvalidAliasNameException(KmsError):
    """The alias name is reserved or malformed."""


class InvalidArnException(KmsError):
    """The ARN is malformed, or not of a kind this operation takes."""


class InvalidCiphertextException(KmsError):
    """The ciphertext, or the encryption context given with it, is not what was sealed. Its text is empty, as AWS's is."""


class InvalidGrantIdException(KmsError):
    """The grant id does not name a grant of that key."""


class InvalidGrantTokenException(KmsError):
    """A grant token is not valid."""


class InvalidImportTokenException(KmsError):
    """The import token is not one of this service for this key and wrapping key."""


class InvalidKeyUsageException(KmsError):
    """The KMS key's usage or spec does not fit the operation or the algorithm."""


class InvalidMarkerException(KmsError):
    """The pagination marker is not one this service issued for this list, or it has expired."""


class KeyUnavailableException(KmsError):
    """The key cannot be used just now: the token, or the key's place on it, is out of reach."""

    retryable = True


class KMSInternalException(KmsError):
    """Something failed in the service. AWS calls it retryable; a request that is itself the cause will fail again."""


class KMSInvalidMacException(KmsError):
    """The MAC is not that of the message."""


class KMSInvalidSignatureException(KmsError):
    """The signature is not that of the message."""


class KMSInvalidStateException(KmsError):
    """The KMS key's state does not allow this."""


class LimitExceededException(KmsError):
    """A quota is used up."""


class MalformedPolicyDocumentException(KmsError):
    """A policy document is not valid; the text names the place in it that is wrong."""


class NotFoundException(KmsError):
    """The key or alias that was named does not exist."""


class TagException(KmsError):
    """A tag is not valid."""


class ThrottlingException(KmsError):
    """More was asked than can be served: try again later."""

    retryable = True
    retry_delay_s = 0.1


class UnauthenticatedException(KmsError):
    """The caller's identity could not be established."""


class UnsupportedOperationException(KmsError):
    """The operation or one of its parameters does not apply to this service, or this token cannot do it."""


class ValidationException(KmsError):
    """The request's shape is wrong; the text names the member and the constraint."""
