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
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PIN_CREDENTIAL = "hsm-kms-pin"
"""Name of the systemd credential that holds the PIN (`LoadCredential=hsm-kms-pin:…`)."""

_SQLITE = "sqlite:///"

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


class PrincipalEntry(_Section):
    """Who a client is: its certificate's name, and what stands for it in policies."""

    name: Annotated[str, Field(min_length=1, max_length=512)]
    """The certificate's URI SAN or subject, exactly (`tls.principal` says which)."""
    arn: Annotated[
        str,
        Field(max_length=2048, pattern=r"^arn:[a-z0-9-]+:(iam|sts)::[0-9]{12}:(user|role|assumed-role)/[\x21-\x7e]+$"),
    ]
    tags: dict[str, str] = {}
    """For the condition key aws:PrincipalTag."""
    policy_files: tuple[Path, ...] = ()
    """Identity policies: AWS policy documents."""

    @property
    def account(self) -> str:
        """The account in the ARN."""
        return self.arn.split(":")[4]


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


class Aws(_Section):
    """The endpoint for AWS clients: AWS JSON over HTTPS, requests signed with Signature Version 4."""

    address: Address | None = None
    """Where it listens; without it, there is no such endpoint."""
    certificate_file: Path | None = None
    private_key_file: Path | None = None
    """Its own certificate; without them, that of `Tls`. Files are read again when they change."""
    client_ca_file: Path | None = None
    """With it, clients need a certificate of this authority as well, which names the principal that the access key is of."""
    max_connections: Annotated[int, Field(ge=1, le=65536)] = 1024
    max_connections_per_address: Annotated[int, Field(ge=1, le=65536)] = 512
    receive_timeout_s: Annotated[float, Field(ge=0.1, le=300)] = 10.0
    """How long a request may take to arrive, from its first byte to its last."""
    keep_alive_s: Annotated[int, Field(ge=1, le=3600)] = 60
    """How long a connection may idle."""

    @model_validator(mode="after")
    def _has_both_or_none(self) -> Self:
        if (self.certificate_file is None) != (self.private_key_file is None):
            raise ValueError("certificate_file and private_key_file belong together")
        return self


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
    suite: Annotated[int, Field(ge=1, le=2)] | None = None
    """The derivation of new backing keys (docs/ciphertext-format.md), where the token has both; else the one that it has."""
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

    url: Annotated[str, Field(pattern=r"^(sqlite:///.+|postgresql://.*)$")]
    """Without a password: that is in a file of its own, which libpq reads."""
    max_staleness_s: Annotated[float, Field(gt=0, le=3600)] = 30.0

    @field_validator("url")
    @classmethod
    def _holds_no_password(cls, url: str) -> str:
        parts = urlsplit(url)
        names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if parts.password is not None or names & {"password", "sslpassword"}:
            raise ValueError("a password does not belong here: put it into a pass file (~/.pgpass, or PGPASSFILE)")
        return url


class Audit(_Section):
    """The audit log."""

    enabled: bool = True
    directory: Path | None = None
    """Where its files are; made if it is not there. Without it, `audit` beside the catalog's file."""
    max_file_bytes: Annotated[int, Field(ge=1 << 20)] = 256 << 20
    """A new file is begun rather than write beyond this."""
    anchor_every_records: Annotated[int, Field(ge=1)] = 10_000
    anchor_every_s: Annotated[float, Field(ge=0.1, le=86400)] = 60.0
    """An anchor is made after so many requests, and so long after a request that has none."""


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
    upkeep_every_s: Annotated[float, Field(ge=0.1, le=300)] = 60.0
    """How often the service writes its heartbeat, rotates the keys that are due, deletes those whose waiting period has passed, and keeps
    the last uses of keys."""


class Log(_Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Config(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(
        env_prefix="HSM_KMS_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    service: Service = Service()
    listen: Listen = Listen()
    tls: Tls
    aws: Aws = Aws()
    token: Token
    catalog: Catalog
    audit: Audit = Audit()
    limits: Limits = Limits()
    log: Log = Log()
    principals: tuple[PrincipalEntry, ...] = ()
    """Who may call at all; a certificate whose name is not here gets nothing."""

    @field_validator("principals")
    @classmethod
    def _are_unambiguous(cls, principals: tuple[PrincipalEntry, ...]) -> tuple[PrincipalEntry, ...]:
        names = [principal.name for principal in principals]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is there twice")
        first: dict[str, PrincipalEntry] = {}
        for entry in principals:
            known = first.setdefault(entry.arn, entry)
            if (known.tags, known.policy_files) != (entry.tags, entry.policy_files):
                raise ValueError(f"{entry.arn} is there with different tags or policy_files")
        return principals

    @field_validator("listen")
    @classmethod
    def _ports_fit(cls, listen: Listen) -> Listen:
        for address in (listen.address, listen.metrics_address):
            _require_port(address)
        return listen

    @field_validator("aws")
    @classmethod
    def _port_of_aws_fits(cls, aws: Aws) -> Aws:
        if aws.address is not None:
            _require_port(aws.address)
        return aws

    def audit_directory(self) -> Path:
        """Return where the audit log's files are.

        Raises:
            ConfigError: the configuration does not say, and the catalog is no file beside which they could be.
        """
        if self.audit.directory is not None:
            return self.audit.directory
        if not self.catalog.url.startswith(_SQLITE):
            raise ConfigError(
                "audit.directory is not set, and the catalog is no file beside which the audit log could be"
            )
        return Path(self.catalog.url.removeprefix(_SQLITE)).parent / "audit"

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


def _require_port(address: str) -> None:
    if int(address.rpartition(":")[2]) > 65535:
        raise ValueError(f"{address}: a port is at most 65535")


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
    ("aws", "certificate_file"),
    ("aws", "private_key_file"),
    ("aws", "client_ca_file"),
    ("token", "pin_file"),
    ("token", "lock_file"),
    ("audit", "directory"),
)


def _absolute(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    for section, name in _PATHS:
        table = document.get(section)
        if isinstance(table, dict) and isinstance(table.get(name), str):
            table[name] = str(folder / table[name])
    principals = document.get("principals")
    for entry in principals if isinstance(principals, list) else ():
        files = entry.get("policy_files") if isinstance(entry, dict) else None
        if isinstance(files, list):
            entry["policy_files"] = [str(folder / file) if isinstance(file, str) else file for file in files]
    return document
