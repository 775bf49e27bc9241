"""A throw-away NSS softokn token: a database of its own, a PIN file, and the shim that hands softokn its parameters.

As `support.softhsm`, with the same members, so that a test takes either. A machine without NSS, certutil or gcc fails these tests:
the second token is what shows that this is a PKCS#11 service and not a SoftHSM one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hsmkms.core.startup import WorkerSettings
from support.softhsm import LABEL, PIN

SOURCE = Path(__file__).with_name("nss_shim.c")
CACHE = Path(__file__).resolve().parents[2] / ".cache"
SOFTOKN = ("/usr/lib*/*/libsoftokn3.so", "/usr/lib*/*/nss/libsoftokn3.so", "/usr/lib*/libsoftokn3.so")
QUICK = {"NSS_MAX_MP_PBE_ITERATION_COUNT": "1"}
"""Of PBKDF2, for each attribute of each token key: 0.5 ms for a rewrap instead of 14. For tests only."""


def softokn() -> str:
    """Return where NSS softokn is."""
    for pattern in SOFTOKN:
        for path in sorted(Path("/").glob(pattern.removeprefix("/"))):
            return str(path)
    raise AssertionError("these tests need NSS softokn (apt install libnss3)")


@functools.cache
def shim() -> str:
    """Return the shim, built when its source is new."""
    built = CACHE / f"nss_shim-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not built.exists():
        compiler = shutil.which("gcc")
        assert compiler, "these tests need gcc (apt install gcc libc6-dev)"
        CACHE.mkdir(exist_ok=True)
        new = built.with_suffix(f".{os.getpid()}")
        options = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([compiler, *options, "-o", str(new), str(SOURCE), "-ldl"], check=True)
        new.rename(built)
    return str(built)


@dataclass(frozen=True, slots=True)
class NssToken:
    """A database folder.

    Args:
        folder: Everything of it.
        pin_file: Holds the user PIN, mode 600.
        lock_file: For workers that log in.
        label: The token's label.
        name: The kind of token, as docs/tokens.md names it.
    """

    folder: Path
    pin_file: Path
    lock_file: Path
    label: str = LABEL
    name: str = "NSS"

    @property
    def module(self) -> str:
        """The PKCS#11 module."""
        return shim()

    @property
    def database(self) -> Path:
        """The folder of the database."""
        return self.folder / "database"

    @property
    def variables(self) -> dict[str, str]:
        """What a process that loads the module must have in its environment."""
        parameters = f"configdir='sql:{self.database}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='{self.label}'"
        return {"NSS_SHIM_MODULE": softokn(), "NSS_SHIM_PARAMETERS": parameters, **QUICK}

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment for a process that loads the module."""
        return {**os.environ, **self.variables, **more}

    def settings(self, **changes: object) -> WorkerSettings:
        """Return settings for a worker on this token."""
        known: dict[str, object] = {
            "module": self.module,
            "token_label": self.label,
            "token_serial": "",
            "pin_file": str(self.pin_file),
            "lock_file": str(self.lock_file),
        }
        return WorkerSettings(**{**known, **changes})  # type: ignore[arg-type]


def make_nss_token(folder: Path) -> NssToken:
    """Make a database whose user PIN is set."""
    certutil = shutil.which("certutil")
    assert certutil, "these tests need certutil (apt install libnss3-tools)"
    made = NssToken(folder, folder / "pin", folder / "start.lock")
    made.database.mkdir(parents=True)
    made.pin_file.touch(mode=0o600)
    made.pin_file.write_text(PIN + "\n")
    subprocess.run(
        [certutil, "-N", "-d", f"sql:{made.database}", "-f", str(made.pin_file)],
        check=True,
        capture_output=True,
        env={**os.environ, **QUICK},
    )
    return made
