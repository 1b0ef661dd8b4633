"""Tests with real processes: the server as its users run it, over real sockets."""
