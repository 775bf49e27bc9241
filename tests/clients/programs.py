"""The programs of the SDKs that are not Python's: each in a folder beside this one, built in `.cache/clients`, from locked versions.

A program's folder is copied before it is built, so that nothing that a build leaves is among the sources. A second build does what
its tool finds to do. The rest of a command line (`steps`, `deny KEY_ID`) is the same for all of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).resolve().parent
CACHE: Final = SOURCES.parents[1] / ".cache" / "clients"
BUILD_S: Final = 3000
"""Longest build: Rust's compiles 180 crates, on machines that do other things as well."""
PLACES: Final = ("/usr/local/go/bin", str(Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "bin"))
"""Where compilers are that are not on PATH."""
TRUST_PASSWORD: Final = "no secret: a trust store holds certificates"


def environment(**more: str) -> dict[str, str]:
    """Return a build's or client's environment: this process's, without what is AWS's or speaks of another project."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "PATH": os.pathsep.join([kept["PATH"], *PLACES]), **more}


class Program(ABC):
    """A client in one language.

    Args:
        name: Its folder.
        client: Its name in docs/clients.md.
        agent: The SDK's name in the header User-Agent.
    """

    name: str
    client: str
    agent: str

    @property
    def source(self) -> Path:
        """Its sources."""
        return SOURCES / self.name

    @property
    def folder(self) -> Path:
        """Where it is built."""
        return CACHE / self.name

    @property
    @abstractmethod
    def version(self) -> str:
        """The SDK's locked version."""

    @abstractmethod
    def build(self) -> None:
        """Build it in `folder`, which has a copy of the sources."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return how to run it."""

    def trusting(self, authority: Path) -> Mapping[str, str]:
        """Return the environment variables by which the SDK trusts an authority.

        Args:
            authority: The authority's certificate, a PEM file.
        """
        return {"AWS_CA_BUNDLE": str(authority)}

    def prepare(self) -> None:
        """Copy the sources and build them."""
        shutil.copytree(self.source, self.folder, dirs_exist_ok=True)
        self.build()

    def run(self, *command: str, **variables: str) -> None:
        """Run a tool in the folder, at a low priority."""
        done = subprocess.run(
            ["nice", "-n", "10", *command],
            cwd=self.folder, env=environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=BUILD_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"


class JavaScript(Program):
    """npm, package-lock.json."""

    name, client, agent = "javascript", "SDK for JavaScript", "aws-sdk-js"

    @property
    def version(self) -> str:
        lock = json.loads((self.source / "package-lock.json").read_text())
        version: str = lock["packages"]["node_modules/@aws-sdk/client-kms"]["version"]
        return version

    def build(self) -> None:
        self.run("npm", "ci", "--silent")

    def command(self) -> list[str]:
        return ["node", str(self.folder / "client.js")]

    def trusting(self, authority: Path) -> Mapping[str, str]:
        return {"NODE_EXTRA_CA_CERTS": str(authority)}


class Go(Program):
    """go.mod, go.sum."""

    name, client, agent = "go", "SDK for Go", "aws-sdk-go-v2"

    @property
    def version(self) -> str:
        (found,) = re.findall(r"service/kms v(\S+)", (self.source / "go.mod").read_text())
        return str(found)

    def build(self) -> None:
        self.run("go", "build", "-mod=readonly", "-o", "client", ".")

    def command(self) -> list[str]:
        return [str(self.folder / "client")]


class Rust(Program):
    """Cargo.lock, which is kept without the registry's address: cargo itself says that one."""

    name, client, agent = "rust", "SDK for Rust", "aws-sdk-rust"

    @property
    def version(self) -> str:
        packages = tomllib.loads((self.source / "Cargo.lock").read_text())["package"]
        (found,) = (package["version"] for package in packages if package["name"] == "aws-sdk-kms")
        return str(found)

    def build(self) -> None:
        lock = self.folder / "Cargo.lock"
        lock.write_text(_with_registry((self.source / "Cargo.lock").read_text(), self._registry()))
        self.run("cargo", "build", "--locked", CARGO_TARGET_DIR=str(self.folder / "target"))

    def _registry(self) -> str:
        """Return the line that cargo writes for a package of its registry."""
        known = self.folder / "registry"
        if not known.exists():
            (self.folder / "Cargo.lock").unlink()
            self.run("cargo", "generate-lockfile")
            sources = set(re.findall(r"(?m)^source = .*$", (self.folder / "Cargo.lock").read_text()))
            assert len(sources) == 1, sources
            known.write_text(sources.pop())
        return known.read_text()

    def command(self) -> list[str]:
        return [str(self.folder / "target" / "debug" / "client")]

    def trusting(self, authority: Path) -> Mapping[str, str]:
        return {"SSL_CERT_FILE": str(authority)}


def _with_registry(lock: str, line: str) -> str:
    """Return a Cargo.lock whose packages with a checksum come from the registry."""
    return re.sub(r"(?m)^checksum = ", lambda found: f"{line}\n{found[0]}", lock)


class Java(Program):
    """Maven; the bill of materials of pom.xml fixes every version."""

    name, client, agent = "java", "SDK for Java", "aws-sdk-java"

    @property
    def version(self) -> str:
        found = ET.parse(self.source / "pom.xml").getroot().findtext("properties/aws.version")
        assert found
        return found

    def build(self) -> None:
        self.run("mvn", "--batch-mode", "--quiet", "process-classes")

    def command(self) -> list[str]:
        return [
            "java",
            "-cp",
            f"{self.folder / 'target' / 'classes'}:{self.folder / 'target' / 'dependency'}/*",
            "Client",
        ]

    def trusting(self, authority: Path) -> Mapping[str, str]:
        """Java trusts what is in a store of its own form."""
        store = authority.with_name("trust.p12")
        if not store.exists():
            self.run(
                "keytool", "-importcert", "-noprompt", "-alias", "authority", "-file", str(authority), "-storetype", "PKCS12",
                "-keystore", str(store), "-storepass", TRUST_PASSWORD,
            )  # fmt: skip
        options = {"trustStore": str(store), "trustStorePassword": TRUST_PASSWORD}
        return {"JDK_JAVA_OPTIONS": " ".join(f'"-Djavax.net.ssl.{name}={value}"' for name, value in options.items())}


PROGRAMS: Final[tuple[Program, ...]] = (JavaScript(), Java(), Rust(), Go())
