from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hsmkms.client import Profile
from support.certificates import Authority, Issued, make_authority
from support.scripted_server import ScriptedServer, scripted_server


@dataclass(frozen=True)
class Identities:
    authority: Authority
    stranger: Authority
    server: Issued
    client: Issued


@pytest.fixture(scope="session")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    folder = tmp_path_factory.mktemp("certificates")
    authority = make_authority(folder / "ours")
    return Identities(
        authority,
        make_authority(folder / "strange"),
        authority.issue("server", dns_names=("localhost", "kms.example.test"), addresses=("127.0.0.1",)),
        authority.issue("alice", uri="spiffe://example.test/alice"),
    )


@pytest.fixture
def server(identities: Identities) -> Iterator[ScriptedServer]:
    with scripted_server(identities.authority, identities.server) as scripted:
        yield scripted


@pytest.fixture
def make_profile(identities: Identities, server: ScriptedServer) -> Callable[..., Profile]:
    def make(**settings: object) -> Profile:
        return Profile(
            **{
                "endpoint": server.endpoint,
                "ca_file": identities.authority.certificate_file,
                "certificate_file": identities.client.certificate_file,
                "private_key_file": identities.client.private_key_file,
                "timeout_s": 5.0,
            }
            | settings
        )

    return make


@pytest.fixture
def profile_file(tmp_path: Path, make_profile: Callable[..., Profile]) -> Path:
    profile = make_profile()
    path = tmp_path / "profiles.toml"
    path.write_text(
        f'[default]\nendpoint = "{profile.endpoint}"\nca_file = "{profile.ca_file}"\ntimeout_s = 5\n'
        f'certificate_file = "{profile.certificate_file}"\nprivate_key_file = "{profile.private_key_file}"\n'
    )
    return path
