"""Two nodes linked in memory: who may join, what may be called, and what happens when a link ends."""

from dataclasses import replace
from typing import Any

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import PermissionDenied, PushError, TooLarge, Unavailable, Unheard
from push.ipush import IConnector
from push.isubscribe import ISubscribe
from push.model import Delivery, DeliveryReport, Outcome, Place, Registration, TagQuery
from push.model_cache import Everybody, Keep
from push.protocols.peer.envelopes import MAJOR, MINOR, Hello, encode
from push.protocols.peer.errors import LinkLost
from push.protocols.peer.hearing import Hearing
from push.protocols.peer.link import PULSE_INTERVAL_S, PULSE_LIMIT_S
from push.protocols.peer.login import LOGIN_LIMIT_S
from push.protocols.wire.frames import ID
from push.protocols.wire.messages import Disconnect, SubRequest
from push.protocols.wire.signals import CloseCode, Signal, SubSignal
from tests.fakes_auth import UntilThen
from tests.peer.linked import NAME, House, Worker
from tests.services.clients import LIMITS, Client

KICKED = Disconnect(CloseCode.KICKED, "by a test")


class LinkCase(SynchronousTestCase):
    """A house, and a worker that has not joined yet."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.house = House(self.clock)
        self.worker = Worker(self.house)

    def run_call(self, call: Any, worker: Worker | None = None) -> Any:
        """Await something that needs the link."""
        running = Deferred.fromCoroutine(_awaited(call))
        (worker or self.worker).settle()
        return self.successResultOf(running)

    def failure_of(self, call: Any) -> BaseException:
        """What a call that needs the link fails with."""
        running = Deferred.fromCoroutine(_awaited(call))
        self.worker.settle()
        failure = self.failureResultOf(running)
        assert failure.value is not None
        return failure.value

    def calling(self, method: str, *arguments: object, **named: object) -> pb.RemoteReference | Any:
        """A raw call of the worker to the house, as a peer that keeps to no rule could make it."""
        assert self.worker.link is not None
        called = self.worker.link._reference.callRemote(method, *arguments, **named)
        self.worker.settle()
        return called


async def _awaited(call: Any) -> Any:
    return await call


class JoiningTests(LinkCase):
    """Who may join."""

    def test_who_has_the_secret_is_greeted(self) -> None:
        self.worker.join()
        self.assertIsNone(self.worker.refused)
        self.assertEqual(list(self.house.arrived), [NAME])
        self.assertTrue(verifyObject(IConnector, self.worker.remote))
        self.assertTrue(verifyObject(ISubscribe, self.worker.subscribe))

    def test_a_wrong_secret_is_refused(self) -> None:
        self.house.secrets.issue(NAME)
        self.worker.join(secret="0" * 64)
        self.assertIsInstance(self.worker.refused, PushError)
        self.assertEqual(self.house.arrived, {})

    def test_an_unknown_name_is_refused(self) -> None:
        self.worker.join(secret="")
        self.assertIsInstance(self.worker.refused, PushError)

    def test_a_secret_is_good_for_one_login(self) -> None:
        secret = self.house.secrets.issue(NAME)
        self.worker.join(secret=secret)
        second = Worker(self.house).join(secret=secret)
        self.assertIsInstance(second.refused, PushError)
        self.assertFalse(self.house.arrived[NAME].link.is_lost)

    def test_nobody_joins_without_logging_in(self) -> None:
        self.worker.join(secret="")
        factory = pb.PBClientFactory()
        self.worker.cable.connect(factory)
        login = factory.login(Anonymous())
        self.worker.settle()
        self.failureResultOf(login)
        self.flushLoggedErrors()

    def test_another_major_version_is_refused_with_a_sentence(self) -> None:
        self.worker.join(major=MAJOR + 1)
        self.assertIn(f"speaks {MAJOR + 1}.{MINOR}", str(self.worker.refused))
        self.assertIn("run the same release on both", str(self.worker.refused))
        self.assertEqual(self.house.arrived, {})

    def test_who_does_not_log_in_in_time_is_cut(self) -> None:
        self.worker.cable.connect(pb.PBClientFactory())
        self.worker.settle()
        self.assertFalse(self.worker.cable.server_transport.disconnecting)
        self.clock.advance(LOGIN_LIMIT_S)
        self.assertTrue(self.worker.cable.server_transport.disconnecting)

    def test_a_house_that_does_not_answer_is_given_up(self) -> None:
        self.worker.settle = lambda turns=0: None  # type: ignore[method-assign]  # nothing arrives
        self.worker.join()
        self.assertIsNone(self.worker.refused)
        self.clock.advance(LOGIN_LIMIT_S)
        self.assertIsInstance(self.worker.refused, LinkLost)

    def test_nothing_may_be_called_before_the_greeting(self) -> None:
        self.worker.join(major=MAJOR + 1)
        secret = self.house.secrets.issue(NAME)
        factory = pb.PBClientFactory()
        self.worker.cable.connect(factory)
        login = factory.login(UsernamePassword(NAME.encode(), secret.encode()), self.worker.door)
        self.worker.settle()
        avatar = self.successResultOf(login)
        for method in ("ask", "ready"):
            called = avatar.callRemote(method, b"")
            self.worker.settle()
            self.assertIn("greets first", self.failureResultOf(called).getErrorMessage())


class ArgumentTests(LinkCase):
    """What may be called, and with what."""

    def setUp(self) -> None:
        super().setUp()
        self.worker.join()

    def test_what_is_not_one_bytes_argument_is_refused(self) -> None:
        for argument in ("text", 1, None, [b"list"], (b"",), 1.5, True, {b"a": 1}):
            failure = self.failureResultOf(self.calling("ask", argument))
            self.assertIn("one bytes argument", failure.getErrorMessage())
        for arguments in ((), (b"", b"")):
            self.failureResultOf(self.calling("ask", *arguments))
        self.failureResultOf(self.calling("ask", b"", more=1))
        self.failureResultOf(self.calling("delete_everything", b""))
        self.flushLoggedErrors()
        self.assertFalse(self.house.arrived[NAME].link.is_lost)

    def test_garbage_instead_of_frames_is_refused(self) -> None:
        failure = self.failureResultOf(self.calling("ask", b"\x00garbage"))
        self.assertIn("broken", failure.getErrorMessage())

    def test_a_second_greeting_is_refused(self) -> None:
        failure = self.failureResultOf(self.calling("hello", encode(Hello(MAJOR, 0))))
        self.assertIn("greets once", failure.getErrorMessage())

    def test_a_broken_stream_of_messages_ends_the_link(self) -> None:
        link = self.house.arrived[NAME].link
        link.call("deliver", b"\x00garbage").addErrback(link.broken)
        self.worker.settle()
        self.assertTrue(link.is_lost)

    def test_a_class_or_instance_is_not_unpacked(self) -> None:
        class Harmful(pb.Copyable):
            pass

        assert self.worker.link is not None
        broker = self.worker.link._reference.broker
        broker.security = pb.globalSecurity
        called = self.worker.link._reference.callRemote("ask", Harmful())
        self.worker.settle()
        self.failureResultOf(called)
        self.flushLoggedErrors()


class CredentialTests(SynchronousTestCase):
    """Credentials of clients, which the house looks at."""

    def test_a_connector_knows_when_one_is_over(self) -> None:
        house = House(Clock(), authenticator=UntilThen())
        worker = Worker(house).join()
        for auth, until_s in (("1900000000", 1_900_000_000), ("0", 0)):
            client, answer = worker.client(auth=auth)
            self.assertEqual((answer["status"], client.protocol.registration.expires_s), (200, until_s))


class EndTests(LinkCase):
    """What happens when a link ends."""

    def setUp(self) -> None:
        super().setUp()
        self.worker.join()

    def test_sessions_of_a_lost_connector_are_closed_at_once(self) -> None:
        _, answer = self.worker.client(uid="alice")
        token = answer["token"]
        self.assertIn(token, self.successResultOf(Deferred.fromCoroutine(self.house.subscribe.online([token]))))
        self.house.arrived[NAME].link.lose("a test")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.house.subscribe.online([token]))), {})

    def test_a_session_that_was_opened_elsewhere_meanwhile_stays(self) -> None:
        _, answer = self.worker.client()
        other = Worker(self.house, "127.0.0.1:6789#2").join()
        _, again = other.client(token=answer["token"])
        self.assertEqual(again["token"], answer["token"])
        self.house.arrived[NAME].link.lose("a test")
        online = self.successResultOf(Deferred.fromCoroutine(self.house.subscribe.online([answer["token"]])))
        self.assertEqual([each.connector for each in online.values()], ["127.0.0.1:6789#2"])

    def test_what_is_being_opened_when_the_link_is_lost_does_not_stay(self) -> None:
        held: Deferred[Any] = Deferred()
        register, self.house.store.register = self.house.store.register, lambda *a, **k: held  # type: ignore[method-assign]
        opening = Deferred.fromCoroutine(_awaited(self.worker.subscribe.lend(NAME)))
        late = Deferred.fromCoroutine(_awaited(self.worker.subscribe.open(SubRequest(token="late"), NAME)))
        self.worker.settle()
        self.successResultOf(opening)
        self.house.arrived[NAME].link.lose("a test")
        self.worker.settle()
        self.assertIsInstance(self.failureResultOf(late).value, LinkLost)
        info = self.successResultOf(register("late", None, None, None, 1, owner_only=False))
        held.callback(info)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.house.subscribe.online(["late"]))), {})

    def test_a_connection_that_just_ends_is_logged_by_nobody(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        waiting = Deferred.fromCoroutine(_awaited(self.worker.remote.deliver([Delivery(1, b"x", ("a",))])))
        self.worker.cable.server_transport.reportDisconnect()
        self.assertIsInstance(self.failureResultOf(waiting).value, Unavailable)
        self.assertTrue(self.house.arrived[NAME].link.is_lost)
        self.assertEqual([event for event in events if "link" in event.get("log_namespace", "")], [])

    def test_what_waits_for_a_lost_connector_fails(self) -> None:
        remote = self.worker.remote
        waiting = [
            Deferred.fromCoroutine(_awaited(remote.deliver([Delivery(1, b"x", ("a",))]))),
            Deferred.fromCoroutine(_awaited(remote.broadcast(2, b"x"))),
            Deferred.fromCoroutine(_awaited(remote.kick("a", KICKED))),
            Deferred.fromCoroutine(_awaited(remote.node())),
        ]
        self.house.arrived[NAME].link.lose("a test")
        self.worker.cable.server_transport.stream.clear()  # aborting drops what was not written
        self.worker.settle()
        for each in waiting:
            self.assertIsInstance(self.failureResultOf(each).value, Unavailable)
        self.assertIsInstance(self.failure_of(remote.deliver([Delivery(1, b"x", ("a",))])), Unavailable)
        self.assertIsInstance(self.failure_of(remote.node()), Unavailable)

    def test_a_frozen_peer_is_noticed_by_its_pulse(self) -> None:
        link = self.house.arrived[NAME].link
        for _ in range(3):  # it beats as long as it is answered
            self.clock.advance(PULSE_INTERVAL_S)
            self.worker.settle()
        self.clock.advance(PULSE_INTERVAL_S)  # from now on nothing arrives
        self.clock.advance(PULSE_LIMIT_S - 0.1)
        self.assertFalse(link.is_lost)
        self.clock.advance(0.2)
        self.assertTrue(link.is_lost)

    def test_who_stood_still_itself_does_not_blame_its_peer(self) -> None:
        link = self.house.arrived[NAME].link
        self.clock.advance(PULSE_INTERVAL_S)  # a beat is on its way, and its answer is not read for long
        self.clock.advance(100)
        self.assertFalse(link.is_lost)
        self.worker.settle()
        self.clock.advance(PULSE_INTERVAL_S)
        self.worker.settle()
        self.assertFalse(link.is_lost)

    def test_asking_without_a_link_fails_at_once(self) -> None:
        worker = Worker(self.house, "127.0.0.1:6789#3")
        asked = Deferred.fromCoroutine(_awaited(worker.subscribe.lend(NAME)))
        self.assertIsInstance(self.failureResultOf(asked).value, LinkLost)


class SubscribeTests(LinkCase):
    """Tokens over the link: the same answers as without it."""

    def setUp(self) -> None:
        super().setUp()
        self.worker.join()

    def here(self, call: Any) -> Any:
        """The answer without the link."""
        return self.successResultOf(Deferred.fromCoroutine(_awaited(call)))

    def test_every_question_is_answered_as_if_it_were_here(self) -> None:
        there, here = self.worker.subscribe, self.house.subscribe
        request = SubRequest(token="t1", uid="alice", ack=True, interval_ms=10**30, device="{}", tags=("a", "b"))
        registration = self.run_call(there.open(request, "ignored"))
        self.assertEqual(registration, self.here(here.online(["t1"]))["t1"])
        self.assertEqual((registration.connector, registration.acks), (NAME, True))
        lent = self.run_call(there.lend("ignored"))
        tokens = ["t1", lent.token, "unknown"]
        query = TagQuery(any=("a",), all=("b",), none=("c",))
        for there_call, here_call in (
            (there.locate(tokens, {"t1": "bob"}), here.locate(tokens, {"t1": "bob"})),
            (there.locate(tokens, {}), here.locate(tokens, {})),
            (there.online(tokens), here.online(tokens)),
            (there.tokens_of(["alice", "bob"]), here.tokens_of(["alice", "bob"])),
            (there.describe("t1"), here.describe("t1")),
            (there.describe("unknown"), here.describe("unknown")),
        ):
            self.assertEqual(self.run_call(there_call), self.here(here_call))
        self.assertEqual(list(self.run_call(there.tagged(query, "", 10))), ["t1"])
        self.run_call(there.closed([registration]))
        self.assertEqual(list(self.here(here.online(tokens))), [lent.token])
        self.run_call(there.reopened([registration]))
        self.assertEqual(self.here(here.online(["t1"])), {"t1": registration})
        self.assertTrue(self.run_call(there.revoke("t1")))
        self.assertFalse(self.run_call(there.revoke("t1")))

    def test_errors_are_those_that_were_raised(self) -> None:
        self.house.store.failure = PermissionDenied("this token belongs to another user")
        error = self.failure_of(self.worker.subscribe.open(SubRequest(token="t1"), NAME))
        self.assertEqual((type(error), str(error)), (PermissionDenied, "this token belongs to another user"))

    def test_an_error_that_nobody_foresaw_tells_the_worker_nothing_of_it(self) -> None:
        self.house.store.failure = ValueError("a secret")  # type: ignore[assignment]
        error = self.failure_of(self.worker.subscribe.open(SubRequest(token="t1"), NAME))
        self.assertIsInstance(error, Unavailable)
        self.assertNotIn("secret", str(error))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_sessions_that_are_asked_for_at_once_are_asked_for_together(self) -> None:
        calls = []
        call = self.worker.link.call  # type: ignore[union-attr]
        self.worker.link.call = lambda method, *a, **k: calls.append(method) or call(method, *a, **k)  # type: ignore
        clients = [Client(self.worker.connector, self.clock) for _ in range(80)]
        for client in clients:
            client.send(Signal.SUB)
        self.worker.settle()
        self.assertTrue(all(client.frames() for client in clients))
        self.assertLess(calls.count("ask"), 8)

    def test_closing_sessions_after_the_link_is_lost_is_no_failure(self) -> None:
        registration = self.run_call(self.worker.subscribe.lend(NAME))
        self.worker.link.lose("a test")  # type: ignore[union-attr]
        self.here(self.worker.subscribe.closed([registration]))
        self.here(self.worker.subscribe.reopened([registration]))


class ConnectorTests(LinkCase):
    """A connector over the link."""

    def setUp(self) -> None:
        super().setUp()
        self.worker.join()

    def test_what_is_delivered_arrives_and_what_is_missed_is_reported(self) -> None:
        client, answer = self.worker.client()
        token = answer["token"]
        report = self.run_call(
            self.worker.remote.deliver(
                [
                    Delivery(1, b"one", (token,)),
                    Delivery(2, b"two", ("nobody",)),
                    Delivery(3, b"three", ("first", token, "last")),
                ]
            )
        )
        self.assertEqual(list(report.sent), [1, 0, 1])
        self.assertEqual(
            {position: list(missed) for position, missed in report.missed.items()},
            {1: [("nobody", Outcome.OFFLINE)], 2: [("first", Outcome.OFFLINE), ("last", Outcome.OFFLINE)]},
        )
        self.assertEqual(client.pushes(), [b"one", b"three"])

    def test_a_broadcast_reaches_every_session_and_is_counted(self) -> None:
        clients = [self.worker.client()[0] for _ in range(3)]
        self.assertEqual(self.run_call(self.worker.remote.broadcast(1, b"all")), 3)
        self.assertEqual([client.pushes() for client in clients], [[b"all"]] * 3)

    def test_deliveries_and_broadcasts_keep_their_order(self) -> None:
        client, answer = self.worker.client()
        token = answer["token"]
        running = []
        for number in range(40):
            if number % 3 == 1:
                running.append(Deferred.fromCoroutine(_awaited(self.worker.remote.broadcast(number, b"%d" % number))))
            else:
                delivery = [Delivery(number, b"%d" % number, (token,))]
                running.append(Deferred.fromCoroutine(_awaited(self.worker.remote.deliver(delivery))))
        self.worker.settle()
        for each in running:
            self.successResultOf(each)
        self.assertEqual(client.pushes(), [b"%d" % number for number in range(40)])

    def test_calls_that_accumulate_travel_together(self) -> None:
        calls = []
        remote_deliver = self.worker.door.remote_deliver
        self.worker.door.remote_deliver = lambda data: calls.append(len(data)) or remote_deliver(data)  # type: ignore
        running = [
            Deferred.fromCoroutine(_awaited(self.worker.remote.deliver([Delivery(each, b"x", ("a",))])))
            for each in range(500)
        ]
        self.worker.settle()
        for each in running:
            self.successResultOf(each)
        self.assertLess(len(calls), 10)

    def test_the_largest_payload_arrives_whole_and_in_order(self) -> None:
        """16 MiB, the most that can be configured, is much more than Perspective Broker takes in one string."""
        most = 16_777_216
        worker = Worker(self.house, "127.0.0.1:6789#2", replace(LIMITS, max_body_bytes=most)).join()
        got: list[tuple[int, int]] = []

        async def deliver(batch: Any) -> DeliveryReport:
            got.extend((each.message_id, hash(each.payload)) for each in batch)
            return DeliveryReport([len(each.tokens) for each in batch], {})

        worker.connector.deliver = deliver  # type: ignore[method-assign]
        payloads = [b"before", bytes(range(256)) * (most // 256), b"after"]
        running = [
            Deferred.fromCoroutine(_awaited(worker.remote.deliver([Delivery(number, payload, ("a",))])))
            for number, payload in enumerate(payloads)
        ]
        worker.settle(500)
        for each in running:
            self.assertEqual(list(self.successResultOf(each).sent), [1])
        self.assertEqual(got, [(number, hash(payload)) for number, payload in enumerate(payloads)])

    def test_what_is_too_large_for_a_connector_is_refused_and_disturbs_nothing_else(self) -> None:
        worker = Worker(self.house, "127.0.0.1:6789#2", replace(LIMITS, max_body_bytes=10_000)).join()
        client, answer = worker.client()
        token = answer["token"]
        large, most = bytes(10_001), bytes(10_000)
        report = self.run_call(
            worker.remote.deliver(
                [
                    Delivery(1, b"before", (token,)),
                    Delivery(2, large, (token,)),
                    Delivery(3, large, ("other", token)),
                    Delivery(4, most, (token,)),
                ]
            ),
            worker,
        )
        self.assertEqual(list(report.sent), [1, 0, 0, 1])
        refused = {position: {outcome for _, outcome in each} for position, each in report.missed.items()}
        self.assertEqual(refused, {1: {Outcome.TOO_LARGE}, 2: {Outcome.TOO_LARGE}})
        broadcasts = [
            Deferred.fromCoroutine(_awaited(worker.remote.broadcast(5 + n, [large, b"x"][n]))) for n in (0, 1)
        ]
        worker.settle()
        self.assertIn("10000 bytes", str(self.failureResultOf(broadcasts[0], TooLarge).value))
        self.assertEqual(self.successResultOf(broadcasts[1]), 1)
        self.assertEqual(client.pushes(), [b"before", most, b"x"])
        self.assertFalse(worker.link.is_lost)  # type: ignore[union-attr]

    def test_older_routers_are_told_nothing_that_they_do_not_know(self) -> None:
        worker = Worker(self.house, "127.0.0.1:6789#2", replace(LIMITS, max_body_bytes=10_000), minor=3).join()
        report = self.run_call(worker.remote.deliver([Delivery(1, bytes(10_001), ("a",))]), worker)
        self.assertEqual(report.missed, {0: [("a", Outcome.OFFLINE)]})

    def test_a_batch_that_a_connector_cannot_deliver_fails_and_the_link_goes_on(self) -> None:
        deliver = self.worker.connector.deliver

        async def fail(batch: Any) -> DeliveryReport:
            raise ValueError("a test")

        self.worker.connector.deliver = fail  # type: ignore[method-assign]
        self.assertIsInstance(self.failure_of(self.worker.remote.deliver([Delivery(1, b"", ("a",))])), Unavailable)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.worker.connector.deliver = deliver  # type: ignore[method-assign]
        report = self.run_call(self.worker.remote.deliver([Delivery(1, b"", ("a",))]))
        self.assertEqual(list(report.sent), [0])

    def test_a_broadcast_that_is_refused_is_refused_here(self) -> None:
        async def refuse(message_id: int, payload: bytes, is_logged: bool, place: Place | None) -> int:
            raise Unavailable("too many broadcasts are waiting on this connector", retry_after_s=3.0)

        self.worker.connector.broadcast = refuse  # type: ignore[method-assign]
        error = self.failure_of(self.worker.remote.broadcast(1, b"x"))
        self.assertEqual((type(error), getattr(error, "retry_after_s", None)), (Unavailable, 3.0))

    def test_a_message_for_very_many_tokens_arrives(self) -> None:
        client, answer = self.worker.client()
        tokens = [f"t{number}" for number in range(20_000)]
        tokens[13_000] = answer["token"]
        report = self.run_call(self.worker.remote.deliver([Delivery(1, b"many", tokens)]))
        self.assertEqual(list(report.sent), [1])
        self.assertEqual([token for token, _ in report.missed[0]], tokens[:13_000] + tokens[13_001:])
        self.assertEqual(client.pushes(), [b"many"])

    def test_a_session_is_attached_before_the_first_message_for_it(self) -> None:
        """The message is sent in the very turn in which the session can be located, and its neighbour still waits."""
        held: list[Deferred[Any]] = []
        register = self.house.store.register

        def hold(*arguments: Any, **more: Any) -> Deferred[Any]:
            held.append(Deferred().addCallback(lambda _: register(*arguments, **more)))
            return held[-1]

        self.house.store.register = hold  # type: ignore[method-assign]
        clients = [Client(self.worker.connector, self.clock) for _ in range(2)]
        for number, client in enumerate(clients):
            client.send(Signal.SUB, b'{"token": "t%d"}' % number)
        self.worker.settle()
        held[0].callback(None)
        self.assertIn("t0", self.successResultOf(Deferred.fromCoroutine(self.house.subscribe.online(["t0"]))))
        report = self.run_call(self.worker.remote.deliver([Delivery(1, b"first", ("t0",))]))
        self.assertEqual(list(report.sent), [1])
        self.assertEqual([frame.signal for frame in clients[0].frames()], [Signal.SUB, Signal.PUSH])
        self.assertEqual(clients[1].frames(), [])

    def test_kick_and_replaced_close_sessions(self) -> None:
        client, answer = self.worker.client()
        self.assertTrue(self.run_call(self.worker.remote.kick(answer["token"], KICKED)))
        self.assertEqual(client.goodbye()["code"], CloseCode.KICKED)
        self.assertFalse(self.run_call(self.worker.remote.kick("nobody", KICKED)))
        client, answer = self.worker.client()
        online = self.successResultOf(Deferred.fromCoroutine(self.house.subscribe.online([answer["token"]])))
        (registration,) = online.values()
        older = Registration(registration.token, None, NAME, registration.epoch - 1)
        self.run_call(self.worker.remote.replaced([older]))
        self.assertEqual(client.goodbye(), {})
        self.run_call(self.worker.remote.replaced([registration]))
        self.assertEqual(client.goodbye()["code"], CloseCode.REPLACED)

    def test_what_comes_over_the_bus_has_its_turn_in_the_stream(self) -> None:
        client, answer = self.worker.client()
        remote = self.worker.remote
        self.assertIsInstance(self.failure_of(remote.bring(1)), Unheard)  # it does not listen
        heard = self.worker.connector.hear(1_000)
        before = Deferred.fromCoroutine(_awaited(remote.deliver([Delivery(2, b"before", (answer["token"],))])))
        brought = Deferred.fromCoroutine(_awaited(remote.bring(3)))
        after = Deferred.fromCoroutine(_awaited(remote.deliver([Delivery(4, b"after", (answer["token"],))])))
        self.worker.settle()
        self.assertEqual(client.pushes(), [b"before"])
        heard.put(3, b"all")
        self.worker.settle()
        self.assertEqual(client.pushes(), [b"all", b"after"])
        self.assertEqual(self.successResultOf(brought), 1)
        for each in (before, after):
            self.assertEqual(self.successResultOf(each).sent, [1])

    def test_how_the_link_does_is_counted(self) -> None:
        def numbers() -> dict[str, Any]:
            found = list(self.worker.remote.link_samples())
            self.assertEqual({dict(sample.labels)["node"] for sample in found}, {NAME})
            return {sample.name.removeprefix("push_link_"): sample.value for sample in found}

        before = numbers()["calls_total"]
        self.run_call(self.worker.remote.node())
        asked = Deferred.fromCoroutine(_awaited(self.worker.remote.node()))
        self.assertEqual((numbers()["calls_total"] - before, numbers()["unanswered"]), (2, 1))
        self.worker.settle()
        self.successResultOf(asked)
        self.assertEqual((numbers()["unanswered"], numbers()["failures_total"]), (0, 0))
        asked = Deferred.fromCoroutine(_awaited(self.worker.remote.node()))
        self.worker.clock.advance(PULSE_INTERVAL_S)
        self.worker.settle()
        self.successResultOf(asked)
        self.house.arrived[NAME].link.lose("a test")
        self.worker.cable.server_transport.stream.clear()
        self.worker.settle()
        self.assertEqual(numbers()["unanswered"], 0)

    def test_a_connector_says_whether_it_hears(self) -> None:
        hearing = Hearing()
        link = self.worker.link
        assert link is not None
        for said in (False, True, False):
            hearing.changed(said)
            hearing.attach(link)
            self.worker.settle()
            self.assertIs(self.worker.remote.hears, said)

    def test_a_link_that_comes_later_is_told_and_one_that_is_lost_is_not(self) -> None:
        hearing = Hearing()
        hearing.changed(True)
        link = self.worker.link
        assert link is not None
        hearing.attach(link)
        self.worker.settle()
        self.assertTrue(self.worker.remote.hears)
        calls = link.calls
        link.close()
        hearing.changed(False)
        hearing.attach(link)
        self.assertEqual(link.calls, calls)

    def test_drain_begins_and_ends_there(self) -> None:
        self.run_call(self.worker.remote.drain(5.0))
        self.assertTrue(self.run_call(self.worker.remote.node()).draining)
        self.run_call(self.worker.remote.drain(None))
        self.assertFalse(self.run_call(self.worker.remote.node()).draining)

    def test_node_and_samples_are_those_of_the_connector(self) -> None:
        self.worker.client()
        node = self.run_call(self.worker.remote.node())
        self.assertEqual((node.address, node.sessions), (NAME, 1))
        samples = {sample.name: sample.value for sample in self.run_call(self.worker.remote.samples())}
        self.assertEqual(samples["push_sessions"], 1)

    def test_a_full_queue_refuses(self) -> None:
        self.house.arrived.clear()
        self.house.max_waiting_bytes = 1_000
        worker = Worker(self.house, "127.0.0.1:6789#2").join()
        waiting = [
            Deferred.fromCoroutine(_awaited(worker.remote.deliver([Delivery(each, bytes(900), ("a",))])))
            for each in range(20)
        ]
        refused = [each for each in waiting if each.called]
        self.assertTrue(refused)
        for each in refused:
            self.assertIsInstance(self.failureResultOf(each).value, Unavailable)
        worker.settle()
        for each in waiting:
            if each not in refused:
                self.successResultOf(each)


class CacheTests(LinkCase):
    """The cache over the link: what a session is behind with is pulled, and what it has is told."""

    def setUp(self) -> None:
        super().setUp()
        self.worker.join()

    def keep(self, message_id: int, payload: bytes, token: str, **more: Any) -> None:
        """Keep a message for a token, or for all."""
        keep = Keep(message_id, payload, (token,) if token else (), 10**15, **more)
        self.successResultOf(Deferred.fromCoroutine(self.house.cache.keep([keep])))

    def session(self, request: bytes) -> Client:
        """A client that has sent a SUB, and has read nothing yet."""
        client = Client(self.worker.connector, self.clock)
        client.send(Signal.SUB, request)
        return client

    def test_what_was_kept_is_pulled_and_what_was_handed_over_is_told(self) -> None:
        payloads = [b"%02d" % number + bytes(60_000) for number in range(20)]  # more than a call of PB could carry
        for number, payload in enumerate(payloads):
            self.keep(number + 1, payload, "t")
        client = self.session(b'{"token":"t"}')
        self.worker.settle(500)
        self.assertEqual([body[:2] for body in client.pushes()], [payload[:2] for payload in payloads])
        self.worker.settle()
        self.assertEqual(self.house.cache.entries, [])

    def test_acknowledgements_are_told_and_impossible_ids_break_nothing(self) -> None:
        self.keep(7, b"seven", "t")
        client = self.session(b'{"token":"t","ack":true}')
        self.worker.settle()
        self.assertEqual([body[8:] for body in client.pushes()], [b"seven"])
        ids = (1 << 64) - 1, 1 << 63, 7
        client.send(Signal.PUB_ACK, b"".join(map(ID.pack, ids)), subsignal=SubSignal.MN)
        self.clock.advance(0)
        self.worker.settle()
        self.assertEqual(self.house.cache.entries, [])
        self.assertIn(NAME, self.house.arrived)

    def test_what_is_not_to_be_seen_yet_and_what_was_missed_is_pulled(self) -> None:
        client = self.session(b'{"token":"t"}')
        self.worker.settle()
        self.keep(1, b"one", "t")
        report = self.run_call(self.worker.remote.deliver([Delivery(1, None, ("t",), True)]))
        self.assertEqual(report.missed[0], [("t", Outcome.BEHIND)])
        self.worker.settle()
        self.assertEqual(client.pushes(), [b"one"])
        self.keep(2, b"two", "t")
        self.run_call(self.worker.remote.refill(["t"]))
        self.worker.settle()
        self.assertEqual(client.pushes(), [b"two"])

    def test_what_is_too_large_for_this_connector_is_pulled_where_it_is_kept_or_will_be(self) -> None:
        large = bytes(LIMITS.max_body_bytes + 1)
        client = self.session(b'{"token":"t"}')
        self.worker.settle()
        self.keep(1, large, "t")
        report = self.run_call(self.worker.remote.deliver([Delivery(1, large, ("t",), True)]))
        self.assertEqual(report.missed[0], [("t", Outcome.BEHIND)])
        self.worker.settle()
        self.assertEqual(client.pushes(), [large])
        report = self.run_call(self.worker.remote.deliver([Delivery(2, large, ("t",), is_keepable=True)]))
        self.assertEqual(report.missed[0], [("t", Outcome.BEHIND)])
        self.keep(3, large, "", audience=Everybody())
        self.assertEqual(self.run_call(self.worker.remote.broadcast(3, large, True)), 1)
        self.worker.settle()
        self.assertEqual(client.pushes(), [large])

    def test_a_logged_broadcast_is_pulled_where_it_has_no_payload_or_too_much_waits(self) -> None:
        client = self.session(b'{"token":"t"}')
        self.worker.settle()
        for number, payload in ((1, None), (2, b"two")):
            self.keep(number, b"one" if payload is None else payload, "", audience=Everybody())
            self.patch(self.worker.remote, "_max_waiting_bytes", 1 << 30 if payload is None else -1)
            self.assertEqual(self.run_call(self.worker.remote.broadcast(number, payload, True)), 1)
            self.worker.settle()
        self.assertEqual(client.pushes(), [b"one", b"two"])

    def test_what_has_a_place_in_the_log_is_pushed_where_the_log_is_known_and_pulled_by_older_connectors(self) -> None:
        told: list[Any] = []

        async def broadcast(message_id: int, payload: Any, is_logged: bool, place: Any) -> int:
            told.append((payload, is_logged, place))
            return 1

        async def deliver(batch: Any) -> DeliveryReport:
            told.extend((each.payload, each.tokens, each.is_logged, each.place) for each in batch)
            return DeliveryReport([len(each.tokens) for each in batch], {})

        self.worker.connector.broadcast = broadcast  # type: ignore[method-assign]
        self.worker.connector.deliver = deliver  # type: ignore[method-assign]
        batch = [
            Delivery(1, b"x", ("a",), True, True, Place(9, (0,), 8)),
            Delivery(1, None, (), True, True, Place(9, (), 8)),
            Delivery(2, b"y", ("a",), True, False, Place(12, (3,), 9)),
        ]
        self.run_call(self.worker.remote.broadcast(5, b"p", True, Place(7, (), 6)))
        report = self.run_call(self.worker.remote.deliver(batch))
        self.assertEqual(list(report.sent), [1, 0, 1])
        news = [(b"x", ("a",), True, batch[0].place), (None, (), True, batch[1].place)]
        self.assertEqual(told, [(b"p", True, Place(7, (), 6)), *news, (b"y", ("a",), False, batch[2].place)])
        told.clear()
        self.worker.remote._knows_places = False
        self.run_call(self.worker.remote.broadcast(5, b"p", True, Place(7, (), 6)))
        report = self.run_call(self.worker.remote.deliver(batch))
        self.assertEqual(list(report.sent), [1, 0, 1])
        old = [(None, True, None), (None, ("a",), True, None), (b"y", ("a",), False, Place(12, (9,)))]
        self.assertEqual(told, old)

    def test_places_in_the_log_are_told_at_the_end_of_a_session(self) -> None:
        client = self.session(b'{"token":"t"}')
        self.worker.settle()
        self.keep(5, b"five", "", audience=Everybody())
        self.run_call(self.worker.remote.broadcast(5, b"five", True))
        self.assertEqual(client.pushes(), [b"five"])
        client.hang_up()
        self.worker.settle()
        self.assertEqual(self.house.cache.log_positions, {"t": 5})
