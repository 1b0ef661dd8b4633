"""Tests of push.services.cache.patience, alone and in a cache under load."""

from twisted.trial.unittest import SynchronousTestCase

from push.services.cache.patience import MANY_PER_S, MAX_WAIT_S, PERIOD_S, Patience
from push.services.ids import first_id_at
from tests.services.cache.case import DISK_FULL, CacheCase

MANY = 2 * int(MANY_PER_S * PERIOD_S)


class PatienceTests(SynchronousTestCase):
    """How long to wait."""

    def setUp(self) -> None:
        self.patience = Patience()
        self.now_s = 1_000.0
        self.ticket = 0

    def period(self, kept: int, acknowledged: int, age_s: float = 0.02, periods: int = 50) -> float:
        """Some time in which so many come and go. Returns how long is waited at its end."""
        self.patience.wait_s(self.now_s)
        for _ in range(periods):
            self.now_s += PERIOD_S * 1.01
            self.ticket += 1
            self.patience.kept(self.now_s, self.ticket, kept)
            self.patience.acknowledged(acknowledged, age_s)
            wait_s = self.patience.wait_s(self.now_s)
        return wait_s

    def test_twice_as_long_as_acknowledgements_take(self) -> None:
        self.assertApproximates(self.period(MANY, MANY, 0.02), 0.04, 0.01)
        self.assertApproximates(self.period(MANY, MANY, 0.001), 0.002, 0.001)

    def test_no_longer_than_the_limit(self) -> None:
        self.assertEqual(self.period(MANY, MANY, MAX_WAIT_S * 0.9), MAX_WAIT_S)

    def test_not_at_all_where_acknowledgements_take_longer_than_that(self) -> None:
        self.assertEqual(self.period(MANY, MANY, MAX_WAIT_S * 1.5), 0)
        self.assertEqual(self.period(MANY, MANY, 86_400), 0)
        self.assertGreater(self.period(MANY, MANY, 0.02), 0)

    def test_not_at_all_where_few_come(self) -> None:
        self.assertEqual(self.period(MANY // 4, MANY // 4), 0)
        self.assertGreater(self.period(MANY, MANY), 0)
        self.assertEqual(self.period(MANY // 4, MANY // 4, periods=1), 0)

    def test_not_at_all_where_few_are_acknowledged(self) -> None:
        self.assertEqual(self.period(MANY, MANY // 10), 0)
        self.assertGreater(self.period(MANY, MANY // 2), 0)

    def test_clock_that_is_behind_the_ids_does_no_harm(self) -> None:
        self.assertApproximates(self.period(MANY, MANY, -3_600.0), 0.0, 0.01)

    def test_tickets_are_due_once_and_in_order(self) -> None:
        for ticket in range(1, 11):
            self.patience.kept(ticket / 10, ticket, 1)
        self.assertEqual(self.patience.next_s(), 0.1)
        self.assertEqual(self.patience.due(0.05), 0)
        self.assertEqual(self.patience.due(0.35), 3)
        self.assertEqual(self.patience.next_s(), 0.4)
        self.assertEqual(self.patience.due(0.35), 0)
        self.assertEqual(self.patience.due(9.0), 10)
        self.assertIsNone(self.patience.next_s())

    def test_tickets_of_one_millisecond_take_the_room_of_one(self) -> None:
        for ticket in range(1, 1_001):
            self.patience.kept(5.0 + ticket / 1e6, ticket, 1)
        self.assertEqual(len(self.patience._begun), 1)
        self.assertEqual(self.patience.due(5.00001), 1_000)  # as old as the oldest: nobody waits too long


class LoadTests(CacheCase):
    """What is never written, and who waits for how long."""

    def rush(self, turns: int = 60, *, turn_s: float = 0.005) -> None:
        """Much comes, and is acknowledged four turns later."""
        on_their_way: list[int] = []
        a_turn = int(2 * MANY_PER_S * turn_s)
        for _ in range(turns):
            self.next_id = max(self.next_id, first_id_at(self.now_ms()))
            new = [self.message(f"t{number}") for number in range(a_turn)]
            self.keep(*new)
            on_their_way += [each.message_id for each in new]
            self.clock.advance(turn_s)
            if len(on_their_way) >= 4 * a_turn:
                had, on_their_way = on_their_way[:a_turn], on_their_way[a_turn:]
                self.now(self.cache.acknowledged([(f"t{number}", (each,)) for number, each in enumerate(had)]))
        self.left = on_their_way

    def written(self) -> int:
        """How many messages have been."""
        written: int = self.samples()["push_cache_written_total",]
        return written

    def test_what_is_acknowledged_soon_is_never_written(self) -> None:
        self.rush()
        before = self.written()
        self.rush()
        self.assertLess(self.written() - before, 200)  # of 2,400, and those at the end of the first rush

    def test_who_never_acknowledges_is_waited_for_only_so_long(self) -> None:
        self.rush()
        self.next_id = first_id_at(self.now_ms())
        asked = self.ticket(self.message("t"))
        began_s = self.clock.seconds()
        while self.clock.seconds() < began_s + MAX_WAIT_S:
            self.rush(1)
        self.assertIsNone(self.successResultOf(asked))

    def test_what_somebody_must_see_on_disk_waits_for_nobody(self) -> None:
        self.rush()
        ahead = self.ticket(self.message("t", is_ahead=True))
        self.turn()
        self.assertIsNone(self.successResultOf(ahead))

    def test_cancel_waits_for_nobody(self) -> None:
        message_id = self.put_on_disk("t")
        self.rush()
        cancelled = self.begin(self.cache.cancel(message_id))
        self.turn()
        self.assertEqual(self.successResultOf(cancelled), 1)
        self.assertNotIn(message_id, self.disk.rows)

    def test_first_message_after_a_rush_is_written_in_the_next_turn(self) -> None:
        self.rush()
        self.clock.advance(1)
        asked = self.ticket(self.message("t"))
        self.turn()
        self.assertIsNone(self.successResultOf(asked))

    def test_everything_is_written_when_it_stops(self) -> None:
        self.rush()
        asked = self.ticket(self.message("t"))
        self.successResultOf(self.cache.stopService())
        self.assertIsNone(self.successResultOf(asked))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_disk_that_fails_takes_only_what_was_on_its_way(self) -> None:
        self.rush()
        old = self.ticket(self.message("old"))
        self.disk.is_held = True
        began_s = self.clock.seconds()
        while not any(row.tokens == ("old",) for changes, _ in self.disk.held for row in changes.messages):
            if self.disk.held:
                self.disk.step()
            self.rush(1)
            self.assertLess(self.clock.seconds(), began_s + 2 * MAX_WAIT_S)
        new = self.ticket(self.message("new"))
        self.break_disk()
        self.assertIs(self.successResultOf(old), DISK_FULL)
        self.clock.advance(MAX_WAIT_S)
        self.assertIsNone(self.successResultOf(new))
