"""The service's configuration: one TOML file, checked whole before anything starts.

Each setting may be overridden by an environment variable: `HSM_KMS_` and the path with two underscores, for example
`HSM_KMS_LISTEN__ADDRESS`. There is no setting for a PIN: the token's PIN is in a file of its own, which only the worker reads.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PIN_CREDENTIAL = "hsm-kms-pin"
"""Name of the systemd credential that holds the PIN (`LoadCredential=hsm-kms-pin:…`)."""

Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^\[\]:\s]+):[0-9]{1,5}$")]


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line and says what to change."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Service(_Section):
    """Where this service stands in the world of ARNs."""

    partition: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] = "aws"
    region: Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z]+)+-[0-9]+$")] = "eu-central-1"
    account: Annotated[str, Field(pattern=r"^[0-9]{12}$")] = "111122223333"


class Listen(_Section):
    """Where it listens."""

    address: Address = "127.0.0.1:9443"
    metrics_address: Address = "127.0.0.1:9464"


class Tls(_Section):
    """The service's certificate, and the authority whose certificates clients need. Files are read again when they change."""

    certificate_file: Path
    private_key_file: Path
    client_ca_file: Path
    principal: Literal["uri-san", "subject"] = "uri-san"
    """What names a client: its certificate's one URI SAN, or its subject."""


class Token(_Section):
    """The token and its workers."""

    module: Path
    label: Annotated[str, Field(min_length=1, max_length=32)]
    serial: Annotated[str, Field(max_length=16)] = ""
    pin_file: Path | None = None
    """A file that holds the PIN and nothing else. Without it, the systemd credential `hsm-kms-pin` is used."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    spare: bool = True
    environment: dict[str, str] = {}
    """Variables for the PKCS#11 module, for example SOFTHSM2_CONF."""
    lock_file: Path | None = None
    """The lock under which workers log in, one after the other; every service on this host that uses the token must name the same."""
    max_queued: Annotated[int, Field(ge=1, le=65536)] = 512
    replace_after_objects: Annotated[int, Field(ge=1000)] = 600_000
    replace_after_bytes: Annotated[int, Field(ge=64 << 20)] = 300 << 20

    def pin_path(self) -> Path:
        """Return where the PIN is.

        Raises:
            ConfigError: neither a PIN file nor a credential is there.
        """
        if self.pin_file is not None:
            return self.pin_file
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials:
            return Path(credentials) / PIN_CREDENTIAL
        raise ConfigError(f"token.pin_file is not set, and there is no systemd credential {PIN_CREDENTIAL}")

    def lock_path(self) -> Path:
        """Return the host-wide lock for this token."""
        if self.lock_file is not None:
            return self.lock_file
        name = sha256(f"{self.module}\n{self.label}\n{self.serial}".encode()).hexdigest()[:16]
        shared = Path("/run/lock")
        folder = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
        return folder / f"hsm-kms-{name}.lock"


class Catalog(_Section):
    """The catalog."""

    url: Annotated[str, Field(pattern=r"^sqlite:///.+")]
    max_staleness_s: Annotated[float, Field(gt=0, le=3600)] = 30.0


class Limits(_Section):
    """What one service takes on."""

    request_timeout_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    """How long a caller without a deadline is waited for."""
    max_concurrent_requests: Annotated[int, Field(ge=1, le=65536)] = 2048
    max_connection_age_s: Annotated[int, Field(ge=10, le=86400)] = 900
    drain_s: Annotated[float, Field(ge=0, le=300)] = 10.0
    """How long requests under way are waited for when the service stops."""
    reconcile_every_s: Annotated[float, Field(ge=0.1, le=3600)] = 60.0
    creation_grace_s: Annotated[float, Field(ge=0, le=3600)] = 120.0
    """How old an unfinished creation must be before the reconciler takes it up."""


class Log(_Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(env_prefix="HSM_KMS_", env_nested_delimiter="__", extra="forbid", frozen=True)

    service: Service = Service()
    listen: Listen = Listen()
    tls: Tls
    token: Token
    catalog: Catalog
    limits: Limits = Limits()
    log: Log = Log()

    @field_validator("listen")
    @classmethod
    def _ports_fit(cls, listen: Listen) -> Listen:
        for address in (listen.address, listen.metrics_address):
            if int(address.rpartition(":")[2]) > 65535:
                raise ValueError(f"{address}: a port is at most 65535")
        return listen

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file (pydantic-settings calls this)."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load(path: Path) -> Config:
    """Read and check the configuration.

    Args:
        path: The TOML file. Relative paths in it are relative to its folder.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the text names the setting.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    try:
        config = Config(**_absolute(document, path.resolve().parent))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error
    return config


_PATHS = (
    ("tls", "certificate_file"),
    ("tls", "private_key_file"),
    ("tls", "client_ca_file"),
    ("token", "pin_file"),
    ("token", "lock_file"),
)


def _absolute(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    for section, name in _PATHS:
        table = document.get(section)
        if isinstance(table, dict) and isinstance(table.get(name), str):
            table[name] = str(folder / table[name])
    return document
