"""What the operator's commands do with the token, in a process of their own; a running service is not needed, and not disturbed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry

from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import KeyRef
from hsmkms.core.errors import KmsError
from hsmkms.core.model import BackingKeyState
from hsmkms.core.service_keys import deployment_label
from hsmkms.core.token_objects import TokenObject
from hsmkms.server.catalog import CatalogError, open_catalog
from hsmkms.server.config import Config, ConfigError, Token
from hsmkms.server.metrics import Metrics
from hsmkms.server.service_keys import AUDIT_KEY, service_mac
from hsmkms.server.system import StartError, SystemClock
from hsmkms.server.token.pool import TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.process import WorkerStartError
from hsmkms.server.token.settings import pool_settings, suite_of, worker_settings


@dataclass(frozen=True, slots=True)
class AnchorMacs:
    """What the token says of an audit log's anchors.

    Args:
        deployment_id: Whose key made the MACs.
        macs: The MAC over each digest.
    """

    deployment_id: str
    macs: Mapping[bytes, bytes]


async def audit_macs(config: Config, digests: Sequence[bytes]) -> AnchorMacs:
    """Ask the token for its MACs over the digests of an audit log's anchors. For the command line: it starts a token worker.

    Raises:
        StartError: catalog or token cannot be used, or this deployment has never written an audit log.
    """
    async with AsyncExitStack() as stack:
        try:
            catalog = open_catalog(
                config.catalog.url,
                partition=config.service.partition,
                clock_us=SystemClock().now_us,
                monotonic=time.monotonic,
            )
            stack.push_async_callback(catalog.close)
            known = catalog.service_key(AUDIT_KEY)
            if known is None or known.state is not BackingKeyState.ACTIVE:
                raise StartError(f"the catalog {config.catalog.url} knows no key for the anchors of an audit log")
            settings = replace(pool_settings(config.token), workers=1, spare=False)
            pool = TokenPool(settings, Metrics(CollectorRegistry()))
            stack.push_async_callback(pool.close)
            description = await pool.start()
            token = WorkerToken(
                pool, suite_of(description), deployment_label(catalog.deployment_id), seals_directly=False
            )
            key = KeyRef(known.cka_id, known.suite, known.canary)
            macs = {digest: await service_mac(token, key, digest) for digest in digests}
        except (ConfigError, CatalogError) as error:
            raise StartError(str(error)) from error
        except WorkerStartError as error:
            raise StartError(f"token: {error.detail}") from error
        except KmsError as error:
            raise StartError(f"token: {error.message} {error.detail}".rstrip()) from error
        return AnchorMacs(str(catalog.deployment_id), macs)


def init_token(module: str, label: str, so_pin: str, user_pin: str) -> str:
    """Initialise a free token and return its serial number. For the command line's own process: it loads the module.

    Raises:
        StartError: it cannot be done; the text says why.
    """
    from hsmkms.hsm import operator

    try:
        return operator.init_token(module, label, so_pin, user_pin)
    except operator.StartError as error:
        raise StartError(error.detail) from error


def survey_token(token: Token, suites: Mapping[bytes, Suite]) -> Sequence[TokenObject]:
    """Return every backing key on the configured token. For the command line's own process: it loads the module.

    Args:
        token: The configuration.
        suites: Derivations by CKA_ID, as the catalog has them, if there is one.

    Raises:
        StartError: the token cannot be used; the text says why.
    """
    from hsmkms.hsm import operator

    os.environ.update(token.environment)
    try:
        return operator.survey_token(worker_settings(token), suites)
    except operator.StartError as error:
        raise StartError(error.detail) from error


def describe_token(token: Token, *, as_json: bool) -> str:
    """Return what the configured token can do, as a table or as JSON. For the command line's own process: it loads the module.

    Raises:
        StartError: the token cannot be used; the text says why.
    """
    from hsmkms.hsm import operator

    os.environ.update(token.environment)
    try:
        description = operator.describe_token(worker_settings(token))
    except operator.StartError as error:
        raise StartError(error.detail) from error
    if as_json:
        return json.dumps(json.loads(description.to_json()), indent=2) + "\n"
    facts = (
        ("module", description.module),
        ("library", description.library),
        ("token", description.token_label),
        ("serial number", description.token_serial),
        ("model", f"{description.manufacturer} {description.model}".strip()),
        ("sessions", "no limit stated" if description.max_sessions is None else str(description.max_sessions)),
        ("backing keys", str(len(description.cka_ids))),
    )
    rows = [(row.name, row.found, row.purpose) for row in operator.capability_rows(description)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<14} {value}" for name, value in facts] + [""]
    lines += [f"{name:<{widths[0]}}  {found:<{widths[1]}}  {purpose}" for name, found, purpose in rows]
    return "\n".join(lines) + "\n"
