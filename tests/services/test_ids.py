"""Message ids: growing, whatever the clock does, across restarts too."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.services.ids import EPOCH_MS, RESERVE_MS, IdFloor, MessageIds, accepted_ms
from push.services.tasks import Tasks
from tests.fakes_store import MemoryFloorStore

NOW_MS = EPOCH_MS + 1_000_000_000


def parts(message_id: int) -> tuple[int, int, int]:
    """Milliseconds since 1970, node and sequence of an id."""
    return (message_id >> 22) + EPOCH_MS, message_id >> 12 & 1023, message_id & 4095


class Ids(SynchronousTestCase):
    """What one node gives out."""

    def test_an_id_is_made_of_time_node_and_sequence(self) -> None:
        ids = MessageIds(node=5, now_ms=lambda: NOW_MS)
        self.assertEqual([parts(ids.next()) for _ in range(3)], [(NOW_MS, 5, 0), (NOW_MS, 5, 1), (NOW_MS, 5, 2)])

    def test_an_id_says_when_it_was_given_out(self) -> None:
        ids = MessageIds(node=1023, now_ms=lambda: NOW_MS)
        self.assertEqual({accepted_ms(message_id) for message_id in ids.take(4096)}, {NOW_MS})

    @given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=200))
    def test_ids_grow_whatever_the_clock_does(self, steps: list[int]) -> None:
        now_ms = [NOW_MS]
        ids = MessageIds(node=0, now_ms=lambda: now_ms[0])
        given_out = []
        for step in steps:
            now_ms[0] += step
            given_out += [ids.next(), ids.next()]
        self.assertEqual(given_out, sorted(set(given_out)))

    def test_more_than_4096_in_a_millisecond_run_ahead_of_the_clock(self) -> None:
        ids = MessageIds(node=0, now_ms=lambda: NOW_MS)
        given_out = [ids.next() for _ in range(10_000)]
        self.assertEqual(len(set(given_out)), 10_000)
        self.assertEqual(parts(given_out[-1])[0], NOW_MS + 2)

    def test_two_nodes_never_give_out_the_same(self) -> None:
        one, two = (MessageIds(node=node, now_ms=lambda: NOW_MS) for node in (1, 2))
        self.assertEqual({one.next() for _ in range(100)} & {two.next() for _ in range(100)}, set())

    def test_an_id_fits_into_64_bits_until_2165(self) -> None:
        self.assertLess(MessageIds(node=1023, now_ms=lambda: EPOCH_MS + 2**42 - 1).next(), 2**64)

    def test_a_node_number_that_does_not_fit_is_refused(self) -> None:
        self.assertRaises(ValueError, MessageIds, node=1024, now_ms=lambda: 0)


class Floors(SynchronousTestCase):
    """Across restarts."""

    def setUp(self) -> None:
        self.store = MemoryFloorStore()
        self.now_ms = NOW_MS
        self.clock = Clock()

    def start(self) -> tuple[MessageIds, IdFloor]:
        """A process that begins."""
        ids = MessageIds(node=0, now_ms=lambda: self.now_ms)
        floor = IdFloor(ids, store=self.store, clock=self.clock, tasks=Tasks())
        floor.startService()
        return ids, floor

    def test_after_a_crash_and_a_clock_that_steps_back_an_hour_ids_still_grow(self) -> None:
        ids, _ = self.start()
        last = 0
        for _ in range(60):
            self.now_ms += 1000
            self.clock.advance(1)
            last = ids.next()
        self.now_ms -= 3_600_000
        ids, _ = self.start()
        self.assertGreater(ids.next(), last)

    def test_crashing_again_and_again_does_not_drift_away_from_the_clock(self) -> None:
        for _ in range(100):
            ids, _ = self.start()
            ids.next()
            self.now_ms += 2000
        self.assertLess(ids.last_ms, self.now_ms + 2 * RESERVE_MS)

    def test_no_id_is_given_out_before_the_floor_is_known(self) -> None:
        self.store.failure = Unavailable("disk")
        ids, _ = self.start()
        self.assertFalse(ids.is_ready)
        self.store.failure = None
        self.clock.advance(1)
        self.assertTrue(ids.is_ready)

    def test_stopping_waits_for_what_is_being_written(self) -> None:
        _, floor = self.start()
        written: Deferred[None] = Deferred()
        self.patch(self.store, "raise_floor", lambda name, value: written)
        self.now_ms += RESERVE_MS
        self.clock.advance(1)
        stopped = floor.stopService()
        self.assertNoResult(stopped)
        written.callback(None)
        self.successResultOf(stopped)
