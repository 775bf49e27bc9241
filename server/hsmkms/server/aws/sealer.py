"""Secrets of access keys: made here, sealed under a service key on the token, and opened again when they are first needed."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from hsmkms.core.access_keys import (
    ID_RANDOM_BYTES,
    SECRET_RANDOM_BYTES,
    AccessKey,
    AccessKeyStatus,
    access_key_id,
    sealing_context,
    secret_access_key,
)
from hsmkms.core.ciphertext import (
    KEY_UUID_BYTES,
    SALT_BYTES,
    Header,
    derivation_digest,
    mode_for_length,
    parse,
    sealed_digest,
)
from hsmkms.core.commands import Decrypt, Encrypt, KeyRef
from hsmkms.core.errors import InvalidCiphertextException, KMSInternalException
from hsmkms.core.features import TokenFeatures
from hsmkms.core.model import BackingKeyState, Principal
from hsmkms.core.service_keys import SERVICE_KEY_VERSION, ServiceKey


class SealingToken(Protocol):
    """What the token is needed for (`hsmkms.server.token.port.WorkerToken`)."""

    @property
    def features(self) -> TokenFeatures:
        """What the token can do."""

    async def service_encrypt(self, command: Encrypt) -> bytes:
        """Return the body of the ciphertext."""

    async def service_decrypt(self, command: Decrypt) -> bytes:
        """Return the plaintext."""


def usable_key(service_key: ServiceKey | None) -> KeyRef | None:
    """Return how a command names a service key, or None where it is not on the token yet."""
    if service_key is None or service_key.state is not BackingKeyState.ACTIVE:
        return None
    return KeyRef(service_key.cka_id, service_key.suite, service_key.canary)


@dataclass(frozen=True, slots=True)
class NewAccessKey:
    """An access key that was just made, with its secret: shown once, and then nowhere but sealed.

    Args:
        access_key: The access key.
        secret: Its secret, 40 characters.
    """

    access_key: AccessKey
    secret: str = field(repr=False)


class SecretSealer:
    """Seals secrets and opens them, each one bound to its access key, principal and deployment.

    Args:
        token: The token.
        deployment_id: The catalog's deployment.
        service_key: Returns the service key for credentials as the catalog has it now, or None where there is none (`usable_key`).
    """

    def __init__(self, token: SealingToken, deployment_id: uuid.UUID, service_key: Callable[[], KeyRef | None]) -> None:
        self._token = token
        self._deployment_id = deployment_id
        self._service_key = service_key

    async def make(self, principal: Principal, now: int) -> NewAccessKey:
        """Return a new access key of a principal; it is in no catalog yet.

        Args:
            principal: The principal.
            now: The time in microseconds since 1970, UTC.

        Raises:
            KmsError: the token cannot seal the secret.
        """
        secret = secret_access_key(secrets.token_bytes(SECRET_RANDOM_BYTES))
        made = AccessKey(
            access_key_id=access_key_id(secrets.token_bytes(ID_RANDOM_BYTES)),
            account=principal.account,
            principal=principal.name,
            status=AccessKeyStatus.ACTIVE,
            created=now,
        )
        return NewAccessKey(replace(made, sealed=await self._seal(made, secret.encode("ascii"))), secret)

    async def open(self, access_key: AccessKey) -> bytes:
        """Return the secret of an access key.

        Raises:
            KMSInternalException: what the catalog has is not what was sealed for this access key.
            KeyUnavailableException: the token is out of reach; try again later.
        """
        try:
            return await self._token.service_decrypt(self._opening(access_key))
        except InvalidCiphertextException as error:
            raise KMSInternalException(
                "An internal error occurred.",
                detail=f"the secret of access key {access_key.access_key_id} does not open: {error.detail}",
            ) from error

    def _opening(self, access_key: AccessKey) -> Decrypt:
        key = self._require_key()
        ciphertext = parse(access_key.sealed)
        if ciphertext.header.cka_id != key.cka_id or ciphertext.header.suite is not key.suite:
            raise InvalidCiphertextException(detail="sealed under another key than the service key for credentials")
        header = ciphertext.header.to_bytes()
        context = sealing_context(self._deployment_id, access_key.access_key_id, access_key.principal)
        digest = derivation_digest(header, context, sealed_digest(ciphertext.sealed))
        return Decrypt(key, digest, header, ciphertext.wrapped, ciphertext.sealed)

    async def _seal(self, access_key: AccessKey, secret: bytes) -> bytes:
        key = self._require_key()
        features = self._token.features
        mode = mode_for_length(len(secret), direct=features.seals_directly, padded=features.wraps_padded)
        key_uuid = key.cka_id[:KEY_UUID_BYTES]
        salt = secrets.token_bytes(SALT_BYTES)
        header = Header(key.suite, mode, key_uuid, SERVICE_KEY_VERSION, len(secret), salt).to_bytes()
        context = sealing_context(self._deployment_id, access_key.access_key_id, access_key.principal)
        return header + await self._token.service_encrypt(Encrypt(key, header, context, secret))

    def _require_key(self) -> KeyRef:
        key = self._service_key()
        if key is None:
            raise KMSInternalException(
                "An internal error occurred.", detail="the catalog has access keys and no service key for credentials"
            )
        return key
