"""The access keys of the catalog's view: found by id and by principal; whoever keeps a secret in memory is told when to forget it.

Belongs to the event loop, as the view does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hsmkms.core.access_keys import AccessKey
from hsmkms.server.catalog.rows import AccessKeyRow


class AccessKeyIndex:
    """The access keys in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, AccessKeyRow] = {}
        self._listeners: list[Callable[[str], None]] = []

    def get(self, access_key_id: str) -> AccessKey | None:
        """Return the access key of that id, Active or not, or None."""
        row = self._rows.get(access_key_id)
        return row.access_key if row is not None and not row.deleted else None

    def all(self) -> Sequence[AccessKey]:
        """Return every access key, by principal and age."""
        found = [row.access_key for row in self._rows.values() if not row.deleted]
        return sorted(found, key=lambda key: (key.principal, key.created, key.access_key_id))

    def of_principal(self, name: str) -> Sequence[AccessKey]:
        """Return the access keys of a principal, the oldest first."""
        return [key for key in self.all() if key.principal == name]

    def listen(self, changed: Callable[[str], None]) -> None:
        """Have a function called with the id of each access key that is made, changes its status or is deleted, once it is in the index."""
        self._listeners.append(changed)

    def apply(self, rows: Iterable[AccessKeyRow]) -> None:
        """Take changes in, whatever their order and however often."""
        for row in rows:
            access_key_id = row.access_key.access_key_id
            known = self._rows.get(access_key_id)
            if known is not None and known.sequence >= row.sequence:
                continue
            self._rows[access_key_id] = row
            if known is None or _meaning(known) != _meaning(row):
                for changed in self._listeners:
                    changed(access_key_id)


def _meaning(row: AccessKeyRow) -> tuple[object, ...]:
    """Return what of a row is more than a note of its last use."""
    return row.deleted, row.access_key.status, row.access_key.principal, row.access_key.account, row.access_key.sealed
