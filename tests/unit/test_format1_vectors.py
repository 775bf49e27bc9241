"""The committed vectors of format 1: made again by their generator, opened by the reference decoder, read by the service's parser."""

import importlib.util
import json
import uuid
from pathlib import Path

import pytest

from hsmkms.core import ciphertext, context
from support import reference_decoder as reference

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FILES = sorted(VECTORS.glob("format1*.json"))
CASES = [case for file in FILES for case in json.loads(file.read_text())["vectors"]]
KEY_TYPES = {
    "RSA-2048": ciphertext.KeyType.RSA,
    "P-256": ciphertext.KeyType.EC,
    "Ed25519": ciphertext.KeyType.EDWARDS,
}

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


@pytest.fixture(scope="module")
def generated():
    spec = importlib.util.spec_from_file_location("generate_format1", VECTORS / "generate_format1.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert sorted(generator.documents()) == [file.name for file in FILES]
    return {
        case["name"]: case for document in generator.documents().values() for case in json.loads(document)["vectors"]
    }


def test_the_generator_makes_it_again(case, generated):
    assert generated.keys() == {case["name"] for case in CASES}
    assert generated[case["name"]] == case


def test_the_reference_opens_it(case):
    opened = reference.unseal(bytes.fromhex(case["backing_key"]), bytes.fromhex(case["ciphertext"]), case["context"])
    assert opened.hex() == case["plaintext"]


def test_the_service_reads_every_field_of_it(case):
    blob = bytes.fromhex(case["ciphertext"])
    parsed = ciphertext.parse(blob)
    assert parsed.to_bytes() == blob
    length = len(case["plaintext"]) // 2
    if parsed.header.mode is ciphertext.Mode.PRIVATE_KEY:
        assert parsed.header.length == 0
        assert parsed.header.key_type is KEY_TYPES[case["name"].rpartition(" ")[2]]
    else:
        padded = parsed.header.mode is ciphertext.Mode.DIRECT_PADDED
        assert parsed.header.mode is ciphertext.mode_for_length(length, padded=padded)
        assert parsed.header.length == length
        assert parsed.header.key_type is ciphertext.KeyType.NONE
    assert parsed.header.suite == (2 if "suite 2" in case["name"] else 1)
    assert parsed.header.cka_id == uuid.UUID(case["key_id"]).bytes + case["version"].to_bytes(4, "big")


def test_the_service_derives_the_wrapping_key_that_opens_it(case):
    parsed = ciphertext.parse(bytes.fromhex(case["ciphertext"]))
    form = context.canonical(case["context"])
    assert form.hex() == case["canonical_context"]
    digest = ciphertext.derivation_digest(parsed.header.to_bytes(), form, ciphertext.sealed_digest(parsed.sealed))
    key = reference.derive(bytes.fromhex(case["backing_key"]), digest, parsed.header.suite)
    match parsed.header.mode:
        case ciphertext.Mode.ENVELOPE:
            assert reference.aes_key_unwrap(key, parsed.wrapped).hex() == case["data_key"]
        case ciphertext.Mode.DIRECT_PADDED:
            assert reference.aes_key_unwrap_with_padding(key, parsed.wrapped).hex() == case["plaintext"]
        case ciphertext.Mode.DIRECT:
            assert reference.aes_key_unwrap(key, parsed.wrapped).hex() == case["plaintext"]
        case ciphertext.Mode.PRIVATE_KEY:
            plain = reference.aes_key_unwrap_with_padding(key, parsed.wrapped)
            assert reference.without_tail(plain).hex() == case["plaintext"]


def test_the_canary_is_bound_to_the_key_id(case):
    backing_key, key_id = bytes.fromhex(case["backing_key"]), uuid.UUID(case["key_id"]).bytes
    suite = ciphertext.parse(bytes.fromhex(case["ciphertext"])).header.suite
    wrapping_key = reference.derive(backing_key, ciphertext.canary_digest(key_id), suite)
    wrapped = reference.aes_key_wrap(wrapping_key, ciphertext.CANARY_VALUE)
    assert wrapped.hex() == case["canary"]
    assert len(wrapped) == ciphertext.CANARY_BYTES
