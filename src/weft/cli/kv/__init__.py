"""`weft kv`: namespaces, items and moves from the command line."""
