"""Data key pairs: private keys that leave the token wrapped (mode 4), and in plaintext only for who asked for it."""

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization

from hsmkms.core.ciphertext import Ciphertext, KeyType, Mode, canary_digest, cka_id, parse
from hsmkms.core.commands import GenerateBackingKey, KeyRef, Outcome, Random
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import PairSpec
from hsmkms.hsm.constants import CKA
from hsmkms.hsm.cryptoki import Handle
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.private_keys import without_tail
from hsmkms.hsm.templates import BACKING_KEY, render
from support import reference_decoder as decoder
from support.material import data_key_pair, fields
from support.sealing import CONTEXT, Sealed
from support.worker import SpawnedWorker

SPECS = [PairSpec.RSA_2048, *(spec for spec, kind in PAIR_KINDS.items() if kind.curve)]


def made(material, destination, spec, *, with_plaintext=True):
    """Generate a data key pair; return the public key, the ciphertext, and the plaintext or nothing."""
    command = data_key_pair(destination, spec, with_plaintext=with_plaintext)
    public, body, plaintext = fields(material.made.generate_data_key_pair(command))
    return public, Sealed(destination, parse(command.header + body)), plaintext


def public_of(plaintext):
    """Return the public key of a private one, both in DER."""
    return (
        serialization.load_der_private_key(plaintext, None)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_plaintext_is_the_private_key_now_after_decrypt_and_after_re_encrypt(session, material, spec):
    source = session.generate()
    if not session.found.wraps_private(spec):
        with pytest.raises(ItemError) as refused:
            made(material, source, spec)
        assert refused.value.outcome is Outcome.UNSUPPORTED
        return
    public, old, plaintext = made(material, source, spec)
    assert public_of(plaintext) == public
    assert session.sequences.decrypt(old.decrypt()) == plaintext
    assert session.sequences.verify(old.verify()) == b""
    destination = session.generate()
    rewrap, header = old.rewrap(destination)
    new = old.rewrapped(destination, header, session.sequences.rewrap(rewrap))
    assert new.blob.header.key_type is PAIR_KINDS[spec].sealed_as
    assert session.sequences.decrypt(new.decrypt()) == plaintext
    with pytest.raises(ItemError) as refused:
        session.sequences.verify(replace(new.verify(), source=source))
    assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT
    public, unread, nothing = made(material, source, spec, with_plaintext=False)
    assert nothing == b""
    assert public_of(session.sequences.decrypt(unread.decrypt())) == public


@pytest.fixture
def chosen(session):
    """A backing key whose value this test chose: `(value, KeyRef)`."""
    value, identifier = os.urandom(32), cka_id(os.urandom(16), 7)
    extra = ((CKA.ID, identifier), (CKA.LABEL, b"chosen by a test"), (CKA.VALUE, value))
    template = render(BACKING_KEY[session.suite], session.found, extra=extra, without=(CKA.VALUE_LEN,))
    handle = Handle()
    session.cryptoki.create_object(template.pointer, template.count, handle.pointer)
    canary = session.wrapping.make_canary(handle.value, session.suite, canary_digest(identifier[:16]))
    assert session.keys.load([identifier]) == [identifier]
    yield value, KeyRef(identifier, session.suite, canary)
    session.cryptoki.destroy_object(handle.value)


def test_the_independent_decoder_and_the_token_read_each_other(session, material, chosen):
    value, key = chosen
    _, sealed, plaintext = made(material, key, PairSpec.RSA_2048)
    assert decoder.unseal(value, sealed.blob.to_bytes(), CONTEXT) == plaintext
    for filled in (False, True):
        blob = decoder.seal(
            value,
            key_id=key.cka_id[:16],
            version=7,
            salt=os.urandom(16),
            context=CONTEXT,
            plaintext=plaintext,
            suite=session.suite,
            mode=Mode.PRIVATE_KEY,
            key_type=KeyType.RSA,
            filled=filled,
        )
        assert session.sequences.decrypt(Sealed(key, parse(blob)).decrypt()) == plaintext


def test_without_plaintext_nothing_is_read_and_no_key_of_known_value_is_made(session, material):
    key = session.generate()
    material.made.generate_data_key_pair(data_key_pair(key, PairSpec.RSA_2048, with_plaintext=False))
    calls = session.cryptoki.statistics.calls
    before = {name: calls[name].count for name in ("C_CreateObject", "C_WrapKey")}
    material.made.generate_data_key_pair(data_key_pair(key, PairSpec.RSA_2048, with_plaintext=False))
    assert calls["C_CreateObject"].count == before["C_CreateObject"]
    assert calls["C_WrapKey"].count == before["C_WrapKey"] + 1


def test_a_changed_or_foreign_ciphertext_is_refused(session, material):
    key = session.generate()
    _, good, plaintext = made(material, key, PairSpec.RSA_2048)
    wrapped = good.blob.wrapped
    for bad in (
        wrapped[:-1] + bytes([wrapped[-1] ^ 1]),
        bytes([wrapped[0] ^ 1]) + wrapped[1:],
        wrapped[:-8],
        wrapped + bytes(8),
        os.urandom(len(wrapped)),
    ):
        changed = Sealed(key, Ciphertext(good.blob.header, bad, b""))
        for call, command in (
            (session.sequences.decrypt, changed.decrypt()),
            (session.sequences.verify, changed.verify()),
            (session.sequences.rewrap, changed.rewrap(key)[0]),
        ):
            with pytest.raises(ItemError) as refused:
                call(command)
            assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT
    assert session.sequences.decrypt(good.decrypt()) == plaintext


def test_a_header_of_another_kind_is_refused(session, material):
    command = data_key_pair(session.generate(), PairSpec.RSA_2048, with_plaintext=False)
    with pytest.raises(ItemError) as refused:
        material.made.generate_data_key_pair(replace(command, spec=PairSpec.ECC_NIST_P256))
    assert refused.value.outcome is Outcome.FAILED


def test_a_tail_is_zeros_and_short():
    der = bytes.fromhex("3003020105")
    for tail in (b"", b"\0", bytes(7)):
        assert without_tail(der + tail) == der
    for bad in (der + bytes(8), der + b"\1", der[:-1], b"", b"\x30", b"\x30\x80" + bytes(9), b"\x31" + der[1:]):
        with pytest.raises(ItemError):
            without_tail(bad)
    long = b"\x30\x82\x01\x00" + bytes(256)
    assert without_tail(long + bytes(3)) == long


def test_a_worker_that_was_started_without_keys_finds_the_one_it_needs(token, settings, worker):
    """So does the admin worker, which makes what takes seconds."""
    identifier = cka_id(os.urandom(16), 1)
    suite = max(TokenFeatures.from_capabilities(settings.capabilities).suites)
    key = KeyRef(identifier, suite, worker.value(GenerateBackingKey(identifier, suite, b"deployment")))
    with SpawnedWorker(token.environment()) as admin:
        admin.start(replace(settings, load_keys=False))
        public, _, plaintext = fields(admin.value(data_key_pair(key, PairSpec.RSA_2048, with_plaintext=True)))
        assert public_of(plaintext) == public
        unknown = replace(key, cka_id=cka_id(os.urandom(16), 1))
        command = data_key_pair(unknown, PairSpec.RSA_2048, with_plaintext=False)
        assert admin.ask_one(command).outcome is Outcome.KEY_NOT_LOADED
        assert admin.value(Random(1))
