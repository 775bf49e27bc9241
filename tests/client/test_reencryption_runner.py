"""Runs on real tables and files: what is moved, and that a run that ends anywhere is taken up without a loss or a repetition."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hsmkms.client.errors import (
    AccessDeniedException,
    ConnectionFailed,
    InvalidCiphertextException,
    KmsError,
    ThrottlingException,
    TlsRefused,
)
from hsmkms.reencryption import database as database_module
from hsmkms.reencryption import rows as rows_module
from hsmkms.reencryption.database import DatabaseStore, read_url
from hsmkms.reencryption.files import FileStore
from hsmkms.reencryption.formats import Csv, JsonLines
from hsmkms.reencryption.journal import Journal, JournalProblem
from hsmkms.reencryption.plan import Plan
from hsmkms.reencryption.progress import Lines
from hsmkms.reencryption.rows import StoreProblem, material_of
from hsmkms.reencryption.runner import Runner
from hsmkms.reencryption.service import RateLimit, Sender, ServiceGone
from hsmkms.reencryption.survey import survey
from hsmkms.reencryption.templates import NO_CONTEXT_TEMPLATE, read_template
from support.postgres import Postgres, running_postgres
from support.simulated_streams import SimulatedStreams, key_of

ROWS = 95
CONTEXT = read_template('{"tenant": "{tenant}"}')


SQLITE_ONLY = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the run's own may catch it and go on."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        (tmp_path / "app.db").touch()
        return f"sqlite:///{tmp_path}/app.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(server.new_database())


@dataclass
class World:
    """A table of ciphertexts, a service that moves them, and a log of every update."""

    url: str
    folder: Path
    binary: bool = True
    composite: bool = False
    streams: SimulatedStreams = field(default_factory=SimulatedStreams)

    def __post_init__(self) -> None:
        self.engine = sa.create_engine(read_url(self.url))
        self.source, self.destination = self.streams.new_key(), self.streams.new_key()
        keys = [sa.Column("part", sa.String(10), primary_key=True)] if self.composite else []
        self.table = sa.Table(
            "Odd \"name'",
            sa.MetaData(),
            *keys,
            sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("tenant", sa.Integer, nullable=False),
            sa.Column("ci%(pher) :x", sa.LargeBinary if self.binary else sa.Text),
        )
        self.cipher = list(self.table.columns)[-1]
        self.table.create(self.engine)
        updates = sa.Table("updates", sa.MetaData(), sa.Column("id", sa.BigInteger))
        updates.create(self.engine)
        self.updates = updates
        with self.engine.begin() as connection:
            connection.execute(self.table.insert(), [self.new_row(number) for number in range(1, ROWS + 1)])
            for statement in self._trigger():
                connection.exec_driver_sql(statement)

    def _trigger(self) -> list[str]:
        name = '"Odd ""name\'"'
        if self.engine.dialect.name == "sqlite":
            return [f"CREATE TRIGGER u AFTER UPDATE ON {name} BEGIN INSERT INTO updates VALUES (new.id); END"]
        return [
            """CREATE FUNCTION u() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO updates VALUES (new.id); RETURN new; END $$""",
            f"CREATE TRIGGER u AFTER UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION u()",
        ]

    def new_row(self, number: int, key: str | None = None) -> dict[str, Any]:
        blob = self.streams.seal(key or self.source, number, tenant=str(number % 3))
        row = {"id": number, "tenant": number % 3, self.cipher.name: self.stored(blob) if number % 10 else None}
        return {"part": f"p{number % 4}", **row} if self.composite else row

    def stored(self, blob: bytes) -> bytes | str:
        return blob if self.binary else base64.b64encode(blob).decode()

    def held(self) -> dict[int, bytes | None]:
        with self.engine.connect() as connection:
            found = connection.execute(sa.select(self.table.c.id, self.cipher)).all()
        return {
            number: None if value is None else bytes(value) if self.binary else base64.b64decode(value)
            for number, value in found
        }

    def plan(self, **changes: Any) -> Plan:
        settings = {
            "place": {"database": self.url},
            "source_key_id": None,
            "destination_key_id": self.destination,
            "context": CONTEXT,
            "destination_context": None,
            "again": False,
        }
        return Plan(**{**settings, **changes})

    def store(self) -> DatabaseStore:
        return DatabaseStore(
            read_url(self.url), self.table.name, schema=None, primary_key=[], column=self.cipher.name,
            context_columns=["tenant"], encoding=None, connections=4,
        )  # fmt: skip

    def run(self, plan: Plan | None = None, *, wrap: Callable[[Any], None] = lambda _: None, **settings: Any) -> Runner:
        """Run until the end, or until something is raised; `wrap` may change store and journal before."""
        plan = plan or self.plan()
        stop = threading.Event()
        store, journal = self.store(), Journal(self.folder / "j", plan.describe(), self.folder / "failures")
        try:
            wrap(store)
            wrap(journal)
            sender = Sender(self.streams, RateLimit(None), stop, patience_s=settings.pop("sender_patience_s", 5.0))
            options = {"streams": 3, "batch_rows": 10, "patience_s": 5.0, **settings}
            runner = Runner(plan, store, journal, sender, stop, **options)
            self.is_all = runner.run(Lines())
            return runner
        finally:
            journal.close()
            store.close()

    def failures(self) -> list[dict[str, Any]]:
        path = self.folder / "failures"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def check_all_moved(self, key: str | None = None, but: set[int] = frozenset()) -> None:
        """Every row has its own content under the destination, and was updated exactly once."""
        for number, blob in self.held().items():
            if number % 10 == 0:
                assert blob is None
            elif number not in but:
                assert blob is not None
                assert key_of(blob) == (key or self.destination)
                assert self.streams.content(blob) == number
                assert self.streams.context(blob) == {"tenant": str(number % 3)}
        assert set(self.update_counts().values()) == {1}
        assert set(self.update_counts()) == {number for number in range(1, ROWS + 1) if number % 10} - but

    def update_counts(self) -> Counter[int]:
        with self.engine.connect() as connection:
            return Counter(connection.execute(sa.select(self.updates.c.id)).scalars())


@pytest.fixture
def world(url: str, tmp_path: Path) -> Iterator[World]:
    made = World(url, tmp_path)
    yield made
    made.engine.dispose()


@pytest.mark.parametrize(("binary", "composite"), [(True, True), (False, False)])
def test_all_rows_go_to_the_destination_whatever_holds_them(url, tmp_path, binary, composite):
    world = World(url, tmp_path, binary=binary, composite=composite)
    tally = world.run().tally
    assert world.is_all
    assert (tally.moved.total(), tally.empty, tally.failed, tally.rows) == (86, 9, 0, ROWS)
    world.check_all_moved()
    assert set(world.streams.sent.values()) == {1}
    world.engine.dispose()


@SQLITE_ONLY
def test_a_database_that_cannot_compare_tuples_is_read_in_order_too(url, tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "_COMPARES_TUPLES", ())
    world = World(url, tmp_path, composite=True)
    world.run(limit=33)
    assert world.run().tally.rows == ROWS
    world.check_all_moved()
    world.engine.dispose()


@SQLITE_ONLY
def test_a_second_run_sends_one_row_to_learn_that_all_are_there(world):
    world.run()
    (world.folder / "j").unlink()
    world.streams.sent.clear()
    tally = world.run(streams=1).tally
    assert (tally.moved.total(), tally.there, tally.empty) == (0, 86, 9)
    assert world.streams.sent.total() == 1
    world.check_all_moved()


@SQLITE_ONLY
def test_without_a_destination_each_row_goes_to_the_newest_material_of_its_own_key(world):
    other = world.streams.new_key()
    with world.engine.begin() as connection:
        connection.execute(world.table.insert(), [world.new_row(number, other) for number in range(101, 110)])
        world.streams.versions[world.source] = 4
        connection.execute(world.table.insert(), [world.new_row(number) for number in range(111, 120)])
    tally = world.run(world.plan(destination_key_id=None)).tally
    assert {(each.key_id, each.version): count for each, count in tally.moved.items()} == {(world.source, 4): 86}
    assert tally.there == 18
    assert all(material_of(blob).version == 4 for number, blob in world.held().items() if blob and number <= ROWS)


@SQLITE_ONLY
def test_a_rotation_during_the_run_is_noticed(world):
    def rotate(_request: Any) -> None:
        if world.streams.sent.total() == 40:
            world.streams.versions[world.destination] = 2

    world.streams.before = rotate
    tally = world.run(streams=1).tally
    assert [material.version for material in sorted(tally.moved, key=lambda each: each.version)] == [1, 2]
    (world.folder / "j").unlink()
    assert world.run().tally.moved.total() == 39


POINTS = [
    ("sqlite", point, when, again)
    for point in ("begin", "intend", "write", "finish")
    for when in ("before", "after")
    for again in ((False, True) if point in ("write", "finish") else (True,))
] + [("postgresql", point, when, True) for point in ("write", "finish") for when in ("before", "after")]


@pytest.mark.parametrize(("url", "point", "when", "again"), POINTS, indirect=["url"])
def test_a_run_killed_at_any_point_is_taken_up_without_a_loss_or_a_repetition(world, point, when, again):
    """With another context at the destination no header tells what is done: the journal's intents do."""
    chance = random.Random(f"{point} {when}")
    changes = {"destination_context": read_template('{"tenant": "{tenant}", "new": "yes"}')} if again else {}
    destination = world.source if again else world.destination
    plan = world.plan(destination_key_id=destination, **changes)
    committed: set[bytes] = set()

    def kill_at(call: int) -> Callable[[Any], None]:
        calls = iter(range(1, 10_000))

        def wrap(target: Any) -> None:
            original = getattr(target, point, None)
            if original is None:
                return

            def replaced(*arguments: Any) -> Any:
                is_now = next(calls) >= call
                if is_now and when == "before":
                    raise Killed
                result = original(*arguments)
                if is_now:
                    raise Killed
                return result

            setattr(target, point, replaced)

        return wrap

    for _ in range(3):
        with pytest.raises(Killed):
            world.run(plan, wrap=kill_at(chance.randint(1, 2)), batch_rows=5)
        committed |= {
            blob for blob in world.held().values() if blob and world.streams.context(blob).get("new", "") == "yes"
        }
        committed |= {blob for blob in world.held().values() if blob and key_of(blob) == world.destination}
    tally = world.run(plan).tally
    assert world.is_all
    assert (tally.moved.total(), tally.there, tally.empty, tally.failed) == (86, 0, 9, 0)
    assert not committed & set(world.streams.sent), "a row whose update was committed was sent again"
    assert len(committed) > 0 or point in ("begin", "intend") or (point, when) == ("write", "before")
    assert set(world.update_counts().values()) == {1}
    for number, blob in world.held().items():
        assert blob is None or world.streams.content(blob) == number
        assert blob is None or key_of(blob) == destination
    assert world.failures() == []


@SQLITE_ONLY
def test_a_resumed_run_with_another_plan_is_refused_with_what_differs(world):
    world.run(limit=10)
    with pytest.raises(JournalProblem, match=r"destination key: begun with .* now 'alias/other'"):
        world.run(world.plan(destination_key_id="alias/other"))
    with pytest.raises(JournalProblem, match="context template"):
        world.run(world.plan(context=NO_CONTEXT_TEMPLATE))
    assert world.update_counts().total() == 10 - 1


@SQLITE_ONLY
def test_one_run_at_a_time(world):
    def second(target: Any) -> None:
        if isinstance(target, Journal):
            with pytest.raises(JournalProblem, match="in use by another run"):
                Journal(world.folder / "j", world.plan().describe(), world.folder / "failures")

    world.run(wrap=second)


@SQLITE_ONLY
def test_failures_are_listed_with_reason_and_request_id_and_without_a_ciphertext(world):
    def refuse(request: Any) -> KmsError | None:
        number = world.streams.content(request.ciphertext_blob)
        return AccessDeniedException("no") if number == 7 else InvalidCiphertextException("") if number == 55 else None

    world.streams.before = refuse
    with world.engine.begin() as connection:
        connection.execute(sa.update(world.table).where(world.table.c.id == 9).values({world.cipher.name: b"garbage"}))
        connection.execute(world.updates.delete())
    world.streams._contexts[b"garbage"] = {"tenant": "x"}
    tally = world.run().tally
    assert (tally.moved.total(), tally.failed) == (83, 3)
    found = {each["Key"]["id"]: (each["Code"], each["Message"]) for each in world.failures()}
    assert found[7] == ("AccessDeniedException", "no")
    assert found[55] == ("InvalidCiphertextException", "")
    assert all(each["RequestId"].startswith("request ") for each in world.failures())
    assert set(found) == {7, 9, 55}
    world.check_all_moved(but={7, 9, 55})


@SQLITE_ONLY
def test_what_may_pass_is_tried_again_and_a_broken_stream_too(world):
    refused: Counter[bytes] = Counter()
    broken = iter([True, False, True])

    def hesitate(request: Any) -> KmsError | None:
        refused[request.ciphertext_blob] += 1
        if refused[request.ciphertext_blob] == 1 and next(broken, False):
            raise ConnectionFailed("gone")
        return ThrottlingException("later") if refused[request.ciphertext_blob] == 2 else None

    world.streams.before = hesitate
    assert world.run().tally.failed == 0
    world.check_all_moved()


@SQLITE_ONLY
def test_a_row_that_is_throttled_for_too_long_fails_alone(world):
    def throttle(request: Any) -> KmsError | None:
        return ThrottlingException("later") if world.streams.content(request.ciphertext_blob) == 33 else None

    world.streams.before = throttle
    assert world.run(sender_patience_s=0.5).tally.failed == 1
    assert [(each["Key"], each["Code"]) for each in world.failures()] == [({"id": 33}, "ThrottlingException")]
    world.check_all_moved(but={33})


@SQLITE_ONLY
@pytest.mark.parametrize("error", [ConnectionFailed("nothing listens"), TlsRefused("who are you")])
def test_a_service_that_is_gone_ends_the_run_which_goes_on_later(world, error):
    def vanish(_request: Any) -> None:
        if world.streams.sent.total() > 30:
            raise error

    world.streams.before = vanish
    with pytest.raises(ServiceGone, match=error.message):
        world.run(sender_patience_s=0.3)
    world.streams.before = lambda _request: None
    assert world.run().tally.moved.total() == 86
    world.check_all_moved()
    assert world.failures() == []


def test_a_row_that_changes_meanwhile_is_read_once_more_and_one_that_goes_is_counted(world):
    def meddle(request: Any) -> None:
        number = world.streams.content(request.ciphertext_blob)
        if number in (21, 31, 41) and world.streams.sent[request.ciphertext_blob] == 1:
            with world.engine.begin() as connection:
                where = world.table.c.id == number
                fresh = world.streams.seal(world.source, number, tenant=str(number % 3))
                if number == 21 and world.streams.sent.total() < 10_000:
                    connection.execute(sa.delete(world.table).where(where))
                elif number == 31 or (number == 41 and world.streams.versions.setdefault("once", 0) == 0):
                    world.streams.versions["once"] = int(number == 41) or world.streams.versions.get("once", 0)
                    connection.execute(sa.update(world.table).where(where).values({world.cipher.name: fresh}))

    world.streams.before = meddle
    tally = world.run(streams=1).tally
    assert (tally.gone, tally.read_again, tally.failed) == (1, 2, 1)
    assert tally.rows == ROWS
    assert [(each["Key"]["id"], each["Code"]) for each in world.failures()] == [(31, "RowChanged")]
    held = world.held()
    assert 21 not in held
    assert key_of(held[41]) == world.destination
    assert key_of(held[31]) == world.source


def test_a_row_that_the_database_refuses_fails_alone(world):
    if world.engine.dialect.name == "sqlite":
        rule = (
            'CREATE TRIGGER r BEFORE UPDATE ON "Odd ""name\'" WHEN old.id = 17 '
            "BEGIN SELECT RAISE(ABORT, 'frozen row'); END"
        )
    else:
        rule = (
            "CREATE FUNCTION r() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF old.id = 17 THEN "
            "RAISE EXCEPTION USING MESSAGE = 'frozen row ' || old::text; END IF; RETURN new; END $$; "
            'CREATE TRIGGER r BEFORE UPDATE ON "Odd ""name\'" FOR EACH ROW EXECUTE FUNCTION r()'
        )
    with world.engine.begin() as connection:
        connection.exec_driver_sql(rule)
    assert world.run().tally.failed == 1
    assert [(each["Key"]["id"], each["Code"]) for each in world.failures()] == [(17, "RowRefused")]
    message = world.failures()[0]["Message"]
    assert "frozen row" in message
    assert world.held()[17].hex()[:40] not in message, "what the database tells may hold the ciphertext"
    world.check_all_moved(but={17})


def test_a_commit_whose_outcome_is_unknown_is_looked_up(world):
    lost = iter([True, False, True])

    def wrap(target: Any) -> None:
        if isinstance(target, DatabaseStore):
            original = target.write

            def write(outcomes: Any) -> Any:
                result = original(outcomes)
                if next(lost, False):
                    raise StoreProblem("the connection broke at COMMIT", may_pass=True)
                return result

            target.write = write  # type: ignore[method-assign]

    assert world.run(wrap=wrap).tally.moved.total() == 86
    world.check_all_moved()
    assert set(world.streams.sent.values()) == {1}


@SQLITE_ONLY
def test_the_limit_ends_a_run_and_the_next_goes_on(world):
    assert world.run(limit=25).tally.rows == 25
    assert not world.is_all
    assert world.run().tally.rows == ROWS
    assert world.is_all
    world.check_all_moved()


def test_a_dry_run_counts_by_key_and_material_and_changes_nothing(world):
    world.streams.versions[world.source] = 2
    with world.engine.begin() as connection:
        connection.execute(world.table.insert(), [world.new_row(number) for number in range(101, 110)])
        connection.execute(
            world.table.insert(), [world.new_row(number, world.destination) for number in range(111, 115)]
        )
    before = world.held()
    stop = threading.Event()
    sender = Sender(world.streams, RateLimit(None), stop)
    store = world.store()
    document = survey(world.plan(), store, sender, stop, Lines()).to_document()
    store.close()
    counted = {(each["KeyId"], each["Version"]): (each["Rows"], each["Result"]) for each in document["Materials"]}
    assert counted == {
        (world.source, 1): (86, "would be moved"),
        (world.source, 2): (9, "would be moved"),
        (world.destination, 1): (4, "already there"),
    }
    assert (document["Rows"], document["Empty"], document["ToMove"]) == (ROWS + 13, 9, 95)
    assert world.held() == before
    assert world.streams.sent.total() == 3


@pytest.mark.parametrize(
    ("table", "primary_key", "column", "words"),
    [
        ("nothing", [], "c", "there is no table 'nothing'; there are: "),
        ("Odd \"name'", [], "nothing", "has no column 'nothing'"),
        ("Odd \"name'", ["tenant"], "ci%(pher) :x", "no primary key and no unique one"),
        ("Odd \"name'", [], "id", "is in the primary key"),
        ("Odd \"name'", [], "tenant", "neither bytes nor text"),
        ("updates", [], "id", "has no primary key"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_what_is_there(world, table, primary_key, column, words):
    with pytest.raises(StoreProblem) as raised:
        DatabaseStore(
            read_url(world.url), table, schema=None, primary_key=primary_key, column=column,
            context_columns=[], encoding=None, connections=1,
        )  # fmt: skip
    assert words in raised.value.message


@pytest.mark.parametrize("text", ["", "secret", "postgresql://u:se:cr@et@host:port/x", "://secret@x"])
def test_a_bad_database_url_is_not_repeated(text):
    with pytest.raises(StoreProblem) as raised:
        read_url(text)
    assert "secret" not in str(raised.value)
    assert "cr@et" not in str(raised.value)


def test_a_password_is_in_no_place_and_no_error(tmp_path):
    for url in ("postgresql://u:geheim@127.0.0.1:1/x", "postgresql://u:geheim@127.0.0.1:1/x?bad_setting=1"):
        with pytest.raises(StoreProblem) as raised:
            DatabaseStore(
                read_url(url),
                "t",
                schema=None,
                primary_key=[],
                column="c",
                context_columns=[],
                encoding=None,
                connections=1,
            )
        assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("point", ["write", "finish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_is_copied_whole_whatever_kills_the_run(tmp_path, kind, point, when):
    streams = SimulatedStreams()
    source, destination = streams.new_key(), streams.new_key()
    cells = [
        (number, number % 3, "" if number % 10 == 0 else base64.b64encode(streams.seal(source, number, tenant=str(number % 3))).decode())
        for number in range(1, ROWS + 1)
    ]  # fmt: skip
    if kind == "csv":
        text = "id,tenant,blob\n" + "".join(f"{number},{tenant},{blob}\n" for number, tenant, blob in cells)
    else:
        text = "".join(
            json.dumps({"id": number, "tenant": tenant, "blob": blob or None}) + "\n" for number, tenant, blob in cells
        )
    (tmp_path / "in").write_text(text)
    plan = Plan({"input": "x"}, None, destination, CONTEXT, None, again=False)

    def run(call: int | None) -> Runner:
        form = Csv("blob", ",") if kind == "csv" else JsonLines("blob")
        store = FileStore(tmp_path / "in", tmp_path / "out", form)
        journal = Journal(tmp_path / "j", plan.describe(), tmp_path / "failures")
        try:
            store.resume(journal.mark)
            target: Any = store if point == "write" else journal
            original = getattr(target, point)
            calls = iter(range(1, 10_000))

            def replaced(*arguments: Any) -> Any:
                is_now = call is not None and next(calls) >= call
                if is_now and when == "before":
                    raise Killed
                result = original(*arguments)
                if is_now:
                    raise Killed
                return result

            setattr(target, point, replaced)
            stop = threading.Event()
            runner = Runner(
                plan, store, journal, Sender(streams, RateLimit(None), stop), stop, streams=3, batch_rows=10
            )
            assert runner.run(Lines())
            store.publish()
            return runner
        finally:
            journal.close()
            store.close()

    for call in (1, 2, 1, 3):
        with pytest.raises(Killed):
            run(call)
        with (tmp_path / "out.part").open("ab") as file:
            file.write(b'{"torn')
    tally = run(None).tally
    assert (tally.moved.total(), tally.empty, tally.rows) == (86, 9, ROWS)
    lines = (tmp_path / "out").read_text().splitlines()
    if kind == "csv":
        assert lines.pop(0) == "id,tenant,blob"
        found = [line.split(",") for line in lines]
    else:
        found = [[str(each["id"]), str(each["tenant"]), each["blob"] or ""] for each in map(json.loads, lines)]
    assert [(int(number), int(tenant)) for number, tenant, _ in found] == [cell[:2] for cell in cells]
    for number, _, blob in found:
        if blob:
            assert key_of(base64.b64decode(blob)) == destination
            assert streams.content(base64.b64decode(blob)) == int(number)
        else:
            assert int(number) % 10 == 0


def test_the_rate_limit_spaces_what_is_sent():
    """Counted in turns of its own clock, not measured: each wait is what the rows before it cost."""
    waits: list[float] = []

    class Recorder(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    limit = RateLimit(0.5)
    assert limit.most(500) == 1
    for _ in range(4):
        limit.wait(1, Recorder())
    assert [round(wait) for wait in waits] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    "key", [(1,), ("a", 2), (b"\0x", True), (rows_module.uuid.UUID(int=3),), (rows_module.decimal.Decimal("1.10"),)]
)
def test_keys_survive_the_journal_exactly(key):
    again = rows_module.key_from_text(rows_module.key_to_text(key))
    assert again == key
    assert [type(each) for each in again] == [type(each) for each in key]
