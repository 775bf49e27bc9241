"""The command line of re-encrypt-all: mistakes are one line that says what to change, and no secret is repeated."""

from __future__ import annotations

import json
import shlex
import sqlite3

import pytest

from hsmkms.cli.exits import ExitCode
from hsmkms.cli.main import execute, new_program
from hsmkms.cli.re_encrypt_all import EPILOG
from hsmkms.reencryption.progress import LINE_EVERY_S, Lines
from hsmkms.reencryption.templates import read_template

TABLE = ("--table", "t", "--ciphertext-column", "c")
FILE = ("--csv", "f", "--ciphertext-field", "c")


@pytest.fixture
def run(profile_file, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setenv("HSM_KMS_PROFILE_FILE", str(profile_file))
        monkeypatch.chdir(tmp_path)
        code = execute(new_program().parser, ["re-encrypt-all", *arguments])
        return code, capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--tabel", "t"), 252, "unknown option --tabel: did you mean --table?"),
        ((), 252, "name one of --table, --json-lines and --csv"),
        (("--table", "t", "--csv", "f"), 252, "name one of"),
        (("--table", "t"), 252, "required: --ciphertext-column"),
        (TABLE, 252, "HSM_KMS_DATABASE_URL"),
        ((*TABLE, "--output", "o"), 252, "--output does not go with --table"),
        (FILE, 252, "required: --output"),
        ((*FILE, "--schema", "s"), 252, "--schema does not go with --csv"),
        ((*FILE, "--output", "o"), 252, "f: No such file"),
        ((*FILE, "--output", "o", "--delimiter", ";;"), 252, "argument --delimiter"),
        ((*TABLE, "--database-url", "sqlite:///none.db"), 252, "there is no SQLite database none.db"),
        ((*TABLE, "--database-url", "sqlite:///:memory:"), 252, "is a file"),
        ((*TABLE, "--database-url", "geheim"), 252, "is no database URL"),
        ((*TABLE, "--database-url", "nothing://u:geheim@x/y"), 252, "no database that SQLAlchemy knows"),
        ((*TABLE, "--database-url", "mysql+pymysql://u:geheim@x/y"), 252, "not installed"),
        ((*TABLE, "--database-url", "postgresql://u:geheim@127.0.0.1:1/x"), 255, "refused"),
        ((*TABLE, "--rate", "0"), 252, "argument --rate"),
        ((*TABLE, "--limit", "-1"), 252, "argument --limit"),
        ((*TABLE, "--batch-size", "1001"), 252, "argument --batch-size: '1001' is no whole number from 1 to 1000"),
        (
            (*TABLE, "--database-url", "sqlite:///x", "--context-template", "{x}"),
            252,
            "--context-template: is not JSON",
        ),
        ((*TABLE, "--database-url", "sqlite:///x", "--context-template", "file://none"), 252, "cannot read none"),
    ],
)
def test_mistakes_are_one_clear_line(run, arguments, code, words):
    found, told = run(*arguments)
    assert found == code
    assert words in told.err
    assert told.err.count("\n") == 1
    assert "geheim" not in told.err
    assert told.out == ""


def test_an_empty_table_is_finished_at_once_and_another_plan_is_wrong_usage(run, tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, c BLOB)")
    connection.close()
    arguments = (*TABLE, "--database-url", "sqlite:///a.db")
    code, told = run(*arguments, "--destination-key-id", "alias/a")
    assert (code, json.loads(told.out)["Finished"]) == (0, True)
    assert "column 'c' is BLOB: its ciphertexts are raw" in told.err
    assert (tmp_path / "re-encrypt-t.journal").stat().st_mode & 0o777 == 0o600
    code, told = run(*arguments, "--destination-key-id", "alias/b")
    assert code == ExitCode.USAGE
    assert "begun with 'alias/a', now 'alias/b'" in told.err
    assert run(*arguments, "--destination-key-id", "alias/b", "--restart")[0] == 0
    (tmp_path / "no-journal").write_text("something else, long enough to be looked at")
    code, told = run(*arguments, "--journal", "no-journal")
    assert code == ExitCode.USAGE
    assert "is no journal" in told.err
    assert (tmp_path / "no-journal").read_text().startswith("something else")


def test_a_file_of_somebody_else_is_never_taken_for_an_unfinished_copy(run, tmp_path):
    (tmp_path / "in.csv").write_text("c\n")
    arguments = ("--csv", "in.csv", "--output", "out.csv", "--ciphertext-field", "c")
    (tmp_path / "out.csv.part").write_text("somebody's")
    for _ in range(2):
        code, told = run(*arguments)
        assert code == ExitCode.FAILED
        assert "out.csv.part is there already" in told.err
    assert (tmp_path / "out.csv.part").read_text() == "somebody's"
    (tmp_path / "out.csv.part").unlink()
    assert run(*arguments)[0] == 0
    assert (tmp_path / "out.csv").read_text() == "c\n"
    assert run(*arguments)[0] == 0, "it is finished, which is no mistake"


def test_the_examples_in_its_help_can_be_typed():
    lines = EPILOG.partition("examples:\n")[2].replace("\\\n", " ").splitlines()
    commands = [line.strip() for line in lines if line.startswith("  ")]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        arguments = new_program().parser.parse_args(words[words.index("hsm-kms") + 1 :])
        read_template(arguments.context_template)


def test_without_a_terminal_there_is_a_line_now_and_then(capsys):
    clock = iter([0.0, 0.0, 1.0, LINE_EVERY_S + 1, LINE_EVERY_S + 2, 2 * LINE_EVERY_S + 1])
    lines = Lines(clock=lambda: next(clock))
    lines.begin(100, 1200)
    for rows in (150, 210, 220, 320):
        lines.show(rows, "7 moved")
    assert capsys.readouterr().err.splitlines() == [
        "hsm-kms: 210 of 1200 rows: 7 moved; 10 rows/s, 99 s left",
        "hsm-kms: 320 of 1200 rows: 7 moved; 10 rows/s, 84 s left",
    ]
