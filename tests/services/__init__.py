"""Tests of push.services."""
