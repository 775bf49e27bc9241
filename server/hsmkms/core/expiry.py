"""Imported key material whose time has come: a key as it is at a moment, whatever the catalog has written of it.

The catalog takes expired material out of use only when it is certain that its time has really passed, and has it destroyed then
(docs/adr/0008). Nothing is lost by not using it from the very moment on, so no front does.
"""

from __future__ import annotations

import dataclasses

from hsmkms.core.model import BackingKey, BackingKeyState, KeyState, KmsKey, Origin


def at(key: KmsKey, now: int) -> KmsKey:
    """Return a key as it is at that time: without material that has expired, and PendingImport if it was Enabled.

    Args:
        key: The key as the catalog has it.
        now: Microseconds since 1970, UTC.
    """
    if key.origin is not Origin.EXTERNAL or not any(_has_expired(one, now) for one in key.backing_keys.values()):
        return key
    return dataclasses.replace(
        key,
        state=KeyState.PENDING_IMPORT if key.state is KeyState.ENABLED else key.state,
        current_version=0,
        backing_keys={
            version: dataclasses.replace(one, state=BackingKeyState.PENDING_IMPORT) if _has_expired(one, now) else one
            for version, one in key.backing_keys.items()
        },
    )


def _has_expired(backing_key: BackingKey, now: int) -> bool:
    return backing_key.state is BackingKeyState.ACTIVE and backing_key.expiry is not None and backing_key.expiry <= now
