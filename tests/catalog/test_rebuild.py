"""What a rebuilt catalog takes of the objects on a token, and what it leaves out."""

import uuid

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.model import KeySpec, KeyUsage
from hsmkms.core.service_keys import deployment_label, service_key_cka_id
from hsmkms.core.token_objects import TokenObject
from hsmkms.server.catalog.rebuild import take_stock

DEPLOYMENT = uuid.uuid4()


def item(identifier, spec=KeySpec.SYMMETRIC_DEFAULT, usage=KeyUsage.ENCRYPT_DECRYPT):
    symmetric = spec is KeySpec.SYMMETRIC_DEFAULT
    suite = Suite.AES_CBC_ENCRYPT_DATA if symmetric else Suite.NONE
    return TokenObject(identifier, deployment_label(DEPLOYMENT), spec, usage, suite, bytes(40), "")


def test_only_a_symmetric_key_has_several_versions_and_all_of_one_kind():
    symmetric, pair, mixed = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    taken = [item(cka_id(symmetric.bytes, 2)), item(cka_id(pair.bytes, 1), KeySpec.RSA_2048)]
    left = [
        item(cka_id(pair.bytes, 2), KeySpec.RSA_2048),
        item(cka_id(mixed.bytes, 1), KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC),
        item(cka_id(mixed.bytes, 2)),
    ]
    found = take_stock([*taken, *left], DEPLOYMENT)
    assert found.keys == {symmetric: {2: taken[0]}, pair: {1: taken[1]}}
    assert found.missing_versions == {symmetric: [1]}
    whys = {one.cka_id: why for one, why in found.left_out}
    assert set(whys) == {one.cka_id for one in left}
    assert "neither a KMS key of this service" in whys[left[0].cka_id]
    assert whys[left[1].cka_id] == whys[left[2].cka_id] == f"the materials of key {mixed} are of several kinds"


def test_a_key_pair_is_no_service_key():
    identifier = service_key_cka_id(DEPLOYMENT, "audit")
    found = take_stock([item(identifier, KeySpec.RSA_2048)], DEPLOYMENT)
    assert not found.service_keys
    assert not found.keys
    assert [one.cka_id for one, _ in found.left_out] == [identifier]
