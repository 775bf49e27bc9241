"""What gRPC reads from the environment when it is first imported. So nothing here imports it."""

from __future__ import annotations

import os
from typing import Final

TLS_13_ONLY: Final = "ECDHE-RSA-AES128-GCM-SHA256"
"""The one TLS 1.2 suite that is left is one that an ECDSA certificate cannot serve: gRPC has no setting for the version."""


def prepare_grpc() -> None:
    """Confine this process's gRPC to TLS 1.3, and keep its own log off standard error unless it was asked for.

    Must be called before anything imports grpc.
    """
    os.environ["GRPC_SSL_CIPHER_SUITES"] = TLS_13_ONLY
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
