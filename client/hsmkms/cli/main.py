"""The program: how commands are put together, run and ended.

    program = new_program()                                  # with every KMS operation
    serve = program.commands.add_parser("serve", help="…")   # and others beside them
    serve.set_defaults(run=run_serve)                        # a function from argparse.Namespace to an exit code
    sys.exit(execute(program.parser))

A command's function returns an exit code or raises `CommandFailed`, which is shown as one line. It imports what is slow or
dangerous itself: help and usage errors come at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from hsmkms.cli import re_encrypt_all
from hsmkms.cli.examples import EXAMPLES
from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.options import (
    add_connection_options,
    add_output_options,
    add_request_options,
    command_name,
    profile_of,
    request_members,
    usage_of,
)
from hsmkms.cli.output import Printer, blob_names, document_of, write, writing
from hsmkms.cli.parser import Commands, Parser
from hsmkms.client.contract import OPERATIONS, Operation, aws_name
from hsmkms.client.errors import ClientError, KmsError, ProfileError, ValidationException

PROGRAM: Final = "hsm-kms"
DESCRIPTION: Final = """\
A key management service with AWS KMS's operations, whose keys never leave a PKCS#11 token.
Every command takes the options of the AWS CLI's command of that name: hsm-kms COMMAND --help."""
EPILOG: Final = """\
where the service is:
  options, else the environment (HSM_KMS_ENDPOINT, HSM_KMS_CA_FILE, HSM_KMS_CERTIFICATE_FILE, HSM_KMS_PRIVATE_KEY_FILE,
  HSM_KMS_SERVER_NAME, HSM_KMS_TIMEOUT), else the profile HSM_KMS_PROFILE (default: default) in the TOML file
  HSM_KMS_PROFILE_FILE (default: ~/.config/hsm-kms/profiles.toml), which looks like this:
    [default]
    endpoint = "kms.example.com:8443"
    ca_file = "ca.pem"                 # relative to the profile file
    certificate_file = "client.pem"
    private_key_file = "client.key"

values:
  blobs       fileb://PATH, - for standard input, or base64
  maps        KEY=VALUE,KEY=VALUE or JSON
  lists       A B C or JSON; of structures: Member=VALUE,Member=VALUE … or JSON
  structures  Member=VALUE,Member={KEY=VALUE} or JSON
  anything    file://PATH for a text that stands in a file

exit codes:
  0 done   252 wrong usage   253 wrong profile, certificate or key file   254 the service refused
  255 no answer: not reachable, not in time, or not to be written; it may have been done
  1 a fault of this program   130 interrupted   141 the reader of the output went away

examples:
  hsm-kms encrypt --key-id alias/a --plaintext fileb://secret.bin --output raw > sealed.bin
  hsm-kms re-encrypt --ciphertext-blob fileb://sealed.bin --source-key-id alias/a --destination-key-id alias/b \\
      --query CiphertextBlob --output text | base64 --decode > moved.bin
  hsm-kms decrypt --ciphertext-blob fileb://moved.bin --key-id alias/b --query Plaintext --output raw"""


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """A program's parser, and where its commands are added."""

    parser: Parser
    commands: Commands


def new_program(prog: str = PROGRAM) -> Program:
    """Return a program that has a command for each KMS operation, and re-encrypt-all."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} [connection options] COMMAND [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {importlib.metadata.version('hsm-kms')}")
    commands = parser.add_commands()
    add_connection_options(parser)
    add_operations(commands, prog)
    re_encrypt_all.add_command(commands, prog)
    return Program(parser, commands)


def add_operations(commands: Commands, prog: str = PROGRAM) -> None:
    """Add a command for each KMS operation."""
    for operation in OPERATIONS.values():
        summary = _summary(operation)
        example = EXAMPLES.get(operation.name)
        parser = commands.add_parser(
            command_name(operation.name),
            usage=f"{prog} {usage_of(operation)}",
            help=summary,
            description=summary,
            epilog=f"examples:\n{example}" if example else None,
        )
        add_request_options(parser, operation)
        if _list_member(operation):
            parser.add_argument(
                "--no-paginate",
                action="store_true",
                help="one page only, as with --limit or --marker; else all pages as one",
            )
        add_output_options(parser)
        add_connection_options(parser)
        parser.set_defaults(run=functools.partial(_run_operation, parser, operation))


def execute(parser: Parser, argv: Sequence[str] | None = None) -> int:
    """Parse a command line, run its command and return the exit code.

    Args:
        parser: The program's parser.
        argv: The arguments; the process's own if None.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # help is not ASCII, a terminal may be
    try:
        code = _guarded(parser, argv)
        if sys.stdout is not None:
            with writing():
                sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.BROKEN_PIPE
    except CommandFailed as failure:
        code = _say(f"{parser.prog}: error: {failure.message}", failure.code)
    else:
        return code
    if sys.stdout is not None:
        # Python flushes standard output once more at its end: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _guarded(parser: Parser, argv: Sequence[str] | None) -> int:
    try:
        arguments = parser.parse_args(argv)
        return int(arguments.run(arguments) or ExitCode.OK)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except CommandFailed as failure:
        return _say(f"{parser.prog}: error: {failure.message}", failure.code)
    except KeyboardInterrupt:
        return _say("", ExitCode.INTERRUPTED)


def _say(text: str, code: ExitCode) -> ExitCode:
    if sys.stderr is not None:
        sys.stderr.write("".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text) + "\n")
    return code


def _run_operation(parser: Parser, operation: Operation, arguments: argparse.Namespace) -> int:
    printer = Printer(arguments.output, arguments.query, blob_names(operation.response))
    printer.check()
    members = request_members(parser, operation, arguments)
    # gRPC's own log would stand beside our one line. It reads this when it is imported, so not before now.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from hsmkms.client import Client

    try:
        with Client(profile_of(arguments)) as client:
            document = _call(client, operation, members, one_page=getattr(arguments, "no_paginate", False))
    except ProfileError as error:
        raise CommandFailed(error.message, ExitCode.CONFIGURATION) from error
    except ClientError as error:
        raise CommandFailed(error.message) from error
    except ValidationException as error:
        return _refused(operation, error, ExitCode.REFUSED if error.request_id else ExitCode.USAGE)
    except KmsError as error:
        return _refused(operation, error, ExitCode.REFUSED)
    write(printer.render(document))
    return ExitCode.OK


def _refused(operation: Operation, error: KmsError, code: ExitCode) -> ExitCode:
    told = [error.message, f"(request id {error.request_id})" if error.request_id else ""]
    text = " ".join(each for each in told if each)
    return _say(f"An error occurred ({error.code}) when calling the {operation.name} operation: {text}", code)


def _call(client: Any, operation: Operation, members: dict[str, Any], *, one_page: bool) -> dict[str, Any]:
    name = command_name(operation.name).replace("-", "_")
    entries = _list_member(operation)
    if entries and not one_page and not members.keys() & {"limit", "marker"}:
        iterate = getattr(client, name.replace("list_", "iterate_"))
        return {aws_name(entries): [document_of(entry) for entry in iterate(**members)]}
    response = getattr(client, name)(**members)
    return {} if response is None else document_of(response)


def _list_member(operation: Operation) -> str:
    """Return the member that holds the entries of a list operation's page, or an empty text."""
    names = [field.name for field in dataclasses.fields(operation.response)]
    return names[0] if "next_marker" in names else ""


def _summary(operation: Operation) -> str:
    return (operation.request.__doc__ or "").splitlines()[0]
