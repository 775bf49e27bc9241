"""Between the messages of core and those of the gRPC contract: what the front and the client library have in common."""

from typing import Final

SERVICE: Final = "hsmkms.v1.KeyManagementService"
ERROR_DOMAIN: Final = "kms.hsm-kms"
"""`domain` of every google.rpc.ErrorInfo of this service."""
REQUEST_ID_METADATA: Final = "x-request-id"
IDEMPOTENCY_METADATA: Final = "idempotency-key"
STATUS_DETAILS_METADATA: Final = "grpc-status-details-bin"
MAX_MESSAGE_BYTES: Final = 256 * 1024
"""The largest message that either side accepts."""


def method_path(operation: str) -> str:
    """Return the path of an operation's RPC."""
    return f"/{SERVICE}/{operation}"
