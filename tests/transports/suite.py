"""All that a transport must do, written once; run over the lean endpoint and over Twisted's own.

Where the stock transport differs in something that does not matter, the test says so and skips it.
"""

from tests.transports.suite_closing import ClosingSuite
from tests.transports.suite_data import DataSuite
from tests.transports.suite_listening import ListeningSuite
from tests.transports.suite_producers import ProducersSuite


class TransportSuite(DataSuite, ClosingSuite, ProducersSuite, ListeningSuite):
    """Set `kind` to run it."""
