"""What stops the service from opening its catalog."""

from __future__ import annotations


class CatalogError(Exception):
    """The catalog cannot be used as it is; the text is one line for the operator and says what to do."""
