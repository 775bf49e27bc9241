"""What the configuration and the token's description mean for the pool of workers."""

from __future__ import annotations

from typing import Final

from hsmkms.core.ciphertext import Suite
from hsmkms.core.features import TokenFeatures
from hsmkms.core.startup import TokenDescription, WorkerSettings
from hsmkms.server.config import ConfigError, Token
from hsmkms.server.token.pool import PoolSettings

_DERIVATIONS: Final = {
    Suite.AES_CBC_ENCRYPT_DATA: "CKM_AES_CBC_ENCRYPT_DATA",
    Suite.SP800_108_CMAC_COUNTER: "CKM_SP800_108_COUNTER_KDF with AES-CMAC",
}


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


def suite_of(description: TokenDescription, preferred: int | None = None) -> Suite:
    """Return the suite of new backing keys. Those that are there keep theirs: a change takes effect at a key's next rotation.

    Args:
        description: The token.
        preferred: `token.suite` of the configuration. Without it, suite 2 where the token has it (SP 800-108 is the approved one), else 1.

    Raises:
        ConfigError: the token has no derivation that this service knows, or not the preferred one.
    """
    suites = TokenFeatures.from_capabilities(description.capabilities).suites
    if preferred is not None:
        if preferred not in suites:
            has = ", ".join(str(int(suite)) for suite in sorted(suites)) or "none"
            raise ConfigError(
                f"token.suite: {description.token_label} cannot derive by {_DERIVATIONS[Suite(preferred)]} "
                f"(suites that it has: {has}); `hsm-kms token info` shows what it can do"
            )
        return Suite(preferred)
    if not suites:
        raise ConfigError(
            f"token: {description.token_label} can derive by neither {' nor '.join(_DERIVATIONS.values())}, and without one of them "
            f"there are no keys for this service; `hsm-kms token info` shows what it can do"
        )
    return max(suites)
