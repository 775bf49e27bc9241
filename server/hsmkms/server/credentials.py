"""Access keys as the operator sees them: made, listed, disabled and deleted by the command line, beside running services or without them.

Everything goes through the catalog, so that a running service knows it within the catalog's bounds and needs no restart. Only making one
needs the token: a worker is started for it, as for `hsm-kms audit verify`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from prometheus_client import CollectorRegistry

from hsmkms.core.access_keys import MAX_ACCESS_KEYS, AccessKey, AccessKeyStatus
from hsmkms.core.errors import KmsError, LimitExceededException
from hsmkms.core.features import TokenFeatures
from hsmkms.core.model import Principal
from hsmkms.core.service_keys import deployment_label
from hsmkms.server.aws.sealer import NewAccessKey, SecretSealer
from hsmkms.server.catalog import Catalog, CatalogError, open_catalog
from hsmkms.server.config import Config, ConfigError
from hsmkms.server.metrics import Metrics
from hsmkms.server.service_keys import CREDENTIALS_KEY, service_key
from hsmkms.server.system import StartError, SystemClock
from hsmkms.server.token.pool import TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.process import WorkerStartError
from hsmkms.server.token.settings import pool_settings, suite_of


async def create(config: Config, principal: Principal) -> NewAccessKey:
    """Make an access key of a principal and write it into the catalog.

    Raises:
        StartError: catalog or token cannot be used, or the principal has two.
    """
    async with _operating(config) as catalog, AsyncExitStack() as stack:
        if len(catalog.view.access_keys.of_principal(principal.name)) >= MAX_ACCESS_KEYS:  # before the token is asked
            raise LimitExceededException(f"Cannot exceed quota for AccessKeysPerUser: {MAX_ACCESS_KEYS}")
        pool = TokenPool(
            replace(pool_settings(config.token), workers=1, spare=False),
            Metrics(CollectorRegistry()),
        )
        stack.push_async_callback(pool.close)
        description = await pool.start()
        label = deployment_label(catalog.deployment_id)
        features = TokenFeatures.from_capabilities(description.capabilities)
        token = WorkerToken(pool, suite_of(description, config.token.suite), label, features)
        key = await service_key(catalog, token, description, CREDENTIALS_KEY)
        made = await SecretSealer(token, catalog.deployment_id, lambda: key).make(principal, SystemClock().now_us())
        await catalog.create_access_key(made.access_key)
        return made


async def listed(config: Config) -> Sequence[AccessKey]:
    """Return every access key of the catalog, by principal and age.

    Raises:
        StartError: the catalog cannot be used.
    """
    async with _operating(config) as catalog:
        return catalog.view.access_keys.all()


async def set_status(config: Config, access_key_id: str, status: AccessKeyStatus) -> None:
    """Make an access key Active or Inactive.

    Raises:
        StartError: the catalog cannot be used, or has no such access key.
    """
    async with _operating(config) as catalog:
        await catalog.set_access_key_status(access_key_id, status)


async def delete(config: Config, access_key_id: str) -> None:
    """Delete an access key.

    Raises:
        StartError: the catalog cannot be used, or has no such access key.
    """
    async with _operating(config) as catalog:
        await catalog.delete_access_key(access_key_id)


@asynccontextmanager
async def _operating(config: Config) -> AsyncIterator[Catalog]:
    """Open the catalog, and have whatever fails in the block told to the operator in one line."""
    try:
        catalog = open_catalog(
            config.catalog.url,
            partition=config.service.partition,
            clock_us=SystemClock().now_us,
            monotonic=time.monotonic,
        )
        try:
            yield catalog
        finally:
            await catalog.close()
    except (ConfigError, CatalogError) as error:
        raise StartError(str(error)) from error
    except WorkerStartError as error:
        raise StartError(f"token: {error.detail}") from error
    except KmsError as error:
        raise StartError(f"{error.message} {error.detail}".rstrip()) from error
