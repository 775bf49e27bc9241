"""The whole service for tests: its own token, catalog and certificates, on free ports of loopback, over TLS.

What is started here is `hsm-kms serve` as an operator starts it. Each `Deployment` lives in a folder of its own and leaves nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsmkms.client import Client, Profile
from support.certificates import Authority, Issued, make_authority
from support.nss import NssToken
from support.softhsm import SoftHsm, make_token

START_S = 30.0
STOP_S = 30.0
ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
EVERYBODY = (
    "operator", "somebody-else", "short", "probe", "patient", "hasty", "creator", "reader", "caller", "disturber",
    *(f"caller-{number}" for number in range(32)), *(f"hasty-{number}" for number in range(16)),
)  # fmt: skip
"""Who may do everything in ACCOUNT, as far as key policies let them."""
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}
REGION = "eu-central-1"


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "the condition") -> Any:
    """Return the first true value of `condition`; fail when there is none within the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s"
        time.sleep(0.02)


@dataclass(frozen=True)
class Person:
    """A principal of the configuration, whose certificate has the URI SAN `spiffe://test/NAME`.

    Args:
        name: The name.
        account: The account.
        policy: The identity policy, or None for no policy.
        tags: The principal's tags.
    """

    name: str
    account: str = ACCOUNT
    policy: Mapping[str, Any] | None = field(default_factory=lambda: EVERYTHING)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """The principal's ARN."""
        return f"arn:aws:iam::{self.account}:user/{self.name}"


@dataclass
class Deployment:
    """Files of one deployment.

    Args:
        folder: Everything of it.
        token: Its token.
        authority: The authority of its certificates.
        settings: What differs from the usual configuration, by section.
        people: Principals beside EVERYBODY.
    """

    folder: Path
    token: SoftHsm | NssToken
    authority: Authority
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    people: tuple[Person, ...] = ()

    @property
    def config_file(self) -> Path:
        """The service's configuration."""
        return self.folder / "hsm-kms.toml"

    @property
    def catalog_file(self) -> Path:
        """The catalog."""
        return self.folder / "catalog.db"

    def certificate(self, name: str) -> Issued:
        """Return a client certificate of that name, made when it is first asked for."""
        issued = Issued(self.authority.folder / f"{name}.pem", self.authority.folder / f"{name}.key")
        if issued.certificate_file.exists():
            return issued
        return self.authority.issue(name, uri=f"spiffe://test/{name}")

    def write_config(self) -> None:
        """Write the configuration file."""
        server = self.authority.folder
        sections: dict[str, dict[str, Any]] = {
            "service": {"account": ACCOUNT, "region": REGION},
            "listen": {"address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0"},
            "tls": {
                "certificate_file": str(server / "server.pem"),
                "private_key_file": str(server / "server.key"),
                "client_ca_file": str(self.authority.certificate_file),
            },
            "token": {
                "module": self.token.module,
                "label": self.token.label,
                "pin_file": str(self.token.pin_file),
                "lock_file": str(self.token.lock_file),
                "environment": self.token.variables,
            },
            "catalog": {"url": f"sqlite:///{self.catalog_file}"},
            "limits": {},
            "log": {"level": "debug"},
        }
        for section, values in self.settings.items():
            sections.setdefault(section, {}).update(values)
        text = "\n".join(_toml(name, values) for name, values in sections.items())
        for person in (*map(Person, EVERYBODY), *self.people):
            text += "\n[" + _toml("principals", self._principal(person)).replace("]\n", "]]\n", 1)
        self.config_file.write_text(text)
        tomllib.loads(self.config_file.read_text())

    def _principal(self, person: Person) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": f"spiffe://test/{person.name}", "arn": person.arn, "tags": person.tags}
        if person.policy is not None:
            file = self.folder / ("everything.json" if person.policy is EVERYTHING else f"{person.name}.json")
            file.write_text(json.dumps(person.policy))
            entry["policy_files"] = [str(file)]
        return entry


def _toml(name: str, values: Mapping[str, Any]) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, Mapping):
            return "{ " + ", ".join(f"{key} = {literal(inner)}" for key, inner in value.items()) + " }"
        return json.dumps(value)

    return f"[{name}]\n" + "".join(f"{key} = {literal(value)}\n" for key, value in values.items())


def make_deployment(
    folder: Path,
    *,
    token: SoftHsm | NssToken | None = None,
    people: tuple[Person, ...] = (),
    **settings: Mapping[str, Any],
) -> Deployment:
    """Make a deployment with a token of its own, or on a given one.

    Args:
        folder: Where to put it.
        token: A token to share.
        people: Principals beside EVERYBODY.
        settings: What differs from the usual configuration, by section.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = make_authority(folder / "tls")
    authority.issue("server", dns_names=["localhost"], addresses=["127.0.0.1"])
    deployment = Deployment(folder, token or make_token(folder / "softhsm"), authority, settings, people)
    deployment.write_config()
    return deployment


def with_workers(deployment: Deployment, workers: int) -> Deployment:
    """Give a deployment so many crypto workers and no spare, where the test starts several fronts."""
    deployment.settings = {**deployment.settings, "token": {"workers": workers, "spare": False}}
    deployment.write_config()
    return deployment


class Service:
    """A running service.

    Args:
        deployment: Its files.
        arguments: Further arguments of `hsm-kms serve`.
        start_s: How long it may take until it serves, in seconds.
    """

    def __init__(self, deployment: Deployment, *arguments: str, start_s: float = START_S) -> None:
        self.deployment = deployment
        self.log: list[dict[str, Any]] = []
        self.log_text: list[str] = []
        self._clients: list[Client] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hsmkms.server.cli", "serve", "--config", str(deployment.config_file), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        serving = eventually(self._serving_or_ended, start_s, "the service's start")
        assert isinstance(serving, dict), "the service ended:\n" + "".join(self.log_text[-15:])
        self.address: str = serving["grpc"]
        self.aws_address: str = serving["aws"] or ""
        self.probes_address: str = serving["probes"]

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log_text.append(line)
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line})

    def _serving_or_ended(self) -> object:
        if self.process.poll() is not None:
            self._reader.join(5)
            return "ended"
        return self.logged("serving")

    def logged(self, event: str) -> dict[str, Any] | None:
        """Return the first log line of that event, or None."""
        return next((line for line in list(self.log) if line.get("event") == event), None)

    def profile(self, name: str = "operator", **changes: Any) -> Profile:
        """Return a client's profile."""
        issued = self.deployment.certificate(name)
        settings = {
            "endpoint": self.address,
            "ca_file": self.deployment.authority.certificate_file,
            "certificate_file": issued.certificate_file,
            "private_key_file": issued.private_key_file,
            **changes,
        }
        return Profile(**settings)

    def client(self, name: str = "operator", **changes: Any) -> Client:
        """Return a client, closed when the service stops."""
        client = Client(self.profile(name, **changes))
        self._clients.append(client)
        return client

    def get(self, path: str) -> tuple[int, str]:
        """Ask the probes' port; return status and body."""
        connection = http.client.HTTPConnection(self.probes_address, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        return self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += float(value)
        return total

    def workers(self) -> dict[str, int]:
        """Return the process ids of the token workers that are alive, by their names in the log."""
        alive = {}
        for line in list(self.log):
            if line.get("event") == "token worker ready" and _is_running(line["pid"]):
                alive[line["worker"]] = line["pid"]
        return alive

    def wait_for_workers(self, count: int) -> dict[str, int]:
        """Wait until that many workers are there."""
        found: dict[str, int] = eventually(
            lambda: workers if len(workers := self.workers()) >= count else None, 20, f"{count} workers"
        )
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the service and return its exit code."""
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()
        return code


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def running(deployment: Deployment, *arguments: str, start_s: float = START_S) -> Iterator[Service]:
    """Run a service for the length of a `with`."""
    service = Service(deployment, *arguments, start_s=start_s)
    try:
        yield service
    finally:
        service.stop()


def run_cli(service: Service, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `hsm-kms` against a service as the user `operator`."""
    profile = service.profile()
    options = {
        "HSM_KMS_ENDPOINT": profile.endpoint,
        "HSM_KMS_CA_FILE": str(profile.ca_file),
        "HSM_KMS_CERTIFICATE_FILE": str(profile.certificate_file),
        "HSM_KMS_PRIVATE_KEY_FILE": str(profile.private_key_file),
    }
    return subprocess.run(
        [sys.executable, "-m", "hsmkms.server.cli", *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, **options},
        timeout=60,
        check=False,
    )
