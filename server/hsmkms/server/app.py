"""The one place that wires the service together, starts it and stops it."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from hsmkms.core.authorisation import PolicyAuthorizer
from hsmkms.core.creations import Creations
from hsmkms.core.errors import KmsError
from hsmkms.core.features import TokenFeatures
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import Scope
from hsmkms.core.operations import Environment
from hsmkms.core.policy.decision import Decision
from hsmkms.core.ports import AuthorisationRequest
from hsmkms.core.service_keys import deployment_label
from hsmkms.core.startup import TokenDescription
from hsmkms.server.audit import Auditor, NoAudit, open_audit_log
from hsmkms.server.audit.acts import ServiceActs
from hsmkms.server.aws.endpoint import endpoint
from hsmkms.server.carrier import Carrier
from hsmkms.server.catalog import Catalog, CatalogError, open_catalog
from hsmkms.server.config import Config, ConfigError
from hsmkms.server.deleter import Deleter, Deletions
from hsmkms.server.fronts import say_ready
from hsmkms.server.grpc.batches import Batches
from hsmkms.server.grpc.edge import Edge
from hsmkms.server.grpc.listener import Listener
from hsmkms.server.health import HealthMonitor
from hsmkms.server.heartbeat import Heartbeat
from hsmkms.server.identity import Authenticator
from hsmkms.server.metrics import Metrics
from hsmkms.server.principals import identity_policies, principals
from hsmkms.server.probes import Probes
from hsmkms.server.reconciler import Reconciler
from hsmkms.server.requests import Requests
from hsmkms.server.rotation_scheduler import Rotations, RotationScheduler
from hsmkms.server.service_keys import AUDIT_KEY, IMPORT_KEY, derived_key, service_key, service_mac
from hsmkms.server.system import StartError, SystemClock, SystemEntropy
from hsmkms.server.token.carried import CarriedToken
from hsmkms.server.token.pool import TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.process import WorkerStartError
from hsmkms.server.token.settings import pool_settings, suite_of
from hsmkms.server.usage_keeper import UsageKeeper

PURGE_INTERVAL_S: Final = 60.0
SWITCH_INTERVAL_S: Final = 0.0005
"""How long the event loop waits for the interpreter while the catalog's thread writes; Python's 5 ms would be felt by every request."""
COLLECT_AFTER: Final = (3_000, 10, 20)
"""How many more objects than were freed there are, and how many times, until the collector looks at each generation. Each refusal leaves
some behind; with 50,000 between two looks, a look held everybody up for 100 ms (tests/faults/test_bad_ciphertexts.py)."""
LAST_ANSWERS_S: Final = 1.0
"""How long each listener may take to send the last answers, once every request has one."""
_MARKER_LABEL: Final = b"hsm-kms/marker-key/v1"
_GRANT_TOKEN_LABEL: Final = b"hsm-kms/grant-token-key/v1"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running service listens.

    Args:
        grpc: Host and port of the gRPC service.
        aws: Host and port of the AWS endpoint, or None where there is none.
        probes: Host and port of probes and metrics.
    """

    grpc: str
    aws: str | None
    probes: str


async def serve(config: Config, front: int | None = None) -> None:
    """Run the service until SIGTERM or SIGINT, then finish what is under way.

    Args:
        config: The configuration.
        front: The front's number where it is one of several (`fronts`).

    Raises:
        StartError: it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            addresses = await start(config, stack, front)
        except (ConfigError, CatalogError) as error:
            raise StartError(str(error)) from error
        except WorkerStartError as error:
            raise StartError(f"token: {error.detail}") from error
        spare_the_garbage_collector()
        _log.info("serving", grpc=addresses.grpc, aws=addresses.aws, probes=addresses.probes, pid=os.getpid())
        if front is not None:
            say_ready()
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")


async def start(config: Config, stack: AsyncExitStack, front: int | None = None) -> Addresses:
    """Start everything, in the order in which it is needed; `stack` stops it in the reverse order.

    Args:
        config: The configuration.
        stack: Stops it.
        front: The front's number where it is one of several.

    Raises:
        ConfigError: a setting cannot be used.
        CatalogError: the catalog cannot be used.
        WorkerStartError: the token cannot be used.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = SystemClock()
    metrics = Metrics(_registry())
    if not config.principals:
        _log.warning("the configuration has no [[principals]]: every client is refused")
    policies = identity_policies(config)
    scope = Scope(config.service.account, config.service.region)

    catalog = open_catalog(
        config.catalog.url,
        partition=config.service.partition,
        clock_us=clock.now_us,
        monotonic=time.monotonic,
        max_staleness_s=config.catalog.max_staleness_s,
    )
    stack.push_async_callback(catalog.close)
    pool = TokenPool(pool_settings(config.token), metrics)
    stack.push_async_callback(pool.close)
    description = await pool.start()
    metrics.watch_queue(lambda: pool.queued)
    catalog.use_token(f"{description.token_label} {description.token_serial}")
    suite, features = (
        suite_of(description, config.token.suite),
        TokenFeatures.from_capabilities(description.capabilities),
    )
    label = deployment_label(catalog.deployment_id)
    token, carried_token = WorkerToken(pool, suite, label, features), CarriedToken(pool, suite, label, features)
    creations = Creations(catalog.view)
    own_key = await service_key(catalog, token, description)
    import_key = await service_key(catalog, token, description, IMPORT_KEY)
    for each in (token, carried_token):
        each.use_import_key(import_key)
    grant_tokens = GrantTokens(await derived_key(token, own_key, _GRANT_TOKEN_LABEL), clock)
    environment = Environment(
        partition=config.service.partition,
        view=catalog.view,
        changes=catalog.changes,
        creations=creations,
        token=token,
        authorizer=PolicyAuthorizer(config.service.partition, catalog.view, policies, grant_tokens, clock, _log_denial),
        markers=MacedMarkers(await derived_key(token, own_key, _MARKER_LABEL), clock),
        grant_tokens=grant_tokens,
        entropy=SystemEntropy(),
        clock=clock,
        observer=metrics,
    )
    known = principals(config)
    authenticator = Authenticator(known, config.tls.principal, lambda: datetime.now(UTC))
    audit, audit_trouble = await _audit_log(config, stack, catalog, token, description, clock, metrics)
    carrier = Carrier(pool)
    requests = Requests(
        environment,
        scope,
        metrics,
        config.limits.request_timeout_s,
        audit,
        carrier,
        replace(environment, token=carried_token),
    )
    batches = Batches(requests, authenticator, carrier, metrics, config.token.workers)
    edge = Edge(requests, authenticator, batches.handlers())
    listener = Listener(
        config.listen.address,
        config.tls,
        edge.handler(),
        max_concurrent=config.limits.max_concurrent_requests,
        max_connection_age_s=config.limits.max_connection_age_s,
        shares_port=front is not None,
    )
    aws = endpoint(config, catalog, token, requests, known, authenticator, clock.now_us, shares_port=front is not None)

    async def readiness_changed(is_ready: bool) -> None:
        metrics.ready(is_ready=is_ready)
        await listener.set_serving(serving=is_ready)

    monitor = HealthMonitor(token, own_key, readiness_changed, audit_trouble)
    probes = Probes(config.listen.metrics_address, metrics.registry, lambda: monitor.trouble)
    reconciler = Reconciler(catalog, token, creations, clock, metrics.reconciled, config.limits.creation_grace_s)

    await _begin_upkeep(stack, catalog, environment, metrics, config.limits.upkeep_every_s)

    probes_address = await probes.start()
    stack.push_async_callback(probes.stop)
    _background(stack, catalog.watch(), "catalog watch")
    _background(stack, _purge(catalog), "purge of idempotency keys")
    if aws is not None:
        stack.push_async_callback(aws.uses.write)
        _background(stack, aws.uses.run(), "uses of access keys")
    grpc_address = await listener.start()
    aws_address = await aws.listener.start() if aws is not None else None

    async def drain() -> None:
        await monitor.stopping()
        if aws is not None:
            aws.listener.drain()
        await requests.drain(config.limits.drain_s)
        await edge.close(listener.stop(LAST_ANSWERS_S))
        if aws is not None:
            await aws.listener.stop(LAST_ANSWERS_S)

    stack.push_async_callback(drain)
    _background(stack, reconciler.run(config.limits.reconcile_every_s), "reconciler")
    acts = ServiceActs(audit, environment)

    def deletions_done(deletions: Deletions) -> None:
        metrics.deletions(deletions)
        acts.record("DeleteKey", deletions.deleted)
        acts.record("DeleteExpiredKeyMaterial", deletions.expired)

    def rotations_done(rotations: Rotations) -> None:
        metrics.rotations(rotations)
        acts.record("RotateKey", rotations.rotated)

    deleter = Deleter(
        catalog, token, environment.creations, clock, deletions_done, lambda: audit.require("ScheduleKeyDeletion")
    )
    _background(stack, deleter.run(config.limits.upkeep_every_s), "deleter")
    rotation_scheduler = RotationScheduler(catalog, environment, rotations_done)
    _background(stack, rotation_scheduler.run(config.limits.upkeep_every_s), "rotation scheduler")
    await monitor.check()
    _background(stack, monitor.run(), "health")
    return Addresses(grpc_address, aws_address, probes_address)


def spare_the_garbage_collector() -> None:
    """Let it look at what requests leave behind, less often, and never again at what the service has loaded.

    Requests leave next to no cycles. With Python's settings a good part of the time that a batch takes would go into looking for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _log_denial(request: AuthorisationRequest, decision: Decision) -> None:
    """Say in the log why somebody was denied: the caller is not told."""
    if not decision.allowed:
        _log.info(
            "denied",
            request_id=request.call.request_id,
            principal=request.call.principal.arn,
            action=request.action,
            resource=request.resource,
            reason=decision.reason,
            statement=decision.statement,
        )


async def _audit_log(
    config: Config,
    stack: AsyncExitStack,
    catalog: Catalog,
    token: WorkerToken,
    description: TokenDescription,
    clock: SystemClock,
    metrics: Metrics,
) -> tuple[Auditor, Callable[[], str]]:
    """Return the audit log, running, and what says why it cannot be written.

    Raises:
        ConfigError: it cannot be begun.
    """
    if not config.audit.enabled:
        _log.warning("audit.enabled is false: no request is recorded")
        return NoAudit(), str
    key = await service_key(catalog, token, description, AUDIT_KEY)

    async def mac(digest: bytes) -> bytes:
        return await service_mac(token, key, digest)

    folder = config.audit_directory()
    try:
        log = open_audit_log(
            folder,
            max_file_bytes=config.audit.max_file_bytes,
            anchor_every_records=config.audit.anchor_every_records,
            clock_us=clock.now_us,
            observer=metrics,
            facts={
                "deploymentId": str(catalog.deployment_id),
                "awsRegion": config.service.region,
                "recipientAccountId": config.service.account,
                "anchorEveryRecords": config.audit.anchor_every_records,
                "anchorEverySeconds": config.audit.anchor_every_s,
            },
        )
    except OSError as error:
        raise ConfigError(f"audit.directory: {error.filename or folder}: {error.strerror}") from error
    metrics.watch_audit(lambda: log.trouble, lambda: log.pending_bytes)

    async def close() -> None:
        await log.close(mac)

    stack.push_async_callback(close)
    _background(stack, log.run(mac, config.audit.anchor_every_s), "audit anchors")
    return log, lambda: log.trouble


async def _begin_upkeep(
    stack: AsyncExitStack, catalog: Catalog, environment: Environment, metrics: Metrics, interval_s: float
) -> None:
    """Beat for the first time, and from then on at that interval; keep the uses of keys at the same interval and at the end."""
    heartbeat = Heartbeat(catalog, environment.clock, time.monotonic, metrics.beat)
    await heartbeat.beat()
    _background(stack, heartbeat.run(interval_s), "heartbeat")
    keeper = UsageKeeper(catalog, environment.uses)
    stack.push_async_callback(keeper.write)
    _background(stack, keeper.run(interval_s), "uses of keys")


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
