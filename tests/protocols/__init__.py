"""Tests of the protocol adapters over real sockets."""
