"""Wire protocols: the pure core in `wire`, and the Twisted adapters that carry it."""
