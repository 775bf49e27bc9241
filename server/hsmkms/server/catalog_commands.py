"""`hsm-kms catalog check` and `hsm-kms catalog rebuild`: what an operator does with catalog and token by hand."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.parser import Commands, Parser
from hsmkms.server.system import StartError

if TYPE_CHECKING:
    from hsmkms.server.catalog.comparison import Comparison
    from hsmkms.server.catalog.rebuild import Found
    from hsmkms.server.config import Config

DIFFERENT: Final = 2
"""Exit code of `catalog check` when catalog and token do not agree."""


def add_commands(commands: Commands, add_config: Callable[[Parser], None]) -> None:
    """Add `catalog` to the program's commands.

    Args:
        commands: The program's commands.
        add_config: Gives a command its option `--config`.
    """
    catalog = commands.add_parser("catalog", help="compare the catalog with the token, or make it anew")
    verbs = catalog.add_commands()
    check = verbs.add_parser(
        "check",
        help="compare catalog and token",
        description=(
            "Have every key on the token prove by its canary that it is the one that the catalog knows, and list what is "
            "missing, unknown, there twice, unfit or damaged. Changes nothing; the service may run. "
            "Exit code 0 if catalog and token agree, 2 if they do not."
        ),
    )
    add_config(check)
    check.add_argument(
        "--output", choices=("table", "json"), default="table", help="form of the answer (default table)"
    )
    check.set_defaults(run=_check)

    rebuild = verbs.add_parser(
        "rebuild",
        help="make a new catalog from the token alone",
        description=(
            "Make a catalog of the keys that are on the token, where catalog and backups are lost. Every key is Disabled "
            "until you enable it, belongs to the configured account, and has the default key policy: descriptions, aliases, "
            "tags, policies, grants and states are lost. Stop every front first. An existing catalog is never touched."
        ),
        epilog="example: hsm-kms catalog rebuild --config /etc/hsm-kms/hsm-kms.toml",
    )
    add_config(rebuild)
    rebuild.add_argument(
        "--deployment", metavar="ID", help="whose keys to take, where several deployments share the token"
    )
    rebuild.set_defaults(run=_rebuild)


def _load(config_file: Path) -> Config:
    from hsmkms.server import log
    from hsmkms.server.config import ConfigError, load

    log.configure("error", "text")
    try:
        return load(config_file)
    except ConfigError as error:
        raise CommandFailed(str(error), ExitCode.CONFIGURATION) from error


def _check(arguments: argparse.Namespace) -> int:
    from hsmkms.server import operator_token
    from hsmkms.server.catalog import CatalogError
    from hsmkms.server.catalog.comparison import compare, read_contents

    config = _load(arguments.config)
    try:
        before = read_contents(config.catalog.url)
        suites = {cka_id: entry.suite for cka_id, entry in before.entries.items()}
        objects = operator_token.survey_token(config.token, suites)
        comparison = compare(before, objects, read_contents(config.catalog.url))
    except (CatalogError, StartError) as error:
        raise CommandFailed(str(error), ExitCode.CONFIGURATION) from error
    sys.stdout.write(_as_json(comparison) if arguments.output == "json" else _as_table(comparison))
    return DIFFERENT if comparison.findings else ExitCode.OK


def _as_json(comparison: Comparison) -> str:
    document = dataclasses.asdict(comparison) | {"deployment_id": str(comparison.deployment_id)}
    return json.dumps(document, indent=2) + "\n"


def _as_table(comparison: Comparison) -> str:
    lines = [f"{finding.kind:<10} {finding.cka_id}  {finding.text}" for finding in comparison.findings]
    lines.append(
        f"deployment {comparison.deployment_id}: {comparison.well} keys as they should be, {len(comparison.findings)} not; "
        f"{comparison.creating} being created, {comparison.foreign} objects of others"
    )
    return "\n".join(lines) + "\n"


def _rebuild(arguments: argparse.Namespace) -> int:
    from hsmkms.core.model import Scope
    from hsmkms.server import operator_token
    from hsmkms.server.catalog import CatalogError, rebuild

    config = _load(arguments.config)
    try:
        objects = operator_token.survey_token(config.token, {})
        deployment_id = _choose(rebuild.deployments(objects), arguments.deployment)
        found = rebuild.take_stock(objects, deployment_id)
        rebuild.rebuild(
            config.catalog.url,
            found,
            partition=config.service.partition,
            scope=Scope(config.service.account, config.service.region),
            token=config.token.label,
            now=time.time_ns() // 1000,
        )
    except (CatalogError, StartError, OSError) as error:
        raise CommandFailed(str(error), ExitCode.CONFIGURATION) from error
    sys.stdout.write(_told(found))
    return ExitCode.OK


def _choose(deployments: dict[uuid.UUID, int], wanted: str | None) -> uuid.UUID:
    listed = ", ".join(f"{deployment_id} ({count} objects)" for deployment_id, count in sorted(deployments.items()))
    if not deployments:
        raise CommandFailed("the token holds no keys of any deployment of this service", ExitCode.CONFIGURATION)
    if wanted is None:
        if len(deployments) > 1:
            raise CommandFailed(
                f"several deployments share the token: name one with --deployment: {listed}", ExitCode.USAGE
            )
        return next(iter(deployments))
    try:
        deployment_id = uuid.UUID(wanted)
    except ValueError:
        raise CommandFailed(f"--deployment: no UUID: {wanted}", ExitCode.USAGE) from None
    if deployment_id not in deployments:
        raise CommandFailed(f"the token holds no keys of deployment {deployment_id}; it has {listed}", ExitCode.USAGE)
    return deployment_id


def _told(found: Found) -> str:
    materials = sum(len(versions) for versions in found.keys.values())
    lines = [
        f"left out   {item.cka_id.hex()}  {why}"
        for item, why in sorted(found.left_out, key=lambda pair: pair[0].cka_id)
    ]
    for key_uuid, versions in sorted(found.missing_versions.items()):
        lines.append(f"incomplete {key_uuid}  the token lacks version {', '.join(map(str, versions))}")
    lines.append(
        f"deployment {found.deployment_id}: {len(found.keys)} KMS keys, all Disabled, with {materials} key materials; "
        f"{len(found.service_keys)} service keys; {len(found.left_out)} objects left out"
    )
    return "\n".join(lines) + "\n"
