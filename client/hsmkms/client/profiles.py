"""Where the service is and how to prove who calls: a `Profile`, and where its settings come from.

A setting is taken from the first of: the caller (a command line option), the environment, the profile file. The file is TOML with
one table for each profile:

    [default]
    endpoint = "kms.example.com:8443"
    ca_file = "ca.pem"                  # relative paths are relative to the profile file
    certificate_file = "client.pem"
    private_key_file = "client.key"

It is the file that the caller names, or `HSM_KMS_PROFILE_FILE` names, or `~/.config/hsm-kms/profiles.toml`, which may be missing.
The profile is the one that the caller names, or `HSM_KMS_PROFILE` names, or `default`. An environment variable that is empty counts
as absent. Nothing here reads a certificate or a key, and no setting is a secret.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hsmkms.client.errors import ProfileError

DEFAULT_PROFILE_FILE: Final = Path("~/.config/hsm-kms/profiles.toml")
DEFAULT_PROFILE: Final = "default"
ENVIRONMENT: Final[Mapping[str, str]] = {
    "HSM_KMS_ENDPOINT": "endpoint",
    "HSM_KMS_CA_FILE": "ca_file",
    "HSM_KMS_CERTIFICATE_FILE": "certificate_file",
    "HSM_KMS_PRIVATE_KEY_FILE": "private_key_file",
    "HSM_KMS_SERVER_NAME": "server_name",
    "HSM_KMS_TIMEOUT": "timeout_s",
}
"""The environment variables that are settings, by name."""

_HOST_AND_PORT: Final = r"^(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"
_REQUIRED: Final = ("endpoint", "ca_file", "certificate_file", "private_key_file")


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Profile:
    """Connection settings.

    Args:
        endpoint: `HOST:PORT` of the service's gRPC port; an IPv6 address goes in brackets.
        ca_file: PEM file of the authority that the server's certificate must come from.
        certificate_file: PEM file of the client's certificate, and intermediates after it.
        private_key_file: PEM file of its private key, without a passphrase.
        server_name: The name that the server's certificate must have, where it is not the endpoint's host.
        timeout_s: Longest time for a call in seconds, all its attempts together.
        attempts: Most attempts for a call, 1 to 10.

    Raises:
        ValueError: a setting is out of its limits.
    """

    endpoint: Annotated[str, StringConstraints(pattern=_HOST_AND_PORT, max_length=300)]
    ca_file: Path
    certificate_file: Path
    private_key_file: Path
    server_name: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 4


@dataclasses.dataclass(frozen=True, slots=True)
class _Setting:
    value: Any
    origin: str


def load_profile(
    name: str | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    settings: Mapping[str, object] = MappingProxyType({}),
) -> Profile:
    """Return the profile that the caller, the environment and the profile file describe.

    Args:
        name: The profile's name.
        file: The profile file.
        environment: The environment.
        settings: Single settings, named as `Profile`'s; those that are None count as absent.

    Raises:
        ProfileError: a setting is missing, unknown or out of its limits, or the file cannot be read or is not TOML.
    """
    variables = {variable: value for variable, value in environment.items() if value}
    name = name or variables.get("HSM_KMS_PROFILE")
    file = file or (Path(variables["HSM_KMS_PROFILE_FILE"]) if "HSM_KMS_PROFILE_FILE" in variables else None)
    found: dict[str, _Setting] = _from_file(file, name)
    for variable, setting in ENVIRONMENT.items():
        if variable in variables:
            found[setting] = _Setting(_expanded(setting, variables[variable], Path()), variable)
    for setting, value in settings.items():
        if value is not None:
            found[setting] = _Setting(
                _expanded(setting, value, Path()), "--" + setting.removesuffix("_s").replace("_", "-")
            )
    return _validated(found, name or DEFAULT_PROFILE, (file or DEFAULT_PROFILE_FILE).expanduser())


def _from_file(file: Path | None, name: str | None) -> dict[str, _Setting]:
    path = (file or DEFAULT_PROFILE_FILE).expanduser()
    if file is None and name is None and not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProfileError(f"cannot read the profile file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ProfileError(f"the profile file {path} is not TOML: {error}") from error
    table = document.get(name or DEFAULT_PROFILE)
    if table is None and name is None:
        return {}
    if not isinstance(table, dict):
        there = ", ".join(sorted(document)) or "none"
        raise ProfileError(f"the profile file {path} has no profile '{name or DEFAULT_PROFILE}'; it has: {there}")
    return {
        setting: _Setting(
            _expanded(setting, value, path.parent), f"{setting} of profile '{name or DEFAULT_PROFILE}' in {path}"
        )
        for setting, value in table.items()
    }


def _expanded(setting: str, value: Any, folder: Path) -> Any:
    return folder / Path(value).expanduser() if setting.endswith("_file") and isinstance(value, str | Path) else value


def _validated(found: Mapping[str, _Setting], name: str, path: Path) -> Profile:
    missing = [setting for setting in _REQUIRED if setting not in found]
    if missing:
        variables = {setting: variable for variable, setting in ENVIRONMENT.items()}
        raise ProfileError(
            f"no {' and no '.join(missing)}: give "
            + ", ".join(f"--{setting.replace('_', '-')} or {variables[setting]}" for setting in missing)
            + f", or write profile '{name}' in {path}"
        )
    try:
        return TypeAdapter(Profile).validate_python({setting: each.value for setting, each in found.items()})
    except ValidationError as error:
        problems = "; ".join(_problem(found, str(each["loc"][0]), each["type"], each["msg"]) for each in error.errors())
        raise ProfileError(problems) from error


def _problem(found: Mapping[str, _Setting], setting: str, kind: str, text: str) -> str:
    origin = found[setting].origin if setting in found else setting
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{origin}: unknown setting; there are {', '.join(each.name for each in dataclasses.fields(Profile))}"
    if setting == "endpoint":
        return f"{origin}: '{found[setting].value}' is not HOST:PORT"
    return f"{origin}: {text[:1].lower()}{text[1:]}"
