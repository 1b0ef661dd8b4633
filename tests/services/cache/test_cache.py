"""Tests of push.services.cache: what happens to messages between acceptance and their end."""

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.icache import ICache, ICacheStore
from push.ihealth import IMeasured
from push.ireceipts import IReceipts
from push.isubscribe import ISubscribe
from push.model import OnFull
from push.model_cache import CacheLimits, Cursor, Keep
from push.model_receipts import Event
from push.services.cache import staging
from push.services.cache.cache import STOP_TIMEOUT_S
from tests.services.cache.case import DISK_FULL, START, CacheCase


class KeepTests(CacheCase):
    """From keep to the disk and back."""

    def test_provides_the_interfaces_and_so_do_the_doubles(self) -> None:
        verifyObject(ICache, self.cache)
        verifyObject(IMeasured, self.cache)
        verifyObject(ICacheStore, self.disk)
        verifyObject(IReceipts, self.told)
        verifyObject(ISubscribe, self.tokens)

    def test_what_is_kept_is_pulled_at_once_and_has_says_so(self) -> None:
        self.assertFalse(self.cache.has("t"))
        message_id = self.put("t", payload=b"hello")
        self.assertTrue(self.cache.has("t"))
        self.assertFalse(self.cache.has("other"))
        (kept,) = self.page().messages
        self.assertEqual((kept.message_id, kept.payload, kept.is_logged), (message_id, b"hello", False))

    def test_what_comes_in_one_turn_goes_in_one_transaction_and_what_comes_meanwhile_in_the_next(self) -> None:
        first = [self.put("t"), self.put("u")]
        self.hold()
        second = [self.put("t"), self.put("v")]
        self.release()
        self.turn()
        written = [[row.message_id for row in changes.messages] for changes in self.disk.done_commits]
        self.assertEqual(written, [first, second])

    def test_ticket_is_answered_when_it_is_on_disk(self) -> None:
        answered = self.ticket(self.message("t"))
        self.hold()
        self.assertNoResult(answered)
        self.release()
        self.assertIsNone(self.successResultOf(answered))
        self.assertEqual(len(self.disk.rows), 1)

    def test_payload_is_read_from_disk_once_it_is_there(self) -> None:
        message_id = self.put_on_disk("t", payload=b"hello")
        self.assertEqual(self.page().messages[0].payload, b"hello")
        self.assertEqual(self.told.of(message_id), [Event.CACHED])

    def test_messages_of_one_token_come_in_the_order_in_which_they_were_kept_though_ids_run_back(self) -> None:
        late = self.message("t")
        first = self.put_on_disk("t")
        self.keep(late)
        third = self.put("t")
        self.turn()
        self.assertEqual(self.pulled(count=1), [first, late.message_id, third])
        self.crash()
        self.assertEqual(self.pulled(count=2), [first, late.message_id, third])
        self.assertEqual(self.successResultOf(self.begin_cancel(late.message_id)), 1)
        self.ack(first, third)
        self.assert_empty()

    def test_urgent_messages_come_first_and_those_that_come_later_before_what_is_left(self) -> None:
        low = [self.put("t") for _ in range(3)]
        high = [self.put("t", is_high=True) for _ in range(2)]
        page = self.page(count=3)
        self.assertEqual([each.message_id for each in page.messages], [*high, low[0]])
        urgent = self.put("t", is_high=True)
        page = self.page(cursor=page.cursor)
        self.assertEqual([each.message_id for each in page.messages], [urgent, *low[1:]])
        self.assertFalse(page.has_more)

    def test_page_has_at_most_so_many_bytes_but_one_message_at_least(self) -> None:
        for _ in range(3):
            self.put("t", payload=b"x" * 10)
        for size_bytes, count in ((1, 1), (19, 1), (20, 2), (30, 3)):
            page = self.page(size_bytes=size_bytes)
            self.assertEqual((len(page.messages), page.has_more), (count, count < 3))

    def test_same_message_for_the_same_token_is_kept_once_and_has_one_fate(self) -> None:
        message = self.message("t")
        self.keep(message)
        self.hold()
        again = self.ticket(message)
        self.assertEqual(self.pulled(), [message.message_id])
        self.assertNoResult(again)
        self.break_disk()
        self.assertIs(self.successResultOf(again), DISK_FULL)
        self.assert_empty()

    def test_same_message_for_the_same_token_is_settled_with_the_first(self) -> None:
        message = self.message("t")
        self.keep(message)
        self.hold()
        again = self.ticket(message)
        self.release()
        self.assertIsNone(self.successResultOf(again))
        again = self.ticket(message)
        self.assertIsNone(self.successResultOf(again))
        self.ack(message.message_id)
        self.assert_empty()

    def test_later_keep_of_the_same_message_for_another_token_is_cancelled_with_it(self) -> None:
        message_id = self.put_on_disk("t")
        self.put("u", message_id=message_id)
        self.assertEqual(self.successResultOf(self.begin_cancel(message_id)), 2)
        self.assert_empty()

    def begin_cancel(self, message_id: int) -> Deferred[int]:
        """Cancel, and let the disk take it."""
        cancelled = self.begin(self.cache.cancel(message_id))
        self.turn()
        return cancelled

    def test_what_is_kept_of_a_message_names_those_who_still_need_it(self) -> None:
        message = self.message("t", "u", "v", payload=b"abc", collapse_key="k", owner="alice")
        self.keep(message)
        self.put("w", message_id=message.message_id)
        self.ack(message.message_id, token="u")
        for _ in range(2):
            row = self.now(self.cache.kept(message.message_id))
            self.assertEqual(sorted(row.tokens), ["t", "v", "w"])
            self.assertEqual((row.size_bytes, row.collapse_key, row.owner, row.payload), (3, "k", "alice", None))
            self.turn()
        self.assertIsNone(self.now(self.cache.kept(message.message_id + 1)))

    def test_message_for_a_user_is_not_given_to_a_token_that_is_anothers_by_then(self) -> None:
        hers, anybodys = self.put_on_disk("t", owner="alice"), self.put("t")
        staged = self.put("t", owner="alice")
        self.crash()
        self.put("t", owner="bob", message_id=staged)
        page = self.now(self.cache.pull(self.session("t", "bob"), Cursor(), 10, 1_000))
        self.assertEqual([each.message_id for each in page.messages], [staged])
        self.assertEqual(self.told.of(hers), [Event.CACHED, Event.CANCELLED])
        page = self.now(self.cache.pull(self.session("t", "alice"), Cursor(), 10, 1_000))
        self.assertEqual(page.messages, [])
        self.assertEqual(self.told.of(staged), [Event.CANCELLED])
        self.assertEqual(self.told.of(anybodys), [])
        self.assert_empty()


class EndTests(CacheCase):
    """How a message ends."""

    def test_acknowledged_before_its_turn_ends_never_touches_the_disk(self) -> None:
        answered = self.ticket(self.message("t"))
        self.ack(self.next_id)
        self.assertIsNone(self.successResultOf(answered))
        self.turn()
        self.assertEqual(self.disk.commits, [])
        self.assertEqual(self.told.of(self.next_id), [Event.DELIVERED])
        self.assert_empty()

    def test_acknowledged_while_in_flight_answers_at_once_and_is_removed_afterwards(self) -> None:
        answered = self.ticket(self.message("t"))
        self.hold()
        self.ack(self.next_id)
        self.assertIsNone(self.successResultOf(answered))
        self.assertEqual(self.pulled(), [])
        self.release()
        self.assertEqual(len(self.disk.rows), 1)
        self.turn()
        self.assertEqual(self.told.of(self.next_id), [Event.DELIVERED])
        self.assert_empty()

    def test_acknowledged_while_in_flight_stays_delivered_though_the_commit_fails(self) -> None:
        answered = self.ticket(self.message("t"))
        self.hold()
        self.ack(self.next_id)
        self.break_disk()
        self.assertIsNone(self.successResultOf(answered))
        self.assertEqual(self.told.of(self.next_id), [Event.DELIVERED])
        self.assert_empty()

    def test_commit_that_fails_after_some_were_acknowledged_takes_the_others_back(self) -> None:
        batch = [self.message("t"), self.message("t"), self.message("u")]
        mixed = self.ticket(*batch)
        whole = self.ticket(self.message("t"))
        self.hold()
        later = self.ticket(self.message("t"))
        self.ack(batch[0].message_id)
        self.ack(batch[1].message_id, whole and batch[1].message_id + 2)
        self.break_disk()
        self.assertIs(self.successResultOf(mixed), DISK_FULL)
        self.assertIsNone(self.successResultOf(whole))
        self.assertEqual(self.pulled("u"), [])
        self.assertEqual(self.pulled("t"), [self.next_id])
        self.assertNoResult(later)
        self.turn()
        self.assertIsNone(self.successResultOf(later))
        self.assertEqual(self.told.of(batch[2].message_id), [])
        self.ack(self.next_id)
        self.assert_empty()

    def test_ticket_of_a_batch_that_is_all_acknowledged_asks_for_no_disk(self) -> None:
        batch = [self.message("t"), self.message("u"), self.message("t", "u")]
        ticket = self.keep(*batch).ticket
        self.ack(batch[0].message_id, batch[2].message_id, token="t")
        answered = self.begin(self.cache.committed(ticket))
        self.assertNoResult(answered)
        self.ack(batch[1].message_id, batch[2].message_id, token="u")
        self.assertIsNone(self.successResultOf(answered))
        self.turn()
        self.assertEqual(self.disk.commits, [])

    def test_what_is_not_kept_is_ignored_when_it_is_acknowledged(self) -> None:
        message_id = self.put_on_disk("t")
        self.ack(message_id, token="u")
        self.ack(message_id + 1, token="t")
        self.assertEqual(self.pulled(), [message_id])
        self.ack(message_id)
        self.ack(message_id)
        self.assertEqual(self.told.of(message_id), [Event.CACHED, Event.DELIVERED])
        self.assert_empty()

    def test_handed_is_as_good_as_acknowledged_and_told_as_sent(self) -> None:
        message_id = self.put_on_disk("t")
        self.now(self.cache.handed([("t", [message_id])]))
        self.assertEqual(self.told.of(message_id), [Event.CACHED, Event.SENT])
        self.assert_empty()

    def test_removal_that_fails_is_tried_again_and_never_undone_in_memory(self) -> None:
        message_id = self.put_on_disk("t")
        self.disk.failure = DISK_FULL
        self.ack(message_id)
        self.turn()
        self.assertEqual(self.pulled(), [])
        self.assertEqual(len(self.disk.rows), 1)
        asked = len(self.disk.commits)
        self.turn()
        self.assertEqual(len(self.disk.commits), asked, "no haste while the disk is full")
        self.disk.failure = None
        self.clock.advance(1)
        self.turn()
        self.assertEqual(self.disk.rows, {})

    def test_removal_that_fails_goes_with_the_next_message(self) -> None:
        message_id = self.put_on_disk("t")
        self.ack(message_id)
        self.hold()
        self.break_disk()
        other = self.put_on_disk("t")
        self.assertEqual(list(self.disk.rows), [other])

    def test_expired_messages_are_not_pulled_and_are_removed_within_two_seconds(self) -> None:
        short, long = self.put_on_disk("t", ttl_s=1), self.put_on_disk("t", ttl_s=10)
        self.clock.advance(0.999)
        self.assertEqual(self.pulled(), [short, long])
        self.clock.advance(0.001)
        self.assertEqual(self.pulled(), [long])
        self.clock.pump([1, 1])
        self.assertEqual(self.told.of(short), [Event.CACHED, Event.EXPIRED])
        self.turn()
        self.assertEqual(list(self.disk.rows), [long])
        self.clock.pump([1] * 10)
        self.assert_empty()

    def test_message_that_expires_while_its_payload_is_read_is_not_given(self) -> None:
        self.put_on_disk("t", ttl_s=1)
        longer = self.put_on_disk("t", ttl_s=60)
        self.disk.reading = Deferred()
        pulled = self.begin(self.cache.pull(self.session(), Cursor(), 10, 1_000))
        self.clock.advance(1)
        self.disk.reading.callback(None)
        self.assertEqual([each.message_id for each in self.successResultOf(pulled).messages], [longer])

    def test_message_that_is_cancelled_while_its_payload_is_read_is_not_given(self) -> None:
        cancelled, other, acknowledged = (self.put_on_disk("t") for _ in range(3))
        staged = self.put("t")
        self.disk.reading = Deferred()
        pulled = self.begin(self.cache.pull(self.session(), Cursor(), 10, 1_000))
        self.begin(self.cache.cancel(cancelled))
        self.begin(self.cache.cancel(staged))
        self.ack(acknowledged)
        last = self.put("t")
        self.disk.reading.callback(None)
        page = self.successResultOf(pulled)
        self.assertEqual([each.message_id for each in page.messages], [other])
        self.assertTrue(page.has_more, "what came meanwhile")
        self.assertEqual([each.message_id for each in self.page(cursor=page.cursor).messages], [last])

    def test_pull_whose_staged_messages_vanish_while_it_reads_does_not_give_them(self) -> None:
        on_disk = self.put_on_disk("t")
        self.put("t")
        self.hold()
        self.disk.reading = Deferred()
        pulled = self.begin(self.cache.pull(self.session(), Cursor(), 10, 1_000))
        self.break_disk()
        self.disk.reading.callback(None)
        self.assertEqual([each.message_id for each in self.successResultOf(pulled).messages], [on_disk])

    def test_cancel_returns_how_many_when_it_is_on_disk(self) -> None:
        message_id = self.put_on_disk("t", "u", "v")
        self.ack(message_id, token="u")
        self.hold()
        cancelled = self.begin(self.cache.cancel(message_id))
        self.assertEqual((self.pulled("t"), self.pulled("v")), ([], []))
        self.release()
        self.assertNoResult(cancelled)
        self.turn()
        self.assertEqual(self.successResultOf(cancelled), 2)
        self.assertEqual(self.told.of(message_id, "v"), [Event.CACHED, Event.CANCELLED])
        self.assertEqual(self.told.of(message_id, "u"), [Event.CACHED, Event.DELIVERED])
        self.assertEqual(self.now(self.cache.cancel(message_id)), 0)
        self.assert_empty()

    def test_cancel_of_what_never_was_on_disk_waits_for_none(self) -> None:
        answered = self.ticket(self.message("t"))
        self.assertEqual(self.now(self.cache.cancel(self.next_id)), 1)
        self.assertIsNone(self.successResultOf(answered))
        self.turn()
        self.assertEqual(self.disk.commits, [])

    def test_cancel_in_flight_waits_for_the_removal(self) -> None:
        message_id = self.put("t")
        self.hold()
        cancelled = self.begin(self.cache.cancel(message_id))
        self.assertEqual(self.pulled(), [])
        self.release()
        self.assertNoResult(cancelled)
        self.turn()
        self.assertEqual(self.successResultOf(cancelled), 1)
        self.assert_empty()

    def test_cancel_that_is_not_on_disk_says_so_and_is_tried_again(self) -> None:
        message_id = self.put_on_disk("t")
        self.disk.failure = DISK_FULL
        cancelled = self.begin(self.cache.cancel(message_id))
        self.turn()
        self.failureResultOf(cancelled, Unavailable)
        self.assertEqual(self.pulled(), [])
        self.assert_empty()

    def test_forgotten_token_loses_its_messages_and_nobody_else_any(self) -> None:
        shared, own = self.put_on_disk("t", "u"), self.put_on_disk("t")
        staged = self.put("t")
        forgotten = self.begin(self.cache.forget("t"))
        self.turn()
        self.successResultOf(forgotten)
        self.assertFalse(self.cache.has("t"))
        self.assertEqual(self.pulled("u"), [shared])
        self.assertEqual(self.told.of(own), [Event.CACHED, Event.CANCELLED])
        self.assertEqual(self.told.of(staged), [Event.CANCELLED])
        self.crash()
        self.assertEqual((self.pulled("t"), self.pulled("u")), ([], [shared]))

    def test_message_for_several_is_one_row_and_done_rows_until_the_last_is_done(self) -> None:
        message_id = self.put_on_disk("t", "u", "v")
        (row,) = self.disk.rows.values()
        self.assertEqual(tuple(row.tokens), ("t", "u", "v"))
        self.ack(message_id, token="t")
        self.turn()
        self.assertEqual(self.disk.done_rows, {(row.position, "t")})
        self.crash()
        self.assertEqual((self.pulled("t"), self.pulled("u")), ([], [message_id]))
        self.ack(message_id, token="u")
        self.ack(message_id, token="v")
        self.assert_empty()

    def test_row_names_only_those_of_several_who_still_need_it(self) -> None:
        message_id = self.put("t", "u", "v")
        self.ack(message_id, token="u")
        self.turn()
        (row,) = self.disk.rows.values()
        self.assertEqual((tuple(row.tokens), self.disk.done_rows), (("t", "v"), set()))

    def test_one_of_several_done_in_flight_is_done_on_disk_or_nothing_is_left(self) -> None:
        for error in (None, DISK_FULL):
            message_id = self.put("t", "u")
            self.hold()
            self.ack(message_id, token="t")
            self.release(error)
            self.turn()
            self.assertEqual(self.disk.orphans(), set())
            self.assertEqual(self.pulled("u"), [] if error else [message_id])
            self.ack(message_id, token="u")
        self.assert_empty()


class DisplacingTests(CacheCase):
    """Collapse keys and full caches."""

    limits = CacheLimits(max_cached_messages_per_token=3, max_cached_bytes_per_token=100)

    def test_newer_one_replaces_the_older_in_the_same_transaction(self) -> None:
        older = self.put_on_disk("t", collapse_key="k")
        newer = self.put_on_disk("t", collapse_key="k")
        self.assertEqual(self.pulled(), [newer])
        self.assertEqual(self.told.of(older), [Event.CACHED, Event.REPLACED])
        self.assertEqual([row.message_id for row in self.disk.rows.values()], [newer])
        self.assertEqual(len(self.disk.done_commits), 2)

    def test_key_is_the_tokens_own(self) -> None:
        ids = [self.put_on_disk("t", collapse_key="k"), self.put_on_disk("t", collapse_key="j"), self.put_on_disk("t")]
        self.put_on_disk("u", collapse_key="k")
        self.assertEqual(self.pulled(), ids)

    def test_older_one_stays_when_the_newer_does_not_reach_the_disk(self) -> None:
        older = self.put_on_disk("t", collapse_key="k")
        refused = self.ticket(self.message("t", collapse_key="k"))
        self.hold()
        self.break_disk()
        self.assertIs(self.successResultOf(refused), DISK_FULL)
        self.assertEqual(self.pulled(), [older])
        self.assertEqual(self.told.of(older), [Event.CACHED])
        newer = self.put_on_disk("t", collapse_key="k")
        self.assertEqual(self.pulled(), [newer])

    def test_of_those_that_are_kept_in_one_turn_only_the_newest_touches_the_disk(self) -> None:
        tickets = [self.ticket(self.message("t", collapse_key="k")) for _ in range(5)]
        self.turn()
        self.assertEqual([self.successResultOf(each) for each in tickets], [None] * 5)
        self.assertEqual([row.message_id for row in self.disk.done_commits[0].messages], [self.next_id])
        self.assertEqual(self.pulled(), [self.next_id])
        self.ack(self.next_id)
        self.assert_empty()

    def test_those_that_fail_together_are_all_refused(self) -> None:
        tickets = [self.ticket(self.message("t", collapse_key="k")) for _ in range(2)]
        self.hold()
        self.break_disk()
        self.assertEqual([self.successResultOf(each) for each in tickets], [DISK_FULL] * 2)
        self.assert_empty()

    def test_one_in_flight_is_replaced_once_the_newer_is_on_disk(self) -> None:
        older = self.put("t", collapse_key="k")
        self.hold()
        newer = self.put("t", collapse_key="k")
        self.release()
        self.turn()
        self.assertEqual(self.pulled(), [newer])
        self.assertEqual(self.told.of(older), [Event.CACHED, Event.REPLACED])
        self.ack(newer)
        self.assert_empty()

    def test_one_in_flight_that_fails_does_not_take_the_newer_with_it(self) -> None:
        oldest = self.put_on_disk("t", collapse_key="k")
        self.put("t", collapse_key="k")
        self.hold()
        newest = self.put("t", collapse_key="k")
        self.break_disk()
        self.assertEqual(self.pulled(), [oldest, newest])
        self.turn()
        self.assertEqual(self.pulled(), [newest])

    def test_acknowledging_the_newer_ends_the_older(self) -> None:
        older = self.put_on_disk("t", collapse_key="k")
        newer = self.put("t", collapse_key="k")
        self.ack(newer)
        self.assertEqual(self.pulled(), [])
        self.assertEqual(self.told.of(older), [Event.CACHED, Event.REPLACED])
        self.assert_empty()

    def test_cancelling_the_newer_before_it_is_on_disk_leaves_the_older(self) -> None:
        older = self.put_on_disk("t", collapse_key="k")
        newer = self.put("t", collapse_key="k")
        self.now(self.cache.cancel(newer))
        self.turn()
        self.assertEqual(self.pulled(), [older])

    def test_one_of_several_tokens_replaces_it_and_the_others_keep_it(self) -> None:
        older = self.put_on_disk("t", "u", collapse_key="k")
        newer = self.put_on_disk("t", collapse_key="k")
        self.assertEqual((self.pulled("t"), self.pulled("u")), ([newer], [older]))
        self.crash()
        self.assertEqual((self.pulled("t"), self.pulled("u")), ([newer], [older]))
        last = self.put_on_disk("t", "u", collapse_key="k")
        self.assertEqual(list(self.disk.rows), [last])
        self.ack(last)
        self.ack(last, token="u")
        self.assert_empty()

    def test_full_cache_of_a_token_refuses(self) -> None:
        for _ in range(3):
            self.put_on_disk("t")
        batch = [self.message("u"), self.message("t"), self.message("u", "t", "v")]
        keeping = self.keep(*batch)
        self.assertEqual({key: list(each) for key, each in keeping.refused.items()}, {1: ["t"], 2: ["t"]})
        self.turn()
        self.assertIsNone(self.now(self.cache.committed(keeping.ticket)))
        self.assertEqual(self.pulled("u"), [batch[0].message_id, batch[2].message_id])
        self.assertEqual(len(self.pulled("t")), 3)

    def test_bytes_of_a_token_are_bounded_too(self) -> None:
        self.put_on_disk("t", payload=b"x" * 60)
        self.assertTrue(self.keep(self.message("t", payload=b"x" * 41)).refused)
        self.assertFalse(self.keep(self.message("t", payload=b"x" * 40)).refused)
        self.assertTrue(self.keep(self.message("u", payload=b"x" * 101)).refused)
        self.assertTrue(self.keep(self.message("u", payload=b"x" * 101, on_full=OnFull.DROP_OLDEST)).refused)

    def test_all_refused_is_on_disk_as_there_is_nothing(self) -> None:
        for _ in range(3):
            self.put_on_disk("t")
        self.assertIsNone(self.now(self.cache.committed(self.keep(self.message("t")).ticket)))

    def test_replacing_needs_no_room(self) -> None:
        ids = [self.put_on_disk("t", collapse_key=key) for key in "abc"]
        newer = self.put_on_disk("t", collapse_key="b")
        self.assertEqual(self.pulled(), [ids[0], ids[2], newer])

    def test_oldest_is_dropped_where_the_sender_says_so(self) -> None:
        ids = [self.put_on_disk("t", is_high=number == 1) for number in range(3)]
        newer = [self.put_on_disk("t", on_full=OnFull.DROP_OLDEST) for _ in range(2)]
        self.assertEqual(self.pulled(), [ids[2], *newer])
        self.assertEqual(self.told.of(ids[1]), [Event.CACHED, Event.DROPPED])
        for each in (ids[2], *newer):
            self.ack(each)
        self.assert_empty()

    def test_as_many_are_dropped_as_bytes_demand(self) -> None:
        ids = [self.put_on_disk("t", payload=b"x" * 30) for _ in range(3)]
        newer = self.put_on_disk("t", payload=b"x" * 70, on_full=OnFull.DROP_OLDEST)
        self.assertEqual(self.pulled(), [ids[2], newer])

    def test_oldest_stays_when_the_newer_does_not_reach_the_disk(self) -> None:
        ids = [self.put_on_disk("t") for _ in range(3)]
        self.put("t", on_full=OnFull.DROP_OLDEST)
        self.hold()
        self.break_disk()
        self.assertEqual(self.pulled(), ids)
        self.assertEqual([self.told.of(each) for each in ids], [[Event.CACHED]] * 3)

    def test_oldest_that_was_for_others_too_stays_dropped_after_a_crash(self) -> None:
        oldest = self.put("t", "u")
        self.ack(oldest, token="u")  # so that its row names one token
        ids = [self.put_on_disk("t") for _ in range(2)]
        newer = self.put("t", on_full=OnFull.DROP_OLDEST)
        self.hold()
        self.release()
        self.assertEqual(self.told.of(oldest, "t"), [Event.CACHED, Event.DROPPED])
        self.crash()
        self.assertEqual(self.pulled(), [*ids, newer])
        self.ack(*ids, newer)
        self.assert_empty()

    def test_oldest_that_is_staged_itself_never_touches_the_disk(self) -> None:
        tickets = [self.ticket(self.message("t", on_full=OnFull.DROP_OLDEST)) for _ in range(5)]
        self.turn()
        self.assertEqual([self.successResultOf(each) for each in tickets], [None] * 5)
        written = [row.message_id for row in self.disk.done_commits[0].messages]
        self.assertEqual(written, [self.next_id - 2, self.next_id - 1, self.next_id])
        self.assertEqual(self.pulled(), written)
        self.assertEqual(self.told.of(self.next_id - 3), [Event.DROPPED])
        self.ack(*written)
        self.assert_empty()

    def test_acknowledged_newer_needs_no_room_any_more(self) -> None:
        ids = [self.put_on_disk("t") for _ in range(3)]
        self.ack(self.put("t", on_full=OnFull.DROP_OLDEST))
        self.turn()
        self.assertEqual(self.pulled(), ids)

    def test_victim_that_is_acknowledged_in_flight_is_delivered_and_not_dropped(self) -> None:
        ids = [self.put_on_disk("t") for _ in range(3)]
        newer = self.put("t", on_full=OnFull.DROP_OLDEST)
        self.hold()
        self.ack(ids[0])
        self.release()
        self.assertEqual(self.told.of(ids[0]), [Event.CACHED, Event.DELIVERED])
        self.assertEqual(self.pulled(), [*ids[1:], newer])


class WholeCacheTests(CacheCase):
    """Limits of everything together."""

    limits = CacheLimits(max_cached_messages=4, max_cached_bytes=100)

    def test_full_cache_takes_nothing_of_a_batch(self) -> None:
        self.put_on_disk("t", "u", payload=b"x")
        batch = [self.message("v", payload=b"x"), self.message("w", "x", payload=b"x")]
        self.failureResultOf(self.begin(self.cache.keep(batch)), Unavailable)
        self.assertFalse(self.cache.has("v"))
        self.keep(*batch[:1])
        self.keep(self.message("w", payload=b"x"))
        self.failureResultOf(self.begin(self.cache.keep([self.message("y", payload=b"x")])), Unavailable)

    def test_bytes_are_counted_once_a_message_and_given_back(self) -> None:
        message_id = self.put_on_disk("t", "u", payload=b"x" * 60)
        self.assertEqual(self.samples()["push_cache_bytes",], 60)
        self.failureResultOf(self.begin(self.cache.keep([self.message("v", payload=b"x" * 41)])), Unavailable)
        self.ack(message_id)
        self.ack(message_id, token="u")
        self.put_on_disk("v", payload=b"x" * 100)

    def test_failed_commit_gives_the_room_back(self) -> None:
        self.put("t", "u", "v", payload=b"x" * 90)
        self.hold()
        self.break_disk()
        self.put_on_disk("t", "u", "v", payload=b"x" * 100)


class AheadTests(CacheCase):
    """What nobody may see before it is on disk."""

    def start_pull(self, cursor: Cursor = START, count: int = 10) -> Deferred:
        """Begin to pull."""
        return self.begin(self.cache.pull(self.session(), cursor, count, 1_000))

    def ids(self, pulled: Deferred) -> list[int]:
        """What it brought."""
        return [each.message_id for each in self.successResultOf(pulled).messages]

    def test_pull_waits_for_the_disk_and_then_gives_it(self) -> None:
        message_id = self.put("t", is_ahead=True)
        pulled = self.start_pull()
        self.hold()
        self.assertNoResult(pulled)
        self.release()
        self.assertEqual(self.ids(pulled), [message_id])

    def test_it_vanishes_where_the_disk_fails_and_what_is_behind_it_comes(self) -> None:
        self.put("t", is_ahead=True)
        self.hold()
        behind = self.put("t")
        pulled = self.start_pull()
        self.break_disk()
        self.assertEqual(self.ids(pulled), [behind])

    def test_order_is_kept_between_it_and_others(self) -> None:
        before, ahead, behind = self.put("t"), self.put("t", is_ahead=True), self.put("t")
        page = self.page()
        self.assertEqual(([each.message_id for each in page.messages], page.has_more), ([before], True))
        pulled = self.start_pull(page.cursor)
        self.assertNoResult(pulled)
        self.turn()
        self.assertEqual(self.ids(pulled), [ahead, behind])

    def test_it_is_waited_for_through_the_transaction_before_its_own(self) -> None:
        self.put("other")
        self.hold()
        ahead = self.put("t", is_ahead=True)
        pulled = self.start_pull()
        self.release()
        self.assertNoResult(pulled)
        self.turn()
        self.assertEqual(self.ids(pulled), [ahead])


class LifeTests(CacheCase):
    """Starts, stops and failures of the store."""

    def test_nothing_is_done_before_all_is_loaded_and_it_is_tried_again(self) -> None:
        message_id = self.put_on_disk("t")
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.start_failing()
        self.assertFalse(self.cache.is_ready)
        self.assertFalse(self.cache.checks()[0].ok)
        self.assertTrue(self.cache.has("t"))
        for refused in (
            self.cache.keep([self.message("t")]),
            self.cache.pull(self.session(), Cursor(), 1, 1),
            self.cache.cancel(message_id),
            self.cache.forget("t"),
            self.cache.acknowledged([("t", [message_id])]),
            self.cache.handed([("t", [message_id])]),
            self.cache.replies(["k"]),
        ):
            self.assertIn("starting", str(self.failureResultOf(self.begin(refused), Unavailable).value))
        self.assertEqual(list(self.cache.scheduled()), [])
        self.disk.failure = None
        self.clock.advance(1)
        self.assertTrue(self.cache.checks()[0].ok)
        self.assertEqual(self.pulled(), [message_id])

    def start_failing(self) -> None:
        """Start on a disk that fails."""
        start = self.disk.__class__.messages
        self.patch(self.disk.__class__, "messages", lambda disk, after, limit: self.failing(disk, start, after, limit))
        self.start()

    def failing(self, disk, start, after, limit):  # type: ignore[no-untyped-def]
        """Fail as soon as the service asks first."""
        if self.clock.seconds() < 1:
            disk.failure = DISK_FULL
        return start(disk, after, limit)

    def test_loading_goes_on_where_a_failure_has_interrupted_it(self) -> None:
        ids = [self.put_on_disk("t") for _ in range(3)]
        self.patch(__import__("push.services.cache.loading", fromlist=["PAGE"]), "PAGE", 1)
        asked = []
        read = self.disk.__class__.messages

        def messages(disk, after, limit):  # type: ignore[no-untyped-def]
            asked.append(after)
            disk.failure = DISK_FULL if len(asked) == 3 else None
            return read(disk, after, limit)

        self.patch(self.disk.__class__, "messages", messages)
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.start()
        self.assertFalse(self.cache.is_ready)
        self.clock.advance(1)
        self.assertEqual(self.pulled(), ids)
        self.assertEqual(asked, [0, ids[0], ids[1], ids[1], ids[2]])

    def test_everything_kept_is_there_after_a_crash(self) -> None:
        plain = self.put_on_disk("t", payload=b"p")
        high = self.put_on_disk("t", is_high=True)
        keyed = self.put_on_disk("t", collapse_key="k")
        shared = self.put_on_disk("t", "u")
        self.crash()
        self.assertEqual(self.pulled(), [high, plain, keyed, shared])
        self.assertEqual(self.page().messages[1].payload, b"p")
        newer = self.put_on_disk("t", collapse_key="k")
        self.assertEqual(self.pulled(), [high, plain, shared, newer])
        self.ack(plain, high, newer, shared)
        self.ack(shared, token="u")
        self.assert_empty()

    def test_rare_and_usual_messages_keep_their_order_across_a_crash(self) -> None:
        ids = []
        for number in range(12):
            options = {"collapse_key": str(number)} if number % 3 == 1 else {}
            ids.append(self.put_on_disk("t", *(["u"] if number % 4 == 2 else []), **options))
        self.crash()
        self.assertEqual(self.pulled(), ids)
        self.assertEqual(self.pulled("u"), ids[2::4])
        for token, those in (("t", ids), ("u", ids[2::4])):
            self.ack(*those, token=token)
        self.assert_empty()

    def test_what_was_not_on_disk_is_gone_after_a_crash(self) -> None:
        on_disk = self.put_on_disk("t")
        self.put("t")
        self.hold()
        self.put("t")
        self.crash()
        self.assertEqual(self.pulled(), [on_disk])

    def test_message_that_is_on_disk_twice_for_a_token_is_given_once(self) -> None:
        for tokens in (("t",), ("t", "u")):
            message_id = self.put_on_disk(*tokens)
            other = self.put_on_disk("t")
            (row, last) = self.disk.rows.values()
            position = last.position + 1
            again = msgspec.structs.replace(row, position=position)
            self.disk.rows[position] = again
            self.crash()
            self.assertEqual(self.pulled(), [message_id, other])
            self.assertEqual(self.samples()["push_cache_messages",], len(tokens) + 1)
            self.ack(message_id, other)
            self.ack(message_id, token="u")
            self.assert_empty()

    def test_message_kept_again_for_a_token_that_was_done_with_it_is_there_after_a_crash(self) -> None:
        message_id = self.put_on_disk("t", "u")
        self.ack(message_id)
        self.clock.advance(1)
        self.put("t", message_id=message_id)
        self.turn()
        later = self.put_on_disk("t")
        self.crash()
        self.assertEqual((self.pulled(), self.pulled("u")), ([message_id, later], [message_id]))
        self.ack(message_id, later)
        self.ack(message_id, token="u")
        self.assert_empty()

    def test_what_expired_while_the_server_was_down_is_told(self) -> None:
        message_id = self.put_on_disk("t", ttl_s=5)
        self.clock.advance(0)
        self.clock.rightNow += 100
        self.crash()
        self.assertEqual(self.pulled(), [])
        self.clock.pump([1, 1])
        self.assertEqual(self.told.of(message_id), [Event.CACHED, Event.EXPIRED])
        self.assert_empty()

    def test_stop_waits_until_all_is_written(self) -> None:
        answered = self.ticket(self.message("t"))
        self.hold()
        later = self.ticket(self.message("t"))
        stopped, again = self.begin(self.stop()), self.begin(self.stop())
        self.assertNoResult(stopped)
        self.release()
        self.successResultOf(stopped)
        self.successResultOf(again)
        self.assertEqual([self.successResultOf(each) for each in (answered, later)], [None, None])
        self.assertEqual(len(self.disk.rows), 2)

    def test_stop_does_not_wait_for_ever_for_a_disk_that_does_not_answer(self) -> None:
        answered = self.ticket(self.message("t"))
        self.hold()
        stopped = self.begin(self.stop())
        self.clock.advance(STOP_TIMEOUT_S - 1)
        self.assertNoResult(stopped)
        with capturedLogs() as logs:
            self.clock.advance(1)
        self.successResultOf(stopped)
        (said,) = [event for event in logs if event["log_level"] is LogLevel.error]
        self.assertIn("has not answered for 10 s", str(formatEvent(said)))
        self.release()  # it does, later
        self.assertIsNone(self.successResultOf(answered))

    def test_stop_waits_as_long_as_a_slow_disk_gets_on(self) -> None:
        self.patch(staging, "MAX_MESSAGES", 2)
        for number in range(6):
            self.put(str(number))
        self.hold()
        stopped = self.begin(self.stop())
        steps = 0
        while self.disk.held:
            self.assertNoResult(stopped)
            self.clock.advance(STOP_TIMEOUT_S - 1)
            self.disk.step()
            steps += 1
        self.assertGreater(steps, 2)
        self.successResultOf(stopped)

    async def stop(self) -> None:
        """Stop the service."""
        await self.cache.stopService()

    def test_stop_does_not_wait_for_a_disk_that_fails(self) -> None:
        self.ack(self.put_on_disk("t"))
        self.disk.failure = DISK_FULL
        self.successResultOf(self.cache.stopService())

    def test_store_that_raises_what_it_should_not_is_taken_for_failed(self) -> None:
        self.disk.failure = ValueError("a bug")  # type: ignore[assignment]
        answered = self.ticket(self.message("t"))
        self.turn()
        self.assertIsInstance(self.successResultOf(answered), Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.pulled(), [])

    def test_much_goes_to_disk_in_parts_and_no_ticket_is_cut(self) -> None:
        self.patch(__import__("push.services.cache.staging", fromlist=["MAX_MESSAGES"]), "MAX_MESSAGES", 3)
        tickets = [self.ticket(*(self.message(f"t{n}") for n in range(size))) for size in (2, 2, 1, 1, 3)]
        self.hold()
        for count in (4, 5):
            self.assertEqual(len(self.disk.held[0][0].messages), count)
            self.disk.step()
            self.turn()
        self.assertEqual([self.successResultOf(each) for each in tickets], [None] * 5)

    def test_ticket_that_nobody_asks_for_is_not_remembered(self) -> None:
        for _ in range(10):
            self.put_on_disk("t", ttl_s=1)
            self.keep(self.message("u"))
            self.turn()
        tickets = self.cache._held.tickets
        self.assertEqual((tickets._open, tickets._failed, tickets._waiters), ({}, {}, {}))

    def test_failed_ticket_is_told_later_too_and_only_so_many_are_remembered(self) -> None:
        self.patch(__import__("push.services.cache.tickets", fromlist=["MAX_FAILURES"]), "MAX_FAILURES", 2)
        numbers = [self.keep(self.message("t")).ticket for _ in range(3)]
        self.hold()
        self.break_disk()
        self.assertIsInstance(self.now(self.cache.committed(numbers[0])), Unavailable)
        self.assertIs(self.now(self.cache.committed(numbers[1])), DISK_FULL)
        self.assertIs(self.now(self.cache.committed(numbers[2])), DISK_FULL)

    def test_numbers_are_shown(self) -> None:
        self.put_on_disk("t", "u", payload=b"xyz")
        self.ack(self.put("v"), token="v")
        self.put("w")
        samples = self.samples()
        self.assertEqual(samples["push_cache_messages",], 3)
        self.assertEqual(samples["push_cache_tokens",], 3)
        self.assertEqual(samples["push_cache_waiting",], 1)
        self.assertEqual(samples["push_cache_written_total",], 1)
        self.assertEqual(samples["push_cache_failures_total",], 0)
        self.assertEqual(samples["push_cache_events_total", "cached"], 2)
        self.assertEqual(samples["push_cache_events_total", "delivered"], 1)
        self.assertEqual(sum(samples["push_cache_commit_seconds",].counts), 1)


class MessageForManyTests(CacheCase):
    """One message, a great many tokens."""

    limits = CacheLimits()

    def test_expires_in_steps_and_is_one_row_all_the_time(self) -> None:
        tokens = [f"t{number}" for number in range(1_000)]
        message_id = self.put_on_disk(*tokens, ttl_s=1)
        self.ack(message_id, token="t7")
        self.clock.pump([1, 1, 0])
        self.assertEqual(self.told.of(message_id).count(Event.EXPIRED), 999)
        self.assertEqual([len(changes.done) for changes in self.disk.done_commits if changes.done], [1])
        self.assert_empty()

    def test_refused_for_all_leaves_nothing(self) -> None:
        message = Keep(self.next_id, b"x" * 20_000_000, ("t", "u"), self.now_ms() + 1_000)
        self.assertEqual(list(self.keep(message).refused[0]), ["t", "u"])
        self.assert_empty()
