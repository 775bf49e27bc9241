"""Between the messages of core and those of the gRPC contract: what the front and the client library have in common."""

from typing import Final

SERVICE: Final = "hsmkms.v1.KeyManagementService"
ERROR_DOMAIN: Final = "kms.hsm-kms"
"""`domain` of every google.rpc.ErrorInfo of this service."""
REQUEST_ID_METADATA: Final = "x-request-id"
IDEMPOTENCY_METADATA: Final = "idempotency-key"
STATUS_DETAILS_METADATA: Final = "grpc-status-details-bin"
MAX_MESSAGE_BYTES: Final = 256 * 1024
"""The largest message that either side accepts, batches aside."""
MAX_STREAM_ENTRIES: Final = 100
"""Most entries in a message of a stream, and most results in one of its answers."""
MAX_BATCH_BYTES: Final = 3 << 20
"""The largest request of a batch. Its answer is longer by some 0.7 MiB at the most: ids and ARNs of up to 1,000 entries."""
MAX_BATCH_ANSWER_BYTES: Final = 4 << 20
"""The largest message of all: gRPC's usual limit, so that clients of batches need no setting."""


def method_path(operation: str) -> str:
    """Return the path of an operation's RPC."""
    return f"/{SERVICE}/{operation}"
