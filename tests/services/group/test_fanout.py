"""Tests of push.services.group.fanout: in order, looked up once, and bounded."""

from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from push.errors import Unavailable
from push.igroup import IWhereabouts
from push.model import Registration
from push.model_chat import Notice, without_but
from push.services.group import fanout as module
from push.services.group.fanout import Fanout
from push.services.tasks import Tasks


@implementer(IWhereabouts)
class Places:
    """Everybody is at one connector."""

    def __init__(self) -> None:
        self.looks = 0
        self.generation = -1

    async def sessions(self, whos: Iterable[str]) -> Mapping[str, Sequence[Registration]]:
        """See IWhereabouts."""
        self.looks += 1
        return {who: (Registration(who[1:], None, "here", 1),) for who in whos}


class Connector:
    """Takes notices when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[Notice], Deferred[int]]] = []

    async def notify(self, notices: Sequence[Notice]) -> int:
        """See IConnector."""
        done: Deferred[int] = Deferred()
        self.calls.append((list(notices), done))
        return await done

    def bodies(self, call: int) -> list[bytes]:
        """What one call carried."""
        return [notice.chat for notice in self.calls[call][0]]


class FanoutTests(SynchronousTestCase):
    """One conversation, or two."""

    def setUp(self) -> None:
        self.places = Places()
        self.connector = Connector()
        self.tasks = Tasks()
        self.fanout = Fanout(
            whereabouts=self.places,
            connectors=lambda: {"here": self.connector},  # type: ignore[dict-item]
            tasks=self.tasks,
        )

    def tell(
        self, number: int, conversation: str = "g.a", but: str = "", audience: tuple[str, ...] = ("ta", "tb")
    ) -> None:
        """Tell something."""
        self.fanout.tell(conversation, audience, subsignal=17, chat=b"%d" % number, but=but)

    def test_what_comes_meanwhile_goes_together_in_order_and_is_looked_up_once(self) -> None:
        audience = ("ta", "tb")
        for number in range(5):
            self.tell(number, audience=audience)
        self.assertEqual(self.connector.bodies(0), [b"0"])
        self.connector.calls[0][1].callback(2)
        self.assertEqual(self.connector.bodies(1), [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.places.looks, 2)
        self.connector.calls[1][1].callback(8)
        self.successResultOf(self.tasks.settled())
        self.assertEqual({sample.name: sample.value for sample in self.fanout.samples()}["push_chat_notices_total"], 10)

    def test_conversations_do_not_wait_for_one_another(self) -> None:
        self.tell(1)
        self.tell(2, "g.b")
        self.assertEqual([self.connector.bodies(call) for call in (0, 1)], [[b"1"], [b"2"]])

    def test_the_sender_s_device_is_left_out_and_nobody_is_no_call(self) -> None:
        self.tell(1, but="a")
        notice = self.connector.calls[0][0][0]
        self.assertEqual((list(notice.tokens), notice.but), (["a", "b"], "a"))
        self.assertEqual(list(without_but(notice).tokens), ["b"])
        self.tell(2, "g.b", but="a", audience=("ta",))
        self.assertEqual(len(self.connector.calls), 1)

    def test_a_connector_that_fails_ends_nothing(self) -> None:
        self.tell(1)
        self.tell(2)
        self.connector.calls[0][1].errback(Unavailable("gone"))
        self.assertEqual(self.connector.bodies(1), [b"2"])

    def test_what_waits_is_bounded(self) -> None:
        self.patch(module, "MAX_WAITING", 3)
        for number in range(9):
            self.tell(number)
        self.connector.calls[0][1].callback(2)
        self.assertEqual(self.connector.bodies(1), [b"1", b"2", b"3"])

    def test_where_audiences_are_is_remembered_of_those_told_last(
        self,
    ) -> None:
        self.patch(module, "_MAX_PLACES", 4)
        self.places.generation = 0
        one, two, three = ("ta", "tb"), ("tc", "td"), ("te", "tf")
        looks = []
        for number, audience in enumerate((one, two, one, three, one, two)):
            self.tell(number, f"g.{number}", audience=audience)
            looks.append(self.places.looks)
        self.assertEqual(looks, [1, 2, 2, 3, 3, 4])
