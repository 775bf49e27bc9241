"""Write the files of tests/vectors: ciphertexts of format 1 under backing keys of known value.

    PYTHONPATH=tests .venv/bin/python tests/vectors/generate_format1.py

Every input follows from a name, so that the file can be made again by anybody. A released vector never changes: a new format gets a
file of its own.
"""

import hashlib
import json
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support import reference_decoder as reference

FIRST = "format1.json"
"""Suite 1, modes 1 and 2."""
SECOND = "format1_suite_2_modes_3_4.json"
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


def private_key(kind):
    """Return a private key that follows from its name, DER PKCS#8; of RSA, 12 and 266 lead from the names' values to the next primes."""
    match kind:
        case "RSA-2048":
            p, q = (
                (int.from_bytes(value(f"{kind} {name}", 128)) | 3 << 1022 | 1) + more
                for name, more in (("p", 12), ("q", 266))
            )
            d = rsa.rsa_recover_private_exponent(65537, p, q)
            crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
            key = rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(65537, p * q)).private_key()
        case "Ed25519":
            key = ed25519.Ed25519PrivateKey.from_private_bytes(value(kind, 32))
        case "P-256":
            key = ec.derive_private_key(int.from_bytes(value(kind, 31)), ec.SECP256R1())
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def vector(name, *, plaintext, context, version=1, suite=1, padded=False, key_type=0, filled=False):
    key_id = uuid.UUID(bytes=value(f"{name}: key id", 16), version=4)
    backing_key = value(f"{name}: backing key", 32)
    secrets, named = (
        {},
        {"suite": suite, "mode": reference.mode_of(len(plaintext), padded=padded), "key_type": key_type},
    )
    if key_type:
        named["mode"] = reference.PRIVATE_KEY
    if named["mode"] == reference.ENVELOPE:
        secrets = {"data_key": value(f"{name}: data key", 32), "nonce": value(f"{name}: nonce", 12)}
    blob = reference.seal(
        backing_key,
        key_id=key_id.bytes,
        version=version,
        salt=value(f"{name}: salt", 16),
        context=context,
        plaintext=plaintext,
        filled=filled,
        **named,
        **secrets,
    )
    return {
        "name": name,
        "backing_key": backing_key.hex(),
        "key_id": str(key_id),
        "version": version,
        "canary": reference.canary(backing_key, key_id.bytes, suite).hex(),
        "context": context,
        "canonical_context": reference.canonical_context(context).hex(),
        "plaintext": plaintext.hex(),
        **{member: secret.hex() for member, secret in secrets.items()},
        "ciphertext": blob.hex(),
    }


def random_vector(name, *, length, **more):
    return vector(name, plaintext=value(f"{name}: plaintext", length), **more)


def first():
    made = [random_vector(f"{length} bytes", length=length, context=CONTEXTS["one"]) for length in LENGTHS]
    for name, context in CONTEXTS.items():
        made += [
            random_vector(f"context {name}, {length} bytes", length=length, context=context) for length in (32, 33)
        ]
    made += [random_vector(f"version {version}", length=32, context={}, version=version) for version in (2, 0xFFFFFFFF)]
    return made


def second():
    one = CONTEXTS["one"]
    made = [
        random_vector(f"suite 2, {length} bytes", length=length, context=one, suite=2)
        for length in (1, 16, 32, 100, 256, 4096)
    ]
    made += [
        random_vector(f"suite {suite}, mode 3, {length} bytes", length=length, context=one, suite=suite, padded=True)
        for suite in (1, 2)
        for length in (1, 7, 9, 13, 31, 100, 255)
    ]
    kinds = (("RSA-2048", reference.RSA), ("P-256", reference.EC), ("Ed25519", reference.EDWARDS))
    made += [
        vector(
            f"suite {suite}, mode 4{', filled up' if filled else ''}, {kind}",
            plaintext=private_key(kind),
            context=CONTEXTS["unicode"],
            suite=suite,
            key_type=key_type,
            filled=filled,
        )
        for suite in (1, 2)
        for filled in (False, True)
        for kind, key_type in kinds
    ]
    return made


def documents():
    """Return each file's content by its name."""
    return {
        FIRST: _json({"format": 1, "suite": 1, "vectors": first()}),
        SECOND: _json({"format": 1, "vectors": second()}),
    }


def _json(document):
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    for file, content in documents().items():
        Path(__file__).with_name(file).write_text(content)
