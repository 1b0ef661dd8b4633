"""Tests of push.services.steady_clock."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.services.steady_clock import SteadyClock

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


class SteadyClockTests(SynchronousTestCase):
    """With two clocks that are turned by hand."""

    def setUp(self) -> None:
        self.wall_ms = START_MS
        self.monotonic_s = 1_000.0
        self.clock = SteadyClock(wall_ms=lambda: self.wall_ms, monotonic_s=lambda: self.monotonic_s)

    def pass_s(self, seconds: float, step_ms: int = 0) -> int:
        """Time passes, and the wall clock is set besides. Returns what is shown then."""
        self.monotonic_s += seconds
        self.wall_ms += round(seconds * 1000) + step_ms
        return self.clock.now_ms()

    def test_shows_the_wall_clock(self) -> None:
        self.assertEqual(self.clock.now_ms(), START_MS)
        self.assertEqual(self.pass_s(1.5), START_MS + 1_500)

    def test_goes_on_when_the_wall_clock_is_set_back(self) -> None:
        self.assertEqual(self.pass_s(1, step_ms=-HOUR_MS), START_MS + 1_000)
        self.assertEqual(self.pass_s(59), START_MS + 60_000)

    def test_follows_the_wall_clock_forward_and_is_its_again_when_that_has_caught_up(self) -> None:
        self.pass_s(1, step_ms=-HOUR_MS)
        self.assertEqual(self.pass_s(1, step_ms=HOUR_MS), self.wall_ms)
        self.assertEqual(self.pass_s(1, step_ms=HOUR_MS), self.wall_ms)

    def test_shows_no_less_than_the_floor_and_goes_on_from_there(self) -> None:
        self.clock.raise_floor(START_MS - 1)
        self.assertEqual(self.clock.now_ms(), START_MS)
        self.clock.raise_floor(START_MS + HOUR_MS)
        self.assertEqual(self.clock.now_ms(), START_MS + HOUR_MS)
        self.assertEqual(self.pass_s(1), START_MS + HOUR_MS + 1_000)

    @given(st.lists(st.tuples(st.floats(0, 1e4), st.sampled_from([0, 0, -HOUR_MS, 1, -1, HOUR_MS]))))
    def test_never_runs_back_nor_slower_than_time_passes(self, steps: list[tuple[float, int]]) -> None:
        self.setUp()
        before_ms, before_s = self.clock.now_ms(), self.monotonic_s
        for seconds, step_ms in steps:
            now_ms = self.pass_s(seconds, step_ms)
            self.assertGreaterEqual(now_ms - before_ms, int((self.monotonic_s - before_s) * 1000) - 1)
            self.assertGreaterEqual(now_ms, before_ms)
            self.assertGreaterEqual(now_ms, self.wall_ms - 1)
            before_ms, before_s = now_ms, self.monotonic_s
