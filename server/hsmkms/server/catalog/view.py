"""The catalog in memory: what requests read.

Looking up a key, an alias or a principal's grants costs one dictionary access, however many there are; a page of a list costs a binary
search and the page.
Rows are applied by their sequence numbers, so that applying the same change twice, or an older one after a newer one, does nothing.

Belongs to the event loop: only the loop's thread calls it (`position` may be read from any thread).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from hsmkms.core.errors import KeyUnavailableException
from hsmkms.core.model import Alias, Grant, KmsKey, Scope
from hsmkms.core.service_keys import ServiceKey
from hsmkms.core.usage import KeyUse
from hsmkms.server.catalog.access_key_index import AccessKeyIndex
from hsmkms.server.catalog.grant_index import GrantIndex
from hsmkms.server.catalog.names import SortedNames
from hsmkms.server.catalog.rows import FROM_THE_START, AliasRow, ChangedRows, KeyRow, ServiceKeyRow, UsageRow

MAX_STALENESS_S = 30.0


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
        self._usages: dict[str, UsageRow] = {}
        self._grants = GrantIndex(monotonic)
        self.revision = 0
        """Another number after every change of a key, an alias, a grant or a service key: what was judged by the view may be kept."""
        self.access_keys = AccessKeyIndex()
        """The access keys of AWS clients."""

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
        return row.key if row is not None and row.key.scope == scope and not row.deleted else None

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

    def alias_names(self, scope: Scope, key_id: str) -> Sequence[str]:
        """Return the names of a key's aliases, in order."""
        names = self._alias_names_of_key.get(key_id) if self.key(scope, key_id) else None
        return names.after("", len(names)) if names else ()

    def aliases_after(self, scope: Scope, name: str, limit: int, key_id: str | None = None) -> Sequence[Alias]:
        """Return at most `limit` aliases whose names sort after `name`, of one key if given, in order of their names."""
        if key_id is None:
            names = self._alias_names.get(scope)
        else:
            names = self._alias_names_of_key.get(key_id) if self.key(scope, key_id) else None
        return [self._aliases[scope, found].alias for found in names.after(name, limit)] if names else []

    def last_use(self, key_id: str) -> KeyUse | None:
        """Return the last use of a key that the catalog knows of, or None where none was ever written."""
        row = self._usages.get(key_id)
        return row.use if row is not None else None

    def grant(self, scope: Scope, key_id: str, grant_id: str) -> Grant | None:
        """Return the living grant of that id on that key, or None."""
        return self._grants.get(scope, key_id, grant_id)

    def grant_has_ended(self, grant_id: str) -> bool:
        """Say whether a grant of that id was retired or revoked; for at least 24 hours after it was seen to end."""
        return self._grants.has_ended(grant_id)

    def grants_to(self, key_id: str, name: str) -> Sequence[Grant]:
        """Return the living grants of a key whose grantee has that name among its `core.grants.grantee_names`."""
        return self._grants.to(key_id, name)

    def grants_after(self, key_id: str, grant_id: str, limit: int, grantee: str | None = None) -> Sequence[Grant]:
        """Return at most `limit` grants of a key, to one grantee if given, whose ids sort after `grant_id`, in order of their ids."""
        return self._grants.after(key_id, grant_id, limit, grantee)

    def retirable_grants_after(self, region: str, principal: str, grant_id: str, limit: int) -> Sequence[Grant]:
        """Return at most `limit` grants in a Region with that retiring principal, whose ids sort after `grant_id`, in their order."""
        return self._grants.retirable_after(region, principal, grant_id, limit)

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
        self.revision += 1
        ids: dict[Scope, list[str]] = {}
        for key in rows.keys:
            self._put_key(key)
            if not key.deleted:
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
        self._usages.update({row.use.key_id: row for row in rows.usages})
        self._grants.load(rows.grants)
        self.access_keys.apply(rows.access_keys)
        self._position = rows.position

    def apply(self, rows: ChangedRows) -> None:
        """Take changes into the view.

        Args:
            rows: Everything that changed after a position that is not newer than this view's.
        """
        if rows.keys or rows.aliases or rows.grants or rows.service_keys:
            # Before the first of them is in the view: should one fail, what was judged before counts no more.
            self.revision += 1
        for key in rows.keys:
            self._apply_key(key)
        for alias in rows.aliases:
            self._apply_alias(alias)
        for service_key in rows.service_keys:
            known = self._service_keys.get(service_key.service_key.purpose)
            if known is None or known.sequence < service_key.sequence:
                self._service_keys[service_key.service_key.purpose] = service_key
        for usage in rows.usages:
            known_usage = self._usages.get(usage.use.key_id)
            if known_usage is None or known_usage.sequence < usage.sequence:
                self._usages[usage.use.key_id] = usage
        self._grants.apply(rows.grants)
        self.access_keys.apply(rows.access_keys)
        self._position = max(self._position, rows.position)

    def confirm(self, at: float) -> None:
        """Note that the view held everything that was in the database at that time of the monotonic clock."""
        self._confirmed = max(self._confirmed, at)

    def _apply_key(self, row: KeyRow) -> None:
        known = self._keys.get(row.key.key_id)
        if known is not None and known.sequence >= row.sequence:
            return
        self._put_key(row)
        was_there = known is not None and not known.deleted
        if was_there != (not row.deleted):
            ids = self._key_ids.setdefault(row.key.scope, SortedNames())
            if row.deleted:
                ids.remove(row.key.key_id)
            else:
                ids.add(row.key.key_id)

    def _put_key(self, row: KeyRow) -> None:
        self._keys[row.key.key_id] = row
        if row.deleted:
            self._keys_by_uuid.pop(row.key.uuid_bytes, None)
        else:
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
