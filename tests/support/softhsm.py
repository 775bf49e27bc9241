"""A throw-away SoftHSM token: a folder with its own configuration, one token, and a PIN file.

The test process itself need not load the module; whoever does must have `SOFTHSM2_CONF` in its environment first (`environment`).
A machine without SoftHSM fails these tests: a token is no optional extra of a KMS.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hsmkms.core.startup import WorkerSettings

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
SPY = "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so"
PIN = "correct-horse-4711"
SO_PIN = "battery-staple-0815"
LABEL = "hsm-kms test"


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """A token folder.

    Args:
        folder: Everything of it.
        conf: The file that SOFTHSM2_CONF must name.
        pin_file: Holds the user PIN, mode 600.
        lock_file: For workers that log in.
        label: The token's label.
        name: The kind of token, as docs/tokens.md names it.
    """

    folder: Path
    conf: Path
    pin_file: Path
    lock_file: Path
    label: str = LABEL
    name: str = "SoftHSM"

    @property
    def module(self) -> str:
        """The PKCS#11 module."""
        return MODULE

    @property
    def variables(self) -> dict[str, str]:
        """What a process that loads the module must have in its environment."""
        return {"SOFTHSM2_CONF": str(self.conf)}

    @property
    def tokens(self) -> Path:
        """The folder of the tokens' object files."""
        return self.folder / "tokens"

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

    def init(self, label: str, pin: str = PIN) -> None:
        """Initialise one more token."""
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", pin],
            check=True,
            capture_output=True,
            env=self.environment(),
        )


def make_folder(folder: Path) -> SoftHsm:
    """Make a token folder without a token."""
    assert Path(MODULE).is_file(), f"these tests need SoftHSM at {MODULE} (apt install softhsm2)"
    (folder / "tokens").mkdir(parents=True)
    conf = folder / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    )
    pin_file = folder / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(PIN + "\n")
    return SoftHsm(folder, conf, pin_file, folder / "start.lock")


def make_token(folder: Path) -> SoftHsm:
    """Make a token folder with one initialised token."""
    made = make_folder(folder)
    made.init(made.label)
    return made
