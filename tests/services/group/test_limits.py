"""Tests of push.services.group.limits: how much each of many may do, in bounded memory."""

from twisted.trial.unittest import SynchronousTestCase

from push.errors import RateLimited
from push.services.group import limits
from push.services.group.limits import Rates


class RatesTests(SynchronousTestCase):
    """One in a second for each name, and two at once."""

    def setUp(self) -> None:
        self.patch(limits, "MAX_KEPT", 2)
        self.rates = Rates("requests", 1.0, lambda: 0.0)

    def taken(self, name: str) -> int:
        """How many this name is let do now, until it is refused."""
        count = 0
        while count < 10:
            try:
                self.rates.take(name)
            except RateLimited:
                break
            count += 1
        return count

    def test_each_name_has_its_own(self) -> None:
        self.assertEqual([self.taken(name) for name in ("alice", "alice", "bob")], [2, 0, 2])

    def test_of_too_many_the_one_that_was_quiet_longest_is_forgotten(self) -> None:
        self.assertEqual([self.taken(name) for name in ("alice", "bob", "alice")], [2, 2, 0])
        self.assertEqual(self.taken("carol"), 2)
        self.assertEqual([self.taken(name) for name in ("alice", "bob")], [0, 2])
