"""Where settings come from, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsmkms.client import load_profile
from hsmkms.client.errors import ProfileError
from hsmkms.client.tls import load_identity

FILE = """
[default]
endpoint = "kms.example.test:8443"
ca_file = "ca.pem"
certificate_file = "/etc/client.pem"
private_key_file = "~/client.key"

[other]
endpoint = "[::1]:8443"
ca_file = "other.pem"
certificate_file = "client.pem"
private_key_file = "client.key"
server_name = "kms"
timeout_s = 2.5
attempts = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(FILE)
    return path


def test_a_profile_of_the_file_with_paths_relative_to_it(file):
    profile = load_profile(file=file, environment={})
    assert profile.endpoint == "kms.example.test:8443"
    assert profile.ca_file == file.parent / "ca.pem"
    assert profile.certificate_file == Path("/etc/client.pem")
    assert profile.private_key_file == Path.home() / "client.key"
    assert (profile.server_name, profile.timeout_s, profile.attempts) == (None, 10.0, 4)


def test_file_and_profile_may_be_named_by_the_environment(file):
    profile = load_profile(environment={"HSM_KMS_PROFILE_FILE": str(file), "HSM_KMS_PROFILE": "other"})
    assert (profile.endpoint, profile.server_name, profile.timeout_s, profile.attempts) == ("[::1]:8443", "kms", 2.5, 1)
    assert load_profile("default", file=file, environment={"HSM_KMS_PROFILE": "other"}).server_name is None


def test_options_win_over_the_environment_and_that_over_the_file(file):
    environment = {
        "HSM_KMS_ENDPOINT": "b:2",
        "HSM_KMS_CA_FILE": "b.pem",
        "HSM_KMS_TIMEOUT": "7",
        "HSM_KMS_SERVER_NAME": "",
    }
    profile = load_profile(file=file, environment=environment, settings={"endpoint": "c:3", "timeout_s": None})
    assert (profile.endpoint, profile.ca_file, profile.timeout_s) == ("c:3", Path("b.pem"), 7.0)
    assert profile.certificate_file == Path("/etc/client.pem")
    assert profile.server_name is None, "an empty variable counts as absent"


def test_the_environment_alone_is_enough(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = {
        "HSM_KMS_ENDPOINT": "a:1",
        "HSM_KMS_CA_FILE": "ca",
        "HSM_KMS_CERTIFICATE_FILE": "c",
        "HSM_KMS_PRIVATE_KEY_FILE": "k",
    }
    assert load_profile(environment=environment).endpoint == "a:1"


def test_what_is_missing_is_said_with_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ProfileError) as refused:
        load_profile(
            environment={"HSM_KMS_CA_FILE": "a", "HSM_KMS_CERTIFICATE_FILE": "b", "HSM_KMS_PRIVATE_KEY_FILE": "c"}
        )
    assert str(refused.value) == (
        "no endpoint: give --endpoint or HSM_KMS_ENDPOINT, or write profile 'default' in "
        f"{tmp_path}/.config/hsm-kms/profiles.toml"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("endpoint =", "endpont ="), "no endpoint"),
        (
            ("[default]", "[default]\ncolour = 'red'"),
            "colour of profile 'default' in .*: unknown setting; there are endpoint, ",
        ),
        (("kms.example.test:8443", "kms.example.test"), "endpoint of profile .* 'kms.example.test' is not HOST:PORT"),
        (("kms.example.test:8443", "unix:/tmp/socket"), "not HOST:PORT"),
        (('"ca.pem"', "3"), "ca_file of profile .*: input is not a valid path"),
        (("[default]", "[default]\ntimeout_s = 0"), "timeout_s of profile .*: input should be greater than 0"),
        (("[default]", "[default]\nattempts = 11"), "attempts of profile .*: input should be less than or equal to 10"),
        (("[default]", "[default"), "is not TOML"),
        (("[default]", "[défault]"), "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(file, change, text):
    file.write_text(FILE.replace(*change))
    with pytest.raises(ProfileError, match=text) as refused:
        load_profile(file=file, environment={})
    assert "\n" not in str(refused.value)


def test_a_wrong_variable_is_named(file):
    with pytest.raises(ProfileError, match=r"^HSM_KMS_TIMEOUT: input should be a valid number"):
        load_profile(file=file, environment={"HSM_KMS_TIMEOUT": "soon"})


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(file):
    with pytest.raises(ProfileError, match="has no profile 'third'; it has: default, other"):
        load_profile("third", file=file, environment={})


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(ProfileError, match=r"cannot read the profile file .*: No such file"):
        load_profile(file=tmp_path / "none.toml", environment={})
    with pytest.raises(ProfileError, match="Is a directory"):
        load_profile(file=tmp_path, environment={})


@pytest.mark.parametrize("setting", ["ca_file", "certificate_file", "private_key_file"])
def test_each_file_is_named_when_it_cannot_be_used(make_profile, tmp_path, setting):
    missing, wrong, large = tmp_path / "missing.pem", tmp_path / "wrong.pem", tmp_path / "large.pem"
    wrong.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    large.write_bytes(b"x" * 300_000)
    for path, text in (
        (missing, f"cannot read {setting} {missing}: No such file"),
        (wrong, f"{setting} {wrong} holds no PEM"),
        (large, f"{setting} {large} is larger than"),
        (tmp_path, f"cannot read {setting} {tmp_path}: Is a directory"),
    ):
        with pytest.raises(ProfileError, match=text):
            load_identity(make_profile(**{setting: path}))


def test_a_key_of_another_certificate_and_one_with_a_passphrase_are_refused(make_profile, identities, tmp_path):
    with pytest.raises(ProfileError, match="is not the key of certificate_file"):
        load_identity(make_profile(private_key_file=identities.server.private_key_file))
    locked = tmp_path / "locked.key"
    locked.write_bytes(_locked(identities.client.private_key_file.read_bytes()))
    with pytest.raises(ProfileError, match="has a passphrase"):
        load_identity(make_profile(private_key_file=locked))


def _locked(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
