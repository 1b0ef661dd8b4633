"""Tests of push.protocols.websocket."""
