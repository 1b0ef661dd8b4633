"""Messages with many tokens: kept over several turns of the reactor, and seen as if it were one."""

import gc
import time

from twisted.internet.defer import Deferred

from push.errors import Unavailable
from push.model import OnFull
from push.model_cache import CacheLimits
from push.model_receipts import Event
from push.services.cache import in_turn, placing
from push.services.turns import Slices
from tests.services.cache.case import START, CacheCase

TOKENS = [f"t{number}" for number in range(10)]
MANY = 100_000
# Of the processor, for one turn: 4 ms are usual, 10 to 30 in the first. In one go, the second takes 100 to 220 ms
# (2026-11-23).
LIMIT_S = 0.045


class InTurnCase(CacheCase):
    """With turns that are made one by one."""

    def turn(self) -> None:
        """One turn: what was asked for before it."""
        for call in [each for each in self.clock.getDelayedCalls() if each.getTime() <= self.clock.seconds()]:
            self.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

    def turns(self, answer: "Deferred[object]") -> int:
        """Turns until something is done."""
        count = 0
        while not answer.called:
            self.turn()
            count += 1
            self.assertLess(count, 1_000)
        return count


class PartsTests(InTurnCase):
    """Parts of four tokens, a turn each."""

    limits = CacheLimits(max_cached_messages_per_token=2)

    def setUp(self) -> None:
        self.patch(in_turn, "SLICE_S", 0.0)
        self.patch(in_turn, "PART", 4)
        self.patch(placing, "PART", 4)
        super().setUp()

    def test_until_all_have_it_nobody_is_given_it(self) -> None:
        message = self.message(*TOKENS)
        kept = self.begin(self.cache.keep([message]))
        self.assertNoResult(kept)
        first = self.begin(self.cache.pull(self.session("t0"), START, 10, 1_000))
        self.assertNoResult(first)
        last = self.page("t9")
        self.assertEqual(list(last.messages), [])
        self.assertLess(last.position, message.message_id)
        self.assertEqual(self.disk.rows, {})
        self.assertEqual(self.turns(kept), 3)
        self.assertIsNone(self.successResultOf(self.written(kept)))
        self.turns(first)
        self.assertEqual([each.message_id for each in self.successResultOf(first).messages], [message.message_id])
        self.assertEqual(self.pulled("t9"), [message.message_id])
        self.assertEqual([row.tokens for row in self.disk.rows.values()], [tuple(TOKENS)])

    def written(self, kept: "Deferred[object]") -> "Deferred[object]":
        """Whether what was kept is on disk."""
        written = self.begin(self.cache.committed(self.successResultOf(kept).ticket))
        self.turns(written)
        return written

    def test_what_comes_meanwhile_is_kept_behind_it_and_goes_on_behind_it(self) -> None:
        went_on: list[int] = []
        messages = [self.message(*TOKENS), self.message("t9"), self.message("t9", "t8")]
        for number, message in enumerate(messages):
            kept = self.begin(self.cache.keep([message]))
            kept.addCallback(lambda _, number=number: went_on.append(number))
            kept.addCallback(lambda _: self.begin(self.later()))
        self.assertEqual(went_on, [])
        while len(went_on) < len(messages):
            self.turn()
        self.assertEqual(went_on, [0, 1, 2])
        self.clock.advance(1)
        self.assertEqual(self.pulled("t8"), [messages[0].message_id, messages[2].message_id])
        self.assertEqual(self.pulled("t9"), [messages[0].message_id, messages[1].message_id])  # it has room for two

    def test_many_that_come_meanwhile_do_not_take_a_turn_each(self) -> None:
        long = self.begin(self.cache.keep([self.message(*TOKENS)]))
        self.assertNoResult(long)
        self.patch(self.cache._in_turn, "_slices", Slices(self.clock))
        went_on: list[int] = []
        for number in range(100):
            kept = self.begin(self.cache.keep([self.message("t1")]))
            kept.addCallback(lambda _, number=number: went_on.append(number))
        self.turns(long)
        self.turn()
        self.assertEqual(went_on, list(range(100)))

    async def later(self) -> None:
        """Something that whoever kept a message does next."""

    def test_tokens_without_room_are_named_and_the_others_have_it(self) -> None:
        for _ in range(2):
            self.put("t2", "t7")
        message = self.message(*TOKENS)
        kept = self.begin(self.cache.keep([message]))
        self.turns(kept)
        self.assertEqual(self.successResultOf(kept).refused, {0: ["t2", "t7"]})
        self.clock.advance(1)
        self.assertEqual(self.pulled("t3"), [message.message_id])
        self.assertNotIn(message.message_id, self.pulled("t7"))

    def test_oldest_go_when_it_is_on_disk(self) -> None:
        older = [self.put_on_disk("t5") for _ in range(2)]
        kept = self.begin(self.cache.keep([self.message(*TOKENS, on_full=OnFull.DROP_OLDEST)]))
        self.turn()
        self.clock.advance(0)
        self.turns(kept)
        self.clock.advance(1)
        self.assertEqual(self.pulled("t5"), [older[1], self.next_id])
        self.assertEqual(self.told.of(older[0])[-1], Event.DROPPED)

    def test_what_is_on_disk_meanwhile_takes_none_of_the_oldest_for_its_sake(self) -> None:
        older = [self.put_on_disk("t0") for _ in range(2)]
        newer = self.message("t0", on_full=OnFull.DROP_OLDEST)
        self.begin(self.cache.keep([newer]))
        kept = self.begin(self.cache.keep([self.message(*TOKENS, on_full=OnFull.DROP_OLDEST)]))
        self.turn()
        self.disk.is_held = True
        self.turns(kept)
        while not self.disk.held:
            self.turn()
        self.break_disk()
        self.assertEqual(self.pulled("t0"), [older[1], newer.message_id])

    def test_token_that_is_forgotten_meanwhile_does_not_get_it_and_nothing_is_left(self) -> None:
        message = self.message(*TOKENS)
        kept = self.begin(self.cache.keep([message]))
        self.now(self.cache.acknowledged([("t1", [message.message_id])]))  # though nobody gave it that
        forgotten = self.begin(self.cache.forget("t0"))
        self.turns(kept)
        self.turns(forgotten)
        self.clock.advance(1)
        self.assertEqual((self.pulled("t0"), self.pulled("t1")), ([], []))
        self.assertEqual([row.tokens for row in self.disk.rows.values()], [tuple(TOKENS[2:])])
        for token in TOKENS[2:]:
            self.ack(message.message_id, token=token)
        self.assert_empty()

    def test_all_that_had_it_may_be_gone_when_it_is_done(self) -> None:
        message = self.message(*TOKENS)
        kept = self.begin(self.cache.keep([message]))
        while not kept.called:
            self.now(self.cache.acknowledged([(token, [message.message_id]) for token in TOKENS]))
            self.turn()
        self.now(self.cache.acknowledged([(token, [message.message_id]) for token in TOKENS]))
        self.assert_empty()

    def test_crash_in_the_middle_leaves_nothing(self) -> None:
        kept = self.begin(self.cache.keep([self.message(*TOKENS)]))
        self.turn()
        self.assertNoResult(kept)
        self.crash()
        self.assertEqual(self.pulled("t0"), [])
        self.assertEqual(self.disk.rows, {})

    def test_disk_that_fails_takes_it_from_all(self) -> None:
        kept = self.begin(self.cache.keep([self.message(*TOKENS)]))
        self.disk.is_held = True
        self.turns(kept)
        while not self.disk.held:
            self.turn()
        self.break_disk()
        self.assertIsInstance(self.now(self.cache.committed(self.successResultOf(kept).ticket)), Unavailable)
        self.assertEqual([self.pulled(token) for token in TOKENS], [[]] * 10)
        self.assert_empty()


class LoadTests(InTurnCase):
    """As large as a request may be."""

    def test_no_turn_is_long_however_many_tokens_a_message_has(self) -> None:
        self.clock.seconds = time.monotonic  # type: ignore[method-assign]
        gc.disable()  # it would walk through what the doubles remember
        self.addCleanup(gc.enable)
        tokens = tuple([f"{number:032x}" for number in range(MANY)])
        for _ in range(3):
            began_s = time.thread_time()
            kept = self.begin(self.cache.keep([self.message(*tokens)]))
            longest_s = time.thread_time() - began_s
            count = 0
            while not kept.called:
                began_s = time.thread_time()
                self.turn()
                longest_s = max(longest_s, time.thread_time() - began_s)
                count += 1
            self.assertGreater(count, 3)
            self.assertLess(longest_s, LIMIT_S)
            self.assertFalse(self.successResultOf(kept).refused)
            for _ in range(3):  # the disk, and what the doubles make of it
                self.turn()
        self.assertEqual(self.samples()["push_cache_messages",], 3 * MANY)
