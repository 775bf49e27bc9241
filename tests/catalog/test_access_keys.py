"""Access keys in the catalog: two for a principal, gone when deleted, known to other processes without a question."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from catalog.helpers import SECOND, START, Clocks, opened, running, until, watching
from hsmkms.core.access_keys import AccessKey, AccessKeyStatus, AccessKeyUse
from hsmkms.core.errors import AlreadyExistsException, LimitExceededException, NotFoundException
from hsmkms.server.catalog import schema
from hsmkms.server.catalog.access_key_index import AccessKeyIndex
from hsmkms.server.catalog.rows import AccessKeyRow

ACTIVE, INACTIVE = AccessKeyStatus.ACTIVE, AccessKeyStatus.INACTIVE


def key_of(letter, principal="alice", created=START):
    return AccessKey(f"AKIA{letter * 16}", "111122223333", principal, ACTIVE, created, sealed=letter.encode())


A, B, C = key_of("A"), key_of("B", created=START + 1), key_of("C")


async def test_the_life_of_an_access_key(path):
    async with running(path) as catalog:
        keys = catalog.view.access_keys
        await catalog.create_access_key(A)
        assert keys.get(A.access_key_id) == A
        await catalog.set_access_key_status(A.access_key_id, INACTIVE)
        assert keys.get(A.access_key_id) == replace(A, status=INACTIVE)
        await catalog.set_access_key_status(A.access_key_id, INACTIVE)
        await catalog.set_access_key_status(A.access_key_id, ACTIVE)
        assert keys.get(A.access_key_id) == A
        await catalog.delete_access_key(A.access_key_id)
        assert keys.get(A.access_key_id) is None
        assert keys.all() == []
        for change in (
            catalog.delete_access_key(A.access_key_id),
            catalog.set_access_key_status(A.access_key_id, ACTIVE),
            catalog.delete_access_key(B.access_key_id),
        ):
            with pytest.raises(NotFoundException, match="cannot be found"):
                await change
        with pytest.raises(AlreadyExistsException):
            await catalog.create_access_key(A)  # an id that was deleted never lives again
        (sealed,) = await catalog._database.read(
            lambda c: c.execute(select(schema.access_keys.c.sealed)).scalars().all()
        )
        assert sealed == b""


async def test_a_principal_has_two_at_most(path):
    async with running(path) as catalog:
        await catalog.create_access_key(A)
        await catalog.create_access_key(B)
        await catalog.set_access_key_status(A.access_key_id, INACTIVE)
        with pytest.raises(LimitExceededException, match="Cannot exceed quota for AccessKeysPerUser: 2"):
            await catalog.create_access_key(C)
        await catalog.create_access_key(replace(C, principal="bob"))
        await catalog.delete_access_key(A.access_key_id)
        await catalog.create_access_key(key_of("D"))
        found = [(key.principal, key.access_key_id[4]) for key in catalog.view.access_keys.all()]
        assert found == [("alice", "D"), ("alice", "B"), ("bob", "C")]
        assert [key.access_key_id[4] for key in catalog.view.access_keys.of_principal("alice")] == ["D", "B"]


async def test_last_uses_only_go_forward_and_not_to_the_dead(path):
    async with running(path) as catalog:
        await catalog.create_access_key(A)
        await catalog.create_access_key(B)
        await catalog.delete_access_key(B.access_key_id)
        uses = [AccessKeyUse(key.access_key_id, "kms", START + 5) for key in (A, B, C)]
        await catalog.record_access_key_uses(uses)
        await catalog.record_access_key_uses([AccessKeyUse(A.access_key_id, "sts", START + 4)])
        found = catalog.view.access_keys.get(A.access_key_id)
        assert (found.last_used, found.last_service) == (START + 5, "kms")
        assert [key.access_key_id for key in catalog.view.access_keys.all()] == [A.access_key_id]


async def test_another_process_learns_of_each_change(path):
    clocks = Clocks()
    async with running(path, clocks) as mine, running(path, clocks) as theirs, watching(theirs):
        told: list[str] = []
        theirs.view.access_keys.listen(told.append)
        await mine.create_access_key(A)
        await until(lambda: theirs.view.access_keys.get(A.access_key_id) == A)
        await mine.record_access_key_uses([AccessKeyUse(A.access_key_id, "kms", START + SECOND)])
        await until(lambda: theirs.view.access_keys.get(A.access_key_id).last_used)
        assert told == [A.access_key_id]
        await mine.set_access_key_status(A.access_key_id, INACTIVE)
        await until(lambda: theirs.view.access_keys.get(A.access_key_id).status is INACTIVE)
        await mine.delete_access_key(A.access_key_id)
        await until(lambda: theirs.view.access_keys.get(A.access_key_id) is None)
        assert told == [A.access_key_id] * 3


async def test_they_are_there_after_a_restart(path):
    async with running(path) as catalog:
        for key in (A, B):
            await catalog.create_access_key(key)
        await catalog.delete_access_key(A.access_key_id)
    after = opened(path)
    assert after.view.access_keys.all() == [B]
    await after.close()


def test_an_older_row_after_a_newer_one_changes_nothing():
    index = AccessKeyIndex()
    told: list[str] = []
    index.listen(told.append)
    index.apply([AccessKeyRow(5, replace(A, status=INACTIVE), deleted=False)])
    index.apply([AccessKeyRow(4, A, deleted=False), AccessKeyRow(5, A, deleted=False)])
    assert index.get(A.access_key_id).status is INACTIVE
    assert told == [A.access_key_id]
