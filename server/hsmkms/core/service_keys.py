"""How a deployment names its objects on the token: the label they all carry, and the CKA_IDs of its service keys.

A KMS key's id is a random UUID (version 4), a service key's a derived one (version 8), so the two can never meet. Nothing here is
secret.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Final

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.model import BackingKeyState

SERVICE_KEY_VERSION: Final = 1
PURPOSES: Final = ("service", "audit", "import", "credentials")
"""Every purpose that this version makes a service key for; from it, a catalog that is rebuilt knows them on the token."""
_DERIVATION_LABEL: Final = b"hsm-kms/service-key/v1"
_LABEL_PREFIX: Final = b"hsm-kms/"


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A key of the service's own, on the token: for pagination markers, grant tokens, the audit log's anchor, access keys and the like.

    Args:
        purpose: What it is for; one key for each purpose.
        cka_id: 20 bytes, as `service_key_cka_id` derives them.
        suite: The derivation it was generated for.
        token: Label and serial number of the token that holds it.
        state: Creating or Active.
        canary: The public value wrapped under it, empty while Creating.
    """

    purpose: str
    cka_id: bytes
    suite: Suite
    token: str
    state: BackingKeyState
    canary: bytes


def deployment_label(deployment_id: uuid.UUID) -> bytes:
    """Return the `CKA_LABEL` of every object that a deployment makes on a token."""
    return _LABEL_PREFIX + str(deployment_id).encode()


def service_key_cka_id(deployment_id: uuid.UUID, purpose: str) -> bytes:
    """Return the `CKA_ID` of a deployment's service key: a UUID of version 8 (RFC 9562, section 5.8), then version 1.

    Args:
        deployment_id: The catalog's deployment id.
        purpose: What the key is for.
    """
    digest = bytearray(hashlib.sha256(_DERIVATION_LABEL + deployment_id.bytes + purpose.encode()).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return cka_id(bytes(digest), SERVICE_KEY_VERSION)
