"""Who an AWS client is: from the bytes of a request to the principal of the configuration, or one of AWS's errors.

The configuration's table of principals is the source of truth: an access key whose principal is not in it any more, or has another
account than when the key was made, opens nothing. So is the catalog for access keys: what it no longer has, or has as Inactive, is refused
as soon as the view knows it, and its secret leaves this memory at the same moment.

In memory are the secrets of at most `MAX_SECRETS` access keys, and of each the signing keys of `MAX_SIGNING_KEYS` scopes; the one that was
not used for the longest goes first. Nothing of them has a repr. Python cannot promise to erase what was dropped.

An access key that cannot be used is answered after the same computation as one that can, with a key that nobody knows. A key's first use
after a start waits for the token besides.

For one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from hsmkms.core.access_keys import AccessKey, AccessKeyStatus
from hsmkms.core.errors import AccessDeniedException
from hsmkms.core.model import Principal
from hsmkms.server.aws import sigv4
from hsmkms.server.aws.errors import UnrecognizedClientException
from hsmkms.server.aws.sigv4 import CredentialScope, HttpRequest, Signed

SERVICES: Final = ("kms", "sts")
MAX_SECRETS: Final = 1024
MAX_SIGNING_KEYS: Final = 4
"""Of one access key: two services, and two days around midnight."""
SECURITY_TOKEN: Final = "x-amz-security-token"  # noqa: S105  # a header's name

_UNRECOGNIZED: Final = "The security token included in the request is invalid."
_log = structlog.get_logger(__name__)


class AccessKeys(Protocol):
    """The access keys of the catalog's view (`hsmkms.server.catalog.access_key_index.AccessKeyIndex`)."""

    def get(self, access_key_id: str) -> AccessKey | None:
        """Return the access key of that id, Active or not, or None."""

    def listen(self, changed: Callable[[str], None]) -> None:
        """Have a function called with the id of each access key that changes."""


class Uses(Protocol):
    """Takes note of uses (`hsmkms.server.aws.last_uses.LastUses`)."""

    def note(self, access_key_id: str, service: str, used: int) -> None:
        """Note a use at a time in microseconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A request whose sender is known.

    Args:
        principal: The sender: the same as the gRPC service makes of the principal's certificate.
        access_key_id: The access key that signed.
        signed: The signature and what it is for.
        idempotency_key: The same for the same signature and for no other request: 70 ASCII characters.
        invocation_id: What the client's SDK says is the same call, tried again; signed by some SDKs and not by others. Or None.
    """

    principal: Principal
    access_key_id: str
    signed: Signed
    idempotency_key: str
    invocation_id: str | None = None


@dataclass(slots=True)
class _Loaded:
    """An access key's secret in memory, and signing keys made from it."""

    sealed: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    signing_keys: OrderedDict[CredentialScope, bytes] = field(repr=False, default_factory=OrderedDict)


class Authenticator:
    """Verifies signatures.

    Args:
        access_keys: The catalog's access keys.
        require_fresh: Raises KeyUnavailableException when the catalog's view is too old to be believed.
        principals: The principals by the name that access keys have.
        open_secret: Has the token open an access key's secret.
        region: The Region of this service.
        now_us: The time in microseconds since 1970, UTC.
        uses: Takes note of uses.
    """

    def __init__(
        self,
        access_keys: AccessKeys,
        require_fresh: Callable[[], None],
        principals: Mapping[str, Principal],
        open_secret: Callable[[AccessKey], Awaitable[bytes]],
        region: str,
        now_us: Callable[[], int],
        uses: Uses,
    ) -> None:
        self._access_keys = access_keys
        self._require_fresh = require_fresh
        self._principals = principals
        self._open_secret = open_secret
        self._region = region
        self._now_us = now_us
        self._uses = uses
        self._nobodys_key = secrets.token_bytes(32)
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._opening: dict[str, asyncio.Task[bytes]] = {}
        access_keys.listen(self._changed)

    async def authenticate(
        self, request: HttpRequest, service: str, certified: Principal | None = None
    ) -> Authenticated:
        """Return who sent a request.

        Args:
            request: The request.
            service: What it asks for, `kms` or `sts`: the signature must be for that.
            certified: Whom the client's certificate names, where there is one: it must be the same.

        Raises:
            SignatureError: the request is not signed by somebody who may come in; which of AWS's errors, the class says.
            AccessDeniedException: the certificate is somebody else's.
            KeyUnavailableException: the token or the catalog is out of reach; try again later.
            KMSInternalException: the catalog's row of this access key is damaged.
        """
        assert service in SERVICES, "the endpoint knows no other"
        signed = sigv4.parse(request)
        now_us = self._now_us()
        sigv4.require_scope(signed.scope, self._region, service)
        sigv4.require_current(signed.time, datetime.fromtimestamp(now_us / 1_000_000, UTC))
        if request.header(SECURITY_TOKEN) is not None:
            raise UnrecognizedClientException(_UNRECOGNIZED, detail="this service issues no session tokens")
        self._require_fresh()
        access_key_id = signed.scope.access_key_id
        found = self._usable(access_key_id)
        key = self._nobodys_key if found is None else await self._signing_key(found[0], signed.scope)
        is_right = sigv4.matches(signed, key)
        usable = self._usable(access_key_id)  # again: it may have been disabled while the token opened its secret
        if found is None or usable is None:
            self._forget(access_key_id)
            raise UnrecognizedClientException(_UNRECOGNIZED, detail=self._why_unusable(access_key_id))
        if not is_right:
            sigv4.refuse("the signature was made with another secret, or of another request")
        principal = usable[1]
        if certified is not None and certified.arn != principal.arn:
            raise AccessDeniedException(
                "The client certificate and the access key are not of the same principal.",
                detail=f"certificate of {certified.arn}, access key of {principal.arn}",
            )
        self._uses.note(access_key_id, service, now_us)
        return Authenticated(
            principal, access_key_id, signed, idempotency_key(signed), request.header("amz-sdk-invocation-id")
        )

    def _usable(self, access_key_id: str) -> tuple[AccessKey, Principal] | None:
        key = self._access_keys.get(access_key_id)
        if key is None or key.status is not AccessKeyStatus.ACTIVE:
            return None
        principal = self._principals.get(key.principal)
        return None if principal is None or principal.account != key.account else (key, principal)

    def _why_unusable(self, access_key_id: str) -> str:
        key = self._access_keys.get(access_key_id)
        if key is None:
            return "no such access key"
        if key.status is not AccessKeyStatus.ACTIVE:
            return f"access key {access_key_id} of {key.principal!r} is {key.status}"
        return f"the configuration has no principal {key.principal!r} of account {key.account}"

    async def _signing_key(self, key: AccessKey, scope: CredentialScope) -> bytes:
        loaded = self._loaded.get(key.access_key_id)
        if loaded is None or loaded.sealed != key.sealed:
            loaded = _Loaded(key.sealed, await self._secret(key))
            if self._usable(key.access_key_id) is None:
                return self._nobodys_key  # disabled meanwhile: it must not come back into memory
            self._loaded[key.access_key_id] = loaded
            if len(self._loaded) > MAX_SECRETS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key.access_key_id)
        signing_key = loaded.signing_keys.get(scope)
        if signing_key is None:
            signing_key = loaded.signing_keys[scope] = sigv4.signing_key(loaded.secret, scope)
            if len(loaded.signing_keys) > MAX_SIGNING_KEYS:
                loaded.signing_keys.popitem(last=False)
        return signing_key

    async def _secret(self, key: AccessKey) -> bytes:
        """Have the token open a secret; requests that wait for the same one wait for one opening."""
        task = self._opening.get(key.access_key_id)
        if task is None:
            task = asyncio.ensure_future(self._open_secret(key))
            self._opening[key.access_key_id] = task
            task.add_done_callback(lambda done: self._opened(key.access_key_id, done))
        return await asyncio.shield(task)

    def _opened(self, access_key_id: str, task: asyncio.Task[bytes]) -> None:
        self._opening.pop(access_key_id, None)
        if not task.cancelled():
            task.exception()  # seen, even if whoever waited has gone

    def _changed(self, access_key_id: str) -> None:
        key = self._access_keys.get(access_key_id)
        if key is None or key.status is not AccessKeyStatus.ACTIVE:
            self._forget(access_key_id)
        _log.info(
            "access key changed",
            access_key_id=access_key_id,
            principal=None if key is None else key.principal,
            status="deleted" if key is None else key.status.value,
        )

    def _forget(self, access_key_id: str) -> None:
        self._loaded.pop(access_key_id, None)


def idempotency_key(signed: Signed) -> str:
    """Return what makes a change recognisable that comes again with the same signature: printable ASCII, 70 characters."""
    text = f"{signed.scope.access_key_id}/{signed.signature}"
    return "sigv4:" + hashlib.sha256(text.encode("ascii")).hexdigest()
