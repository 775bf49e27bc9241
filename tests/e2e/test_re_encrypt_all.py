"""`hsm-kms re-encrypt-all` as an operator runs it: against the service, on a real PostgreSQL, SQLite and files, and killed on the way.

HSM_KMS_TEST_ROWS is the number of rows of the killed run, 3000 if it is not set; `make test-long` takes 1,000,000.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hsmkms.client import Client
from hsmkms.core.messages import DecryptRequest
from hsmkms.reencryption.rows import Material, material_of
from support.load import Sealed, seal
from support.postgres import Postgres, running_postgres
from support.service import Service, eventually

ROWS = int(os.environ.get("HSM_KMS_TEST_ROWS", "3000"))
KILLS = 5
PAGE = 1000
TEMPLATE = '{"tenant": "{tenant}", "purpose": "row {{1}}"}'


def context_of(tenant: object) -> dict[str, str]:
    return {"tenant": str(tenant), "purpose": "row {1}"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def sealed_pool(client: Client, count: int) -> list[Sealed]:
    """Make ciphertexts of both modes; the plaintext of each tells its number."""

    def make(number: int) -> Sealed:
        plaintext = number.to_bytes(8, "big") + os.urandom(24 if number % 3 else 5)
        return seal(client, plaintext, **context_of(number % 7))

    with ThreadPoolExecutor(8) as sealing:
        return list(sealing.map(make, range(count)))


def command(service: Service, folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    profile = service.profile()
    environment = {
        **os.environ,
        "HSM_KMS_ENDPOINT": profile.endpoint,
        "HSM_KMS_CA_FILE": str(profile.ca_file),
        "HSM_KMS_CERTIFICATE_FILE": str(profile.certificate_file),
        "HSM_KMS_PRIVATE_KEY_FILE": str(profile.private_key_file),
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "hsmkms.server.cli", "re-encrypt-all", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
    )


def run(service: Service, folder: Path, *arguments: str, code: int = 0, **variables: str) -> dict[str, Any]:
    """Run to the end and return what was printed."""
    process = command(service, folder, *arguments, **variables)
    output, errors = process.communicate(timeout=60 + ROWS / 100)
    assert process.returncode == code, errors.decode()
    assert b"Traceback" not in errors
    document: dict[str, Any] = json.loads(output) if output else {"stderr": errors.decode()}
    return document


def key_id(client: Client, alias: str) -> str:
    return client.describe_key(key_id=alias).key_metadata.key_id


def fill(connection: psycopg.Connection, pool: list[Sealed]) -> None:
    """Make a table whose primary key has two columns, and a log of every update."""
    connection.execute(
        "CREATE TABLE secrets (region text, id bigint, tenant int, data_key bytea, PRIMARY KEY (region, id));"
        "CREATE TABLE updates (id bigint);"
        "CREATE FUNCTION log_update() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO updates VALUES (new.id); RETURN new; END $$"
    )
    with connection.cursor().copy("COPY secrets FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["text", "int8", "int4", "bytea"])
        for number in range(ROWS):
            one = pool[number % len(pool)]
            is_empty = number % 100 == 99
            copy.write_row((f"r{number % 5}", number, int(one.context["tenant"]), None if is_empty else one.blob))
    connection.execute(
        "CREATE TRIGGER updated AFTER UPDATE ON secrets FOR EACH ROW EXECUTE FUNCTION log_update(); ANALYZE secrets"
    )


@pytest.mark.sized
@pytest.mark.timeout(600 + ROWS // 50)
def test_all_rows_are_moved_once_by_a_command_that_is_killed_five_times(
    service: Service, client: Client, postgres: Postgres, tmp_path: Path
) -> None:
    pool = sealed_pool(client, min(20_000, ROWS // 10))
    database = postgres.new_database()
    connection = postgres.connect(database)
    fill(connection, pool)
    batch_size = 50 if ROWS < 50_000 else 500
    arguments = (
        "--table", "secrets", "--ciphertext-column", "data_key", "--context-template", TEMPLATE,
        "--source-key-id", "alias/source", "--destination-key-id", "alias/destination", "--batch-size", str(batch_size),
    )  # fmt: skip
    variables = {"HSM_KMS_DATABASE_URL": postgres.url(database)}

    def count(table: str) -> int:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)  # type: ignore[arg-type]
        return int(found)

    chance = random.Random(ROWS)
    for kill in range(KILLS):
        process = command(service, tmp_path, *arguments, **variables)
        begun = count("updates")
        wanted = max(begun + 1, round((kill + chance.random()) * ROWS / (KILLS + 1)))

        def is_far_enough(process: subprocess.Popen[bytes] = process, wanted: int = wanted) -> bool:
            assert process.poll() is None, process.communicate()
            time.sleep(min(0.5, ROWS / 2_000_000))
            return count("updates") >= wanted

        eventually(is_far_enough, 60 + ROWS / 100, f"{wanted} updates")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert count("updates") < ROWS * 0.99, "killed too late to prove anything"

    done = run(service, tmp_path, *arguments, **variables)
    empty = ROWS // 100
    destination = key_id(client, "alias/destination")
    assert done == {
        "Finished": True, "Rows": ROWS, "Moved": ROWS - empty, "AlreadyThere": 0, "Empty": empty, "Gone": 0, "Failed": 0,
        "ReadAgain": 0, "Materials": [{"KeyId": destination, "Version": 1, "Moved": ROWS - empty}],
    }  # fmt: skip
    updates = Counter[int]()
    for number, times in connection.execute(
        "SELECT times, count(*) FROM (SELECT count(*) AS times FROM updates GROUP BY id) AS each GROUP BY times"
    ):
        updates[number] = times
    assert updates == {1: ROWS - empty}, "a row was updated more than once, or not at all"
    check_every_row(client, connection, pool, destination)
    connection.close()


def check_every_row(client: Client, connection: psycopg.Connection, pool: list[Sealed], destination: str) -> None:
    """Decrypt every row and compare."""
    checked = 0
    # Held by the server, since the connection has no transaction around it.
    cursor = connection.cursor("rows", withhold=True)
    cursor.execute("SELECT id, tenant, data_key FROM secrets")
    while rows := cursor.fetchmany(PAGE):
        full = [row for row in rows if row[2] is not None]
        assert all(material_of(blob) == Material(destination, 1) for _, _, blob in full)
        opened = client.batch_decrypt(
            [DecryptRequest(ciphertext_blob=blob, encryption_context=context_of(tenant)) for _, tenant, blob in full]
        )
        for (number, _, _), result in zip(full, opened, strict=True):
            assert result.response is not None, result.error
            assert result.response.plaintext == pool[number % len(pool)].plaintext
        assert {row[0] for row in rows} - {row[0] for row in full} == {row[0] for row in rows if row[0] % 100 == 99}
        checked += len(rows)
    cursor.close()
    assert checked == ROWS


def test_files_move_to_the_newest_material_of_their_own_key(service: Service, client: Client, tmp_path: Path) -> None:
    key = client.create_key(description="files").key_metadata.key_id
    sealed = [seal(client, os.urandom(32), key, **context_of(number % 3)) for number in range(40)]
    client.rotate_key_on_demand(key_id=key)
    records = [
        {"n": number, "tenant": str(number % 3), "blob": base64.b64encode(one.blob).decode()}
        for number, one in enumerate(sealed)
    ]
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in records) + '{"n": 40, "blob": "x"}\n'
    )
    (tmp_path / "in.csv").write_text(
        "n,tenant,blob\n" + "".join(f"{r['n']},{r['tenant']},{r['blob']}\n" for r in records)
    )
    where = ("--ciphertext-field", "blob", "--context-template", TEMPLATE)

    survey = run(service, tmp_path, "--json-lines", "in.jsonl", *where, "--dry-run")
    assert survey["Unreadable"] == [{"Reason": "the ciphertext is not base64", "Rows": 1}]
    (material,) = survey["Materials"]
    rotations = client.list_key_rotations(key_id=key, include_key_material="ALL_KEY_MATERIAL").rotations
    ids = [material["KeyMaterialId"], material["DestinationKeyMaterialId"]]
    assert ids == [rotation.key_material_id for rotation in rotations]
    assert (material["Rows"], material["Version"], survey["ToMove"]) == (40, 1, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "in.jsonl"]

    moved = run(service, tmp_path, "--json-lines", "in.jsonl", "--output", "out.jsonl", *where, code=254)
    assert (moved["Moved"], moved["Failed"]) == (40, 1)
    (failure,) = (tmp_path / "out.jsonl.journal.failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["Key"] == {"record": 41}
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines.pop() == {"n": 40, "blob": "x"}
    assert run(service, tmp_path, "--csv", "in.csv", "--output", "out.csv", *where)["Moved"] == 40
    cells = [line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    for number, one in enumerate(sealed):
        assert int(cells[number][0]) == lines[number]["n"] == number
        for text in (lines[number]["blob"], cells[number][2]):
            blob = base64.b64decode(text)
            assert material_of(blob) == Material(key, 2)
            assert client.decrypt(ciphertext_blob=blob, encryption_context=one.context).plaintext == one.plaintext
    again = run(service, tmp_path, "--csv", "in.csv", "--output", "out.csv", *where)
    assert again["Finished"], "a finished run is told of again, and nothing is sent"


@pytest.fixture
def table(client: Client, tmp_path: Path) -> str:
    """A SQLite table with 300 ciphertexts in base64; its URL."""
    pool = sealed_pool(client, 30)
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, tenant INT, c TEXT)")
        rows = [
            (n, int(pool[n % 30].context["tenant"]), base64.b64encode(pool[n % 30].blob).decode())
            for n in range(1, 301)
        ]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{tmp_path}/app.db"


TABLE = (
    "--table",
    "t",
    "--ciphertext-column",
    "c",
    "--context-template",
    TEMPLATE,
    "--destination-key-id",
    "alias/destination",
)


def test_a_run_that_is_interrupted_ends_cleanly_and_says_how_to_go_on(
    service: Service, client: Client, table: str, tmp_path: Path
) -> None:
    slow = command(service, tmp_path, *TABLE, "--batch-size", "5", "--rate", "30", "--database-url", table)

    def has_begun() -> bool:
        with sqlite3.connect(tmp_path / "app.db", timeout=30) as connection:
            blobs = [row[0] for row in connection.execute("SELECT c FROM t")]
        connection.close()
        destination = key_id(client, "alias/destination")
        return any((material_of(base64.b64decode(blob)) or Material("", 0)).key_id == destination for blob in blobs)

    eventually(has_begun, 30, "the first batch")
    slow.send_signal(signal.SIGINT)
    output, errors = slow.communicate(timeout=30)
    assert slow.returncode == 130
    assert 0 < json.loads(output)["Moved"] < 300
    assert b"the same command goes on" in errors
    done = run(service, tmp_path, *TABLE, "--database-url", table)
    assert (done["Moved"], done["AlreadyThere"], done["Finished"]) == (300, 0, True)
