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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from hsmkms.core.authorisation import PolicyAuthorizer
from hsmkms.core.ciphertext import KEY_UUID_BYTES, SALT_BYTES, Suite, canary_digest
from hsmkms.core.commands import KeyRef, Rewrap
from hsmkms.core.creations import Creations
from hsmkms.core.errors import KeyUnavailableException, KmsError, MalformedPolicyDocumentException
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.markers import MacedMarkers
from hsmkms.core.model import BackingKeyState, Principal, Scope
from hsmkms.core.operations import Environment
from hsmkms.core.policy.decision import Decision
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.statements import Policy
from hsmkms.core.ports import AuthorisationRequest
from hsmkms.core.service_keys import ServiceKey, deployment_label
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.core.token_objects import TokenObject
from hsmkms.server.audit import Auditor, NoAudit, open_audit_log
from hsmkms.server.audit.acts import ServiceActs
from hsmkms.server.catalog import Catalog, CatalogError, open_catalog
from hsmkms.server.config import Config, ConfigError, Token
from hsmkms.server.deleter import Deleter, Deletions
from hsmkms.server.fronts import say_ready
from hsmkms.server.grpc.edge import Edge
from hsmkms.server.grpc.listener import Listener
from hsmkms.server.health import HealthMonitor
from hsmkms.server.heartbeat import Heartbeat
from hsmkms.server.identity import Authenticator
from hsmkms.server.metrics import Metrics
from hsmkms.server.probes import Probes
from hsmkms.server.reconciler import Reconciler
from hsmkms.server.rotation_scheduler import Rotations, RotationScheduler
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.process import WorkerStartError
from hsmkms.server.usage_keeper import UsageKeeper

SERVICE_KEY: Final = "service"
"""Purpose of the service key that health and pagination markers, grant tokens and the like use."""
AUDIT_KEY: Final = "audit"
"""Purpose of the service key that anchors the audit log."""
PURGE_INTERVAL_S: Final = 60.0
SERVICE_KEY_WAIT_S: Final = 150.0
"""How long another front's claim on a service key is waited for: longer than a claim lasts (`catalog.claims`)."""
SERVICE_KEY_RETRY_S: Final = 0.2
SWITCH_INTERVAL_S: Final = 0.0005
"""How long the event loop waits for the interpreter while the catalog's thread writes; Python's 5 ms would be felt by every request."""
LAST_ANSWERS_S: Final = 1.0
"""How long gRPC may take to send the last answers, once every request has one."""
_NEEDED_FOR_DIRECT: Final = ("created_objects", "readable_objects")
_MARKER_LABEL: Final = b"hsm-kms/marker-key/v1"
_GRANT_TOKEN_LABEL: Final = b"hsm-kms/grant-token-key/v1"

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
        _log.info("serving", grpc=addresses.grpc, probes=addresses.probes, pid=os.getpid())
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
    identity_policies = _identity_policies(config)
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
    grant_tokens = GrantTokens(await _derived_key(token, service_key, _GRANT_TOKEN_LABEL), clock)
    environment = Environment(
        partition=config.service.partition,
        view=catalog.view,
        changes=catalog.changes,
        creations=creations,
        token=token,
        authorizer=PolicyAuthorizer(
            config.service.partition, catalog.view, identity_policies, grant_tokens, clock, _log_denial
        ),
        markers=MacedMarkers(await _derived_key(token, service_key, _MARKER_LABEL), clock),
        grant_tokens=grant_tokens,
        entropy=SystemEntropy(),
        clock=clock,
        observer=metrics,
    )
    authenticator = Authenticator(_principals(config), config.tls.principal, lambda: datetime.now(UTC))
    audit, audit_trouble = await _audit_log(config, stack, catalog, token, description, clock, metrics)
    edge = Edge(environment, authenticator, scope, metrics, config.limits.request_timeout_s, audit)
    listener = Listener(
        config.listen.address,
        config.tls,
        edge.handler(),
        max_concurrent=config.limits.max_concurrent_requests,
        max_connection_age_s=config.limits.max_connection_age_s,
        shares_port=front is not None,
    )

    async def readiness_changed(is_ready: bool) -> None:
        metrics.ready(is_ready=is_ready)
        await listener.set_serving(serving=is_ready)

    monitor = HealthMonitor(token, service_key, readiness_changed, audit_trouble)
    probes = Probes(config.listen.metrics_address, metrics.registry, lambda: monitor.trouble)
    reconciler = Reconciler(catalog, token, creations, clock, metrics.reconciled, config.limits.creation_grace_s)

    await _begin_upkeep(stack, catalog, environment, metrics, config.limits.upkeep_every_s)

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
    acts = ServiceActs(audit, environment)

    def deletions_done(deletions: Deletions) -> None:
        metrics.deletions(deletions)
        acts.record("DeleteKey", deletions.deleted)

    def rotations_done(rotations: Rotations) -> None:
        metrics.rotations(rotations)
        acts.record("RotateKey", rotations.rotated)

    deleter = Deleter(catalog, token, clock, deletions_done, lambda: audit.require("ScheduleKeyDeletion"))
    _background(stack, deleter.run(config.limits.upkeep_every_s), "deleter")
    rotation_scheduler = RotationScheduler(catalog, environment, rotations_done)
    _background(stack, rotation_scheduler.run(config.limits.upkeep_every_s), "rotation scheduler")
    await monitor.check()
    _background(stack, monitor.run(), "health")
    return Addresses(grpc_address, probes_address)


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


def _principals(config: Config) -> dict[str, Principal]:
    return {entry.name: Principal(entry.name, entry.account, entry.arn, entry.tags) for entry in config.principals}


def _identity_policies(config: Config) -> dict[str, tuple[Policy, ...]]:
    """Return the identity policies of each principal, by its ARN.

    Raises:
        ConfigError: one cannot be read, or is not valid; the text names the file and the place in it.
    """
    return {entry.arn: tuple(_identity_policy(file) for file in entry.policy_files) for entry in config.principals}


def _identity_policy(file: Path) -> Policy:
    try:
        return parse_policy(file.read_text(encoding="utf-8"), PolicyKind.IDENTITY)
    except OSError as error:
        raise ConfigError(f"principals: {file}: {error.strerror}") from error
    except (UnicodeDecodeError, MalformedPolicyDocumentException) as error:
        raise ConfigError(f"principals: {file}: {error}") from error


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
    key = await _service_key(catalog, token, description, AUDIT_KEY)

    async def mac(digest: bytes) -> bytes:
        return await _service_mac(token, key, digest)

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


async def _service_key(
    catalog: Catalog, token: WorkerToken, description: TokenDescription, purpose: str = SERVICE_KEY
) -> KeyRef:
    """Return a key of the service's own; make it at the first start, or anew if making it was interrupted.

    Raises:
        StartError: another front did not finish making it, or the catalog cannot be changed.
    """
    key = await _begin_service_key(
        catalog, purpose, token.suite, f"{description.token_label} {description.token_serial}"
    )
    if key.state is BackingKeyState.CREATING:
        canary = await token.generate_backing_key(key.cka_id, key.suite)
        key = await catalog.finish_service_key(purpose, canary)
    return KeyRef(key.cka_id, key.suite, key.canary)


async def _begin_service_key(catalog: Catalog, purpose: str, suite: Suite, token: str) -> ServiceKey:
    """Begin a service key; one that another front is making, since it starts at the same time, is waited for.

    Raises:
        StartError: it took too long.
    """
    deadline = time.monotonic() + SERVICE_KEY_WAIT_S
    while True:
        try:
            return await catalog.begin_service_key(purpose, suite, token)
        except KeyUnavailableException as error:
            if time.monotonic() >= deadline:
                why = f"{error.message} {error.detail}".rstrip()
                raise StartError(f"the service key for {purpose} cannot be made: {why}") from error
            await asyncio.sleep(SERVICE_KEY_RETRY_S)


async def _derived_key(token: WorkerToken, key: KeyRef, label: bytes) -> bytes:
    """Return a MAC key of the service: derived on the token, so the same on every front, and in no file (docs/adr/0005).

    Args:
        token: The token.
        key: The service key.
        label: What the MAC key is for: another label gives an independent key.
    """
    key_uuid = key.cka_id[:KEY_UUID_BYTES]
    own_derivation = hashlib.sha256(label + key_uuid).digest()
    wrapped = await token.service_rewrap(Rewrap(key, canary_digest(key_uuid), key.canary, key, own_derivation))
    return hashlib.sha256(label + wrapped).digest()


async def _service_mac(token: WorkerToken, key: KeyRef, digest: bytes) -> bytes:
    """Return a MAC that the token makes over 32 bytes: the key's canary, wrapped under the key that it derives from them."""
    old = canary_digest(key.cka_id[:KEY_UUID_BYTES])
    return await token.service_rewrap(Rewrap(key, old, key.canary, key, digest))


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
            settings = replace(_pool_settings(config.token), workers=1, spare=False)
            pool = TokenPool(settings, Metrics(CollectorRegistry()))
            stack.push_async_callback(pool.close)
            description = await pool.start()
            token = WorkerToken(
                pool, _suite(description), deployment_label(catalog.deployment_id), seals_directly=False
            )
            key = KeyRef(known.cka_id, known.suite, known.canary)
            macs = {digest: await _service_mac(token, key, digest) for digest in digests}
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
        return operator.survey_token(_worker_settings(token), suites)
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
