"""The catalog behind the operations, in memory: what `core.ports` says of it, without a database.

It refuses what the real one refuses, inside each change and whatever the operation saw before, and passes the same contract suite
(tests/contract/test_catalog_port.py). What no change can bring about can be set by hand: key states, keys of other accounts, last uses.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from hsmkms.core import key_states
from hsmkms.core.arns import alias_arn, key_arn
from hsmkms.core.ciphertext import Suite, key_material_id
from hsmkms.core.errors import (
    AlreadyExistsException,
    ConflictException,
    InvalidGrantIdException,
    KeyUnavailableException,
    KMSInternalException,
    KMSInvalidStateException,
    LimitExceededException,
    NotFoundException,
    ValidationException,
)
from hsmkms.core.grants import MAX_GRANTS_PER_GRANTEE, MAX_GRANTS_PER_KEY, grantee_names
from hsmkms.core.model import Alias, BackingKey, BackingKeyState, Grant, KeyState, KmsKey, RotationType, Scope, Tag
from hsmkms.core.ports import Begun, Import, Mutation
from hsmkms.core.specs import is_canary_of
from hsmkms.core.usage import KeyUse

PARTITION = "aws"
START_US = 1_700_000_000_000_000
DAY_US = 24 * 60 * 60 * 1_000_000
MAX_ROTATIONS = 25
MAX_ALIASES = 50
MAX_TAGS = 50


@dataclass
class SimulatedClock:
    """`core.ports.Clock`, set by hand."""

    us: int = START_US

    def now_us(self) -> int:
        return self.us


@dataclass
class _Kept:
    fingerprint: bytes
    expires: int
    key_id: str = ""
    version: int = 0
    answer: bytes = b""


@dataclass
class SimulatedCatalog:
    """`core.ports.CatalogView` and `CatalogChanges` in one: what was changed is seen at once."""

    clock: SimulatedClock
    keys: dict[str, KmsKey] = field(default_factory=dict)
    aliases: dict[tuple[Scope, str], Alias] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    ended_grants: set[str] = field(default_factory=set)
    uses: dict[str, KeyUse] = field(default_factory=dict)
    stale: bool = False
    changed: list[str] = field(default_factory=list)
    _kept: dict[tuple[Scope, str, str, str], _Kept] = field(default_factory=dict)
    _claimed: set[bytes] = field(default_factory=set)
    _seen: tuple[object, ...] = ()
    _revision: int = 0

    # The view

    @property
    def revision(self) -> int:
        seen = dict(self.keys), dict(self.aliases), dict(self.grants)
        if seen != self._seen:
            self._seen = seen
            self._revision += 1
        return self._revision

    def require_fresh(self) -> None:
        if self.stale:
            raise KeyUnavailableException("The key catalog cannot be reached. Try again later.")

    def key(self, scope: Scope, key_id: str) -> KmsKey | None:
        key = self.keys.get(key_id)
        return key if key is not None and key.scope == scope else None

    def key_by_uuid(self, key_uuid: bytes) -> KmsKey | None:
        return self.keys.get(str(uuid.UUID(bytes=key_uuid)))

    def alias(self, scope: Scope, name: str) -> Alias | None:
        return self.aliases.get((scope, name))

    def last_use(self, key_id: str) -> KeyUse | None:
        return self.uses.get(key_id)

    def keys_after(self, scope: Scope, key_id: str, limit: int) -> Sequence[KmsKey]:
        return [key for name, key in sorted(self.keys.items()) if key.scope == scope and name > key_id][:limit]

    def alias_names(self, scope: Scope, key_id: str) -> Sequence[str]:
        return [alias.name for alias in self.aliases_after(scope, "", MAX_ALIASES, key_id)]

    def aliases_after(self, scope: Scope, name: str, limit: int, key_id: str | None = None) -> Sequence[Alias]:
        found = sorted((alias for alias in self.aliases.values() if alias.scope == scope), key=lambda alias: alias.name)
        return [alias for alias in found if alias.name > name and key_id in (None, alias.key_id)][:limit]

    def grant(self, scope: Scope, key_id: str, grant_id: str) -> Grant | None:
        grant = self.grants.get(grant_id)
        return grant if grant is not None and (grant.scope, grant.key_id) == (scope, key_id) else None

    def grant_has_ended(self, grant_id: str) -> bool:
        return grant_id in self.ended_grants

    def grants_to(self, key_id: str, name: str) -> Sequence[Grant]:
        return [grant for grant in self._grants_of(key_id) if name in grantee_names(grant.grantee_principal)]

    def grants_after(self, key_id: str, grant_id: str, limit: int, grantee: str | None = None) -> Sequence[Grant]:
        found = [grant for grant in self._grants_of(key_id) if grantee in (None, grant.grantee_principal)]
        return [grant for grant in found if grant.grant_id > grant_id][:limit]

    def retirable_grants_after(self, region: str, principal: str, grant_id: str, limit: int) -> Sequence[Grant]:
        found = [grant for _, grant in sorted(self.grants.items()) if grant.retiring_principal]  # empty is nobody
        found = [grant for grant in found if (grant.scope.region, grant.retiring_principal) == (region, principal)]
        return [grant for grant in found if grant.grant_id > grant_id][:limit]

    # The changes

    async def recall(self, mutation: Mutation) -> bytes | None:
        kept = self._kept.get(_name(mutation)) if mutation.idempotency_key is not None else None
        if kept is None or kept.fingerprint != mutation.fingerprint or kept.expires <= self.clock.us:
            return None
        return None if kept.key_id and not kept.answer else kept.answer or b"{}"

    async def begin_key(self, mutation: Mutation, key: KmsKey) -> Begun:
        if (kept := self._find(mutation)) is not None:
            return self._begun_before(kept)
        self.put(replace(key, tags=_in_order(key.tags)))
        self._keep(mutation, key.key_id, 1)
        return Begun(self.keys[key.key_id], 1)

    async def begin_rotation(self, mutation: Mutation, key: KmsKey, suite: Suite, rotation_type: RotationType) -> Begun:
        if (kept := self._find(mutation)) is not None:
            return self._begun_before(kept)
        key = self._require("RotateKeyOnDemand", key)
        arn = key_arn(PARTITION, key.scope, key.key_id)
        if any(one.state is BackingKeyState.CREATING for one in key.backing_keys.values()):
            raise ConflictException(f"A rotation of {arn} is in progress.")
        next_rotation = key.next_rotation
        if rotation_type is RotationType.AUTOMATIC:
            if key.rotation_period_days is None or next_rotation is None or next_rotation > self.clock.us:
                raise ConflictException(f"{arn} is not due for rotation.")
            period = key.rotation_period_days * DAY_US
            next_rotation += ((self.clock.us - next_rotation) // period + 1) * period
        elif sum(one.rotation_type is RotationType.ON_DEMAND for one in key.backing_keys.values()) >= MAX_ROTATIONS:
            raise LimitExceededException(f"{arn} has reached its limit of {MAX_ROTATIONS} on-demand rotations.")
        version = max(key.backing_keys) + 1
        new = BackingKey(version, suite, BackingKeyState.CREATING, b"", "", self.clock.us, rotation_type)
        key = self._write(key, backing_keys={**key.backing_keys, version: new}, next_rotation=next_rotation)
        self._keep(mutation, key.key_id, version)
        return Begun(key, version)

    async def finish_backing_key(self, mutation: Mutation, begun: Begun, canary: bytes, answer: bytes) -> KmsKey:
        key = self._require_key(begun.key.scope, begun.key.key_id)
        if not is_canary_of(key.spec, canary):
            raise KMSInternalException(detail=f"a canary of {len(canary)} bytes")
        arn = key_arn(PARTITION, key.scope, key.key_id)
        old = key.backing_keys[begun.version]
        if old.state is BackingKeyState.ACTIVE and old.canary != canary:
            raise ConflictException(f"Another request created the key material of {arn}.")
        if old.state not in (BackingKeyState.ACTIVE, BackingKeyState.CREATING):
            raise KMSInvalidStateException(f"{arn} is deleted.")
        if old.state is BackingKeyState.CREATING:
            ready = replace(
                old,
                state=BackingKeyState.ACTIVE,
                canary=canary,
                material_id=key_material_id(canary),
                rotated=self.clock.us if old.rotation_type else None,
            )
            key = self._write(
                key,
                state=KeyState.ENABLED if key.state is KeyState.CREATING else key.state,
                current_version=max(begun.version, key.current_version),
                backing_keys={**key.backing_keys, begun.version: ready},
            )
        kept = self._find(mutation)
        if kept is not None and not kept.answer:
            kept.answer = answer
        return key

    async def create_key_without_material(self, mutation: Mutation, key: KmsKey, answer: bytes) -> bytes:
        if (kept := self._find(mutation)) is not None:
            return kept.answer
        if key.state is not KeyState.PENDING_IMPORT or key.backing_keys:
            raise KMSInternalException(detail="a key without material is PendingImport")
        self.put(replace(key, tags=_in_order(key.tags)))
        return self._keep(mutation, answer=answer)

    async def begin_import(self, mutation: Mutation, key: KmsKey, imported: Import) -> Begun:
        key = self._require("ImportKeyMaterial", key)
        arn = key_arn(PARTITION, key.scope, key.key_id)
        old = key.backing_keys.get(imported.version)
        if old is not None and old.state is BackingKeyState.DESTROYING:
            raise KeyUnavailableException(f"The key material of {arn} is being deleted. Try again.")
        if old is None:
            old = BackingKey(imported.version, imported.suite, BackingKeyState.CREATING, b"", "", self.clock.us)
        elif old.state is not BackingKeyState.ACTIVE:
            old = replace(old, state=BackingKeyState.CREATING, suite=imported.suite)
        return Begun(self.put(replace(key, backing_keys={**key.backing_keys, imported.version: old})), imported.version)

    async def finish_import(
        self, mutation: Mutation, begun: Begun, imported: Import, canary: bytes, answer: bytes
    ) -> KmsKey:
        key = self._require("ImportKeyMaterial", begun.key)
        old = key.backing_keys[begun.version]
        if old.state not in (BackingKeyState.CREATING, BackingKeyState.ACTIVE) or old.canary not in (b"", canary):
            arn = key_arn(PARTITION, key.scope, key.key_id)
            raise ConflictException(f"Another request changed the key material of {arn}.")
        ready = replace(
            old,
            state=BackingKeyState.ACTIVE,
            canary=canary,
            material_id=key_material_id(canary),
            expiry=imported.expiry,
            description=old.description if imported.description is None else imported.description,
        )
        key = self._write(
            key,
            state=KeyState.ENABLED,
            current_version=begun.version,
            backing_keys={**key.backing_keys, begun.version: ready},
        )
        if self._find(mutation) is None:
            self._keep(mutation, answer=answer)
        return key

    async def abandon_import(self, begun: Begun) -> None:
        key = self._require_key(begun.key.scope, begun.key.key_id)
        old = key.backing_keys.get(begun.version)
        if old is None or old.state is not BackingKeyState.CREATING:
            return
        others = {version: one for version, one in key.backing_keys.items() if version != begun.version}
        if old.canary:
            others[begun.version] = replace(old, state=BackingKeyState.PENDING_IMPORT)
        self.put(replace(key, backing_keys=others))

    async def delete_imported(self, mutation: Mutation, key: KmsKey, version: int, answer: bytes) -> bytes:
        if (kept := self._find(mutation)) is not None:
            return kept.answer
        key = self._require("DeleteImportedKeyMaterial", key)
        old = key.backing_keys.get(version)
        arn = key_arn(PARTITION, key.scope, key.key_id)
        if old is None:
            raise NotFoundException(f"{arn} has no key material of version {version}.")
        if old.state is BackingKeyState.CREATING:
            raise ConflictException(f"An import into {arn} is in progress.")
        if old.state is BackingKeyState.ACTIVE:
            self._write(
                key,
                state=key.state if key.state is KeyState.PENDING_DELETION else KeyState.PENDING_IMPORT,
                current_version=0,
                backing_keys={
                    **key.backing_keys,
                    version: replace(old, state=BackingKeyState.DESTROYING, expiry=None),
                },
            )
        return self._keep(mutation, answer=answer)

    async def claim_destruction(self, cka_id: bytes) -> None:
        key = self.key_by_uuid(cka_id[:16])
        version = int.from_bytes(cka_id[16:], "big")
        if key is None or key.backing_keys[version].state is not BackingKeyState.DESTROYING:
            raise ConflictException("This key material is not to be destroyed any more.")
        self._claimed.add(cka_id)

    async def finish_destruction(self, cka_id: bytes) -> None:
        key = self.key_by_uuid(cka_id[:16])
        version = int.from_bytes(cka_id[16:], "big")
        if key is not None and key.backing_keys[version].state is BackingKeyState.DESTROYING:
            if cka_id not in self._claimed:
                raise ConflictException("Another request has taken up this key material.")
            self._claimed.discard(cka_id)
            gone = replace(key.backing_keys[version], state=BackingKeyState.PENDING_IMPORT)
            self.put(replace(key, backing_keys={**key.backing_keys, version: gone}))

    async def set_state(self, mutation: Mutation, key: KmsKey, state: KeyState) -> None:
        if self._find(mutation) is None:
            key = self._require("EnableKey" if state is KeyState.ENABLED else "DisableKey", key)
            self._write(key, state=state)
            self._keep(mutation)

    async def schedule_deletion(
        self, mutation: Mutation, key: KmsKey, deletion_date: int, window_days: int, answer: bytes
    ) -> bytes:
        if (kept := self._find(mutation)) is not None:
            return kept.answer
        key = self._require("ScheduleKeyDeletion", key)
        self._write(key, state=KeyState.PENDING_DELETION, deletion_date=deletion_date, pending_window_days=window_days)
        return self._keep(mutation, answer=answer)

    async def cancel_deletion(self, mutation: Mutation, key: KmsKey, answer: bytes) -> bytes:
        if (kept := self._find(mutation)) is not None:
            return kept.answer
        key = self._require("CancelKeyDeletion", key)
        self._write(key, state=KeyState.DISABLED, deletion_date=None, pending_window_days=None)
        return self._keep(mutation, answer=answer)

    async def enable_rotation(self, mutation: Mutation, key: KmsKey, period_days: int) -> None:
        if self._find(mutation) is None:
            key = self._require("EnableKeyRotation", key)
            if key.rotation_period_days != period_days:
                next_rotation = self.clock.us + period_days * DAY_US
                self._write(key, rotation_period_days=period_days, next_rotation=next_rotation)
            self._keep(mutation)

    async def disable_rotation(self, mutation: Mutation, key: KmsKey) -> None:
        if self._find(mutation) is None:
            self._write(self._require("DisableKeyRotation", key), rotation_period_days=None, next_rotation=None)
            self._keep(mutation)

    async def set_description(self, mutation: Mutation, key: KmsKey, description: str) -> None:
        if self._find(mutation) is None:
            self._write(self._require("UpdateKeyDescription", key), description=description)
            self._keep(mutation)

    async def set_policy(self, mutation: Mutation, key: KmsKey, policy: str) -> None:
        if self._find(mutation) is None:
            self._write(self._require("PutKeyPolicy", key), policy=policy)
            self._keep(mutation)

    async def tag(self, mutation: Mutation, key: KmsKey, tags: Sequence[Tag]) -> None:
        if self._find(mutation) is None:
            key = self._require("TagResource", key)
            together = {tag.tag_key: tag for tag in (*key.tags, *tags)}
            if len(together) > MAX_TAGS:
                arn = key_arn(PARTITION, key.scope, key.key_id)
                raise LimitExceededException(f"{arn} would have more than {MAX_TAGS} tags.")
            self._write(key, tags=_in_order(together.values()))
            self._keep(mutation)

    async def untag(self, mutation: Mutation, key: KmsKey, tag_keys: Sequence[str]) -> None:
        if self._find(mutation) is None:
            key = self._require("UntagResource", key)
            self._write(key, tags=tuple(tag for tag in key.tags if tag.tag_key not in tag_keys))
            self._keep(mutation)

    async def create_alias(self, mutation: Mutation, alias: Alias) -> None:
        if self._find(mutation) is not None:
            return
        if (alias.scope, alias.name) in self.aliases:
            arn = alias_arn(PARTITION, alias.scope, alias.name)
            raise AlreadyExistsException(f"An alias with the name {arn} already exists")
        self._require_room(alias.scope, alias.key_id)
        self.aliases[alias.scope, alias.name] = alias
        self._keep(mutation)

    async def update_alias(self, mutation: Mutation, scope: Scope, name: str, key_id: str) -> None:
        if self._find(mutation) is not None:
            return
        alias = self._require_alias(scope, name)
        self._require_room(scope, key_id, already_there=alias.key_id == key_id)
        self.aliases[scope, name] = replace(alias, key_id=key_id, updated=self.clock.us)
        self._keep(mutation)

    async def delete_alias(self, mutation: Mutation, scope: Scope, name: str) -> None:
        if self._find(mutation) is None:
            self._require_alias(scope, name)
            del self.aliases[scope, name]
            self._keep(mutation)

    async def create_grant(self, mutation: Mutation, grant: Grant, answer: Callable[[Grant], bytes]) -> bytes:
        if (kept := self._find(mutation)) is not None:
            return kept.answer
        key = self._require("CreateGrant", self._require_key(grant.scope, grant.key_id))
        there_is = self._twin(grant)
        if there_is is None:
            self._require_room_for(key, grant)
            self.grants[grant.grant_id] = there_is = grant
        return self._keep(mutation, answer=answer(there_is))

    async def end_grant(self, mutation: Mutation, scope: Scope, key_id: str, grant_id: str) -> None:
        if self._find(mutation) is None:
            if self.grant(scope, key_id, grant_id) is None:
                raise InvalidGrantIdException(f"Grant ID {grant_id[:64]} is not found.")
            del self.grants[grant_id]
            self.ended_grants.add(grant_id)
            self._keep(mutation)

    # By hand

    def put(self, key: KmsKey) -> KmsKey:
        """Write a key as it is given."""
        self.keys[key.key_id] = key
        return key

    # Behind both

    def _write(self, key: KmsKey, **values: object) -> KmsKey:
        return self.put(replace(key, updated=self.clock.us, **values))  # type: ignore[arg-type]

    def _find(self, mutation: Mutation) -> _Kept | None:
        kept = self._kept.get(_name(mutation)) if mutation.idempotency_key is not None else None
        if kept is None or kept.expires <= self.clock.us:
            return None
        if kept.fingerprint != mutation.fingerprint:
            raise ValidationException(
                f"The idempotency key was used for another {mutation.operation} request in the last 24 hours. "
                "Use a new idempotency key for a new request."
            )
        return kept

    def _keep(self, mutation: Mutation, key_id: str = "", version: int = 0, answer: bytes = b"") -> bytes:
        self.changed.append(mutation.operation)
        if mutation.idempotency_key is not None:
            expires = self.clock.us + DAY_US
            self._kept[_name(mutation)] = _Kept(mutation.fingerprint, expires, key_id, version, answer)
        return answer

    def _begun_before(self, kept: _Kept) -> Begun:
        key = self.keys[kept.key_id]
        finished = key.backing_keys[kept.version].state is not BackingKeyState.CREATING
        return Begun(key, kept.version, kept.answer, finished)

    def _require_key(self, scope: Scope, key_id: str) -> KmsKey:
        key = self.key(scope, key_id)
        if key is None:
            raise NotFoundException(f"Key '{key_arn(PARTITION, scope, key_id)}' does not exist")
        return key

    def _require(self, operation: str, key: KmsKey) -> KmsKey:
        """Return a key as it is now, if the operation is possible in its state."""
        key = self._require_key(key.scope, key.key_id)
        key_states.require(operation, key.state, key_arn(PARTITION, key.scope, key.key_id))
        return key

    def _require_alias(self, scope: Scope, name: str) -> Alias:
        alias = self.alias(scope, name)
        if alias is None:
            raise NotFoundException(f"Alias {alias_arn(PARTITION, scope, name)} is not found.")
        return alias

    def _require_room(self, scope: Scope, key_id: str, *, already_there: bool = False) -> None:
        self._require("CreateAlias", self._require_key(scope, key_id))
        if not already_there and len(self.aliases_after(scope, "", MAX_ALIASES, key_id)) >= MAX_ALIASES:
            arn = key_arn(PARTITION, scope, key_id)
            raise LimitExceededException(f"{arn} has reached its limit of {MAX_ALIASES} aliases.")

    def _grants_of(self, key_id: str) -> list[Grant]:
        return [grant for _, grant in sorted(self.grants.items()) if grant.key_id == key_id]

    def _twin(self, grant: Grant) -> Grant | None:
        """Return the living grant of the same name that is the same in all else, the oldest of them."""
        same = [
            other
            for other in self._grants_of(grant.key_id)
            if grant.name and replace(other, grant_id=grant.grant_id, created=grant.created) == grant
        ]
        return min(same, key=lambda other: other.created, default=None)

    def _require_room_for(self, key: KmsKey, grant: Grant) -> None:
        arn = key_arn(PARTITION, key.scope, key.key_id)
        of_key = self._grants_of(key.key_id)
        to_grantee = [other for other in of_key if other.grantee_principal == grant.grantee_principal]
        if len(of_key) >= MAX_GRANTS_PER_KEY:
            raise LimitExceededException(f"{arn} has reached its limit of {MAX_GRANTS_PER_KEY} grants.")
        if len(to_grantee) >= MAX_GRANTS_PER_GRANTEE:
            whose = f" to {grant.grantee_principal}"
            raise LimitExceededException(f"{arn} has reached its limit of {MAX_GRANTS_PER_GRANTEE} grants{whose}.")


def _in_order(tags: Iterable[Tag]) -> tuple[Tag, ...]:
    return tuple(sorted(tags, key=lambda tag: tag.tag_key))


def _name(mutation: Mutation) -> tuple[Scope, str, str, str]:
    return mutation.scope, mutation.principal, mutation.operation, mutation.idempotency_key or ""
