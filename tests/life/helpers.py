"""One front for the tests of a key's life: the real catalog, all operations, the upkeep, and a token in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from catalog.helpers import SCOPE, SUITE, Clocks, Object, Token, canary_of, opened
from hsmkms.core import messages
from hsmkms.core.ciphertext import Suite
from hsmkms.core.creations import Creations
from hsmkms.core.errors import IncorrectKeyMaterialException
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import BackingKeyState, KmsKey, Principal, WrappingAlgorithm
from hsmkms.core.operations import Environment, perform
from hsmkms.core.ports import AuthorisationRequest, Call, ImportedMaterial
from hsmkms.core.service_keys import deployment_label
from hsmkms.server.catalog import Catalog
from hsmkms.server.catalog.heartbeats import Beat
from hsmkms.server.deleter import Deleter, Deletions
from hsmkms.server.heartbeat import Heartbeat
from hsmkms.server.reconciler import Reconciler
from hsmkms.server.rotation_scheduler import Rotations, RotationScheduler
from hsmkms.server.usage_keeper import UsageKeeper
from support.simulated_token import EVERYTHING, SimulatedToken, wrap_material

DAY_S = 24 * 60 * 60
DAY_US = DAY_S * 1_000_000
ME = Principal("operator", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/operator")


@dataclass
class LivingToken(Token):
    """The token of `catalog.helpers`, which can also destroy, and seal with keys that it has.

    What it seals is as long as what a token makes, and opens while the object that sealed it is there; nothing else of it is true.
    Key pairs and HMAC keys are the unit tests' simulator's, which also opens what is imported.
    """

    simulated: SimulatedToken = field(default_factory=SimulatedToken)
    suite = SUITE
    features = EVERYTHING

    def __getattr__(self, name: str) -> Any:
        if name == "simulated":
            raise AttributeError(name)  # not there yet
        return getattr(self.simulated, name)

    async def generate_backing_key(self, cka_id: bytes, suite: Suite) -> bytes:
        await self.destroy_backing_keys(cka_id)
        await asyncio.sleep(0)
        self.objects.append(Object(cka_id, self.label, secrets.token_bytes(32)))
        return self.canary(cka_id)

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        self._require()
        found = [known for known in self.objects if (known.cka_id, known.label) == (cka_id, self.label)]
        for known in found:
            self.objects.remove(known)
            self.destroyed.append(known)
        return len(found) + await self.simulated.destroy_backing_keys(cka_id)

    async def import_key(self, material: ImportedMaterial) -> bytes:
        """As a token does: proves what comes before it destroys what is there, and then lets it in."""
        self._require()
        await self.simulated.import_key(dataclasses.replace(material, expected=b""))
        new = Object(material.cka_id, self.label, self.simulated._values.pop(material.cka_id))
        canary = canary_of(new)
        if material.expected not in (b"", canary):
            raise IncorrectKeyMaterialException("The key material is not what was imported into this key before.")
        await self.destroy_backing_keys(material.cka_id)
        self.objects.append(new)
        return canary

    async def generate_data_key_pair(self, call: Call, command: Any) -> tuple[bytes, bytes, bytes]:
        return b"public", self._wrapped(command.destination, 40), b"private"

    async def encrypt(self, call: Call, command: Any) -> bytes:
        return self._wrapped(command.destination, len(command.plaintext))

    async def generate_data_key(self, call: Call, command: Any) -> tuple[bytes, bytes]:
        length = int.from_bytes(command.header[28:32], "big") or 32
        return self._wrapped(command.destination, length), bytes(length)

    async def decrypt(self, call: Call, command: Any) -> bytes:
        self._wrapped(command.source, 16)
        return bytes(16)

    async def verify(self, call: Call, command: Any) -> None:
        self._wrapped(command.source, 16)

    async def rewrap(self, call: Call, command: Any) -> bytes:
        self._wrapped(command.source, 16)
        return self._wrapped(command.destination, len(command.wrapped) - 8)

    async def random(self, call: Call, length: int) -> bytes:
        return bytes(length)

    def _wrapped(self, key: Any, length: int) -> bytes:
        self._require()
        assert self.canary(key.cka_id) == key.canary, "the catalog's canary is not this object's"
        return bytes(length + 8)


class Everybody:
    """Allows everything."""

    def allows(self, request: AuthorisationRequest) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return lambda *_arguments, **_named: True


class Entropy:
    def salt(self) -> bytes:
        return secrets.token_bytes(16)

    def key_id(self) -> str:
        return str(uuid.uuid4())


class Ignored:
    def re_encrypted(self, *, source_is_current: bool) -> None:
        pass


@dataclass
class Front:
    """A front on a catalog, without its network side."""

    catalog: Catalog
    token: LivingToken
    clocks: Clocks
    environment: Environment
    reconciler: Reconciler
    deleter: Deleter
    heartbeat: Heartbeat
    scheduler: RotationScheduler
    keeper: UsageKeeper
    beats: list[Beat] = field(default_factory=list)
    deletions: list[Deletions] = field(default_factory=list)
    rotations: list[Rotations] = field(default_factory=list)

    async def ask(self, operation: str, *, idempotency_key: str | None = None, **members: Any) -> Any:
        """Perform an operation as the operator, with what the catalog's watch would have seen by now."""
        await self.catch_up()
        call = Call(ME, SCOPE, uuid.uuid4().hex, idempotency_key=idempotency_key)
        request = messages.OPERATIONS[operation].request(**members)
        return await perform(self.environment, call, operation, request)

    async def create(self) -> KmsKey:
        answer = await self.ask("CreateKey")
        return self.key(answer.key_metadata.key_id)

    async def import_into(self, key_id: str, material: bytes) -> None:
        """Import material for ever, as its owner does."""
        wrapping = WrappingAlgorithm.RSAES_OAEP_SHA_256
        given = await self.ask(
            "GetParametersForImport", key_id=key_id, wrapping_algorithm=wrapping, wrapping_key_spec="RSA_2048"
        )
        await self.ask(
            "ImportKeyMaterial",
            key_id=key_id,
            import_token=given.import_token,
            encrypted_key_material=wrap_material(given.public_key, wrapping, material),
            expiration_model="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )

    def key(self, key_id: str) -> KmsKey:
        found = self.catalog.view.key(SCOPE, key_id)
        assert found is not None
        return found

    async def live(self, days: float, step_s: float = 3600) -> None:
        """Let time pass with a heartbeat, a run of the scheduler and one of the deleter at each step."""
        for _ in range(round(days * DAY_S / step_s)):
            self.clocks.pass_seconds(step_s)
            await self.upkeep()

    async def upkeep(self) -> None:
        await self.heartbeat.beat()
        await self.scheduler.run_once()
        await self.deleter.run_once()

    async def execute(self, statement: str, **values: Any) -> None:
        """Change the database behind everybody's back, but with a sequence number of its own for the keys."""

        def work(transaction: Any) -> None:
            transaction.connection.execute(text(statement), values | {"sequence": transaction.sequence})

        await self.catalog._database.change(work)

    async def catch_up(self) -> None:
        await self.catalog._database.catch_up()

    def objects_of(self, key: KmsKey) -> list[Object]:
        return [found for found in self.token.objects if found.cka_id[:16] == key.uuid_bytes]

    async def backing_key_states(self) -> dict[bytes, BackingKeyState]:
        return dict(await self.catalog.known_cka_ids())


@asynccontextmanager
async def front(path: Path, clocks: Clocks, objects: list[Object] | None = None) -> AsyncIterator[Front]:
    """Run a front; two of them share a catalog by its path and a token by the list of its objects."""
    catalog = opened(path, clocks, busy_timeout_s=5.0)
    token = LivingToken(deployment_label(catalog.deployment_id), [] if objects is None else objects)
    creations = Creations(catalog.view)
    environment = Environment(
        partition="aws",
        view=catalog.view,
        changes=catalog.changes,
        creations=creations,
        token=token,
        authorizer=Everybody(),
        markers=MacedMarkers(bytes(32), clocks),
        entropy=Entropy(),
        clock=clocks,
        observer=Ignored(),
        grant_tokens=GrantTokens(bytes(32), clocks),
    )
    beats: list[Beat] = []
    deletions: list[Deletions] = []
    rotations: list[Rotations] = []
    world = Front(
        catalog,
        token,
        clocks,
        environment,
        Reconciler(catalog, token, creations, clocks),
        Deleter(catalog, token, creations, clocks, deletions.append),
        Heartbeat(catalog, clocks, clocks.monotonic, beats.append),
        RotationScheduler(catalog, environment, rotations.append),
        UsageKeeper(catalog, environment.uses),
        beats,
        deletions,
        rotations,
    )
    try:
        yield world
    finally:
        await catalog.close()


__all__ = ["DAY_S", "DAY_US", "Clocks", "Front", "front"]
