"""The lean transport does all that Twisted's does."""

from tests.transports.suite import TransportSuite


class LeanTests(TransportSuite):
    """The suite over `lean:`."""

    kind = "lean"


del TransportSuite
