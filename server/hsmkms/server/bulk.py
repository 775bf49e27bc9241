"""The entries of one batch or one stream: how many of them are under way, and where they go when they are over.

Each entry is a request of its own: judged, recorded and counted as one (`server.requests`). The carrier drives it, and says when the next
one may be begun; what is here beyond that waits, and takes nobody's place in the token's queue.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from hsmkms.core.errors import KmsError
from hsmkms.server.carrier import Carrier, too_late
from hsmkms.server.requests import Entry, Requests, unexpected


class Bulk:
    """The entries of one batch or one stream (`carrier.Feed`).

    Args:
        requests: Judges, records and counts.
        carrier: Drives what was begun.
        window: Most entries under way at a time.
        read: Makes an entry's message a request, unchecked, or raises a KmsError.
        ended: Called with each entry that is over, in the order in which they end.
    """

    def __init__(
        self,
        requests: Requests,
        carrier: Carrier,
        window: int,
        read: Callable[[Any], Any],
        ended: Callable[[Entry], None],
    ) -> None:
        self._requests = requests
        self._carrier = carrier
        self._window = window
        self._read = read
        self._ended = ended
        self._waiting: deque[Entry] = deque()
        self._under_way: dict[Entry, None] = {}
        self._is_closed = False

    @property
    def unfinished(self) -> int:
        """Entries that are not over yet."""
        return len(self._waiting) + len(self._under_way)

    def add(self, entry: Entry) -> None:
        """Take an entry; it is begun as soon as its turn comes. Entries are added in the order of their expiries."""
        entry.ended = self.over
        self._waiting.append(entry)
        self._carrier.feed(self, entry.expiry_ns)

    def close(self) -> None:
        """Give up whatever is not over: the caller went away. What was begun is recorded."""
        self._is_closed = True
        self._carrier.rest(self)
        for entry in list(self._under_way):
            self._requests.forget(entry)
        self._under_way.clear()
        self._waiting.clear()

    def begin(self, most: int, share: int) -> int:
        """Begin entries (the carrier calls this)."""
        most = min(most, self._window - len(self._under_way), share - len(self._under_way), len(self._waiting))
        for _ in range(most):
            self._begin(self._waiting.popleft())
        return max(0, most)

    def wants(self, share: int) -> bool:
        """Say whether an entry waits that may be begun (the carrier calls this)."""
        return bool(self._waiting) and len(self._under_way) < min(self._window, share)

    def oldest_ns(self) -> int | None:
        """Return the expiry of the entry that has waited longest (the carrier calls this)."""
        return self._waiting[0].expiry_ns if self._waiting else None

    def over(self, entry: Entry) -> None:
        """Record and hand on an entry that is over (the carrier calls this)."""
        del self._under_way[entry]
        try:
            self._requests.end(entry)
        finally:
            self._ended(entry)
            if self._waiting and not self._is_closed:
                self._carrier.feed(self, self._waiting[0].expiry_ns)
            elif not self._under_way:
                self._carrier.rest(self)

    def _begin(self, entry: Entry) -> None:
        self._under_way[entry] = None
        try:
            entry.request = self._read(entry.message)
            entry.message = None
            _require_time(entry)
            self._requests.begin(entry)
        except KmsError as error:
            entry.refuse(error)
            self.over(entry)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this entry's alone
            entry.error = unexpected(entry, error)
            self.over(entry)


def _require_time(entry: Entry) -> None:
    if time.monotonic_ns() >= entry.expiry_ns:
        raise too_late()
