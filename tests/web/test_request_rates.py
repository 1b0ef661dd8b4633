"""Tests of push.web.limits: how often callers may call, in bounded memory."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import RateLimited
from push.web import limits
from push.web.limits import RequestRates


class RequestRatesTests(SynchronousTestCase):
    """One in a second for each caller, and one at once."""

    def test_of_too_many_callers_the_one_that_was_quiet_longest_is_forgotten(self) -> None:
        self.patch(limits, "_MAX_CALLERS", 2)
        rates = RequestRates(clock=Clock(), requests_per_s=1.0, burst=1)
        rates.take("a")
        rates.take("b")
        self.assertRaises(RateLimited, rates.take, "a")
        rates.take("c")
        self.assertRaises(RateLimited, rates.take, "a")
        rates.take("b")
