"""The books of pushctl verify: each thing that can go wrong is found, and nothing else."""

from unittest import TestCase

from hypothesis import given, settings
from hypothesis import strategies as st

from push.ctl.ledger import EVERYBODY, Ledger
from push.ctl.report import Item, Report

RUN = "c0ffee"


class LedgerCase(TestCase):
    """Two tokens; messages to the first, whose ids are a hundred and their number."""

    def setUp(self) -> None:
        self.ledger = Ledger(RUN, 2, store_first=True)

    def accept(self, count: int = 1) -> None:
        """Send so many, and have them accepted."""
        for _ in range(count):
            number, _ = self.ledger.attempt(0)
            self.ledger.accept(0, number, 100 + number, 1.0)

    def arrive(self, *numbers: int) -> None:
        """Over the wire, and to the application."""
        for number in numbers:
            self.ledger.came(0, 100 + number, self.text(number))
            self.ledger.deliver(0, 100 + number, self.text(number))

    @staticmethod
    def text(number: int, receiver: int = 0, run: str = RUN) -> bytes:
        """A payload."""
        return f"verify {run} {receiver} {number}".encode()

    def faults(self) -> dict[str, list[tuple[int, int, int]]]:
        """The broken promises."""
        found = self.ledger.report().faults
        return {name: [(item.receiver, item.number, item.message_id) for item in found[name]] for name in found}


class DeliveryTests(LedgerCase):
    """What comes, and what does not."""

    def test_what_was_accepted_and_came_is_delivered(self) -> None:
        self.accept(3)
        self.assertEqual((self.ledger.attempted, self.ledger.accepted, self.ledger.missing), (3, 3, 3))
        self.arrive(0, 1, 2)
        self.assertEqual((self.ledger.arrived, self.ledger.missing), (3, 0))
        report = self.ledger.report()
        self.assertEqual((report.attempted, report.accepted, report.delivered), (3, 3, 3))
        self.assertTrue(report.ok)

    def test_what_was_accepted_and_never_came_is_lost(self) -> None:
        self.accept(3)
        self.arrive(0, 2)
        self.assertEqual(self.faults(), {"lost": [(0, 1, 101)]})
        report = self.ledger.report()
        self.assertEqual((report.delivered, report.ok, self.ledger.missing), (2, False, 1))

    def test_it_may_come_before_its_answer(self) -> None:
        number, payload = self.ledger.attempt(0)
        self.ledger.deliver(0, 100, payload)
        self.assertEqual(self.ledger.missing, 0)
        self.ledger.accept(0, number, 100, 1.0)
        self.assertEqual((self.ledger.missing, self.ledger.report().delivered, self.faults()), (0, 1, {}))

    def test_without_an_answer_it_may_come_or_not(self) -> None:
        self.accept(1)
        self.ledger.attempt(0)
        self.ledger.attempt(0)
        self.arrive(0, 2)
        report = self.ledger.report()
        self.assertEqual((report.unknown, report.delivered_unknown, report.delivered), (2, 1, 1))
        self.assertTrue(report.ok)

    def test_what_was_refused_is_not_accepted_and_must_not_come(self) -> None:
        self.accept(1)
        for reason in ("UNAVAILABLE", "UNAVAILABLE", "UNREGISTERED"):
            number, _ = self.ledger.attempt(0)
            self.ledger.refuse(0, number, reason)
        self.arrive(0)
        report = self.ledger.report()
        self.assertEqual((report.accepted, report.refused), (1, {"UNAVAILABLE": 2, "UNREGISTERED": 1}))
        self.assertTrue(report.ok)
        self.arrive(2)
        self.assertEqual(self.faults(), {"refused_delivered": [(0, 2, 102)]})

    def test_what_was_refused_may_come_where_it_may_be_seen_before_it_is_on_disk(self) -> None:
        self.ledger = Ledger(RUN, 2)
        self.accept(1)
        number, _ = self.ledger.attempt(0)
        self.ledger.refuse(0, number, "UNAVAILABLE")
        self.arrive(0, 1)
        report = self.ledger.report()
        self.assertEqual((report.refused_delivered, report.ok), ((Item(0, 1, 101),), True))

    def test_only_what_the_server_calls_expired_is(self) -> None:
        self.accept(3)
        self.assertEqual(self.ledger.overdue(1.0), [])
        self.arrive(1)
        overdue = self.ledger.overdue(1.1)
        self.assertEqual(overdue, [Item(0, 0, 100), Item(0, 2, 102)])
        self.ledger.expire(overdue[0])
        self.assertEqual(self.ledger.report().expired, 1)
        self.assertEqual(self.faults(), {"lost": [(0, 2, 102)]})

    def test_nothing_accepted_proves_nothing(self) -> None:
        self.assertFalse(self.ledger.report().ok)
        self.ledger.attempt(0)
        self.assertFalse(self.ledger.report().ok)

    def test_no_message_is_answered_twice(self) -> None:
        self.accept(1)
        self.assertRaises(ValueError, self.ledger.refuse, 0, 0, "UNAVAILABLE")
        self.assertRaises(ValueError, self.ledger.accept, 0, 0, 100, 1.0)

    def test_payloads_are_as_long_as_asked_for_and_are_read_again(self) -> None:
        for size_bytes in (0, 40, 400):
            number, payload = self.ledger.attempt(1, size_bytes)
            self.assertGreaterEqual(len(payload), size_bytes)
            self.ledger.accept(1, number, 7 + number, 1.0)
            self.ledger.deliver(1, 7 + number, payload)
        self.assertEqual(self.ledger.report().delivered, 3)
        self.assertEqual(self.faults(), {})


class RepetitionTests(LedgerCase):
    """What comes again."""

    def test_the_same_id_again_is_a_duplicate_and_no_fault(self) -> None:
        self.accept(2)
        self.arrive(0, 1)
        self.ledger.opened(0)
        self.arrive(0, 1)
        report = self.ledger.report()
        self.assertEqual((report.duplicated, report.repeated, report.delivered), (2, 2, 2))
        self.assertTrue(report.ok)

    def test_what_the_sdk_drops_is_repeated_but_no_duplicate(self) -> None:
        self.accept(1)
        self.arrive(0)
        self.ledger.opened(0)
        self.ledger.came(0, 100, self.text(0))
        report = self.ledger.report()
        self.assertEqual((report.duplicated, report.repeated, report.faults), (0, 1, {}))

    def test_what_comes_again_in_the_same_session_is_a_fault(self) -> None:
        self.accept(2)
        self.arrive(0, 1)
        self.ledger.came(0, 100, self.text(0))
        self.assertEqual(self.faults(), {"again": [(0, 0, 100)]})

    def test_another_id_for_the_same_message_is_a_fault(self) -> None:
        self.accept(1)
        self.arrive(0)
        self.ledger.deliver(0, 555, self.text(0))
        self.assertEqual(self.faults(), {"doubled": [(0, 0, 555)]})

    def test_another_id_than_the_answers_is_a_fault_whichever_comes_first(self) -> None:
        self.accept(1)
        self.ledger.deliver(0, 555, self.text(0))
        number, payload = self.ledger.attempt(0)
        self.ledger.deliver(0, 777, payload)
        self.ledger.accept(0, number, 778, 1.0)
        self.assertEqual(self.faults(), {"doubled": [(0, 0, 555), (0, 1, 777)]})

    def test_one_for_another_token_or_never_sent_is_a_fault(self) -> None:
        self.accept(1)
        self.arrive(0)
        self.ledger.deliver(1, 100, self.text(0))
        self.ledger.deliver(0, 109, self.text(9))
        self.assertEqual(self.faults(), {"misdelivered": [(1, 0, 100), (0, 9, 109)]})

    def test_what_is_not_of_this_run_is_passed_over(self) -> None:
        self.accept(2)
        self.arrive(0)
        for payload in (b"", b"hello", self.text(0, run="beef"), self.text(0) + b"x", b"\xff" * 20, b"verify c0ffee 0"):
            self.ledger.came(0, 1, payload)
            self.ledger.deliver(0, 1, payload)
        self.arrive(1)
        report = self.ledger.report()
        self.assertEqual((report.foreign, report.repeated, report.faults), (6, 0, {}))


class OrderTests(LedgerCase):
    """To one token, messages come in the order in which they were accepted."""

    def test_one_after_a_later_one_is_out_of_order(self) -> None:
        self.accept(4)
        self.arrive(0, 2, 1, 3)
        self.assertEqual(self.faults(), {"out_of_order": [(0, 1, 101)]})

    def test_a_new_session_begins_again_with_what_was_not_acknowledged(self) -> None:
        self.accept(4)
        self.arrive(0, 1, 2)
        self.ledger.opened(0)
        self.arrive(1, 2, 3)
        self.assertEqual(self.faults(), {})

    def test_within_a_session_not_even_what_is_repeated_may_come_late(self) -> None:
        self.accept(3)
        self.arrive(0, 1)
        self.ledger.opened(0)
        self.arrive(1, 0, 2)
        self.assertEqual(self.faults(), {"out_of_order": [(0, 0, 100)]})

    def test_what_was_refused_and_came_has_no_place_among_the_others(self) -> None:
        self.accept(1)
        for number in (1, 2):
            self.ledger.attempt(0)
            self.ledger.came(0, 100 + number, self.text(number))  # left at once; only then it turned out that
            self.ledger.deliver(0, 100 + number, self.text(number))
        self.ledger.refuse(0, 1, "UNAVAILABLE")
        self.ledger.refuse(0, 2, "UNAVAILABLE")
        self.arrive(0)
        self.assertNotIn("out_of_order", self.faults())
        self.accept(1)
        self.ledger.opened(0)
        self.arrive(3, 0)
        self.assertEqual(self.faults()["out_of_order"], [(0, 0, 100)])

    def test_ids_order_what_has_no_answer(self) -> None:
        self.accept(1)
        self.ledger.attempt(0)
        self.ledger.attempt(0)
        self.arrive(0, 2, 1)
        self.assertEqual(self.faults(), {"out_of_order": [(0, 1, 101)]})

    def test_answers_order_what_their_ids_do_not(self) -> None:
        for message_id in (200, 150):
            number, _ = self.ledger.attempt(0)
            self.ledger.accept(0, number, message_id, 1.0)
        self.ledger.deliver(0, 150, self.text(1))
        self.ledger.deliver(0, 200, self.text(0))
        self.assertEqual(self.faults(), {"out_of_order": [(0, 0, 200)], "shrunk_ids": [(0, 1, 150)]})

    def test_ids_that_do_not_grow_are_a_fault(self) -> None:
        self.accept(1)
        number, payload = self.ledger.attempt(0)
        self.ledger.accept(0, number, 100, 1.0)
        self.ledger.deliver(0, 100, self.text(0))
        self.ledger.deliver(0, 100, payload)
        self.assertEqual(self.faults(), {"shrunk_ids": [(0, 1, 100)]})

    def test_ids_of_two_routers_say_nothing_of_one_another_but_answers_do(self) -> None:
        ids = ((1 << 12) + 5, 900, (1 << 12) + 6, 901)
        for message_id in ids:
            number, _ = self.ledger.attempt(0)
            self.ledger.accept(0, number, message_id, 1.0)
        for number in (0, 1, 3, 2):
            self.ledger.came(0, ids[number], self.text(number))
            self.ledger.deliver(0, ids[number], self.text(number))
        self.assertEqual(self.faults(), {"out_of_order": [(0, 2, ids[2])]})

    def test_tokens_do_not_concern_one_another(self) -> None:
        self.accept(2)
        number, payload = self.ledger.attempt(1)
        self.ledger.accept(1, number, 50, 1.0)
        self.arrive(0, 1)
        self.ledger.came(1, 50, payload)
        self.ledger.deliver(1, 50, payload)
        self.assertEqual(self.faults(), {})


class EverybodyTests(LedgerCase):
    """Messages for all tokens at once."""

    def send(self, message_id: int) -> bytes:
        """One that is accepted."""
        number, payload = self.ledger.attempt(EVERYBODY)
        self.ledger.accept(EVERYBODY, number, message_id, 1.0)
        return payload

    def get(self, receiver: int, message_id: int, payload: bytes) -> None:
        """It comes to one."""
        self.ledger.came(receiver, message_id, payload)
        self.ledger.deliver(receiver, message_id, payload)

    def test_each_token_must_get_it(self) -> None:
        payload = self.send(500)
        self.assertEqual((self.ledger.accepted, self.ledger.missing), (2, 2))
        self.get(1, 500, payload)
        self.assertEqual(self.faults(), {"lost": [(0, 0, 500)]})
        self.assertTrue(self.ledger.report().lost[0].for_everybody)
        self.get(0, 500, payload)
        self.assertEqual((self.faults(), self.ledger.report().delivered), ({}, 2))

    def test_they_have_an_order_of_their_own(self) -> None:
        self.accept(1)
        early, late = self.send(90), self.send(95)
        self.arrive(0)
        self.get(0, 90, early)
        self.get(0, 95, late)
        self.get(1, 95, late)
        self.get(1, 90, early)
        self.assertEqual(self.faults(), {"out_of_order": [(1, 0, 90)]})

    def test_refused_ones_must_come_to_nobody(self) -> None:
        self.accept(1)
        self.arrive(0)
        number, payload = self.ledger.attempt(EVERYBODY)
        self.ledger.refuse(EVERYBODY, number, "UNAVAILABLE")
        self.get(1, 500, payload)
        self.assertEqual(self.faults(), {"refused_delivered": [(1, 0, 500)]})
        self.assertEqual(self.ledger.report().refused, {"UNAVAILABLE": 2})

    def test_they_are_not_asked_for_as_expired(self) -> None:
        self.send(500)
        self.accept(1)
        self.assertEqual(self.ledger.overdue(9.0), [Item(0, 0, 100)])


class RandomTests(TestCase):
    """A server that does right is never accused; one mistake is always found."""

    @settings(deadline=None)
    @given(st.randoms(use_true_random=False), st.sampled_from([None, "lose", "swap", "double"]))
    def test_exactly_the_mistake_is_found(self, random, mistake) -> None:
        ledger = Ledger(RUN, 1)
        kept: list[tuple[int, bytes]] = []
        for message_id in range(10, 40):
            number, payload = ledger.attempt(0)
            fate = random.choice(["accept", "accept", "accept", "refuse", "die", "die but kept"])
            if fate == "accept":
                ledger.accept(0, number, message_id, 1.0)
            elif fate == "refuse":
                ledger.refuse(0, number, "UNAVAILABLE")
            if fate in ("accept", "die but kept"):
                kept.append((message_id, payload))
        for _ in range(2):  # so that there are two, which the mistakes need
            number, payload = ledger.attempt(0)
            ledger.accept(0, number, 100 + number, 1.0)
            kept.append((100 + number, payload))
        if mistake == "lose":
            kept.pop()
        elif mistake == "swap":
            kept[-2:] = reversed(kept[-2:])
        elif mistake == "double":
            kept.append((1_000, kept[-1][1]))
        self.deliver(ledger, kept, random)
        expected = {None: [], "lose": ["lost"], "swap": ["out_of_order"], "double": ["doubled"]}[mistake]
        self.assertEqual(list(ledger.report().faults), expected)

    def deliver(self, ledger: Ledger, kept: list[tuple[int, bytes]], random) -> None:
        """Over sessions that end anywhere, each of which begins anywhere before."""
        at = 0
        while at < len(kept):
            start = random.randint(0, at)
            end = random.randint(at + 1, len(kept))
            ledger.opened(0)
            for message_id, payload in kept[start:end]:
                ledger.came(0, message_id, payload)
                ledger.deliver(0, message_id, payload)
            at = end


class ReportTests(TestCase):
    """Reports are values."""

    def test_a_report_does_not_change_afterwards(self) -> None:
        ledger = Ledger(RUN, 1)
        ledger.attempt(0)
        before = ledger.report()
        ledger.refuse(0, 0, "UNAVAILABLE")
        self.assertIsInstance(before, Report)
        self.assertEqual((before.unknown, before.refused), (1, {}))
