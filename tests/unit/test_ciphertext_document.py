"""docs/ciphertext-format.md: its worked examples are computed again, from the inputs that they state, by the reference and the service."""

import hashlib
import re
import uuid
from pathlib import Path

import pytest

from hsmkms.core import ciphertext, context
from support import reference_decoder as reference

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ciphertext-format.md"
BLOCK = re.compile(r"^```text example=(\w+) part=(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = ["direct", "envelope", "padded", "private"]
BLOCKS = {(example, part): body for example, part, body in BLOCK.findall(DOCUMENT.read_text())}


def values(example):
    """Return the `name = value` lines of an example; indented lines go on with the one before."""
    joined = re.sub(r"\n +", " ", BLOCKS[example, "values"])
    return dict(re.split(r" *= *", line, maxsplit=1) for line in joined.splitlines())


def octets(text):
    return bytes.fromhex(text)


def blob(example):
    """Return the bytes of the table, having checked that its offsets count them."""
    data = b""
    for line in BLOCKS[example, "bytes"].splitlines():
        offset, hexadecimal = line[:3].strip(), line[5:52]
        assert not offset or int(offset) == len(data), line
        data += octets(hexadecimal)
    return data


def stated_context(stated):
    return dict(pair.split(":", 1) for pair in stated["encryption context"].split(", "))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_is_what_its_inputs_make(example):
    stated = values(example)
    key_id = uuid.UUID(stated["key id"]).bytes
    secrets = (
        {"data_key": octets(stated["data key"]), "nonce": octets(stated["nonce"])} if example == "envelope" else {}
    )
    suite, mode, _, key_type = blob(example)[4:8]
    made = reference.seal(
        octets(stated["backing key"]),
        key_id=key_id,
        version=int(stated["version"]),
        salt=octets(stated["salt"]),
        context=stated_context(stated),
        plaintext=octets(stated["plaintext"]),
        suite=suite,
        mode=mode,
        key_type=key_type,
        **secrets,
    )
    assert made == blob(example)
    assert reference.unseal(octets(stated["backing key"]), made, stated_context(stated)) == octets(stated["plaintext"])


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_service_computes_the_intermediate_values(example):
    stated = values(example)
    parsed = ciphertext.parse(blob(example))
    form = context.canonical(stated_context(stated))
    rest = ciphertext.sealed_digest(parsed.sealed)
    digest = ciphertext.derivation_digest(parsed.header.to_bytes(), form, rest)
    assert form == octets(stated["canonical context"])
    assert rest == octets(stated["digest of the rest"])
    assert digest == octets(stated["derivation input"])
    wrapping_key = reference.derive(octets(stated["backing key"]), digest, parsed.header.suite)
    assert wrapping_key == octets(stated["wrapping key"])
    assert parsed.header.cka_id == octets(stated["CKA_ID"])


def test_the_canary_example():
    stated = values("canary")
    backing_key, key_id = octets(stated["backing key"]), uuid.UUID(stated["key id"]).bytes
    assert octets(stated["canary value"]) == ciphertext.CANARY_VALUE
    assert octets(stated["derivation input"]) == ciphertext.canary_digest(key_id)
    assert octets(stated["canary"]) == reference.canary(backing_key, key_id)
    assert stated["KeyMaterialId"] == ciphertext.key_material_id(octets(stated["canary"]))
    assert stated["KeyMaterialId"] == hashlib.sha256(octets(stated["canary"])).hexdigest()


def test_every_block_is_tested():
    parts = {(example, part) for example in EXAMPLES for part in ("values", "bytes")}
    assert set(BLOCKS) == parts | {("canary", "values")}
