"""What a support engineer is told, for every way in which a message may not have arrived."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from push.model import Registration, TagQuery
from push.model_cache import Everybody, StoredMessage
from push.model_receipts import Event, Receipt, TokenReceipt
from push.model_subscribe import TokenInfo
from push.services.explaining import Known, explained
from push.services.ids import EPOCH_MS

# 2026-01-01 00:16:40 UTC
ACCEPTED_MS = EPOCH_MS + 1_000_000
HOUR_MS = 3_600_000
ACKS = Registration("t1", None, "10.0.0.1:6789", (ACCEPTED_MS - 5_000) * 1000, acks=True)
NO_ACKS = Registration("t1", None, "10.0.0.1:6789", (ACCEPTED_MS - 5_000) * 1000)
LATER = Registration("t1", None, "10.0.0.1:6789", (ACCEPTED_MS + 5_000) * 1000)


def receipt_of(*tokens, **more) -> Receipt:
    """The receipt of a message for an hour, with these tokens."""
    known = {
        "message_id": 7,
        "accepted_ms": ACCEPTED_MS,
        "expires_ms": ACCEPTED_MS + HOUR_MS,
        "due_ms": None,
        "targets": len(tokens),
        "counts": {},
        "tokens": tokens,
    }
    return Receipt(**{**known, **more})


def lone(event, after_ms=250, **more) -> Receipt:
    """The receipt of a message for t1 alone."""
    return receipt_of(TokenReceipt("t1", event, ACCEPTED_MS + after_ms), **more)


def kept(*tokens, audience=None) -> StoredMessage:
    """What the cache has."""
    return StoredMessage(9, 7, ACCEPTED_MS + HOUR_MS, 5, False, "", tokens, audience)


class Explained(SynchronousTestCase):
    """One test for each reason."""

    def told(
        self, receipt=None, *, kept=None, due_ms=None, session=None, info=True, now_ms=ACCEPTED_MS + 2_000, **more
    ):
        """The sentences about t1."""
        token = TokenInfo("t1", None, None, ("news",), ACCEPTED_MS - HOUR_MS, session) if info else None
        if more:
            token = replace(token, **more)
        sentences = explained(Known("t1", now_ms, receipt, kept, due_ms, token))
        for sentence in sentences:
            self.assertNotIn("t1", sentence)
        return sentences

    def test_not_registered_comes_first_and_what_happened_before_still_is_said(self) -> None:
        told = self.told(lone(Event.CANCELLED), info=False)
        self.assertIn("the token is not registered", told[0])
        self.assertIn("was cancelled at 2026-01-01 00:16:40.250 UTC", told[1])

    def test_unknown_message(self) -> None:
        told = self.told(None)
        self.assertIn("the message is not known", told[0])
        self.assertEqual(told[1:], ["the token is offline now"])

    def test_scheduled(self) -> None:
        told = self.told(receipt_of(due_ms=ACCEPTED_MS + 62_000), due_ms=ACCEPTED_MS + 62_000)
        self.assertEqual(
            told[0],
            "the message is scheduled for 2026-01-01 00:17:42.000 UTC, in 60 s: it has not been sent to anybody",
        )

    def test_scheduled_and_cancelled(self) -> None:
        told = self.told(receipt_of(due_ms=ACCEPTED_MS + 62_000, counts={Event.CANCELLED: 1}))
        self.assertEqual(told[0], "the message was cancelled before it was sent")

    def test_scheduled_and_then_forgotten(self) -> None:
        told = self.told(receipt_of(due_ms=ACCEPTED_MS + 62_000))
        self.assertIn("was scheduled for 2026-01-01 00:17:42.000 UTC: what became of it then is not known", told[0])

    def test_delivered(self) -> None:
        told = self.told(lone(Event.DELIVERED), session=ACKS)
        self.assertEqual(
            told[0],
            "the client acknowledged the message at 2026-01-01 00:16:40.250 UTC, 0.250 s after it was accepted: "
            "it has arrived",
        )

    def test_sent_and_not_acknowledged_yet(self) -> None:
        told = self.told(lone(Event.SENT), kept=kept("t1"), session=ACKS)
        self.assertEqual(
            told,
            [
                "the message was sent at 2026-01-01 00:16:40.250 UTC, and the client has not acknowledged it yet "
                "(it acknowledges)",
                "the token is online at 10.0.0.1:6789 since 2026-01-01 00:16:35.000 UTC, and acknowledges",
                "the message was accepted at 2026-01-01 00:16:40.000 UTC, and is kept until 2026-01-01 01:16:40.000 "
                "UTC",
            ],
        )

    def test_sent_not_acknowledged_and_offline_since(self) -> None:
        told = self.told(lone(Event.SENT), kept=kept("t1"))
        self.assertIn("has not acknowledged it yet", told[0])
        self.assertEqual(told[1], "it is kept, and is sent again when the token comes back")
        self.assertEqual(told[2], "the token is offline now")

    def test_sent_to_a_client_that_does_not_acknowledge(self) -> None:
        for session in (NO_ACKS, None):
            told = self.told(lone(Event.SENT, expires_ms=None), session=session)
            self.assertEqual(
                told[0],
                "the message was sent at 2026-01-01 00:16:40.250 UTC to a client that does not acknowledge: nobody can "
                "know more",
            )

    def test_sent_without_being_kept_to_a_client_that_acknowledges(self) -> None:
        told = self.told(lone(Event.SENT, expires_ms=None), session=ACKS)
        self.assertIn("not to be kept (ttl 0, or store never), so no acknowledgement was waited for", told[0])

    def test_sent_kept_no_more_and_no_receipt_says_why(self) -> None:
        told = self.told(lone(Event.SENT), session=ACKS)
        self.assertIn("no receipt says why: the server was killed", told[1])

    def test_waits_in_the_cache_for_an_offline_token(self) -> None:
        told = self.told(lone(Event.CACHED), kept=kept("t1"))
        self.assertEqual(
            told[0], "the message waits in the cache, kept at 2026-01-01 00:16:40.250 UTC: the token is offline"
        )
        self.assertEqual(told[1], "the token is offline now")

    def test_waits_in_the_cache_behind_what_is_not_acknowledged(self) -> None:
        told = self.told(lone(Event.CACHED), kept=kept("t1"), session=ACKS)
        self.assertIn("it was sent out of there and the client has not acknowledged it", told[0])
        self.assertIn("it is sent when the client has acknowledged what was sent before it", told[0])

    def test_waits_in_the_cache_and_is_about_to_be_sent(self) -> None:
        told = self.told(lone(Event.CACHED), kept=kept("t1"), session=LATER)
        self.assertIn("it is about to be sent", told[0])
        self.assertIn("that session opened after the message was accepted", told[1])

    def test_kept_once_and_now_gone_without_a_receipt(self) -> None:
        told = self.told(lone(Event.CACHED))
        self.assertIn("no receipt says why: the server was killed", told[1])

    def test_expired(self) -> None:
        told = self.told(lone(Event.EXPIRED, HOUR_MS + 100))
        self.assertEqual(
            told[0],
            "the message expired at 2026-01-01 01:16:40.000 UTC after 3600 s: the token had not taken it by then",
        )

    def test_replaced_dropped_and_rejected(self) -> None:
        self.assertIn("replaced at 2026-01-01 00:16:40.250 UTC by a newer one", self.told(lone(Event.REPLACED))[0])
        self.assertIn("the token's cache was full, and a newer one", self.told(lone(Event.DROPPED))[0])
        self.assertIn("the token's cache was full at", self.told(lone(Event.REJECTED))[0])

    def test_away_and_not_to_be_kept(self) -> None:
        told = self.told(lone(None, expires_ms=None))
        self.assertIn("the token was offline, or did not read, when the message was sent", told[0])

    def test_on_its_way(self) -> None:
        self.assertIn("is on its way", self.told(lone(None))[0])

    def test_addressed_to_others(self) -> None:
        others = [TokenReceipt(token, Event.SENT, ACCEPTED_MS) for token in ("a", "b", "c")]
        told = self.told(receipt_of(*others))
        self.assertEqual(told[0], "the message was addressed to 3 tokens, this one is not among them")
        told = self.told(receipt_of(*others[:1]))
        self.assertEqual(told[0], "the message was addressed to 1 token, this one is not among them")

    def test_one_of_too_many(self) -> None:
        many = receipt_of(targets=5_000, counts={Event.SENT: 1_234})
        self.assertIn("was for 5,000 targets, too many or not named", self.told(many, session=NO_ACKS)[0])
        self.assertIn("it was sent to 1,234", self.told(many, session=NO_ACKS)[0])

    def test_one_of_too_many_for_which_it_is_kept(self) -> None:
        many = receipt_of(targets=5_000, counts={Event.SENT: 1_234})
        self.assertIn("it waits for the token to come", self.told(many, kept=kept("t1", "t2"))[0])
        self.assertIn("it waits for its acknowledgement", self.told(many, kept=kept("t1", "t2"), session=ACKS)[0])

    def test_broadcast_before_the_session_opened(self) -> None:
        told = self.told(receipt_of(targets=70, counts={Event.SENT: 70}, expires_ms=None), session=LATER)
        self.assertIn("which opened its session only later, at 2026-01-01 00:16:45.000 UTC", told[0])

    def test_logged_for_everybody(self) -> None:
        told = self.told(receipt_of(is_logged=True), kept=kept(audience=Everybody()))
        self.assertIn("kept once for all of them until 2026-01-01 01:16:40.000 UTC", told[0])

    def test_logged_and_sent_while_it_was_online(self) -> None:
        told = self.told(lone(Event.SENT, is_logged=True), kept=kept(audience=Everybody()), session=ACKS)
        self.assertIn("the message was sent at 2026-01-01 00:16:40.250 UTC; it is kept once for many", told[0])
        told = self.told(lone(None, is_logged=True), kept=kept(audience=Everybody()))
        self.assertIn("the message is for many, and is kept once", told[0])

    def test_logged_before_the_token_was_registered(self) -> None:
        told = self.told(receipt_of(is_logged=True), kept=kept(audience=Everybody()), created_ms=ACCEPTED_MS + 1)
        self.assertIn("the token was registered at 2026-01-01 00:16:40.001 UTC, after the message was acc", told[0])

    def test_scheduled_for_all_is_meant_for_who_was_registered_by_then(self) -> None:
        for created_ms, is_meant in ((ACCEPTED_MS + 500, True), (ACCEPTED_MS + 1_500, False)):
            receipt = receipt_of(is_logged=True, due_ms=ACCEPTED_MS + 1_000)
            told = self.told(receipt, kept=kept(audience=Everybody()), created_ms=created_ms)
            self.assertEqual("is kept once for all of them" in told[0], is_meant)
            self.assertEqual("after the message was due: it is not meant for it" in told[0], not is_meant)

    def test_acknowledged_before_its_id_says_as_ids_run_ahead_after_a_restart(self) -> None:
        self.assertIn("0.000 s after it was accepted", self.told(lone(Event.DELIVERED, after_ms=-4_265))[0])

    def test_logged_for_other_tags(self) -> None:
        for query, fits in (
            (TagQuery(any=("sport",)), False),
            (TagQuery(all=("news", "sport")), False),
            (TagQuery(none=("news",)), False),
            (TagQuery(any=("news", "sport")), True),
        ):
            told = self.told(receipt_of(is_logged=True), kept=kept(audience=query))
            self.assertEqual("which this one has not" in told[0], not fits, query)

    def test_logged_and_gone(self) -> None:
        for counts, now_ms, why in (
            ({Event.CANCELLED: 1}, 0, "was cancelled"),
            ({Event.DROPPED: 1}, 0, "was dropped"),
            ({}, ACCEPTED_MS + 2 * HOUR_MS, "expired at 2026-01-01 01:16:40.000 UTC"),
            ({}, 0, "is gone"),
        ):
            self.assertIn(why, self.told(receipt_of(is_logged=True, counts=counts), now_ms=now_ms)[0])
