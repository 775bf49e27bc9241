"""The audit log of a running service: what it says of requests, what survives a crash, and how it is verified."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hsmkms.client import Client, errors
from support.service import Deployment, Service, eventually, make_deployment, running

SOURCE_CONTEXT = {"tenant": "blue"}
DESTINATION_CONTEXT = {"tenant": "green"}
PLAINTEXT = b"a plaintext that nobody may find in the log"


def audit_folder(deployment: Deployment) -> Path:
    return deployment.folder / "audit"


def records(deployment: Deployment) -> list[dict[str, Any]]:
    lines = [line for path in sorted(audit_folder(deployment).glob("*.jsonl")) for line in path.open()]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def record_of(deployment: Deployment, request_id: str) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        return next((record for record in records(deployment) if record.get("requestID") == request_id), None)

    found: dict[str, Any] = eventually(find, 5, f"the record of {request_id}")
    return found


def last_record(deployment: Deployment, operation: str, count: int = 1) -> dict[str, Any]:
    """Return the last record of an operation, once there are that many."""

    def find() -> dict[str, Any] | None:
        found = [record for record in records(deployment) if record.get("eventName") == operation]
        return found[-1] if len(found) >= count else None

    found: dict[str, Any] = eventually(find, 5, f"{count} records of {operation}")
    return found


def verify(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hsmkms.server.cli", "audit", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return make_deployment(tmp_path_factory.mktemp("audited"), audit={"anchor_every_s": 0.5})


@pytest.fixture(scope="module")
def service(audited: Deployment) -> Iterator[Service]:
    with running(audited) as service:
        client = service.client()
        for name in ("source", "destination"):
            key_id = client.create_key(description=name).key_metadata.key_id
            client.create_alias(alias_name=f"alias/{name}", target_key_id=key_id)
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Client:
    return service.client()


@pytest.fixture(scope="module")
def sealed(client: Client) -> bytes:
    answer = client.encrypt(key_id="alias/source", plaintext=PLAINTEXT, encryption_context=SOURCE_CONTEXT)
    return answer.ciphertext_blob


def test_reencrypt(audited: Deployment, client: Client, sealed: bytes) -> None:
    source = client.describe_key(key_id="alias/source").key_metadata.arn
    destination = client.describe_key(key_id="alias/destination").key_metadata.arn
    moved = client.re_encrypt(
        ciphertext_blob=sealed,
        source_encryption_context=SOURCE_CONTEXT,
        destination_key_id="alias/destination",
        destination_encryption_context=DESTINATION_CONTEXT,
    )

    record = last_record(audited, "ReEncrypt")
    assert [resource["ARN"] for resource in record["resources"]] == [source, destination]
    assert record["requestParameters"] == {
        "sourceEncryptionContext": SOURCE_CONTEXT,
        "destinationKeyId": "alias/destination",
        "destinationEncryptionContext": DESTINATION_CONTEXT,
    }
    assert record["additionalEventData"] == {
        "sourceKeyMaterialId": moved.source_key_material_id,
        "destinationKeyMaterialId": moved.destination_key_material_id,
    }
    assert record["userIdentity"]["userName"] == "spiffe://test/operator"
    assert record["sourceIPAddress"] == "127.0.0.1"
    assert "grpc" in record["userAgent"]
    assert "errorCode" not in record


def test_failures_are_recorded_under_the_id_that_the_client_got(
    audited: Deployment, client: Client, sealed: bytes
) -> None:
    with pytest.raises(errors.InvalidCiphertextException) as wrong_context:
        client.re_encrypt(ciphertext_blob=sealed, destination_key_id="alias/destination")
    record = record_of(audited, wrong_context.value.request_id)
    assert record["errorCode"] == "InvalidCiphertextException"
    assert len(record["resources"]) == 2
    assert record["responseElements"] is None

    with pytest.raises(errors.DryRunOperationException) as dry_run:
        client.encrypt(key_id="alias/source", plaintext=PLAINTEXT, dry_run=True)
    record = record_of(audited, dry_run.value.request_id)
    assert record["errorCode"] == "DryRunOperationException"
    assert record["requestParameters"] == {"keyId": "alias/source", "dryRun": True}

    with pytest.raises(errors.ValidationException) as bad_shape:
        client.generate_random(number_of_bytes=100_000)
    record = record_of(audited, bad_shape.value.request_id)
    assert record["errorCode"] == "ValidationException"
    assert record["resources"] == []

    with pytest.raises(errors.NotFoundException) as unknown:
        client.describe_key(key_id="alias/nobody")
    assert record_of(audited, unknown.value.request_id)["requestParameters"] == {"keyId": "alias/nobody"}


def test_somebody_who_is_nobody(audited: Deployment, service: Service) -> None:
    audited.authority.issue("nameless", dns_names=["localhost"])
    with pytest.raises(errors.UnauthenticatedException) as refused:
        service.client("nameless").list_keys()
    record = record_of(audited, refused.value.request_id)
    assert record["errorCode"] == "UnauthenticatedException"
    assert record["userIdentity"] == {"type": "Unknown"}


def test_a_change_is_in_the_log_when_it_is_answered(audited: Deployment, client: Client) -> None:
    for number in range(5):
        arn = client.create_key(description=f"change {number}").key_metadata.arn
        written = records(audited)
        assert any(arn in {resource["ARN"] for resource in record.get("resources", ())} for record in written)


def test_no_blob_and_no_plaintext_is_in_it(audited: Deployment, client: Client, sealed: bytes) -> None:
    client.decrypt(ciphertext_blob=sealed, encryption_context=SOURCE_CONTEXT)
    last_record(audited, "Decrypt")
    text = b"".join(path.read_bytes() for path in audit_folder(audited).glob("*.jsonl"))
    for secret in (PLAINTEXT, sealed):
        assert secret not in text
        assert secret.hex().encode() not in text


def test_verify_with_the_token_while_the_service_runs(audited: Deployment, service: Service) -> None:
    service.client().list_keys()
    eventually(lambda: sum(record["recordType"] == "anchor" for record in records(audited)) >= 1, 10, "an anchor")
    done = verify("--config", audited.config_file, audit_folder(audited))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": whole" in done.stdout


def test_one_changed_byte_in_the_middle_is_named(audited: Deployment, service: Service, tmp_path: Path) -> None:
    del service
    [path] = audit_folder(audited).glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    lines[middle] = (
        lines[middle].replace(b'"eventVersion":"1', b'"eventVersion":"2').replace(b'"mac":"', b'"mac":"0', 1)
    )
    forged = tmp_path / "forged.jsonl"
    forged.write_bytes(b"".join(lines))
    done = verify(forged)
    assert done.returncode == 2
    assert f"{forged}:{middle + 1}: record {middle}: it was changed" in done.stdout
    assert "anchors were not checked" in done.stdout


def test_crash_and_restart(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, audit={"anchor_every_s": 0.2})
    service = Service(deployment)
    try:
        client = service.client()
        arns = {client.create_key().key_metadata.arn for _ in range(5)}
        eventually(lambda: any(record["recordType"] == "anchor" for record in records(deployment)), 10, "an anchor")
    finally:
        service.stop(signal.SIGKILL)
    done = verify("--config", deployment.config_file, audit_folder(deployment))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has no end" in done.stdout
    written = {resource["ARN"] for record in records(deployment) for resource in record.get("resources", ())}
    assert arns <= written

    [crashed] = audit_folder(deployment).glob("*.jsonl")
    with running(deployment) as service:
        service.client().list_keys()
    files = sorted(audit_folder(deployment).glob("*.jsonl"))
    assert len(files) == 2
    start = json.loads(files[1].open().readline())
    assert [link["file"] for link in start["previousChains"]] == [crashed.name]
    done = verify("--config", deployment.config_file, audit_folder(deployment))
    assert done.returncode == 0, done.stdout + done.stderr

    lines = crashed.read_bytes().splitlines(keepends=True)
    crashed.write_bytes(b"".join(lines[:3]))
    done = verify(audit_folder(deployment))
    assert done.returncode == 2
    assert "its tail was cut off" in done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB. Only root can mount one; who is not needs sudo, as for the packages that `make test` installs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size=256k,mode=0700,uid={os.geteuid()},gid={os.getegid()}"
    mounted = subprocess.run(
        [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert mounted.returncode == 0, f"this test needs a tmpfs of its own, and so root or sudo: {mounted.stderr}"
    yield folder
    subprocess.run([*as_root, "umount", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    deployment = make_deployment(tmp_path / "full", audit={"directory": str(small_disk / "audit")})
    with running(deployment) as service:
        client = service.client(attempts=1)
        key_id = client.create_key().key_metadata.key_id
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(os.urandom(4096))

        def is_refused() -> bool:
            try:
                client.encrypt(key_id=key_id, plaintext=b"x")
            except errors.KeyUnavailableException:
                return True
            return False

        eventually(is_refused, 20, "a refusal")
        assert client.describe_key(key_id=key_id).key_metadata.key_id == key_id
        with pytest.raises(errors.KeyUnavailableException):
            client.create_key()
        eventually(lambda: service.get("/readyz")[0] == 503, 5, "not ready")
        assert "audit" in service.get("/readyz")[1]
        assert service.metric("hsm_kms_audit_writable") == 0

        filler.unlink()
        eventually(lambda: not is_refused(), 10, "the recovery")
        eventually(service.is_ready, 5, "ready")
        assert service.logged("the audit log cannot be written: cryptographic requests and changes are refused")
    folder = small_disk / "audit"
    done = verify("--config", deployment.config_file, folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, audit={"directory": "/nowhere/audit"})
    done = subprocess.run(
        [sys.executable, "-m", "hsmkms.server.cli", "serve", "--config", str(deployment.config_file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 253
    assert "audit.directory: /nowhere/audit: No such file or directory" in done.stderr
