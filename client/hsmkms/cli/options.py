"""The options of a command: those of its operation, from the declaration of its request, and those that every command has."""

from __future__ import annotations

import argparse
import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hsmkms.cli.output import FORMATS
from hsmkms.cli.parser import Parser
from hsmkms.cli.values import Form, Kind, ValueProblem, form_of, read_value
from hsmkms.client import Profile, load_profile
from hsmkms.client.contract import Constraint, Effect, Operation, constraint_of

BLOB_HELP: Final = "; fileb://PATH, - for standard input, or base64"
VISIBLE_HELP: Final = " (an argument is visible to other users of this machine: prefer fileb:// or -)"

_NARGS: Final[Mapping[Kind, str | None]] = {Kind.LIST: "+"}
_PLACEHOLDERS: Final[Mapping[Kind, str]] = {
    Kind.INTEGER: "N",
    Kind.TEXT: "TEXT",
    Kind.BLOB: "BLOB",
    Kind.TIME: "TIME",
    Kind.LIST: "VALUE",
    Kind.STRUCTURE: "Member=VALUE",
}
_SETTINGS: Final = (
    ("endpoint", "HOST:PORT", "where the service listens"),
    ("ca_file", "PATH", "certificate of the authority that the server's certificate must come from"),
    ("certificate_file", "PATH", "the client's certificate"),
    ("private_key_file", "PATH", "its private key"),
    ("server_name", "NAME", "name that the server's certificate must have, if it is not the endpoint's host"),
)


def command_name(operation: str) -> str:
    """Return the command of an operation, as the AWS CLI names it: `ReEncrypt` is `re-encrypt`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", operation).lower()


def option_name(member: str) -> str:
    """Return the option of a request member: `key_id` is `--key-id`."""
    return "--" + member.replace("_", "-")


def add_request_options(parser: Parser, operation: Operation) -> None:
    """Add an option for each member of an operation's request, the required ones first."""
    hints = typing.get_type_hints(operation.request)
    fields = dataclasses.fields(operation.request)
    required = [field for field in fields if constraint_of(field).required]
    if required:
        group = parser.add_argument_group("required")
        for field in required:
            _add_option(group, field.name, constraint_of(field), form_of(hints[field.name]))
    optional = parser.add_argument_group("optional")
    for field in fields:
        if field not in required:
            _add_option(optional, field.name, constraint_of(field), form_of(hints[field.name]))
    if operation.effect is Effect.CHANGES:
        optional.add_argument(
            "--idempotency-key",
            metavar="TEXT",
            default=argparse.SUPPRESS,
            help="1 to 128 printable ASCII characters; the same command with the same key has one effect within 24 hours",
        )


def _add_option(group: argparse._ArgumentGroup, member: str, rule: Constraint, form: Form) -> None:
    help_text = rule.doc + (BLOB_HELP if form.kind is Kind.BLOB else "") + (VISIBLE_HELP if rule.sensitive else "")
    settings: dict[str, Any] = {"help": help_text.replace("%", "%%"), "default": argparse.SUPPRESS}
    if form.kind is Kind.BOOLEAN:
        group.add_argument(option_name(member), action=argparse.BooleanOptionalAction, **settings)
        return
    choices = rule.choices or (rule.each.choices if rule.each else ())
    if choices:
        settings |= {"choices": [str(choice) for choice in choices]}
    else:
        settings |= {"metavar": rule.placeholder or _PLACEHOLDERS.get(form.kind)}
    group.add_argument(option_name(member), required=rule.required, nargs=_NARGS.get(form.kind), **settings)


def usage_of(operation: Operation) -> str:
    """Return a command and its required options, as usage shows them."""
    required = [field for field in dataclasses.fields(operation.request) if constraint_of(field).required]
    options = [f"{option_name(field.name)} {constraint_of(field).placeholder}" for field in required]
    return " ".join([command_name(operation.name), *options, "[options]"])


def request_members(parser: Parser, operation: Operation, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the request members that were given; what is not in its form is a usage error."""
    members: dict[str, Any] = {}
    hints = typing.get_type_hints(operation.request)
    for field in dataclasses.fields(operation.request):
        if field.name in arguments:
            try:
                members[field.name] = read_value(form_of(hints[field.name]), getattr(arguments, field.name))
            except ValueProblem as problem:
                parser.error(f"argument {option_name(field.name)}: {problem}")
    if "idempotency_key" in arguments:
        members["idempotency_key"] = arguments.idempotency_key
    return members


def add_output_options(parser: Parser) -> None:
    """Add the options for output."""
    group = parser.add_argument_group("output")
    group.add_argument("--query", metavar="JMESPATH", help="what of the answer to print, for example CiphertextBlob")
    group.add_argument(
        "--output",
        choices=FORMATS,
        default="json",
        help="json (default); text: tab-separated; raw: the bytes of one blob, chosen by --query if there are several",
    )


def add_connection_options(parser: Parser) -> None:
    """Add the connection options: to the program and to every command, so that they may stand before or after its name."""
    group = parser.add_argument_group(
        "connection", "each from its option, else from the environment (HSM_KMS_ENDPOINT, …), else from the profile"
    )
    options = (
        ("--profile-file", "PATH", "TOML file of profiles (default ~/.config/hsm-kms/profiles.toml)"),
        ("--profile", "NAME", "which profile of the file (default: default)"),
        *((option_name(setting), metavar, text) for setting, metavar, text in _SETTINGS),
        ("--timeout", "SECONDS", "longest time for a call, its retries included (default 10)"),
    )
    for option, metavar, text in options:
        group.add_argument(option, metavar=metavar, help=text, default=argparse.SUPPRESS)


def profile_of(arguments: argparse.Namespace) -> Profile:
    """Return the profile that the options, the environment and the profile file describe.

    Raises:
        ProfileError: as `load_profile`.
    """
    given = vars(arguments)
    file = given.get("profile_file")
    settings = {setting: given.get(setting) for setting, _, _ in _SETTINGS} | {"timeout_s": given.get("timeout")}
    return load_profile(given.get("profile"), file=Path(file) if file else None, settings=settings)
