"""Tests of push.services.clock_check."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.ihealth import IMeasured
from push.services.clock_check import INTERVAL_S, LIMIT_S, ClockCheck

NOW_MS = 1_800_000_000_000


class ClockCheckTests(SynchronousTestCase):
    """A host, and the store's time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ahead_ms = 0
        self.asked: list[Deferred[int]] = []
        self.check = ClockCheck(store_ms=self.store_ms, now_ms=self.now_ms, clock=self.clock)
        self.check.startService()
        self.addCleanup(self.check.stopService)

    def now_ms(self) -> int:
        """Of the host."""
        return NOW_MS + self.ahead_ms + int(self.clock.seconds() * 1000)

    def store_ms(self) -> Any:
        """Somebody asks the store."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self, after_s: float = 0.0) -> None:
        """The store looked at its clock half way, and its answer comes."""
        self.clock.advance(after_s / 2)
        at_ms = NOW_MS + int(self.clock.seconds() * 1000)
        self.clock.advance(after_s / 2)
        self.asked.pop().callback(at_ms)

    def look(self, ahead_ms: int, after_s: float = 0.0) -> tuple[bool, str]:
        """The clock is set, and compared."""
        self.ahead_ms = ahead_ms
        self.clock.advance(INTERVAL_S)
        self.answer(after_s)
        (check,) = self.check.checks()
        return check.ok, check.detail

    def test_interface_is_kept(self) -> None:
        verifyObject(IMeasured, self.check)

    def test_clocks_that_agree_are_fine_though_the_answer_takes_its_time(self) -> None:
        self.answer()
        self.assertEqual(self.look(0, 0.8), (True, ""))
        self.assertAlmostEqual(self.check.ahead_s, 0.0)
        self.assertTrue(self.look(int(LIMIT_S * 900))[0])

    def test_a_host_five_minutes_ahead_or_behind_says_so_once_and_is_fine_when_it_is_set(self) -> None:
        self.answer()
        for _ in range(2):
            is_ok, why = self.look(300_000)
            self.assertFalse(is_ok)
            self.assertIn("300 s ahead of that of Redis", why)
        self.assertIn("300 s behind", self.look(-300_000)[1])
        (sample,) = self.check.samples()
        self.assertEqual((sample.name, sample.value), ("push_clock_ahead_seconds", -300.0))
        self.assertEqual(self.look(0), (True, ""))

    def test_what_cannot_be_asked_or_takes_too_long_says_nothing(self) -> None:
        self.answer()
        self.look(300_000)
        self.clock.advance(INTERVAL_S)
        self.asked.pop().errback(Unavailable("Redis is away"))
        self.assertEqual(self.check.ahead_s, 300.0)
        self.look(0, 1.5)
        self.assertEqual(self.check.ahead_s, 300.0)
        self.assertTrue(self.look(0)[0])

    def test_one_is_asked_at_a_time(self) -> None:
        self.clock.advance(3 * INTERVAL_S)
        self.assertEqual(len(self.asked), 1)
        self.answer()
