"""Ciphertext format 1: the parser takes exactly what is well-formed, and every byte of a ciphertext is bound."""

import hashlib
import struct
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hsmkms.core import context
from hsmkms.core.ciphertext import (
    CANARY_VALUE,
    RESERVED_MODES,
    RESERVED_SUITES,
    Ciphertext,
    Header,
    Mode,
    Suite,
    canary_digest,
    cka_id,
    derivation_digest,
    is_direct_length,
    key_material_id,
    mode_for_length,
    parse,
    parse_header,
    require_supported,
    sealed_digest,
)
from hsmkms.core.errors import InvalidCiphertextException, UnsupportedOperationException

DIRECT_LENGTHS = [8 * blocks for blocks in range(2, 33)]

u32 = st.integers(0, (1 << 32) - 1)
sixteen = st.binary(min_size=16, max_size=16)
pairs = st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=4)


@st.composite
def ciphertexts(draw):
    mode = draw(st.sampled_from([Mode.DIRECT, Mode.ENVELOPE]))
    lengths = st.sampled_from(DIRECT_LENGTHS) if mode is Mode.DIRECT else st.integers(1, 4096)
    length = draw(lengths)
    version = draw(st.integers(1, (1 << 32) - 1))
    header = Header(Suite.AES_CBC_ENCRYPT_DATA, mode, draw(sixteen), version, length, draw(sixteen))
    seed = draw(st.binary(min_size=1, max_size=8))

    def filler(count):
        return (seed * count)[:count]

    if mode is Mode.DIRECT:
        return Ciphertext(header, filler(length + 8), b"")
    return Ciphertext(header, filler(40), filler(12 + length + 16))


def well_formed(blob):
    """Format 1 as design/ciphertext.md has it, written a second time."""
    if len(blob) < 48 or blob[:5] != b"HKC\x01\x01" or blob[5] not in (1, 2) or blob[6:8] != b"\0\0":
        return False
    version, length = struct.unpack(">II", blob[24:32])
    if version == 0:
        return False
    if blob[5] == 1:
        return length in DIRECT_LENGTHS and len(blob) == 48 + length + 8
    return 1 <= length <= 4096 and len(blob) == 48 + 40 + 12 + length + 16


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


@given(st.sampled_from([1, 2]), st.one_of(st.integers(0, 300), u32), st.one_of(st.just(0), u32), st.integers(0, 400))
def test_any_length_in_the_header_with_any_length_of_body(mode, length, version, body):
    is_parsed_exactly_if_well_formed(
        b"HKC\x01\x01" + bytes([mode, 0, 0]) + bytes(16) + struct.pack(">II", version, length) + bytes(16 + body)
    )


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("length", [0, 1, 8, 15, 16, 17, 248, 256, 257, 264, 4095, 4096, 4097, 4104])
def test_a_length_at_the_bounds_with_just_the_body_it_asks_for(mode, length):
    head = b"HKC\x01\x01" + bytes([mode, 0, 0]) + bytes(16) + struct.pack(">II", 1, length) + bytes(16)
    for more in (-1, 0, 1):
        is_parsed_exactly_if_well_formed(head + bytes(length + (8 if mode == 1 else 68) + more))


@given(ciphertexts(), st.data())
def test_truncated_and_extended_ciphertexts_are_refused(ciphertext, data):
    blob = ciphertext.to_bytes()
    assert refusal_of(blob[: data.draw(st.integers(0, len(blob) - 1))])
    assert refusal_of(blob + data.draw(st.binary(min_size=1, max_size=16)))


HEADER = Header(Suite.AES_CBC_ENCRYPT_DATA, Mode.DIRECT, bytes(range(16)), 7, 32, bytes(range(16, 32)))
BLOB = Ciphertext(HEADER, bytes(40), b"").to_bytes()


def with_byte(at, value):
    return BLOB[:at] + bytes([value]) + BLOB[at + 1 :]


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, 0, "not format 1"),
        (3, 2, "not format 1"),
        (4, 2, "suite 2 (SP 800-108 with AES-CMAC) is reserved and not supported by this version"),
        (5, 3, "mode 3 (direct, RFC 5649) is reserved and not supported by this version"),
        (5, 4, "mode 4 (private key) is reserved and not supported by this version"),
        (4, 0, "unknown suite or mode"),
        (4, 3, "unknown suite or mode"),
        (5, 0, "unknown suite or mode"),
        (5, 5, "unknown suite or mode"),
        (6, 1, "a reserved field is not zero"),
        (7, 1, "a reserved field is not zero"),
        (27, 0, "or the version is"),
        (31, 31, "a length that its mode cannot have"),
        (31, 40, "a body of another length"),
    ],
)
def test_the_log_says_why_and_the_caller_is_not_told(at, value, why):
    assert why in refusal_of(with_byte(at, value))


def test_everything_that_is_no_mode_or_suite_of_this_version_is_reserved_by_name():
    assert set(RESERVED_MODES) == set(Mode) - {Mode.DIRECT, Mode.ENVELOPE}
    assert set(RESERVED_SUITES) == set(Suite) - {Suite.AES_CBC_ENCRYPT_DATA}
    for suite in Suite:
        for mode in Mode:
            if suite in RESERVED_SUITES or mode in RESERVED_MODES:
                with pytest.raises(UnsupportedOperationException, match="is not supported by this version") as refused:
                    require_supported(suite, mode)
                assert (RESERVED_SUITES.get(suite) or RESERVED_MODES[mode]) in refused.value.message
            else:
                require_supported(suite, mode)


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
            digest.update(b"\0\0")
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
        direct = length in DIRECT_LENGTHS
        assert is_direct_length(length) == direct
        assert mode_for_length(length) is (Mode.DIRECT if direct else Mode.ENVELOPE)
        assert mode_for_length(length, direct=False) is Mode.ENVELOPE
