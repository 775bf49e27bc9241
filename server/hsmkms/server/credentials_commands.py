"""`hsm-kms credentials`: access keys of AWS clients, for the operator on the service's machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.output import writing
from hsmkms.cli.parser import Commands, Parser, nearest
from hsmkms.core.access_keys import ID_PATTERN, MAX_ACCESS_KEYS, AccessKey, AccessKeyStatus

if TYPE_CHECKING:
    from hsmkms.core.model import Principal
    from hsmkms.server.aws.sealer import NewAccessKey
    from hsmkms.server.config import Config

PROFILE: Final = "hsm-kms"
"""The profile that a new access key is shown as, where the operator names no other."""
_NEVER: Final = "never"
_GONE: Final = "not in the configuration"

Answer = TypeVar("Answer")


def add_commands(commands: Commands, add_config: Callable[[Parser], None]) -> None:
    """Add `credentials` to the program's commands.

    Args:
        commands: The program's commands.
        add_config: Gives a command its option `--config`.
    """
    credentials = commands.add_parser("credentials", help="make and manage access keys for AWS clients")
    verbs = credentials.add_commands()

    create = verbs.add_parser(
        "create",
        help="make an access key",
        description=(
            "Make an access key for a principal of the configuration and show its secret, once: the catalog has it only "
            f"encrypted under a key on the token. A principal has {MAX_ACCESS_KEYS} access keys at most. A running "
            "service takes the new key without a restart."
        ),
        epilog="example: hsm-kms credentials create --principal spiffe://example.org/payments >> ~/.aws/credentials",
    )
    rotate = verbs.add_parser(
        "rotate",
        help="make a principal's second access key, to take the place of its first",
        description=(
            "Make a second access key for a principal that has one, and say what to do next. The first one stays as it is "
            "until you disable and delete it."
        ),
    )
    for verb, run in ((create, _create), (rotate, _rotate)):
        add_config(verb)
        verb.add_argument("--principal", required=True, metavar="NAME", help="a name of [[principals]], exactly")
        verb.add_argument(
            "--output",
            choices=("text", "json"),
            default="text",
            help="text: a section for ~/.aws/credentials; json: as `aws iam create-access-key` (default text)",
        )
        verb.add_argument(
            "--profile", default=PROFILE, metavar="NAME", help=f"name of the section in text form (default {PROFILE})"
        )
        verb.set_defaults(run=run)

    listing = verbs.add_parser("list", help="list access keys, without their secrets")
    add_config(listing)
    listing.add_argument("--principal", metavar="NAME", help="only those of this name")
    listing.add_argument(
        "--output", choices=("table", "json"), default="table", help="form of the answer (default table)"
    )
    listing.set_defaults(run=_list)

    for name, text, run in (
        ("disable", "refuse an access key until it is enabled again", _disable),
        ("enable", "accept an access key that was disabled", _enable),
        ("delete", "delete an access key and its secret for good", _delete),
    ):
        verb = verbs.add_parser(name, help=text)
        add_config(verb)
        verb.add_argument("--access-key-id", required=True, metavar="ID", help="the access key, AKIA…")
        verb.set_defaults(run=run)


def _create(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    profile = _profile(arguments)
    _show(_made(config, _principal(config, arguments.principal)), arguments.output, profile)
    return ExitCode.OK


def _rotate(arguments: argparse.Namespace) -> int:
    config, profile = _load(arguments), _profile(arguments)
    principal = _principal(config, arguments.principal)
    before = [key for key in _all(config) if key.principal == principal.name]
    if not before:
        raise CommandFailed(f"{principal.name} has no access key yet: use hsm-kms credentials create", ExitCode.USAGE)
    if len(before) >= MAX_ACCESS_KEYS:
        ids = " and ".join(key.access_key_id for key in before)
        raise CommandFailed(f"{principal.name} has {ids}: delete the one that is not used", ExitCode.USAGE)
    made = _made(config, principal)
    _show(made, arguments.output, profile)
    old = before[0].access_key_id
    sys.stderr.write(
        f"Next: give every client of {principal.name} the new access key {made.access_key.access_key_id}.\n"
        f"When `hsm-kms credentials list` shows no more uses of {old} (uses are shown about a minute late):\n"
        f"  hsm-kms credentials disable --access-key-id {old}\n"
        f"and, when nobody has missed it:\n"
        f"  hsm-kms credentials delete --access-key-id {old}\n"
    )
    return ExitCode.OK


def _list(arguments: argparse.Namespace) -> int:
    config = _load(arguments)
    known = {entry.name: entry for entry in config.principals}
    keys = [key for key in _all(config) if arguments.principal in (None, key.principal)]
    arns = {
        key.access_key_id: entry.arn
        for key in keys
        if (entry := known.get(key.principal)) is not None and entry.account == key.account
    }
    text = _as_json(keys, arns) if arguments.output == "json" else _as_table(keys, arns)
    with writing():
        sys.stdout.write(text)
    return ExitCode.OK


def _disable(arguments: argparse.Namespace) -> int:
    return _set_status(arguments, AccessKeyStatus.INACTIVE)


def _enable(arguments: argparse.Namespace) -> int:
    return _set_status(arguments, AccessKeyStatus.ACTIVE)


def _set_status(arguments: argparse.Namespace, status: AccessKeyStatus) -> int:
    from hsmkms.server import credentials

    _run(credentials.set_status(_load(arguments), _access_key_id(arguments), status))
    return ExitCode.OK


def _delete(arguments: argparse.Namespace) -> int:
    from hsmkms.server import credentials

    _run(credentials.delete(_load(arguments), _access_key_id(arguments)))
    return ExitCode.OK


def _load(arguments: argparse.Namespace) -> Config:
    from hsmkms.server import log
    from hsmkms.server.config import ConfigError, load

    log.configure("error", "text")
    try:
        return load(arguments.config)
    except ConfigError as error:
        raise CommandFailed(str(error), ExitCode.CONFIGURATION) from error


def _principal(config: Config, name: str) -> Principal:
    from hsmkms.server.principals import principals

    known = principals(config)
    if name not in known:
        raise CommandFailed(f"the configuration has no principal {name}{nearest(name, known)}", ExitCode.USAGE)
    return known[name]


def _profile(arguments: argparse.Namespace) -> str:
    """Return the profile's name, refused before a secret is made that could not be shown under it."""
    name: str = arguments.profile
    if not name or not name.isprintable() or set(name) & set("[]#;"):
        raise CommandFailed("--profile: a name without brackets, # and ;", ExitCode.USAGE)
    return name


def _access_key_id(arguments: argparse.Namespace) -> str:
    text: str = arguments.access_key_id
    if not ID_PATTERN.fullmatch(text):
        raise CommandFailed(f"--access-key-id: not AKIA and 16 letters and digits: {text}", ExitCode.USAGE)
    return text


def _made(config: Config, principal: Principal) -> NewAccessKey:
    from hsmkms.server import credentials

    return _run(credentials.create(config, principal))


def _all(config: Config) -> Sequence[AccessKey]:
    from hsmkms.server import credentials

    return _run(credentials.listed(config))


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    from hsmkms.server.system import StartError

    try:
        return asyncio.run(work)
    except StartError as error:
        raise CommandFailed(" ".join(str(error).split()), ExitCode.CONFIGURATION) from error


def _show(made: NewAccessKey, form: str, profile: str) -> None:
    key = made.access_key
    if form == "json":
        shown = {
            "UserName": key.principal,
            "AccessKeyId": key.access_key_id,
            "Status": key.status.value,
            "SecretAccessKey": made.secret,
            "CreateDate": _time(key.created),
        }
        text = json.dumps({"AccessKey": shown}, indent=2) + "\n"
    else:
        pair = f"aws_access_key_id = {key.access_key_id}\naws_secret_access_key = {made.secret}\n"
        text = f"# {' '.join(key.principal.split())}\n[{profile}]\n{pair}"
    try:
        with writing():
            sys.stdout.write(text)
            sys.stdout.flush()
    except (CommandFailed, BrokenPipeError):
        sys.stderr.write(f"the secret of {key.access_key_id} is lost: delete it with hsm-kms credentials delete\n")
        raise


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat()


def _as_json(keys: Sequence[AccessKey], arns: dict[str, str]) -> str:
    entries = [
        {
            "UserName": key.principal,
            "Arn": arns.get(key.access_key_id),
            "AccessKeyId": key.access_key_id,
            "Status": key.status.value,
            "CreateDate": _time(key.created),
            "LastUsedDate": _time(key.last_used) if key.last_used else None,
            "LastUsedService": key.last_service or None,
        }
        for key in keys
    ]
    return json.dumps({"AccessKeyMetadata": entries}, indent=2) + "\n"


def _as_table(keys: Sequence[AccessKey], arns: dict[str, str]) -> str:
    rows = [("ACCESS KEY", "STATUS", "CREATED", "LAST USED", "SERVICE", "PRINCIPAL")]
    for key in keys:
        gone = "" if key.access_key_id in arns else f" ({_GONE}: refused)"
        used = _time(key.last_used) if key.last_used else _NEVER
        service = key.last_service or "-"
        rows.append((key.access_key_id, key.status.value, _time(key.created), used, service, f"{key.principal}{gone}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"
