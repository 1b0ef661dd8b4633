"""The token bucket: mean rate, bursts, and clocks that step back."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.rates import TokenBucket


class TokenBucketTests(SynchronousTestCase):
    """How often something may happen."""

    def test_a_burst_passes_and_then_one_each_interval(self) -> None:
        bucket = TokenBucket(10.0, 3, 0.0)
        self.assertEqual([bucket.take(0.0) for _ in range(3)], [0.0] * 3)
        self.assertAlmostEqual(bucket.take(0.0), 0.1)
        self.assertEqual(bucket.take(0.1), 0.0)
        self.assertGreater(bucket.take(0.1), 0.0)

    def test_a_pause_saves_up_no_more_than_the_burst(self) -> None:
        bucket = TokenBucket(10.0, 2, 0.0)
        self.assertEqual([bucket.take(1000.0) > 0 for _ in range(3)], [False, False, True])

    def test_a_clock_that_steps_back_adds_nothing(self) -> None:
        bucket = TokenBucket(1.0, 1, 100.0)
        bucket.take(100.0)
        self.assertGreater(bucket.take(0.0), 0.0)
        self.assertGreater(bucket.take(0.5), 0.0)

    def test_a_rate_below_one_lets_one_through_at_the_start(self) -> None:
        bucket = TokenBucket(0.1, 0.1, 0.0)
        self.assertEqual(bucket.take(0.0), 0.0)
        self.assertAlmostEqual(bucket.take(0.0), 10.0)

    @given(st.lists(st.floats(0, 5), max_size=200))
    def test_never_more_than_the_rate_and_the_burst(self, pauses_s: list[float]) -> None:
        bucket = TokenBucket(2.0, 4, 0.0)
        now_s, passed = 0.0, 0
        for pause_s in pauses_s:
            now_s += pause_s
            passed += bucket.take(now_s) == 0.0
        self.assertLessEqual(passed, 4 + 2.0 * now_s + 1e-6)
