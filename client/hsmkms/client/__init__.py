"""A typed, synchronous client of the key management service.

    from hsmkms.client import Client, errors, load_profile

    with Client(load_profile()) as kms:
        moved = kms.re_encrypt(ciphertext_blob=sealed, source_key_id="alias/old", destination_key_id="alias/new")

`Client` has one method for each operation, and `batch_…` and `stream_…` for many requests of one. `errors` has what they raise: a
`KmsError` subclass where the service answered, a `ClientError` where it did not. `load_profile` finds the connection settings.
`contract` has the messages and enumerations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hsmkms.client import contract, errors
from hsmkms.client.errors import ClientError, KmsError
from hsmkms.client.profiles import Profile, load_profile

if TYPE_CHECKING:
    from hsmkms.client.client import Client

__all__ = ["Client", "ClientError", "KmsError", "Profile", "contract", "errors", "load_profile"]


def __getattr__(name: str) -> Any:
    """Import `Client`, and with it gRPC, when it is first asked for: a program's help and its usage errors need neither."""
    if name == "Client":
        from hsmkms.client.client import Client

        return Client
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
