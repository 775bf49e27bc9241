"""The principals of the configuration and their identity policies."""

from __future__ import annotations

from pathlib import Path

from hsmkms.core.errors import MalformedPolicyDocumentException
from hsmkms.core.model import Principal
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.statements import Policy
from hsmkms.server.config import Config, ConfigError


def principals(config: Config) -> dict[str, Principal]:
    """Return the principals by the name that their certificate has."""
    return {entry.name: Principal(entry.name, entry.account, entry.arn, entry.tags) for entry in config.principals}


def identity_policies(config: Config) -> dict[str, tuple[Policy, ...]]:
    """Return the identity policies of each principal, by its ARN.

    Raises:
        ConfigError: one cannot be read, or is not valid; the text names the file and the place in it.
    """
    return {entry.arn: tuple(_identity_policy(file) for file in entry.policy_files) for entry in config.principals}


def _identity_policy(file: Path) -> Policy:
    try:
        return parse_policy(file.read_text(encoding="utf-8"), PolicyKind.IDENTITY)
    except OSError as error:
        raise ConfigError(f"principals: {file}: {error.strerror}") from error
    except (UnicodeDecodeError, MalformedPolicyDocumentException) as error:
        raise ConfigError(f"principals: {file}: {error}") from error
