"""The TLS listener of the AWS endpoint: TLS 1.2 and 1.3, files read again when they change, every wait and number bounded.

uvicorn's HTTP protocol under a listener of our own: a handshake must end in time, connections that are being made count like those that
are, and when there are too many, the one that has idled longest makes room. It runs in the front's event loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from uvicorn.server import ServerState

from hsmkms.server.aws.connection import Bounds, Connection
from hsmkms.server.aws.edge import AwsEdge
from hsmkms.server.config import Config, ConfigError

HANDSHAKE_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 5.0
"""How long a client may take to read the last answer."""
BACKLOG: Final = 256
PAUSE_S: Final = 0.1
"""After a failure to accept a connection: the process has no file descriptor left."""
POLL_S: Final = 0.02
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone. Those of TLS 1.3 all have both."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files.

    Args:
        certificate_file: The endpoint's certificate and intermediates.
        private_key_file: Its private key.
        client_ca_file: The authority of client certificates, which are required then; None for no client certificates.
    """

    certificate_file: Path
    private_key_file: Path
    client_ca_file: Path | None = None


def tls_files(config: Config) -> TlsFiles:
    """Return the endpoint's files: its own, or the gRPC service's."""
    return TlsFiles(
        config.aws.certificate_file or config.tls.certificate_file,
        config.aws.private_key_file or config.tls.private_key_file,
        config.aws.client_ca_file,
    )


class Credentials:
    """The endpoint's side of TLS, made anew when a file changes.

    Args:
        files: The files.

    Raises:
        ConfigError: they cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp = self._current_stamp()
        self._context = self._made()

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        try:
            stamp = self._current_stamp()
            if stamp != self._stamp:
                self._context = self._made()
                self._stamp = stamp
                _log.info("certificates of the AWS endpoint read again")
        except ConfigError as error:
            _log.error("certificates cannot be read again: the old ones stay", why=str(error))
        return self._context

    def _current_stamp(self) -> tuple[int, ...]:
        files = (self._files.certificate_file, self._files.private_key_file, self._files.client_ca_file)
        try:
            return tuple(file.stat().st_mtime_ns for file in files if file is not None)
        except OSError as error:
            raise ConfigError(f"aws: {error.filename}: {error.strerror}") from error

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        certificate, key, authority = (
            self._files.certificate_file,
            self._files.private_key_file,
            self._files.client_ca_file,
        )
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"aws: {certificate} and {key} are no certificate and its private key, in PEM form without a passphrase"
            ) from error
        if authority is not None:
            try:
                context.load_verify_locations(authority)
            except (OSError, ValueError) as error:
                raise ConfigError(f"aws: {authority}: no certificate authority in PEM form") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _no_passphrase() -> str:
    """Be asked for a passphrase in place of whoever sits at the terminal."""
    raise ValueError("the private key has a passphrase")


class Listener:
    """The endpoint's port.

    Args:
        address: Host and port.
        files: Certificates.
        application: What answers requests.
        bounds: Of each connection.
        max_connections: Most connections at a time, handshakes included.
        max_connections_per_address: Most of them from one address.
        shares_port: Whether other fronts of this machine listen on the same port.

    Raises:
        ConfigError: the files cannot be used.
    """

    def __init__(
        self,
        address: str,
        files: TlsFiles,
        application: AwsEdge,
        bounds: Bounds,
        *,
        max_connections: int,
        max_connections_per_address: int,
        shares_port: bool = False,
    ) -> None:
        self._address = address
        self._credentials = Credentials(files)
        self._bounds = bounds
        self._max_connections = max_connections
        self._max_of_address = max_connections_per_address
        self._shares_port = shares_port
        self._config = uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # they would let a client on this host choose the address that the audit log has
            timeout_keep_alive=bounds.idle_s,
        )
        self._config.load()
        self._state = ServerState()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._from: Counter[str] = Counter()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the address with the port that was taken.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, _, port = self._address.rpartition(":")
        bare = host.strip("[]")
        try:
            self._listening = socket.create_server(
                (bare, int(port)),
                family=socket.AF_INET6 if ":" in bare else socket.AF_INET,
                backlog=BACKLOG,
                reuse_port=self._shares_port,
            )
        except OSError as error:
            raise ConfigError(
                f"aws.address: {self._address} cannot be listened on: {error.strerror or error}"
            ) from error
        self._listening.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listening), name="AWS endpoint")
        return f"{host}:{self._listening.getsockname()[1]}"

    def drain(self) -> None:
        """From now on, close each connection after its next answer."""
        self._bounds = Bounds(self._bounds.transfer_s, self._bounds.idle_s, 0.0)
        for connection in self._connections():
            connection.finish()

    async def stop(self, grace_s: float) -> None:
        """Listen no more, wait for the last answers, `grace_s` seconds at most, and close."""
        if self._accepting is not None and self._listening is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._listening.close()
        for handshake in self._handshakes:
            handshake.cancel()
        for connection in self._connections():
            connection.shutdown()
        end = asyncio.get_running_loop().time() + grace_s
        while self._state.connections and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110  # once in a life
            await asyncio.sleep(POLL_S)
        for connection in self._connections():
            connection.transport.abort()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:
                _log.error("the AWS endpoint cannot accept a connection", why=error.strerror)
                await asyncio.sleep(PAUSE_S)
                continue
            address = str(peer[0])
            if not self._has_room(address):
                accepted.close()
                continue
            self._from[address] += 1
            handshake = asyncio.create_task(self._connect(accepted, address))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _connect(self, accepted: socket.socket, address: str) -> None:
        """Make a connection; what the client does wrong in the handshake is its own affair."""
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._config, self._state, self._bounds, address, lambda: self._gone(address)),
                accepted,
                ssl=self._credentials.context(),
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
            )
        except (OSError, asyncio.CancelledError):
            accepted.close()
            self._gone(address)

    def _gone(self, address: str) -> None:
        self._from[address] -= 1
        if not self._from[address]:
            del self._from[address]

    def _has_room(self, address: str) -> bool:
        """Say whether one more connection may be made, after the one that has idled longest was closed for it if need be."""
        others = self._connections()
        if self._from[address] >= self._max_of_address:
            others = [connection for connection in others if connection.address == address]
        elif len(others) + len(self._handshakes) < self._max_connections:
            return True
        idle = [connection for connection in others if connection.is_idle]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.idle_since).transport.abort()
        return True

    def _connections(self) -> list[Connection]:
        return [connection for connection in self._state.connections if isinstance(connection, Connection)]
