"""Tests of the pure wire core."""
