"""Twisted's own transport, so that the suite is known to ask for nothing that it does not do."""

from tests.transports.suite import TransportSuite


class TcpTests(TransportSuite):
    """The suite over `tcp:`."""

    kind = "tcp"


del TransportSuite
