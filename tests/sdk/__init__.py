"""Tests of the client SDKs, over real loopback sockets and with a clock of their own."""
