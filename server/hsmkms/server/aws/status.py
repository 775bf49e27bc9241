"""The one table from the errors of core to AWS JSON, and how an error is written there.

An error is an HTTP status and a document with two members: `__type`, the error's name, and its text, which is called `Message` in the
errors that come from in front of KMS's operations and `message` in all others. An empty text is left out. Clients read either.

HTTP statuses are those of the AWS KMS API reference: 500 for the errors that its model calls faults, 400 for all others. Clients repeat
what has 500, and ThrottlingException.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from hsmkms.core import errors
from hsmkms.core.errors import KmsError
from hsmkms.server.aws.errors import SignatureError

_SENDER: Final = 400
_SERVICE: Final = 500

STATUSES: Final[Mapping[type[KmsError], int]] = {
    errors.AccessDeniedException: _SENDER,
    errors.AlreadyExistsException: _SENDER,
    errors.ConflictException: _SENDER,
    errors.DependencyTimeoutException: _SERVICE,
    errors.DisabledException: _SENDER,
    errors.DryRunOperationException: _SENDER,
    errors.ExpiredImportTokenException: _SENDER,
    errors.IncorrectKeyException: _SENDER,
    errors.IncorrectKeyMaterialException: _SENDER,
    errors.InvalidAliasNameException: _SENDER,
    errors.InvalidArnException: _SENDER,
    errors.InvalidCiphertextException: _SENDER,
    errors.InvalidGrantIdException: _SENDER,
    errors.InvalidGrantTokenException: _SENDER,
    errors.InvalidImportTokenException: _SENDER,
    errors.InvalidKeyUsageException: _SENDER,
    errors.InvalidMarkerException: _SENDER,
    errors.KeyUnavailableException: _SERVICE,
    errors.KMSInternalException: _SERVICE,
    errors.KMSInvalidMacException: _SENDER,
    errors.KMSInvalidSignatureException: _SENDER,
    errors.KMSInvalidStateException: _SENDER,
    errors.LimitExceededException: _SENDER,
    errors.MalformedPolicyDocumentException: _SENDER,
    errors.NotFoundException: _SENDER,
    errors.TagException: _SENDER,
    errors.ThrottlingException: _SENDER,
    errors.UnauthenticatedException: _SENDER,
    errors.UnsupportedOperationException: _SENDER,
    errors.ValidationException: _SENDER,
}

_OTHER_NAMES: Final[Mapping[type[KmsError], str]] = {
    errors.UnauthenticatedException: errors.AccessDeniedException.code,
}
"""AWS has no such error: it is for a client certificate that names nobody clearly, beside a signature that is right."""
_WITH_CAPITAL: Final = frozenset({errors.AccessDeniedException.code, "SerializationException"})


class RequestError(KmsError, listed=False):
    """A request that reaches no operation."""

    status: int = _SENDER


class UnknownOperationException(RequestError, listed=False):
    """The request names no operation of this service.

    Args:
        status: The HTTP status.
    """

    def __init__(self, status: int = _SENDER) -> None:
        super().__init__()
        self.status = status


class SerializationException(RequestError, listed=False):
    """The body is no JSON document of the form that the operation takes."""


class RequestEntityTooLargeException(RequestError, listed=False):
    """The body is longer than any request can be."""

    status = 413


def error_answer(error: KmsError) -> tuple[int, bytes]:
    """Return HTTP status and body of an error in AWS JSON.

    Args:
        error: The error.
    """
    kind = type(error)
    status = error.status if isinstance(error, SignatureError | RequestError) else STATUSES.get(kind, _SERVICE)
    return status, error_document(_OTHER_NAMES.get(kind, error.code), error.message)


def error_document(code: str, message: str) -> bytes:
    """Return the body of an error.

    Args:
        code: The error's name.
        message: Its text; it may be empty.
    """
    document = {"__type": code}
    if message:
        document["Message" if code in _WITH_CAPITAL else "message"] = message
    return json.dumps(document).encode()
