"""Tests of the ways for bytes to travel: one suite over the lean endpoint and over Twisted's own."""
