"""Pages of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hsmkms.core.operations.environment import Environment
from hsmkms.core.ports import Call

Item = TypeVar("Item")


def page(
    environment: Environment,
    call: Call,
    listing: str,
    marker: str | None,
    limit: int,
    after: Callable[[str, int], Sequence[Item]],
    position: Callable[[Item], str],
) -> tuple[Sequence[Item], str | None]:
    """Return one page of a list, and the marker of the next one if there is more.

    Args:
        environment: The ports.
        call: The caller.
        listing: What is listed: the operation and, where it matters, of what; a marker is good for the same listing only.
        marker: The marker that the caller sent, or None for the first page.
        limit: Most items on a page.
        after: Returns at most so many items whose position sorts after a text.
        position: An item's position.

    Raises:
        InvalidMarkerException: the marker is not one of this list, or has expired.
    """
    start = "" if marker is None else environment.markers.read(call.scope, listing, marker)
    items = after(start, limit + 1)
    if len(items) <= limit:
        return items, None
    shown = items[:limit]
    return shown, environment.markers.issue(call.scope, listing, position(shown[-1]))
