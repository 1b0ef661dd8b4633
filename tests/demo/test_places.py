"""Where something can be read in the demo."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from push.demo.places import MAX_LINES, MAX_PLACES, Line, Place, Places
from push_client.chat import ChatMessage

SAID = ChatMessage("g.friends", "friends", 1, "1", 0, "bob", text="hello")


class PlaceTests(SynchronousTestCase):
    """One of them."""

    def test_lines_stand_in_their_order_and_once(self) -> None:
        place = Place(group="friends")
        for seq in (2, 1, 2):
            place.add(seq, Line("", "", str(seq)))
        self.assertEqual([line.text for line in place], ["1", "2"])
        self.assertFalse(place.add(1, Line("", "", "again")))

    def test_the_oldest_lines_are_forgotten_and_do_not_come_back(self) -> None:
        place = Place()
        for seq in range(1, MAX_LINES + 2):
            place.add(seq, Line("", "", str(seq)))
        self.assertEqual(len(list(place)), MAX_LINES)
        self.assertEqual(next(iter(place)).text, "2")
        self.assertFalse(place.add(1, Line("", "", "old")))

    def test_a_title_says_what_it_is(self) -> None:
        self.assertEqual([Place(group="a").title, Place(to="a").title, Place().title], ["#a", "a", "pushes"])


class PlacesTests(SynchronousTestCase):
    """All of them."""

    def setUp(self) -> None:
        self.places = Places("alice")

    def test_what_is_said_finds_its_place(self) -> None:
        group = self.places.said(SAID)
        alone = self.places.said(ChatMessage("p.1", None, 1, "2", 0, "bob", text="psst"))
        assert group is not None
        assert alone is not None
        self.assertEqual((group[0].title, group[1].who, group[1].is_mine), ("#friends", "bob", False))
        self.assertEqual(alone[0].title, "bob")
        self.assertEqual([place.title for place in self.places], ["pushes", "#friends", "bob"])
        self.assertIsNone(self.places.said(SAID))

    def test_what_this_user_says_elsewhere_is_shown_where_it_is_known_to_whom(self) -> None:
        mine = ChatMessage("p.1", None, 2, "3", 0, "alice", text="on my phone")
        self.assertIsNone(self.places.said(mine))
        self.places.said(ChatMessage("p.1", None, 1, "2", 0, "bob", text="psst"))
        shown = self.places.said(mine)
        assert shown is not None
        self.assertEqual((shown[0].title, shown[1].who, shown[1].is_mine), ("bob", "alice", True))

    def test_what_is_said_here_is_ones_own(self) -> None:
        shown = self.places.own(replace(SAID, sender=None), self.places.group("friends"))
        assert shown is not None
        self.assertEqual((shown[1].who, shown[1].is_mine), ("alice", True))

    def test_what_is_no_text_is_described(self) -> None:
        for message, text in (
            (replace(SAID, is_recalled=True), "(taken back)"),
            (replace(SAID, seq=2, text=None, recalls=1), "(took back message 1)"),
            (replace(SAID, seq=3, text=None, data={"a": 1}), "(data) {'a': 1}"),
        ):
            shown = self.places.said(message)
            assert shown is not None
            self.assertEqual(shown[1].text, text)
        nobody = self.places.said(replace(SAID, seq=4, sender=None))
        token = self.places.said(replace(SAID, seq=5, sender=None, sender_token="0123456789abcdef"))
        assert nobody is not None
        assert token is not None
        self.assertEqual((nobody[1].who, token[1].who), ("the system", "01234567…"))

    def test_there_are_not_more_than_can_be_shown(self) -> None:
        for number in range(MAX_PLACES):
            self.places.group(f"g{number}")
        self.assertRaises(ValueError, self.places.group, "one more")
        self.assertIsNone(self.places.said(SAID))
        self.places.leave(self.places.group("g0"))
        self.assertIsNotNone(self.places.said(SAID))

    def test_pushes_are_kept_in_order(self) -> None:
        for text in ("a", "b"):
            self.places.pushed(text, 0.0)
        self.assertEqual([line.text for line in self.places.pushes], ["a", "b"])
