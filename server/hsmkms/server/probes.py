"""The HTTP port for orchestrators, which have no client certificate: /livez, /readyz and /metrics. It tells nothing secret."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hsmkms.server.config import ConfigError

_MAX_CONNECTIONS: Final = 64


class _Server(uvicorn.Server):
    """uvicorn inside a process that handles its signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Probes:
    """The port.

    Args:
        address: Host and port.
        registry: The metrics to show.
        trouble: Why the service is not ready, or an empty text.
    """

    def __init__(self, address: str, registry: CollectorRegistry, trouble: Callable[[], str]) -> None:
        self._address = address
        self._registry = registry
        self._trouble = trouble
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen; return the address with the port that was taken.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, _, port = self._address.rpartition(":")
        host = host.strip("[]")
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, int(port)), family=family)
        except OSError as error:
            raise ConfigError(
                f"listen.metrics_address: {self._address} cannot be listened on: {error.strerror or error}"
            ) from error
        routes = [Route("/livez", self._livez), Route("/readyz", self._readyz), Route("/metrics", self._metrics)]
        self._server = _Server(
            uvicorn.Config(
                Starlette(routes=routes),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_keep_alive=5,
            )
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="probes")
        return f"{self._address.rpartition(':')[0]}:{listening.getsockname()[1]}"

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    async def _livez(self, request: Request) -> Response:
        del request
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        del request
        trouble = self._trouble()
        return PlainTextResponse(f"{trouble}\n", 503) if trouble else PlainTextResponse("ok\n")

    async def _metrics(self, request: Request) -> Response:
        del request
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
