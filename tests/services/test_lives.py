"""What can happen to a message, in which order, and what is made of parts of its life."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from push.model_receipts import Event, TokenReceipt
from push.services import life_states
from push.services.ids import EPOCH_MS
from push.services.life_states import FINAL, FOLLOWING, HANDED_CODE, NOTHING, is_over, together
from push.services.lives import MAX_TOKENS, Life, LoneLife, as_life, decode_one, encode

MESSAGE_ID = 5_000 << 22
ACCEPTED_MS = EPOCH_MS + 5_000
CODES = st.sampled_from([*Event, HANDED_CODE])


def after(*codes: int) -> int:
    """The state of a token to which these happened."""
    bits = NOTHING
    for code in codes:
        bits = FOLLOWING[bits << 4 | code]
    return bits


def last(bits: int) -> Event:
    """The last event."""
    return Event(bits & life_states.LAST)


def seen(bits: int) -> set[Event]:
    """All that happened."""
    return {event for event in Event if bits >> life_states.MASK_SHIFT + event & 1}


class States(SynchronousTestCase):
    """One token."""

    @given(st.sampled_from(FINAL), st.lists(CODES), st.lists(CODES))
    def test_what_is_final_stays_whatever_comes(self, final: Event, before: list[int], later: list[int]) -> None:
        bits = after(*before, final)
        if last(bits) is not final:  # another end came first
            self.assertIn(last(bits), FINAL)
        self.assertEqual(last(after(*before, final, *later)), last(bits))
        self.assertLessEqual(seen(after(*before, final, *later)) - seen(bits), {Event.SENT})
        self.assertTrue(is_over(bits, is_kept=True))

    def test_cached_then_sent_then_delivered(self) -> None:
        for codes in ((Event.CACHED,), (Event.CACHED, Event.SENT), (Event.SENT,)):
            self.assertEqual(last(after(*codes)), codes[-1])
            self.assertFalse(is_over(after(*codes), is_kept=True))
        bits = after(Event.CACHED, Event.SENT, Event.DELIVERED)
        self.assertEqual((last(bits), is_over(bits, is_kept=True)), (Event.DELIVERED, True))
        self.assertEqual(seen(bits), {Event.CACHED, Event.SENT, Event.DELIVERED})

    def test_sent_is_the_end_where_nothing_was_kept(self) -> None:
        self.assertTrue(is_over(after(Event.SENT), is_kept=False))
        self.assertTrue(is_over(NOTHING, is_kept=False))
        self.assertFalse(is_over(NOTHING, is_kept=True))
        self.assertFalse(is_over(after(Event.SENT, Event.CACHED), is_kept=False))

    def test_sent_is_the_end_where_nobody_acknowledges(self) -> None:
        for codes in ((HANDED_CODE,), (Event.CACHED, HANDED_CODE), (Event.CACHED, Event.SENT, HANDED_CODE)):
            self.assertEqual(last(after(*codes)), Event.SENT)
            self.assertTrue(is_over(after(*codes), is_kept=True))

    def test_told_in_another_order_than_it_happened(self) -> None:
        for codes in ((Event.SENT, Event.CACHED), (Event.CACHED, Event.SENT)):
            self.assertEqual((last(after(*codes)), is_over(after(*codes), is_kept=True)), (Event.SENT, False))
        bits = after(Event.CACHED, Event.DELIVERED, Event.SENT)
        self.assertEqual((last(bits), seen(bits)), (Event.DELIVERED, {Event.CACHED, Event.SENT, Event.DELIVERED}))

    @given(CODES, st.lists(CODES))
    def test_what_happens_twice_is_no_news(self, code: int, before: list[int]) -> None:
        bits = after(*before, code)
        self.assertEqual(after(*before, code, code), bits)

    @given(st.lists(CODES), st.lists(CODES))
    def test_two_parts_have_all_that_happened_until_the_first_end(self, older: list[int], newer: list[int]) -> None:
        first, second = after(*older), after(*newer)
        both = together(first, second)
        if seen(first) & set(FINAL):
            self.assertEqual(last(both), last(first))
            self.assertEqual(seen(both), seen(first) | seen(second) & {Event.SENT})
            return
        self.assertEqual(seen(both), seen(first) | seen(second))
        if newer and (last(second), first & life_states.LAST) != (Event.CACHED, Event.SENT):
            self.assertEqual(last(both), last(second))


def life_of(*tokens: str, **more: object) -> Life:
    """The life of a message to some tokens."""
    life = Life(tokens={}, **more)
    life.address(len(tokens), tokens)
    return life


class Lives(SynchronousTestCase):
    """One message."""

    def test_receipt_has_every_token_and_counts_every_event(self) -> None:
        life = life_of("a", "b", "c", expires_ms=9)
        life.happened(Event.CACHED, ["a", "b"], 10)
        self.assertEqual(life.happened(Event.SENT, ["a", "c"], 20), ["a", "c"])
        life.happened(Event.DELIVERED, ["a"], 30)
        self.assertEqual(life.happened(Event.DELIVERED, ["a"], 40), [])
        receipt = life.receipt(MESSAGE_ID)
        self.assertEqual((receipt.targets, receipt.accepted_ms, receipt.expires_ms), (3, ACCEPTED_MS, 9))
        self.assertEqual(receipt.counts, {Event.CACHED: 2, Event.SENT: 2, Event.DELIVERED: 1})
        self.assertEqual(
            receipt.tokens,
            [
                TokenReceipt("a", Event.DELIVERED, 30),
                TokenReceipt("b", Event.CACHED, 10),
                TokenReceipt("c", Event.SENT, 20),
            ],
        )

    def test_token_to_which_nothing_happened_is_among_the_targets(self) -> None:
        self.assertEqual(life_of("a").receipt(MESSAGE_ID).tokens, [TokenReceipt("a", None, 0)])

    def test_late_news_that_it_was_sent_keeps_the_time_of_the_end(self) -> None:
        life = life_of("a")
        life.happened(Event.CACHED, ["a"], 10)
        life.happened(Event.DELIVERED, ["a"], 20)
        self.assertEqual(life.happened(Event.SENT, ["a"], 30), ["a"])
        self.assertEqual(life.receipt(MESSAGE_ID).tokens, [TokenReceipt("a", Event.DELIVERED, 20)])
        self.assertEqual(life.receipt(MESSAGE_ID).counts[Event.SENT], 1)

    def test_a_thousand_targets_are_known_one_by_one_and_more_are_counted(self) -> None:
        tokens = [f"t{number}" for number in range(MAX_TOKENS + 1)]
        life = life_of(*tokens[:-1])
        life.happened(Event.CACHED, tokens[:10], 1)
        self.assertEqual(len(life.receipt(MESSAGE_ID).tokens), MAX_TOKENS)
        life.address(1, tokens[-1:])
        life.happened(Event.CACHED, tokens[10:], 1)
        receipt = life.receipt(MESSAGE_ID)
        self.assertEqual((receipt.targets, receipt.tokens), (MAX_TOKENS + 1, []))
        self.assertEqual(receipt.counts, {Event.CACHED: MAX_TOKENS + 1})

    def test_pages_of_targets_add_up(self) -> None:
        life = life_of("a", "b")
        life.address(2, ["c", "a"])
        self.assertEqual(life.targets, 3)
        self.assertEqual([each.token for each in life.receipt(MESSAGE_ID).tokens], ["a", "b", "c"])

    def test_pages_of_many_targets_add_up(self) -> None:
        life = Life(tokens={})
        for page in range(3):
            life.address(900, [f"t{page}-{number}" for number in range(900)])
        self.assertEqual((life.targets, life.receipt(MESSAGE_ID).tokens), (2_700, []))
        life.address(50, None)
        self.assertEqual(life.targets, 2_750)

    def test_over_when_every_token_is(self) -> None:
        life = life_of("a", "b", expires_ms=9)
        self.assertFalse(life.is_over())
        life.happened(Event.CACHED, ["a", "b"], 1)
        life.happened(Event.DELIVERED, ["a"], 1)
        self.assertFalse(life.is_over())
        life.happened(Event.EXPIRED, ["b"], 1)
        self.assertTrue(life.is_over())

    def test_over_at_once_for_who_was_away_and_nothing_was_kept(self) -> None:
        life = life_of("a", "b")
        life.happened(Event.SENT, ["a"], 1)
        self.assertTrue(life.is_over())

    def test_counted_lives_are_over_when_every_target_is(self) -> None:
        tokens = [str(number) for number in range(2_000)]
        life = life_of(*tokens, expires_ms=9)
        self.assertFalse(life.is_over())
        life.happened(HANDED_CODE, tokens[:1_000], 1)
        life.happened(Event.CACHED, tokens[1_500:], 1)
        life.happened(Event.SENT, tokens[1_000:1_900], 1)
        life.happened(Event.DELIVERED, tokens[1_000:1_900], 1)
        life.happened(Event.REJECTED, tokens[1_900:1_999], 1)
        self.assertFalse(life.is_over())
        life.happened(HANDED_CODE, tokens[1_999:], 1)
        self.assertTrue(life.is_over())

    def test_counted_lives_of_what_is_not_kept_are_over_at_once(self) -> None:
        life = Life(tokens={})
        life.address(5_000, None)
        life.count(Event.SENT, 4_000)
        self.assertTrue(life.is_over())

    def test_scheduled_is_not_over_before_anything_happened(self) -> None:
        life = Life(tokens={}, due_ms=99)
        self.assertFalse(life.is_over())
        life.count(Event.CANCELLED, 1)
        self.assertTrue(life.is_over())

    def test_logged_is_not_over_before_it_has_expired(self) -> None:
        life = Life(tokens={}, is_logged=True, expires_ms=9)
        life.count(Event.SENT, 5)
        self.assertFalse(life.is_over())
        life.count(Event.EXPIRED, 1)
        self.assertTrue(life.is_over())

    def test_part_is_never_over(self) -> None:
        life = Life(tokens={}, born=7)
        life.happened(Event.DELIVERED, ["a"], 1)
        self.assertFalse(life.is_over())

    @given(st.lists(st.tuples(CODES, st.sets(st.sampled_from("abcd"), min_size=1)), max_size=12), st.integers(0, 12))
    def test_parts_make_the_same_as_the_whole(self, events: list[tuple[int, set[str]]], cut: int) -> None:
        whole, first, second = life_of(*"abcd"), life_of(*"abcd"), Life(tokens={}, born=7)
        for number, (code, tokens) in enumerate(events):
            for token in sorted(tokens):
                if whole.happened(code, [token], number):
                    (first if number < cut else second).happened(code, [token], number)
        first.add(second)
        self.assertEqual(first.receipt(MESSAGE_ID).counts, whole.receipt(MESSAGE_ID).counts)
        self.assertEqual(
            [(each.token, each.event) for each in first.receipt(MESSAGE_ID).tokens],
            [(each.token, each.event) for each in whole.receipt(MESSAGE_ID).tokens],
        )
        self.assertEqual(first.is_over(), whole.is_over())

    def test_counts_add_up_where_one_part_has_too_many_tokens(self) -> None:
        many = [f"t{number}" for number in range(MAX_TOKENS + 1)]
        for first_tokens, second_tokens in ((many, ["x", "y"]), (["x", "y"], many)):
            first, second = life_of(*first_tokens), Life(tokens={}, born=7)
            first.happened(Event.CACHED, first_tokens, 1)
            second.happened(HANDED_CODE, second_tokens, 2)
            first.add(second)
            self.assertEqual(first.counts, {Event.CACHED: len(first_tokens), Event.SENT: len(second_tokens)})
            self.assertEqual(first.handed, len(second_tokens))


class Encoded(SynchronousTestCase):
    """On disk."""

    def test_every_kind_comes_back(self) -> None:
        life = life_of("a", "b", expires_ms=9, due_ms=8, is_logged=True)
        life.happened(HANDED_CODE, ["a"], 1)
        life.count(Event.SENT, 3)
        lone = LoneLife("x", after(Event.CACHED), 77, 99, 3)
        lives = encode({MESSAGE_ID: "token", 2: life, 3: lone})
        self.assertEqual(decode_one(MESSAGE_ID, lives), Life(1, {"token": ACCEPTED_MS << 16 | after(Event.SENT)}, None))
        self.assertEqual(decode_one(2, lives), life)
        self.assertEqual(decode_one(3, lives), as_life(3, lone))
        self.assertEqual(as_life(3, lone).born, 3)
        self.assertIsNone(decode_one(4, lives))

    def test_garbage_is_refused(self) -> None:
        for lives in (b"", b"\xc1", b"\x81\x01\x93\x07\x01\x02"):
            self.assertRaises(msgspec.DecodeError, decode_one, 1, lives)
