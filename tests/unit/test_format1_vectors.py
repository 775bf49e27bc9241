"""The committed vectors of format 1: made again by their generator, opened by the reference decoder, read by the service's parser."""

import importlib.util
import json
import uuid
from pathlib import Path

import pytest

from hsmkms.core import ciphertext, context
from support import reference_decoder as reference

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CASES = json.loads((VECTORS / "format1.json").read_text())["vectors"]

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


@pytest.fixture(scope="module")
def generated():
    spec = importlib.util.spec_from_file_location("generate_format1", VECTORS / "generate_format1.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    return {case["name"]: case for case in json.loads(generator.document())["vectors"]}


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
    assert parsed.header.mode == ciphertext.mode_for_length(len(case["plaintext"]) // 2)
    assert parsed.header.length == len(case["plaintext"]) // 2
    assert parsed.header.cka_id == uuid.UUID(case["key_id"]).bytes + case["version"].to_bytes(4, "big")


def test_the_service_derives_the_wrapping_key_that_opens_it(case):
    parsed = ciphertext.parse(bytes.fromhex(case["ciphertext"]))
    form = context.canonical(case["context"])
    assert form.hex() == case["canonical_context"]
    digest = ciphertext.derivation_digest(parsed.header.to_bytes(), form, ciphertext.sealed_digest(parsed.sealed))
    key = reference.derive(bytes.fromhex(case["backing_key"]), digest)
    wrapped = reference.aes_key_unwrap(key, parsed.wrapped)
    expected = case["plaintext"] if parsed.header.mode == ciphertext.Mode.DIRECT else case["data_key"]
    assert wrapped.hex() == expected


def test_the_canary_is_bound_to_the_key_id(case):
    backing_key, key_id = bytes.fromhex(case["backing_key"]), uuid.UUID(case["key_id"]).bytes
    wrapped = reference.aes_key_wrap(
        reference.derive(backing_key, ciphertext.canary_digest(key_id)), ciphertext.CANARY_VALUE
    )
    assert wrapped.hex() == case["canary"]
    assert len(wrapped) == ciphertext.CANARY_BYTES
