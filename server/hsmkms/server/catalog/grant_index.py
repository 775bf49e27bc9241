"""The grants of the catalog's view: found by id, by key and grantee, and by retiring principal.

What an authorisation asks (`to`) costs one dictionary access. Grants that ended are forgotten but for their ids, which are kept for
24 hours: longer than any grant token is good, and than any change can be late.

Belongs to the event loop, as the view does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, TypeVar

from hsmkms.core.grants import grantee_names
from hsmkms.core.model import Grant, Scope
from hsmkms.server.catalog.names import SortedNames
from hsmkms.server.catalog.rows import GrantRow

ENDED_KEPT_S: Final = 24 * 3600.0

Place = TypeVar("Place", bound=Hashable)


class GrantIndex:
    """The grants in memory.

    Args:
        monotonic: A clock in seconds that only goes forward.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._rows: dict[str, GrantRow] = {}
        self._ended: dict[str, float] = {}
        self._of_key: dict[str, SortedNames] = {}
        self._to: dict[tuple[str, str], dict[str, Grant]] = {}
        self._to_in_order: dict[tuple[str, str], SortedNames] = {}
        self._retirable: dict[tuple[str, str], SortedNames] = {}

    def get(self, scope: Scope, key_id: str, grant_id: str) -> Grant | None:
        """Return the living grant of that id on that key, or None."""
        row = self._rows.get(grant_id)
        return row.grant if row is not None and (row.grant.scope, row.grant.key_id) == (scope, key_id) else None

    def has_ended(self, grant_id: str) -> bool:
        """Say whether a grant of that id is known to have ended."""
        return grant_id in self._ended

    def to(self, key_id: str, name: str) -> Sequence[Grant]:
        """Return the living grants of a key whose grantee has that name among its names."""
        found = self._to.get((key_id, name))
        return tuple(found.values()) if found else ()

    def after(self, key_id: str, grant_id: str, limit: int, grantee: str | None) -> Sequence[Grant]:
        """Return at most `limit` grants of a key, to one grantee if given, in order after `grant_id`."""
        ids = self._of_key.get(key_id) if grantee is None else self._to_in_order.get((key_id, grantee))
        return self._page(ids, grant_id, limit)

    def retirable_after(self, region: str, principal: str, grant_id: str, limit: int) -> Sequence[Grant]:
        """Return at most `limit` grants in a Region with that retiring principal, in order after `grant_id`."""
        return self._page(self._retirable.get((region, principal)), grant_id, limit)

    def load(self, rows: Iterable[GrantRow]) -> None:
        """Fill an empty index: as `apply`, with one sort for each list."""
        of_key: dict[str, list[str]] = {}
        to: dict[tuple[str, str], list[str]] = {}
        retirable: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            grant, grant_id = row.grant, row.grant.grant_id
            if row.ended:
                self._ended[grant_id] = self._monotonic()
                continue
            self._rows[grant_id] = row
            of_key.setdefault(grant.key_id, []).append(grant_id)
            to.setdefault((grant.key_id, grant.grantee_principal), []).append(grant_id)
            if grant.retiring_principal:
                retirable.setdefault((grant.scope.region, grant.retiring_principal), []).append(grant_id)
            for name in grantee_names(grant.grantee_principal):
                self._to.setdefault((grant.key_id, name), {})[grant_id] = grant
        _fill(self._of_key, of_key)
        _fill(self._to_in_order, to)
        _fill(self._retirable, retirable)

    def apply(self, rows: Iterable[GrantRow]) -> None:
        """Take changes in, whatever their order and however often."""
        for row in rows:
            grant_id = row.grant.grant_id
            known = self._rows.get(grant_id)
            # A grant is written when it is created and when it ends, and never again.
            if row.ended:
                if known is not None:
                    self._remove(known.grant)
                self._ended.setdefault(grant_id, self._monotonic())
            elif known is None and grant_id not in self._ended:
                self._add(row)
        self._forget()

    def _page(self, ids: SortedNames | None, grant_id: str, limit: int) -> Sequence[Grant]:
        return [self._rows[found].grant for found in ids.after(grant_id, limit)] if ids else []

    def _add(self, row: GrantRow) -> None:
        grant = row.grant
        self._rows[grant.grant_id] = row
        for name in grantee_names(grant.grantee_principal):
            self._to.setdefault((grant.key_id, name), {})[grant.grant_id] = grant
        _insert(self._of_key, grant.key_id, grant.grant_id)
        _insert(self._to_in_order, (grant.key_id, grant.grantee_principal), grant.grant_id)
        if grant.retiring_principal:
            _insert(self._retirable, (grant.scope.region, grant.retiring_principal), grant.grant_id)

    def _remove(self, grant: Grant) -> None:
        del self._rows[grant.grant_id]
        for name in grantee_names(grant.grantee_principal):
            found = self._to[grant.key_id, name]
            del found[grant.grant_id]
            if not found:
                del self._to[grant.key_id, name]
        _delete(self._of_key, grant.key_id, grant.grant_id)
        _delete(self._to_in_order, (grant.key_id, grant.grantee_principal), grant.grant_id)
        if grant.retiring_principal:
            _delete(self._retirable, (grant.scope.region, grant.retiring_principal), grant.grant_id)

    def _forget(self) -> None:
        """Drop the ids of grants that ended long ago; the oldest are the first of the dictionary."""
        horizon = self._monotonic() - ENDED_KEPT_S
        while self._ended:
            oldest = next(iter(self._ended))
            if self._ended[oldest] >= horizon:
                return
            del self._ended[oldest]


def _fill(lists: dict[Place, SortedNames], found: dict[Place, list[str]]) -> None:
    for place, ids in found.items():
        lists.setdefault(place, SortedNames()).load(ids)


def _insert(lists: dict[Place, SortedNames], place: Place, grant_id: str) -> None:
    lists.setdefault(place, SortedNames()).add(grant_id)


def _delete(lists: dict[Place, SortedNames], place: Place, grant_id: str) -> None:
    lists[place].remove(grant_id)
    if not lists[place]:
        del lists[place]
