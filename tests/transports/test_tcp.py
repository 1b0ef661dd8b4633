"""Twisted's own transport, so that the suite is known to ask for nothing that it does not do."""

from tests.transports.suite import TransportSuite
from tests.transports.suite_random import RandomSuite


class TcpTests(TransportSuite):
    """The suite over `tcp:`."""

    kind = "tcp"


class TcpRandomTests(RandomSuite):
    """Random lives over `tcp:`."""

    kind = "tcp"


del RandomSuite, TransportSuite
