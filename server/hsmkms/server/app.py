"""The one place that wires the service together, starts it and stops it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import secrets
import signal
import sys
import time
import uuid
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from hsmkms.core.ciphertext import KEY_UUID_BYTES, SALT_BYTES, Suite, canary_digest
from hsmkms.core.commands import KeyRef, Rewrap
from hsmkms.core.creations import Creations
from hsmkms.core.errors import KmsError
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import BackingKeyState, Scope
from hsmkms.core.operations import Environment
from hsmkms.core.service_keys import ServiceKey, deployment_label
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.server.catalog import Catalog, CatalogError, open_catalog
from hsmkms.server.config import Config, ConfigError, Token
from hsmkms.server.grpc.edge import Edge
from hsmkms.server.grpc.listener import Listener
from hsmkms.server.health import HealthMonitor
from hsmkms.server.identity import Authenticator, CertifiedClients
from hsmkms.server.metrics import Metrics
from hsmkms.server.probes import Probes
from hsmkms.server.reconciler import Reconciler
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.process import WorkerStartError

SERVICE_KEY: Final = "service"
"""Purpose of the service key that health and pagination markers use."""
PURGE_INTERVAL_S: Final = 60.0
SWITCH_INTERVAL_S: Final = 0.0005
"""How long the event loop waits for the interpreter while the catalog's thread writes; Python's 5 ms would be felt by every request."""
LAST_ANSWERS_S: Final = 1.0
"""How long gRPC may take to send the last answers, once every request has one."""
_NEEDED_FOR_DIRECT: Final = ("created_objects", "readable_objects")
_MARKER_LABEL: Final = b"hsm-kms/marker-key/v1"

_log = structlog.get_logger(__name__)


class StartError(Exception):
    """The service cannot start; the text is one line and says what to do."""


class SystemClock:
    """The machine's clock (`core.ports.Clock`)."""

    def now_us(self) -> int:
        """Return microseconds since 1970, UTC."""
        return time.time_ns() // 1000


class SystemEntropy:
    """The kernel's random generator (`core.ports.Entropy`)."""

    def salt(self) -> bytes:
        """Return 16 random bytes."""
        return secrets.token_bytes(SALT_BYTES)

    def key_id(self) -> str:
        """Return a new random UUID as text."""
        return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running service listens.

    Args:
        grpc: Host and port of the gRPC service.
        probes: Host and port of probes and metrics.
    """

    grpc: str
    probes: str


async def serve(config: Config) -> None:
    """Run the service until SIGTERM or SIGINT, then finish what is under way.

    Raises:
        StartError: it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            addresses = await start(config, stack)
        except (ConfigError, CatalogError) as error:
            raise StartError(str(error)) from error
        except WorkerStartError as error:
            raise StartError(f"token: {error.detail}") from error
        _log.info("serving", grpc=addresses.grpc, probes=addresses.probes, pid=os.getpid())
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")


async def start(config: Config, stack: AsyncExitStack) -> Addresses:
    """Start everything, in the order in which it is needed; `stack` stops it in the reverse order.

    Raises:
        ConfigError: a setting cannot be used.
        CatalogError: the catalog cannot be used.
        WorkerStartError: the token cannot be used.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = SystemClock()
    metrics = Metrics(_registry())
    scope = Scope(config.service.account, config.service.region)

    catalog = open_catalog(
        config.catalog.url,
        partition=config.service.partition,
        clock_us=clock.now_us,
        monotonic=time.monotonic,
        max_staleness_s=config.catalog.max_staleness_s,
    )
    stack.push_async_callback(catalog.close)
    pool = TokenPool(_pool_settings(config.token), metrics)
    stack.push_async_callback(pool.close)
    description = await pool.start()
    metrics.watch_queue(lambda: pool.queued)
    catalog.use_token(f"{description.token_label} {description.token_serial}")
    token = WorkerToken(
        pool,
        _suite(description),
        deployment_label(catalog.deployment_id),
        seals_directly=all(description.capabilities.get(name) for name in _NEEDED_FOR_DIRECT),
    )
    creations = Creations(catalog.view)
    service_key = await _service_key(catalog, token, description)
    environment = Environment(
        partition=config.service.partition,
        view=catalog.view,
        changes=catalog.changes,
        creations=creations,
        token=token,
        authorizer=CertifiedClients(),
        markers=MacedMarkers(await _marker_key(token, service_key), clock),
        entropy=SystemEntropy(),
        clock=clock,
        observer=metrics,
    )
    authenticator = Authenticator(
        config.service.partition, config.service.account, config.tls.principal, lambda: datetime.now(UTC)
    )
    edge = Edge(environment, authenticator, scope, metrics, config.limits.request_timeout_s)
    listener = Listener(
        config.listen.address,
        config.tls,
        edge.handler(),
        max_concurrent=config.limits.max_concurrent_requests,
        max_connection_age_s=config.limits.max_connection_age_s,
    )

    async def readiness_changed(is_ready: bool) -> None:
        metrics.ready(is_ready=is_ready)
        await listener.set_serving(serving=is_ready)

    monitor = HealthMonitor(token, service_key, readiness_changed)
    probes = Probes(config.listen.metrics_address, metrics.registry, lambda: monitor.trouble)
    reconciler = Reconciler(catalog, token, creations, clock, metrics.reconciled, config.limits.creation_grace_s)

    probes_address = await probes.start()
    stack.push_async_callback(probes.stop)
    _background(stack, catalog.watch(), "catalog watch")
    _background(stack, _purge(catalog), "purge of idempotency keys")
    grpc_address = await listener.start()

    async def drain() -> None:
        await monitor.stopping()
        await edge.drain(config.limits.drain_s)
        await edge.close(listener.stop(LAST_ANSWERS_S))

    stack.push_async_callback(drain)
    _background(stack, reconciler.run(config.limits.reconcile_every_s), "reconciler")
    await monitor.check()
    _background(stack, monitor.run(), "health")
    return Addresses(grpc_address, probes_address)


async def _purge(catalog: Catalog) -> None:
    """Forget expired idempotency keys, a bounded number at a time, until cancelled."""
    while True:
        with suppress(KmsError):  # the watch logs that the catalog is out of reach, and the next minute tries again
            await catalog.purge()
        await asyncio.sleep(PURGE_INTERVAL_S)


def _background(stack: AsyncExitStack, work: object, name: str) -> None:
    assert asyncio.iscoroutine(work)
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[object]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical("a background task failed: the service stops", task=name, exc_info=task.exception())
            signal.raise_signal(signal.SIGTERM)

    task.add_done_callback(ended)

    async def cancel() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(cancel)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _worker_settings(token: Token) -> WorkerSettings:
    return WorkerSettings(
        module=str(token.module),
        token_label=token.label,
        token_serial=token.serial,
        pin_file=str(token.pin_path()),
        lock_file=str(token.lock_path()),
    )


def _pool_settings(token: Token) -> PoolSettings:
    return PoolSettings(
        worker=_worker_settings(token),
        environment=token.environment,
        workers=token.workers,
        spare=token.spare,
        max_queued=token.max_queued,
        replace_after_objects=token.replace_after_objects,
        replace_after_bytes=token.replace_after_bytes,
    )


def _suite(description: TokenDescription) -> Suite:
    """Return the suite of new backing keys.

    Raises:
        ConfigError: the token has no derivation that this version can seal with.
    """
    if description.capabilities.get("suite_1"):
        return Suite.AES_CBC_ENCRYPT_DATA
    raise ConfigError(
        f"token: {description.token_label} cannot derive by CKM_AES_CBC_ENCRYPT_DATA, the one derivation of this version; "
        f"`hsm-kms token info` shows what it can do"
    )


async def _service_key(catalog: Catalog, token: WorkerToken, description: TokenDescription) -> KeyRef:
    """Return the service's own key; make it at the first start, or anew if making it was interrupted."""
    name = f"{description.token_label} {description.token_serial}"
    key: ServiceKey = await catalog.begin_service_key(SERVICE_KEY, token.suite, name)
    if key.state is BackingKeyState.CREATING:
        canary = await token.generate_backing_key(key.cka_id, key.suite)
        key = await catalog.finish_service_key(SERVICE_KEY, canary)
    return KeyRef(key.cka_id, key.suite, key.canary)


async def _marker_key(token: WorkerToken, key: KeyRef) -> bytes:
    """Return the key of pagination markers: derived on the token, so the same on every front, and in no file (docs/adr/0005)."""
    key_uuid = key.cka_id[:KEY_UUID_BYTES]
    own_derivation = hashlib.sha256(_MARKER_LABEL + key_uuid).digest()
    wrapped = await token.service_rewrap(Rewrap(key, canary_digest(key_uuid), key.canary, key, own_derivation))
    return hashlib.sha256(_MARKER_LABEL + wrapped).digest()


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


def describe_token(token: Token, *, as_json: bool) -> str:
    """Return what the configured token can do, as a table or as JSON. For the command line's own process: it loads the module.

    Raises:
        StartError: the token cannot be used; the text says why.
    """
    from hsmkms.hsm import operator

    os.environ.update(token.environment)
    try:
        description = operator.describe_token(_worker_settings(token))
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
