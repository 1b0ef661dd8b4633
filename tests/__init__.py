"""Tests, in the folders of what they test. Run with: python -m twisted.trial tests"""
