"""Receipts: what was told is found, in memory and on disk, and waiters hear of it."""

import random
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.ihealth import IMeasured
from push.ireceipts import IReceiptObserver, IReceipts
from push.model_receipts import Event, TokenReceipt
from push.services import receipt_log, receipt_memory, receipts
from push.services.ids import EPOCH_MS, accepted_ms
from push.services.lives import Life
from push.services.receipt_memory import CHUNK
from push.services.receipts import WRITE_INTERVAL_S, Receipts
from push.stores.sqlite.receipts import ReceiptStore
from tests.fakes_store import MemoryReceiptStore
from tests.stores.test_tokens import make_database

START_S = 1_000.0
WALKS = 60
FIRST = int(START_S * 1000) << 22


@implementer(IReceiptObserver)
class Heard:
    """An observer that remembers."""

    def __init__(self, *events: Event) -> None:
        self.events = frozenset(events)
        self.told: list[object] = []

    def happened(self, event, message_id, tokens, at_ms) -> None:
        """See IReceiptObserver."""
        self.told.append((event, message_id, list(tokens), at_ms))

    def counted(self, event, message_id, count, at_ms) -> None:
        """See IReceiptObserver."""
        self.told.append((event, message_id, count, at_ms))


class Case(SynchronousTestCase):
    """With a clock and a store in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START_S)
        self.store = MemoryReceiptStore()
        self.receipts = self.make()

    def now_ms(self) -> int:
        """Milliseconds since 1970; the clock's zero is that of message ids."""
        return EPOCH_MS + int(self.clock.seconds() * 1000)

    def make(self, **more) -> Receipts:
        """A life of the server, on the same store."""
        return Receipts(store=self.store, clock=self.clock, now_ms=self.now_ms, **more)

    def accept(self, message_id, *tokens, expires_ms=None, targets=None, **more) -> None:
        """A message was accepted."""
        options = {"due_ms": None, "is_logged": False, **more}
        targets = len(tokens) if targets is None else targets
        self.receipts.accepted(message_id, targets=targets, tokens=tokens, expires_ms=expires_ms, **options)

    def find(self, message_id):
        """The life of a message."""
        return self.successResultOf(Deferred.fromCoroutine(self.receipts.find(message_id)))

    def became(self, message_id):
        """What happened last, by token."""
        return {each.token: each.event for each in self.find(message_id).tokens}

    def written(self) -> None:
        """Have everything written."""
        self.receipts.startService()
        self.clock.advance(WRITE_INTERVAL_S)

    def restart(self, **more) -> None:
        """The end of one life of the server, in order, and another."""
        self.successResultOf(self.receipts.stopService())
        self.clock.advance(0.01)
        self.receipts = self.make(**more)

    def fill(self, count: int, first: int = FIRST + 2**30) -> None:
        """Tell of so many other messages."""
        for message_id in range(first, first + count):
            self.receipts.lone_each(Event.SENT, [(message_id, "other", None)])


class Told(Case):
    """What is told is found."""

    def test_provides_its_interfaces(self) -> None:
        verifyObject(IReceipts, self.receipts)
        verifyObject(IMeasured, self.receipts)

    def test_unknown_message_is_none(self) -> None:
        self.assertIsNone(self.find(FIRST))

    def test_lone_message_that_was_sent_at_once(self) -> None:
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        receipt = self.find(FIRST)
        self.assertEqual(receipt.tokens, [TokenReceipt("a", Event.SENT, self.now_ms())])
        self.assertEqual((receipt.targets, receipt.accepted_ms), (1, self.now_ms()))
        self.assertEqual(receipt.counts, {Event.SENT: 1})
        self.assertIsNone(receipt.expires_ms)

    def test_lone_message_that_was_kept_and_acknowledged(self) -> None:
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        self.clock.advance(1)
        self.receipts.happened(Event.SENT, FIRST, ["a"])
        self.clock.advance(1)
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        receipt = self.find(FIRST)
        self.assertEqual(receipt.tokens, [TokenReceipt("a", Event.DELIVERED, self.now_ms())])
        self.assertEqual(receipt.counts, {Event.SENT: 1, Event.DELIVERED: 1, Event.CACHED: 1})
        self.assertEqual((receipt.targets, receipt.expires_ms), (1, 99))

    def test_many_that_were_sent_at_once_are_found_wherever_they_are_by_now(self) -> None:
        self.receipts = self.make(max_in_memory=2 * CHUNK)
        expected = self.now_ms()
        for first in range(0, 4 * CHUNK, 1_000):  # not in the order of their ids
            ids = range(FIRST + first + 999, FIRST + first - 1, -1)
            self.receipts.sent_each([(message_id, f"t{message_id % 7}") for message_id in ids])
        for number in (3 * CHUNK + 7, 0):  # in memory; on disk alone
            receipt = self.find(FIRST + number)
            self.assertEqual(receipt.tokens, [TokenReceipt(f"t{(FIRST + number) % 7}", Event.SENT, expected)])
            self.assertEqual((receipt.targets, receipt.counts), (1, {Event.SENT: 1}))
        self.assertEqual(self.store.looked, 1)
        (remembered, *_) = self.receipts.samples()
        self.assertLess(remembered.value, 4 * CHUNK)

    def test_what_happens_to_one_that_was_sent_at_once_is_added(self) -> None:
        self.receipts.sent_each([(FIRST, "a"), (FIRST + 1, "b")])
        self.receipts.happened(Event.EXPIRED, FIRST, ["a"])
        self.fill(CHUNK)
        self.receipts.happened(Event.DELIVERED, FIRST + 1, ["b"])
        for _ in range(2):
            self.assertEqual(self.find(FIRST).counts, {Event.SENT: 1, Event.EXPIRED: 1})
            self.assertEqual(self.find(FIRST + 1).counts, {Event.SENT: 1, Event.DELIVERED: 1})
            self.assertEqual(self.find(FIRST + 1).targets, 1)
            self.restart()

    def test_what_happens_to_each_of_many_is_as_if_it_were_told_one_by_one(self) -> None:
        def tell(receipts: Receipts, *, one_by_one: bool) -> None:
            receipts.lone_each(Event.SENT, [(FIRST, "a", 99)])
            receipts.lone_each(Event.EXPIRED, [(FIRST + 1, "b", 99)])  # too late for it
            receipts.accepted(FIRST + 2, targets=2, tokens=["c", "d"], expires_ms=99, due_ms=None, is_logged=False)
            receipts.sent_each([(FIRST + 3, "e")])
            self.clock.advance(1)
            had = [(FIRST, "a"), (FIRST + 1, "b"), (FIRST + 2, "d"), (FIRST + 3, "e"), (FIRST + 4, "unknown")]
            if one_by_one:
                for message_id, token in had:
                    receipts.happened(Event.DELIVERED, message_id, (token,))
            else:
                receipts.happened_each(Event.DELIVERED, had)
            self.clock.advance(-1)

        found = []
        for one_by_one in (True, False):
            self.receipts = self.make()
            tell(self.receipts, one_by_one=one_by_one)
            found.append([self.find(FIRST + number) for number in range(5)])
        self.assertEqual(found[0], found[1])
        self.assertEqual([receipt.counts.get(Event.DELIVERED) for receipt in found[1]], [1, None, 1, 1, 1])

    def test_the_cache_may_tell_before_the_router(self) -> None:
        self.receipts.happened(Event.CACHED, FIRST, ["a"])
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", 99)])
        receipt = self.find(FIRST)
        self.assertEqual((receipt.targets, receipt.expires_ms), (1, 99))
        self.assertEqual(receipt.counts, {Event.SENT: 1, Event.CACHED: 1})
        self.assertEqual(self.store.looked, 0)

    def test_every_first_event_of_a_lone_message(self) -> None:
        for number, event in enumerate(Event):
            self.receipts.lone_each(event, [(FIRST + number, "a", None)])
            self.assertEqual(self.became(FIRST + number), {"a": event})

    def test_nothing_overwrites_an_end(self) -> None:
        self.receipts.lone_each(Event.REPLACED, [(FIRST, "a", None)])
        self.accept(FIRST + 1, "a", "b", expires_ms=1)
        self.receipts.happened(Event.EXPIRED, FIRST + 1, ["b"])
        for event in Event:
            self.receipts.happened(event, FIRST, ["a"])
            self.receipts.happened(event, FIRST + 1, ["b"])
        self.receipts.handed(FIRST, ["a"])
        self.assertEqual(self.became(FIRST), {"a": Event.REPLACED})
        self.assertEqual(self.became(FIRST + 1), {"a": None, "b": Event.EXPIRED})

    def test_lone_message_that_nobody_gets(self) -> None:
        self.accept(FIRST, "a")
        receipt = self.find(FIRST)
        self.assertEqual((receipt.targets, receipt.counts), (1, {}))
        self.assertEqual(receipt.tokens, [TokenReceipt("a", None, 0)])
        self.receipts.happened(Event.CACHED, FIRST, ["a"])
        self.accept(FIRST, "a", expires_ms=99)
        receipt = self.find(FIRST)
        self.assertEqual((receipt.targets, receipt.counts, receipt.expires_ms), (1, {Event.CACHED: 1}, 99))

    def test_message_to_several_and_one_that_was_not_meant(self) -> None:
        self.accept(FIRST, "a", "b", expires_ms=99)
        self.receipts.happened(Event.CACHED, FIRST, ["a", "b"])
        self.receipts.happened(Event.CANCELLED, FIRST, ["a"])
        self.assertEqual(self.became(FIRST), {"a": Event.CANCELLED, "b": Event.CACHED})
        self.assertEqual(self.find(FIRST).targets, 2)

    def test_broadcast_is_counted(self) -> None:
        self.receipts.accepted(FIRST, targets=70, tokens=None, expires_ms=99, due_ms=None, is_logged=True)
        self.receipts.counted(Event.SENT, FIRST, 50)
        self.receipts.counted(Event.SENT, FIRST, 0)
        self.receipts.counted(Event.SENT, FIRST, 20)
        receipt = self.find(FIRST)
        self.assertEqual((receipt.targets, receipt.counts, receipt.is_logged), (70, {Event.SENT: 70}, True))
        self.assertEqual(receipt.tokens, [])

    def test_scheduled_message_gets_its_targets_when_it_is_sent(self) -> None:
        self.receipts.accepted(FIRST, targets=0, tokens=None, expires_ms=None, due_ms=77, is_logged=False)
        self.assertEqual((self.find(FIRST).due_ms, self.find(FIRST).targets), (77, 0))
        self.accept(FIRST, "a", "b")
        self.receipts.happened(Event.SENT, FIRST, ["a"])
        self.assertEqual((self.find(FIRST).due_ms, self.find(FIRST).targets), (77, 2))
        self.assertEqual(self.became(FIRST), {"a": Event.SENT, "b": None})

    def test_scheduled_message_that_is_sent_among_others_is_told_as_sent(self) -> None:
        self.receipts.accepted(FIRST, targets=0, tokens=None, expires_ms=None, due_ms=77, is_logged=False)
        self.receipts.sent_each([(FIRST + 1, "b"), (FIRST, "a")])
        for _ in range(2):
            receipt = self.find(FIRST)
            self.assertEqual((receipt.due_ms, receipt.targets, receipt.counts), (77, 1, {Event.SENT: 1}))
            self.assertEqual(self.became(FIRST), {"a": Event.SENT})
            self.assertEqual(self.became(FIRST + 1), {"b": Event.SENT})
            self.restart()

    def test_scheduled_message_that_was_forgotten_is_told_of_again(self) -> None:
        self.receipts = self.make(max_in_memory=1)
        due = {"targets": 0, "tokens": None, "expires_ms": None, "due_ms": 77, "is_logged": False}
        self.receipts.accepted(FIRST, **due)
        self.written()
        self.receipts.sent_each([(FIRST + 1 + number, "b") for number in range(2 * CHUNK)])
        self.assertIsNone(self.receipts._memory.get(FIRST))
        self.receipts.accepted(FIRST, **due)
        self.receipts.sent_each([(FIRST, "a")])
        self.assertEqual((self.find(FIRST).due_ms, self.became(FIRST)), (77, {"a": Event.SENT}))


class Kept(Case):
    """What was told is on disk, and no more than may be."""

    def test_restart_keeps_what_was_told(self) -> None:
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        self.receipts.lone_each(Event.CACHED, [(FIRST + 1, "b", 99)])
        self.accept(FIRST + 2, "a", "b", expires_ms=98)
        self.receipts.happened(Event.CACHED, FIRST + 2, ["a", "b"])
        before = [self.find(FIRST + number) for number in range(3)]
        self.restart()
        self.assertEqual([self.find(FIRST + number) for number in range(3)], before)

    def test_what_happens_after_a_restart_is_added_to_what_was_told_before(self) -> None:
        self.accept(FIRST, "a", "b", expires_ms=98)
        self.receipts.happened(Event.CACHED, FIRST, ["a", "b"])
        self.receipts.happened(Event.EXPIRED, FIRST, ["b"])
        for token, event in (("a", Event.SENT), ("b", Event.CANCELLED), ("a", Event.DELIVERED)):
            self.restart()
            self.receipts.happened(event, FIRST, [token])
        self.assertEqual(self.became(FIRST), {"a": Event.DELIVERED, "b": Event.EXPIRED})
        self.restart()
        receipt = self.find(FIRST)
        self.assertEqual((receipt.targets, receipt.expires_ms), (2, 98))
        self.assertEqual(receipt.counts, {Event.SENT: 1, Event.DELIVERED: 1, Event.EXPIRED: 1, Event.CACHED: 2})

    def test_counts_are_not_added_twice_however_often_they_are_written(self) -> None:
        self.accept(FIRST, expires_ms=98, targets=5_000)
        self.receipts.counted(Event.CACHED, FIRST, 5_000)
        self.restart()
        self.receipts.startService()
        for _ in range(3):
            self.receipts.counted(Event.DELIVERED, FIRST, 100)
            self.clock.advance(WRITE_INTERVAL_S)
            self.assertEqual(self.find(FIRST).counts[Event.CACHED], 5_000)
        self.assertEqual(self.find(FIRST).counts[Event.DELIVERED], 300)
        self.restart()
        self.receipts.counted(Event.DELIVERED, FIRST, 50)
        for _ in range(2):
            self.assertEqual(self.find(FIRST).counts, {Event.CACHED: 5_000, Event.DELIVERED: 350})
            self.restart()

    def test_crash_loses_at_most_what_was_told_since_the_last_writing(self) -> None:
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        self.written()
        self.receipts.lone_each(Event.SENT, [(FIRST + 1, "a", None)])
        self.receipts = self.make()
        self.assertIsNotNone(self.find(FIRST))
        self.assertIsNone(self.find(FIRST + 1))

    def test_nothing_is_written_where_nothing_happened(self) -> None:
        self.receipts.startService()
        self.clock.pump([WRITE_INTERVAL_S] * 5)
        self.assertEqual(self.store.chunks, [])

    def test_one_acknowledgement_of_many_does_not_write_the_others_again(self) -> None:
        tokens = [f"t{number:04}" for number in range(1_000)]
        self.accept(FIRST, *tokens, expires_ms=98)
        self.receipts.happened(Event.CACHED, FIRST, tokens)
        self.written()
        whole = len(self.store.chunks[-1][1].lives)
        for token in tokens[:3]:
            self.receipts.happened(Event.DELIVERED, FIRST, [token])
            self.clock.advance(WRITE_INTERVAL_S)
            self.assertLess(len(self.store.chunks[-1][1].lives), whole / 100)
        before = self.find(FIRST)
        self.assertEqual(before.counts, {Event.CACHED: 1_000, Event.DELIVERED: 3})
        self.restart()
        self.assertEqual(self.find(FIRST), before)

    def test_memory_forgets_the_oldest_first_and_the_disk_still_has_them(self) -> None:
        self.receipts = self.make(max_in_memory=2 * CHUNK)
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        self.fill(10 * CHUNK)
        (remembered, *_) = self.receipts.samples()
        self.assertLess(remembered.value, 4 * CHUNK)
        self.assertLess(len(self.receipts._memory.known), 4 * CHUNK)
        self.assertEqual(self.became(FIRST), {"a": Event.SENT})
        self.assertEqual(self.store.looked, 1)
        self.assertEqual(self.became(FIRST + 2**30 + 10 * CHUNK - 1), {"other": Event.SENT})
        self.assertEqual(self.store.looked, 1)

    def test_many_small_chunks_are_few_to_look_at_and_the_oldest_are_still_forgotten(self) -> None:
        self.receipts = self.make(max_in_memory=CHUNK)
        self.receipts.startService()
        count = 2 * CHUNK
        for number in range(0, count, 4):
            self.receipts.sent_each([(FIRST + number, "a"), (FIRST + number + 1, "b"), (FIRST + number + 2, "c")])
            self.receipts.lone_each(Event.CACHED, [(FIRST + number + 3, "d", 99)])
            self.clock.advance(WRITE_INTERVAL_S)
        self.assertLess(len(self.receipts._memory._ring), 100)
        (remembered, *_) = self.receipts.samples()
        self.assertLessEqual(remembered.value, CHUNK)
        for number in range(count - CHUNK // 2, count):
            self.assertIsNotNone(self.receipts._memory.get(FIRST + number))
        self.assertIsNone(self.receipts._memory.get(FIRST))
        self.assertLessEqual(len(self.receipts._memory.known), CHUNK // 4)
        self.assertEqual((self.became(FIRST), self.became(FIRST + 3)), ({"a": Event.SENT}, {"d": Event.CACHED}))

    def test_message_to_many_counts_as_many(self) -> None:
        self.receipts = self.make(max_in_memory=5_000)
        tokens = [f"t{number}" for number in range(1_000)]
        for number in range(50):
            self.accept(FIRST + number, *tokens)
        self.assertLess(len(self.receipts._memory.known), (5_000 + CHUNK) // 1_000 + 2)
        self.assertEqual(len(self.find(FIRST).tokens), 1_000)

    def test_event_of_a_forgotten_message_is_added_to_what_is_on_disk(self) -> None:
        self.receipts = self.make(max_in_memory=CHUNK)
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        self.fill(5 * CHUNK)
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        receipt = self.find(FIRST)
        self.assertEqual((receipt.expires_ms, receipt.targets), (99, 1))
        self.assertEqual(receipt.counts, {Event.DELIVERED: 1, Event.CACHED: 1})

    def test_disk_is_bounded_by_number_and_by_age(self) -> None:
        self.receipts = self.make(max_in_memory=CHUNK, max_on_disk=3 * CHUNK, keep_s=3_600)
        self.fill(10 * CHUNK, FIRST)
        self.receipts.startService()
        self.clock.advance(60)
        self.assertEqual(len(self.store.chunks), 3)
        self.assertIsNone(self.find(FIRST))
        self.clock.advance(3_600)
        self.clock.advance(60)
        self.assertEqual(self.store.chunks, [])

    def test_store_that_fails_is_tried_again_and_loses_nothing(self) -> None:
        self.receipts.startService()
        self.store.failure = Unavailable("the disk is full")
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        self.fill(3 * CHUNK)
        self.clock.pump([WRITE_INTERVAL_S] * 3)
        self.assertEqual(self.became(FIRST), {"a": Event.SENT})
        self.store.failure = None
        self.clock.advance(WRITE_INTERVAL_S)
        self.restart()
        self.assertEqual(self.became(FIRST), {"a": Event.SENT})

    def test_store_that_fails_is_tried_at_intervals_not_with_every_chunk(self) -> None:
        self.receipts.startService()
        self.store.failure = Unavailable("the disk is full")
        self.fill(20 * CHUNK)
        self.assertEqual(self.store.tried, 1)
        self.clock.advance(WRITE_INTERVAL_S)
        self.assertEqual(self.store.tried, 2)

    def test_what_waits_for_a_store_that_fails_is_bounded_and_what_is_lost_is_counted(self) -> None:
        self.patch(receipt_log, "MAX_WAITING_WEIGHT", 3 * CHUNK)
        self.store.failure = Unavailable("the disk is full")
        self.fill(11 * CHUNK)  # the last of them may still be acknowledged before they are written
        lost = {sample.name: sample.value for sample in self.receipts.samples()}["push_receipts_lost_total"]
        self.assertEqual(lost, 7 * CHUNK)
        self.store.failure = None
        self.restart()
        self.assertEqual(len(self.store.chunks), 3)

    def test_while_the_store_cannot_be_read_memory_answers(self) -> None:
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        self.store.failure = Unavailable("the disk is broken")
        self.assertEqual(self.became(FIRST), {"a": Event.DELIVERED})
        self.assertIsNone(self.find(FIRST + 1))

    def test_damaged_chunk_hides_no_other(self) -> None:
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        self.restart()
        self.receipts.happened(Event.DELIVERED, FIRST, ["b"])
        self.restart()
        number, chunk = self.store.chunks[-1]
        self.store.chunks[-1] = (number, replace(chunk, lives=b"\xc1"))
        self.assertEqual(self.became(FIRST), {"a": Event.SENT})
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_event_while_the_disk_is_read_is_in_the_answer(self) -> None:
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        self.restart()
        held = Deferred()
        newest = self.store.newest
        self.patch(self.store, "newest", lambda *asked: held.addCallback(lambda _: newest(*asked)))
        found = Deferred.fromCoroutine(self.receipts.find(FIRST))
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        self.patch(self.store, "newest", newest)
        held.callback(None)
        self.assertEqual(self.successResultOf(found).counts, {Event.DELIVERED: 1, Event.CACHED: 1})

    def test_sqlite_finds_what_earlier_lives_have_told(self) -> None:
        database = make_database(Path(self.mktemp()) / "push.sqlite")
        self.store = ReceiptStore(database)
        database.open()
        self.addCleanup(database.close)
        self.receipts = self.make()
        self.accept(FIRST, "a", "b", expires_ms=98)
        self.fill(2 * CHUNK)
        self.restart()
        self.receipts.happened(Event.DELIVERED, FIRST, ["b"])
        self.restart()
        self.assertEqual(self.became(FIRST), {"a": None, "b": Event.DELIVERED})
        self.assertEqual(self.became(FIRST + 2**30 + 1), {"other": Event.SENT})


class Walk(Case):
    """At random: what is told in batches, aside and in columns is found as if each life were kept by itself."""

    def walk(self, seed: int) -> None:
        """One walk, all of which is remembered."""
        self.setUp()
        self.receipts.startService()
        choose = random.Random(seed)
        model: dict[int, Life] = {}
        kept: dict[int, str] = {}
        steps = (self.send_kept, self.send_plain, self.keep, self.tell_each, self.tell_each, self.tell_one, self.again)
        for _ in range(60):
            choose.choice(steps)(choose, model, kept)
            if choose.random() < 0.1:
                self.clock.advance(choose.choice((0.001, 0.5, WRITE_INTERVAL_S)))
            for message_id in choose.sample(sorted(model), min(3, len(model))):
                self.assertEqual(self.find(message_id), model[message_id].receipt(message_id), seed)
        for message_id, life in model.items():
            self.assertEqual(self.find(message_id), life.receipt(message_id), seed)
        self.restart()
        for message_id, life in model.items():
            self.assertEqual(self.find(message_id), life.receipt(message_id), seed)

    def new(self, choose, model, count: int) -> list[int]:
        """Further messages, of this moment."""
        last = max(model, default=0)
        first = max(last + 1, int(self.clock.seconds() * 1000) << 22)
        ids = list(range(first, first + count))
        model.update({message_id: Life(tokens={}) for message_id in ids})
        return ids

    def send_kept(self, choose, model, kept) -> None:
        """Some are kept, and sent at once; the cache may tell of one of them before."""
        ids = self.new(choose, model, choose.randint(1, 6))
        choose.shuffle(ids)
        if choose.random() < 0.2:
            self.tell(choose.choice((Event.DELIVERED, Event.CACHED)), [(ids[0], f"t{ids[0] % 5}")], model)
        self.lone(Event.SENT, [(each, f"t{each % 5}", 99) for each in ids], model, kept)

    def keep(self, choose, model, kept) -> None:
        """Some are kept for who is away."""
        self.lone(None, [(each, f"t{each % 5}", 99) for each in self.new(choose, model, 2)], model, kept)

    def again(self, choose, model, kept) -> None:
        """Some are told once more."""
        for message_id in choose.sample(sorted(kept), min(2, len(kept))):
            self.lone(choose.choice((None, Event.SENT)), [(message_id, kept[message_id], 99)], model, kept)

    def send_plain(self, choose, model, kept) -> None:
        """Some are sent, and not kept."""
        ids = self.new(choose, model, choose.randint(1, 6))
        self.receipts.sent_each([(each, f"t{each % 5}") for each in ids])
        for each in ids:
            model[each].address(1, [f"t{each % 5}"])
            model[each].happened(Event.SENT, [f"t{each % 5}"], accepted_ms(each))

    def tell_each(self, choose, model, kept) -> None:
        """Something happens to several, most of which were kept."""
        ids = choose.sample(sorted(kept), min(5, len(kept)))
        event = choose.choice((Event.DELIVERED, Event.DELIVERED, Event.CACHED, Event.EXPIRED))
        had = [(each, kept[each]) for each in ids]
        self.receipts.happened_each(event, had)
        self.tell(event, had, model, is_told=True)

    def tell_one(self, choose, model, kept) -> None:
        """Something happens to one, perhaps for another token than was known."""
        if model:
            message_id = choose.choice(sorted(model))
            token = choose.choice((f"t{message_id % 5}", f"t{message_id % 5}", "stranger"))
            self.tell(choose.choice((Event.DELIVERED, Event.CANCELLED, Event.SENT)), [(message_id, token)], model)

    def lone(self, event, messages, model, kept) -> None:
        """Tell of messages for one token, and the model."""
        self.receipts.lone_each(event, messages)
        for message_id, token, expires_ms in messages:
            kept[message_id] = token
            life = model[message_id]
            is_new = not life.targets and not life.tokens
            life.address(1, [token])
            life.expires_ms = expires_ms
            if event is not None:
                life.happened(event, [token], accepted_ms(message_id) if is_new else self.now_ms())

    def tell(self, event, messages, model, *, is_told: bool = False) -> None:
        """Tell of each, and the model."""
        for message_id, token in messages:
            if not is_told:
                self.receipts.happened(event, message_id, (token,))
            model[message_id].happened(event, [token], self.now_ms())

    def test_found_as_it_was_told(self) -> None:
        self.patch(receipt_memory, "CHUNK", 16)
        for seed in range(WALKS):
            self.walk(seed)


class Waiting(Case):
    """`delivered`."""

    def wait(self, message_id, timeout_s=10.0):
        """Start to wait."""
        return Deferred.fromCoroutine(self.receipts.delivered(message_id, timeout_s))

    def test_answers_when_the_last_token_has_acknowledged(self) -> None:
        self.accept(FIRST, "a", "b", expires_ms=99)
        self.receipts.happened(Event.CACHED, FIRST, ["a", "b"])
        waiting = [self.wait(FIRST), self.wait(FIRST)]
        self.receipts.happened(Event.SENT, FIRST, ["a", "b"])
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        for each in waiting:
            self.assertNoResult(each)
        self.receipts.happened(Event.DELIVERED, FIRST, ["b"])
        for each in waiting:
            self.assertEqual(self.successResultOf(each).counts[Event.DELIVERED], 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answers_when_it_is_acknowledged_among_many(self) -> None:
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", 99)])
        waiting = self.wait(FIRST)
        self.receipts.happened_each(Event.DELIVERED, [(FIRST + 1, "b"), (FIRST, "a")])
        self.assertEqual(self.successResultOf(waiting).counts[Event.DELIVERED], 1)

    def test_answers_at_once_where_everything_is_over(self) -> None:
        self.receipts.lone_each(Event.SENT, [(FIRST, "a", None)])
        self.assertEqual(self.successResultOf(self.wait(FIRST)).counts, {Event.SENT: 1})

    def test_answers_when_a_message_is_handed_to_a_client_that_does_not_acknowledge(self) -> None:
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        waiting = self.wait(FIRST)
        self.receipts.handed(FIRST, ["a"])
        self.assertEqual(self.successResultOf(waiting).tokens[0].event, Event.SENT)

    def test_answers_with_what_there_is_when_the_time_is_over(self) -> None:
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        waiting = self.wait(FIRST, 3.0)
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(waiting).counts, {Event.CACHED: 1})
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        self.assertEqual(self.receipts._waiters, {})

    def test_no_time_is_no_waiting(self) -> None:
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        self.assertEqual(self.successResultOf(self.wait(FIRST, 0.0)).counts, {Event.CACHED: 1})

    def test_unknown_message_is_not_waited_for(self) -> None:
        receipt = self.successResultOf(self.wait(FIRST))
        self.assertEqual((receipt.targets, receipt.counts), (0, {}))

    def test_number_of_those_who_wait_is_bounded(self) -> None:
        self.patch(receipts, "MAX_WAITERS", 2)
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        waiting = [self.wait(FIRST) for _ in range(3)]
        self.assertEqual(self.successResultOf(waiting[2]).counts, {Event.CACHED: 1})
        self.clock.advance(11)
        for each in waiting[:2]:
            self.successResultOf(each)
        self.assertNoResult(self.wait(FIRST))

    def test_who_gives_up_leaves_nothing_behind(self) -> None:
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        waiting = self.wait(FIRST)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.receipts._waiters, {})
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])

    def test_message_that_is_waited_for_is_not_forgotten(self) -> None:
        self.receipts = self.make(max_in_memory=CHUNK)
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        waiting = self.wait(FIRST)
        self.fill(5 * CHUNK)
        self.assertNoResult(waiting)
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        self.assertEqual(self.successResultOf(waiting).counts, {Event.CACHED: 1, Event.DELIVERED: 1})

    def test_message_of_an_earlier_life_is_waited_for(self) -> None:
        self.accept(FIRST, "a", "b", expires_ms=99)
        self.receipts.happened(Event.CACHED, FIRST, ["a", "b"])
        self.restart()
        self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
        waiting = self.wait(FIRST)
        self.assertNoResult(waiting)
        self.receipts.happened(Event.DELIVERED, FIRST, ["b"])
        self.assertEqual(self.successResultOf(waiting).counts, {Event.CACHED: 2, Event.DELIVERED: 2})


class Observers(Case):
    """They hear what they want to hear, and each thing once."""

    def test_observer_hears_of_its_events_once_each(self) -> None:
        delivered, sent = Heard(Event.DELIVERED, Event.EXPIRED), Heard(Event.SENT)
        verifyObject(IReceiptObserver, delivered)
        self.receipts = self.make(observers=[delivered, sent])
        self.receipts.lone_each(Event.CACHED, [(FIRST, "a", 99)])
        self.receipts.lone_each(Event.SENT, [(FIRST + 1, "b", None)])
        self.accept(FIRST + 2, "a", "b", "c", expires_ms=99)
        accepted_ms = self.now_ms()
        self.clock.advance(1)
        for _ in range(2):
            self.receipts.happened(Event.DELIVERED, FIRST, ["a"])
            self.receipts.happened(Event.EXPIRED, FIRST + 2, ["a", "b"])
            self.receipts.happened(Event.EXPIRED, FIRST + 2, ["b", "c"])
        self.assertEqual(
            delivered.told,
            [
                (Event.DELIVERED, FIRST, ["a"], self.now_ms()),
                (Event.EXPIRED, FIRST + 2, ["a", "b"], self.now_ms()),
                (Event.EXPIRED, FIRST + 2, ["c"], self.now_ms()),
            ],
        )
        self.assertEqual(sent.told, [(Event.SENT, FIRST + 1, ["b"], accepted_ms)])

    def test_observer_hears_of_each_of_many(self) -> None:
        heard = Heard(Event.SENT, Event.DELIVERED)
        self.receipts = self.make(observers=[heard])
        accepted_ms = self.now_ms()
        self.receipts.sent_each([(FIRST, "a"), (FIRST + 1, "b")])
        self.receipts.lone_each(Event.CACHED, [(FIRST + 2, "c", 99)])
        self.clock.advance(1)
        self.receipts.happened_each(Event.DELIVERED, [(FIRST + 2, "c")])
        self.assertEqual(
            heard.told,
            [
                (Event.SENT, FIRST, ["a"], accepted_ms),
                (Event.SENT, FIRST + 1, ["b"], accepted_ms),
                (Event.DELIVERED, FIRST + 2, ["c"], self.now_ms()),
            ],
        )

    def test_observer_hears_of_what_is_counted_and_of_messages_of_earlier_lives(self) -> None:
        heard = Heard(Event.SENT, Event.DELIVERED)
        self.receipts = self.make(observers=[heard])
        self.receipts.counted(Event.SENT, FIRST, 70)
        self.receipts.counted(Event.CACHED, FIRST, 70)
        self.receipts.handed(FIRST + 1, ["a"])
        self.assertEqual(
            heard.told, [(Event.SENT, FIRST, 70, self.now_ms()), (Event.SENT, FIRST + 1, ["a"], self.now_ms())]
        )
