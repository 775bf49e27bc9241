"""Suite 2 by known answers: on the token that has it the derivation is SP 800-108's, and the probe tells the tokens apart."""

import os

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from hsmkms.core.ciphertext import CANARY_VALUE, Suite, canary_digest
from hsmkms.hsm.constants import CKA
from hsmkms.hsm.cryptoki import Handle
from hsmkms.hsm.templates import BACKING_KEY, render
from support import reference_decoder as reference

SUITES = [Suite.AES_CBC_ENCRYPT_DATA, Suite.SP800_108_CMAC_COUNTER]


@pytest.mark.parametrize(
    "suite",
    [
        pytest.param(SUITES[0], marks=pytest.mark.needs("suite_1")),
        pytest.param(SUITES[1], marks=pytest.mark.needs("suite_2")),
    ],
)
def test_a_token_derives_what_the_reference_derives(session, suite):
    value, key_id = os.urandom(32), os.urandom(16)
    extra = ((CKA.TOKEN, False), (CKA.VALUE, value))
    template, handle = render(BACKING_KEY[suite], session.found, extra=extra, without=(CKA.VALUE_LEN,)), Handle()
    session.cryptoki.create_object(template.pointer, template.count, handle.pointer)
    try:
        canary = session.wrapping.make_canary(handle.value, suite, canary_digest(key_id))
    finally:
        session.cryptoki.destroy_object(handle.value)
    assert canary == reference.canary(value, key_id, int(suite))
    others = [one for one in SUITES if one is not suite]
    assert aes_key_unwrap(reference.derive(value, canary_digest(key_id), int(suite)), canary) == CANARY_VALUE
    assert canary != reference.canary(value, key_id, int(others[0]))


def test_new_keys_are_of_suite_2_where_the_token_has_it(session, token):
    assert session.suite is {"SoftHSM": Suite.AES_CBC_ENCRYPT_DATA}.get(token.name, Suite.SP800_108_CMAC_COUNTER)
