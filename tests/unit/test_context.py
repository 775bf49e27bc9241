"""The canonical form of an encryption context: one form for one context, and no two contexts with one form."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core.context import MAX_CONTEXT_BYTES, canonical
from hsmkms.core.errors import ValidationException
from hsmkms.core.request_members import NO_CONTEXT

pairs = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=8)


def read_back(form):
    """The context that a form says, and nothing may be left over: the inverse, so the form is injective."""
    (count,) = struct.unpack_from(">I", form)
    position, texts = 4, []
    for _ in range(2 * count):
        (length,) = struct.unpack_from(">I", form, position)
        texts.append(form[position + 4 : position + 4 + length].decode())
        position += 4 + length
    assert position == len(form)
    assert len(set(texts[::2])) == count
    return dict(zip(texts[::2], texts[1::2], strict=True))


@given(pairs)
def test_the_form_says_exactly_the_context(context):
    assert read_back(canonical(context)) == context


@given(pairs, pairs)
def test_two_contexts_never_have_one_form(one, other):
    assert (canonical(one) == canonical(other)) == (one == other)


@given(pairs, st.randoms(use_true_random=False))
def test_order_does_not_matter(context, random):
    shuffled = list(context.items())
    random.shuffle(shuffled)
    assert canonical(dict(shuffled)) == canonical(context)


@pytest.mark.parametrize("absent", [{}, NO_CONTEXT], ids=["empty", "absent"])
def test_absent_is_empty(absent):
    assert canonical(absent) == bytes(4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"ab": "c"}, {"a": "bc"}),
        ({"a": "b", "c": "d"}, {"a": "bcd"}),
        ({"": "x"}, {"x": ""}),
        ({"a": ""}, {}),
        ({"\0": ""}, {"": "\0"}),
        ({"a": "b"}, {"A": "b"}),
        ({"a": "b"}, {"a": "b "}),
        ({"é": "x"}, {"e\u0301": "x"}),
        ({"x": "ﬁ"}, {"x": "fi"}),
        ({"x": "Å"}, {"x": "\u212b"}),
    ],
    ids=["border", "pairs", "side", "empty value", "nul", "case", "space", "composed", "ligature", "angstrom"],
)
def test_contexts_that_only_look_alike_are_different(one, other):
    assert canonical(one) != canonical(other)


def test_keys_are_in_the_byte_order_of_their_utf8():
    keys = ["\uff5e", "\U0001f511", "é", "z", "Z", "", "zz", "\ud7ff", "\ue000"]
    in_form = list(read_back(canonical(dict.fromkeys(keys, ""))))
    assert in_form == ["", "Z", "z", "zz", "é", "\ud7ff", "\ue000", "\uff5e", "\U0001f511"]
    assert in_form != sorted(keys, key=lambda key: key.encode("utf-16-be")), (
        "in UTF-16 the key emoji would come earlier"
    )
    assert in_form == sorted(keys, key=str.encode)


def test_a_worked_form():
    assert canonical({"b": "2", "a": "é"}) == bytes.fromhex("00000002000000016100000002c3a900000001620000000132")


@pytest.mark.parametrize("text", ["v", "é", "\U0001f511"], ids=["1 byte", "2 bytes", "4 bytes"])
def test_the_cap_is_8192_bytes_of_form_to_the_byte(text):
    room = MAX_CONTEXT_BYTES - 4 - 4 - 4 - 4  # count, two lengths, and a key of four bytes
    width = len(text.encode())
    fits = {"k" * 4: text * (room // width)}
    assert len(canonical(fits)) == MAX_CONTEXT_BYTES == 8192
    with pytest.raises(ValidationException) as refused:
        canonical({"k" * 5: text * (room // width)}, "sourceEncryptionContext")
    assert refused.value.message == (
        "1 validation error detected: Value at 'sourceEncryptionContext' failed to satisfy constraint: "
        "Member must have a canonical form of at most 8192 bytes; it has 8193"
    )


@pytest.mark.parametrize("context", [{"\ud800": "x"}, {"x": "\udfff"}], ids=["key", "value"])
def test_what_is_no_unicode_is_refused_without_its_value(context):
    with pytest.raises(ValidationException) as refused:
        canonical(context)
    assert refused.value.message == (
        "1 validation error detected: Value at 'encryptionContext' failed to satisfy constraint: Member must be valid Unicode"
    )
