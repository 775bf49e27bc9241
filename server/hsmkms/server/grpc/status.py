"""The one table from the errors of core to gRPC status, and how an error travels.

An error is a canonical code, the text, and in the trailing details a google.rpc.ErrorInfo (reason: the exception's name; domain; the
request id) and, for what is worth trying again, a google.rpc.RetryInfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from hsmkms.core import errors
from hsmkms.core.errors import KmsError
from hsmkms.wire import ERROR_DOMAIN, REQUEST_ID_METADATA, STATUS_DETAILS_METADATA

CODES: Final[Mapping[type[KmsError], grpc.StatusCode]] = {
    errors.AccessDeniedException: grpc.StatusCode.PERMISSION_DENIED,
    errors.AlreadyExistsException: grpc.StatusCode.ALREADY_EXISTS,
    errors.ConflictException: grpc.StatusCode.ABORTED,
    errors.DependencyTimeoutException: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DisabledException: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DryRunOperationException: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ExpiredImportTokenException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.IncorrectKeyException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.IncorrectKeyMaterialException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidAliasNameException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidArnException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidCiphertextException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidGrantIdException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidGrantTokenException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidImportTokenException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidKeyUsageException: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InvalidMarkerException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.KeyUnavailableException: grpc.StatusCode.UNAVAILABLE,
    errors.KMSInternalException: grpc.StatusCode.INTERNAL,
    errors.KMSInvalidMacException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.KMSInvalidSignatureException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.KMSInvalidStateException: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LimitExceededException: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.MalformedPolicyDocumentException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundException: grpc.StatusCode.NOT_FOUND,
    errors.TagException: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ThrottlingException: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnauthenticatedException: grpc.StatusCode.UNAUTHENTICATED,
    errors.UnsupportedOperationException: grpc.StatusCode.UNIMPLEMENTED,
    errors.ValidationException: grpc.StatusCode.INVALID_ARGUMENT,
}


def trailers(error: KmsError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata of an error.

    Args:
        error: What is answered.
        request_id: The request's id, which the log has too.
    """
    info = ErrorInfo(reason=error.code, domain=ERROR_DOMAIN, metadata={"request_id": request_id})
    details = [_packed(info)]
    if error.retryable:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_delay_s * 1000))
        details.append(_packed(RetryInfo(retry_delay=delay)))
    status = Status(code=CODES[type(error)].value[0], message=error.message, details=details)
    return (REQUEST_ID_METADATA, request_id), (STATUS_DETAILS_METADATA, status.SerializeToString())


def _packed(message: ErrorInfo | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
