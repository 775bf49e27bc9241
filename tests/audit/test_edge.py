"""What the edge records, and when, as seen by an audit log that only listens."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from hsmkms.core.audit import Event
from hsmkms.core.errors import KeyUnavailableException, NotFoundException
from hsmkms.core.messages import Empty
from hsmkms.core.model import Principal, Scope
from hsmkms.server import requests as requests_module
from hsmkms.server.carrier import Carrier
from hsmkms.server.grpc.calls import address_of
from hsmkms.server.grpc.edge import Edge
from hsmkms.server.requests import Requests
from hsmkms.wire.codec import operation_codec

ANA = Principal("spiffe://test/ana", "111122223333", "arn:aws:iam::111122223333:user/ana")
KEY = "arn:aws:kms:eu-central-1:111122223333:key/11111111-1111-4111-8111-111111111111"


class Listener:
    """An audit log that keeps events, and settles when it is told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuses = False
        self.settled = asyncio.Event()
        self.settled.set()

    def require(self, operation: str) -> None:
        del operation
        if self.refuses:
            raise KeyUnavailableException("cannot record")

    def record(self, event: Event) -> int:
        self.events.append(event)
        return len(self.events)

    async def settle(self, number: int) -> None:
        assert number == len(self.events)
        await self.settled.wait()


class Context:
    """As much of a gRPC call as the edge looks at."""

    def __init__(self, *, seconds: float = 5.0, certificates: tuple[bytes, ...] = (b"pem",)) -> None:
        self.seconds = seconds
        self.certificates = certificates
        self.trailers: tuple[tuple[str, str], ...] = ()

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return {"x509_pem_cert": self.certificates}

    def time_remaining(self) -> float:
        return self.seconds

    def peer(self) -> str:
        return "ipv6:%5B2001:db8::1%5D:4711"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("user-agent", "tests/1"),)

    def set_trailing_metadata(self, trailers: tuple[tuple[str, str], ...]) -> None:
        self.trailers = trailers

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any) -> None:
        del message
        self.trailers = trailers
        raise asyncio.InvalidStateError(code)


class Bench:
    """An edge whose operations the test writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.audit = Listener()
        self.release = asyncio.Event()
        self.error: Exception | None = None

        async def perform(environment: Any, call: Any, operation: str, request: Any) -> Empty:
            del environment, operation, request
            call.trail.touch(KEY)
            call.trail.touch(KEY)
            await self.release.wait()
            if self.error is not None:
                raise self.error
            return Empty()

        monkeypatch.setattr(requests_module, "perform", perform)
        environment: Any = SimpleNamespace(partition="aws", clock=SimpleNamespace(now_us=lambda: 5))
        authenticator: Any = SimpleNamespace(principal=lambda _: ANA)
        metrics: Any = SimpleNamespace(request_done=lambda *_: None)
        scope = Scope("111122223333", "eu-central-1")
        pool: Any = SimpleNamespace(capacity=1)
        self.requests = Requests(environment, scope, metrics, 30.0, self.audit, Carrier(pool), environment)
        self.edge = Edge(self.requests, authenticator)

    async def call(self, name: str, context: Context | None = None, data: bytes | None = None) -> bytes:
        message = operation_codec(name).request_type(key_id="k") if data is None else None
        sent = message.SerializeToString() if message is not None else data or b""
        answer: bytes = await self.edge._rpc(name)(sent, context or Context())  # type: ignore[arg-type]
        return answer


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(monkeypatch)
    bench.release.set()
    return bench


async def test_a_success(bench: Bench) -> None:
    context = Context()
    await bench.call("DisableKey", context)
    [event] = bench.audit.events
    assert (event.operation, event.error_code, event.principal, list(event.touched)) == ("DisableKey", "", ANA, [KEY])
    assert (event.source_address, event.user_agent, event.time_us) == ("2001:db8::1", "tests/1", 5)
    assert event.request.key_id == "k"
    assert context.trailers[0][1] == event.request_id


async def test_a_change_is_not_answered_before_its_record_is_on_the_disk(bench: Bench) -> None:
    bench.audit.settled.clear()
    call = asyncio.create_task(bench.call("DisableKey"))
    await asyncio.sleep(0.05)
    assert len(bench.audit.events) == 1
    assert not call.done()
    bench.audit.settled.set()
    await call


async def test_what_is_refused_is_recorded(bench: Bench) -> None:
    bench.error = NotFoundException("Key 'k' does not exist")
    with pytest.raises(asyncio.InvalidStateError):
        await bench.call("DisableKey")
    with pytest.raises(asyncio.InvalidStateError):
        await bench.call("DisableKey", Context(certificates=()))
    with pytest.raises(asyncio.InvalidStateError):
        await bench.call("DisableKey", data=b"\xff\xff\xff")
    bench.error = RuntimeError("unforeseen")
    with pytest.raises(asyncio.InvalidStateError):
        await bench.call("DescribeKey")
    assert [(event.error_code, event.principal is None) for event in bench.audit.events] == [
        ("NotFoundException", False),
        ("UnauthenticatedException", True),
        ("ValidationException", False),
        ("KMSInternalException", False),
    ]
    assert bench.audit.events[3].error_message == "An internal error occurred."


async def test_nothing_is_done_while_the_log_cannot_be_written(bench: Bench) -> None:
    bench.audit.refuses = True
    with pytest.raises(asyncio.InvalidStateError):
        await bench.call("DisableKey")
    [event] = bench.audit.events
    assert event.error_code == "KeyUnavailableException"
    assert list(event.touched) == []


async def test_a_change_that_goes_on_alone_is_recorded_as_what_became_of_it(bench: Bench) -> None:
    bench.release.clear()
    with pytest.raises(asyncio.InvalidStateError) as refused:
        await bench.call("DisableKey", Context(seconds=0.05))
    assert refused.value.args[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert bench.audit.events == [], "it is not over yet"
    bench.release.set()
    await bench.requests.drain(5)
    await asyncio.sleep(0)
    [event] = bench.audit.events
    assert event.error_code == ""
    assert isinstance(event.response, Empty)


async def test_a_caller_who_goes_away(bench: Bench) -> None:
    bench.release.clear()
    call = asyncio.create_task(bench.call("DescribeKey"))
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert [event.error_code for event in bench.audit.events] == ["Cancelled"]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:[::1]:5000", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5", "fe80::1%eth0"),
        ("unix:", "unix:"),
    ],
)
def test_where_a_caller_is(peer: str, address: str) -> None:
    assert address_of(peer) == address
