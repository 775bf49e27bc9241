"""Which backing keys this process is generating, importing or destroying at this moment: at most one task works on a backing key.

Generating a backing key anew destroys what an earlier attempt left on the token. Two tasks that did so for one CKA_ID (a request and
its repetition under the same idempotency key, or a request and the reconciler) could leave a catalog whose canary belongs to a
destroyed object. Whoever generates a backing key and writes it as Active does both inside `Creations.creating`; so with importing, and
with destroying what may be imported again.

For one event loop: not safe for threads, and it needs no lock because nothing here waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hsmkms.core.errors import ConflictException, KeyUnavailableException
from hsmkms.core.model import BackingKeyState, KmsKey
from hsmkms.core.ports import Begun, CatalogView


class Creations:
    """The backing keys in flight.

    Args:
        view: The catalog's view; tells whether a backing key is Creating still.
    """

    def __init__(self, view: CatalogView) -> None:
        self._view = view
        self._in_flight: set[bytes] = set()
        self._going: set[bytes] = set()

    @contextmanager
    def creating(self, begun: Begun) -> Iterator[None]:
        """Hold a backing key while it is generated and its row finished.

        Args:
            begun: What the catalog wrote as Creating.

        Raises:
            KeyUnavailableException: another task of this process holds it, or has finished it since `begun` was read. Retryable: the
                repetition finds it finished.
        """
        cka_id = begun.key.cka_id(begun.version)
        if cka_id in self._in_flight or not self._is_creating(begun):
            raise KeyUnavailableException("Another request is creating this key material. Try again.")
        with self._held(cka_id):
            yield

    @contextmanager
    def importing(self, key: KmsKey, version: int) -> Iterator[None]:
        """Hold a backing key while material is imported into it, from before its row is written until it is finished.

        Args:
            key: The KMS key.
            version: The backing key's version.

        Raises:
            ConflictException: another task of this process imports into it.
            KeyUnavailableException: another task of this process destroys what was imported before. Retryable.
        """
        cka_id = key.cka_id(version)
        if cka_id in self._going:
            raise KeyUnavailableException("The key material is being deleted. Try again.")
        if cka_id in self._in_flight:
            raise ConflictException("Another import into this key is under way.")
        with self._held(cka_id):
            yield

    @contextmanager
    def destroying(self, cka_id: bytes) -> Iterator[None]:
        """Hold a backing key while it is destroyed on the token, until its row says so.

        Args:
            cka_id: Its CKA_ID.

        Raises:
            ConflictException: another task of this process imports or destroys it.
        """
        if cka_id in self._in_flight:
            raise ConflictException("Another request is working on this key material.")
        self._going.add(cka_id)
        try:
            with self._held(cka_id):
                yield
        finally:
            self._going.discard(cka_id)

    @contextmanager
    def _held(self, cka_id: bytes) -> Iterator[None]:
        self._in_flight.add(cka_id)
        try:
            yield
        finally:
            self._in_flight.discard(cka_id)

    def holds(self, begun: Begun) -> bool:
        """Say whether a task of this process works on that backing key now."""
        return begun.key.cka_id(begun.version) in self._in_flight

    def _is_creating(self, begun: Begun) -> bool:
        key = self._view.key(begun.key.scope, begun.key.key_id)
        backing_key = key.backing_keys.get(begun.version) if key else None
        return backing_key is not None and backing_key.state is BackingKeyState.CREATING
