"""One connection of an AWS client: uvicorn's HTTP/1.1 protocol, with the bounds that it lacks.

A request must be here whole within a time that begins with its first byte, its head is bounded, an answer must be taken within the same
time, and a connection is closed when it idles, and after an answer when it is old or the service stops. What cannot be parsed is answered
here, under a request id like everything else.

For one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hsmkms.server.aws.edge import CLIENT_CERTIFICATE, JSON_TYPES, response_headers
from hsmkms.server.aws.status import error_document

MAX_HEAD_BYTES: Final = 32 * 1024
"""Longest request line and headers together."""

_SILENT: Final = logging.getLogger("hsmkms.server.aws.connection")
_SILENT.setLevel(logging.CRITICAL)
"""Takes what uvicorn would say of bad requests: we say it ourselves."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a connection may take for what.

    Args:
        transfer_s: A request, from its first byte to its last, and as long for an answer that the client does not take, in seconds.
        idle_s: Without any request, in seconds.
        age_s: How old a connection may be for one more request, in seconds.
    """

    transfer_s: float
    idle_s: int
    age_s: float


class _HeadTooLong(Exception):
    """The head of a request is longer than `MAX_HEAD_BYTES`."""


class Connection(HttpToolsProtocol):
    """A connection.

    Args:
        config: uvicorn's configuration; it has the application.
        state: Every connection is in it while it is open.
        bounds: Its bounds.
        address: The client's address, without its port.
        lost: Is called when it is gone.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, bounds: Bounds, address: str, lost: Callable[[], None]
    ) -> None:
        super().__init__(config, state, app_state={})
        self._bounds = bounds
        self.logger = _SILENT
        self._lost = lost
        self.address = address
        """The client's address, without its port."""
        self._extensions: dict[str, Any] = {}
        self._opened = self.loop.time()
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._in_head = True
        self._raw_bytes = 0
        self._head_bytes = 0
        self._last_answer = False
        self.idle_since = self._opened
        """Since when there has been no request, on the event loop's clock."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn has None there, and does not say so
        return self._receiving is None and (cycle is None or cycle.response_complete)

    def finish(self) -> None:
        """Close the connection after the next answer."""
        self._last_answer = True
        if not self.is_idle:
            self._end_with_this_answer()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to idle."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        chain = [ssl.DER_cert_to_PEM_cert(certificate)] if certificate else []
        self._extensions = {"tls": {CLIENT_CERTIFICATE: chain}}
        self.timeout_keep_alive_task = self.loop.call_later(self._bounds.idle_s, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._received()
        self.resume_writing()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._lost()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self._receiving is None:
            self._receiving = self.loop.call_later(self._bounds.transfer_s, self._too_slow)
        if self._in_head:
            self._raw_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._raw_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._in_head = False
        super().on_headers_complete()
        if self._last_answer or self.loop.time() - self._opened > self._bounds.age_s:
            self._end_with_this_answer()

    def on_message_complete(self) -> None:
        """The request is here."""
        self._received()
        self._in_head, self._raw_bytes, self._head_bytes = True, 0, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is on its way."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or has too long a head."""
        del msg
        too_long = self._head_bytes > MAX_HEAD_BYTES
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_long else HTTPStatus.BAD_REQUEST)

    def pause_writing(self) -> None:
        """Give a client that takes nothing of its answer some time."""
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(self._bounds.transfer_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken something."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        super().resume_writing()

    def _count(self, count: int) -> None:
        """Count bytes of the head: those of one that comes in one piece with its end are counted here alone."""
        self._head_bytes += count
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLong

    def _end_with_this_answer(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            cycle.keep_alive = False

    def _received(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _too_slow(self) -> None:
        self._receiving = None
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer without the application, and close."""
        request_id = str(uuid.uuid4())
        _log.info("refused", request_id=request_id, error=status.phrase, client=self.address)
        document = error_document("".join(status.phrase.split()), "")
        head = b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode("ascii"))
        headers = [*response_headers(request_id, JSON_TYPES[0], len(document)), (b"connection", b"close")]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(head + lines + b"\r\n" + document)
        self.transport.close()
