"""A listener that a test puts between a TLS client and a service, to see what an unmodified client sends.

It ends TLS with a certificate of the deployment's authority and hands every byte on over TLS, both ways, without understanding any.

with tapped(service) as tap:
    ...  # a client of tap.url
print(tap.headers("user-agent"))
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.aws import tls
from support.service import Service

NAME = "tap"


class Tap:
    """What a client sent through it.

    Args:
        service: The service behind it.
    """

    def __init__(self, service: Service) -> None:
        authority = service.deployment.authority
        issued = authority.issue(NAME, addresses=["127.0.0.1"])
        self._near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._near.load_cert_chain(issued.certificate_file, issued.private_key_file)
        self._far = tls(service)
        host, _, port = service.aws_address.rpartition(":")
        self._target = (host, int(port))
        self._sent: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def headers(self, name: str) -> set[str]:
        """Return the values of a header in everything that was sent."""
        found = re.findall(rb"(?im)^%s: *(.*?)\r$" % name.encode(), b"".join(self._sent))
        return {value.decode() for value in found}

    def close(self) -> None:
        """Take no more connections; those that are there end with their clients."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(accepted,), daemon=True).start()

    def _connect(self, accepted: socket.socket) -> None:
        with suppress(OSError), accepted:
            near = self._near.wrap_socket(accepted, server_side=True)
            far = self._far.wrap_socket(socket.create_connection(self._target), server_hostname=self._target[0])
            answers = threading.Thread(target=_copy, args=(far, near, None), daemon=True)
            answers.start()
            _copy(near, far, self._sent)
            answers.join(5)


def _copy(source: ssl.SSLSocket, destination: ssl.SSLSocket, seen: list[bytes] | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if seen is not None:
                seen.append(data)
            destination.sendall(data)
    for end in (source, destination):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def tapped(service: Service) -> Iterator[Tap]:
    """Listen for the length of a `with`."""
    tap = Tap(service)
    try:
        yield tap
    finally:
        tap.close()
