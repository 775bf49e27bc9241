"""What `make run` makes once: PIN, token, certificates and configuration files, all under one folder.

Every function leaves alone what is there and fits. Whatever a user can cause is a `Problem`, whose text says what to do.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev_certificates import CLIENT_URI, Certificates, ensure_certificates, write_private

ROOT = Path(__file__).resolve().parent.parent
HSM_KMS = str(Path(sys.executable).parent / "hsm-kms")
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
)
LABEL = "hsm-kms"
REGION = "eu-central-1"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}
WRITTEN_BY = "# Written by `make run` at each start. deploy/hsm-kms.toml explains every setting."
COMMAND_WITHIN_S = 60.0


class Problem(Exception):
    """Something that whoever typed `make run` can mend; its text says how."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is.

    Args:
        var: The folder, absolute.
        shown_var: The folder as it was given, for commands on the screen.
        grpc_port: Port of the API on 127.0.0.1.
        aws_port: Port of the AWS endpoint on 127.0.0.1.
        metrics_port: Port of probes and metrics on 127.0.0.1.
        module: Path of SoftHSM's PKCS#11 module.
    """

    var: Path
    shown_var: str
    grpc_port: int
    aws_port: int
    metrics_port: int
    module: str

    @property
    def softhsm_conf(self) -> Path:
        """SoftHSM's configuration, for SOFTHSM2_CONF."""
        return self.var / "softhsm.conf"

    @property
    def pin_file(self) -> Path:
        """The file with the token's PIN."""
        return self.var / "pin"

    @property
    def so_pin_file(self) -> Path:
        """The file with the security officer's PIN, which only `token init` reads."""
        return self.var / "so-pin"

    @property
    def tokens(self) -> Path:
        """SoftHSM's token folder."""
        return self.var / "tokens"

    @property
    def configuration(self) -> Path:
        """The service's configuration."""
        return self.var / "hsm-kms.toml"

    @property
    def profiles(self) -> Path:
        """The client's profiles."""
        return self.var / "profiles.toml"

    @property
    def access_key_id_file(self) -> Path:
        """The file with the id of the operator's access key."""
        return self.var / "aws-access-key-id"

    @property
    def secret_access_key_file(self) -> Path:
        """The file with the secret of the operator's access key: a secret of this development service alone, and a secret."""
        return self.var / "aws-secret-access-key"

    @property
    def log(self) -> Path:
        """The service's log."""
        return self.var / "hsm-kms.log"


def prepare(settings: Settings) -> None:
    """Make everything that the service needs and does not have yet."""
    require_free(settings.grpc_port, "GRPC_PORT")
    require_free(settings.aws_port, "AWS_PORT")
    require_free(settings.metrics_port, "METRICS_PORT")
    ensure_pins(settings)
    write_softhsm_conf(settings)
    ensure_token(settings)
    write_configuration(settings, ensure_certificates(settings.var / "tls"))


def find_module(named: str | None) -> str:
    """Return the path of SoftHSM's module."""
    candidates = (named,) if named else MODULES
    for candidate in candidates:
        if Path(candidate).is_file():
            return candidate
    raise Problem(
        f"SoftHSM's module is not at {' or '.join(candidates)}; install the Debian package softhsm2 or use --module"
    )


def ensure_pins(settings: Settings) -> None:
    """Make the user's PIN and the security officer's if they are not there."""
    if not settings.pin_file.exists() and any(settings.tokens.glob("*/token.object")):
        raise Problem(
            f"{settings.tokens} holds a token, but its PIN file {settings.pin_file} is gone; put it back, or use another VAR"
        )
    for file in (settings.pin_file, settings.so_pin_file):
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24).encode() + b"\n")


def write_softhsm_conf(settings: Settings) -> None:
    """Write SoftHSM's configuration from the template at the top of the repository."""
    template = (ROOT / "softhsm.conf").read_text()
    line = f"directories.tokendir = {settings.tokens}"
    settings.tokens.mkdir(mode=0o700, exist_ok=True)
    text, count = re.subn(r"(?m)^directories\.tokendir *=.*$", lambda _: line, template)
    if count != 1:
        raise Problem(f"{ROOT / 'softhsm.conf'} has {count} lines with directories.tokendir; it needs one")
    write_private(settings.softhsm_conf, text.encode())


def ensure_token(settings: Settings) -> None:
    """Initialise the token if there is none."""
    if any(settings.tokens.glob("*/token.object")):
        return
    command = [
        HSM_KMS,
        "token",
        "init",
        "--module",
        settings.module,
        "--label",
        LABEL,
        "--pin-file",
        str(settings.pin_file),
        "--so-pin-file",
        str(settings.so_pin_file),
    ]
    run(command, environment(settings))


def write_configuration(settings: Settings, certificates: Certificates) -> None:
    """Write the service's configuration and the client's profile; both name absolute paths."""
    sections: dict[str, dict[str, object]] = {
        "service": {"partition": "aws", "region": REGION, "account": "111122223333"},
        "listen": {
            "address": f"127.0.0.1:{settings.grpc_port}",
            "metrics_address": f"127.0.0.1:{settings.metrics_port}",
        },
        "tls": {
            "certificate_file": str(certificates.server.certificate_file),
            "private_key_file": str(certificates.server.private_key_file),
            "client_ca_file": str(certificates.ca.certificate_file),
        },
        "aws": {"address": f"127.0.0.1:{settings.aws_port}"},
        "token": {
            "module": settings.module,
            "label": LABEL,
            "pin_file": str(settings.pin_file),
            "workers": 2,
            "environment": {"SOFTHSM2_CONF": str(settings.softhsm_conf)},
        },
        "catalog": {"url": f"sqlite:///{settings.var / 'catalog.db'}"},
        "log": {"level": "info", "format": "text"},
    }
    profile: dict[str, dict[str, object]] = {
        "default": {
            "endpoint": f"127.0.0.1:{settings.grpc_port}",
            "ca_file": str(certificates.ca.certificate_file),
            "certificate_file": str(certificates.client.certificate_file),
            "private_key_file": str(certificates.client.private_key_file),
        }
    }
    operator: dict[str, object] = {
        "name": CLIENT_URI,
        "arn": "arn:aws:iam::111122223333:user/operator",
        "policy_files": [str(settings.var / "operator-policy.json")],
    }
    write_private(settings.var / "operator-policy.json", (json.dumps(EVERYTHING, indent=2) + "\n").encode())
    write_private(settings.configuration, toml(sections) + b"\n" + toml({"[principals]": operator}, comment=""))
    write_private(settings.profiles, toml(profile))


def ensure_access_key(settings: Settings) -> str:
    """Make an access key for the operator if there is none that works, keep it, and return its id. The service may be running."""
    environ = environment(settings)
    credentials = [HSM_KMS, "credentials"]
    configured = ["--config", str(settings.configuration), "--output", "json"]
    if settings.access_key_id_file.exists() and settings.secret_access_key_file.exists():
        kept = settings.access_key_id_file.read_text().strip()
        listed = json.loads(run([*credentials, "list", *configured], environ).stdout)["AccessKeyMetadata"]
        if any((key["AccessKeyId"], key["Status"]) == (kept, "Active") for key in listed):
            return kept
    made = json.loads(run([*credentials, "create", "--principal", CLIENT_URI, *configured], environ).stdout)[
        "AccessKey"
    ]
    write_private(settings.secret_access_key_file, made["SecretAccessKey"].encode() + b"\n")
    write_private(settings.access_key_id_file, made["AccessKeyId"].encode() + b"\n")
    access_key_id: str = made["AccessKeyId"]
    return access_key_id


def toml(sections: dict[str, dict[str, object]], comment: str = WRITTEN_BY) -> bytes:
    """Return the sections as TOML, after a comment. JSON's strings and numbers are TOML's too."""

    def value(item: object) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + " }"
        return json.dumps(item)

    lines = [comment] if comment else []
    for name, section in sections.items():
        lines += ["", f"[{name}]", *(f"{key} = {value(item)}" for key, item in section.items())]
    return "\n".join([*lines, ""]).encode()


def require_free(port: int, variable: str) -> None:
    """Refuse a port that something listens on, whether or not it would share it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Problem(
                f"port {port} on 127.0.0.1: {error.strerror}; choose another: make run {variable}=…"
            ) from None


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with what the token and the command line need."""
    return os.environ | {
        "SOFTHSM2_CONF": str(settings.softhsm_conf),
        "HSM_KMS_PROFILE_FILE": str(settings.profiles),
        "PYTHONUNBUFFERED": "1",
    }


def run(command: Sequence[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command, or raise what it wrote to its standard error."""
    done = attempt(command, environ)
    if done.returncode:
        raise Problem(f"`{shlex.join(command)}` failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done


def attempt(command: Sequence[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command and return how it ended."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environ,
            cwd=ROOT,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"`{shlex.join(command)}` did not end within {COMMAND_WITHIN_S:.0f} s") from None
