"""Tests, in the folders of what they test. `python -m twisted.trial tests` runs them."""
