"""Tests of push.protocols.peer."""
