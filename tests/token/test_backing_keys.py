"""Backing keys on the token: proven before use, never ambiguous, destroyed only where CKA_ID and label are exactly right."""

import os
from dataclasses import replace

import pytest

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.commands import DestroyBackingKeys, GenerateBackingKey, KeyRef, ListBackingKeys, Load, Outcome, Start
from hsmkms.hsm.constants import CKA, CKM, CKO
from hsmkms.hsm.cryptoki import Handle, Mechanism
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.templates import BACKING_KEY, Template, render
from support.sealing import encrypt, sealed
from support.softhsm import make_token
from support.worker import SpawnedWorker

SOFTHSM_SUITE = Suite.AES_CBC_ENCRYPT_DATA
DEPLOYMENT = b"hsm-kms/deployment-1"
CONFINED = pytest.mark.needs("allowed_mechanisms")


def make_object(session, identifier, label, **changes):
    """Generate a token object in the backing template with some attributes changed; return its handle."""
    extra = ((CKA.ID, identifier), (CKA.LABEL, label), *((CKA[name], value) for name, value in changes.items()))
    template, handle = render(BACKING_KEY[session.suite], session.found, extra=extra), Handle()
    session.cryptoki.generate_key(Mechanism(CKM.AES_KEY_GEN).pointer, template.pointer, template.count, handle.pointer)
    return handle.value


def objects_with(session, identifier):
    return session.cryptoki.find(Template(((CKA.CLASS, CKO.SECRET_KEY), (CKA.TOKEN, True), (CKA.ID, identifier))))


def test_two_objects_of_one_cka_id_are_not_loaded_and_reported(session):
    key = session.generate()
    make_object(session, key.cka_id, b"another deployment")
    if (
        len(objects_with(session, key.cka_id)) == 1
    ):  # NSS puts a new key of a known CKA_ID in the old one's place: see below
        return
    assert session.keys.load([key.cka_id]) == []
    assert session.logged == [("backing_key_ambiguous", {"cka_id": key.cka_id.hex(), "objects": 2})]
    with pytest.raises(ItemError) as refused:
        session.keys.use(key)
    assert refused.value.outcome is Outcome.KEY_NOT_LOADED
    assert key.cka_id not in session.keys.load()


def test_a_key_that_somebody_replaces_is_never_used(session):
    """Whether the token keeps two objects of one CKA_ID or the last one: nothing is sealed under what did not make the canary."""
    key = session.generate()
    make_object(session, key.cka_id, b"another deployment")
    session.keys.load([key.cka_id])
    with pytest.raises(ItemError) as refused:
        session.keys.use(key)
    both = len(objects_with(session, key.cka_id)) == 2
    assert refused.value.outcome is (Outcome.KEY_NOT_LOADED if both else Outcome.KEY_DAMAGED)


@pytest.mark.parametrize(
    "changes",
    [
        {"VALUE_LEN": 16},
        {"SENSITIVE": False},
        {"EXTRACTABLE": True},
        pytest.param({"ALLOWED_MECHANISMS": (CKM.AES_CBC_ENCRYPT_DATA, CKM.AES_ECB)}, marks=CONFINED),
        pytest.param({"ALLOWED_MECHANISMS": (CKM.AES_GCM,)}, marks=CONFINED),
    ],
)
def test_an_object_that_is_no_backing_key_is_not_loaded(session, changes):
    identifier = cka_id(os.urandom(16), 1)
    make_object(session, identifier, DEPLOYMENT, **changes)
    assert session.keys.load([identifier]) == []
    assert session.logged[0][0] == "backing_key_unfit"


def test_generation_never_adopts_what_an_interrupted_one_left(session):
    key = session.generate()
    command = encrypt(key, b"sealed before the interruption")
    old = sealed(command, session.sequences.encrypt(command))
    canary = session.keys.generate(key.cka_id, session.suite, DEPLOYMENT)
    assert canary != key.canary
    assert len(objects_with(session, key.cka_id)) == 1
    with pytest.raises(ItemError) as refused:
        session.sequences.verify(replace(old.verify(), source=KeyRef(key.cka_id, session.suite, canary)))
    assert refused.value.outcome is Outcome.INVALID_CIPHERTEXT


def test_generation_is_refused_where_a_foreign_object_has_the_cka_id(session):
    identifier = cka_id(os.urandom(16), 1)
    make_object(session, identifier, b"another deployment")
    with pytest.raises(ItemError) as refused:
        session.keys.generate(identifier, session.suite, DEPLOYMENT)
    assert refused.value.outcome is Outcome.FAILED
    assert len(objects_with(session, identifier)) == 1


@pytest.mark.parametrize("label", [b"hsm-kms/deployment-2", b"hsm-kms/deployment-11", b"hsm-kms/deployment-", b"x"])
def test_destruction_spares_every_other_label(session, label):
    key = session.generate()
    other = replace(key, cka_id=key.cka_id[:16] + (2).to_bytes(4, "big"))
    session.keys.generate(other.cka_id, session.suite, DEPLOYMENT)
    assert session.keys.destroy(key.cka_id, label) == 0
    assert objects_with(session, key.cka_id)
    assert session.keys.destroy(key.cka_id, DEPLOYMENT) == 1
    assert not objects_with(session, key.cka_id)
    assert objects_with(session, other.cka_id)


def test_destruction_by_an_empty_cka_id_or_label_is_refused(session):
    key = session.generate()
    for identifier, label in ((b"", DEPLOYMENT), (key.cka_id[:16], DEPLOYMENT), (key.cka_id, b"")):
        with pytest.raises(ItemError):
            session.keys.destroy(identifier, label)
    assert objects_with(session, key.cka_id)


def test_a_wrong_canary_is_a_damaged_key_until_it_is_loaded_again(session):
    key = session.generate()
    wrong = replace(key, canary=bytes([key.canary[0] ^ 1]) + key.canary[1:])
    with pytest.raises(ItemError) as refused:
        session.sequences.encrypt(encrypt(wrong, b"x"))
    assert refused.value.outcome is Outcome.KEY_DAMAGED
    with pytest.raises(ItemError) as refused:
        session.sequences.encrypt(encrypt(key, b"x"))
    assert refused.value.outcome is Outcome.KEY_NOT_LOADED
    assert session.keys.load([key.cka_id]) == [key.cka_id]
    assert session.sequences.encrypt(encrypt(key, b"x"))


def test_the_canary_of_another_key_does_not_pass(session):
    one, other = session.generate(), session.generate()
    with pytest.raises(ItemError) as refused:
        session.keys.use(replace(one, canary=other.canary))
    assert refused.value.outcome is Outcome.KEY_DAMAGED


def test_a_worker_loads_lists_and_destroys(worker, in_process):
    identifier = cka_id(os.urandom(16), 3)
    assert worker.value(Load(identifier)) == b""
    worker.value(GenerateBackingKey(identifier, in_process.suite, DEPLOYMENT))
    assert worker.value(Load(identifier)) == identifier
    entry = bytes([20]) + identifier + bytes([len(DEPLOYMENT)]) + DEPLOYMENT
    assert entry in worker.value(ListBackingKeys())
    assert worker.value(DestroyBackingKeys(identifier, b"not this")) == bytes(4)
    assert worker.value(DestroyBackingKeys(identifier, DEPLOYMENT)) == (1).to_bytes(4, "big")
    assert entry not in worker.value(ListBackingKeys())


def value_in(data: bytes) -> int:
    """Return where the encrypted CKA_VALUE begins in a SoftHSM object file."""
    at = data.index((0x11).to_bytes(8, "big") + (3).to_bytes(8, "big"))
    return at + 24


def test_a_damaged_key_file_never_gives_another_key(tmp_path, softhsm_settings):
    """SoftHSM answers some damages with silence and another key: the canary finds them before anything is sealed."""
    token = make_token(tmp_path / "token")
    known = token.settings(capabilities=softhsm_settings.capabilities)
    identifier = cka_id(os.urandom(16), 1)
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)
        key = KeyRef(identifier, SOFTHSM_SUITE, worker.value(GenerateBackingKey(identifier, SOFTHSM_SUITE, DEPLOYMENT)))
        command = encrypt(key, b"a secret of 24 bytes....")
        good = sealed(command, worker.value(command))
    (file,) = [path for path in token.tokens.glob("*/*.object") if path.name != "token.object"]
    whole = file.read_bytes()
    value = value_in(whole)
    flips = [value, value + 15, value + 16, value + 40, value + 60, 9, 40, len(whole) // 2, len(whole) - 3]
    seen = set()
    for at in flips:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with SpawnedWorker(token.environment()) as worker:
            try:
                started = worker.ask_one(Start(known.to_json()))
                result = worker.ask_one(good.decrypt()) if started.outcome is Outcome.OK else started
            except (EOFError, ConnectionError):
                seen.add("the module ended the process")
                continue
            seen.add(result.outcome.name)
            if at in flips[:4]:
                assert result.outcome in (Outcome.KEY_DAMAGED, Outcome.KEY_NOT_LOADED), (at - value, result)
            if result.outcome is Outcome.OK:
                assert result.value == b"a secret of 24 bytes...."
            sealing = worker.ask_one(encrypt(key, b"x")) if not worker.retired else result
            assert sealing.outcome is Outcome.OK or sealing.value is not None
            assert (sealing.outcome is Outcome.OK) == (result.outcome is Outcome.OK)
    assert "KEY_DAMAGED" in seen
    file.write_bytes(whole)
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)
        assert worker.value(good.decrypt()) == b"a secret of 24 bytes...."
