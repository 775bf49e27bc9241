"""Access keys: what an AWS client signs its requests with, as values.

An access key belongs to one principal of the configuration, named as the table `[[principals]]` names it. The catalog has its secret
only sealed under a key on the token, bound to the access key's id, the principal and the deployment: moved to another row, or read
from a copy of the catalog, it is worth nothing.
"""

from __future__ import annotations

import base64
import re
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hsmkms.core.context import canonical

MAX_ACCESS_KEYS: Final = 2
"""Of one principal, as in AWS IAM: one in use, and one to change to."""
ID_RANDOM_BYTES: Final = 10
SECRET_RANDOM_BYTES: Final = 30
SECRET_CHARACTERS: Final = 40
ID_PATTERN: Final = re.compile(r"AKIA[A-Z2-7]{16}")

_PREFIX: Final = "AKIA"
"""What the ids of long-term access keys begin with (IAM User Guide, "IAM identifiers")."""


class AccessKeyStatus(StrEnum):
    """Whether an access key may be used, in IAM's spelling."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key as the catalog has it.

    Args:
        access_key_id: `AKIA` and 16 characters of base32.
        account: The account of the principal when the key was made.
        principal: The principal's name in the configuration.
        status: Active or Inactive.
        created: When it was made, in microseconds since 1970, UTC.
        last_used: When it was last used, likewise; 0 where no use was recorded. About a minute behind.
        last_service: For which service that was, `kms` or `sts`; empty where no use was recorded.
        sealed: The secret as a ciphertext of format 1 under the service key for credentials.
    """

    access_key_id: str
    account: str
    principal: str
    status: AccessKeyStatus
    created: int
    last_used: int = 0
    last_service: str = ""
    sealed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class AccessKeyUse:
    """The last use of an access key.

    Args:
        access_key_id: The access key.
        service: `kms` or `sts`.
        used: When it was, in microseconds since 1970, UTC.
    """

    access_key_id: str
    service: str
    used: int


def access_key_id(random: bytes) -> str:
    """Return the id of a new access key.

    Args:
        random: 10 random bytes.
    """
    if len(random) != ID_RANDOM_BYTES:
        raise ValueError(f"an access key's id is made of {ID_RANDOM_BYTES} bytes")
    return _PREFIX + base64.b32encode(random).decode("ascii")


def secret_access_key(random: bytes) -> str:
    """Return the secret of a new access key: 40 characters, as AWS's are.

    Args:
        random: 30 random bytes.
    """
    if len(random) != SECRET_RANDOM_BYTES:
        raise ValueError(f"a secret access key is made of {SECRET_RANDOM_BYTES} bytes")
    return base64.b64encode(random).decode("ascii")


def sealing_context(deployment_id: uuid.UUID, access_key_id: str, principal: str) -> bytes:
    """Return the encryption context, in canonical form, that a secret is sealed with.

    Args:
        deployment_id: The catalog's deployment.
        access_key_id: The access key.
        principal: Its principal's name.
    """
    return canonical(
        {"hsm-kms:deployment": str(deployment_id), "hsm-kms:access-key": access_key_id, "hsm-kms:principal": principal}
    )
