"""A bad ciphertext costs its sender an error and nobody anything else."""

import os
import random
from dataclasses import replace

import pytest

from hsmkms.core.ciphertext import cka_id
from hsmkms.core.commands import GenerateBackingKey, KeyRef, Outcome
from hsmkms.hsm.errors import ItemError
from support.sealing import Sealed, digest_of, encrypt, sealed


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Flip a bit, cut, extend or replace; a wrapped key keeps within a frame's bounds, and is never what it was."""
    at = chance.randrange(len(data))
    return chance.choice(
        [
            data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
            data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
            data[:at],
            data + os.urandom(8) if len(data) <= 256 else os.urandom(264),
            os.urandom(len(data)),
            data[8:] + data[:8],
        ]
    )


def test_200_mutations_leave_the_worker_and_its_session_well(worker, in_process):
    chance = random.Random(2)
    identifier = cka_id(os.urandom(16), 1)
    canary = worker.value(GenerateBackingKey(identifier, in_process.suite, b"deployment"))
    key = KeyRef(identifier, in_process.suite, canary)
    for length in (13, 32, 256, 4096):
        plaintext = os.urandom(length)
        command = encrypt(key, plaintext, padded=in_process.features.wraps_padded)
        good = sealed(command, worker.value(command))
        rewrap, header = good.rewrap(key)
        for _ in range(50):
            bad = mutated(good.blob.wrapped, chance)
            for attempt in (replace(rewrap, wrapped=bad), replace(good.verify(), wrapped=bad)):
                assert worker.ask_one(attempt).outcome is Outcome.INVALID_CIPHERTEXT
                assert not worker.retired
            digest = mutated(good.digest, chance)[:32].ljust(32, b"\1")
            if digest != good.digest:
                assert worker.ask_one(replace(rewrap, source_digest=digest)).outcome is Outcome.INVALID_CIPHERTEXT
        new = good.rewrapped(key, header, worker.value(rewrap))
        assert worker.value(new.decrypt()) == plaintext
    assert worker.process.poll() is None


@pytest.mark.parametrize("length", [13, 32, 4096])
def test_refusals_leave_no_session_object(session, length):
    """The `session` fixture counts them."""
    key = session.generate()
    command = encrypt(key, os.urandom(length), padded=session.features.wraps_padded)
    good = sealed(command, session.sequences.encrypt(command))
    chance = random.Random(length)
    for _ in range(30):
        bad = Sealed(key, replace(good.blob, wrapped=mutated(good.blob.wrapped, chance)))
        rewrap = bad.rewrap(key)[0]
        decrypt = replace(bad.decrypt(), source_digest=digest_of(good.blob))
        for call, attempt in (
            (session.sequences.rewrap, rewrap),
            (session.sequences.verify, bad.verify()),
            (session.sequences.decrypt, decrypt),
        ):
            with pytest.raises(ItemError) as refused:
                call(attempt)
            assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT
    assert session.sequences.decrypt(good.decrypt())


def test_another_context_does_not_open(session):
    key = session.generate()
    command = encrypt(key, b"0123456789abcdef")
    good = sealed(command, session.sequences.encrypt(command))
    for pairs in ({}, {"tenant": "a"}, {"tenant": "A", "purpose": "b"}, {"purpose": "b", "tenant": "a", "": ""}):
        with pytest.raises(ItemError) as refused:
            session.sequences.decrypt(replace(good.decrypt(), source_digest=digest_of(good.blob, pairs)))
        assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT
