"""Tests of push.stores."""
