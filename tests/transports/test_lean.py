"""The lean transport does all that Twisted's does."""

from tests.transports.suite import TransportSuite
from tests.transports.suite_random import RandomSuite


class LeanTests(TransportSuite):
    """The suite over `lean:`."""

    kind = "lean"


class LeanRandomTests(RandomSuite):
    """Random lives over `lean:`."""

    kind = "lean"


del RandomSuite, TransportSuite
