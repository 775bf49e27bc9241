"""Between moto's tests and the service: scaffolding of the tests, no part of the service.

moto's tests speak plain HTTP to a server of moto's own, sign with credentials that are nobody's, use several Regions and begin each
case with a reset of everything. The shim signs what they send anew with an access key of the service, sends it on over TLS to the service
of its Region, which is started when it is first asked for, and hands the answer back as it is. At a reset it deletes every alias; keys
stay.

Equal requests of one second have one signature, and the service answers the second one with an error upon which a client signs it anew,
a few times (docs/aws-endpoint.md). The shim waits for the next second instead, so that a case ends the same way however slow the machine
is.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from botocore.config import Config

from support.aws import CONTENT_TYPE, AccessKey, boto_client, make_access_key, send, signed_headers
from support.service import Person, Service, make_deployment, running

ACCOUNT: Final = "123456789012"
"""moto's."""
CALLER: Final = Person("moto", account=ACCOUNT)
_SCOPE: Final = re.compile(r"Credential=[^/]+/\d{8}/([a-z0-9-]+)/kms/aws4_request")
_PASSED_ON: Final = ("user-agent", "amz-sdk-invocation-id")
"""What botocore sends unsigned."""


class Region:
    """The service of one Region.

    Args:
        name: The Region.
        folder: Its files.
        stack: Stops it.
    """

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        deployment = make_deployment(
            folder, people=(CALLER,), service={"account": ACCOUNT, "region": name}, aws={"address": "127.0.0.1:0"}
        )
        self.name = name
        self.service: Service = stack.enter_context(running(deployment))
        self.access_key: AccessKey = make_access_key(self.service, CALLER.name)
        patient = Config(retries={"max_attempts": 10, "mode": "standard"})
        self._kms: Any = boto_client(self.service, self.access_key, region_name=name, config=patient)
        self._signatures: set[str] = set()

    def send(self, body: bytes, target: str, unsigned: dict[str, str]) -> tuple[int, str, bytes]:
        """Send a request; return status, request id and body of the answer."""
        signed = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": target}
        headers = signed_headers(self.service, self.access_key, body, signed, region=self.name)
        while headers["Authorization"] in self._signatures:
            time.sleep(0.02)
            headers = signed_headers(self.service, self.access_key, body, signed, region=self.name)
        self._signatures.add(headers["Authorization"])
        answer = send(self.service, body, {**headers, **unsigned})
        return answer.status, answer.headers["x-amzn-requestid"], answer.body

    def reset(self) -> None:
        """Delete the aliases."""
        for page in self._kms.get_paginator("list_aliases").paginate():
            for alias in page["Aliases"]:
                self._kms.delete_alias(AliasName=alias["AliasName"])


class Shim:
    """The services and what was sent to them.

    Args:
        folder: Their files.
        stack: Stops them.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._regions: dict[str, Region] = {}
        self._lock = threading.Lock()
        self.requests = 0

    def region(self, name: str) -> Region:
        """Return a Region, started if need be."""
        with self._lock:
            if name not in self._regions:
                self._regions[name] = Region(name, self._folder / name, self._stack)
            return self._regions[name]

    def reset(self) -> None:
        """Delete what moto's tests name."""
        for region in list(self._regions.values()):
            region.reset()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shim: Shim

    def do_GET(self) -> None:
        """Answer the plugin: how many requests have gone to the service."""
        self._answer(200, "text/plain", str(self.shim.requests).encode())

    def do_POST(self) -> None:
        """Reset, or send on."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/moto-api/reset":
            self.shim.reset()
            self._answer(200, "application/json", b"{}")
            return
        scope = _SCOPE.search(self.headers.get("Authorization", ""))
        if scope is None:
            self._answer(404, "text/plain", b"This endpoint is AWS KMS's alone.")
            return
        self.shim.requests += 1
        unsigned = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        status, request_id, answer = self.shim.region(scope[1]).send(body, self.headers["X-Amz-Target"], unsigned)
        self._answer(status, CONTENT_TYPE, answer, ("x-amzn-requestid", request_id))

    def _answer(self, status: int, content_type: str, body: bytes, *more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", content_type), ("Content-Length", str(len(body))), *more):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def shimmed(folder: Path) -> Iterator[str]:
    """Run the shim for the length of a `with`; its URL is the value."""
    with ExitStack() as stack:
        handler = type("Handler", (_Handler,), {"shim": Shim(folder, stack)})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        yield f"http://127.0.0.1:{server.server_address[1]}"
