"""Tests of how the benchmark counts: its numbers are quoted, so its arithmetic is tested."""
