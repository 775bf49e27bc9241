"""What operators run: `serve`, `token init`, `token info`, `token probe`, `audit verify`.

The service and everything that knows PKCS#11 are imported inside the commands, so that the command line starts quickly and a client's
machine loads neither.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.parser import Commands
from hsmkms.server import catalog_commands, credentials_commands
from hsmkms.server.system import StartError

if TYPE_CHECKING:
    from hsmkms.core.audit_verification import Report

CONFIG_VARIABLE: Final = "HSM_KMS_CONFIG"
_PIN_BYTES: Final = 24
NOT_WHOLE: Final = 2
"""Exit code of `audit verify` for a log that is not whole."""


def add_commands(commands: Commands) -> None:
    """Add `serve`, `token`, `catalog`, `credentials` and `audit` to the program's commands."""
    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the key management service until SIGTERM or Ctrl-C, which let requests under way finish.",
    )
    _add_config(serve)
    serve.add_argument(
        "--fronts",
        type=int,
        default=1,
        metavar="N",
        help="run N front processes on one port; token.workers is divided among them (default 1)",
    )
    serve.add_argument("--front", type=int, help=argparse.SUPPRESS)  # one of several: `fronts` starts it so
    serve.set_defaults(run=_serve)

    token = commands.add_parser("token", help="make a token, or see what one can do")
    verbs = token.add_commands()
    init = verbs.add_parser(
        "init",
        help="initialise a free token",
        description="Initialise a free token of a PKCS#11 module. A token that is initialised is never touched.",
        epilog="example: hsm-kms token init --module /usr/lib/softhsm/libsofthsm2.so --label hsm-kms --pin-file pin",
    )
    init.add_argument("--module", required=True, type=Path, metavar="PATH", help="the PKCS#11 module")
    init.add_argument("--label", required=True, help="label of the new token, 1 to 32 ASCII characters")
    init.add_argument(
        "--pin-file",
        required=True,
        type=Path,
        metavar="PATH",
        help="file that holds the user's PIN; if it is not there, it is written with a random one, readable by you alone",
    )
    init.add_argument(
        "--so-pin-file",
        type=Path,
        metavar="PATH",
        help="file that holds the security officer's PIN; without it you are asked for one (on a terminal)",
    )
    init.set_defaults(run=_token_init)

    info = verbs.add_parser(
        "info",
        help="show what a token can do",
        description="Log in to the configured token, try what the service needs of it, and show what was found.",
    )
    _add_config(info, required=False)
    info.add_argument("--module", type=Path, metavar="PATH", help="instead of --config: the PKCS#11 module")
    info.add_argument("--label", help="instead of --config: the token's label")
    info.add_argument(
        "--pin-file", type=Path, metavar="PATH", help="instead of --config: file that holds the user's PIN"
    )
    info.add_argument("--output", choices=("table", "json"), default="table", help="form of the answer (default table)")
    info.set_defaults(run=_token_info)

    probe = verbs.add_parser(
        "probe",
        help="see what any token can do, before there is a configuration",
        description=(
            "Log in to a token once, try with session objects what the service needs of it, and show which features of the KMS "
            "that gives, what is missing, and why. Needs no configuration and no service. Nothing on the token changes: the session is "
            "read-only, if the token has such. A PIN that the token refuses is not tried again."
        ),
        epilog=(
            "example: hsm-kms token probe --module /usr/lib/softhsm/libsofthsm2.so --token-label hsm-kms "
            "--environment SOFTHSM2_CONF=/etc/hsm-kms/softhsm.conf"
        ),
    )
    probe.add_argument("--module", required=True, type=Path, metavar="PATH", help="the PKCS#11 module")
    probe.add_argument("--token-label", metavar="LABEL", help="the token's label; needed where there are several")
    probe.add_argument("--serial", default="", help="the token's serial number, where two tokens have that label")
    probe.add_argument(
        "--pin-file",
        type=Path,
        metavar="PATH",
        help="file that holds the user's PIN; without it you are asked for the PIN (on a terminal)",
    )
    probe.add_argument(
        "--environment",
        action="append",
        default=[],
        type=_variable,
        metavar="NAME=VALUE",
        help="a variable that the module reads from its environment; may be given several times",
    )
    probe.add_argument(
        "--output", choices=("table", "json"), default="table", help="form of the answer (default table)"
    )
    probe.set_defaults(run=_token_probe)

    catalog_commands.add_commands(commands, _add_config)
    credentials_commands.add_commands(commands, _add_config)

    audit = commands.add_parser("audit", help="check the audit log")
    verbs = audit.add_commands()
    verify = verbs.add_parser(
        "verify",
        help="see whether an audit log is whole",
        description=(
            "Check that no record of an audit log was changed, removed, reordered or appended, and say which one was. "
            "With --config, the token confirms the anchors too; without it, a chain that was rewritten as a whole "
            "passes. Exit code 0 if the log is whole, 2 if it is not."
        ),
        epilog="example: hsm-kms audit verify --config /etc/hsm-kms/hsm-kms.toml /var/lib/hsm-kms/audit",
    )
    verify.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of the log, or folders of them")
    verify.add_argument(
        "--partial", action="store_true", help="the first files of a chain may be missing: they were archived elsewhere"
    )
    _add_config(verify, required=False)
    verify.set_defaults(run=_audit_verify)


def _add_config(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    default = os.environ.get(CONFIG_VARIABLE)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=Path(default) if default else None,
        required=required and default is None,
        help=f"the service's configuration, a TOML file (or the variable {CONFIG_VARIABLE})",
    )


def _failed(text: object) -> CommandFailed:
    return CommandFailed(" ".join(str(text).split()), ExitCode.CONFIGURATION)


def _serve(arguments: argparse.Namespace) -> int:
    from hsmkms.server import log
    from hsmkms.server.config import ConfigError, load
    from hsmkms.server.grpc.process import prepare_grpc

    prepare_grpc()
    try:
        config = load(arguments.config)
    except ConfigError as error:
        raise _failed(error) from error
    log.configure(config.log.level, config.log.format)
    from hsmkms.server import fronts

    if not 1 <= arguments.fronts <= fronts.MAX_FRONTS:
        raise CommandFailed(f"--fronts: 1 to {fronts.MAX_FRONTS}, not {arguments.fronts}", ExitCode.USAGE)
    if arguments.fronts > 1:
        try:
            asyncio.run(fronts.serve_fronts(config, arguments.config, arguments.fronts))
        except ConfigError as error:
            raise _failed(error) from error
        except fronts.FrontFailed as error:
            raise CommandFailed(
                "a front could not start: see the lines before this one", ExitCode.CONFIGURATION
            ) from error
        return 0
    if arguments.front is not None:
        fronts.follow_parent()
        log.name_front(arguments.front)
    from hsmkms.server import app

    try:
        asyncio.run(app.serve(config, arguments.front))
    except StartError as error:
        raise _failed(error) from error
    return 0


def _token_init(arguments: argparse.Namespace) -> int:
    from hsmkms.server import operator_token

    try:
        made_pin = not arguments.pin_file.exists()
        pin = secrets.token_urlsafe(_PIN_BYTES) if made_pin else _read_pin(arguments.pin_file)
        so_pin = _read_pin(arguments.so_pin_file) if arguments.so_pin_file else _ask_so_pin()
        if made_pin:
            descriptor = os.open(arguments.pin_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(pin + "\n")
        serial = operator_token.init_token(str(arguments.module), arguments.label, so_pin, pin)
    except OSError as error:
        raise _failed(f"{error.filename}: {error.strerror}") from error
    except StartError as error:
        raise _failed(error) from error
    sys.stdout.write(f"token {arguments.label} is ready, serial number {serial}\n")
    return 0


def _read_pin(path: Path) -> str:
    return path.read_text(encoding="utf-8").removesuffix("\n")


def _ask_so_pin() -> str:

    if not sys.stdin.isatty():
        raise StartError("the security officer's PIN is needed: give --so-pin-file, or run this on a terminal")
    pin = getpass.getpass("Security officer's PIN of the new token: ")
    if pin != getpass.getpass("The same again: "):
        raise StartError("the two PINs differ")
    return pin


def _token_info(arguments: argparse.Namespace) -> int:
    from hsmkms.server import operator_token
    from hsmkms.server.config import ConfigError, Token, load

    direct = (arguments.module, arguments.label, arguments.pin_file)
    try:
        if all(value is not None for value in direct):
            token = Token(module=arguments.module, label=arguments.label, pin_file=arguments.pin_file)
        elif arguments.config is not None and not any(value is not None for value in direct):
            token = load(arguments.config).token
        else:
            raise CommandFailed("token info needs either --config, or --module, --label and --pin-file", ExitCode.USAGE)
        text = operator_token.describe_token(token, as_json=arguments.output == "json")
    except (ConfigError, StartError) as error:
        raise _failed(error) from error
    sys.stdout.write(text)
    return 0


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _token_probe(arguments: argparse.Namespace) -> int:
    from hsmkms.server import operator_token

    def ask_pin(label: str) -> str:
        if arguments.pin_file is not None:
            return operator_token.read_pin(arguments.pin_file)
        if not sys.stdin.isatty():
            raise StartError(f"the PIN of token {label!r} is needed: give --pin-file, or run this on a terminal")
        return getpass.getpass(f"PIN of token {label!r}: ")

    try:
        text = operator_token.probe_token(
            arguments.module,
            arguments.token_label,
            arguments.serial,
            ask_pin,
            dict(arguments.environment),
            as_json=arguments.output == "json",
        )
    except StartError as error:
        raise _failed(error) from error
    sys.stdout.write(text)
    return 0


def _audit_verify(arguments: argparse.Namespace) -> int:
    from hsmkms.core import audit_verification
    from hsmkms.server.audit.files import PATTERN

    paths = [path for given in arguments.files for path in (sorted(given.glob(PATTERN)) if given.is_dir() else [given])]
    if not paths:
        raise CommandFailed(f"no {PATTERN} in {' '.join(map(str, arguments.files))}", ExitCode.USAGE)
    try:
        with contextlib.ExitStack() as stack:
            opened = [(str(path), stack.enter_context(path.open("rb"))) for path in dict.fromkeys(paths)]
            report = audit_verification.verify(opened, partial=arguments.partial)
    except OSError as error:
        raise _failed(f"{error.filename}: {error.strerror}") from error
    if arguments.config is None:
        anchors = "the anchors were not checked: give --config to have the token confirm them"
    else:
        anchors = _confirm_anchors(arguments.config, report)
    for finding in report.findings:
        sys.stdout.write(f"{finding}\n")
    for note in (*report.notes, anchors):
        sys.stdout.write(f"note: {note}\n")
    counts = f"{report.records} records, {len(report.last_records)} chains, {len(report.anchors)} anchors"
    verdict = f"NOT WHOLE: {len(report.findings)} findings" if report.findings else "whole"
    sys.stdout.write(f"{counts}: {verdict}\n")
    return NOT_WHOLE if report.findings else ExitCode.OK


def _confirm_anchors(config_file: Path, report: Report) -> str:
    """Have the token confirm the anchors; return a note on what was done."""
    from hsmkms.core import audit_verification
    from hsmkms.server import log, operator_token
    from hsmkms.server.config import ConfigError, load

    log.configure("error", "text")
    try:
        config = load(config_file)
        answer = asyncio.run(operator_token.audit_macs(config, [anchor.digest for anchor in report.anchors]))
    except (ConfigError, StartError) as error:
        raise _failed(error) from error
    audit_verification.confirm(report, answer.macs)
    foreign = report.deployments - {answer.deployment_id}
    if foreign:
        return f"of deployment {', '.join(sorted(foreign))}; the configuration is of deployment {answer.deployment_id}"
    return f"the token of deployment {answer.deployment_id} was asked about each anchor"
