"""GetKeyLastUsage, descriptions and tags."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, text

from catalog.helpers import START
from hsmkms.core.errors import (
    KeyUnavailableException,
    KmsError,
    LimitExceededException,
    TagException,
    ValidationException,
)
from hsmkms.core.messages import KeyLastUsage, TagMember
from hsmkms.core.usage import KeyUse, KeyUses
from hsmkms.server.catalog import migrate
from life.helpers import Clocks, Front, front


def at(seconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=START + int(seconds * 1_000_000))


async def last(world: Front, key_id: str) -> tuple[str | None, datetime | None]:
    answer = await world.ask("GetKeyLastUsage", key_id=key_id)
    return answer.key_last_usage.operation, answer.key_last_usage.timestamp


async def test_a_key_that_was_never_used_says_since_when_that_is_known(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        clocks.pass_seconds(5)
        answer = await world.ask("GetKeyLastUsage", key_id=key.key_id)
        assert answer.key_last_usage == KeyLastUsage()
        assert (answer.tracking_start_date, answer.key_creation_date) == (at(0), at(0))


async def test_every_successful_cryptographic_operation_counts_and_no_other(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key, other = (await world.create()).key_id, (await world.create()).key_id
        clocks.pass_seconds(1)
        blob = (await world.ask("Encrypt", key_id=key, plaintext=bytes(16))).ciphertext_blob
        assert await last(world, key) == ("Encrypt", at(1))
        clocks.pass_seconds(1)
        for refused in (
            world.ask("Encrypt", key_id=key, plaintext=b""),
            world.ask("Encrypt", key_id=key, plaintext=b"x", dry_run=True),
            world.ask("Decrypt", ciphertext_blob=blob[:-1]),
            world.ask("Decrypt", ciphertext_blob=blob, key_id=other),
        ):
            with pytest.raises(KmsError):
                await refused
        await world.ask("DescribeKey", key_id=key)
        await world.ask("RotateKeyOnDemand", key_id=key)
        assert await last(world, key) == ("Encrypt", at(1))
        await world.ask("Decrypt", ciphertext_blob=blob)
        assert await last(world, key) == ("Decrypt", at(2))
        clocks.pass_seconds(1)
        await world.ask("ReEncrypt", ciphertext_blob=blob, destination_key_id=other)
        assert await last(world, key) == await last(world, other) == ("ReEncrypt", at(3))
        for operation in ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"):
            await world.ask(operation, key_id=other, key_spec="AES_256")
            assert (await last(world, other))[0] == operation
        assert await last(world, key) == ("ReEncrypt", at(3))


async def test_it_survives_a_restart_and_is_seen_on_other_fronts(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        await world.ask("Encrypt", key_id=key.key_id, plaintext=b"x")
        request_id = (await world.ask("GetKeyLastUsage", key_id=key.key_id)).key_last_usage.kms_request_id
        await world.keeper.write()
        assert len(world.environment.uses) == 0
        async with front(path, clocks, world.token.objects) as other:
            assert await last(other, key.key_id) == ("Encrypt", at(0))
            clocks.pass_seconds(1)
            await other.ask("GenerateDataKey", key_id=key.key_id, key_spec="AES_256")
            await other.keeper.write()
        await world.catch_up()
        assert await last(world, key.key_id) == ("GenerateDataKey", at(1))
        assert len(request_id) == 32


async def test_an_older_use_never_takes_the_place_of_a_newer_one(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
        for used in (20, 10, 30, 5):
            await world.catalog.record_uses([KeyUse(key.key_id, f"at {used}", START + used, "r", START)])
        use = world.catalog.view.last_use(key.key_id)
        assert use is not None
        assert use.operation == "at 30"


async def test_what_cannot_be_written_is_written_later_and_none_is_lost_between(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        keys = [(await world.create()).key_id for _ in range(3)]
        for key_id in keys:
            await world.ask("Encrypt", key_id=key_id, plaintext=b"x")
        record = world.catalog.record_uses

        async def fails(uses: object) -> None:
            raise KeyUnavailableException

        async def used_meanwhile(uses: list[KeyUse]) -> None:
            await record(uses)
            clocks.pass_seconds(1)
            await world.ask("GenerateDataKey", key_id=keys[0], key_spec="AES_256")

        world.catalog.record_uses = fails  # type: ignore[method-assign, assignment]
        await world.keeper.write()
        assert len(world.environment.uses) == 3
        world.catalog.record_uses = used_meanwhile  # type: ignore[method-assign, assignment]
        await world.keeper.write()
        assert len(world.environment.uses) == 1
        assert (await last(world, keys[0]))[0] == "GenerateDataKey"


async def test_keys_that_are_older_than_the_recording_say_so(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key = await world.create()
    connection = sqlite3.connect(path)  # as the migration from format 1 leaves it
    connection.execute(
        "INSERT INTO key_usage (key_id, account, region, sequence, created, updated, operation, used, request_id) "
        "SELECT key_id, account, region, sequence, ?, ?, '', 0, '' FROM keys",
        (START + 60_000_000, START),
    )
    connection.commit()
    connection.close()
    async with front(path, clocks, world.token.objects) as world:
        answer = await world.ask("GetKeyLastUsage", key_id=key.key_id)
        assert (answer.key_last_usage, answer.tracking_start_date) == (KeyLastUsage(), at(60))
        clocks.pass_seconds(90)
        await world.ask("Encrypt", key_id=key.key_id, plaintext=b"x")
        await world.keeper.write()
        answer = await world.ask("GetKeyLastUsage", key_id=key.key_id)
        assert (answer.key_last_usage.operation, answer.tracking_start_date) == ("Encrypt", at(60))


def test_uses_in_memory_are_bounded_by_the_number_of_keys() -> None:
    uses = KeyUses()
    for number in range(1000):
        uses.note(KeyUse(str(number % 10), "Encrypt", number, "r", 0))
    assert len(uses) == 10
    assert len(uses.first(4)) == 4
    uses.written(uses.first(4))
    assert len(uses) == 6


async def test_a_description_is_changed_and_emptied(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key_id = (await world.create()).key_id
        for description in ("für Zahlungen", "x" * 8192, ""):
            await world.ask("UpdateKeyDescription", key_id=key_id, description=description)
            assert (await world.ask("DescribeKey", key_id=key_id)).key_metadata.description == description
        for wrong in ("x" * 8193, None):
            with pytest.raises(ValidationException, match="description"):
                await world.ask("UpdateKeyDescription", key_id=key_id, description=wrong)


async def tags_of(world: Front, key_id: str) -> dict[str, str]:
    return {tag.tag_key: tag.tag_value for tag in (await world.ask("ListResourceTags", key_id=key_id)).tags}


async def test_tags_are_added_changed_and_taken(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key_id = (await world.create()).key_id
        await world.ask("TagResource", key_id=key_id, tags=(TagMember("b", "1"), TagMember("a", "")))
        await world.ask("TagResource", key_id=key_id, tags=(TagMember("b", "2"), TagMember("B", "3")))
        assert await tags_of(world, key_id) == {"B": "3", "a": "", "b": "2"}
        await world.ask("UntagResource", key_id=key_id, tag_keys=("a", "unknown"))
        assert await tags_of(world, key_id) == {"B": "3", "b": "2"}
    async with front(path, clocks, world.token.objects) as world:
        assert await tags_of(world, key_id) == {"B": "3", "b": "2"}


async def test_a_key_has_fifty_tags_at_the_most_and_they_come_in_pages(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key_id = (await world.create()).key_id
        tags = tuple(TagMember(f"key {number:02}", "v") for number in range(50))
        await world.ask("TagResource", key_id=key_id, tags=tags[:30])
        await world.ask("TagResource", key_id=key_id, tags=tags[20:])
        with pytest.raises(LimitExceededException):
            await world.ask("TagResource", key_id=key_id, tags=(TagMember("one more", ""), tags[0]))
        assert len(await tags_of(world, key_id)) == 50
        seen: list[str] = []
        marker = None
        while True:
            page = await world.ask("ListResourceTags", key_id=key_id, limit=7, marker=marker)
            seen += [tag.tag_key for tag in page.tags]
            marker = page.next_marker
            assert page.truncated == (marker is not None)
            if marker is None:
                break
        assert seen == [tag.tag_key for tag in tags]


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        ((TagMember("aws:x", "1"),), TagException),
        ((TagMember("AWS:x", "1"),), TagException),
        ((TagMember("a", "1"), TagMember("a", "2")), TagException),
        ((TagMember("a!", "1"),), TagException),
        ((TagMember("", "1"),), ValidationException),
        ((TagMember("a", None),), ValidationException),
        ((), ValidationException),
    ],
)
async def test_tags_that_cannot_be(
    path: Path, clocks: Clocks, tags: tuple[TagMember, ...], error: type[KmsError]
) -> None:
    async with front(path, clocks) as world:
        key_id = (await world.create()).key_id
        with pytest.raises(error):
            await world.ask("TagResource", key_id=key_id, tags=tags)
        assert await tags_of(world, key_id) == {}


async def test_reserved_tags_cannot_be_taken(path: Path, clocks: Clocks) -> None:
    async with front(path, clocks) as world:
        key_id = (await world.create()).key_id
        with pytest.raises(TagException):
            await world.ask("UntagResource", key_id=key_id, tag_keys=("aws:x",))


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("UpdateKeyDescription", {"description": "new"}),
        ("TagResource", {"tags": (TagMember("a", "1"),)}),
        ("UntagResource", {"tag_keys": ("a",)}),
        ("EnableKeyRotation", {}),
        ("DisableKeyRotation", {}),
    ],
)
async def test_a_change_sent_twice_is_made_once(
    path: Path, clocks: Clocks, operation: str, members: dict[str, object]
) -> None:
    async with front(path, clocks) as world:
        key_id = (await world.create()).key_id
        await world.ask(operation, key_id=key_id, idempotency_key="k", **members)
        after = world.key(key_id)
        clocks.pass_seconds(1)
        await world.ask(operation, key_id=key_id, idempotency_key="k", **members)
        assert world.key(key_id) == after
        other = (await world.create()).key_id
        with pytest.raises(ValidationException, match="idempotency key"):
            await world.ask(operation, key_id=other, idempotency_key="k", **members)


async def test_a_catalog_of_format_1_is_brought_to_this_one_and_says_since_when_uses_are_recorded(
    path: Path, clocks: Clocks
) -> None:
    engine = create_engine(f"sqlite:///{path}")
    common = f"'111122223333', 'eu-central-1', 1, {START}, {START}"
    with engine.begin() as connection:
        command.upgrade(migrate.configuration(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO keys (key_id, account, region, sequence, created, updated, state, description, spec, usage, "
                f"origin, multi_region, current_version) VALUES ('12345678-1234-4234-8234-123456789012', {common}, "
                "'Enabled', '', 'SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'AWS_KMS', 'SINGLE', 0)"
            )
        )
        connection.execute(text(f"INSERT INTO sequence VALUES (1, {common})"))
        row = f"1, 1, '12345678-0000-4000-8000-123456789012', {common}"
        connection.execute(
            text(
                "INSERT INTO catalog (id, format, deployment_id, account, region, sequence, created, updated) "
                f"VALUES ({row})"
            )
        )
    engine.dispose()
    async with front(path, clocks) as world:
        answer = await world.ask("GetKeyLastUsage", key_id="12345678-1234-4234-8234-123456789012")
        assert answer.key_last_usage == KeyLastUsage()
        assert answer.key_creation_date == at(0)
        assert datetime.now(UTC) - answer.tracking_start_date < timedelta(minutes=5)
