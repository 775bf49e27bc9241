"""Each command on a real token, and what an independent decoder makes of it."""

import os

import pytest

from hsmkms.core.ciphertext import canary_digest, cka_id, mode_for_length, parse
from hsmkms.core.commands import KeyRef, Outcome, Random
from hsmkms.hsm.constants import CKA
from hsmkms.hsm.cryptoki import Handle
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.templates import BACKING_KEY, render
from support import reference_decoder as decoder
from support.sealing import CONTEXT, Sealed, data_key, digest_of, encrypt, sealed

LENGTHS = [*range(1, 65), *range(249, 265), 1000, 4095, 4096]


@pytest.fixture(scope="module")
def chosen(in_process):
    """A backing key whose value this test chose, in the backing template: `(value, KeyRef)`."""
    value, identifier, suite = os.urandom(32), cka_id(os.urandom(16), 7), in_process.suite
    template = render(
        BACKING_KEY[suite],
        in_process.found,
        extra=((CKA.ID, identifier), (CKA.LABEL, b"chosen by a test"), (CKA.VALUE, value)),
        without=(CKA.VALUE_LEN,),
    )
    handle = Handle()
    in_process.cryptoki.create_object(template.pointer, template.count, handle.pointer)
    canary = in_process.wrapping.make_canary(handle.value, suite, canary_digest(identifier[:16]))
    assert in_process.keys.load([identifier]) == [identifier]
    yield value, KeyRef(identifier, suite, canary)
    in_process.cryptoki.destroy_object(handle.value)


def test_what_the_token_seals_the_independent_decoder_opens(session, chosen):
    value, key = chosen
    for length in LENGTHS:
        plaintext = os.urandom(length)
        command = encrypt(key, plaintext, padded=session.features.wraps_padded)
        blob = command.header + session.sequences.encrypt(command)
        assert decoder.unseal(value, blob, CONTEXT) == plaintext, length


def test_what_the_independent_decoder_seals_the_token_opens(session, chosen):
    value, key = chosen
    for length in LENGTHS:
        plaintext = os.urandom(length)
        blob = parse(
            decoder.seal(
                value,
                key_id=key.cka_id[:16],
                version=7,
                salt=os.urandom(16),
                context=CONTEXT,
                plaintext=plaintext,
                data_key=os.urandom(32),
                nonce=os.urandom(12),
                suite=key.suite,
                mode=decoder.mode_of(length, padded=session.features.wraps_padded),
            )
        )
        assert session.sequences.decrypt(Sealed(key, blob).decrypt()) == plaintext, length


def test_a_rewrapped_ciphertext_opens_under_the_new_key_only(session, chosen):
    value, key = chosen
    source = session.generate()
    for length in LENGTHS:
        plaintext = os.urandom(length)
        command = encrypt(source, plaintext, padded=session.features.wraps_padded)
        old = sealed(command, session.sequences.encrypt(command))
        rewrap, header = old.rewrap(key)
        new = old.rewrapped(key, header, session.sequences.rewrap(rewrap))
        assert decoder.unseal(value, new.blob.to_bytes(), CONTEXT) == plaintext
        assert new.blob.header.mode is mode_for_length(length, padded=session.features.wraps_padded)
        with pytest.raises(ItemError) as refused:
            session.sequences.verify(Sealed(source, new.blob).verify())
        assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT


@pytest.mark.parametrize("length", [1, 16, 31, 32, 64, 256, 1000, 1024])
def test_data_keys_come_with_and_without_plaintext(session, chosen, length):
    value, key = chosen
    for with_plaintext in (True, False):
        command = data_key(key, length, with_plaintext=with_plaintext, padded=session.features.wraps_padded)
        answer = session.sequences.generate_data_key(command)
        body_length = int.from_bytes(answer[:4], "big")
        body, plaintext = answer[4 : 4 + body_length], answer[4 + body_length :]
        opened = decoder.unseal(value, command.header + body, CONTEXT)
        assert len(opened) == length
        assert plaintext == (opened if with_plaintext else b"")


def test_a_direct_data_key_without_plaintext_is_never_read(session, chosen):
    _, key = chosen
    calls = session.cryptoki.statistics.calls
    before = {name: calls[name].count for name in ("C_GetAttributeValue", "C_GenerateRandom", "C_CreateObject")}
    session.sequences.generate_data_key(data_key(key, 32, with_plaintext=False))
    assert before == {name: calls[name].count for name in before}


def test_random_bytes_come_from_the_token(session):
    assert session.sequences.random(Random(1024)) != session.sequences.random(Random(1024))
    assert len(session.sequences.random(Random(1))) == 1
    for length in (0, 1025):
        with pytest.raises(ItemError):
            session.sequences.random(Random(length))


def test_a_header_of_another_key_is_refused_before_anything_is_done(session, chosen):
    _, key = chosen
    command = encrypt(session.generate(), b"x" * 20)
    other = type(command)(key, command.header, command.context, command.plaintext)
    with pytest.raises(ItemError) as refused:
        session.sequences.encrypt(other)
    assert refused.value.outcome is Outcome.FAILED


def test_a_changed_payload_does_not_open_even_with_the_digest_of_the_old_one(session):
    """Not reachable from outside, as the digest covers the payload; the tag is the second lock."""
    key = session.generate()
    command = encrypt(key, os.urandom(100))
    old = sealed(command, session.sequences.encrypt(command))
    changed = old.decrypt()
    changed = type(changed)(
        key, digest_of(old.blob), changed.header, changed.wrapped, changed.sealed[:-1] + bytes([changed.sealed[-1] ^ 1])
    )
    with pytest.raises(ItemError) as refused:
        session.sequences.decrypt(changed)
    assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT
    assert session.sequences.decrypt(old.decrypt())
