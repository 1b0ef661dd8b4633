"""The store interfaces over SQLite, for a server on one machine."""
