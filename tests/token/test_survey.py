"""What an operator's look at a token says of its keys: kind, usage and canary of each, or why it may not be used."""

import os
from ctypes import c_ulong

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.material_commands import PairSpec, PairUse
from hsmkms.core.model import KeySpec, KeyUsage
from hsmkms.core.specs import MAC_KEY_BYTES, PAIR_USES, PAIRS, USAGES
from hsmkms.hsm.constants import CKA, CKO
from hsmkms.hsm.survey import Survey
from hsmkms.hsm.templates import Template
from support.material import DEPLOYMENT


def surveyed(session, suites):
    """Return what there is, by CKA_ID; what a token does not say without `suites`, is taken to be the newest suite."""
    return {item.cka_id: item for item in Survey(session.wrapping, session.found, suites).objects()}


def test_every_kind_of_key_is_told_with_its_usage_and_canary(session, material):
    symmetric = session.generate()
    expected = {
        symmetric.cka_id: (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT, session.suite, symmetric.canary, "")
    }
    for spec, pair in PAIRS.items():
        if not session.found.makes(pair) or pair in (PairSpec.RSA_3072, PairSpec.RSA_4096):
            continue  # the longer ones differ in their length alone, and take seconds to make
        for usage in USAGES[spec]:
            key = material.generate(pair, PAIR_USES[usage])
            expected[key.cka_id] = (spec, usage, Suite.NONE, key.public_key, "")
    for spec, length in MAC_KEY_BYTES.items():
        identifier = cka_id(os.urandom(16), 1)
        canary = material.macs.generate(identifier, length, DEPLOYMENT)
        expected[identifier] = (spec, KeyUsage.GENERATE_VERIFY_MAC, Suite.NONE, canary, "")
    found = surveyed(session, {})
    told = {one: (item.spec, item.usage, item.suite, item.canary, item.fault) for one, item in found.items()}
    assert {one: told.get(one) for one in expected} == expected
    for identifier in expected:
        session.keys.destroy(identifier, DEPLOYMENT)


def test_a_private_key_without_its_public_key_or_with_anothers_is_at_fault(session, material):
    alone, other = (material.generate(PairSpec.ECC_NIST_P256, PairUse.SIGN) for _ in range(2))
    (public,) = session.keys.objects.publics(alone.cka_id)[alone.cka_id]
    session.cryptoki.destroy_object(c_ulong(public))
    assert surveyed(session, {})[alone.cka_id].fault == "it has 0 public keys"

    (wrong,) = session.cryptoki.find(Template(((CKA.CLASS, CKO.PUBLIC_KEY), (CKA.ID, other.cka_id))))
    (listed,) = session.keys.list_objects(alone.cka_id)
    item = Survey(session.wrapping, session.found, {})._surveyed(listed, [wrong])
    assert (item.spec, item.canary) == (None, b"")
    assert "the private key is another one than its public key's" in item.fault
    for key in (alone, other):
        session.keys.destroy(key.cka_id, DEPLOYMENT)
