"""The front: everything that speaks to the network and to the catalog, and nothing that speaks PKCS#11."""
