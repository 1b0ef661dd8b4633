"""The stores of push.ipush in Redis, for a server on many hosts. The only importer of txredisapi."""
