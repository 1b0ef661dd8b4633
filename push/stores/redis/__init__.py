"""What implements the interfaces of stores in Redis, for a server on many hosts. The only importer of txredisapi."""
