"""Tests of push.services.cache: the log of broadcasts, answers to requests with keys, scheduled requests."""

from dataclasses import replace

from twisted.internet.defer import Deferred

from push.errors import RateLimited, Unavailable
from push.model import Once, OnFull, Options, PushRequest, PushResult, TagQuery, ToAll, ToTokens
from push.model_cache import CacheLimits, Cursor, Everybody, StoredDue, StoredReply
from push.model_receipts import Event
from push.services.cache import places, pulling
from push.services.cache.log import matches
from push.services.ids import first_id_at
from tests.services.cache.case import DISK_FULL, START_MS, CacheCase


class LogTests(CacheCase):
    """Broadcasts that are kept once."""

    limits = CacheLimits(max_logged_broadcasts=3)

    def setUp(self) -> None:
        super().setUp()
        for token in ("t", "u"):
            self.tokens.register(token, START_MS)

    def new_token(self, token: str, *tags: str) -> None:
        """A token that is registered now; messages that come later have later ids."""
        self.clock.advance(0.001)
        self.tokens.register(token, self.now_ms(), *tags)
        self.next_id = first_id_at(self.now_ms())

    def move(self, token: str, message_id: int) -> None:
        """A session has everything up to this."""
        self.now(self.cache.moved([(token, message_id)]))

    def test_all_who_are_registered_get_it_once_it_is_logged(self) -> None:
        message_id = self.log(payload=b"hello")
        for _ in range(2):
            for token in ("t", "u"):
                self.assertTrue(self.cache.has(token))
                (kept,) = self.page(token).messages
                self.assertEqual((kept.message_id, kept.payload, kept.is_logged), (message_id, b"hello", True))
            self.turn()
        self.assertEqual(len(self.disk.rows), 1)

    def test_payload_is_read_once_for_all_who_come_one_after_the_other(self) -> None:
        self.log()
        self.turn()
        self.disk.calls.clear()
        for _ in range(3):
            self.assertEqual(len(self.page("t").messages), 1)
        self.assertEqual(self.disk.calls.count("payloads"), 1)

    def test_payloads_of_the_log_in_memory_are_bounded(self) -> None:
        self.patch(pulling, "MAX_READ_BYTES", 10)
        for _ in range(3):
            self.log(payload=b"x" * 6)
        self.turn()
        for _ in range(2):
            self.assertEqual([message.payload for message in self.page("t").messages], [b"x" * 6] * 3)
        self.assertEqual(self.cache._pulling._payloads._size_bytes, 6)

    def test_new_token_begins_at_the_end(self) -> None:
        self.log()
        self.new_token("new")
        self.assertEqual(self.pulled("new"), [])
        later = self.log()
        self.assertEqual(self.pulled("new"), [later])
        self.turn()
        self.crash()
        self.assertEqual(self.pulled("new"), [later])

    def test_also_where_positions_are_ahead_of_the_clock(self) -> None:
        self.next_id = first_id_at(START_MS + 9_000)  # as after a crash
        before = self.log()
        self.clock.advance(0.001)
        self.tokens.register("new", self.now_ms())
        self.clock.advance(0.001)
        after = self.log()
        self.assertEqual((self.pulled("new"), self.pulled("t")), ([after], [before, after]))
        self.clock.advance(10)
        self.new_token("newer")
        last = self.log()
        self.assertEqual((self.pulled("newer"), self.pulled("new")), ([last], [after, last]))

    def test_what_is_remembered_of_those_is_no_more_than_the_log(self) -> None:
        self.next_id = first_id_at(START_MS + 9_000)
        for _ in range(10):
            self.log(on_full=OnFull.DROP_OLDEST)
            self.turn()
        self.assertLessEqual(len(self.cache._held.log._ahead), 4)

    def test_scheduled_reaches_who_was_registered_before_it_was_due(self) -> None:
        early = self.message()
        due = StoredDue(early.message_id, START_MS + 1_000, PushRequest(ToAll(), b"due", 60))
        scheduled = self.begin(self.cache.schedule(due))
        self.turn()
        self.successResultOf(scheduled)
        self.clock.advance(0.5)
        self.tokens.register("before", self.now_ms())
        self.clock.advance(0.5)
        after = self.cache.last_position
        keeping = self.keep(self.message(message_id=due.message_id, audience=Everybody()))
        self.assertEqual([place.position for place in keeping.places], [self.cache.last_position])
        self.assertGreater(self.cache.last_position, max(after, first_id_at(self.now_ms()) - 1))
        self.new_token("later")
        self.assertEqual([self.pulled(token) for token in ("t", "before", "later")], [[due.message_id]] * 2 + [[]])

    def test_token_that_is_not_registered_gets_none(self) -> None:
        self.log()
        self.assertEqual(self.pulled("nobody"), [])

    def test_revoked_token_that_comes_again_is_new(self) -> None:
        first = self.log()
        self.move("t", first)
        self.log()
        self.begin(self.cache.forget("t"))
        self.new_token("t")
        self.assertEqual(self.pulled("t"), [])

    def test_token_goes_on_where_it_was_also_after_a_crash(self) -> None:
        first, second = self.log(), self.log()
        self.move("t", first)
        self.assertEqual(self.pulled("t"), [second])
        self.turn()
        self.crash()
        self.assertEqual((self.pulled("t"), self.pulled("u")), ([second], [first, second]))
        self.move("t", second)
        self.assertFalse(self.cache.has("t"))
        self.assertTrue(self.cache.has("u"))

    def test_place_that_was_not_on_disk_is_lost_in_a_crash_and_messages_come_again(self) -> None:
        message_id = self.log()
        self.turn()
        self.move("t", message_id)
        self.crash()
        self.assertEqual(self.pulled("t"), [message_id])

    def test_place_is_on_disk_within_a_second_or_with_the_next_message(self) -> None:
        message_id = self.log()
        self.turn()
        self.move("t", message_id)
        self.turn()
        self.assertEqual(len(self.disk.done_commits), 1)
        self.clock.advance(1)
        self.assertEqual(self.disk.done_commits[-1].log_positions, {"t": message_id})
        self.move("u", message_id)
        self.put_on_disk("t")
        self.assertEqual(self.disk.done_commits[-1].log_positions, {"u": message_id})

    def test_place_that_could_not_be_written_is_written_later_unless_it_has_changed(self) -> None:
        ids = [self.log() for _ in range(3)]
        self.turn()
        self.move("t", ids[0])
        self.move("u", ids[0])
        self.put("t")
        self.hold()
        self.move("t", ids[2])
        self.break_disk()
        self.assertEqual(self.pulled("t"), [])
        self.clock.advance(1)
        self.assertEqual(self.disk.done_commits[-1].log_positions, {"t": ids[2], "u": ids[0]})

    def test_place_never_goes_back(self) -> None:
        ids = [self.log() for _ in range(3)]
        self.move("t", ids[1])
        self.move("t", ids[0])
        self.assertEqual(self.pulled("t"), [ids[2]])

    def test_places_in_memory_are_bounded_and_found_on_disk(self) -> None:
        self.patch(places, "MAX_KNOWN", 1)
        message_id = self.log()
        self.turn()
        self.move("t", message_id)
        self.move("u", message_id)
        self.clock.advance(1)
        self.assertTrue(self.cache.has("t"), "it cannot be told without the disk")
        self.assertFalse(self.cache.has("u"))
        self.assertEqual(self.pulled("t"), [])
        self.assertFalse(self.cache.has("t"), "now it is known")

    def test_many_places_go_to_disk_in_parts(self) -> None:
        self.patch(places, "MAX_WRITTEN", 2)
        message_id = self.log()
        self.turn()
        for number in range(5):
            self.move(f"t{number}", message_id)
        self.clock.pump([1, 1, 1])
        self.assertEqual([len(changes.log_positions) for changes in self.disk.done_commits[1:]], [2, 2, 1])

    def test_tags_are_those_of_the_time_of_the_pull(self) -> None:
        message_id = self.log(TagQuery(any=("news",)))
        plain = self.log()
        self.assertEqual(self.pulled("t"), [plain])
        self.tokens.register("t", START_MS, "news")
        self.assertEqual(self.pulled("t"), [message_id, plain])

    def test_tags_are_asked_for_only_where_there_is_something_in_the_log(self) -> None:
        self.put("t")
        self.pulled("t")
        self.assertEqual(self.tokens.asked, [])

    def test_query_for_tags(self) -> None:
        for query, tags, expected in (
            (TagQuery(), (), True),
            (TagQuery(any=("a", "b")), ("b",), True),
            (TagQuery(any=("a", "b")), ("c",), False),
            (TagQuery(all=("a", "b")), ("b", "a", "c"), True),
            (TagQuery(all=("a", "b")), ("a",), False),
            (TagQuery(none=("a",)), ("b",), True),
            (TagQuery(none=("a",)), ("a", "b"), False),
            (TagQuery(any=("a",), all=("b",), none=("c",)), ("a", "b"), True),
        ):
            self.assertIs(matches(query, tags), expected, (query, tags))

    def test_log_and_own_messages_are_merged_in_order_page_by_page(self) -> None:
        ids = [self.put("t"), self.log(), self.put("t"), self.log(), self.put("t")]
        urgent = self.put("t", is_high=True)
        self.turn()
        for count in (1, 2, 3, 10):
            self.assertEqual(self.pulled("t", count), [urgent, *ids])
        self.ack(ids[2])
        self.turn()
        self.crash()
        self.assertEqual(self.pulled("t", 2), [urgent, ids[0], ids[1], ids[3], ids[4]])

    def test_message_that_is_logged_and_kept_is_given_once_as_one_to_acknowledge(self) -> None:
        for first in ("log", "own"):
            self.next_id += 1
            message_id = self.next_id
            log = self.message(message_id=message_id, audience=TagQuery())
            own = self.message("t", message_id=message_id)
            self.keep(*([log, own] if first == "log" else [own, log]))
            other = self.put("t")
            self.turn()
            for count in (1, 10):
                self.assertEqual(self.pulled("t", count), [message_id, other], (first, count))
            page = self.page("t", count=1)
            self.assertFalse(page.messages[0].is_logged)
            self.ack(message_id)
            self.assertEqual([each.message_id for each in self.page("t", page.cursor).messages], [other])
            (logged,) = self.page("u").messages
            self.assertEqual((logged.message_id, logged.is_logged), (message_id, True))
            self.ack(other)
            self.move("u", logged.position)
            self.move("t", logged.position)
            self.assertEqual(self.pulled("u"), [])
            self.begin(self.cache.cancel(message_id))
            self.turn()
        self.assert_empty()

    def test_session_that_began_without_a_place_gets_one(self) -> None:
        self.log()
        cursor = self.page("t").cursor
        later = self.log()
        self.assertEqual([each.message_id for each in self.page("t", cursor).messages], [later])

    def test_empty_log_gives_the_place_at_its_end(self) -> None:
        self.put("t")
        cursor = self.page("t").cursor
        self.assertEqual(cursor.log, 0)
        later = self.log()
        self.assertEqual([each.message_id for each in self.page("t", cursor).messages], [later])

    def test_broadcast_that_comes_while_payloads_are_read_is_more(self) -> None:
        self.put_on_disk("t")
        self.disk.reading = Deferred()
        pulled = self.begin(self.cache.pull(self.session("t"), Cursor(), 10, 1_000))
        later = self.log(TagQuery(any=("news",)))
        self.tokens.register("t", START_MS, "news")
        self.disk.reading.callback(None)
        page = self.successResultOf(pulled)
        self.assertEqual((len(page.messages), page.has_more), (1, True))
        self.assertEqual([each.message_id for each in self.page("t", page.cursor).messages], [later])

    def test_expired_and_cancelled_broadcasts_are_gone(self) -> None:
        short, long = self.log(ttl_s=1), self.log()
        self.turn()
        self.clock.advance(1)
        self.assertEqual(self.pulled("t"), [long])
        self.clock.pump([1, 0])
        self.assertEqual(self.told.of(short), [Event.EXPIRED])
        cancelled = self.begin(self.cache.cancel(long))
        self.turn()
        self.assertEqual(self.successResultOf(cancelled), 1)
        self.assertEqual(self.told.of(long), [Event.CANCELLED])
        self.assertFalse(self.cache.has("t"))
        self.assert_empty()

    def test_acknowledged_broadcast_is_counted(self) -> None:
        message_id = self.log()
        self.ack(message_id)
        self.now(self.cache.handed([("u", [message_id])]))
        self.assertEqual(self.told.events, [(Event.DELIVERED, message_id, 1), (Event.SENT, message_id, 1)])
        self.assertEqual(self.pulled("t"), [message_id], "its place says what it has")

    def test_what_is_kept_of_a_broadcast_names_its_audience(self) -> None:
        message_id = self.log(TagQuery(any=("a",)))
        row = self.now(self.cache.kept(message_id))
        self.assertEqual((row.audience, tuple(row.tokens)), (TagQuery(any=("a",)), ()))

    def test_broadcast_is_not_seen_before_it_is_on_disk_where_that_was_asked(self) -> None:
        message_id = self.log(is_ahead=True)
        pulled = self.begin(self.cache.pull(self.session("t"), Cursor(), 10, 1_000))
        self.assertNoResult(pulled)
        self.turn()
        self.assertEqual([each.message_id for each in self.successResultOf(pulled).messages], [message_id])

    def test_full_log_refuses_or_drops_its_oldest(self) -> None:
        ids = [self.log() for _ in range(3)]
        self.turn()
        refused = self.message(audience=TagQuery())
        self.failureResultOf(self.begin(self.cache.keep([refused])), Unavailable)
        newest = self.log(on_full=OnFull.DROP_OLDEST)
        self.hold()
        self.break_disk()
        self.assertEqual(self.pulled("t"), ids)
        newest = self.log(on_full=OnFull.DROP_OLDEST)
        self.turn()
        self.assertEqual(self.pulled("t"), [*ids[1:], newest])
        self.assertEqual(self.told.of(ids[0]), [Event.DROPPED])
        self.assertEqual(len(self.disk.rows), 3)

    def test_what_is_older_than_the_log_is_pruned_now_and_then(self) -> None:
        first = self.log(ttl_s=10_000)
        self.clock.pump([1] * 600)
        self.assertEqual(self.disk.pruned, [(self.now_ms(), first)])


class ReplyTests(CacheCase):
    """Answers to requests with keys."""

    def once(self, key: str = "k") -> Once:
        """A request's name."""
        return Once(key, b"f" * 32)

    def find(self, key: str = "k") -> PushResult | None:
        """What is remembered."""
        reply = self.now(self.cache.replies([key, "unknown"])).get(key)
        return None if reply is None else reply.result

    def final(self, message_id: int, expires_s: float = 100) -> StoredReply:
        """A final answer."""
        return StoredReply(self.once(), PushResult(message_id, 7, 7), self.now_ms() + round(expires_s * 1000))

    def test_answer_under_way_is_waited_for(self) -> None:
        message_id = self.put("t", "u", once=self.once(), is_ahead=True)
        found = self.begin(self.cache.replies(["k"]))
        self.assertNoResult(found)
        self.turn()
        reply = self.successResultOf(found)["k"]
        self.assertEqual(reply.result, PushResult(message_id, 2, 0, cached=2))
        self.assertEqual(reply.expires_ms, self.now_ms() + 86_400_000)
        self.crash()
        self.assertEqual(self.find(), reply.result)

    def test_answer_of_a_request_that_failed_is_none(self) -> None:
        self.put("t", once=self.once(), is_ahead=True)
        self.hold()
        found = self.begin(self.cache.replies(["k"]))
        self.break_disk()
        self.assertEqual(self.successResultOf(found), {})

    def test_message_of_a_request_with_a_key_waits_for_the_disk_though_it_is_cancelled(self) -> None:
        message = self.message("t", once=self.once())
        answered = self.ticket(message)
        self.now(self.cache.cancel(message.message_id))
        self.assertNoResult(answered)
        self.turn()
        self.assertIsNone(self.successResultOf(answered))
        self.assertIsNotNone(self.find())

    def test_answer_of_a_request_that_nothing_was_kept_of_is_on_disk_too(self) -> None:
        answered = self.ticket(self.message(once=self.once()))
        self.assertNoResult(answered)
        self.turn()
        self.assertIsNone(self.successResultOf(answered))
        self.crash()
        self.assertIsNotNone(self.find())

    def test_request_of_several_messages_has_one_answer(self) -> None:
        first = self.message("t", once=self.once())
        self.keep(first, self.message("u", "v", once=self.once(), message_id=first.message_id))
        self.turn()
        self.assertEqual(self.find(), PushResult(first.message_id, 3, 0, cached=3))

    def test_final_answer_takes_its_place_and_is_on_disk_soon(self) -> None:
        message_id = self.put("t", once=self.once())
        self.turn()
        self.cache.answered(self.final(message_id))
        self.assertEqual(self.find(), PushResult(message_id, 7, 7))
        self.clock.advance(1)
        self.crash()
        self.assertEqual(self.find(), PushResult(message_id, 7, 7))

    def test_final_answer_before_the_commit_goes_with_it(self) -> None:
        message_id = self.put("t", once=self.once())
        self.cache.answered(self.final(message_id))
        self.hold()
        self.break_disk()
        self.assertIsNone(self.find())

    def test_final_answer_that_could_not_be_written_is_written_later(self) -> None:
        self.cache.answered(self.final(1))
        self.disk.failure = DISK_FULL
        self.clock.advance(1)
        self.assertEqual(self.find_failing(), PushResult(1, 7, 7))
        self.disk.failure = None
        self.clock.advance(1)
        self.crash()
        self.assertEqual(self.find(), PushResult(1, 7, 7))

    def find_failing(self) -> PushResult:
        """Without asking the disk."""
        return self.now(self.cache.replies(["k"]))["k"].result

    def test_final_answers_that_wait_for_the_disk_are_bounded(self) -> None:
        self.patch(__import__("push.services.cache.replies", fromlist=["MAX_WAITING"]), "MAX_WAITING", 2)
        for key in "abc":
            self.cache.answered(StoredReply(self.once(key), PushResult(1, 1, 1), self.now_ms() + 1_000))
        self.assertEqual([key for key in "abc" if self.find(key)], ["b", "c"])

    def test_answer_that_is_written_while_the_disk_is_read_is_found(self) -> None:
        self.disk.reading = Deferred()
        found = self.begin(self.cache.replies(["k"]))
        self.put("t", once=self.once())
        self.turn()
        self.disk.reading.callback(None)
        self.assertIn("k", self.successResultOf(found))

    def test_expired_answer_is_none(self) -> None:
        self.cache.answered(self.final(1, expires_s=5))
        self.clock.pump([1, 3.999])
        self.assertIsNotNone(self.find())
        self.clock.advance(0.001)
        self.assertIsNone(self.find())


class DueTests(CacheCase):
    """Requests that are sent later."""

    limits = CacheLimits(max_cached_messages=3, max_cached_bytes=100)

    def due(self, message_id: int, after_s: float, payload: bytes = b"x", **options: object) -> StoredDue:
        """A request."""
        request = PushRequest(ToTokens(("t",)), payload, options=Options(**options))  # type: ignore[arg-type]
        return StoredDue(message_id, self.now_ms() + round(after_s * 1000), request)

    def schedule(self, *args: object, **options: object) -> StoredDue:
        """Schedule one, and see it written."""
        due = self.due(*args, **options)  # type: ignore[arg-type]
        scheduled = self.begin(self.cache.schedule(due))
        self.turn()
        self.successResultOf(scheduled)
        return due

    def test_no_more_are_taken_than_may_be_whoever_asks_those_on_their_way_included(self) -> None:
        self.cache._limits = replace(self.limits, max_scheduled=2)
        first = self.begin(self.cache.schedule(self.due(1, 10)))
        second = self.begin(self.cache.schedule(self.due(2, 10)))
        self.failureResultOf(self.begin(self.cache.schedule(self.due(3, 10))), RateLimited)
        self.turn()
        for each in (first, second):
            self.successResultOf(each)
        self.failureResultOf(self.begin(self.cache.schedule(self.due(4, 10))), RateLimited)
        gone = self.begin(self.cache.unschedule(1))
        self.turn()
        self.assertTrue(self.successResultOf(gone))
        self.schedule(5, 10)

    def test_scheduled_ones_are_in_the_order_of_time_and_survive_a_crash(self) -> None:
        late, soon = self.schedule(1, 20), self.schedule(2, 10)
        self.assertEqual(list(self.cache.scheduled()), [soon, late])
        self.crash()
        self.assertEqual(list(self.cache.scheduled()), [soon, late])

    def test_one_is_scheduled_once_it_is_on_disk(self) -> None:
        scheduled = self.begin(self.cache.schedule(self.due(1, 10)))
        self.hold()
        self.assertEqual(list(self.cache.scheduled()), [])
        self.assertNoResult(scheduled)
        self.break_disk()
        self.failureResultOf(scheduled, Unavailable)
        self.assertEqual(list(self.cache.scheduled()), [])
        self.schedule(1, 10, payload=b"x" * 100)

    def test_unscheduled_one_is_gone_when_that_is_on_disk(self) -> None:
        self.schedule(1, 10)
        self.hold()
        gone = self.begin(self.cache.unschedule(1))
        self.assertEqual(list(self.cache.scheduled()), [])
        self.assertNoResult(gone)
        self.turn()
        self.release()
        self.assertIs(self.successResultOf(gone), True)
        self.assertIs(self.now(self.cache.unschedule(1)), False)
        self.crash()
        self.assertEqual(list(self.cache.scheduled()), [])

    def test_removal_that_fails_says_so_and_is_tried_again(self) -> None:
        self.schedule(1, 10)
        self.disk.failure = DISK_FULL
        gone = self.begin(self.cache.unschedule(1))
        self.turn()
        self.failureResultOf(gone, Unavailable)
        self.disk.failure = None
        self.clock.advance(1)
        self.crash()
        self.assertEqual(list(self.cache.scheduled()), [])

    def test_message_that_is_made_of_it_takes_its_place_in_one_transaction(self) -> None:
        for error in (DISK_FULL, None):
            due = self.due(5, 10)
            if error is not None:
                self.schedule(5, 10)
            self.put("t", message_id=due.message_id)
            self.hold()
            self.release(error)
            self.crash()
            self.assertEqual((self.pulled(), len(self.cache.scheduled())), ([], 1) if error else ([5], 0))

    def test_unscheduling_what_was_sent_says_that_it_was_there(self) -> None:
        self.schedule(5, 10)
        self.put("t", message_id=5)
        self.turn()
        gone = self.begin(self.cache.unschedule(5))
        self.turn()
        self.assertIs(self.successResultOf(gone), True)

    def test_they_count_towards_the_limits(self) -> None:
        self.schedule(1, 10, payload=b"x" * 60)
        refused = self.begin(self.cache.schedule(self.due(2, 10, payload=b"x" * 41)))
        self.failureResultOf(refused, Unavailable)
        self.failureResultOf(self.begin(self.cache.keep([self.message("t", payload=b"x" * 41)])), Unavailable)
        self.schedule(2, 10)
        self.schedule(3, 10)
        self.failureResultOf(self.begin(self.cache.schedule(self.due(4, 10))), Unavailable)

    def test_answer_of_a_scheduled_request_stays_the_first_one(self) -> None:
        once = Once("k", b"f" * 32)
        due = self.schedule(5, 10, once=once)
        for _ in range(2):
            reply = self.now(self.cache.replies(["k"]))["k"]
            self.assertEqual(reply.result, PushResult(5, 0, 0, due_ms=due.due_ms))
            self.assertEqual(reply.expires_ms, due.due_ms + 86_400_000)
            self.put("t", message_id=5, once=once)
            self.turn()

    def test_request_for_all_can_be_scheduled(self) -> None:
        request = PushRequest(ToAll(), b"x")
        scheduled = self.begin(self.cache.schedule(StoredDue(1, 1, request)))
        self.turn()
        self.successResultOf(scheduled)
        self.assertEqual(self.cache.scheduled()[0].request, request)
