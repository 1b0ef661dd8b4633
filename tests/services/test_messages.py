"""What senders may ask, over the real cache and the real receipts, in simulated time."""

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import NotFound
from push.ireceipts import IMessages
from push.model import Options, PushRequest, Registration, ToTokens
from push.model_cache import CacheLimits, Everybody, Keep, StoredDue
from push.model_receipts import Event, TokenReceipt
from push.services.cache.cache import Cache
from push.services.ids import first_id_at
from push.services.messages import Messages
from push.services.receipts import Receipts
from tests.fakes_store import MemoryReceiptStore
from tests.services.cache.doubles import Disk, Tokens

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


class MessagesCase(SynchronousTestCase):
    """One server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache_rows, self.receipt_rows = Disk(), MemoryReceiptStore()
        self.tokens = Tokens()
        for token in ("t1", "t2", "t3"):
            self.tokens.register(token, START_MS - HOUR_MS)
        self.next_id = first_id_at(START_MS)
        self.start()

    def start(self) -> None:
        """A life of the server, on what is on disk."""
        self.receipts = Receipts(store=self.receipt_rows, clock=self.clock, now_ms=self.now_ms)
        self.cache = Cache(
            store=self.cache_rows,
            receipts=self.receipts,
            subscribe=self.tokens,
            clock=self.clock,
            now_ms=self.now_ms,
            limits=CacheLimits(),
        )
        self.messages = Messages(receipts=self.receipts, cache=self.cache, subscribe=self.tokens, now_ms=self.now_ms)
        self.receipts.startService()
        self.cache.startService()
        self.assertTrue(self.cache.is_ready)

    def crash(self) -> None:
        """The process is killed, and another is started."""
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.start()

    def now_ms(self) -> int:
        """The time of day."""
        return START_MS + round(self.clock.seconds() * 1000)

    def now(self, coroutine):
        """The result of something that may take a few turns."""
        waiting = Deferred.fromCoroutine(coroutine)
        for _ in range(5):
            self.clock.advance(0)
        return self.successResultOf(waiting)

    def refused(self, coroutine):
        """The error of something that fails."""
        return self.failureResultOf(Deferred.fromCoroutine(coroutine), NotFound).value

    def push(self, *tokens, ttl_s=3_600, audience=None, is_told=True, **options) -> int:
        """Accept a message as the router does, for tokens that are away."""
        self.next_id += 1
        keep = Keep(self.next_id, b"hello", tokens, self.now_ms() + ttl_s * 1000, Options(**options), audience=audience)
        self.now(self.cache.keep([keep]))
        if is_told:
            self.receipts.accepted(
                self.next_id,
                targets=len(tokens),
                tokens=tokens or None,
                expires_ms=keep.expires_ms,
                due_ms=None,
                is_logged=audience is not None,
            )
        self.clock.advance(0)
        return self.next_id

    def online(self, token, acks=True) -> None:
        """The token has a session."""
        session = Registration(token, None, "10.0.0.1:6789", self.now_ms() * 1000, acks)
        self.tokens.known[token] = replace(self.tokens.known[token], session=session)

    def became(self, message_id):
        """What happened last, by token."""
        receipt = self.now(self.messages.receipt(message_id))
        return {each.token: each.event for each in receipt.tokens}

    def why(self, message_id, token="t1"):
        """The most telling sentence."""
        return self.now(self.messages.explain(message_id, token))[0]


class Receipted(MessagesCase):
    """Receipts."""

    def test_provides_its_interface(self) -> None:
        verifyObject(IMessages, self.messages)

    def test_life_of_a_message(self) -> None:
        message_id = self.push("t1", "t2", "t3")
        self.now(self.cache.acknowledged([("t1", [message_id])]))
        self.now(self.cache.handed([("t2", [message_id])]))
        receipt = self.now(self.messages.receipt(message_id))
        self.assertEqual(receipt.counts, {Event.CACHED: 3, Event.DELIVERED: 1, Event.SENT: 1})
        self.assertEqual(self.became(message_id), {"t1": Event.DELIVERED, "t2": Event.SENT, "t3": Event.CACHED})
        self.assertEqual((receipt.targets, receipt.accepted_ms), (3, START_MS))
        self.assertEqual(receipt.expires_ms, START_MS + HOUR_MS)

    def test_was_accepted_before_all_that_happened_though_ids_run_ahead_of_the_clock(self) -> None:
        self.next_id = first_id_at(START_MS + 9_000)
        message_id = self.push("t1", ttl_s=2)
        self.clock.advance(1)
        self.now(self.cache.acknowledged([("t1", [message_id])]))
        self.assertEqual(self.now(self.messages.receipt(message_id)).accepted_ms, START_MS + 1_000)
        kept = self.now(self.messages.receipt(self.push("t1", ttl_s=2, is_told=False)))
        self.assertLessEqual(kept.accepted_ms, START_MS + 3_000)

    def test_unknown_message(self) -> None:
        self.assertIn("not known", str(self.refused(self.messages.receipt(self.next_id))))

    def test_what_only_the_cache_survived_with_is_told_by_it(self) -> None:
        message_id = self.push("t1", "t2")
        self.crash()
        self.assertIsNone(self.now(self.receipts.find(message_id)))
        receipt = self.now(self.messages.receipt(message_id))
        self.assertEqual(
            receipt.tokens, [TokenReceipt("t1", Event.CACHED, START_MS), TokenReceipt("t2", Event.CACHED, START_MS)]
        )
        self.assertEqual((receipt.targets, receipt.counts), (2, {Event.CACHED: 2}))
        self.assertEqual(receipt.expires_ms, START_MS + HOUR_MS)
        self.assertIn("waits in the cache", self.why(message_id))

    def test_what_the_receipts_have_besides_is_kept(self) -> None:
        message_id = self.push("t1", "t2", "t3")
        self.crash()
        self.now(self.cache.acknowledged([("t1", [message_id])]))
        self.assertEqual(self.became(message_id), {"t1": Event.DELIVERED, "t2": Event.CACHED, "t3": Event.CACHED})
        receipt = self.now(self.messages.receipt(message_id))
        self.assertEqual((receipt.targets, receipt.counts), (3, {Event.DELIVERED: 1, Event.CACHED: 2}))

    def test_logged_message_that_only_the_cache_survived_with(self) -> None:
        message_id = self.push(audience=Everybody())
        self.crash()
        receipt = self.now(self.messages.receipt(message_id))
        self.assertEqual((receipt.is_logged, receipt.tokens, receipt.counts), (True, [], {}))
        self.assertIn("kept once for all", self.why(message_id))

    def test_scheduled_message_survives_a_crash(self) -> None:
        due = StoredDue(self.next_id, START_MS + 60_000, PushRequest(ToTokens(("t1",)), b"later"))
        self.now(self.cache.schedule(due))
        self.crash()
        receipt = self.now(self.messages.receipt(self.next_id))
        self.assertEqual((receipt.due_ms, receipt.targets), (START_MS + 60_000, 0))
        self.assertIn("is scheduled for 2027-01-15 08:01:00.000 UTC, in 60 s", self.why(self.next_id))


class Cancelled(MessagesCase):
    """Taking back."""

    def test_what_is_undelivered_is_taken_back_and_the_receipt_says_so(self) -> None:
        message_id = self.push("t1", "t2", "t3")
        self.now(self.cache.acknowledged([("t1", [message_id])]))
        self.assertEqual(self.now(self.messages.cancel(message_id)), 2)
        self.assertEqual(self.became(message_id), {"t1": Event.DELIVERED, "t2": Event.CANCELLED, "t3": Event.CANCELLED})
        self.assertFalse(self.cache.has("t2"))
        self.assertIn("was cancelled at", self.why(message_id, "t2"))

    def test_again_there_is_nothing_left(self) -> None:
        message_id = self.push("t1")
        self.assertEqual(self.now(self.messages.cancel(message_id)), 1)
        self.assertEqual(self.now(self.messages.cancel(message_id)), 0)

    def test_unknown_message(self) -> None:
        self.refused(self.messages.cancel(self.next_id))

    def test_message_that_only_the_cache_knows(self) -> None:
        message_id = self.push("t1", "t2")
        self.crash()
        self.assertEqual(self.now(self.messages.cancel(message_id)), 2)

    def test_scheduled_message_is_never_sent(self) -> None:
        due = StoredDue(self.next_id, START_MS + 60_000, PushRequest(ToTokens(("t1",)), b"later"))
        self.now(self.cache.schedule(due))
        self.receipts.accepted(
            self.next_id, targets=0, tokens=None, expires_ms=None, due_ms=due.due_ms, is_logged=False
        )
        self.assertEqual(self.now(self.messages.cancel(self.next_id)), 1)
        self.assertEqual(self.cache.scheduled(), ())
        self.assertEqual(self.now(self.messages.receipt(self.next_id)).counts, {Event.CANCELLED: 1})
        self.assertEqual(self.why(self.next_id), "the message was cancelled before it was sent")
        self.crash()
        self.assertEqual(self.cache.scheduled(), ())

    def test_logged_message_counts_as_one(self) -> None:
        message_id = self.push(audience=Everybody())
        self.assertEqual(self.now(self.messages.cancel(message_id)), 1)
        self.assertIn("was cancelled", self.why(message_id))


class Explained(MessagesCase):
    """What is put together of the three; every sentence is in test_explaining.py."""

    def test_offline_then_sent_then_acknowledged(self) -> None:
        message_id = self.push("t1")
        self.assertIn("the token is offline", self.why(message_id))
        self.clock.advance(1)
        self.online("t1")
        self.receipts.happened(Event.SENT, message_id, ["t1"])
        self.assertIn("the client has not acknowledged it yet", self.why(message_id))
        self.now(self.cache.acknowledged([("t1", [message_id])]))
        self.assertIn("the client acknowledged the message", self.why(message_id))

    def test_sent_before_it_was_on_disk(self) -> None:
        self.cache_rows.is_held = True
        message_id = self.push("t1")
        self.assertIn("waits in the cache", self.why(message_id))
        self.online("t1")
        self.receipts.happened(Event.SENT, message_id, ["t1"])
        self.assertIn("the client has not acknowledged it yet", self.why(message_id))

    def test_handed_to_a_client_that_does_not_acknowledge(self) -> None:
        message_id = self.push("t1")
        self.online("t1", acks=False)
        self.now(self.cache.handed([("t1", [message_id])]))
        self.assertIn("to a client that does not acknowledge: nobody can know more", self.why(message_id))

    def test_expired(self) -> None:
        message_id = self.push("t1")
        self.clock.pump([1.0] * 3_605)
        self.assertIn("after 3600 s", self.why(message_id))

    def test_replaced(self) -> None:
        first = self.push("t1", collapse_key="score")
        self.push("t1", collapse_key="score")
        self.assertIn("was replaced at", self.why(first))

    def test_addressed_to_others(self) -> None:
        message_id = self.push("t2", "t3")
        self.assertIn("was addressed to 2 tokens, this one is not among them", self.why(message_id))

    def test_not_registered_and_unknown(self) -> None:
        self.assertIn("not registered", self.why(self.push("t1"), "nobody"))
        self.assertIn("the message is not known", self.why(7))

    def test_waiting_ends_with_the_acknowledgement(self) -> None:
        message_id = self.push("t1")
        waiting = Deferred.fromCoroutine(self.receipts.delivered(message_id, 10.0))
        self.receipts.happened(Event.SENT, message_id, ["t1"])
        self.assertNoResult(waiting)
        self.now(self.cache.acknowledged([("t1", [message_id])]))
        self.assertEqual(self.successResultOf(waiting).counts[Event.DELIVERED], 1)
