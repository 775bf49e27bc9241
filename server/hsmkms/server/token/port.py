"""`core.ports.Token` and the reconciler's side of the token, on the pool of workers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import (
    Command,
    Decrypt,
    DestroyBackingKeys,
    Encrypt,
    GenerateBackingKey,
    GenerateDataKey,
    KeyRef,
    ListBackingKeys,
    Outcome,
    Random,
    Result,
    Rewrap,
    Verify,
)
from hsmkms.core.errors import (
    DependencyTimeoutException,
    InvalidCiphertextException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    UnsupportedOperationException,
)
from hsmkms.core.frames import LENGTH
from hsmkms.core.ports import Call
from hsmkms.server.token.pool import UNAVAILABLE_TEXT, TokenPool

SERVICE: Final = "service"
"""In whose queue the service's own commands wait."""
GENERATION_START_S: Final = 30
"""How long the generation of a backing key may wait for the admin worker, in seconds."""

_ERRORS: Final[Mapping[Outcome, tuple[type[KmsError], str]]] = {
    Outcome.EXPIRED: (DependencyTimeoutException, "The token did not answer in time. Try again."),
    Outcome.INVALID_CIPHERTEXT: (InvalidCiphertextException, ""),
    Outcome.KEY_NOT_LOADED: (KeyUnavailableException, "The key material cannot be used just now. Try again."),
    Outcome.KEY_DAMAGED: (KeyUnavailableException, "The key material on the token is not what it was."),
    Outcome.UNAVAILABLE: (KeyUnavailableException, UNAVAILABLE_TEXT),
    Outcome.BUSY: (KeyUnavailableException, "The token is busy. Try again."),
    Outcome.PIN_REFUSED: (KeyUnavailableException, UNAVAILABLE_TEXT),
    Outcome.MISCONFIGURED: (KeyUnavailableException, UNAVAILABLE_TEXT),
    Outcome.UNSUPPORTED: (UnsupportedOperationException, "The token cannot do this."),
    Outcome.FAILED: (KMSInternalException, "The token failed."),
}


def value_of(result: Result) -> bytes:
    """Return the value of a result that is OK.

    Raises:
        KmsError: the outcome is another; what the worker said of it goes into the error's detail.
    """
    if result.outcome is Outcome.OK:
        return result.value
    kind, text = _ERRORS[result.outcome]
    raise kind(text, detail=result.value.decode("utf-8", "replace"))


class WorkerToken:
    """The token (`core.ports.Token`), and what the reconciler needs of it.

    Args:
        pool: The workers.
        suite: The suite of new backing keys.
        label: The label of this deployment's objects.
        seals_directly: Whether plaintexts may go in and out of the token as objects.
    """

    def __init__(self, pool: TokenPool, suite: Suite, label: bytes, *, seals_directly: bool) -> None:
        self._pool = pool
        self._suite = suite
        self._label = label
        self._seals_directly = seals_directly

    @property
    def suite(self) -> Suite:
        """The suite of new backing keys on this token."""
        return self._suite

    @property
    def seals_directly(self) -> bool:
        """Whether plaintexts may go in and out of the token as objects (mode DIRECT)."""
        return self._seals_directly

    async def rewrap(self, call: Call, command: Rewrap) -> bytes:
        """Return the new wrapped key."""
        return await self._crypto(call, command, command.source, command.destination)

    async def verify(self, call: Call, command: Verify) -> None:
        """Return if the wrapped key unwraps."""
        await self._crypto(call, command, command.source)

    async def encrypt(self, call: Call, command: Encrypt) -> bytes:
        """Return the body of the ciphertext."""
        return await self._crypto(call, command, command.destination)

    async def decrypt(self, call: Call, command: Decrypt) -> bytes:
        """Return the plaintext."""
        return await self._crypto(call, command, command.source)

    async def generate_data_key(self, call: Call, command: GenerateDataKey) -> tuple[bytes, bytes]:
        """Return the body of the ciphertext, and the data key if it was asked for, else nothing."""
        value = await self._crypto(call, command, command.destination)
        end = LENGTH.size + LENGTH.unpack_from(value)[0]
        return value[LENGTH.size : end], value[end:]

    async def random(self, call: Call, length: int) -> bytes:
        """Return random bytes."""
        return await self._crypto(call, Random(length))

    async def _crypto(self, call: Call, command: Command, *keys: KeyRef) -> bytes:
        return value_of(
            await self._pool.submit(
                command,
                principal=call.principal.arn,
                keys=[key.cka_id for key in keys],
                expiry_ns=call.expiry_ns,
            )
        )

    async def service_rewrap(self, command: Rewrap) -> bytes:
        """Return the new wrapped key, for the service's own purposes."""
        keys = [command.source.cka_id, command.destination.cka_id]
        return value_of(await self._pool.submit(command, principal=SERVICE, keys=keys))

    async def service_encrypt(self, command: Encrypt) -> bytes:
        """Return the body of the ciphertext, for the service's own purposes."""
        return value_of(await self._pool.submit(command, principal=SERVICE, keys=[command.destination.cka_id]))

    async def service_decrypt(self, command: Decrypt) -> bytes:
        """Return the plaintext, for the service's own purposes."""
        return value_of(await self._pool.submit(command, principal=SERVICE, keys=[command.source.cka_id]))

    async def generate_backing_key(self, cka_id: bytes, suite: Suite) -> bytes:
        """Generate a backing key anew and return its canary; at least one worker can use it then.

        It is not started any more after `GENERATION_START_S`: by then another front may have taken the creation up (`catalog.claims`).
        """
        expiry_ns = time.monotonic_ns() + GENERATION_START_S * 1_000_000_000
        canary = await self._admin(GenerateBackingKey(cka_id, suite, self._label), expiry_ns)
        await self._pool.keys.make_usable(cka_id)
        return canary

    async def list_backing_keys(self) -> Sequence[tuple[bytes, bytes]]:
        """Return CKA_ID and label of every backing key on the token, whoever's it is."""
        listing = await self._admin(ListBackingKeys())
        fields = []
        position = 0
        while position < len(listing):
            end = position + 1 + listing[position]
            fields.append(listing[position + 1 : end])
            position = end
        return list(zip(fields[::2], fields[1::2], strict=True))

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        """Destroy this deployment's objects of one CKA_ID and return how many there were."""
        self._pool.keys.forget(cka_id)
        return int.from_bytes(await self._admin(DestroyBackingKeys(cka_id, self._label)), "big")

    async def _admin(self, command: Command, expiry_ns: int = 0) -> bytes:
        result = await self._pool.submit(command, principal=SERVICE, admin=True, expiry_ns=expiry_ns)
        if result.outcome is Outcome.FAILED:
            # SoftHSM says GENERAL_ERROR where its folder is gone. The same request may be made again, and goes on where this one stopped.
            result = Result(Outcome.UNAVAILABLE, result.value)
        return value_of(result)
