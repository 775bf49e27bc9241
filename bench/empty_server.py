"""The empty RPC: the service's own listener with handlers that parse nothing and answer with bytes of a fixed length.

`python -m bench.empty_server TLS_FOLDER CA_FILE LENGTH…` listens on a free port of loopback, prints it, and serves until it is ended. The
RPC `/bench.Empty/AnswerN` answers with N bytes. Versions, options, TLS, client certificates and the garbage collector's settings are
the service's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hsmkms.server.grpc.process import prepare_grpc

SERVICE = "bench.Empty"


def path_of(length: int) -> str:
    """Return the path of the RPC that answers with so many bytes."""
    return f"/{SERVICE}/Answer{length}"


async def serve(folder: Path, authority: Path, lengths: list[int]) -> None:
    """Serve until the process is ended."""
    import grpc

    from hsmkms.server.app import spare_the_garbage_collector
    from hsmkms.server.config import Tls
    from hsmkms.server.grpc.listener import Listener

    def answering(length: int) -> Callable[[bytes, Any], Awaitable[bytes]]:
        answer = bytes(length)

        async def rpc(_data: bytes, _context: Any) -> bytes:
            return answer

        return rpc

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        f"Answer{length}": grpc.unary_unary_rpc_method_handler(answering(length)) for length in lengths
    }
    listener = Listener(
        "127.0.0.1:0",
        Tls(certificate_file=folder / "server.pem", private_key_file=folder / "server.key", client_ca_file=authority),
        grpc.method_handlers_generic_handler(SERVICE, handlers),
        max_concurrent=2048,
        max_connection_age_s=900,
    )
    address = await listener.start()
    spare_the_garbage_collector()
    print(address.rpartition(":")[2], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    prepare_grpc()
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), [int(length) for length in sys.argv[3:]]))
