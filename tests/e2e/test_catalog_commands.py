"""`hsm-kms catalog check` and `hsm-kms catalog rebuild`: what an operator has when the catalog is in doubt, or lost."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from hsmkms.client import errors
from support.postgres import Postgres, running_postgres
from support.service import Deployment, Service, make_deployment, running
from support.softhsm import MODULE, PIN

EXIT_CONFIGURATION, EXIT_USAGE, DIFFERENT = 253, 252, 2


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def catalog(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hsmkms.server.cli", "catalog", *arguments]
    done = subprocess.run(
        [*command, "--config", str(deployment.config_file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def seal(service: Service) -> tuple[dict[str, list[bytes]], list[str]]:
    """Make keys with several materials; return ciphertexts of each, and the ids of the newest materials."""
    client = service.client()
    sealed: dict[str, list[bytes]] = {}
    for rotations in (0, 1, 2):
        key_id = client.create_key(description="lost soon").key_metadata.key_id
        sealed[key_id] = []
        for number in range(rotations + 1):
            if number:
                client.rotate_key_on_demand(key_id=key_id)
            for length in (1, 32, 4096):
                context = {"number": str(number)}
                blob = client.encrypt(
                    key_id=key_id, plaintext=b"p" * length, encryption_context=context
                ).ciphertext_blob
                sealed[key_id].append(blob)
    return sealed, [client.describe_key(key_id=key_id).key_metadata.current_key_material_id or "" for key_id in sealed]


def open_all(service: Service, sealed: dict[str, list[bytes]]) -> None:
    client = service.client()
    for key_id, blobs in sealed.items():
        for position, blob in enumerate(blobs):
            answer = client.decrypt(ciphertext_blob=blob, encryption_context={"number": str(position // 3)})
            assert (answer.key_id or "").endswith(key_id)
            assert answer.plaintext == b"p" * (1, 32, 4096)[position % 3]


@dataclass(frozen=True)
class Lost:
    """A deployment whose catalog is lost: what was sealed, and the ids of the keys' current materials."""

    deployment: Deployment
    sealed: dict[str, list[bytes]]
    materials: list[str]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    folder = tmp_path_factory.mktemp("lost")
    deployment = make_deployment(folder, audit={"directory": str(folder / "audit")})
    with running(deployment) as service:
        sealed, materials = seal(service)
        refused = catalog(deployment, "rebuild")
        assert refused.returncode == EXIT_CONFIGURATION
        assert "exists" in refused.stderr
    for suffix in ("", "-wal", "-shm"):
        Path(f"{deployment.catalog_file}{suffix}").unlink(missing_ok=True)
    assert catalog(deployment, "check").returncode == EXIT_CONFIGURATION
    assert not deployment.catalog_file.exists()
    return Lost(deployment, sealed, materials)


@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
def test_after_a_rebuild_every_key_is_disabled_and_once_enabled_every_ciphertext_opens(
    place: str, lost: Lost, postgres: Postgres
) -> None:
    deployment = lost.deployment
    if place == "postgresql":
        url = postgres.url(postgres.new_database())
        deployment.settings = {**deployment.settings, "catalog": {"url": url}}
        deployment.write_config()

    done = catalog(deployment, "rebuild")
    assert done.returncode == 0, done.stderr
    assert "3 KMS keys, all Disabled, with 6 key materials; 2 service keys; 0 objects left out" in done.stdout
    assert catalog(deployment, "rebuild").returncode == EXIT_CONFIGURATION

    with running(deployment) as service:
        client = service.client()
        for key_id, blobs in lost.sealed.items():
            with pytest.raises(errors.DisabledException):
                client.decrypt(ciphertext_blob=blobs[0], encryption_context={"number": "0"})
            client.enable_key(key_id=key_id)
        open_all(service, lost.sealed)
        found = [client.describe_key(key_id=key_id).key_metadata.current_key_material_id for key_id in lost.sealed]
        assert found == lost.materials  # canaries, and so the materials' ids, are what they were
    checked = catalog(deployment, "check")
    assert checked.returncode == 0, checked.stdout
    assert "8 keys as they should be, 0 not" in checked.stdout


def test_check_finds_what_is_missing_unknown_there_twice_and_damaged(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    with running(deployment) as service:
        client = service.client()
        keys = [client.create_key().key_metadata.key_id for _ in range(4)]
        assert catalog(deployment, "check").returncode == 0  # the service may run meanwhile
    missing, unknown, damaged, well = keys
    destroy_object(deployment, missing)
    engine = create_engine(f"sqlite:///{deployment.catalog_file}")
    with engine.begin() as connection:
        for table in ("key_usage", "backing_keys", "keys"):
            connection.execute(text(f"DELETE FROM {table} WHERE key_id = '{unknown}'"))
        connection.execute(text(f"UPDATE backing_keys SET canary = zeroblob(40) WHERE key_id = '{damaged}'"))
    engine.dispose()

    done = catalog(deployment, "check", "--output", "json")
    assert done.returncode == DIFFERENT
    report = json.loads(done.stdout)
    found = {finding["kind"]: finding["cka_id"] for finding in report["findings"]}
    assert found == {kind: uuid.UUID(key).hex + "00000001" for kind, key in
                     {"missing": missing, "unknown": unknown, "damaged": damaged}.items()}  # fmt: skip
    assert (report["well"], report["foreign"]) == (3, 0)
    assert f"{damaged} version 1 is not the key that made its canary" in catalog(deployment, "check").stdout
    assert well not in done.stdout


def test_rebuild_asks_which_deployment_where_several_share_a_token(tmp_path: Path) -> None:
    one = make_deployment(tmp_path / "one")
    two = make_deployment(tmp_path / "two", token=one.token)
    sealed = {}
    for deployment in (one, two):
        with running(deployment) as service:
            client = service.client()
            key_id = client.create_key().key_metadata.key_id
            sealed[key_id] = client.encrypt(key_id=key_id, plaintext=b"x").ciphertext_blob
            if deployment is two:
                mine = key_id
    engine = create_engine(f"sqlite:///{two.catalog_file}")
    with closing(engine.raw_connection()) as connection:
        (deployment_id,) = connection.cursor().execute("SELECT deployment_id FROM catalog").fetchone()
    engine.dispose()
    two.catalog_file.rename(tmp_path / "moved.db")

    asked = catalog(two, "rebuild")
    assert asked.returncode == EXIT_USAGE
    assert "--deployment" in asked.stderr
    assert f"{deployment_id} (3 objects)" in asked.stderr
    assert catalog(two, "rebuild", "--deployment", str(uuid.uuid4())).returncode == EXIT_USAGE
    assert not two.catalog_file.exists()

    done = catalog(two, "rebuild", "--deployment", deployment_id)
    assert done.returncode == 0, done.stderr
    assert "1 KMS keys" in done.stdout
    with running(two) as service:
        client = service.client()
        assert [key.key_id for key in client.list_keys().keys] == [mine]
        client.enable_key(key_id=mine)
        assert client.decrypt(ciphertext_blob=sealed[mine]).plaintext == b"x"
    assert catalog(one, "check").returncode == 0


_DESTROY = """
import sys, uuid, pkcs11
from pkcs11 import Attribute, ObjectClass
module, label, pin, key = sys.argv[1:]
token = pkcs11.lib(module).get_token(token_label=label)
with token.open(rw=True, user_pin=pin) as session:
    identifier = uuid.UUID(key).bytes + bytes([0, 0, 0, 1])
    for found in list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.ID: identifier})):
        found.destroy()
"""


def destroy_object(deployment: Deployment, key_id: str) -> None:
    """Destroy a key's object behind the service's back, in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", _DESTROY, MODULE, deployment.token.label, PIN, key_id],
        check=True,
        env=deployment.token.environment(),
    )
