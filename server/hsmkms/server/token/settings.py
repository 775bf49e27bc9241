"""What the configuration and the token's description mean for the pool of workers."""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import Suite
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.server.config import ConfigError, Token
from hsmkms.server.token.pool import PoolSettings

_NEEDED_FOR_DIRECT: Final = ("created_objects", "readable_objects")


def worker_settings(token: Token) -> WorkerSettings:
    """Return what a worker needs to reach the configured token."""
    return WorkerSettings(
        module=str(token.module),
        token_label=token.label,
        token_serial=token.serial,
        pin_file=str(token.pin_path()),
        lock_file=str(token.lock_path()),
    )


def pool_settings(token: Token) -> PoolSettings:
    """Return how many workers there are to be, and when they are replaced."""
    return PoolSettings(
        worker=worker_settings(token),
        environment=token.environment,
        workers=token.workers,
        spare=token.spare,
        max_queued=token.max_queued,
        replace_after_objects=token.replace_after_objects,
        replace_after_bytes=token.replace_after_bytes,
    )


def suite_of(description: TokenDescription) -> Suite:
    """Return the suite of new backing keys.

    Raises:
        ConfigError: the token has no derivation that this version can seal with.
    """
    if description.capabilities.get("suite_1"):
        return Suite.AES_CBC_ENCRYPT_DATA
    raise ConfigError(
        f"token: {description.token_label} cannot derive by CKM_AES_CBC_ENCRYPT_DATA, the one derivation of this version; "
        f"`hsm-kms token info` shows what it can do"
    )


def seals_directly(description: TokenDescription) -> bool:
    """Say whether plaintexts may go in and out of the token as objects (mode DIRECT)."""
    return all(description.capabilities.get(name) for name in _NEEDED_FOR_DIRECT)
