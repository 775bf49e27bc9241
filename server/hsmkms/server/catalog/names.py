"""Names in order, for pages of lists."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence


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

    def __len__(self) -> int:
        return len(self._names)

    def after(self, name: str, limit: int) -> list[str]:
        """Return at most `limit` names that sort after `name`."""
        start = bisect_right(self._names, name)
        return self._names[start : start + limit]
