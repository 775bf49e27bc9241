"""The token as what the carrier drives uses it: without a task, a future and a timer for each command.

Such an operation is a coroutine that nobody runs as a task. Where it needs the token, it gives a `Step` to whoever drives it
(`server.carrier`) and goes on when that is told. Steps of many requests are posted together, so that they share frames, and answers that
come in one frame are taken in one turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

from hsmkms.core.commands import KeyRef, Outcome, Result
from hsmkms.core.material_commands import Command, KeyPairRef, MacKeyRef
from hsmkms.core.ports import Call
from hsmkms.server.token.jobs import Job
from hsmkms.server.token.port import WorkerToken, value_of


class Driver(Protocol):
    """Who drives what waits for a step."""

    def go_on(self, driven: Any, /) -> None:
        """Drive it on: its step has a result or an error."""


class Step:
    """A command on its way to a token worker, and what a coroutine waits for meanwhile (`jobs.Waiter`).

    Args:
        command: The command.
        principal: Whose queue it waits in.
        keys: CKA_IDs of the backing keys it needs.
        expiry_ns: CLOCK_MONOTONIC in nanoseconds after which no worker starts it; 0 for never.
    """

    __slots__ = ("_error", "_is_over", "_result", "carrier", "driven", "job")

    def __init__(self, command: Command, principal: str, keys: frozenset[bytes], expiry_ns: int) -> None:
        self.job = Job(command, self, principal, keys, expiry_ns)
        self.carrier: Driver | None = None
        """Is told once that there is a result or an error. It sets this, and what it drives."""
        self.driven: Any = None
        self._result: Result | None = None
        self._error: Exception | None = None
        self._is_over = False

    def __await__(self) -> Generator[Step, None, Result]:
        """Hand the step to the driver, and return the result when the driver goes on."""
        if not self._is_over:
            yield self
        del self.job  # it knows this step: together they would be left to the garbage collector
        if self._error is not None:
            raise self._error
        assert self._result is not None, "the driver goes on when the step is told"
        return self._result

    def done(self) -> bool:
        """Say whether it has been told, or has gone away."""
        return self._is_over

    def cancelled(self) -> bool:
        """Say whether it has gone away."""
        return self._is_over and self._result is None and self._error is None

    def cancel(self) -> None:
        """Go away, once: whatever comes is not wanted any more."""
        self._is_over = True
        self.carrier = self.driven = None
        del self.job  # as above

    def set_result(self, result: Result) -> None:
        """Take the result."""
        self._result = result
        self._tell()

    def set_exception(self, error: Exception) -> None:
        """Take an error instead."""
        self._error = error
        self._tell()

    def _tell(self) -> None:
        self._is_over = True
        if self.carrier is not None:
            self.carrier.go_on(self.driven)
            self.carrier = self.driven = None


class CarriedToken(WorkerToken):
    """The token (`core.ports.Token`) for coroutines that `server.carrier` drives."""

    async def _crypto(self, call: Call, command: Command, *keys: KeyRef | KeyPairRef | MacKeyRef) -> bytes:
        needed = frozenset([key.cka_id for key in keys])
        for cka_id in needed - self._pool.keys.known:
            await self._pool.keys.require(cka_id)
        result = await Step(command, call.principal.arn, needed, call.expiry_ns)
        if result.outcome is Outcome.KEY_NOT_LOADED:
            self._pool.keys.doubt(needed)
        return value_of(result)
