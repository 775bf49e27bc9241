"""What the reconciler of a running service does after a restored catalog, beside another deployment, and after deaths in CreateKey."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hsmkms.client import Client
from hsmkms.client.errors import ClientError, KmsError
from hsmkms.core.commands import ListBackingKeys
from hsmkms.core.service_keys import PURPOSES
from hsmkms.server.service_keys import CREDENTIALS_KEY
from support.load import make_keys, seal
from support.service import Deployment, Service, eventually, make_deployment, running
from support.softhsm import SoftHsm
from support.worker import start_worker

MADE_AT_START = set(PURPOSES) - {CREDENTIALS_KEY}
QUICK = {"reconcile_every_s": 0.2, "creation_grace_s": 0.5}
DEATHS_FOR_S = 35.0
MAX_DEATHS = 30


def deployment_with_a_quick_reconciler(folder: Path, token: SoftHsm | None = None) -> Deployment:
    return make_deployment(folder, token=token, limits=QUICK)


def objects_on(token: SoftHsm) -> Counter[tuple[bytes, bytes]]:
    """Return CKA_ID and label of every backing key on a token, whoever's it is."""
    with start_worker(token.environment(), token.settings(load_keys=False)) as worker:
        listing = worker.value(ListBackingKeys())
    fields, position = [], 0
    while position < len(listing):
        end = position + 1 + listing[position]
        fields.append(listing[position + 1 : end])
        position = end
    return Counter(zip(fields[::2], fields[1::2], strict=True))


def reconciled(service: Service, finding: str) -> float:
    return service.metric("hsm_kms_reconciler_objects", finding=finding)


def catalog_copy(deployment: Deployment, folder: Path) -> Path:
    """Copy the files of a catalog that nobody has open."""
    folder.mkdir()
    for file in deployment.folder.glob("catalog.db*"):
        shutil.copy2(file, folder)
    return folder


def put_back(deployment: Deployment, folder: Path) -> None:
    for file in deployment.folder.glob("catalog.db*"):
        file.unlink()
    for file in folder.iterdir():
        shutil.copy2(file, deployment.folder)


def test_an_older_catalog_that_is_put_back_costs_no_key(tmp_path: Path) -> None:
    deployment = deployment_with_a_quick_reconciler(tmp_path / "one")
    with running(deployment) as service:
        kept = seal(make_keys(service), b"kept")
    older = catalog_copy(deployment, tmp_path / "older")
    with running(deployment) as service:
        client = service.client()
        for _ in range(3):
            client.create_key(description="after the copy")
        client.rotate_key_on_demand(key_id=client.describe_key(key_id="alias/source").key_metadata.key_id)
        later = seal(client, b"later")
    newer = catalog_copy(deployment, tmp_path / "newer")
    before = objects_on(deployment.token)

    put_back(deployment, older)
    with running(deployment) as service:
        eventually(lambda: reconciled(service, "unknown") == 4, 10, "the report of what is unknown")
        eventually(lambda: len(_reports(service)) >= 3, 10, "more runs of the reconciler")
        assert {line["count"] for line in _reports(service)} == {4}
        assert service.client().decrypt(ciphertext_blob=kept.blob).plaintext == b"kept"
        service.client().create_key(description="life goes on")
    after = objects_on(deployment.token)
    assert not before - after, "the reconciler has destroyed something"
    assert (after - before).total() == 1

    put_back(deployment, newer)
    with running(deployment) as service:
        assert service.client().decrypt(ciphertext_blob=later.blob).plaintext == b"later", "nothing was lost"


def _reports(service: Service) -> list[dict[str, Any]]:
    return [
        line for line in list(service.log) if line["event"] == "objects on the token that the catalog does not know"
    ]


def test_two_deployments_on_one_token_leave_each_others_keys_alone(tmp_path: Path) -> None:
    one = deployment_with_a_quick_reconciler(tmp_path / "one")
    other = deployment_with_a_quick_reconciler(tmp_path / "other", token=one.token)
    with running(one) as first, running(other) as second:
        sealed = [seal(make_keys(service), service.address.encode()) for service in (first, second)]
        for service in (first, second):
            eventually(
                lambda service=service: reconciled(service, "foreign") == 2 + len(MADE_AT_START),
                10,
                "the other's objects as foreign",
            )
            _let_it_run_again(service)
            assert reconciled(service, "unknown") == 0
        assert objects_on(one.token).total() == 2 * (2 + len(MADE_AT_START)), "two KMS keys each, and the service keys"
        for service, ciphertext in zip((first, second), sealed, strict=True):
            read = service.client().decrypt(ciphertext_blob=ciphertext.blob)
            assert read.plaintext == ciphertext.plaintext


def test_a_front_that_dies_in_create_key_loses_no_key_and_leaves_no_orphan(tmp_path: Path) -> None:
    deployment = deployment_with_a_quick_reconciler(tmp_path / "one")
    chance = random.Random(4711)
    acknowledged: list[str] = []
    began = time.monotonic()
    deaths = 0
    while deaths < MAX_DEATHS and time.monotonic() - began < DEATHS_FOR_S:
        with running(deployment) as service:
            service.wait_for_workers(4)
            _create_until_it_dies(service, acknowledged, chance.uniform(0.0, 0.3))
        deaths += 1
    with running(deployment) as service:
        client = service.client()
        eventually(
            lambda: service.logged("serving") and _is_settled(service), 20, "a reconciler with nothing left to do"
        )
        for key_id in acknowledged:
            assert client.decrypt(ciphertext_blob=seal(client, b"works", key_id).blob).plaintext == b"works"
        eventually(lambda: set(_states(client)) == {"Enabled"}, 10, "the end of every creation")
        states = _states(client)
        for finding in ("unknown", "missing", "duplicates", "stale", "failed", "foreign"):
            assert reconciled(service, finding) == 0, finding
    objects = objects_on(deployment.token)
    assert objects.total() == states.total() + len(MADE_AT_START), (
        "each key has one object, and so has each service key"
    )
    assert max(objects.values()) == 1
    assert 0 < len(acknowledged) <= states.total()
    assert deaths >= 5, "too slow to prove anything"
    print(f"{deaths} deaths, {len(acknowledged)} keys acknowledged, {states.total()} there")


def _states(client: Client) -> Counter[str]:
    return Counter(client.describe_key(key_id=entry.key_id).key_metadata.key_state for entry in client.iterate_keys())


def _create_until_it_dies(service: Service, acknowledged: list[str], delay_s: float) -> None:
    client = service.client(timeout_s=2.0, attempts=1)
    client.list_keys()
    timer = threading.Timer(delay_s, service.process.kill)
    timer.start()
    while service.process.poll() is None:
        try:
            acknowledged.append(client.create_key().key_metadata.key_id)
        except (ClientError, KmsError):
            break
    timer.join()
    service.process.wait(5)


def _is_settled(service: Service) -> bool:
    _let_it_run_again(service)
    return all(reconciled(service, finding) == 0 for finding in ("finished", "failed", "unknown", "missing"))


def _let_it_run_again(service: Service) -> None:
    """Wait until the reconciler has looked at the token three times more: by the count of the admin worker's searches."""
    searches = "hsm_kms_token_call_duration_seconds_count"

    def looked() -> float:
        return service.metric(searches, function="C_FindObjectsInit")

    before = looked()
    eventually(lambda: looked() >= before + 5, 20, "more runs of the reconciler")
