"""Which of several nodes is asked, and what becomes of a question where one is away."""

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import NotFound, PushError, Unavailable, Unreachable
from push.icache import ICache
from push.igroup import IChat
from push.ihealth import IProbe
from push.inodes import ILinkedConnector, INodes
from push.ipush import IConnector, IRouter
from push.ireceipts import IMessages, IReceipts
from push.isubscribe import ISubscribe
from push.model import Once, Options, PushRequest, Registration, ToTokens
from push.model_cache import Keep, Keeping
from push.protocols.wire.signals import Signal, SubSignal
from push.services.chosen import ChosenMessages, ChosenRouter, ChosenSubscribe
from push.services.chosen_cache import ChosenCache, ChosenReceipts
from push.services.chosen_chat import ChosenChat
from push.services.cluster_nodes import ClusterNodes, OutOfReach
from tests.services.holders import begun

KEEP = Keep(1, b"x", ("token",), 10)


class Answering:
    """Notes what it is asked, and answers or fails with one thing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def ask(*arguments: object) -> Any:
            self.asked.append(name)
            if isinstance(self.answer, PushError):
                raise self.answer
            return self.answer

        return ask


class Holder:
    """A cache that gives out tickets from a number on."""

    def __init__(self, first: int) -> None:
        self.ticket = first - 1
        self.settled: list[int] = []

    async def keep(self, batch: Sequence[Keep]) -> Keeping:
        """The next ticket."""
        self.ticket += 1
        return Keeping(self.ticket, {})

    async def committed(self, ticket: int) -> None:
        """Note it."""
        self.settled.append(ticket)

    def has(self, token: str) -> bool:
        """Nothing is known here."""
        return False


class ChosenTests(SynchronousTestCase):
    """Facades."""

    def test_all_devices_of_a_user_ask_one_node_while_it_is_there(self) -> None:
        there = {f"node{number}": Answering(b"\0{}") for number in range(5)}
        chat = ChosenChat(lambda: there)
        verifyObject(IChat, chat)
        phones = [Registration(f"token{number}", "alice", "10.0.0.1:1", 1, False) for number in range(20)]
        for phone in phones:
            self.successResultOf(begun(chat.ask(phone, Signal.PUBLISH, SubSignal.MS, b"{}")))
        (home,) = {chat.choose(phone) for phone in phones}
        self.assertEqual({name: len(node.asked) for name, node in there.items() if node.asked}, {home: 20})
        del there[home]
        (other,) = {chat.choose(phone) for phone in phones}
        self.assertNotEqual(other, home)
        alone = {chat.choose(Registration(f"token{n}", None, "10.0.0.1:1", 1, False)) for n in range(50)}
        self.assertEqual(len(alone), 4)
        self.failureResultOf(begun(chat.ask_node(home, phones[0], Signal.PUBLISH, SubSignal.MS, b"{}")), Unavailable)
        there.clear()
        self.failureResultOf(begun(chat.ask(phones[0], Signal.PUBLISH, SubSignal.MS, b"{}")), Unavailable)

    def result(self, work: Any) -> Any:
        """What it has come to."""
        return self.successResultOf(begun(work))

    def failure(self, work: Any, kind: type[PushError]) -> None:
        """It has failed so."""
        self.failureResultOf(begun(work), kind)

    def test_they_are_what_they_stand_for(self) -> None:
        verifyObject(ISubscribe, ChosenSubscribe(list))
        verifyObject(IRouter, ChosenRouter(dict))
        verifyObject(IMessages, ChosenMessages(lambda: None))
        verifyObject(ICache, ChosenCache(lambda: None))
        verifyObject(IReceipts, ChosenReceipts(lambda: None))
        verifyObject(IConnector, OutOfReach("10.0.0.7:6789"))
        verifyObject(INodes, ClusterNodes())

    def test_nodes_with_the_tokens_are_asked_in_turn(self) -> None:
        nodes = [Answering({}), Answering({})]
        subscribe = ChosenSubscribe(lambda: cast("list[ISubscribe]", nodes))
        for _ in range(4):
            self.result(subscribe.online(["token"]))
        self.assertEqual([len(each.asked) for each in nodes], [2, 2])

    def test_where_one_is_away_another_is_asked_and_what_one_says_of_the_request_stands(self) -> None:
        away, there = Answering(Unavailable("away")), Answering({})
        subscribe = ChosenSubscribe(lambda: cast("list[ISubscribe]", [away, there]))
        for _ in range(3):
            self.assertEqual(self.result(subscribe.online(["token"])), {})
        self.failure(ChosenSubscribe(lambda: cast("list[ISubscribe]", [away])).online(["token"]), Unavailable)
        self.failure(ChosenSubscribe(list).online(["token"]), Unavailable)
        strict = [Answering(NotFound("no")), Answering({})]
        asked = ChosenSubscribe(lambda: cast("list[ISubscribe]", strict))
        outcomes = [begun(asked.describe("token")) for _ in range(2)]
        self.assertEqual(sum(isinstance(each.result, dict) for each in outcomes), 1)
        for each in outcomes:
            each.addErrback(lambda failure: failure.trap(NotFound) and None)

    def test_a_push_is_never_made_twice(self) -> None:
        routers = {"a": Answering(Unavailable("away")), "b": Answering(Unavailable("away"))}
        router = ChosenRouter(lambda: cast("dict[str, IRouter]", routers))
        self.failure(router.push([PushRequest(ToTokens(("token",)), b"x")]), Unavailable)
        self.assertEqual(sum(len(each.asked) for each in routers.values()), 1)
        self.failure(ChosenRouter(dict).push([]), Unavailable)

    def test_requests_with_one_key_go_to_one_router_and_others_to_all(self) -> None:
        routers = {name: Answering([]) for name in "abc"}
        router = ChosenRouter(lambda: cast("dict[str, IRouter]", routers))
        keyed = PushRequest(ToTokens(("token",)), b"x", options=Options(once=Once("app:1", b"\0" * 32)))
        for _ in range(6):
            self.result(router.push([keyed]))
        self.assertEqual(sorted(len(each.asked) for each in routers.values()), [0, 0, 6])
        for _ in range(6):
            self.result(router.push([PushRequest(ToTokens(("token",)), b"x")]))
        self.assertEqual(sorted(len(each.asked) for each in routers.values()), [2, 2, 8])

    def test_a_ticket_is_asked_for_where_it_was_given_out(self) -> None:
        former, latter = Holder(100), Holder(5_000)
        now: list[Holder] = [former]
        cache = ChosenCache(lambda: cast(ICache, now[-1]))
        first = self.result(cache.keep([KEEP])).ticket
        now.append(latter)
        second = self.result(cache.keep([KEEP])).ticket
        self.assertIsNone(self.result(cache.committed(first)))
        self.assertIsNone(self.result(cache.committed(second)))
        self.assertEqual((former.settled, latter.settled), ([100], [5_000]))

    def test_while_nobody_has_the_cache_all_is_unavailable_and_nothing_is_said_to_be_empty(self) -> None:
        cache = ChosenCache(lambda: None)
        self.failure(cache.keep([KEEP]), Unavailable)
        self.assertIsInstance(self.result(cache.committed(1)), Unavailable)
        self.assertTrue(cache.has("token"))
        self.failure(ChosenMessages(lambda: None).receipt(1), Unavailable)
        self.failure(ChosenReceipts(lambda: None).find(1), Unavailable)
        self.assertEqual(self.result(ChosenReceipts(lambda: None).delivered(1, 5.0)).targets, 0)

    def test_only_the_cache_of_this_process_is_asked_what_it_has(self) -> None:
        own, other = cast(ICache, Holder(1)), cast(ICache, Holder(2))
        now = [own]
        cache = ChosenCache(lambda: now[-1], own)
        self.assertFalse(cache.has("token"))
        now.append(other)
        self.assertTrue(cache.has("token"))


class Connector:
    """As far as the table of connectors looks at it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.probe = cast(IProbe, object())


class NodesTests(SynchronousTestCase):
    """The connectors that one node can call."""

    def test_who_is_alive_but_not_linked_is_listed_and_out_of_reach(self) -> None:
        nodes = ClusterNodes()
        nodes.alive(["a:1", "b:1"])
        linked = cast(ILinkedConnector, Connector("a:1"))
        nodes.arrived(linked)
        self.assertIs(nodes.connectors()["a:1"], linked)
        self.failureResultOf(Deferred.fromCoroutine(cast(Any, nodes.connectors()["b:1"].deliver([]))), Unreachable)
        nodes.lost(linked)
        self.assertIsInstance(nodes.connectors()["a:1"], OutOfReach)
        nodes.alive(["b:1"])
        self.assertEqual(list(nodes.connectors()), ["b:1"])

    def test_a_probe_is_there_from_when_it_serves_clients_until_the_link_is_lost(self) -> None:
        nodes = ClusterNodes()
        linked = cast(ILinkedConnector, Connector("a:1"))
        nodes.serves("a:1")
        nodes.arrived(linked)
        self.assertEqual(dict(nodes.probes()), {})
        nodes.serves("a:1")
        self.assertEqual(dict(nodes.probes()), {"a:1": linked.probe})
        nodes.lost(linked)
        self.assertEqual(dict(nodes.probes()), {})

    def test_the_end_of_a_link_that_was_replaced_undoes_nothing(self) -> None:
        nodes = ClusterNodes()
        first, second = (cast(ILinkedConnector, Connector("a:1")) for _ in range(2))
        nodes.arrived(first)
        nodes.arrived(second)
        nodes.serves("a:1")
        nodes.lost(first)
        self.assertIs(nodes.connectors()["a:1"], second)
        self.assertEqual(dict(nodes.probes()), {"a:1": second.probe})
