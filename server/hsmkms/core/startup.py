"""What the front tells a worker when it starts, and what the worker answers: JSON inside the first frame.

The PIN is in neither: the worker reads it from the file that the settings name.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

ALLOCATOR: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=127"}
"""Environment of a token worker: how many freed pieces of memory of each size glibc keeps at hand, instead of 7. The most that every
glibc takes, and at most 5 MiB. SoftHSM makes and destroys three objects of some hundred pieces in each ReEncrypt, and takes about a tenth
less processor time with it."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker needs to reach its token.

    Args:
        module: Path of the PKCS#11 module.
        token_label: Label of the token; exactly one token must have it.
        token_serial: Serial number, or empty; told apart by it where two tokens share a label.
        pin_file: Path of the file that holds the PIN.
        lock_file: Path of the host-wide lock under which workers log in, one after the other.
        lock_wait_s: Longest wait for that lock, in seconds.
        capabilities: What an earlier worker of this service found, or None to probe.
        load_keys: Whether to find every backing key at the start, as each worker of a service does; a tool need not.
    """

    module: str
    token_label: str
    token_serial: str
    pin_file: str
    lock_file: str
    lock_wait_s: float = 30.0
    capabilities: dict[str, Any] | None = None
    load_keys: bool = True

    def to_json(self) -> bytes:
        """Return the settings as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> WorkerSettings:
        """Read what `to_json` wrote."""
        return cls(**json.loads(data))


@dataclass(frozen=True, slots=True)
class TokenDescription:
    """What a worker says of its token once it is logged in.

    Args:
        module: Path of the module.
        library: The library's description and version.
        token_label: The token's label.
        token_serial: Its serial number.
        model: Its model.
        manufacturer: Its maker.
        max_sessions: How many sessions it allows, or None where it states no limit.
        capabilities: The probe's findings by name: true, false, or a text.
        cka_ids: CKA_IDs of the backing keys that were loaded, in hex.
        startup_ms: How long the start took, in milliseconds.
    """

    module: str
    library: str
    token_label: str
    token_serial: str
    model: str
    manufacturer: str
    max_sessions: int | None
    capabilities: dict[str, Any]
    cka_ids: list[str] = field(default_factory=list)
    startup_ms: float = 0.0

    def to_json(self) -> bytes:
        """Return the description as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> TokenDescription:
        """Read what `to_json` wrote."""
        return cls(**json.loads(data))
