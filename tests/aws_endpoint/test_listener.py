"""The listener alone, with an application of the test's: what it allows of TLS, and what slow, rude and many clients get."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hsmkms.server.aws import listener as module
from hsmkms.server.aws.connection import MAX_HEAD_BYTES, Bounds
from hsmkms.server.aws.listener import Listener, TlsFiles
from hsmkms.server.config import ConfigError
from support.certificates import Authority, make_authority

REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
LONG_S = 30.0


class Application:
    """Answers a request with its body, once `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.under_way = 0
        self.chains: list[list[str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.chains.append(scope["extensions"]["tls"]["client_cert_chain"])
        self.under_way += 1
        await self.go.wait()
        self.under_way -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


class House:
    """A listener, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.authority = make_authority(folder)
        self.server = self.authority.issue("server", addresses=["127.0.0.1"])
        self.application = Application()
        self.listener: Listener | None = None
        self.port = 0

    async def listen(
        self,
        bounds: Bounds | None = None,
        *,
        client_ca: Path | None = None,
        max_connections: int = 100,
        max_connections_per_address: int = 100,
    ) -> None:
        files = TlsFiles(self.server.certificate_file, self.server.private_key_file, client_ca)
        self.listener = Listener(
            "127.0.0.1:0",
            files,
            self.application,  # type: ignore[arg-type]  # any ASGI application does
            bounds or Bounds(LONG_S, int(LONG_S), LONG_S),
            max_connections=max_connections,
            max_connections_per_address=max_connections_per_address,
        )
        self.port = int((await self.listener.start()).rpartition(":")[2])

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.certificate_file)

    async def connect(self, context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or self.tls(), local_addr=(address, 0)
        )
        return Client(reader, writer)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes = REQUEST) -> bytes:
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> bytes:
        """The next answer, or what comes until the connection's end."""
        async with asyncio.timeout(LONG_S):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                return error.partial
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head + await self.reader.readexactly(length)

    async def ends(self) -> bool:
        """Whether the connection is closed by the other side: waits for it."""
        async with asyncio.timeout(LONG_S):
            with contextlib.suppress(ConnectionError):
                assert await self.reader.read() == b""
        return True


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    house.application.go.set()
    if house.listener is not None:
        await house.listener.stop(1.0)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110  # what it waits for is the listener's, which tells nobody
            await asyncio.sleep(0.01)


async def test_one_connection_takes_many_requests(house: House) -> None:
    await house.listen()
    client = await house.connect()
    for _ in range(3):
        assert (await client.ask()).endswith(b"\r\n\r\n{}")
    assert (await client.ask(REQUEST + REQUEST)).endswith(b"{}")
    assert (await client.answer()).endswith(b"{}")
    assert house.application.chains == [[]] * 5


async def test_expect_100_continue_is_answered(house: House) -> None:
    await house.listen()
    client = await house.connect()
    client.writer.write(REQUEST.replace(b"\r\n\r\n{}", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"{}")).startswith(b"HTTP/1.1 200")


# TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(house: House, version: ssl.TLSVersion) -> None:
    await house.listen()
    context = house.tls()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = await house.connect(context)
    tls = client.writer.get_extra_info("ssl_object")
    assert (tls.version(), tls.selected_alpn_protocol()) == (
        version.name.replace("_", ".", 1).replace("_", "."),
        "http/1.1",
    )


@pytest.mark.parametrize("weak", ["version", "cipher"])
async def test_older_versions_and_weak_ciphers_are_not(house: House, weak: str) -> None:
    await house.listen()
    context = house.tls()
    context.set_ciphers("ALL:@SECLEVEL=0")
    if weak == "version":
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await house.connect(context)


async def test_a_client_certificate_is_required_where_an_authority_is_named(house: House) -> None:
    await house.listen(client_ca=house.authority.certificate_file)
    with pytest.raises(
        (ssl.SSLError, ConnectionError, AssertionError)
    ):  # in TLS 1.3 the client learns of it when it reads
        assert await (await house.connect()).ask()
    issued = house.authority.issue("alice", uri="spiffe://test/alice")
    context = house.tls()
    context.load_cert_chain(issued.certificate_file, issued.private_key_file)
    assert (await (await house.connect(context)).ask()).startswith(b"HTTP/1.1 200")
    (chain,) = house.application.chains
    assert [pem.strip() for pem in chain] == [issued.certificate_file.read_text().strip()]
    stranger = make_authority(house.authority.folder / "other").issue("alice", uri="spiffe://test/alice")
    context = house.tls()
    context.load_cert_chain(stranger.certificate_file, stranger.private_key_file)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        assert await (await house.connect(context)).ask()


async def serial(house: House) -> str:
    tls = (await house.connect()).writer.get_extra_info("ssl_object")
    number: str = tls.getpeercert()["serialNumber"]
    return number


def as_if_later(authority: Authority, seconds: int) -> None:
    """Let the files look as if they had been written so many seconds later."""
    for name in ("server.pem", "server.key"):
        file = authority.folder / name
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + seconds * 1_000_000_000))


async def test_new_certificates_are_taken_and_broken_ones_are_not(house: House) -> None:
    await house.listen()
    first = await serial(house)
    client = await house.connect()
    house.authority.issue("server", addresses=["127.0.0.1"])
    as_if_later(house.authority, 1)
    second = await serial(house)
    assert first != second
    assert (await client.ask()).startswith(b"HTTP/1.1 200"), "a connection that is there stays"
    house.server.private_key_file.write_text("nonsense")
    as_if_later(house.authority, 2)
    assert await serial(house) == second
    house.server.private_key_file.unlink()
    assert await serial(house) == second
    house.authority.issue("server", addresses=["127.0.0.1"])
    as_if_later(house.authority, 3)
    assert await serial(house) not in (first, second)


async def test_files_that_do_not_fit_are_said_in_one_line(house: House) -> None:
    other = house.authority.issue("other", addresses=["127.0.0.1"])
    good, key = house.server.certificate_file, house.server.private_key_file
    locked = house.authority.folder / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    nonsense = house.authority.folder / "nonsense.pem"
    nonsense.write_text("nonsense")
    for files in (
        TlsFiles(good, other.private_key_file),
        TlsFiles(good, locked),
        TlsFiles(nonsense, key),
        TlsFiles(good, key, nonsense),
        TlsFiles(good, house.authority.folder / "missing.key"),
    ):
        with pytest.raises(ConfigError, match=r"^aws: [^\n]+$"):
            module.Credentials(files)


# Slow, rude and many


@pytest.mark.parametrize(
    "said",
    [b"P", b"POST / HTTP/1.1\r\nHost: x\r\n", REQUEST[:-1], b"\r\n"],
    ids=["a byte", "half a head", "half a body", "a line"],
)
async def test_a_request_that_does_not_come_in_time_is_ended(house: House, said: bytes) -> None:
    await house.listen(Bounds(transfer_s=0.2, idle_s=int(LONG_S), age_s=LONG_S))
    client = await house.connect()
    answer = await client.ask(said)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"x-amzn-requestid: " in answer
    assert await client.ends()


async def test_drops_that_keep_coming_do_not_help(house: House) -> None:
    await house.listen(Bounds(transfer_s=0.3, idle_s=int(LONG_S), age_s=LONG_S))
    client = await house.connect()

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                client.writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.02)

    client.writer.write(b"POST / HTTP/1.1\r\n")
    dripping = asyncio.create_task(drip())
    assert (await client.answer()).startswith(b"HTTP/1.1 408 ")
    dripping.cancel()


async def test_a_slow_answer_is_not_a_slow_request(house: House) -> None:
    await house.listen(Bounds(transfer_s=0.1, idle_s=1, age_s=LONG_S))
    client = await house.connect()
    house.application.go.clear()
    client.writer.write(REQUEST)
    await until(lambda: house.application.under_way)
    asyncio.get_running_loop().call_later(1.2, house.application.go.set)
    assert (await client.answer()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("used", [False, True])
async def test_an_idle_connection_is_closed(house: House, used: bool) -> None:
    await house.listen(Bounds(LONG_S, 1, LONG_S))
    client = await house.connect()
    if used:
        await client.ask()
    assert await client.ends()


async def test_a_handshake_must_end_in_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_TIMEOUT_S", 0.2)
    await house.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(b"\x16\x03\x01")
    async with asyncio.timeout(LONG_S):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nX-A: " + b"a" * 2 * MAX_HEAD_BYTES,
        b"POST /" + b"a" * 2 * MAX_HEAD_BYTES,
        b"POST / HTTP/1.1\r\n" + b"X-A: b\r\n" * (MAX_HEAD_BYTES // 4) + b"\r\n",
    ],
    ids=["a long header", "a long path", "many headers"],
)
async def test_a_head_that_is_too_long_is_refused(house: House, head: bytes) -> None:
    await house.listen()
    client = await house.connect()
    assert (await client.ask(head)).startswith(b"HTTP/1.1 431 ")
    assert not house.application.chains


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused(house: House, said: bytes) -> None:
    await house.listen()
    client = await house.connect()
    answer = await client.ask(said)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-amzn-requestid: " in answer
    assert b"server:" not in answer.lower()
    assert await client.ends()


async def test_an_old_connection_is_closed_after_its_next_answer(house: House) -> None:
    await house.listen(Bounds(LONG_S, int(LONG_S), 0.3))
    client = await house.connect()
    assert b"connection: close" not in await client.ask()
    await asyncio.sleep(0.3)  # the age itself
    assert b"connection: close" in await client.ask()
    assert await client.ends()


async def test_when_there_are_too_many_the_one_that_idled_longest_makes_room(house: House) -> None:
    await house.listen(max_connections=3)
    first, second, third = [await house.connect() for _ in range(3)]
    for client in (second, first, third):  # second has idled longest
        await client.ask()
    fourth = await house.connect()
    assert await second.ends()
    for client in (first, third, fourth):
        assert (await client.ask()).startswith(b"HTTP/1.1 200")


async def test_requests_under_way_are_not_cut_for_newcomers(house: House) -> None:
    await house.listen(max_connections=2)
    house.application.go.clear()
    clients = [await house.connect() for _ in range(2)]
    for client in clients:
        client.writer.write(REQUEST)
    await until(lambda: house.application.under_way == 2)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await house.connect()
    house.application.go.set()
    for client in clients:
        assert (await client.answer()).startswith(b"HTTP/1.1 200")
    assert (await (await house.connect()).ask()).startswith(b"HTTP/1.1 200")


async def test_one_address_cannot_take_the_place_of_others(house: House) -> None:
    await house.listen(max_connections=4, max_connections_per_address=2)
    house.application.go.clear()
    rude = [await house.connect() for _ in range(2)]
    for client in rude:
        client.writer.write(REQUEST)
    await until(lambda: house.application.under_way == 2)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await house.connect()
    other = await house.connect(address="127.0.0.2")
    house.application.go.set()
    assert (await other.ask()).startswith(b"HTTP/1.1 200")
    for client in rude:
        assert (await client.answer()).startswith(b"HTTP/1.1 200")
        client.writer.close()
    await (await house.connect()).ask()


async def test_a_client_that_takes_no_answer_is_cut(house: House) -> None:
    await house.listen(Bounds(transfer_s=0.3, idle_s=int(LONG_S), age_s=LONG_S))
    client = await house.connect()
    client.writer.transport.pause_reading()
    for _ in range(200):
        client.writer.write(REQUEST.replace(b"2\r\n\r\n{}", b"60000\r\n\r\n" + b" " * 60000))
    assert house.listener is not None
    state = house.listener._state
    await until(lambda: state.connections)
    await until(lambda: not state.connections)


# The end


async def test_a_stop_lets_requests_under_way_finish_and_closes_everything(house: House) -> None:
    await house.listen()
    idle, busy = await house.connect(), await house.connect()
    await idle.ask()
    house.application.go.clear()
    busy.writer.write(REQUEST)
    await until(lambda: house.application.under_way)
    assert house.listener is not None
    house.listener.drain()
    stopping = asyncio.create_task(house.listener.stop(LONG_S))
    assert await idle.ends()
    with pytest.raises(ConnectionError):
        await house.connect()
    house.application.go.set()
    answer = await busy.answer()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert await busy.ends()
    async with asyncio.timeout(LONG_S):
        await stopping


async def test_while_it_drains_each_answer_is_its_connections_last(house: House) -> None:
    await house.listen()
    client = await house.connect()
    await client.ask()
    assert house.listener is not None
    house.listener.drain()
    for each in (client, await house.connect()):
        assert b"connection: close" in await each.ask()
        assert await each.ends()


async def test_a_stop_does_not_wait_for_ever(house: House) -> None:
    await house.listen()
    client = await house.connect()
    house.application.go.clear()
    client.writer.write(REQUEST)
    await until(lambda: house.application.under_way)
    assert house.listener is not None
    async with asyncio.timeout(LONG_S):
        await house.listener.stop(0.1)
    assert await client.ends()
