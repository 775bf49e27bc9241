"""Write tests/vectors/format1.json: ciphertexts of format 1 under backing keys of known value.

    PYTHONPATH=tests .venv/bin/python tests/vectors/generate_format1.py

Every input follows from a name, so that the file can be made again by anybody. A released vector never changes: a new format gets a
file of its own.
"""

import hashlib
import json
import uuid
from pathlib import Path

from support import reference_decoder as reference

VECTORS = Path(__file__).with_name("format1.json")
LENGTHS = (1, 8, 13, 15, 16, 17, 24, 32, 33, 64, 100, 248, 255, 256, 257, 264, 1024, 4096)
CONTEXTS = {
    "none": {},
    "one": {"tenant": "blue"},
    "unsorted": {"zone": "b", "tenant": "blue", "purpose": ""},
    # U+FF61 sorts before U+10000 by UTF-8 and by code point, after it by UTF-16.
    "unicode": {"\U00010000": "1", "\uff61": "2", "é": "composed", "e\u0301": "decomposed"},
    "prefix": {"a": "bc", "ab": "c", "": "empty key"},
}


def value(name, length):
    """Return `length` bytes that follow from a name."""
    return hashlib.shake_256(f"hsm-kms format 1 vector: {name}".encode()).digest(length)


def vector(name, *, length, context, version=1):
    key_id = uuid.UUID(bytes=value(f"{name}: key id", 16), version=4)
    backing_key, plaintext = value(f"{name}: backing key", 32), value(f"{name}: plaintext", length)
    secrets = {}
    if reference.mode_of(length) == reference.ENVELOPE:
        secrets = {"data_key": value(f"{name}: data key", 32), "nonce": value(f"{name}: nonce", 12)}
    blob = reference.seal(
        backing_key,
        key_id=key_id.bytes,
        version=version,
        salt=value(f"{name}: salt", 16),
        context=context,
        plaintext=plaintext,
        **secrets,
    )
    return {
        "name": name,
        "backing_key": backing_key.hex(),
        "key_id": str(key_id),
        "version": version,
        "canary": reference.canary(backing_key, key_id.bytes).hex(),
        "context": context,
        "canonical_context": reference.canonical_context(context).hex(),
        "plaintext": plaintext.hex(),
        **{member: secret.hex() for member, secret in secrets.items()},
        "ciphertext": blob.hex(),
    }


def vectors():
    made = [vector(f"{length} bytes", length=length, context=CONTEXTS["one"]) for length in LENGTHS]
    for name, context in CONTEXTS.items():
        made += [vector(f"context {name}, {length} bytes", length=length, context=context) for length in (32, 33)]
    made += [vector(f"version {version}", length=32, context={}, version=version) for version in (2, 0xFFFFFFFF)]
    return made


def document():
    """Return the file's content."""
    return json.dumps({"format": 1, "suite": 1, "vectors": vectors()}, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    VECTORS.write_text(document())
