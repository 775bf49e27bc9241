"""From what gRPC tells of a failed call to the library's errors.

A status with this service's ErrorInfo becomes the error it names; RetryInfo, if it is there, says that and when to try again. Any
other status comes from gRPC itself, a proxy or another service, and becomes a `ClientError`.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hsmkms.client.errors import (
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    KmsError,
    TlsRefused,
    UnexpectedAnswer,
    UnknownKmsError,
)
from hsmkms.client.profiles import Profile
from hsmkms.client.tls import Identity
from hsmkms.core.errors import BY_CODE
from hsmkms.wire import ERROR_DOMAIN

MAX_CODE_CHARACTERS: Final = 64
MAX_SHOWN_CHARACTERS: Final = 300


def error_of(call: grpc.RpcError, profile: Profile, identity: Identity) -> KmsError | ClientError:
    """Return the error that a failed call is."""
    assert isinstance(call, grpc.Call)
    return _service_error(call) or _transport_error(call.code(), call.details() or "", profile, identity)


def _service_error(call: grpc.Call) -> KmsError | None:
    try:
        status: status_pb2.Status | None = rpc_status.from_call(call)
    except ValueError:  # the details contradict the status: not this service's
        return None
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == ERROR_DOMAIN and info.reason:
            assert status is not None
            kind = BY_CODE.get(info.reason)
            message = status.message
            error = kind(message) if kind else UnknownKmsError(info.reason[:MAX_CODE_CHARACTERS], message)
            error.request_id = info.metadata.get("request_id", "")
            _set_retry(error, status)
            return error
    return None


def _set_retry(error: KmsError, status: status_pb2.Status) -> None:
    error.retryable = False
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            error.retryable = True
            error.retry_delay_s = retry.retry_delay.ToTimedelta().total_seconds()


def _transport_error(code: grpc.StatusCode, details: str, profile: Profile, identity: Identity) -> ClientError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"no answer from {profile.endpoint} within {profile.timeout_s:g} s")
    if code is grpc.StatusCode.UNAVAILABLE:
        return _no_connection(details, profile, identity)
    shown = details[:MAX_SHOWN_CHARACTERS]
    return UnexpectedAnswer(f"{profile.endpoint} answered {code.name} without this service's details: {shown}")


def _no_connection(details: str, profile: Profile, identity: Identity) -> ClientError:
    """Tell from gRPC's text, the only place where it says so, what stands between client and server."""
    endpoint = profile.endpoint
    if "Hostname Verification" in details or "Peer name" in details:
        expected = profile.server_name or endpoint.rpartition(":")[0]
        return TlsRefused(
            f"the server at {endpoint} has no certificate for '{expected}': set server_name to a name it does have"
        )
    if "handshake failed" in details:
        return TlsRefused(
            f"the server at {endpoint} has no certificate from the authority in {profile.ca_file}, or speaks no TLS"
        )
    if "Connection refused" in details:
        return ConnectionFailed(f"nothing listens at {endpoint} (connection refused): is the service running?")
    if "Socket closed" in details or "Connection reset" in details:
        return ConnectionFailed(
            f"the server at {endpoint} closed the connection; it may not accept the client certificate "
            f"{profile.certificate_file}{identity.remark}"
        )
    reason = details.rpartition("last error: ")[2][:MAX_SHOWN_CHARACTERS]
    return ConnectionFailed(f"cannot reach {endpoint}: {reason}")
