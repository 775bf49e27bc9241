"""The TLS listener: TLS 1.3, client certificates required, files read again when they change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hsmkms.server.config import ConfigError, Tls
from hsmkms.wire import MAX_BATCH_ANSWER_BYTES, MAX_BATCH_BYTES, SERVICE

HANDSHAKE_TIMEOUT_MS: Final = 5_000
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_STREAMS: Final = 256

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Stamp:
    modified_ns: tuple[int, ...]


class Credentials:
    """The server's credentials, read again when a file changes.

    Args:
        tls: Where the files are.
    """

    def __init__(self, tls: Tls) -> None:
        self._files = (tls.certificate_file, tls.private_key_file, tls.client_ca_file)
        self._stamp = self._current_stamp()
        self.server_credentials = grpc.dynamic_ssl_server_credentials(
            self._read(), self._fetch, require_client_authentication=True
        )

    def _current_stamp(self) -> _Stamp:
        try:
            return _Stamp(tuple(file.stat().st_mtime_ns for file in self._files))
        except OSError as error:
            raise ConfigError(f"tls: {error.filename}: {error.strerror}") from error

    def _read(self) -> Any:
        certificate, key, authority = (_contents(file) for file in self._files)
        _check(self._files, certificate, key, authority)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    def _fetch(self) -> Any:
        """Return the new configuration if a file has changed, else None (gRPC calls this at each handshake)."""
        try:
            stamp = self._current_stamp()
            if stamp == self._stamp:
                return None
            configuration = self._read()
        except ConfigError as error:
            _log.error("certificates cannot be read again: the old ones stay", why=str(error))
            return None
        self._stamp = stamp
        _log.info("certificates read again")
        return configuration


def _contents(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"tls: {file}: {error.strerror}") from error


def _check(files: tuple[Path, Path, Path], certificate: bytes, key: bytes, authority: bytes) -> None:
    """Raise ConfigError unless the three belong together and can serve TLS 1.3 alone."""
    certificate_file, key_file, authority_file = files
    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise ConfigError(f"tls: {certificate_file}: no certificate in PEM form") from error
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"tls: {key_file}: no private key in PEM form without a passphrase") from error
    try:
        x509.load_pem_x509_certificates(authority)
    except ValueError as error:
        raise ConfigError(f"tls: {authority_file}: no certificate authority in PEM form") from error
    if not isinstance(public, EllipticCurvePublicKey):
        raise ConfigError(
            f"tls: {certificate_file}: the certificate must be an ECDSA one, so that TLS 1.3 is the only version served"
        )
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise ConfigError(f"tls: {key_file} is not the private key of {certificate_file}")


class Listener:
    """The gRPC server.

    Args:
        address: Host and port.
        tls: Certificates.
        handler: The handlers of the service.
        max_concurrent: Most requests at a time; more are refused with RESOURCE_EXHAUSTED.
        max_connection_age_s: After how long a connection is asked to be made anew, in seconds.
        shares_port: Whether other fronts of this machine listen on the same port.
    """

    def __init__(
        self,
        address: str,
        tls: Tls,
        handler: grpc.GenericRpcHandler,
        *,
        max_concurrent: int,
        max_connection_age_s: int,
        shares_port: bool = False,
    ) -> None:
        self._address = address
        self._credentials = Credentials(tls)
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=max_concurrent,
            options=(
                ("grpc.so_reuseport", int(shares_port)),
                # For batches; the edge refuses all other messages over MAX_MESSAGE_BYTES.
                ("grpc.max_receive_message_length", MAX_BATCH_BYTES),
                ("grpc.max_send_message_length", MAX_BATCH_ANSWER_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
                ("grpc.max_connection_age_ms", max_connection_age_s * 1000),
                ("grpc.max_connection_age_grace_ms", 30_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ),
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers((handler,))
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> str:
        """Listen; return the address with the port that was taken.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        try:
            port = self._server.add_secure_port(self._address, self._credentials.server_credentials)
        except RuntimeError as error:
            raise ConfigError(
                f"listen.address: {self._address} cannot be listened on: is another service there already?"
            ) from error
        await self.set_serving(serving=False)
        await self._server.start()
        return f"{self._address.rpartition(':')[0]}:{port}"

    async def set_serving(self, *, serving: bool) -> None:
        """Say by grpc.health.v1 whether the service can do its work."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Take no new request, wait for those under way, `grace_s` seconds at most, and close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
