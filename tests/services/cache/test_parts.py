"""Tests of the parts of push.services.cache that are easier to try alone: buckets, tickets, slices."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.model_cache import CacheLimits
from push.model_receipts import Event
from push.services.cache.expiry import Buckets
from push.services.cache.tickets import Tickets
from push.services.turns import Slices
from tests.services.cache.case import DISK_FULL, CacheCase


class BucketsTests(SynchronousTestCase):
    """When messages expire."""

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
    @given(
        st.lists(st.integers(0, 20_000), max_size=20),
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(0, 20_000)),
                st.tuples(st.just("discard"), st.integers(0, 30)),
                st.tuples(st.just("due"), st.integers(0, 5_000)),
            )
        ),
    )
    def test_everything_is_due_once_when_its_second_is_over(self, old: list[int], steps: list[tuple[str, int]]) -> None:
        buckets = Buckets()
        there = {-1 - number: expires_ms for number, expires_ms in enumerate(old)}
        for position, expires_ms in there.items():
            buckets.load([position], expires_ms // 1000)
        now_ms = 0
        for position, (kind, number) in enumerate(steps):
            if kind == "add":
                there[position] = max(number, now_ms // 1000 * 1000)  # late ones come with the second that is now
                buckets.add(position, number)
            elif kind == "discard" and number in there and there[number] // 1000 >= now_ms // 1000:
                buckets.discard(number, there.pop(number))
            elif kind == "due":
                now_ms += number
                self.assertEqual(
                    sorted(buckets.due(now_ms)),
                    sorted(each for each, expires_ms in there.items() if expires_ms // 1000 < now_ms // 1000),
                )
                there = {each: ms for each, ms in there.items() if ms // 1000 >= now_ms // 1000}

    def test_what_is_put_in_while_others_are_taken_out_comes_with_the_next(self) -> None:
        buckets = Buckets()
        for position in (1, 2):
            buckets.add(position, 5_500)
        due = buckets.due(10_000)
        first = next(due)
        buckets.discard(3 - first, 5_500)
        buckets.add(3, 5_400)
        buckets.add(4, 100)
        self.assertEqual(list(due), [])
        self.assertEqual(sorted(buckets.due(11_000)), [3, 4])

    def test_sweep_that_was_left_off_goes_on(self) -> None:
        buckets = Buckets()
        for position in range(10):
            buckets.add(position, position * 700)
            buckets.load([10 + position], 3)
        due = buckets.due(9_000)
        taken = [next(due) for _ in range(8)]
        self.assertEqual(sorted([*taken, *buckets.due(9_000)]), list(range(20)))

    def test_clock_that_jumps_years_costs_no_step_for_each_second(self) -> None:
        buckets = Buckets()
        buckets.add(1, 1_000)
        buckets.load([2], 2)
        self.assertEqual(list(buckets.due(1_800_000_000_000_000)), [1, 2])

    def test_emptied_seconds_leave_nothing(self) -> None:
        buckets = Buckets()
        for position in range(1_000):
            buckets.add(position, position * 1_000)
            buckets.discard(position, position * 1_000)
            buckets.load([position], position)
        self.assertEqual(len(list(buckets.due(1_000_000))), 1_000)
        self.assertEqual((buckets._buckets, buckets._loaded), ({}, {}))


class TicketsTests(SynchronousTestCase):
    """Who waits for what."""

    def test_those_who_are_answered_find_everything_done(self) -> None:
        tickets = Tickets()
        first, second = tickets.begin(1), tickets.begin(1)
        seen = []

        def answered(_: object) -> None:
            seen.append(tickets.is_waiting)
            tickets.answer()

        for ticket in (first, second):
            outcome = tickets.outcome(ticket)
            assert isinstance(outcome, Deferred)
            outcome.addCallback(answered)
        tickets.succeeded(second)
        self.assertEqual(seen, [])
        tickets.answer()
        self.assertEqual(seen, [False, False])

    def test_waiter_that_gave_up_disturbs_nobody(self) -> None:
        tickets = Tickets()
        gone, left = tickets.outcome(tickets.begin(1)), tickets.outcome(tickets.begin(1))
        assert isinstance(gone, Deferred)
        assert isinstance(left, Deferred)
        gone.addErrback(lambda _: None)
        gone.cancel()
        tickets.failed(tickets.last, DISK_FULL)
        tickets.answer()
        self.assertIs(self.successResultOf(left), DISK_FULL)


class WorkingClock(Clock):
    """A clock on which every look takes a while, so that long work is seen to be long."""

    def seconds(self) -> float:
        """A tenth of a millisecond later than before."""
        self.rightNow += 0.0001
        return self.rightNow


class SliceTests(CacheCase):
    """Long work leaves others their turns."""

    limits = CacheLimits(max_cached_messages_per_token=10_000)

    def test_sweep_of_many_takes_many_turns_and_others_are_served_between_them(self) -> None:
        self.keep(*(self.message("t", ttl_s=1) for _ in range(9_000)))
        self.turn()
        self.clock.advance(1)
        turns = []
        next_turn = Slices.turn

        def turn(slices: Slices) -> Deferred[None]:
            turns.append(self.samples()["push_cache_messages",])
            self.ack(self.cache._held.index.of("t")[-1].message_id)
            return next_turn(slices)

        self.patch(Slices, "turn", turn)
        self.clock.__class__ = WorkingClock
        self.clock.advance(1)
        self.clock.__class__ = Clock
        self.assertGreater(len(turns), 2)
        self.assertEqual(turns, sorted(turns, reverse=True))
        self.assertEqual(sum(event is Event.EXPIRED for event, _, _ in self.told.events), 9_000 - len(turns))
        self.assert_empty()

    def test_only_one_sweep_at_a_time(self) -> None:
        self.keep(*(self.message(f"t{number}", ttl_s=1) for number in range(3_000)))
        self.turn()
        self.clock.advance(1)
        self.clock.__class__ = WorkingClock
        for _ in range(5):
            self.clock.advance(1)
        self.clock.__class__ = Clock
        self.assert_empty()
        self.assertEqual(sum(event is Event.EXPIRED for event, _, _ in self.told.events), 3_000)
