"""A token with both derivations: the configuration's preference takes effect when a key rotates, and older material stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsmkms.client import Client
from support.nss import make_nss_token
from support.service import Service, make_deployment, running

SUITE = 4
"""Where a ciphertext's header has its suite."""


def test_another_suite_takes_effect_at_the_next_rotation(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, token=make_nss_token(tmp_path / "token"))
    with running(deployment) as service:
        client = service.client()
        key = client.create_key().key_metadata.arn
        old = sealed(client, key)
        assert old[SUITE] == 2, "the token has both, and nothing was preferred"

    deployment.settings = {"token": {"suite": 1}}
    deployment.write_config()
    with running(deployment) as service:
        client = service.client()
        before = sealed(client, key)
        assert before[SUITE] == 2, "not rotated yet"
        client.rotate_key_on_demand(key_id=key)
        after = rotated(client, key)
        assert after[SUITE] == 1
        assert sealed(client, client.create_key().key_metadata.arn)[SUITE] == 1
        moved = client.re_encrypt(ciphertext_blob=old, destination_key_id=key).ciphertext_blob
        assert moved[SUITE] == 1
        for blob in (old, before, after, moved):
            assert client.decrypt(ciphertext_blob=blob).plaintext == b"a secret of 24 bytes, ok"


def test_a_suite_that_the_token_lacks_keeps_the_service_from_starting(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    deployment.settings = {"token": {"suite": 2}}
    deployment.write_config()
    with pytest.raises(AssertionError, match=r"token\.suite: hsm-kms test cannot derive by CKM_SP800_108_COUNTER_KDF"):
        Service(deployment)


def sealed(client: Client, key: str) -> bytes:
    return bytes(client.encrypt(key_id=key, plaintext=b"a secret of 24 bytes, ok").ciphertext_blob)


def rotated(client: Client, key: str) -> bytes:
    rotations = client.list_key_rotations(key_id=key).rotations
    assert len(rotations) == 1
    return sealed(client, key)
