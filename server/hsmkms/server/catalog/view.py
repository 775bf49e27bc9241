"""The catalog in memory: what requests read.

Looking up a key or an alias costs one dictionary access, however many there are; a page of a list costs a binary search and the page.
Rows are applied by their sequence numbers, so that applying the same change twice, or an older one after a newer one, does nothing.

Belongs to the event loop: only the loop's thread calls it (`position` may be read from any thread).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.model import Alias, KmsKey, Scope
from hsmkms.core.service_keys import ServiceKey
from hsmkms.server.catalog.rows import FROM_THE_START, AliasRow, ChangedRows, KeyRow, ServiceKeyRow

MAX_STALENESS_S = 30.0


class SortedNames:
    """A set of names in order, kept so by insertion: no change sorts it anew."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: list[str] = []

    def load(self, names: Sequence[str]) -> None:
        """Hold these names instead; the one place that sorts."""
        self._names = sorted(names)

    def add(self, name: str) -> None:
        """Add a name that is not there."""
        insort(self._names, name)

    def remove(self, name: str) -> None:
        """Remove a name that is there."""
        del self._names[bisect_left(self._names, name)]

    def after(self, name: str, limit: int) -> list[str]:
        """Return at most `limit` names that sort after `name`."""
        start = bisect_right(self._names, name)
        return self._names[start : start + limit]


class View:
    """The catalog in memory (`hsmkms.core.ports.CatalogView`).

    Args:
        monotonic: A clock in seconds that only goes forward.
        max_staleness_s: How long the view may be used after it was last known to be current, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float], max_staleness_s: float = MAX_STALENESS_S) -> None:
        self._monotonic = monotonic
        self._max_staleness_s = max_staleness_s
        self._confirmed = float("-inf")
        self._position = FROM_THE_START
        self._keys: dict[str, KeyRow] = {}
        self._keys_by_uuid: dict[bytes, KmsKey] = {}
        self._key_ids: dict[Scope, SortedNames] = {}
        self._aliases: dict[tuple[Scope, str], AliasRow] = {}
        self._alias_names: dict[Scope, SortedNames] = {}
        self._alias_names_of_key: dict[str, SortedNames] = {}
        self._service_keys: dict[str, ServiceKeyRow] = {}

    @property
    def position(self) -> int:
        """The sequence number up to which every change is in the view."""
        return self._position

    def require_fresh(self) -> None:
        """Do nothing, or raise KeyUnavailableException when the view was last known to be current too long ago."""
        if self._monotonic() - self._confirmed > self._max_staleness_s:
            raise KeyUnavailableException(
                "The key catalog cannot be reached. Try again later.",
                detail=f"the view of the catalog was not confirmed for {self._max_staleness_s} s",
            )

    def key(self, scope: Scope, key_id: str) -> KmsKey | None:
        """Return the key of that id, or None."""
        row = self._keys.get(key_id)
        return row.key if row is not None and row.key.scope == scope else None

    def key_by_uuid(self, key_uuid: bytes) -> KmsKey | None:
        """Return the key whose id has those 16 bytes, in whatever account and Region, or None."""
        return self._keys_by_uuid.get(key_uuid)

    def alias(self, scope: Scope, name: str) -> Alias | None:
        """Return the alias of that name, or None."""
        row = self._aliases.get((scope, name))
        return row.alias if row is not None and not row.deleted else None

    def keys_after(self, scope: Scope, key_id: str, limit: int) -> Sequence[KmsKey]:
        """Return at most `limit` keys whose ids sort after `key_id` (empty for all), in order of their ids."""
        ids = self._key_ids.get(scope)
        return [self._keys[found].key for found in ids.after(key_id, limit)] if ids else []

    def aliases_after(self, scope: Scope, name: str, limit: int, key_id: str | None = None) -> Sequence[Alias]:
        """Return at most `limit` aliases whose names sort after `name`, of one key if given, in order of their names."""
        if key_id is None:
            names = self._alias_names.get(scope)
        else:
            names = self._alias_names_of_key.get(key_id) if self.key(scope, key_id) else None
        return [self._aliases[scope, found].alias for found in names.after(name, limit)] if names else []

    def service_key(self, purpose: str) -> ServiceKey | None:
        """Return the service key of that purpose, or None."""
        row = self._service_keys.get(purpose)
        return row.service_key if row is not None else None

    @property
    def service_keys(self) -> Mapping[str, ServiceKey]:
        """All service keys by purpose."""
        return MappingProxyType({purpose: row.service_key for purpose, row in self._service_keys.items()})

    def load(self, rows: ChangedRows) -> None:
        """Fill an empty view: as `apply`, with one sort for each list."""
        ids: dict[Scope, list[str]] = {}
        for key in rows.keys:
            self._put_key(key)
            ids.setdefault(key.key.scope, []).append(key.key.key_id)
        names: dict[Scope, list[str]] = {}
        names_of_key: dict[str, list[str]] = {}
        for row in rows.aliases:
            self._aliases[row.alias.scope, row.alias.name] = row
            if not row.deleted:
                names.setdefault(row.alias.scope, []).append(row.alias.name)
                names_of_key.setdefault(row.alias.key_id, []).append(row.alias.name)
        for source, target in ((ids, self._key_ids), (names, self._alias_names)):
            for scope, found in source.items():
                target.setdefault(scope, SortedNames()).load(found)
        for key_id, found in names_of_key.items():
            self._alias_names_of_key.setdefault(key_id, SortedNames()).load(found)
        self._service_keys.update({row.service_key.purpose: row for row in rows.service_keys})
        self._position = rows.position

    def apply(self, rows: ChangedRows) -> None:
        """Take changes into the view.

        Args:
            rows: Everything that changed after a position that is not newer than this view's.
        """
        for key in rows.keys:
            self._apply_key(key)
        for alias in rows.aliases:
            self._apply_alias(alias)
        for service_key in rows.service_keys:
            known = self._service_keys.get(service_key.service_key.purpose)
            if known is None or known.sequence < service_key.sequence:
                self._service_keys[service_key.service_key.purpose] = service_key
        self._position = max(self._position, rows.position)

    def confirm(self, at: float) -> None:
        """Note that the view held everything that was in the database at that time of the monotonic clock."""
        self._confirmed = max(self._confirmed, at)

    def _apply_key(self, row: KeyRow) -> None:
        known = self._keys.get(row.key.key_id)
        if known is not None and known.sequence >= row.sequence:
            return
        self._put_key(row)
        if known is None:
            self._key_ids.setdefault(row.key.scope, SortedNames()).add(row.key.key_id)

    def _put_key(self, row: KeyRow) -> None:
        self._keys[row.key.key_id] = row
        self._keys_by_uuid[row.key.uuid_bytes] = row.key

    def _apply_alias(self, row: AliasRow) -> None:
        scope, name = row.alias.scope, row.alias.name
        known = self._aliases.get((scope, name))
        if known is not None and known.sequence >= row.sequence:
            return
        self._aliases[scope, name] = row
        was_there = known is not None and not known.deleted
        if was_there != (not row.deleted):
            names = self._alias_names.setdefault(scope, SortedNames())
            if row.deleted:
                names.remove(name)
            else:
                names.add(name)
        if known is not None and not known.deleted:
            self._alias_names_of_key[known.alias.key_id].remove(name)
        if not row.deleted:
            self._alias_names_of_key.setdefault(row.alias.key_id, SortedNames()).add(name)
