"""Frames between front and worker: what one side writes the other reads, and nothing else is a frame."""

import dataclasses
import typing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsmkms.core import frames
from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import (
    Encrypt,
    GenerateBackingKey,
    KeyRef,
    ListBackingKeys,
    Load,
    Opcode,
    Outcome,
    Random,
    Result,
    Start,
)
from hsmkms.core.frames import (
    LENGTH,
    MAX_ITEMS,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    FrameError,
    Request,
    Response,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    frame_length,
)
from hsmkms.core.material_commands import Command, DecryptRsa, KeyPairRef, Mac, MacKeyRef, PairSpec, PairUse

KINDS = typing.get_args(Command)
LENGTHS = {
    "cka_id": (20, 20),
    "source_digest": (32, 32),
    "destination_digest": (32, 32),
    "header": (48, 48),
    "wrapped": (0, 2608),
    "digest": (32, 32),
    "salt": (16, 16),
    "oaep": (0, 512),
    "message": (0, 4096),
    "signature": (0, 6144),
    "mac": (0, 6144),
    "material": (0, 6144),
    "public_key": (0, 8192),
    "expected": (0, 1024),
    "context": (0, 8192),
    "plaintext": (0, 4096),
    "sealed": (0, 4124),
    "cka_ids": (0, 327680),
    "label": (0, 64),
    "settings": (0, 65536),
}
"""The least and the greatest length of each field of bytes, written down a second time on purpose."""

u32 = st.integers(0, (1 << 32) - 1)
u64 = st.integers(0, (1 << 64) - 1)
suites = st.sampled_from(Suite)
cka_ids = st.binary(min_size=20, max_size=20)
references = {
    KeyRef: st.builds(KeyRef, cka_ids, suites, st.binary(min_size=40, max_size=40)),
    KeyPairRef: st.builds(
        KeyPairRef, cka_ids, st.sampled_from(PairSpec), st.sampled_from(PairUse), st.binary(min_size=1, max_size=300)
    ),
    MacKeyRef: st.builds(MacKeyRef, cka_ids, st.binary(min_size=32, max_size=32)),
}


def values_of(kind):
    hints = typing.get_type_hints(kind)

    def values(name):
        if hints[name] in references:
            return references[hints[name]]
        if hints[name] is int:
            return u32
        least, most = LENGTHS[name]
        return st.binary(min_size=least, max_size=min(most, 300))

    return st.builds(kind, **{field.name: values(field.name) for field in dataclasses.fields(kind)})


def requests_of(kind):
    items = st.lists(st.tuples(u64, values_of(kind)), min_size=1, max_size=MAX_ITEMS)
    return st.builds(
        lambda number, items: Request(number, tuple(e for e, _ in items), tuple(c for _, c in items)), u64, items
    )


requests = st.sampled_from(KINDS).flatmap(requests_of)
results = st.builds(Result, st.sampled_from(Outcome), st.binary(max_size=300))
responses = st.builds(Response, u64, st.booleans(), st.lists(results, max_size=MAX_ITEMS).map(tuple))


def body_of(frame):
    assert frame_length(frame[: LENGTH.size], MAX_RESPONSE_BYTES) == len(frame) - LENGTH.size
    return frame[LENGTH.size :]


def test_every_opcode_has_one_command():
    assert sorted(kind.opcode for kind in KINDS) == sorted(Opcode)


# There and back


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_request_comes_back_as_it_was(kind):
    @given(requests_of(kind))
    def comes_back(request):
        assert decode_request(body_of(encode_request(request))) == request

    comes_back()


@given(responses)
def test_a_response_comes_back_as_it_was(response):
    frame = encode_response(response.number, response.results, retiring=response.retiring)
    assert decode_response(body_of(frame)) == response


# Whatever is no frame


def read_request(body):
    return lambda: encode_request(decode_request(body))


def read_response(body):
    def read():
        response = decode_response(body)
        return encode_response(response.number, response.results, retiring=response.retiring)

    return read


def is_refused_or_exact(read, body):
    """A frame error and no other; or a frame that, written again, is the same bytes."""
    try:
        frame = read()
    except FrameError:
        return
    assert frame[LENGTH.size :] == body


@given(st.binary(max_size=400))
@example(b"")
def test_arbitrary_bytes_are_refused_or_exactly_a_frame(body):
    is_refused_or_exact(read_request(body), body)
    is_refused_or_exact(read_response(body), body)


@given(requests, st.data())
def test_a_request_with_one_byte_changed_is_refused_or_exactly_another(request, data):
    body = bytearray(body_of(encode_request(request)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    is_refused_or_exact(read_request(bytes(body)), bytes(body))


@given(responses, st.data())
def test_a_response_with_one_byte_changed_is_refused_or_exactly_another(response, data):
    body = bytearray(body_of(encode_response(response.number, response.results, retiring=response.retiring)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    is_refused_or_exact(read_response(bytes(body)), bytes(body))


@given(requests, responses, st.data())
def test_truncated_and_extended_frames_are_refused(request, response, data):
    for decode, body in (
        (decode_request, body_of(encode_request(request))),
        (decode_response, body_of(encode_response(response.number, response.results))),
    ):
        cut = data.draw(st.integers(0, len(body) - 1))
        with pytest.raises(FrameError):
            decode(body[:cut])
        with pytest.raises(FrameError):
            decode(body + data.draw(st.binary(min_size=1, max_size=8)))


# Limits


FILL = b"\xab"


def command_with(name, length):
    """A command with a field of that name and length, all else being as it must be."""
    kind = next(kind for kind in KINDS if name in kind.__dataclass_fields__)
    hints = typing.get_type_hints(kind)
    known = {
        KeyRef: KeyRef(bytes(20), Suite.AES_CBC_ENCRYPT_DATA, bytes(40)),
        KeyPairRef: KeyPairRef(bytes(20), PairSpec.RSA_2048, PairUse.ENCRYPT, b"public key"),
        MacKeyRef: MacKeyRef(bytes(20), bytes(32)),
        int: 1,
    }
    values = {
        field.name: bytes(LENGTHS[field.name][0]) if hints[field.name] is bytes else known[hints[field.name]]
        for field in dataclasses.fields(kind)
    }
    return kind(**{**values, name: FILL * length})


@pytest.mark.parametrize(("name", "limits"), LENGTHS.items(), ids=LENGTHS)
def test_each_field_has_its_limits_on_either_side(name, limits):
    least, most = limits
    for length in {least, most}:
        request = Request(1, (0,), (command_with(name, length),))
        assert decode_request(body_of(encode_request(request))) == request
    too = [most + 1] + ([least - 1] if least else [])
    for length in too:
        with pytest.raises(FrameError, match=name):
            encode_request(Request(1, (0,), (command_with(name, length),)))
    at_its_length = body_of(encode_request(Request(1, (0,), (command_with(name, most),))))
    if least == most:
        assert LENGTH.pack(most) + FILL not in at_its_length, "what has one length does not say it"
        with pytest.raises(FrameError, match="after the last field"):
            decode_request(at_its_length + FILL)
        return
    before, claim, after = at_its_length.rpartition(LENGTH.pack(most))
    assert claim
    claimed = before + LENGTH.pack(most + 1) + after + FILL
    with pytest.raises(FrameError, match=name):
        decode_request(claimed)


def test_references_have_their_lengths():
    pair = KeyPairRef(bytes(20), PairSpec.RSA_2048, PairUse.ENCRYPT, bytes(1024))
    mac = MacKeyRef(bytes(20), bytes(32))
    assert encode_request(Request(1, (0,), (DecryptRsa(pair, 1, b"x"),)))
    assert encode_request(Request(1, (0,), (Mac(mac, 1, b"x"),)))
    for command in (
        DecryptRsa(dataclasses.replace(pair, public_key=bytes(1025)), 1, b"x"),
        DecryptRsa(dataclasses.replace(pair, public_key=b""), 1, b"x"),
        DecryptRsa(dataclasses.replace(pair, cka_id=bytes(19)), 1, b"x"),
        Mac(dataclasses.replace(mac, canary=bytes(31)), 1, b"x"),
        Mac(dataclasses.replace(mac, cka_id=bytes(21)), 1, b"x"),
    ):
        with pytest.raises(FrameError, match="of the wrong length"):
            encode_request(Request(1, (0,), (command,)))


def test_a_reference_that_was_read_before_is_the_same_object_and_only_so_many_are_kept():
    one = Mac(MacKeyRef(bytes(20), bytes(32)), 1, b"x")
    first, second = (decode_request(body_of(encode_request(Request(1, (0,), (one,))))).items[0] for _ in range(2))
    assert first.key is second.key
    for number in range(3000):
        cka_id = number.to_bytes(20, "big")
        for command in (
            Encrypt(KeyRef(cka_id, Suite.AES_CBC_ENCRYPT_DATA, bytes(40)), bytes(48), b"", b"x"),
            DecryptRsa(KeyPairRef(cka_id, PairSpec.RSA_2048, PairUse.ENCRYPT, b"public key"), 1, b"x"),
            dataclasses.replace(one, key=MacKeyRef(cka_id, bytes(32))),
        ):
            assert decode_request(body_of(encode_request(Request(1, (0,), (command,))))).items == (command,)
    for read in (frames._key_of, frames._pair_of, frames._mac_key_of):
        assert read.cache_info().currsize == read.cache_info().maxsize == 1024


def test_keys_that_differ_in_one_byte_are_told_apart():
    key = KeyRef(bytes(20), Suite.AES_CBC_ENCRYPT_DATA, bytes(40))
    keys = [
        key,
        dataclasses.replace(key, cka_id=bytes(19) + b"\1"),
        dataclasses.replace(key, suite=Suite.SP800_108_CMAC_COUNTER),
        dataclasses.replace(key, canary=bytes(39) + b"\1"),
    ]
    for _ in range(2):
        items = tuple(Encrypt(key, bytes(48), b"", b"x") for key in keys)
        assert [
            item.destination for item in decode_request(body_of(encode_request(Request(1, (0,) * 4, items)))).items
        ] == keys


def test_a_frame_holds_1_to_16_items_of_one_kind():
    assert len(decode_request(body_of(encode_request(Request(1, (0,) * 16, (Random(8),) * 16)))).items) == 16
    for items in ((), (Random(8),) * 17, (Random(8), ListBackingKeys())):
        with pytest.raises(FrameError, match="items"):
            encode_request(Request(1, (0,) * len(items), items))
    for count in (0, 17):
        body = bytearray(body_of(encode_request(Request(1, (0,), (ListBackingKeys(),)))))
        body[9:11] = count.to_bytes(2, "big")
        with pytest.raises(FrameError, match="items"):
            decode_request(bytes(body))


@pytest.mark.parametrize("expiries", [(), (0,), (0, 0, 0)])
def test_each_item_has_an_expiry(expiries):
    with pytest.raises(FrameError, match="expiries"):
        encode_request(Request(1, expiries, (Random(8), Random(8))))
    request = Request(1, (7, 0), (Random(8), Random(9)))
    assert decode_request(body_of(encode_request(request))) == request


def test_a_whole_frame_has_a_limit_too():
    load = Load(bytes(327_680))
    assert encode_request(Request(1, (0,) * 3, (load,) * 3))
    with pytest.raises(FrameError, match="a request of"):
        encode_request(Request(1, (0,) * 4, (load,) * 4))
    four = (4).to_bytes(2, "big") + bytes(8 * 4) + (LENGTH.pack(327_680) + load.cka_ids) * 4
    with pytest.raises(FrameError, match="a request of"):
        decode_request(bytes(8) + bytes([Opcode.LOAD]) + four)
    with pytest.raises(FrameError, match="a response of"):
        encode_response(1, [Result(Outcome.OK, bytes(MAX_RESPONSE_BYTES))])
    with pytest.raises(FrameError, match="a response of"):
        decode_response(bytes(MAX_RESPONSE_BYTES + 1))
    with pytest.raises(FrameError, match="items"):
        encode_response(1, [Result(Outcome.OK, b"")] * 17)


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_numbers_that_do_not_fit_are_refused(number):
    for request in (
        Request(number, (0,), (Random(8),)),
        Request(1, (number,), (Random(8),)),
        Request(1, (0,), (Random(number),)),
    ):
        with pytest.raises(FrameError, match="does not fit"):
            encode_request(request)
    with pytest.raises(FrameError, match="does not fit"):
        encode_response(number, [])


def test_a_length_is_judged_before_anything_is_read():
    assert frame_length(LENGTH.pack(MAX_REQUEST_BYTES), MAX_REQUEST_BYTES) == MAX_REQUEST_BYTES
    with pytest.raises(FrameError, match="over the limit"):
        frame_length(LENGTH.pack(MAX_REQUEST_BYTES + 1), MAX_REQUEST_BYTES)
    for prefix in (b"", b"\0\0\0", b"\0\0\0\0\0"):
        with pytest.raises(FrameError):
            frame_length(prefix, MAX_REQUEST_BYTES)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (bytes(8) + bytes([99]) + b"\0\1" + bytes(8), "opcode 99"),
        (
            body_of(encode_request(Request(1, (0,), (command_with("source_digest", 32),)))).replace(
                b"\1" + bytes(40), b"\7" + bytes(40)
            ),
            "suite 7",
        ),
    ],
    ids=["opcode", "suite"],
)
def test_what_this_version_does_not_know_is_refused(body, why):
    with pytest.raises(FrameError, match=why):
        decode_request(body)


@pytest.mark.parametrize("flags", [2, 3, 128])
def test_unknown_flags_of_an_answer_are_refused(flags):
    with pytest.raises(FrameError, match="flags"):
        decode_response(bytes(8) + bytes([flags]) + b"\0\0")


def test_an_unknown_outcome_is_refused():
    with pytest.raises(FrameError, match="outcome 99"):
        decode_response(bytes(8) + b"\0" + b"\0\1" + b"\x63" + bytes(4))


def test_secrets_have_no_repr():
    secret = b"a plaintext nobody may log"
    key = KeyRef(bytes(20), Suite.AES_CBC_ENCRYPT_DATA, bytes(40))
    assert "plaintext" not in repr(Encrypt(key, bytes(48), b"", secret))
    assert "plaintext" not in repr(Result(Outcome.OK, secret))
    assert GenerateBackingKey(bytes(20), 1, b"label") != Start(b"")
