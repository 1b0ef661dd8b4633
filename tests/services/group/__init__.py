"""Tests of push.services.group."""
