"""Addresses for the module to read from and write to, each of which keeps alive what it points to."""

from __future__ import annotations

import ctypes
from typing import Any


class Pointer(ctypes.c_void_p):
    """The address of a ctypes object.

    A bare `c_void_p` would point to freed memory once its object is collected; this one holds the object, and whatever else the
    object's own pointers lead to.

    Args:
        target: What to point to.
        keep: What else must live as long.
    """

    def __init__(self, target: Any, *keep: object) -> None:
        super().__init__(ctypes.addressof(target))
        self.kept = (target, keep)
