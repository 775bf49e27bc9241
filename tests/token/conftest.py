"""Two throw-away tokens for all tests of this folder, SoftHSM and NSS softokn, and this process logged in to each.

Every test that takes `token`, or what is built on it, runs on each. A test that a token cannot pass names the capability that it lacks:
`@pytest.mark.needs("copyable")`. Where the probe finds that capability the test must pass, and where it does not the test must fail.

A module reads its environment when it is loaded, so this process keeps to one token of each kind; whatever needs another one spawns a
worker.
"""

import os
from dataclasses import dataclass

import pytest

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.commands import KeyRef
from hsmkms.core.features import TokenFeatures
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
from support.material import Material
from support.needs import expect_failure_where_lacking
from support.nss import QUICK, NssToken, make_nss_token
from support.softhsm import SoftHsm, make_token
from support.worker import SpawnedWorker

DEPLOYMENT = b"hsm-kms/deployment-1"
MAKERS = {"SoftHSM": make_token, "NSS": make_nss_token}


@dataclass
class Session:
    """This process's session on one token and everything that works on it."""

    cryptoki: Cryptoki
    found: Capabilities
    features: TokenFeatures
    suite: Suite
    wrapping: Wrapping
    keys: BackingKeys
    sequences: Sequences
    logged: list

    def generate(self):
        """Generate a backing key; return how the front names it."""
        identifier = cka_id(os.urandom(16), 1)
        return KeyRef(identifier, self.suite, self.keys.generate(identifier, self.suite, DEPLOYMENT))

    def session_objects(self):
        return self.cryptoki.find(Template(((CKA.TOKEN, False),)))


@pytest.fixture(scope="session", params=list(MAKERS))
def token(request, tmp_path_factory) -> SoftHsm | NssToken:
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param) / "token")


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory) -> SoftHsm:
    """For what is SoftHSM's own way: its files, its configuration."""
    return make_token(tmp_path_factory.mktemp("softhsm-alone") / "token")


@pytest.fixture(scope="session")
def softhsm_settings(softhsm) -> WorkerSettings:
    """Settings of a worker on that token that need not probe."""
    with SpawnedWorker(softhsm.environment()) as spawned:
        return softhsm.settings(capabilities=spawned.start(softhsm.settings()).capabilities)


@pytest.fixture(scope="session")
def in_process(token):
    os.environ |= QUICK  # NSS reads it at each write, and nobody else does
    before = {name: os.environ.get(name) for name in token.variables}
    os.environ |= token.variables
    try:
        opened = open_token(token.settings(), WorkerStatistics())
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    found = probe(opened.cryptoki)
    features = TokenFeatures.from_capabilities(found.to_dict())
    wrapping = Wrapping(opened.cryptoki, found)
    logged: list = []
    keys = BackingKeys(wrapping, found, lambda event, **known: logged.append((event, known)))
    sequences = Sequences(wrapping, keys, found)
    session = Session(opened.cryptoki, found, features, max(features.suites), wrapping, keys, sequences, logged)
    session.opened = opened  # type: ignore[attr-defined]  # keeps python-pkcs11's session alive
    return session


@pytest.fixture(autouse=True)
def needs(request):
    """What `@pytest.mark.needs` says."""
    if request.node.get_closest_marker("needs") is not None:
        found = request.getfixturevalue("in_process").found.to_dict()
        expect_failure_where_lacking(request, request.getfixturevalue("token").name, found)


@pytest.fixture
def session(in_process):
    """The session; every test must leave it without session objects."""
    assert not in_process.session_objects()
    in_process.logged.clear()
    yield in_process
    assert not in_process.session_objects(), "session objects were left behind"


@pytest.fixture(scope="session")
def settings(token, in_process) -> WorkerSettings:
    """Settings of a worker that need not probe."""
    return token.settings(capabilities=in_process.found.to_dict())


@pytest.fixture
def worker(token, settings):
    with SpawnedWorker(token.environment()) as spawned:
        spawned.start(settings)
        yield spawned


@pytest.fixture(scope="session")
def material(in_process) -> Material:
    """Key pairs on the session."""
    return Material(in_process)
