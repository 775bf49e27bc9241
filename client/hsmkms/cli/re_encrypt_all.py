"""`hsm-kms re-encrypt-all`: its options, and how a run is put together, ended and told of."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.options import add_connection_options, profile_of
from hsmkms.cli.output import write
from hsmkms.cli.parser import Commands, Parser
from hsmkms.cli.values import Form, Kind, ValueProblem, read_value
from hsmkms.client.errors import ClientError, ProfileError

if TYPE_CHECKING:
    from hsmkms.reencryption.database import DatabaseStore
    from hsmkms.reencryption.files import FileStore
    from hsmkms.reencryption.plan import Plan
    from hsmkms.reencryption.progress import Display
    from hsmkms.reencryption.rows import Tally
    from hsmkms.reencryption.service import Sender
    from hsmkms.reencryption.templates import ContextTemplate

COMMAND: Final = "re-encrypt-all"
DATABASE_VARIABLE: Final = "HSM_KMS_DATABASE_URL"
SUMMARY: Final = "Move all ciphertexts of a table or a file to another KMS key, or to the newest material of their own."
DESCRIPTION: Final = f"""\
{SUMMARY}

A table is changed in place, a row only if it still holds what was read. A file is copied. The run can be ended or killed at any
point: the same command goes on where it was; the journal knows. Every plaintext stays inside the token."""
EPILOG: Final = f"""\
encryption context:
  --context-template is a JSON object of texts; {{NAME}} in a value stands for what the row's column (or JSON member) NAME holds,
  {{{{ and }}}} for braces

exit codes:
  0 all rows are done (or --limit was reached)   254 done, but some rows failed: --failures says which and why
  255 the run could not go on   130 interrupted   252, 253 wrong usage or connection settings, nothing was sent
  after 130 and 255 the same command goes on

examples:
what is there, by key and material, without changing anything:
  {DATABASE_VARIABLE}=postgresql://app@db/app hsm-kms {COMMAND} --dry-run --table payments --ciphertext-column card \\
      --context-template '{{"tenant": "{{tenant_id}}", "purpose": "card"}}'

all of a table to another key, at 500 rows per second:
  {DATABASE_VARIABLE}=postgresql://app@db/app hsm-kms {COMMAND} --table payments --ciphertext-column card \\
      --context-template '{{"tenant": "{{tenant_id}}", "purpose": "card"}}' --destination-key-id alias/new --rate 500

the records of a file to the newest material of the key that each is under:
  hsm-kms {COMMAND} --json-lines keys.jsonl --output moved.jsonl --ciphertext-field data_key
"""


def add_command(commands: Commands, prog: str) -> None:
    """Add the command to a program."""
    parser = commands.add_parser(
        COMMAND,
        usage=f"{prog} {COMMAND} (--table NAME --ciphertext-column NAME | --json-lines FILE --output FILE | "
        "--csv FILE --output FILE) [options]",
        help=SUMMARY,
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    _add_table_options(parser)
    _add_file_options(parser)
    _add_move_options(parser)
    _add_run_options(parser)
    add_connection_options(parser)
    parser.set_defaults(run=lambda arguments: _run(parser, arguments))


def _add_table_options(parser: Parser) -> None:
    group = parser.add_argument_group("a table")
    group.add_argument(
        "--database-url",
        metavar="URL",
        help=f"SQLAlchemy's URL of the database, for example postgresql://USER@HOST/DATABASE or sqlite:///PATH; default: the "
        f"environment variable {DATABASE_VARIABLE}, which other users of this machine cannot see",
    )
    group.add_argument("--table", metavar="NAME", help="the table")
    group.add_argument("--schema", metavar="NAME", help="its schema (default: the connection's own)")
    group.add_argument(
        "--primary-key",
        metavar="NAME",
        action="append",
        default=[],
        help="a column of its primary key, or of another unique key; once for each column (default: the table's primary key)",
    )
    group.add_argument("--ciphertext-column", metavar="NAME", help="the column of ciphertexts, bytes or text")
    group.add_argument(
        "--encoding",
        choices=("raw", "base64"),
        help="how the column holds them (default: raw in a column of bytes, base64 in one of text)",
    )


def _add_file_options(parser: Parser) -> None:
    group = parser.add_argument_group("a file")
    group.add_argument("--json-lines", metavar="FILE", help="a file with one JSON object on each line")
    group.add_argument("--csv", metavar="FILE", help="a CSV file whose first line names the columns")
    group.add_argument(
        "--delimiter", metavar="CHARACTER", default=",", help="between the columns of CSV (default: a comma)"
    )
    group.add_argument("--ciphertext-field", metavar="NAME", help="member or column of ciphertexts, in base64")
    group.add_argument("--output", metavar="FILE", help="the new file; FILE.part until it is complete")


def _add_move_options(parser: Parser) -> None:
    group = parser.add_argument_group("the move")
    group.add_argument(
        "--destination-key-id",
        metavar="KEY",
        help="the key to move to (default: the newest material of the key that each ciphertext is under)",
    )
    group.add_argument(
        "--source-key-id", metavar="KEY", help="the key that all must be under; others fail (recommended)"
    )
    group.add_argument(
        "--context-template", metavar="JSON", default="{}", help="their encryption context (default: none)"
    )
    group.add_argument(
        "--destination-context-template",
        metavar="JSON",
        help="the encryption context of the results (default: the same)",
    )
    group.add_argument("--grant-tokens", metavar="TEXT", nargs="+", default=[], help="grant tokens, or file://PATH")
    group.add_argument(
        "--again",
        action="store_true",
        help="also what is under the destination's newest material already (else skipped)",
    )


def _add_run_options(parser: Parser) -> None:
    group = parser.add_argument_group("the run")
    group.add_argument("--dry-run", action="store_true", help="count by key and material; change nothing")
    group.add_argument("--limit", metavar="ROWS", type=_count, help="end after so many rows; the same command goes on")
    group.add_argument("--rate", metavar="ROWS", type=_rate, help="most rows sent per second (default: no limit)")
    group.add_argument(
        "--streams", metavar="N", type=_up_to(16), default=4, help="batches at work at a time, 1 to 16 (default 4)"
    )
    group.add_argument(
        "--batch-size",
        metavar="ROWS",
        type=_up_to(1000),
        default=500,
        help="rows read, sent and committed together, 1 to 1000 (default 500)",
    )
    group.add_argument(
        "--journal",
        metavar="FILE",
        help="how far the run came (default: re-encrypt-TABLE.journal here, or OUTPUT.journal)",
    )
    group.add_argument("--restart", action="store_true", help="forget an earlier run's journal, failures and FILE.part")
    group.add_argument(
        "--failures",
        metavar="FILE",
        help="JSON Lines of the rows that failed, and why (default: JOURNAL.failures.jsonl)",
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is no whole number above 0")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.01 <= rate <= 1_000_000:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is no number from 0.01 to 1000000")
    return rate


def _up_to(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text[:40]}' is no whole number from 1 to {most}")
        return int(text)

    return read


def _run(parser: Parser, arguments: argparse.Namespace) -> int:
    _check_usage(parser, arguments)
    # gRPC's own log would stand beside our lines. It reads this when it is imported, so not before now.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from hsmkms.client import Client
    from hsmkms.reencryption.journal import JournalProblem
    from hsmkms.reencryption.plan import Plan
    from hsmkms.reencryption.progress import new_display
    from hsmkms.reencryption.rows import StoreProblem
    from hsmkms.reencryption.service import Interrupted, RateLimit, Sender, ServiceGone

    context, destination_context = (
        _template(parser, option, getattr(arguments, option))
        for option in ("context_template", "destination_context_template")
    )
    assert context is not None, "it has a default"
    grant_tokens = _grant_tokens(parser, arguments)
    stop = threading.Event()
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(Client(profile_of(arguments)))
            store = _store(parser, arguments, context, destination_context)
            stack.callback(store.close)
            plan = Plan(
                store.place,
                arguments.source_key_id,
                arguments.destination_key_id,
                context,
                destination_context,
                arguments.again,
                grant_tokens,
            )
            display = stack.enter_context(new_display())
            stack.enter_context(_ending(stop))
            limit = RateLimit(arguments.rate)
            # A batch is a second's worth at most, so that a slow run is not far from being able to end.
            arguments.batch_size = limit.most(arguments.batch_size)
            sender = Sender(client, limit, stop)
            do = _survey if arguments.dry_run else _move
            document, code = do(plan, store, sender, stop, display, arguments)
    except ProfileError as error:
        raise CommandFailed(error.message, ExitCode.CONFIGURATION) from error
    except ClientError as error:
        raise CommandFailed(error.message) from error
    except (StoreProblem, JournalProblem, ServiceGone) as problem:
        goes_on = isinstance(problem, ServiceGone) or (isinstance(problem, StoreProblem) and problem.may_pass)
        hint = "; the same command (without --restart) goes on" if goes_on and not arguments.dry_run else ""
        raise CommandFailed(f"{problem}{hint}") from problem
    except Interrupted:
        return ExitCode.INTERRUPTED
    write((json.dumps(document, indent=4, ensure_ascii=False) + "\n").encode())
    return code


def _check_usage(parser: Parser, arguments: argparse.Namespace) -> None:
    kinds = [name for name in ("table", "json_lines", "csv") if getattr(arguments, name) is not None]
    if len(kinds) != 1:
        parser.error("name one of --table, --json-lines and --csv")
    if kinds == ["table"]:
        _require(parser, arguments, "ciphertext_column")
        _refuse(parser, arguments, "--table", ("ciphertext_field", "output"))
        if not (arguments.database_url or os.environ.get(DATABASE_VARIABLE)):
            parser.error(f"no database: give --database-url or set {DATABASE_VARIABLE}")
        return
    option = "--" + kinds[0].replace("_", "-")
    _require(parser, arguments, "ciphertext_field")
    _refuse(parser, arguments, option, ("database_url", "schema", "primary_key", "ciphertext_column", "encoding"))
    if not arguments.dry_run:
        _require(parser, arguments, "output")
    if len(arguments.delimiter) != 1 or arguments.delimiter in '"\r\n' or not arguments.delimiter.isascii():
        parser.error("argument --delimiter: is one ASCII character, and neither a quote nor a line end")


def _require(parser: Parser, arguments: argparse.Namespace, name: str) -> None:
    if not getattr(arguments, name):
        parser.error(f"the following arguments are required: --{name.replace('_', '-')}")


def _refuse(parser: Parser, arguments: argparse.Namespace, beside: str, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(arguments, name):
            parser.error(f"--{name.replace('_', '-')} does not go with {beside}")


def _template(parser: Parser, option: str, typed: str | None) -> ContextTemplate | None:
    from hsmkms.reencryption.templates import TemplateProblem, read_template

    if typed is None:
        return None
    try:
        return read_template(read_value(Form(Kind.TEXT), typed))
    except (ValueProblem, TemplateProblem) as problem:
        parser.error(f"argument --{option.replace('_', '-')}: {problem}")


def _grant_tokens(parser: Parser, arguments: argparse.Namespace) -> tuple[str, ...]:
    try:
        return tuple(read_value(Form(Kind.LIST), arguments.grant_tokens))
    except ValueProblem as problem:
        parser.error(f"argument --grant-tokens: {problem}")


def _store(
    parser: Parser,
    arguments: argparse.Namespace,
    context: ContextTemplate,
    destination_context: ContextTemplate | None,
) -> DatabaseStore | FileStore:
    from hsmkms.reencryption.rows import Encoding, StoreProblem

    try:
        if arguments.table is not None:
            from hsmkms.reencryption.database import DatabaseStore, read_url

            columns = dict.fromkeys((*context.columns, *(destination_context.columns if destination_context else ())))
            return DatabaseStore(
                read_url(arguments.database_url or os.environ[DATABASE_VARIABLE]),
                arguments.table,
                schema=arguments.schema,
                primary_key=arguments.primary_key,
                column=arguments.ciphertext_column,
                context_columns=list(columns),
                encoding=None if arguments.encoding is None else Encoding(arguments.encoding),
                connections=arguments.streams + 1,
            )
        from hsmkms.reencryption.files import FileStore
        from hsmkms.reencryption.formats import Csv, JsonLines

        output = Path(arguments.output) if arguments.output is not None else None
        if arguments.csv is not None:
            return FileStore(Path(arguments.csv), output, Csv(arguments.ciphertext_field, arguments.delimiter))
        return FileStore(Path(arguments.json_lines), output, JsonLines(arguments.ciphertext_field))
    except StoreProblem as problem:
        # Unreachable is a failure that may pass; a table or file that does not fit is wrong usage.
        if problem.may_pass:
            raise
        parser.error(problem.message)


def _survey(
    plan: Plan,
    store: DatabaseStore | FileStore,
    sender: Sender,
    stop: threading.Event,
    display: Display,
    arguments: argparse.Namespace,
) -> tuple[Mapping[str, Any], ExitCode]:
    from hsmkms.reencryption.survey import survey

    found = survey(plan, store, sender, stop, display, arguments.limit)
    return found.to_document(), ExitCode.INTERRUPTED if stop.is_set() else ExitCode.OK


def _move(
    plan: Plan,
    store: DatabaseStore | FileStore,
    sender: Sender,
    stop: threading.Event,
    display: Display,
    arguments: argparse.Namespace,
) -> tuple[Mapping[str, Any], ExitCode]:
    from hsmkms.reencryption.files import FileStore
    from hsmkms.reencryption.journal import Journal, JournalProblem, remove
    from hsmkms.reencryption.runner import Runner

    path, failures = _files(arguments)
    if arguments.restart and path.exists():
        remove(path)
        failures.unlink(missing_ok=True)
        if isinstance(store, FileStore):
            store.discard()
    if isinstance(store, FileStore) and not path.exists():
        store.require_free()
    try:
        journal = Journal(path, plan.describe(), failures)
    except JournalProblem as problem:
        raise CommandFailed(str(problem), ExitCode.USAGE) from problem
    with contextlib.closing(journal):
        if journal.state == "finished":
            display.say(f"this was finished before; to begin anew, give --restart or remove {path}")
            return _told(journal.tally(), failures, is_finished=True)
        if store.remark:
            display.say(store.remark)
        if journal.was_begun:
            display.say(f"going on with {path}: {journal.tally().told}")
        if journal.state == "running":
            if isinstance(store, FileStore):
                store.resume(journal.mark)
            runner = Runner(
                plan,
                store,
                journal,
                sender,
                stop,
                streams=arguments.streams,
                batch_rows=arguments.batch_size,
                limit=arguments.limit,
            )
            if not runner.run(display):
                return _unfinished(runner.tally, stop, path, failures, display)
            journal.state = "finishing"
        if isinstance(store, FileStore):
            store.publish()
        journal.state = "finished"
        return _told(journal.tally(), failures, is_finished=True)


def _files(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Return the journal and the file of failures."""
    if arguments.journal is not None:
        path = Path(arguments.journal)
    elif arguments.table is not None:
        names = [arguments.schema, arguments.table] if arguments.schema else [arguments.table]
        path = Path("re-encrypt-" + re.sub(r"[^A-Za-z0-9_.-]", "_", ".".join(names))[:200] + ".journal")
    else:
        path = Path(arguments.output + ".journal")
    return path, Path(arguments.failures) if arguments.failures is not None else Path(f"{path}.failures.jsonl")


def _unfinished(
    tally: Tally, stop: threading.Event, path: Path, failures: Path, display: Display
) -> tuple[Mapping[str, Any], ExitCode]:
    document, code = _told(tally, failures, is_finished=False)
    display.say(
        f"{'interrupted' if stop.is_set() else '--limit is reached'}; the same command goes on: {path} knows where"
    )
    return document, ExitCode.INTERRUPTED if stop.is_set() else code


def _told(tally: Tally, failures: Path, *, is_finished: bool) -> tuple[Mapping[str, Any], ExitCode]:
    """Return what the rows came to, over all runs, and the exit code."""
    materials = sorted(tally.moved.items(), key=lambda item: (item[0].key_id, item[0].version))
    document = {
        "Finished": is_finished,
        "Rows": tally.rows,
        "Moved": tally.moved.total(),
        "AlreadyThere": tally.there,
        "Empty": tally.empty,
        "Gone": tally.gone,
        "Failed": tally.failed,
        "ReadAgain": tally.read_again,
        "Materials": [
            {"KeyId": material.key_id, "Version": material.version, "Moved": count} for material, count in materials
        ],
        **({"Failures": str(failures)} if tally.failed else {}),
    }
    return document, ExitCode.REFUSED if tally.failed else ExitCode.OK


@contextlib.contextmanager
def _ending(stop: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the run when the batches at work are done, and a second one at once."""

    def end(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
