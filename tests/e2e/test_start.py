"""What an operator sees when the service cannot start: one line that says what to do, an exit code, no traceback."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.service import Deployment, make_deployment, run_cli, running

EXIT_CONFIGURATION = 253


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return make_deployment(tmp_path_factory.mktemp("start"))


def serve(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hsmkms.server.cli", "serve", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == EXIT_CONFIGURATION, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("{")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def changed(deployment: Deployment, folder: Path, change: Callable[[str], str]) -> Path:
    config = folder / "changed.toml"
    text = deployment.config_file.read_text()
    assert change(text) != text
    config.write_text(change(text))
    return config


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r'module = ".*"', 'module = "/nowhere/module.so"', ("/nowhere/module.so", "softhsm2")),
        (r'label = ".*"', 'label = "another"', ("another",)),
        (r'pin_file = ".*"', 'pin_file = "/nowhere/pin"', ("/nowhere/pin",)),
        (r'certificate_file = ".*"', 'certificate_file = "/nowhere/cert.pem"', ("tls", "/nowhere/cert.pem")),
        (r'url = ".*"', 'url = "sqlite:////nowhere/catalog.db"', ("'/nowhere'", "create it")),
        (r'account = ".*"', 'account = "12"', ("service.account",)),
        (r'address = "127.0.0.1:0"', 'address = "127.0.0.1"', ("listen.address",)),
        (r'account = ".*"', 'account = "111122223333"\nacount = "1"', ("service.acount",)),
        (r"\[tls\]", "[tls", ("not valid TOML",)),
        (r'"[^"]*everything.json"', '"/nowhere/policy.json"', ("principals", "/nowhere/policy.json")),
        (r'("arn:aws:iam::)\d*', r"\1nobody", ("principals.0.arn",)),
    ],
    ids=[
        "no module", "no token", "no PIN file", "no certificate", "no catalog folder", "bad account", "no port",
        "mistyped setting", "no TOML", "no policy file", "no ARN",
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used(
    prepared: Deployment, tmp_path: Path, pattern: str, replacement: str, words: tuple[str, ...]
) -> None:
    config = changed(prepared, tmp_path, lambda text: re.sub(pattern, replacement, text, count=1))
    assert_one_line(serve(config), *words)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    assert_one_line(serve(tmp_path / "none.toml"), "none.toml", "No such file")


def test_a_wrong_pin(prepared: Deployment, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text("wrong-pin-1234")
    done = serve(changed(prepared, tmp_path, lambda text: re.sub(r'pin_file = ".*"', f'pin_file = "{pin}"', text)))
    assert_one_line(done, "PIN")
    assert "wrong-pin-1234" not in done.stderr


def test_a_pin_file_that_others_can_read(prepared: Deployment, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text("x")
    pin.chmod(0o644)
    done = serve(changed(prepared, tmp_path, lambda text: re.sub(r'pin_file = ".*"', f'pin_file = "{pin}"', text)))
    assert_one_line(done, str(pin), "chmod")


@pytest.mark.parametrize("setting", ["address", "metrics_address"])
def test_a_port_in_use(prepared: Deployment, tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = changed(
            prepared,
            tmp_path,
            lambda text: text.replace(f'\n{setting} = "127.0.0.1:0"', f'\n{setting} = "127.0.0.1:{port}"'),
        )
        assert_one_line(serve(config), f"listen.{setting}", str(port))


def test_a_certificate_that_does_not_fit_its_key(prepared: Deployment, tmp_path: Path) -> None:
    other = prepared.authority.issue("unfit")
    pattern = r'private_key_file = ".*"'
    config = changed(
        prepared, tmp_path, lambda text: re.sub(pattern, f'private_key_file = "{other.private_key_file}"', text)
    )
    assert_one_line(serve(config), str(other.private_key_file), "is not the private key of")


def test_a_key_that_is_none(prepared: Deployment, tmp_path: Path) -> None:
    def with_key_file(key: Path) -> Path:
        line = f'private_key_file = "{key}"'
        return changed(prepared, tmp_path, lambda text: re.sub(r'private_key_file = ".*"', line, text))

    for name, content, words in (
        ("empty", b"", "no private key"),
        (
            "rsa",
            rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "is not the private key of",
        ),
    ):
        key = tmp_path / name
        key.write_bytes(content)
        config = with_key_file(key)
        assert_one_line(serve(config), words)


def test_an_identity_policy_that_is_none(prepared: Deployment, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(
        '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:*", "Ressource": "*"}}'
    )
    config = changed(prepared, tmp_path, lambda text: re.sub(r'"[^"]*everything.json"', f'"{policy}"', text))
    assert_one_line(serve(config), str(policy), "Statement.Ressource: is no element known here")


def test_the_environment_wins_over_the_file(prepared: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSM_KMS_SERVICE__REGION", "eu-north-7")
    with running(prepared) as service:
        assert service.client().create_key().key_metadata.arn.split(":")[3] == "eu-north-7"


def test_token_init_and_token_info(prepared: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(prepared.token.conf))

    def hsm_kms(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hsmkms.server.cli", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    so_pin = tmp_path / "so-pin"
    so_pin.touch(mode=0o600)
    so_pin.write_text("security-officer\n")
    options = ("--module", "/usr/lib/softhsm/libsofthsm2.so", "--label", "fresh", "--pin-file", str(tmp_path / "pin"))
    made = hsm_kms("token", "init", *options, "--so-pin-file", str(so_pin))
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "pin").stat().st_mode & 0o777 == 0o600
    again = hsm_kms("token", "init", *options, "--so-pin-file", str(so_pin))
    assert_one_line(again, "fresh", "already")

    info = hsm_kms("token", "info", *options)
    assert info.returncode == 0, info.stderr
    assert re.search(r"suite_1 +yes", info.stdout)
    assert re.search(r"suite_2 +no", info.stdout)
    assert (tmp_path / "pin").read_text().strip() not in info.stdout
    assert hsm_kms("token", "info").returncode == 252
    assert_one_line(hsm_kms("token", "init", *options[:-1], str(tmp_path / "pin2")), "--so-pin-file")


def test_the_command_line_without_a_service(prepared: Deployment) -> None:
    with running(prepared) as service:
        profile = service.profile()
    assert profile.endpoint
    done = run_cli(service, "list-keys", "--timeout", "3")
    assert done.returncode == 255
    assert done.stderr.decode().count("\n") == 1
    assert b"Traceback" not in done.stderr
