"""Ids and salts: random, none twice, also after a fork."""

import os
import uuid

from hsmkms.server.system import SystemEntropy, new_id


def test_an_id_is_a_uuid_of_version_4_in_its_usual_form():
    for _ in range(1000):
        text = new_id()
        known = uuid.UUID(text)
        assert str(known) == text
        assert (known.version, known.variant) == (4, uuid.RFC_4122)


def test_nothing_comes_twice_whether_an_id_or_a_salt():
    ids = [new_id() for _ in range(5000)]
    salts = [SystemEntropy().salt() for _ in range(5000)]
    assert len(set(ids)) == len(set(salts)) == 5000
    assert {len(salt) for salt in salts} == {16}


def test_a_forked_process_makes_others():
    SystemEntropy().salt()  # something is in stock
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"".join(SystemEntropy().salt() for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 1600)
    ours = b"".join(SystemEntropy().salt() for _ in range(100))
    assert len(theirs) == 1600
    assert not {theirs[at : at + 16] for at in range(0, 1600, 16)} & {ours[at : at + 16] for at in range(0, 1600, 16)}
    os.close(reading)
    os.close(writing)
