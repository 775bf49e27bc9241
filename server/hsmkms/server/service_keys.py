"""The keys of the service's own on the token, and the MACs made with them (docs/adr/0005)."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Final

from hsmkms.core.ciphertext import KEY_UUID_BYTES, Suite, canary_digest
from hsmkms.core.commands import KeyRef, Rewrap
from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.model import BackingKeyState
from hsmkms.core.service_keys import ServiceKey
from hsmkms.core.startup import TokenDescription
from hsmkms.server.catalog import Catalog
from hsmkms.server.system import StartError
from hsmkms.server.token.port import WorkerToken

SERVICE_KEY: Final = "service"
"""Purpose of the service key that health and pagination markers, grant tokens and the like use."""
AUDIT_KEY: Final = "audit"
"""Purpose of the service key that anchors the audit log."""
IMPORT_KEY: Final = "import"
"""Purpose of the service key that the private keys in import tokens are wrapped under."""
CREDENTIALS_KEY: Final = "credentials"
"""Purpose of the service key that the secrets of access keys are sealed under; made with the first access key."""
SERVICE_KEY_WAIT_S: Final = 150.0
"""How long another front's claim on a service key is waited for: longer than a claim lasts (`catalog.claims`)."""
SERVICE_KEY_RETRY_S: Final = 0.2


async def service_key(
    catalog: Catalog, token: WorkerToken, description: TokenDescription, purpose: str = SERVICE_KEY
) -> KeyRef:
    """Return a key of the service's own; make it at the first start, or anew if making it was interrupted.

    Raises:
        StartError: another front did not finish making it, or the catalog cannot be changed.
    """
    key = await _begin_service_key(
        catalog, purpose, token.suite, f"{description.token_label} {description.token_serial}"
    )
    if key.state is BackingKeyState.CREATING:
        canary = await token.generate_backing_key(key.cka_id, key.suite)
        key = await catalog.finish_service_key(purpose, canary)
    return KeyRef(key.cka_id, key.suite, key.canary)


async def _begin_service_key(catalog: Catalog, purpose: str, suite: Suite, token: str) -> ServiceKey:
    """Begin a service key; one that another front is making, since it starts at the same time, is waited for.

    Raises:
        StartError: it took too long.
    """
    deadline = time.monotonic() + SERVICE_KEY_WAIT_S
    while True:
        try:
            return await catalog.begin_service_key(purpose, suite, token)
        except KeyUnavailableException as error:
            if time.monotonic() >= deadline:
                why = f"{error.message} {error.detail}".rstrip()
                raise StartError(f"the service key for {purpose} cannot be made: {why}") from error
            await asyncio.sleep(SERVICE_KEY_RETRY_S)


async def derived_key(token: WorkerToken, key: KeyRef, label: bytes) -> bytes:
    """Return a MAC key of the service: derived on the token, so the same on every front, and in no file (docs/adr/0005).

    Args:
        token: The token.
        key: The service key.
        label: What the MAC key is for: another label gives an independent key.
    """
    key_uuid = key.cka_id[:KEY_UUID_BYTES]
    own_derivation = hashlib.sha256(label + key_uuid).digest()
    wrapped = await token.service_rewrap(Rewrap(key, canary_digest(key_uuid), key.canary, key, own_derivation))
    return hashlib.sha256(label + wrapped).digest()


async def service_mac(token: WorkerToken, key: KeyRef, digest: bytes) -> bytes:
    """Return a MAC that the token makes over 32 bytes: the key's canary, wrapped under the key that it derives from them."""
    old = canary_digest(key.cka_id[:KEY_UUID_BYTES])
    return await token.service_rewrap(Rewrap(key, old, key.canary, key, digest))
