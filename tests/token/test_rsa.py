"""RSA keys by OAEP: exact or refused, whatever the length; one outcome for whatever is wrong."""

import os
from dataclasses import replace

import pytest

from hsmkms.core.ciphertext import Mode, is_direct_length, is_padded_length, parse
from hsmkms.core.commands import Load, Outcome
from hsmkms.core.material_commands import DecryptRsa, EncryptRsa, Oaep, PairSpec, PairUse, RewrapRsa, VerifyRsa
from hsmkms.hsm.errors import ItemError
from support.bad_oaep import bad_ciphertexts
from support.material import encrypted, from_rsa, largest, public_key, to_rsa
from support.sealing import Sealed, encrypt, sealed


@pytest.fixture
def rsa_key(material):
    return material.shared()


@pytest.fixture
def other_key(material):
    return material.shared(number=1)


def outcome_of(call, command):
    """Return the outcome of a command that must be refused."""
    with pytest.raises(ItemError) as refused:
        call(command)
    return refused.value.outcome


def test_software_and_token_read_each_other(session, material, rsa_key):
    for algorithm in material.oaeps:
        longest = largest(rsa_key, algorithm)
        for length in (1, 16, longest - 1, longest):
            plaintext = os.urandom(length)
            made = material.rsa.encrypt_rsa(EncryptRsa(rsa_key, algorithm, plaintext))
            for ciphertext in (made, encrypted(rsa_key, algorithm, plaintext)):
                assert material.rsa.decrypt_rsa(DecryptRsa(rsa_key, algorithm, ciphertext)) == plaintext
        too_long = EncryptRsa(rsa_key, algorithm, bytes(longest + 1))
        assert outcome_of(material.rsa.encrypt_rsa, too_long) is Outcome.TOO_LONG


def test_from_an_rsa_key_every_length_arrives_exactly_or_not_at_all(session, material, rsa_key):
    destination, found = session.generate(), session.found
    for algorithm in material.oaeps:
        for length in range(largest(rsa_key, algorithm) + 1):
            plaintext = os.urandom(length)
            command = from_rsa(rsa_key, algorithm, encrypted(rsa_key, algorithm, plaintext), destination)
            told = found.value_len_after_unwrap
            padded = is_padded_length(length) and found.aes_key_wrap_padded
            if length in (16, 24, 32) or (told and (is_direct_length(length) or padded)):
                blob = parse(material.rsa.rewrap_from_rsa(command))
                assert blob.header.length == length
                assert blob.header.mode is (Mode.DIRECT if is_direct_length(length) else Mode.DIRECT_PADDED)
                assert session.sequences.decrypt(Sealed(destination, blob).decrypt()) == plaintext
            else:
                assert outcome_of(material.rsa.rewrap_from_rsa, command) is Outcome.LENGTH_NOT_PROVEN, length


def test_what_looks_like_an_aes_key_of_another_length_arrives_unchanged(session, material, rsa_key):
    """Zeros at either end: nothing is cut, nothing is filled up."""
    destination, algorithm = session.generate(), material.oaeps[0]
    for plaintext in (bytes(16), bytes(32), bytes(31) + b"\1", b"\1" + bytes(15), b"\1" + bytes(23), bytes(24)):
        blob = parse(
            material.rsa.rewrap_from_rsa(
                from_rsa(rsa_key, algorithm, encrypted(rsa_key, algorithm, plaintext), destination)
            )
        )
        assert session.sequences.decrypt(Sealed(destination, blob).decrypt()) == plaintext


def test_between_rsa_keys_every_length_arrives_exactly_and_nothing_is_refused(session, material, rsa_key, other_key):
    for algorithm in material.oaeps:
        for length in range(largest(rsa_key, algorithm) + 1):
            plaintext = os.urandom(length)
            ciphertext = encrypted(rsa_key, algorithm, plaintext)
            command = RewrapRsa(rsa_key, algorithm, ciphertext, other_key, Oaep.SHA_1)
            if length:
                again = DecryptRsa(other_key, Oaep.SHA_1, material.rsa.rewrap_rsa(command))
                assert material.rsa.decrypt_rsa(again) == plaintext
            else:
                assert outcome_of(material.rsa.rewrap_rsa, command) is Outcome.LENGTH_NOT_PROVEN


def test_what_is_too_long_for_the_destination_is_refused(session, material, rsa_key):
    long_key = material.shared(PairSpec.RSA_3072)
    longest = largest(rsa_key, Oaep.SHA_1)
    for length, fits in ((longest, True), (longest + 1, False), (min(largest(long_key, Oaep.SHA_1), 256), False)):
        ciphertext = encrypted(long_key, Oaep.SHA_1, bytes(length))
        command = RewrapRsa(long_key, Oaep.SHA_1, ciphertext, rsa_key, Oaep.SHA_1)
        if fits:
            assert len(material.rsa.rewrap_rsa(command)) == 256
        else:
            assert outcome_of(material.rsa.rewrap_rsa, command) is Outcome.TOO_LONG


def test_what_the_token_cannot_hold_is_refused_and_is_no_bad_ciphertext(session, material):
    """NSS keeps no secret of more than 256 bytes; SoftHSM does."""
    long_key = material.shared(PairSpec.RSA_3072)
    plaintext = os.urandom(300)
    ciphertext = encrypted(long_key, Oaep.SHA_1, plaintext)
    assert material.rsa.decrypt_rsa(DecryptRsa(long_key, Oaep.SHA_1, ciphertext)) == plaintext
    command = RewrapRsa(long_key, Oaep.SHA_1, ciphertext, long_key, Oaep.SHA_1)
    if session.found.value_len_after_unwrap:
        assert outcome_of(material.rsa.rewrap_rsa, command) is Outcome.LENGTH_NOT_PROVEN
    else:
        again = material.rsa.rewrap_rsa(command)
        assert material.rsa.decrypt_rsa(DecryptRsa(long_key, Oaep.SHA_1, again)) == plaintext


def test_from_a_symmetric_key_every_direct_length_arrives_exactly(session, material, rsa_key):
    source, padded = session.generate(), bool(session.found.aes_key_wrap_padded)
    for algorithm in material.oaeps:
        longest = largest(rsa_key, algorithm)
        for length in [n for n in range(1, 257) if is_direct_length(n) or (padded and is_padded_length(n))]:
            plaintext = os.urandom(length)
            command = encrypt(source, plaintext, padded=padded)
            old = sealed(command, session.sequences.encrypt(command))
            if length <= longest:
                ciphertext = material.rsa.rewrap_to_rsa(to_rsa(old, rsa_key, algorithm))
                assert material.rsa.decrypt_rsa(DecryptRsa(rsa_key, algorithm, ciphertext)) == plaintext
            else:
                refused = outcome_of(material.rsa.rewrap_to_rsa, to_rsa(old, rsa_key, algorithm))
                assert refused is Outcome.TOO_LONG


def test_a_bad_symmetric_source_is_refused(session, material, rsa_key):
    command = encrypt(session.generate(), os.urandom(32))
    old = to_rsa(sealed(command, session.sequences.encrypt(command)), rsa_key, material.oaeps[0])
    for bad in (replace(old, wrapped=os.urandom(40)), replace(old, source_digest=os.urandom(32))):
        assert outcome_of(material.rsa.rewrap_to_rsa, bad) is Outcome.INVALID_CIPHERTEXT
    envelope = replace(old, mode=Mode.ENVELOPE)
    assert outcome_of(material.rsa.rewrap_to_rsa, envelope) is Outcome.FAILED, "the data key is not the plaintext"


def test_what_the_token_lacks_is_refused_by_name(session, material, rsa_key):
    for algorithm in set(Oaep) - set(material.oaeps):
        for call, command in (
            (material.rsa.encrypt_rsa, EncryptRsa(rsa_key, algorithm, b"x")),
            (material.rsa.decrypt_rsa, DecryptRsa(rsa_key, algorithm, bytes(256))),
            (material.rsa.verify_rsa, VerifyRsa(rsa_key, algorithm, bytes(256))),
        ):
            assert outcome_of(call, command) is Outcome.UNSUPPORTED
    assert outcome_of(material.rsa.verify_rsa, VerifyRsa(rsa_key, 3, bytes(256))) is Outcome.FAILED


# Bad ciphertexts.


def test_a_thousand_bad_ciphertexts_have_one_outcome(session, material, rsa_key, other_key):
    destination = session.generate()
    makers = list(bad_ciphertexts(public_key(rsa_key)).values())
    good = encrypted(rsa_key, Oaep.SHA_1, bytes(32))
    commands = (
        lambda bad: (material.rsa.rewrap_from_rsa, from_rsa(rsa_key, Oaep.SHA_1, bad, destination)),
        lambda bad: (material.rsa.rewrap_rsa, RewrapRsa(rsa_key, Oaep.SHA_1, bad, other_key, Oaep.SHA_1)),
        lambda bad: (material.rsa.verify_rsa, VerifyRsa(rsa_key, Oaep.SHA_1, bad)),
        lambda bad: (material.rsa.decrypt_rsa, DecryptRsa(rsa_key, Oaep.SHA_1, bad)),
    )
    for round_ in range(1000):
        call, command = commands[round_ % 4](makers[round_ // 4 % len(makers)]())
        assert outcome_of(call, command) is Outcome.INVALID_CIPHERTEXT, round_
    assert material.rsa.verify_rsa(VerifyRsa(rsa_key, Oaep.SHA_1, good)) == b""


def test_every_kind_of_bad_ciphertext_costs_the_same_calls(session, material, rsa_key):
    """What the token itself does is the token's; the worker adds the same proof of the key to each."""
    statistics = session.cryptoki.statistics.calls
    material.pairs.use(rsa_key, PairUse.ENCRYPT)
    seen = set()
    for maker in bad_ciphertexts(public_key(rsa_key)).values():
        bad = maker()
        before = {name: counters.count for name, counters in statistics.items()}
        assert outcome_of(material.rsa.verify_rsa, VerifyRsa(rsa_key, Oaep.SHA_1, bad)) is Outcome.INVALID_CIPHERTEXT
        seen.add(tuple(sorted((name, counters.count - before[name]) for name, counters in statistics.items())))
    assert len(seen) == 1


def test_a_refused_ciphertext_costs_nobody_else_anything(worker, session, material, rsa_key):
    """The worker goes on: it neither retires nor loses its session."""
    assert worker.value(Load(rsa_key.cka_id)) == rsa_key.cka_id
    for maker in bad_ciphertexts(public_key(rsa_key)).values():
        assert worker.ask_one(VerifyRsa(rsa_key, Oaep.SHA_1, maker())).outcome is Outcome.INVALID_CIPHERTEXT
        assert not worker.retired
    assert worker.value(VerifyRsa(rsa_key, Oaep.SHA_1, encrypted(rsa_key, Oaep.SHA_1, b"x"))) == b""
