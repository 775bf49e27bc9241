"""`hsm-kms credentials`, as an operator uses it beside a running service, and a front that learns of it without a restart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.configloader import raw_config_parse
from prometheus_client import CollectorRegistry

from aws.helpers import signed
from hsmkms.core.features import TokenFeatures
from hsmkms.core.service_keys import deployment_label
from hsmkms.server import config, principals
from hsmkms.server.aws.authenticator import Authenticator
from hsmkms.server.aws.errors import InvalidSignatureException, UnrecognizedClientException
from hsmkms.server.aws.last_uses import LastUses
from hsmkms.server.aws.sealer import SecretSealer, usable_key
from hsmkms.server.catalog import open_catalog
from hsmkms.server.metrics import Metrics
from hsmkms.server.service_keys import CREDENTIALS_KEY
from hsmkms.server.system import SystemClock
from hsmkms.server.token.pool import TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.settings import pool_settings, suite_of
from support.service import REGION, Deployment, make_deployment, running

NAME = "spiffe://test/creator"


def run(deployment: Deployment, *arguments: str, command: str = "credentials") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "hsmkms.server.cli", command, *arguments, "--config", str(deployment.config_file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def ok(deployment: Deployment, *arguments: str) -> str:
    done = run(deployment, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@asynccontextmanager
async def front(deployment: Deployment) -> AsyncIterator[tuple[Authenticator, LastUses]]:
    """What a front has of its own to know AWS clients: a view of the catalog that is watched, a worker, an authenticator."""
    settings = config.load(deployment.config_file)
    async with AsyncExitStack() as stack:
        catalog = open_catalog(
            settings.catalog.url, partition="aws", clock_us=SystemClock().now_us, monotonic=time.monotonic
        )
        stack.push_async_callback(catalog.close)
        watch = asyncio.create_task(catalog.watch())
        stack.callback(watch.cancel)
        pool = TokenPool(replace(pool_settings(settings.token), workers=1, spare=False), Metrics(CollectorRegistry()))
        stack.push_async_callback(pool.close)
        description = await pool.start()
        token = WorkerToken(
            pool,
            suite_of(description),
            deployment_label(catalog.deployment_id),
            TokenFeatures.from_capabilities(description.capabilities),
        )
        sealer = SecretSealer(
            token, catalog.deployment_id, lambda: usable_key(catalog.view.service_key(CREDENTIALS_KEY))
        )
        uses = LastUses(catalog.record_access_key_uses)
        yield (
            Authenticator(
                catalog.view.access_keys,
                catalog.view.require_fresh,
                principals.principals(settings),
                sealer.open,
                REGION,
                SystemClock().now_us,
                uses,
            ),
            uses,
        )


async def until(authenticator: Authenticator, key: tuple[str, str], *, accepted: bool) -> None:
    """Wait for at most 10 s until an access key is accepted, or is not any more."""
    for _ in range(500):
        request = signed(access_key_id=key[0], secret=key[1], at=datetime.now(UTC))
        try:
            found = await authenticator.authenticate(request, "kms")
        except UnrecognizedClientException:
            if not accepted:
                return
        else:
            assert found.principal.name == NAME
            assert found.principal.arn == "arn:aws:iam::111122223333:user/creator"
            if accepted:
                return
        await asyncio.sleep(0.02)
    raise AssertionError(f"accepted={accepted} did not come within 10 s")


async def test_an_operator_makes_rotates_disables_and_deletes_access_keys_beside_a_running_service(
    tmp_path: Path,
) -> None:
    deployment = make_deployment(tmp_path, audit={"directory": str(tmp_path / "audit")})
    with running(deployment) as service:
        async with front(deployment) as (authenticator, uses):
            first = await asyncio.to_thread(first_key, deployment)
            await until(authenticator, first, accepted=True)
            wrong = signed(access_key_id=first[0], secret=first[1][::-1], at=datetime.now(UTC))
            with pytest.raises(InvalidSignatureException):
                await authenticator.authenticate(wrong, "kms")
            await uses.write()

            second = await asyncio.to_thread(second_key, deployment)
            await until(authenticator, second, accepted=True)
            await until(authenticator, first, accepted=True)
            ok(deployment, "disable", "--access-key-id", first[0])
            await until(authenticator, first, accepted=False)
            ok(deployment, "enable", "--access-key-id", first[0])
            await until(authenticator, first, accepted=True)
            ok(deployment, "delete", "--access-key-id", second[0])
            await until(authenticator, second, accepted=False)
            await until(authenticator, first, accepted=True)
        assert "4 keys as they should be, 0 not" in run(deployment, "check", command="catalog").stdout
        log = "".join(service.log_text)
    listed = ok(deployment, "list", "--output", "json")
    (left,) = json.loads(listed)["AccessKeyMetadata"]
    assert (left["AccessKeyId"], left["LastUsedService"]) == (first[0], "kms")
    assert left["LastUsedDate"] >= left["CreateDate"]
    secrets_are_nowhere(deployment, log + listed, (first[1], second[1]))
    they_are_lost_with_the_catalog_and_their_key_is_not(deployment)


def first_key(deployment: Deployment) -> tuple[str, str]:
    """A new access key, shown in the form that the AWS tools read."""
    file = deployment.folder / "credentials"
    file.write_text(ok(deployment, "create", "--principal", NAME, "--profile", "payments"))
    found = raw_config_parse(str(file))["payments"]
    file.unlink()
    return found["aws_access_key_id"], found["aws_secret_access_key"]


def second_key(deployment: Deployment) -> tuple[str, str]:
    done = run(deployment, "rotate", "--principal", NAME, "--output", "json")
    made = json.loads(done.stdout)["AccessKey"]
    assert (made["UserName"], made["Status"]) == (NAME, "Active")
    assert "hsm-kms credentials disable --access-key-id AKIA" in done.stderr
    assert made["SecretAccessKey"] not in done.stderr
    return made["AccessKeyId"], made["SecretAccessKey"]


def secrets_are_nowhere(deployment: Deployment, shown: str, secrets: tuple[str, ...]) -> None:
    kept = (*deployment.folder.glob("catalog.db*"), *(deployment.folder / "audit").iterdir())
    written = b"".join(file.read_bytes() for file in kept)
    assert written
    for secret in secrets:
        assert len(secret) == 40
        assert secret not in shown
        assert secret.encode() not in written


def they_are_lost_with_the_catalog_and_their_key_is_not(deployment: Deployment) -> None:
    for file in deployment.folder.glob("catalog.db*"):
        file.unlink()
    assert "4 service keys; 0 objects left out" in run(deployment, "rebuild", command="catalog").stdout
    assert json.loads(ok(deployment, "list", "--output", "json")) == {"AccessKeyMetadata": []}
