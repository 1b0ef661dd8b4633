"""Ids seen before, and the bound on remembering them."""

from twisted.trial.unittest import SynchronousTestCase

from push.protocols.wire.seen import SeenIds


class SeenIdsTests(SynchronousTestCase):
    """One set of ids."""

    def test_an_id_is_new_once(self) -> None:
        seen = SeenIds()
        self.assertEqual([seen.add(7), seen.add(7), seen.add(8)], [True, False, True])
        self.assertIn(7, seen)
        self.assertNotIn(9, seen)

    def test_an_older_id_that_was_not_seen_is_new(self) -> None:
        seen = SeenIds()
        seen.add(1_000)
        self.assertTrue(seen.add(3))

    def test_the_first_is_forgotten_when_it_is_full(self) -> None:
        seen = SeenIds(limit=3)
        for message_id in (1, 2, 3, 4):
            seen.add(message_id)
        self.assertEqual([number in seen for number in (1, 2, 3, 4)], [False, True, True, True])
        self.assertEqual(len(seen), 3)

    def test_seeing_again_does_not_push_others_out(self) -> None:
        seen = SeenIds(limit=2)
        for message_id in (1, 2, 2, 2, 2):
            seen.add(message_id)
        self.assertIn(1, seen)

    def test_it_stays_bounded_over_many_ids(self) -> None:
        seen = SeenIds(limit=16)
        for message_id in range(10_000):
            seen.add(message_id % 40)
        self.assertEqual(len(seen), 16)

    def test_a_limit_below_one_is_refused(self) -> None:
        self.assertRaises(ValueError, SeenIds, 0)
