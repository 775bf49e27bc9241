"""What the operator's commands do with the token, in a process of their own; a running service is not needed, and not disturbed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import KeyRef
from hsmkms.core.errors import KmsError
from hsmkms.core.features import TokenFeatures
from hsmkms.core.model import BackingKeyState
from hsmkms.core.service_keys import deployment_label
from hsmkms.core.startup import TokenDescription
from hsmkms.core.token_objects import TokenObject
from hsmkms.server import token_report
from hsmkms.server.catalog import CatalogError, open_catalog
from hsmkms.server.config import Config, ConfigError, Token
from hsmkms.server.metrics import Metrics
from hsmkms.server.service_keys import AUDIT_KEY, service_mac
from hsmkms.server.system import StartError, SystemClock
from hsmkms.server.token.pool import TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.process import WorkerStartError
from hsmkms.server.token.settings import pool_settings, suite_of, worker_settings

if TYPE_CHECKING:
    from hsmkms.hsm.operator import CapabilityRow


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
                pool,
                suite_of(description, config.token.suite),
                deployment_label(catalog.deployment_id),
                TokenFeatures.from_capabilities(description.capabilities),
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
    """Return every key of whatever kind on the configured token. For the command line's own process: it loads the module.

    Args:
        token: The configuration.
        suites: Derivations by CKA_ID, as the catalog has them, if there is one.

    Raises:
        StartError: the token cannot be used; the text says why.
    """
    from hsmkms.hsm import operator

    os.environ.update(token.environment)
    try:
        preferred = None if token.suite is None else Suite(token.suite)
        return operator.survey_token(worker_settings(token), suites, preferred)
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
    backing_keys = ("backing keys", str(len(description.cka_ids)))
    return _shown(description, operator.capability_rows(description), (backing_keys,), as_json=as_json)


def read_pin(path: Path) -> str:
    """Return the PIN in a file.

    Raises:
        StartError: the file cannot be used, or others can read it; the text says what to change.
    """
    from hsmkms.hsm import operator

    try:
        return operator.read_pin(str(path))
    except operator.StartError as error:
        raise StartError(error.detail) from error


def probe_token(
    module: Path,
    label: str | None,
    serial: str,
    ask_pin: Callable[[str], str],
    environment: Mapping[str, str],
    *,
    as_json: bool,
) -> str:
    """Return what a token can do that no configuration knows. For the command line's own process: it loads the module.

    Args:
        module: The PKCS#11 module.
        label: The token's label, or None for the only token.
        serial: Its serial number, or empty.
        ask_pin: Returns the PIN of the token of that label.
        environment: Variables for the module.
        as_json: Whether to return JSON.

    Raises:
        StartError: the token cannot be used; the text says why.
    """
    from hsmkms.hsm import operator

    def lock_file(label: str, serial: str) -> str:
        return str(Token(module=module, label=label, serial=serial).lock_path())

    os.environ.update(environment)
    try:
        description = operator.probe_token(str(module), label, serial, ask_pin, lock_file)
    except operator.StartError as error:
        raise StartError(error.detail) from error
    return _shown(description, operator.capability_rows(description), (), as_json=as_json)


def _shown(
    description: TokenDescription,
    capabilities: Sequence[CapabilityRow],
    more: tuple[tuple[str, str], ...],
    *,
    as_json: bool,
) -> str:
    features = TokenFeatures.from_capabilities(description.capabilities)
    if as_json:
        document = {**json.loads(description.to_json()), "kms": token_report.as_document(features)}
        return json.dumps(document, indent=2) + "\n"
    facts = (
        ("module", description.module),
        ("library", description.library),
        ("token", description.token_label),
        ("serial number", description.token_serial),
        ("model", f"{description.manufacturer} {description.model}".strip()),
        ("sessions", "no limit stated" if description.max_sessions is None else str(description.max_sessions)),
        *more,
    )
    found = [(row.name, row.found, row.purpose) for row in capabilities]
    return token_report.as_text(facts, found, features)
