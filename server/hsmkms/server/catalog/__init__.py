"""The catalog: key metadata in a database, and a view of it in memory that requests are answered from."""

from hsmkms.server.catalog.catalog import Catalog, open_catalog
from hsmkms.server.catalog.errors import CatalogError

__all__ = ["Catalog", "CatalogError", "open_catalog"]
