"""One throw-away token for all tests of this folder, and this process logged in to it.

The module reads SOFTHSM2_CONF when it is loaded, so this process keeps to one token; whatever needs another one spawns a worker.
"""

import os
from dataclasses import dataclass

import pytest

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.commands import KeyRef
from hsmkms.core.startup import WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKA
from hsmkms.hsm.cryptoki import Cryptoki
from hsmkms.hsm.module import open_token
from hsmkms.hsm.probe import probe
from hsmkms.hsm.sequences import Sequences
from hsmkms.hsm.templates import Template
from hsmkms.hsm.wrapping import Wrapping
from support.softhsm import SoftHsm, make_token
from support.worker import SpawnedWorker

DEPLOYMENT = b"hsm-kms/deployment-1"


@dataclass
class Session:
    """This process's session and everything that works on it."""

    cryptoki: Cryptoki
    found: Capabilities
    wrapping: Wrapping
    keys: BackingKeys
    sequences: Sequences
    logged: list

    def generate(self):
        """Generate a backing key; return how the front names it."""
        identifier = cka_id(os.urandom(16), 1)
        canary = self.keys.generate(identifier, Suite.AES_CBC_ENCRYPT_DATA, DEPLOYMENT)
        return KeyRef(identifier, Suite.AES_CBC_ENCRYPT_DATA, canary)

    def session_objects(self):
        return self.cryptoki.find(Template(((CKA.TOKEN, False),)))


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory) -> SoftHsm:
    return make_token(tmp_path_factory.mktemp("softhsm") / "token")


@pytest.fixture(scope="session")
def in_process(softhsm):
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(softhsm.conf)
    try:
        opened = open_token(softhsm.settings(), WorkerStatistics())
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before
    found = probe(opened.cryptoki)
    wrapping = Wrapping(opened.cryptoki, found)
    logged: list = []
    keys = BackingKeys(wrapping, found, lambda event, **known: logged.append((event, known)))
    session = Session(opened.cryptoki, found, wrapping, keys, Sequences(wrapping, keys, found), logged)
    session.opened = opened  # type: ignore[attr-defined]  # keeps python-pkcs11's session alive
    return session


@pytest.fixture
def session(in_process):
    """The session; every test must leave it without session objects."""
    assert not in_process.session_objects()
    in_process.logged.clear()
    yield in_process
    assert not in_process.session_objects(), "session objects were left behind"


@pytest.fixture(scope="session")
def settings(softhsm, in_process) -> WorkerSettings:
    """Settings of a worker that need not probe."""
    return softhsm.settings(capabilities=in_process.found.to_dict())


@pytest.fixture
def worker(softhsm, settings):
    with SpawnedWorker(softhsm.environment()) as spawned:
        spawned.start(settings)
        yield spawned
