"""Tests of push.testing."""
