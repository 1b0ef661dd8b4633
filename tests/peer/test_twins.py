"""The interfaces of a node as another one has them: both ends of the link real, the services behind it in memory."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.errors import InvalidRequest, NotFound, PushError, Unanswered, Unavailable
from push.icache import ICache
from push.ipush import IRouter
from push.ireceipts import IMessages, IReceipts
from push.model import (
    PLAIN,
    Once,
    OnFull,
    Options,
    Place,
    PushRequest,
    PushResult,
    Registration,
    Store,
    TagQuery,
    ToAll,
    ToConnector,
    ToGroup,
    ToTags,
    ToTokens,
    ToUids,
)
from push.model_cache import Everybody, Keep, Keeping, StoredDue, StoredMessage, StoredReply
from push.model_receipts import Event, Receipt, TokenReceipt
from push.protocols.peer import remote_keeper, remote_router
from push.protocols.peer.answers import Answers, Parts
from push.protocols.peer.asking import Asking
from push.protocols.peer.asks import Ask
from push.protocols.peer.avatar import Answerer
from push.protocols.peer.connector_door import Door
from push.protocols.peer.envelopes import Open, Reader, encode
from push.protocols.peer.errors import CallMalformed, NoLink
from push.protocols.peer.joining import join
from push.protocols.peer.link import Link
from push.protocols.peer.remote_keeper import RemoteKeeper
from push.protocols.peer.remote_receipts import RemoteReceipts
from push.protocols.peer.remote_router import RemoteMessages, RemoteRouter
from push.protocols.peer.wishes_cache import KeepMany
from push.protocols.peer.wishes_router import PushMany
from push.protocols.wire.frames import encode as frame
from push.protocols.wire.messages import SubRequest
from push.protocols.wire.signals import Signal
from tests.peer.linked import Cable, House

NODE = "10.0.0.9:7460"
ODD = Options(
    store=Store.ALWAYS,
    is_high=True,
    collapse_key="weather",
    on_full=OnFull.DROP_OLDEST,
    deliver_at_ms=1_800_000_000_000,
    wait_s=1.5,
    once=Once("app:order-1", b"\x01" * 32),
)
AUDIENCE = TagQuery(("a", "b"), ("c",), ("d",))


async def _result(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return await value if isinstance(value, Deferred) else value


@implementer(ICache)
class ToldCache:
    """Notes every call, and answers as it is told to."""

    is_shared = True

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.outcomes: dict[int, Deferred[PushError | None]] = {}

    def committed(self, ticket: int) -> Any:
        """Fires when the test says so."""
        return self.outcomes.setdefault(ticket, Deferred())

    def has(self, token: str) -> bool:
        """Nothing."""
        return False

    def answered(self, reply: StoredReply) -> None:
        """Note it."""
        self.calls.append(("answered", reply))

    def scheduled(self) -> Sequence[StoredDue]:
        """Nothing."""
        return ()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append((name, *args))
            answer = self.answers.get(name)
            return _result(answer(*args) if callable(answer) else answer)

        return call


class Told:
    """Notes every call of whatever name; awaited, it answers as it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append((name, *args, *more.values()))
            if name not in self.answers:
                return None
            answer = self.answers[name]
            return _result(answer(*args) if callable(answer) else answer)

        return call


class ClusterHouse(House):
    """A node with every role but that of a connector."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.told_cache = ToldCache()
        self.receipts: Any = Told()
        self.router: Any = Told()
        self.messages: Any = Told()

    def answers(self, name: str) -> Answerer:
        """All of it."""
        parts = Parts(self.subscribe, self.told_cache, self.receipts, self.router, self.messages)
        return Answers(name, parts)


class Twins(SynchronousTestCase):
    """One node joined to another."""

    make_house: type[ClusterHouse] = ClusterHouse

    def setUp(self) -> None:
        self.clock = Clock()
        self.house = self.make_house(self.clock)
        self.asking = Asking()
        self.cable = Cable(self.house.factory, self.clock)
        secret = self.house.secrets.issue(NODE)
        joining: Deferred[Link] = Deferred.fromCoroutine(
            join(self.cable, name=NODE, secret=secret, door=Door(self.asking), clock=self.clock, roles=("router",))
        )
        self.settle()
        self.link = self.successResultOf(joining)
        self.asking.attach(self.link)
        self.keeper = RemoteKeeper(self.asking)
        self.receipts = RemoteReceipts(self.asking, clock=self.clock)

    def settle(self) -> None:
        """Let everything arrive."""
        for _ in range(200):
            moved = self.cable.pump is not None and self.cable.pump.pump()
            is_due = any(each.getTime() <= self.clock.seconds() for each in self.clock.getDelayedCalls())
            self.clock.advance(0)
            if not moved and not is_due:
                return
        self.fail("the link does not come to rest")

    def begin(self, work: Any) -> "Deferred[Any]":
        """Begin to await something."""

        async def awaited() -> Any:
            return await work

        running = Deferred.fromCoroutine(awaited())
        self.settle()
        return running

    def get(self, work: Any) -> Any:
        """Await something that needs the link and nothing else."""
        return self.successResultOf(self.begin(work))

    def failure(self, work: Any) -> Any:
        """What it fails with."""
        return self.failureResultOf(self.begin(work)).value


class TwinTests(Twins):
    """What a node without a role may ask of one that has it."""

    def test_they_are_what_they_stand_for(self) -> None:
        verifyObject(ICache, self.keeper)
        verifyObject(IReceipts, self.receipts)
        verifyObject(IRouter, RemoteRouter(self.asking))
        verifyObject(IMessages, RemoteMessages(self.asking))

    def test_a_node_that_is_no_connector_is_not_taken_for_one(self) -> None:
        self.assertIsNone(self.house.arrived[NODE].connector)
        self.assertEqual(self.house.arrived[NODE].hello.roles, ("router",))

    # The cache

    def test_what_is_kept_arrives_as_it_was_and_so_does_the_answer(self) -> None:
        batch = [
            Keep(1, b"plain", ("t",), 2_000_000_000_000),
            Keep(2, b"\x00odd", ("t", "u"), 2_000_000_000_001, ODD, None, True, "anna"),
            Keep(3, b"", (), 2_000_000_000_002, PLAIN, Everybody()),
            Keep(4, b"x", (), 2_000_000_000_003, PLAIN, AUDIENCE),
        ]
        places = [Place(10, [0], 8), Place(11, [10, 0], 9), Place(12, []), Place(13, [], 12)]
        self.house.told_cache.answers["keep"] = Keeping(7, {1: ["u"]}, places)
        keeping = self.get(self.keeper.keep(batch))
        ((_, arrived),) = self.house.told_cache.calls
        self.assertEqual(arrived, batch)
        self.assertIs(arrived[0].options, PLAIN, "the way of nearly all messages is the short one")
        self.assertEqual((keeping.ticket, dict(keeping.refused), list(keeping.places)), (7, {1: ("u",)}, places))

    def test_what_is_too_long_for_one_wish_goes_in_several_and_is_answered_as_one(self) -> None:
        tickets = iter((4, 5, 6))
        self.house.told_cache.answers["keep"] = lambda batch: Keeping(
            next(tickets), {0: ["t"]}, [Place(each.message_id, (0,)) for each in batch]
        )
        self.patch(remote_keeper, "MAX_KEEP_BYTES", 1_000)
        batch = [Keep(number, b"x" * 400, ("t",), 2_000_000_000_000) for number in range(1, 4)]
        keeping = self.get(self.keeper.keep(batch))
        self.assertEqual([len(call[1]) for call in self.house.told_cache.calls], [1, 1, 1])
        self.assertEqual(dict(keeping.refused), {0: ("t",), 1: ("t",), 2: ("t",)})
        self.assertEqual([place.position for place in keeping.places], [1, 2, 3])
        waiting = self.begin(self.keeper.committed(keeping.ticket))
        for ticket in (4, 5):
            self.house.told_cache.outcomes[ticket].callback(None)
            self.settle()
            self.assertNoResult(waiting)
        self.house.told_cache.outcomes[6].callback(Unavailable("the disk is full"))
        self.settle()
        self.assertIsInstance(self.successResultOf(waiting), Unavailable)

    def test_what_is_taken_in_part_is_not_said_to_be_refused(self) -> None:
        self.patch(remote_keeper, "MAX_KEEP_BYTES", 1_000)
        batch = [Keep(number, b"x" * 900, ("t",), 2_000_000_000_000) for number in range(1, 4)]
        for answers, kind in (
            ((Keeping(4, {}), Unavailable("full"), Unavailable("full")), Unanswered),
            ((Unavailable("full"), Keeping(4, {}), Unavailable("full")), Unanswered),
            ((Unavailable("full"), Unavailable("full"), Unavailable("full")), Unavailable),
        ):
            told = iter(answers)
            self.house.told_cache.answers["keep"] = lambda batch, told=told: next(told)
            error = self.failure(self.keeper.keep(batch))
            self.assertIs(type(error), kind)
            self.assertIn("full", str(error))

    def test_a_wait_for_the_disk_holds_up_nothing_else(self) -> None:
        waiting = [self.begin(self.keeper.committed(ticket)) for ticket in range(10)]
        self.house.told_cache.answers["cancel"] = 3
        self.assertEqual(self.get(self.keeper.cancel(9)), 3)
        self.house.told_cache.outcomes[8].callback(None)
        self.settle()
        self.assertIsNone(self.successResultOf(waiting[8]))
        self.assertNoResult(waiting[0])

    def test_the_rest_of_the_cache(self) -> None:
        answers, calls = self.house.told_cache.answers, self.house.told_cache.calls
        row = StoredMessage(5, 4, 2_000_000_000_000, 3, True, "key", ("t", "u"), AUDIENCE, None, "anna")
        answers["kept"] = row
        self.assertEqual(self.get(self.keeper.kept(4)), row)
        answers["kept"] = None
        self.assertIsNone(self.get(self.keeper.kept(5)))
        reply = StoredReply(Once("k", b"f"), PushResult(1, 2, 1, 1, ("z",), 0, True, 5, 1), 9)
        answers["replies"] = {"k": reply}
        self.assertEqual(self.get(self.keeper.replies(["k", "l"])), {"k": reply})
        self.keeper.answered(reply)
        self.settle()
        self.assertEqual(calls[-1], ("answered", reply))
        due = StoredDue(3, 1_800_000_000_000, PushRequest(ToTags(AUDIENCE), b"x", 5, False, ODD))
        self.get(self.keeper.schedule(due))
        self.assertEqual(calls[-1], ("schedule", due))
        answers["unschedule"] = True
        self.assertIs(self.get(self.keeper.unschedule(3)), True)
        self.get(self.keeper.forget("t"))
        self.get(self.keeper.recall(("t",), ("10.0.0.1:6789",)))
        self.assertEqual(calls[-2:], [("forget", "t"), ("recall", ("t",), ("10.0.0.1:6789",))])
        self.assertEqual(self.keeper.scheduled(), ())

    def test_refusals_arrive_as_what_they_are(self) -> None:
        self.house.told_cache.answers["keep"] = Unavailable("the cache is full", retry_after_s=5.0)
        error = self.failure(self.keeper.keep([Keep(1, b"x", ("t",), 2_000_000_000_000)]))
        self.assertEqual((type(error), str(error), error.retry_after_s), (Unavailable, "the cache is full", 5.0))

    def test_an_answer_that_cannot_be_read_is_an_error_like_others(self) -> None:
        self.house.told_cache.answers["cancel"] = "many"
        error = self.failure(self.keeper.cancel(1))
        self.assertIs(type(error), PushError)
        self.assertIn("not what was asked for", str(error))

    def test_a_link_that_breaks_ends_every_wait_and_says_what_may_have_been_accepted(self) -> None:
        router = RemoteRouter(self.asking)
        self.house.told_cache.answers.update(keep=Deferred(), schedule=Deferred())
        self.house.router.answers.update(push=Deferred())
        due = StoredDue(3, 9, PushRequest(ToTokens(("t",)), b"x"))
        committed = self.begin(self.keeper.committed(1))
        calls = [
            lambda: self.begin(self.keeper.keep([Keep(2, b"x", ("t",), 1)])),
            lambda: self.begin(self.keeper.schedule(due)),
            lambda: self.begin(router.push([due.request])),
        ]
        waiting = [call() for call in calls]
        self.link.lose("cut by the test")
        self.settle()
        self.assertIsInstance(self.successResultOf(committed), Unanswered)
        for asked, call in zip(waiting, calls, strict=True):
            self.assertIsInstance(self.failureResultOf(asked).value, Unanswered)
            self.assertIsInstance(self.failureResultOf(call()).value, NoLink)
        self.keeper.answered(StoredReply(Once("k", b"f"), PushResult(1, 1, 1), 9))  # and raises nothing

    # The router

    def test_requests_arrive_as_they_were_and_so_do_the_answers(self) -> None:
        requests = [
            PushRequest(ToTokens(("t",), True), b"a"),
            PushRequest(ToTokens(("t", "u")), b"b", 0),
            PushRequest(ToUids(("anna",), True), b"c", 60, True),
            PushRequest(ToTags(AUDIENCE), b"d"),
            PushRequest(ToConnector("10.0.0.1:6789"), b"e"),
            PushRequest(ToAll(), b"f", 5, False, ODD),
            PushRequest(ToGroup("friends"), b"g"),
        ]
        results = [
            PushResult(1, 1, 1),
            PushResult(2, 2, 1, 1, ("v",), 1, True, 1_800_000_000_000, 1),
            NotFound("nobody is called so"),
            InvalidRequest("no"),
            PushResult(5, 0, 0),
            Unavailable("later", retry_after_s=2.0),
            PushResult(7, 3, 2),
        ]
        self.house.router.answers["push"] = results
        answers = self.get(RemoteRouter(self.asking).push(requests))
        ((_, arrived),) = self.house.router.calls
        self.assertEqual(arrived, requests)
        self.assertIs(arrived[0].options, PLAIN)
        for answer, result in zip(answers, results, strict=True):
            if isinstance(result, PushError):
                self.assertEqual(
                    (type(answer), str(answer), answer.retry_after_s), (type(result), str(result), result.retry_after_s)
                )
            else:
                self.assertEqual(answer, result)

    def test_many_requests_are_one_wish_and_too_many_bytes_are_several_in_order(self) -> None:
        self.house.router.answers["push"] = lambda requests: [PushResult(int(each.payload), 1, 1) for each in requests]
        router = RemoteRouter(self.asking)
        requests = [PushRequest(ToTokens(("t",)), b"%d" % number) for number in range(1_000)]
        self.get(router.push(requests))
        self.assertEqual(len(self.house.router.calls), 1)
        self.patch(remote_router, "MAX_PUSH_BYTES", 100_000)
        answers = self.get(router.push(requests))
        self.assertEqual([answer.message_id for answer in answers], list(range(1_000)))
        self.assertGreater(len(self.house.router.calls), 3)

    def test_where_one_wish_of_several_fails_that_is_said_of_what_is_in_it(self) -> None:
        self.patch(remote_router, "MAX_PUSH_BYTES", 1_000)
        requests = [PushRequest(ToTokens(("t",)), b"%d" % number) for number in range(3)]
        told = iter(([PushResult(7, 1, 1)], Unavailable("not now", retry_after_s=2.0), Deferred()))
        self.house.router.answers["push"] = lambda requests: next(told)
        pushing = self.begin(RemoteRouter(self.asking).push(requests))
        self.link.lose("cut by the test")
        self.settle()
        taken, refused, lost = self.successResultOf(pushing)
        self.assertEqual(taken, PushResult(7, 1, 1))
        self.assertEqual((type(refused), str(refused), refused.retry_after_s), (Unavailable, "not now", 2.0))
        self.assertIs(type(lost), Unanswered)

    def test_a_router_that_answers_something_else_is_not_believed(self) -> None:
        self.house.router.answers["push"] = []
        self.assertIsInstance(self.failure(RemoteRouter(self.asking).push([PushRequest(ToAll(), b"x")])), Unavailable)

    def test_what_is_known_of_messages(self) -> None:
        receipt = Receipt(4, 1, 2, None, 2, {Event.SENT: 1}, [TokenReceipt("t", Event.SENT, 5)], True)
        self.house.messages.answers.update(receipt=receipt, cancel=2, forget=None, explain=["because", "therefore"])
        messages = RemoteMessages(self.asking)
        self.assertEqual(self.get(messages.receipt(4)), receipt)
        self.assertEqual(self.get(messages.cancel(4)), 2)
        self.get(messages.forget("t"))
        self.assertEqual(self.get(messages.explain(4, "t")), ("because", "therefore"))
        self.house.messages.answers["receipt"] = NotFound("no such message")
        self.assertIsInstance(self.failure(messages.receipt(5)), NotFound)

    # The receipts

    def test_what_happens_in_a_turn_is_told_together_and_in_order(self) -> None:
        receipts = self.receipts
        receipts.lone_each(Event.SENT, [(1, "t", None)])
        receipts.sent_each([(2, "t"), (3, "u")])
        receipts.accepted(4, targets=2, tokens=["t", "u"], expires_ms=5, due_ms=None, is_logged=False)
        receipts.accepted(5, targets=9, tokens=None, expires_ms=None, due_ms=7, is_logged=True)
        receipts.happened(Event.DELIVERED, 4, ["t"])
        receipts.happened_each(Event.CACHED, [(6, "t")])
        receipts.handed(7, ["t"])
        receipts.counted(Event.SENT, 5, 9)
        self.assertEqual(self.house.receipts.calls, [])
        self.settle()
        self.assertEqual(
            self.house.receipts.calls,
            [
                ("lone_each", Event.SENT, ((1, "t", None),)),
                ("sent_each", ((2, "t"), (3, "u"))),
                ("accepted", 4, 2, ("t", "u"), 5, None, False),
                ("accepted", 5, 9, None, None, 7, True),
                ("happened", Event.DELIVERED, 4, ("t",)),
                ("happened_each", Event.CACHED, ((6, "t"),)),
                ("handed", 7, ("t",)),
                ("counted", Event.SENT, 5, 9),
            ],
        )

    def test_a_receipt_is_looked_for_after_what_was_told(self) -> None:
        receipt = Receipt(4, 1, None, 7, 1, {}, [])
        self.house.receipts.answers.update(find=receipt, delivered=receipt)
        self.receipts.lone_each(Event.SENT, [(4, "t", None)])
        self.assertEqual(self.get(self.receipts.find(4)), receipt)
        self.assertEqual([call[0] for call in self.house.receipts.calls], ["lone_each", "find"])
        self.assertEqual(self.get(self.receipts.delivered(4, 1.5)), receipt)
        self.house.receipts.answers["find"] = None
        self.assertIsNone(self.get(self.receipts.find(5)))

    def test_telling_never_fails_and_what_is_not_told_is_counted(self) -> None:
        self.house.receipts.answers["delivered"] = lambda *args: Deferred()
        waiting = self.begin(self.receipts.delivered(4, 60.0))
        self.link.lose("cut by the test")
        self.receipts.handed(1, ["t"])
        self.settle()
        self.assertEqual(next(iter(self.receipts.samples())).value, 1)
        self.assertEqual(self.successResultOf(waiting).targets, 0)

    def test_a_session_that_was_opened_for_a_link_that_is_lost_is_closed_again(self) -> None:
        opening: Deferred[Registration] = Deferred()
        closed: list[Registration] = []

        class Slow:
            def open(self, request: SubRequest, connector: str) -> "Deferred[Registration]":
                return opening

            async def closed(self, registrations: Sequence[Registration]) -> None:
                closed.extend(registrations)

        answers = Answers(NODE, Parts(subscribe=Slow()))  # type: ignore[arg-type]
        asked = Deferred.fromCoroutine(answers.answer(Open(None, None, None, None, None, None)))
        answers.lost("frozen for too long")
        session = Registration("t", None, NODE, 7)
        opening.callback(session)
        self.assertIsInstance(self.failureResultOf(asked).value, Unavailable)
        self.assertEqual(closed, [session])

    # What is refused

    def test_a_role_that_a_node_does_not_have_is_said_to_be_missing(self) -> None:
        answers = Answers(NODE, Parts())
        failed = Deferred.fromCoroutine(answers.answer(PushMany(())))
        self.assertIsInstance(self.failureResultOf(failed).value, Unavailable)

    def test_an_id_that_cannot_be_is_refused_by_itself_and_so_is_what_a_newer_node_asks(self) -> None:
        messages = RemoteMessages(self.asking)
        self.assertIs(type(self.failure(messages.receipt(2**64 - 1))), InvalidRequest)
        self.link.call("ask", frame(Signal.SUB, encode([99, ["launch", 1]])))
        self.settle()
        self.house.messages.answers["cancel"] = 2
        self.assertEqual(self.get(messages.cancel(5)), 2)
        broken = self.link.call("ask", frame(Signal.SUB, encode(["no number", ["launch"]])))
        self.settle()
        self.assertIn("cannot be read", self.failureResultOf(broken).getErrorMessage())

    def test_envelopes_of_other_minor_versions_are_read_and_others_refused(self) -> None:
        reader: Reader[Ask] = Reader(Ask)
        newer = encode([1, ["keep", [[1, b"x", ["t"], 5, None, None, False, None, "from the future"]], "more"], 9])
        older = encode([1, ["keep", [[1, b"x", ["t"], 5]]]])
        for data in (newer, older):
            wish = reader.read(data).wish
            assert isinstance(wish, KeepMany)
            self.assertEqual(wish.batch[0].keep, Keep(1, b"x", ("t",), 5))
        for data in (
            encode([1, ["keep", [[-1, b"x", ["t"], 5]]]]),
            encode([1, ["keep", [[1, "text", ["t"], 5]]]]),
            encode([1, ["keep", [[1, b"x", ["no token!"], 5]]]]),
            encode([1, ["push", [[["nowhere"], b"x"]]]]),
            encode([1, ["launch"]]),
        ):
            with self.assertRaises(CallMalformed):
                reader.read(data)
