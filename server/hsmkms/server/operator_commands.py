"""What operators run: `serve`, `token init`, `token info`.

The service and everything that knows PKCS#11 are imported inside the commands, so that the command line starts quickly and a client's
machine loads neither.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.parser import Commands

CONFIG_VARIABLE: Final = "HSM_KMS_CONFIG"
_PIN_BYTES: Final = 24


def add_commands(commands: Commands) -> None:
    """Add `serve` and `token` to the program's commands."""
    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the key management service until SIGTERM or Ctrl-C, which let requests under way finish.",
    )
    _add_config(serve)
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
    from hsmkms.server import app

    try:
        asyncio.run(app.serve(config))
    except app.StartError as error:
        raise _failed(error) from error
    return 0


def _token_init(arguments: argparse.Namespace) -> int:
    from hsmkms.server import app

    try:
        made_pin = not arguments.pin_file.exists()
        pin = secrets.token_urlsafe(_PIN_BYTES) if made_pin else _read_pin(arguments.pin_file)
        so_pin = _read_pin(arguments.so_pin_file) if arguments.so_pin_file else _ask_so_pin()
        if made_pin:
            descriptor = os.open(arguments.pin_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(pin + "\n")
        serial = app.init_token(str(arguments.module), arguments.label, so_pin, pin)
    except OSError as error:
        raise _failed(f"{error.filename}: {error.strerror}") from error
    except app.StartError as error:
        raise _failed(error) from error
    sys.stdout.write(f"token {arguments.label} is ready, serial number {serial}\n")
    return 0


def _read_pin(path: Path) -> str:
    return path.read_text(encoding="utf-8").removesuffix("\n")


def _ask_so_pin() -> str:
    from hsmkms.server import app

    if not sys.stdin.isatty():
        raise app.StartError("the security officer's PIN is needed: give --so-pin-file, or run this on a terminal")
    pin = getpass.getpass("Security officer's PIN of the new token: ")
    if pin != getpass.getpass("The same again: "):
        raise app.StartError("the two PINs differ")
    return pin


def _token_info(arguments: argparse.Namespace) -> int:
    from hsmkms.server import app
    from hsmkms.server.config import ConfigError, Token, load

    direct = (arguments.module, arguments.label, arguments.pin_file)
    try:
        if all(value is not None for value in direct):
            token = Token(module=arguments.module, label=arguments.label, pin_file=arguments.pin_file)
        elif arguments.config is not None and not any(value is not None for value in direct):
            token = load(arguments.config).token
        else:
            raise CommandFailed("token info needs either --config, or --module, --label and --pin-file", ExitCode.USAGE)
        text = app.describe_token(token, as_json=arguments.output == "json")
    except (ConfigError, app.StartError) as error:
        raise _failed(error) from error
    sys.stdout.write(text)
    return 0
