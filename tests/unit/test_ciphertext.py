"""Ciphertext format 1: the parser takes exactly what is well-formed, and every byte of a ciphertext is bound."""

import hashlib
import struct
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation
from cryptography.hazmat.primitives.kdf.kbkdf import Mode as KdfMode
from hypothesis import assume, given
from hypothesis import strategies as st

from hsmkms.core import context
from hsmkms.core.ciphertext import (
    CANARY_VALUE,
    Ciphertext,
    Header,
    KeyType,
    Mode,
    Suite,
    canary_digest,
    cka_id,
    derivation_digest,
    is_direct_length,
    is_padded_length,
    key_material_id,
    mode_for_length,
    parse,
    parse_header,
    sealed_digest,
    wrapped_bytes,
)
from hsmkms.core.errors import InvalidCiphertextException
from support import reference_decoder as reference

DIRECT_LENGTHS = [8 * blocks for blocks in range(2, 33)]
PADDED_LENGTHS = [length for length in range(1, 256) if length % 8]
SUITES = [Suite.AES_CBC_ENCRYPT_DATA, Suite.SP800_108_CMAC_COUNTER]
KEY_TYPES = [KeyType.RSA, KeyType.EC, KeyType.EDWARDS]

u32 = st.integers(0, (1 << 32) - 1)
sixteen = st.binary(min_size=16, max_size=16)
pairs = st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4)


@st.composite
def ciphertexts(draw):
    suite, mode = draw(st.sampled_from(SUITES)), draw(st.sampled_from(Mode))
    lengths = {
        Mode.DIRECT: st.sampled_from(DIRECT_LENGTHS),
        Mode.ENVELOPE: st.integers(1, 4096),
        Mode.DIRECT_PADDED: st.sampled_from(PADDED_LENGTHS),
        Mode.PRIVATE_KEY: st.just(0),
    }
    length = draw(lengths[mode])
    version = draw(st.integers(1, (1 << 32) - 1))
    kind = draw(st.sampled_from(KEY_TYPES)) if mode is Mode.PRIVATE_KEY else KeyType.NONE
    header = Header(suite, mode, draw(sixteen), version, length, draw(sixteen), kind)
    seed = draw(st.binary(min_size=1, max_size=8))

    def filler(count):
        return (seed * count)[:count]

    if mode is Mode.ENVELOPE:
        return Ciphertext(header, filler(40), filler(12 + length + 16))
    if mode is Mode.PRIVATE_KEY:
        return Ciphertext(header, filler(8 * draw(st.integers(3, 326))), b"")
    return Ciphertext(header, filler((length + 7) // 8 * 8 + 8), b"")


def well_formed(blob):
    """Format 1 as docs/ciphertext-format.md has it, written a second time."""
    if len(blob) < 48 or blob[:4] != b"HKC\x01":
        return False
    suite, mode, flags, key_type = blob[4:8]
    version, length = struct.unpack(">II", blob[24:32])
    body = len(blob) - 48
    if suite not in (1, 2) or flags or version == 0:
        return False
    if mode == 4:
        return key_type in (1, 2, 3) and length == 0 and 24 <= body <= 2608 and body % 8 == 0
    if key_type:
        return False
    return (
        (mode == 1 and length in DIRECT_LENGTHS and body == length + 8)
        or (mode == 2 and 1 <= length <= 4096 and body == 40 + 12 + length + 16)
        or (mode == 3 and length in PADDED_LENGTHS and body == (length + 7) // 8 * 8 + 8)
    )


def refusal_of(blob):
    with pytest.raises(InvalidCiphertextException) as refused:
        parse(blob)
    assert refused.value.message == ""
    return refused.value.detail


def is_parsed_exactly_if_well_formed(blob):
    if well_formed(blob):
        assert parse(blob).to_bytes() == blob
    else:
        assert refusal_of(blob)


# The parser


@given(ciphertexts())
def test_what_is_written_is_read(ciphertext):
    blob = ciphertext.to_bytes()
    assert well_formed(blob)
    assert parse(blob) == ciphertext
    assert parse(blob).to_bytes() == blob
    assert len(blob) <= 6144


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_one_way(blob):
    is_parsed_exactly_if_well_formed(blob)


@given(ciphertexts(), st.data())
def test_one_byte_of_the_header_changed(ciphertext, data):
    blob = bytearray(ciphertext.to_bytes())
    blob[data.draw(st.integers(0, 47))] ^= data.draw(st.integers(1, 255))
    is_parsed_exactly_if_well_formed(bytes(blob))


def head_of(suite, mode, key_type, version, length):
    return b"HKC\x01" + bytes([suite, mode, 0, key_type]) + bytes(16) + struct.pack(">II", version, length) + bytes(16)


small = st.integers(0, 6)


@given(small, small, small, st.one_of(st.integers(0, 300), u32), st.one_of(st.just(0), u32), st.integers(0, 400))
def test_any_field_with_any_length_of_body(suite, mode, key_type, length, version, body):
    is_parsed_exactly_if_well_formed(head_of(suite, mode, key_type, version, length) + bytes(body))


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "length", [0, 1, 7, 8, 9, 15, 16, 17, 24, 248, 249, 255, 256, 257, 264, 4095, 4096, 4097, 4104]
)
def test_a_length_at_the_bounds_with_just_the_body_it_asks_for(mode, length):
    wanted = {1: length + 8, 2: length + 68, 3: (length + 7) // 8 * 8 + 8, 4: length}[mode]
    for suite in range(4):
        for key_type in range(5):
            for more in (-8, -1, 0, 1, 8):
                head = head_of(suite, mode, key_type, 1, 0 if mode == 4 else length)
                is_parsed_exactly_if_well_formed(head + bytes(max(wanted + more, 0)))


@pytest.mark.parametrize("body", [0, 8, 16, 17, 24, 25, 32, 2600, 2608, 2609, 2616, 4096])
def test_the_body_of_a_private_key_has_its_bounds(body):
    is_parsed_exactly_if_well_formed(head_of(1, 4, 1, 1, 0) + bytes(body))
    is_parsed_exactly_if_well_formed(head_of(1, 4, 1, 1, body) + bytes(body))


@given(ciphertexts(), st.data())
def test_truncated_and_extended_ciphertexts_are_refused(ciphertext, data):
    blob = ciphertext.to_bytes()
    for changed in (
        blob[: data.draw(st.integers(0, len(blob) - 1))],
        blob + data.draw(st.binary(min_size=1, max_size=16)),
    ):
        if (
            ciphertext.header.mode is Mode.PRIVATE_KEY
        ):  # its header tells no length: whole blocks more or less fail to unwrap
            is_parsed_exactly_if_well_formed(changed)
        else:
            assert refusal_of(changed)


HEADER = Header(Suite.AES_CBC_ENCRYPT_DATA, Mode.DIRECT, bytes(range(16)), 7, 32, bytes(range(16, 32)))
BLOB = Ciphertext(HEADER, bytes(40), b"").to_bytes()


def with_byte(at, value):
    return BLOB[:at] + bytes([value]) + BLOB[at + 1 :]


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, 0, "not format 1"),
        (3, 2, "not format 1"),
        (4, 0, "unknown suite 0 or mode 1"),
        (4, 3, "unknown suite 3 or mode 1"),
        (5, 0, "unknown suite 1 or mode 0"),
        (5, 5, "unknown suite 1 or mode 5"),
        (5, 3, "a length that its mode cannot have"),
        (5, 4, "key type 0, which mode 4 cannot have"),
        (6, 1, "a reserved field is not zero"),
        (7, 1, "key type 1, which mode 1 cannot have"),
        (27, 0, "or the version is"),
        (31, 31, "a length that its mode cannot have"),
        (31, 40, "a body of another length"),
    ],
)
def test_the_log_says_why_and_the_caller_is_not_told(at, value, why):
    assert why in refusal_of(with_byte(at, value))


@pytest.mark.parametrize("length", [0, 47, 49])
def test_a_header_has_48_bytes(length):
    with pytest.raises(InvalidCiphertextException):
        parse_header((BLOB + bytes(9))[:length])
    assert parse_header(BLOB[:48]) == HEADER


# The input of the derivation


def recomputed(header, encryption_context, rest):
    """`SHA-256("hsm-kms/v1" || u16 length and header || context || SHA-256(rest))`, from design/ciphertext.md alone."""
    digest = hashlib.sha256(b"hsm-kms/v1" + struct.pack(">H", 48))
    for name, kind in (
        ("suite", "B"),
        ("mode", "B"),
        ("key_uuid", "16s"),
        ("version", "I"),
        ("length", "I"),
        ("salt", "16s"),
    ):
        if name == "suite":
            digest.update(b"HKC" + b"\x01")
        digest.update(struct.pack(">" + kind, getattr(header, name)))
        if name == "mode":
            digest.update(b"\0" + bytes([header.key_type]))
    digest.update(struct.pack(">I", len(encryption_context)))
    for key in sorted(encryption_context, key=lambda key: key.encode()):
        for text in (key, encryption_context[key]):
            digest.update(struct.pack(">I", len(text.encode())) + text.encode())
    digest.update(hashlib.sha256(rest).digest())
    return digest.digest()


def digest_of(header, encryption_context, rest):
    return derivation_digest(header.to_bytes(), context.canonical(encryption_context), sealed_digest(rest))


@given(ciphertexts(), pairs)
def test_the_digest_is_what_the_design_says(ciphertext, encryption_context):
    header, rest = ciphertext.header, ciphertext.sealed
    assert digest_of(header, encryption_context, rest) == recomputed(header, encryption_context, rest)


@given(ciphertexts(), pairs, pairs, st.data())
def test_every_change_of_a_ciphertext_gives_another_digest(ciphertext, encryption_context, other, data):
    header, rest = ciphertext.header, ciphertext.sealed
    digest = digest_of(header, encryption_context, rest)
    changes = {
        "suite": st.sampled_from(Suite),
        "mode": st.sampled_from(Mode),
        "key_uuid": sixteen,
        "version": u32,
        "length": u32,
        "salt": sixteen,
        "key_type": st.sampled_from(KeyType),
    }
    assert changes.keys() == set(Header.__slots__)
    for name, values in changes.items():
        value = data.draw(values, label=name)
        assume(value != getattr(header, name))
        assert digest_of(replace(header, **{name: value}), encryption_context, rest) != digest, name
    if other != encryption_context:
        assert digest_of(header, other, rest) != digest
    assert digest_of(header, encryption_context, rest + b"\0") != digest
    if rest:
        at = data.draw(st.integers(0, len(rest) - 1), label="payload byte")
        changed = rest[:at] + bytes([rest[at] ^ 1]) + rest[at + 1 :]
        assert digest_of(header, encryption_context, changed) != digest


def test_a_canary_is_derived_apart_from_every_ciphertext_and_for_one_key():
    key = bytes(range(16))
    assert canary_digest(key) == hashlib.sha256(b"hsm-kms/canary/v1" + key).digest()
    assert canary_digest(key) != canary_digest(bytes(16))
    assert hashlib.sha256(b"hsm-kms canary: a public value").digest() == CANARY_VALUE
    assert key_material_id(b"canary") == hashlib.sha256(b"canary").hexdigest()


@given(sixteen, u32)
def test_a_cka_id_is_key_and_version(key_uuid, version):
    assert cka_id(key_uuid, version) == key_uuid + struct.pack(">I", version)
    assert replace(HEADER, key_uuid=key_uuid, version=version).cka_id == cka_id(key_uuid, version)


# Modes


def test_every_length_has_its_mode():
    for length in range(1, 4097):
        direct, padded = length in DIRECT_LENGTHS, length in PADDED_LENGTHS
        assert is_direct_length(length) == direct
        assert is_padded_length(length) == padded
        assert mode_for_length(length) is (Mode.DIRECT if direct else Mode.ENVELOPE)
        with_padding = Mode.DIRECT if direct else Mode.DIRECT_PADDED if padded else Mode.ENVELOPE
        assert mode_for_length(length, padded=True) is with_padding
        for can_pad in (True, False):
            assert mode_for_length(length, direct=False, padded=can_pad) is Mode.ENVELOPE


def test_a_wrapped_object_is_as_long_as_the_reference_makes_it():
    for length in (*DIRECT_LENGTHS, *PADDED_LENGTHS):
        wrap = reference.aes_key_wrap if length in DIRECT_LENGTHS else reference.aes_key_wrap_with_padding
        assert wrapped_bytes(length) == len(wrap(bytes(32), bytes(length)))


# Suites


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_suite_2_is_sp_800_108_as_cryptography_has_it(key, digest):
    """The third derivation: the token's and the reference decoder's are compared in tests/token."""
    standard = KBKDFCMAC(
        AES, KdfMode.CounterMode, 32, 4, 4, CounterLocation.BeforeFixed, label=b"hsm-kms/v1", context=digest, fixed=None
    )
    assert reference.derive(key, digest, 2) == standard.derive(key)
