"""Tests of push.services.ticks."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.services.ticks import TICK_S, Ticks


class TicksTests(SynchronousTestCase):
    """Times that are shared."""

    def test_all_who_look_within_a_tick_share_one_number(self) -> None:
        clock = Clock()
        ticks = Ticks(clock.seconds)
        clock.advance(1000.01)
        first = ticks.now_s()
        clock.advance(TICK_S / 2)
        self.assertIs(ticks.now_s(), first)
        clock.advance(TICK_S)
        self.assertEqual(ticks.now_s(), first + TICK_S)

    def test_a_full_tick_is_itself(self) -> None:
        clock = Clock()
        ticks = Ticks(clock.seconds)
        self.assertEqual(ticks.now_s(), 0.0)
        clock.advance(3.5)
        self.assertEqual(ticks.now_s(), 3.5)

    @given(st.lists(st.floats(-1e3, 1e9), max_size=20))
    def test_it_is_never_early_and_less_than_a_tick_late(self, moments: list[float]) -> None:
        """Wherever the fine clock jumps to."""
        now_s = 0.0
        ticks = Ticks(lambda: now_s)
        for now_s in moments:
            self.assertTrue(now_s <= ticks.now_s() < now_s + TICK_S + 1e-6, (now_s, ticks.now_s()))
