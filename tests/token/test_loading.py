"""Handles for keys that were made elsewhere: searched in groups, and only what is new is read."""

import os

import pytest

from hsmkms.core.ciphertext import cka_id
from hsmkms.core.commands import Load, Statistics
from hsmkms.core.material_commands import GenerateKeyPair, GenerateMacKey, PairSpec, PairUse
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm.key_objects import Kind, Loaded
from support.worker import SpawnedWorker

LABEL = b"hsm-kms/deployment-1"


@pytest.fixture
def maker(token, settings, worker):
    """Another worker on the token, to make keys that `worker` has not seen. It starts after `worker` has."""
    with SpawnedWorker(token.environment()) as spawned:
        spawned.start(settings)
        yield spawned


def reads(worker):
    return WorkerStatistics.from_json(worker.value(Statistics())).calls["C_GetAttributeValue"].count


def new_ids(count):
    return [cka_id(os.urandom(16), 1) for _ in range(count)]


def made(maker):
    ids = new_ids(2)
    for identifier in ids:
        maker.value(GenerateMacKey(identifier, 32, LABEL))
    return ids


def test_a_group_of_new_keys_is_found_without_reading_the_others_again(worker, maker):
    needed = []
    for _ in range(3):
        ids = made(maker)
        before = reads(worker)
        assert worker.value(Load(b"".join(ids))) == b"".join(ids)
        needed.append(reads(worker) - before)
    assert needed[0] == needed[1] == needed[2]


def test_a_group_may_be_of_several_kinds(worker, maker):
    ids = made(maker) + new_ids(1)
    maker.value(GenerateKeyPair(ids[2], PairSpec.ECC_NIST_P256, PairUse.SIGN, LABEL))
    assert worker.value(Load(b"".join(ids))) == b"".join(ids)


def test_of_a_group_those_that_are_there_are_found(session, worker, maker):
    there, missing = new_ids(2)
    maker.value(GenerateMacKey(there, 32, LABEL))
    assert worker.value(Load(missing + there)) == there


def test_a_handle_that_the_token_gives_out_again_hides_no_key(session):
    first, second = session.generate(), session.generate()
    objects = session.keys.objects
    gone = cka_id(os.urandom(16), 1)
    handles = [objects.loaded.pop(key.cka_id).handle for key in (first, second)]
    objects.keep(gone, Loaded(Kind.BACKING_KEY, handles[0]))
    try:
        assert objects.load([first.cka_id, second.cka_id]) == [first.cka_id, second.cka_id]
        assert session.keys.use(first).value == handles[0].value
    finally:
        objects.drop(gone)
