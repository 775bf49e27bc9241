"""A TCP proxy that a test puts between two programs, to cut them off from each other without either of them noticing."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Forwards connections from a port of its own to another port of loopback.

    While it is paused it forwards nothing, closes nothing, and still takes new connections: as a network that loses every packet,
    to programs that cannot see the packets.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._closed = False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def pause(self) -> None:
        """Forward nothing from now on."""
        self._open.clear()

    def resume(self) -> None:
        """Forward again, what was held back first."""
        self._open.set()

    def close(self) -> None:
        """Close everything."""
        self._closed = True
        self._open.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self._sockets.append(near)
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._open.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            near.close()
            return
        self._sockets.append(far)
        with near, far, suppress(OSError):
            while not self._closed:
                ready, _, _ = select.select([near, far], [], [], 0.2)
                self._open.wait()
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    (far if end is near else near).sendall(data)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Run a proxy for the length of a `with`."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
