"""The catalog's changes (`hsmkms.core.ports.CatalogChanges`): each one a transaction, made once under its idempotency key.

What a change needs to be allowed is checked inside its transaction, whatever the caller saw in the view before. A change that is
refused leaves nothing behind, its idempotency key included: the repetition is judged anew. For one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hsmkms.core.ciphertext import Suite
from hsmkms.core.errors import KMSInternalException
from hsmkms.core.model import Alias, BackingKeyState, Grant, KeyState, KmsKey, RotationType, Scope, Tag
from hsmkms.core.ports import Begun, Import, Mutation
from hsmkms.server.catalog import (
    aliases,
    claims,
    deletion,
    grants,
    idempotency,
    imports,
    keys,
    metadata,
    rotation_schedule,
    rows,
)
from hsmkms.server.catalog.database import Database, Transaction
from hsmkms.server.catalog.idempotency import Kept


@dataclass(slots=True)
class Store:
    """Changes of one catalog.

    Args:
        database: Where they are made.
        partition: The partition of the ARNs in error texts.
        token: Label and serial number of the token that new backing keys are made on.
    """

    database: Database
    partition: str
    token: str

    async def recall(self, mutation: Mutation) -> bytes | None:
        """Return the answer that was given under this idempotency key, as JSON, or None if there is none yet."""
        if mutation.idempotency_key is None:
            return None
        now = self.database.now_us()
        return await self.database.read(lambda connection: idempotency.answer_of(connection, mutation, now))

    async def begin_key(self, mutation: Mutation, key: KmsKey) -> Begun:
        """Write a key as Creating with its backing key, version 1, as Creating.

        Args:
            mutation: The circumstances.
            key: The key, with its first backing key (its suite counts) and its tags.

        Raises:
            KeyUnavailableException: another process is creating it under the same idempotency key; try again.
        """
        return await self._begin(mutation, lambda transaction: keys.begin_key(transaction, key, self.token))

    async def begin_rotation(self, mutation: Mutation, key: KmsKey, suite: Suite, rotation_type: RotationType) -> Begun:
        """Write the next backing key of an Enabled key as Creating; an AUTOMATIC one only when it is due, with the next date.

        Raises:
            ConflictException: another backing key of this key is Creating, or an AUTOMATIC one is not due.
            LimitExceededException: 25 on-demand rotations were made.
            DisabledException, KMSInvalidStateException: the key is not Enabled.
            NotFoundException: there is no such key.
        """
        return await self._begin(
            mutation,
            lambda transaction: keys.begin_rotation(transaction, self.partition, key, suite, rotation_type, self.token),
        )

    async def finish_backing_key(self, mutation: Mutation, begun: Begun, canary: bytes, answer: bytes) -> KmsKey:
        """Make the backing key Active and current, and a Creating key Enabled; keep the answer. Return the key.

        A second time with the same canary it only keeps the answer, if there is none yet.

        Raises:
            ConflictException: it is Active with another canary: its object was made by another request.
        """

        def work(transaction: Transaction) -> KmsKey:
            key = keys.finish_backing_key(transaction, self.partition, begun, canary)
            idempotency.keep_answer(transaction, mutation, answer)
            return key

        return await self.database.change(work)

    async def create_key_without_material(self, mutation: Mutation, key: KmsKey, answer: bytes) -> bytes:
        """Write a key of origin EXTERNAL as PendingImport, and keep the answer. Return it, or the one given before.

        Args:
            mutation: The circumstances.
            key: The key, without backing keys, with its tags.
            answer: What the caller is told.
        """
        return await self._answer_once(
            mutation, lambda transaction: keys.create_key_without_material(transaction, key), answer
        )

    async def begin_import(self, mutation: Mutation, key: KmsKey, imported: Import) -> Begun:
        """Write that material is on its way into a key of origin EXTERNAL (`hsmkms.server.catalog.imports`).

        Raises:
            ConflictException: another import is under way.
            KeyUnavailableException: the old material is being deleted just now, or another process imports.
            DisabledException, KMSInvalidStateException: the key's state does not allow it.
            NotFoundException: there is no such key.
        """
        return await self.database.change(
            lambda transaction: imports.begin_import(transaction, self.partition, key, imported, self.token)
        )

    async def finish_import(
        self, mutation: Mutation, begun: Begun, imported: Import, canary: bytes, answer: bytes
    ) -> KmsKey:
        """Make imported material Active, with its expiry, and its key Enabled; keep the answer.

        Raises:
            ConflictException: another process has taken the import up, or the material is not what was imported before.
            KMSInvalidStateException: the key's state does not allow it any more.
            NotFoundException: there is no such key.
        """

        def work(transaction: Transaction) -> KmsKey:
            key = imports.finish_import(transaction, self.partition, begun, imported, canary)
            if idempotency.find(transaction, mutation) is None:
                idempotency.keep(transaction, mutation, Kept(answer=answer))
            return key

        return await self.database.change(work)

    async def abandon_import(self, begun: Begun) -> None:
        """Write that an import came to nothing, and that nothing of it is on the token.

        Raises:
            ConflictException: another process has taken it up.
            NotFoundException: there is no such key.
        """
        await self.database.change(lambda transaction: imports.abandon_import(transaction, self.partition, begun))

    async def delete_imported(self, mutation: Mutation, key: KmsKey, version: int, answer: bytes) -> bytes:
        """Take imported material out of use, and keep the answer. Return it, or the one given before.

        Raises:
            ConflictException: it is just being imported.
            KMSInvalidStateException: the key's state does not allow it.
            NotFoundException: there is no such key or material.
        """
        return await self._answer_once(
            mutation, lambda transaction: imports.delete_imported(transaction, self.partition, key, version), answer
        )

    async def claim_destruction(self, cka_id: bytes) -> None:
        """Claim the destruction of a backing key that is Destroying; the token is to be asked at once.

        Raises:
            ConflictException: it is not Destroying any more, or another process imports or destroys it.
        """
        await self.database.change(lambda transaction: deletion.claim_destruction(transaction, cka_id))

    async def finish_destruction(self, cka_id: bytes) -> None:
        """Note that nothing of that CKA_ID is on the token any more.

        Raises:
            ConflictException: another process has taken its destruction up.
        """
        await self.database.change(lambda transaction: deletion.finish_destruction(transaction, cka_id))

    async def set_state(self, mutation: Mutation, key: KmsKey, state: KeyState) -> None:
        """Make a key Enabled or Disabled; one that is so already stays so.

        Raises:
            KMSInvalidStateException: the key is in a state that allows neither.
            NotFoundException: there is no such key.
        """
        await self._once(mutation, lambda transaction: keys.set_state(transaction, self.partition, key, state))

    async def schedule_deletion(
        self, mutation: Mutation, key: KmsKey, deletion_date: int, window_days: int, answer: bytes
    ) -> bytes:
        """Make a key PendingDeletion, and keep the answer. Return it, or the one given before under this idempotency key.

        Args:
            mutation: The circumstances.
            key: The key.
            deletion_date: When the waiting period ends by the clock, in microseconds since 1970, UTC.
            window_days: Its length in days.
            answer: What the caller is told.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
            NotFoundException: there is no such key.
        """
        return await self._answer_once(
            mutation,
            lambda transaction: deletion.schedule(transaction, self.partition, key, deletion_date, window_days),
            answer,
        )

    async def cancel_deletion(self, mutation: Mutation, key: KmsKey, answer: bytes) -> bytes:
        """Make a key that is PendingDeletion Disabled, and keep the answer. Return it, or the one given before.

        Raises:
            KMSInvalidStateException: the key is not pending deletion.
            NotFoundException: there is no such key, or it is deleted.
        """
        return await self._answer_once(
            mutation, lambda transaction: deletion.cancel(transaction, self.partition, key), answer
        )

    async def enable_rotation(self, mutation: Mutation, key: KmsKey, period_days: int) -> None:
        """Let a key rotate by itself every so many days; one that does so with that period already keeps its next date.

        Raises:
            DisabledException, KMSInvalidStateException: the key is not Enabled.
            NotFoundException: there is no such key.
        """
        await self._once(
            mutation,
            lambda transaction: rotation_schedule.enable_rotation(transaction, self.partition, key, period_days),
        )

    async def disable_rotation(self, mutation: Mutation, key: KmsKey) -> None:
        """Let a key rotate by itself no longer.

        Raises:
            DisabledException, KMSInvalidStateException: the key is not Enabled.
            NotFoundException: there is no such key.
        """
        await self._once(
            mutation, lambda transaction: rotation_schedule.disable_rotation(transaction, self.partition, key)
        )

    async def set_description(self, mutation: Mutation, key: KmsKey, description: str) -> None:
        """Change a key's description.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
            NotFoundException: there is no such key.
        """
        await self._once(
            mutation, lambda transaction: metadata.set_description(transaction, self.partition, key, description)
        )

    async def set_policy(self, mutation: Mutation, key: KmsKey, policy: str) -> None:
        """Replace a key's policy.

        Raises:
            NotFoundException: there is no such key.
        """
        await self._once(mutation, lambda transaction: metadata.set_policy(transaction, self.partition, key, policy))

    async def tag(self, mutation: Mutation, key: KmsKey, tags: Sequence[Tag]) -> None:
        """Give a key these tags; those that it has get the new values.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
            LimitExceededException: it would have more than 50.
            NotFoundException: there is no such key.
        """
        await self._once(mutation, lambda transaction: metadata.tag(transaction, self.partition, key, tags))

    async def untag(self, mutation: Mutation, key: KmsKey, tag_keys: Sequence[str]) -> None:
        """Take the tags of these keys from a key, those that it has.

        Raises:
            KMSInvalidStateException: the key's state does not allow it.
            NotFoundException: there is no such key.
        """
        await self._once(mutation, lambda transaction: metadata.untag(transaction, self.partition, key, tag_keys))

    async def create_alias(self, mutation: Mutation, alias: Alias) -> None:
        """Write a new alias.

        Raises:
            AlreadyExistsException: there is one of that name.
            KMSInvalidStateException: the key is pending deletion.
            LimitExceededException: the key has 50 aliases.
            NotFoundException: there is no such key.
        """
        await self._once(mutation, lambda transaction: aliases.create_alias(transaction, self.partition, alias))

    async def update_alias(self, mutation: Mutation, scope: Scope, name: str, key_id: str) -> None:
        """Point an alias to another key.

        Raises:
            KMSInvalidStateException: the key is pending deletion.
            LimitExceededException: the key has 50 aliases.
            NotFoundException: there is no alias of that name, or no such key.
        """
        await self._once(
            mutation, lambda transaction: aliases.update_alias(transaction, self.partition, scope, name, key_id)
        )

    async def delete_alias(self, mutation: Mutation, scope: Scope, name: str) -> None:
        """Delete an alias.

        Raises:
            NotFoundException: there is none of that name.
        """
        await self._once(mutation, lambda transaction: aliases.delete_alias(transaction, self.partition, scope, name))

    async def create_grant(self, mutation: Mutation, grant: Grant, answer: Callable[[Grant], bytes]) -> bytes:
        """Write a new grant, or find the one of the same name that is the same in all else; keep and return the answer.

        Args:
            mutation: The circumstances.
            grant: The grant.
            answer: Makes the answer, never empty, from the grant that there is then; called in another thread.

        Raises:
            DisabledException, KMSInvalidStateException: the key's state does not allow it.
            LimitExceededException: the key, or the grantee on this key, has as many as it may.
            NotFoundException: there is no such key.
        """

        def work(transaction: Transaction) -> bytes:
            kept = idempotency.find(transaction, mutation)
            if kept is not None:
                return kept.answer
            given = answer(grants.create_grant(transaction, self.partition, grant))
            idempotency.keep(transaction, mutation, Kept(answer=given))
            return given

        return await self.database.change(work)

    async def end_grant(self, mutation: Mutation, scope: Scope, key_id: str, grant_id: str) -> None:
        """Retire or revoke a grant.

        Raises:
            InvalidGrantIdException: that key has no such grant.
        """
        await self._once(mutation, lambda transaction: grants.end_grant(transaction, scope, key_id, grant_id))

    async def _once(self, mutation: Mutation, effect: Callable[[Transaction], None]) -> None:
        def work(transaction: Transaction) -> None:
            if idempotency.find(transaction, mutation) is None:
                effect(transaction)
                idempotency.keep(transaction, mutation, Kept())

        await self.database.change(work)

    async def _answer_once(self, mutation: Mutation, effect: Callable[[Transaction], None], answer: bytes) -> bytes:
        def work(transaction: Transaction) -> bytes:
            kept = idempotency.find(transaction, mutation)
            if kept is not None:
                return kept.answer
            effect(transaction)
            idempotency.keep(transaction, mutation, Kept(answer=answer))
            return answer

        return await self.database.change(work)

    async def _begin(self, mutation: Mutation, effect: Callable[[Transaction], Begun]) -> Begun:
        def work(transaction: Transaction) -> Begun:
            kept = idempotency.find(transaction, mutation)
            if kept is not None:
                return _begun_before(transaction, kept)
            begun = effect(transaction)
            idempotency.keep(transaction, mutation, Kept(begun.key.key_id, begun.version))
            return begun

        return await self.database.change(work)


def _begun_before(transaction: Transaction, kept: Kept) -> Begun:
    key = rows.read_key(transaction.connection, kept.key_id)
    backing_key = key.backing_keys.get(kept.version) if key else None
    if key is None or backing_key is None:
        raise KMSInternalException(detail=f"an idempotency row names backing key {kept.version} of {kept.key_id!r}")
    if backing_key.state is BackingKeyState.CREATING:
        claims.claim(transaction, key.scope, key.cka_id(kept.version))
    return Begun(key, kept.version, kept.answer, finished=backing_key.state is not BackingKeyState.CREATING)
