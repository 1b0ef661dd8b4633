"""Tests of push.stores.redis."""
