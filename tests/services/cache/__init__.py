"""Tests of push.services.cache."""
