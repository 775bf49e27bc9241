"""`hsm-kms catalog check` and `hsm-kms catalog rebuild`: what an operator has when the catalog is in doubt, or lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from sqlalchemy import create_engine, text

from hsmkms.client import Client, errors
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


PLAINTEXT, MESSAGE = b"sealed before", b"what is signed"
OAEP, ECDSA, HMAC = "RSAES_OAEP_SHA_1", "ECDSA_SHA_256", "HMAC_SHA_256"


def oaep(public_key: bytes, plaintext: bytes) -> bytes:
    """Encrypt outside the service, as one does who has the public key."""
    key = serialization.load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    return key.encrypt(plaintext, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))


class OtherKinds:
    """Key pairs, an HMAC key and imported material, and what was made with them.

    Args:
        client: Makes them.
    """

    def __init__(self, client: Client) -> None:
        def new(spec: str, usage: str, origin: str | None = None) -> str:
            return client.create_key(key_spec=spec, key_usage=usage, origin=origin).key_metadata.key_id

        self.encrypting = new("RSA_2048", "ENCRYPT_DECRYPT")
        self.signing = new("ECC_NIST_P384", "SIGN_VERIFY")
        self.agreeing = new("ECC_NIST_P256", "KEY_AGREEMENT")
        self.mac_making = new("HMAC_256", "GENERATE_VERIFY_MAC")
        self.imported = new("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL")
        given = client.get_parameters_for_import(
            key_id=self.imported, wrapping_algorithm=OAEP, wrapping_key_spec="RSA_2048"
        )
        client.import_key_material(
            key_id=self.imported,
            import_token=given.import_token,
            encrypted_key_material=oaep(given.public_key, os.urandom(32)),
            expiration_model="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )
        self.oaep = oaep(client.get_public_key(key_id=self.encrypting).public_key, PLAINTEXT)
        self.signature = client.sign(key_id=self.signing, message=MESSAGE, signing_algorithm="ECDSA_SHA_384").signature
        self.theirs = ec.generate_private_key(ec.SECP256R1())
        self.mac = client.generate_mac(key_id=self.mac_making, message=MESSAGE, mac_algorithm=HMAC).mac
        self.sealed = client.encrypt(key_id=self.imported, plaintext=PLAINTEXT).ciphertext_blob
        self.ids = (self.encrypting, self.signing, self.agreeing, self.mac_making, self.imported)
        self.described = self.describe(client)

    def describe(self, client: Client) -> list[tuple[object, ...]]:
        """Return what a rebuilt catalog must say of them as well."""
        found = [client.describe_key(key_id=key_id).key_metadata for key_id in self.ids]
        return [(one.key_id, one.key_spec, one.key_usage, one.current_key_material_id) for one in found]

    def check(self, client: Client) -> None:
        """Have what was made before opened and verified, and a secret agreed on."""
        decrypted = client.decrypt(key_id=self.encrypting, ciphertext_blob=self.oaep, encryption_algorithm=OAEP)
        assert decrypted.plaintext == PLAINTEXT
        assert client.decrypt(ciphertext_blob=self.sealed).plaintext == PLAINTEXT
        assert client.verify(
            key_id=self.signing, message=MESSAGE, signature=self.signature, signing_algorithm="ECDSA_SHA_384"
        ).signature_valid
        assert client.verify_mac(key_id=self.mac_making, message=MESSAGE, mac_algorithm=HMAC, mac=self.mac).mac_valid
        public = serialization.load_der_public_key(client.get_public_key(key_id=self.agreeing).public_key)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        der = self.theirs.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        agreed = client.derive_shared_secret(key_id=self.agreeing, key_agreement_algorithm="ECDH", public_key=der)
        assert agreed.shared_secret == self.theirs.exchange(ec.ECDH(), public)


@dataclass(frozen=True)
class Lost:
    """A deployment whose catalog is lost: what was sealed, the ids of the keys' current materials, and what else there was."""

    deployment: Deployment
    sealed: dict[str, list[bytes]]
    materials: list[str]
    others: OtherKinds


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    folder = tmp_path_factory.mktemp("lost")
    deployment = make_deployment(folder, audit={"directory": str(folder / "audit")})
    with running(deployment) as service:
        sealed, materials = seal(service)
        others = OtherKinds(service.client())
        refused = catalog(deployment, "rebuild")
        assert refused.returncode == EXIT_CONFIGURATION
        assert "exists" in refused.stderr
    for suffix in ("", "-wal", "-shm"):
        Path(f"{deployment.catalog_file}{suffix}").unlink(missing_ok=True)
    assert catalog(deployment, "check").returncode == EXIT_CONFIGURATION
    assert not deployment.catalog_file.exists()
    return Lost(deployment, sealed, materials, others)


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
    assert "8 KMS keys, all Disabled, with 11 key materials; 3 service keys; 0 objects left out" in done.stdout
    assert catalog(deployment, "rebuild").returncode == EXIT_CONFIGURATION

    with running(deployment) as service:
        client = service.client()
        for key_id, blobs in lost.sealed.items():
            with pytest.raises(errors.DisabledException):
                client.decrypt(ciphertext_blob=blobs[0], encryption_context={"number": "0"})
            client.enable_key(key_id=key_id)
        open_all(service, lost.sealed)
        with pytest.raises(errors.DisabledException):
            client.decrypt(key_id=lost.others.encrypting, ciphertext_blob=lost.others.oaep, encryption_algorithm=OAEP)
        for key_id in lost.others.ids:
            client.enable_key(key_id=key_id)
        lost.others.check(client)
        assert lost.others.describe(client) == lost.others.described
        found = [client.describe_key(key_id=key_id).key_metadata.current_key_material_id for key_id in lost.sealed]
        assert found == lost.materials  # canaries, and so the materials' ids, are what they were
    checked = catalog(deployment, "check")
    assert checked.returncode == 0, checked.stdout
    assert "14 keys as they should be, 0 not" in checked.stdout


def test_check_finds_what_is_missing_unknown_there_twice_and_damaged(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    with running(deployment) as service:
        client = service.client()
        keys = [client.create_key().key_metadata.key_id for _ in range(4)]
        exchanged, misused, without_public, lost_mac, mac = (
            client.create_key(key_spec=spec, key_usage=usage).key_metadata.key_id
            for spec, usage in (*[("ECC_NIST_P256", "SIGN_VERIFY")] * 3, *[("HMAC_256", "GENERATE_VERIFY_MAC")] * 2)
        )
        assert catalog(deployment, "check").returncode == 0  # the service may run meanwhile
    missing, unknown, damaged, well = keys
    destroy_object(deployment, missing)
    destroy_object(deployment, lost_mac)
    destroy_object(deployment, without_public, "PUBLIC_KEY")
    engine = create_engine(f"sqlite:///{deployment.catalog_file}")
    with engine.begin() as connection:
        for table in ("key_usage", "backing_keys", "keys"):
            connection.execute(text(f"DELETE FROM {table} WHERE key_id = '{unknown}'"))
        connection.execute(text(f"UPDATE backing_keys SET canary = zeroblob(40) WHERE key_id = '{damaged}'"))
        others = f"(SELECT canary FROM backing_keys WHERE key_id = '{misused}')"
        connection.execute(text(f"UPDATE backing_keys SET canary = {others} WHERE key_id = '{exchanged}'"))
        connection.execute(text(f"UPDATE keys SET usage = 'KEY_AGREEMENT' WHERE key_id = '{misused}'"))
    engine.dispose()

    done = catalog(deployment, "check", "--output", "json")
    assert done.returncode == DIFFERENT
    report = json.loads(done.stdout)
    found = {finding["cka_id"]: finding["kind"] for finding in report["findings"]}
    assert found == {
        uuid.UUID(key).hex + "00000001": kind
        for key, kind in {
            missing: "missing",
            lost_mac: "missing",
            unknown: "unknown",
            damaged: "damaged",
            exchanged: "damaged",
            misused: "damaged",
            without_public: "unfit",
        }.items()
    }
    assert (report["well"], report["foreign"]) == (5, 0)
    assert f"{damaged} version 1 is not the key that made its canary" in catalog(deployment, "check").stdout
    assert well not in done.stdout
    assert mac not in done.stdout


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
    assert f"{deployment_id} (4 objects)" in asked.stderr
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
module, label, pin, key, kind = sys.argv[1:]
token = pkcs11.lib(module).get_token(token_label=label)
with token.open(rw=True, user_pin=pin) as session:
    identifier = uuid.UUID(key).bytes + bytes([0, 0, 0, 1])
    for found in list(session.get_objects({Attribute.CLASS: ObjectClass[kind], Attribute.ID: identifier})):
        found.destroy()
"""


def destroy_object(deployment: Deployment, key_id: str, kind: str = "SECRET_KEY") -> None:
    """Destroy a key's object of a class behind the service's back, in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", _DESTROY, MODULE, deployment.token.label, PIN, key_id, kind],
        check=True,
        env=deployment.token.environment(),
    )
