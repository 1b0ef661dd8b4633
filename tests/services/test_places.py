"""Deliveries that say where they stand: what overtakes, comes twice, or is somebody else's by now."""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.model import Delivery, Outcome, Place, Registration
from push.model_cache import Everybody, Keep
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from tests.fakes_cache import MemoryCache
from tests.services.clients import ADDRESS, Client, make_connector
from tests.services.holders import begun

EXPIRES_MS = 1_900_000_000_000


class PlaceTests(SynchronousTestCase):
    """A client that acknowledges, whose messages come from several routers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache()
        self.cache.is_shared = True
        self.connector, self.subscribe, _ = make_connector(self.clock, self.cache)
        self.client = self.come()

    def come(self, **fields: Any) -> Client:
        """The client opens its session."""
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, json.dumps({"token": "t", "ack": True, **fields}).encode())
        self.assertIsNotNone(client.protocol.registration)
        return client

    def keep(self, *message_ids: int) -> list[Place]:
        """Some router gives these to the cache."""
        places = []
        for message_id in message_ids:
            before = max((each.position for each in self.cache.entries if "t" in each.tokens), default=0)
            keeping = self.successResultOf(
                begun(self.cache.keep([Keep(message_id, b"%d" % message_id, ("t",), EXPIRES_MS)]))
            )
            places.append(Place(keeping.places[0].position, (before,)))
        return places

    def deliver(self, message_id: int, place: Place | None, *tokens: str, **more: Any) -> Any:
        """It arrives; the outcome, None where it was sent."""
        given = {"is_kept": place is not None, **more}
        delivery = Delivery(message_id, b"%d" % message_id, tokens or ("t",), place=place, **given)
        report = self.successResultOf(begun(self.connector.deliver([delivery])))
        return dict(report.missed.get(0, ())).get("t")

    def got(self, client: Client | None = None) -> list[int]:
        """What came since."""
        for _ in range(5):
            self.clock.advance(0)
        return [int(body[ID.size :]) for body in (client or self.client).pushes()]

    def acknowledge(self, *message_ids: int) -> None:
        """The client has these."""
        self.client.send(Signal.PUB_ACK, b"".join(map(ID.pack, message_ids)), subsignal=SubSignal.MN)
        self.clock.advance(0)

    def test_what_continues_is_pushed_without_a_pull(self) -> None:
        pulls = self.cache.pulls
        for message_id, place in zip((1, 2, 3), self.keep(1, 2, 3), strict=True):
            self.assertIsNone(self.deliver(message_id, place))
        self.assertEqual(self.got(), [1, 2, 3])
        self.assertEqual(self.cache.pulls, pulls)

    def test_what_overtakes_is_pulled_behind_what_it_overtook_and_nothing_comes_twice(self) -> None:
        places = self.keep(1, 2, 3)
        self.assertIsNone(self.deliver(1, places[0]))
        self.assertIs(self.deliver(3, places[2]), Outcome.BEHIND)
        self.assertEqual(self.got(), [1, 2, 3])
        self.assertIsNone(self.deliver(2, places[1]))  # late
        self.assertIsNone(self.deliver(3, places[2]))  # again
        self.assertEqual(self.got(), [])

    def test_what_was_acknowledged_does_not_come_again_with_its_late_delivery(self) -> None:
        places = self.keep(1, 2)
        self.assertIs(self.deliver(2, places[1]), Outcome.BEHIND)
        self.assertEqual(self.got(), [1, 2])
        self.acknowledge(1, 2)
        self.assertIsNone(self.deliver(1, places[0]))
        self.assertEqual(self.got(), [])

    def test_what_is_over_is_not_waited_for(self) -> None:
        places = self.keep(1, 2)
        self.assertIsNone(self.deliver(1, places[0]))
        self.assertEqual(self.got(), [1])
        self.acknowledge(1, 2)
        (later,) = self.keep(3)
        self.assertEqual(later.before, (0,))
        self.assertIsNone(self.deliver(3, later))
        self.assertEqual(self.got(), [3])

    def test_new_session_pulls_what_the_one_before_left_and_goes_on_from_there(self) -> None:
        places = self.keep(1, 2)
        self.deliver(1, places[0])
        again = self.come()
        self.assertEqual(self.got(again), [1, 2])
        self.assertIsNone(self.deliver(2, places[1]))
        (third,) = self.keep(3)
        self.assertIsNone(self.deliver(3, third))
        self.assertEqual(self.got(again), [3])

    def test_of_several_tokens_each_has_its_own_order(self) -> None:
        other = self.come(token="u")
        (first,) = self.keep(1)
        both = self.successResultOf(begun(self.cache.keep([Keep(2, b"2", ("t", "u"), EXPIRES_MS)]))).places[0]
        place = Place(both.position, (first.position, 0))
        delivery = Delivery(2, b"2", ("t", "u"), True, place=place)
        report = self.successResultOf(begun(self.connector.deliver([delivery])))
        self.assertEqual((report.sent, report.missed), ([1], {0: [("t", Outcome.BEHIND)]}))
        self.assertEqual(self.got(), [1, 2])
        self.assertEqual(self.got(other), [2])

    def test_session_that_acknowledges_no_more_pulls_so_that_it_is_said_to_have_it(self) -> None:
        (place,) = self.keep(1)
        plain = self.come(ack=False)
        self.clock.advance(0)
        plain.pushes()
        (later,) = self.keep(2)
        self.assertIs(self.deliver(2, later), Outcome.BEHIND)
        self.clock.advance(0)
        self.assertEqual([int(body) for body in plain.pushes()], [2])
        self.clock.advance(0)
        self.assertEqual(self.cache.of("t"), [])
        self.assertLess(place.position, later.position)

    def test_what_is_meant_for_a_user_is_not_given_to_who_has_the_token_now(self) -> None:
        self.come(uid="bob")
        self.assertIs(self.deliver(1, None, owner="alice"), Outcome.OFFLINE)
        self.assertIsNone(self.deliver(2, None, owner="bob"))
        many = Delivery(3, b"3", ("t", "nobody"), owner="alice")
        report = self.successResultOf(begun(self.connector.deliver([many])))
        self.assertEqual(report.missed[0], [("t", Outcome.OFFLINE), ("nobody", Outcome.OFFLINE)])

    def test_what_can_be_kept_is_not_taken_while_something_else_comes_first(self) -> None:
        self.cache.pull_error = None
        places = self.keep(1, 2)
        self.assertIs(self.deliver(2, places[1]), Outcome.BEHIND)  # the pull is under way
        self.assertIs(self.deliver(3, None, is_keepable=True), Outcome.BEHIND)
        self.assertIs(self.deliver(4, None, "t", "u", is_keepable=True), Outcome.BEHIND)
        self.assertIsNone(self.deliver(5, None))  # what is never kept waits here
        self.assertEqual(self.got(), [1, 2, 5])
        self.assertIsNone(self.deliver(6, None, is_keepable=True))
        self.assertEqual(self.got(), [6])

    def test_ids_of_several_routers_say_nothing_about_what_comes_first(self) -> None:
        places = self.keep(1_000, 1_001)
        self.assertIs(self.deliver(1_001, places[1]), Outcome.BEHIND)
        self.assertIsNone(self.deliver(7, None))  # of a router whose clock is behind
        self.assertEqual(self.got(), [1_000, 1_001, 7])

    def test_place_in_the_log_of_what_is_not_acknowledged_is_not_told_as_had_though_its_id_is_greater(self) -> None:
        told: list[Any] = []

        async def moved(positions: Any) -> None:
            told.extend(positions)

        self.patch(self.cache, "moved", moved)
        for message_id in (900, 901):  # ids of a clock that is ahead of that of the cache
            keep = Keep(message_id, b"%d" % message_id, (), EXPIRES_MS, audience=Everybody())
            self.successResultOf(begun(self.cache.keep([keep])))
        for entry, position in zip(self.cache.entries, (100, 101), strict=True):
            entry.position = position
        begun(self.connector.broadcast(900, None, True))
        self.assertEqual(self.got(), [900, 901])
        self.acknowledge(900)
        self.client.hang_up()
        self.assertEqual(told, [("t", 100)])


class LoggedTests(SynchronousTestCase):
    """Broadcasts and messages to tags, logged by several routers, to clients that acknowledge and one that does not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cache = MemoryCache()
        self.cache.is_shared = True
        self.connector, self.subscribe, _ = make_connector(self.clock, self.cache)
        self.clients = [self.come(token="a"), self.come(token="b"), self.come(token="plain", ack=False)]
        self.logged = 0
        self.log(1)
        self.broadcast(1)  # the first: all have looked into the cache
        self.assertEqual(self.got(), [[1], [1], [1]])
        self.pulls = self.cache.pulls
        self.places: dict[int, Place] = {}

    def come(self, **fields: Any) -> Client:
        """A client opens its session."""
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, json.dumps({"ack": True, **fields}).encode())
        self.clock.advance(0)
        return client

    def log(self, *message_ids: int) -> None:
        """Some router has these logged; their positions are not their ids."""
        for message_id in message_ids:
            keep = Keep(message_id, b"%d" % message_id, (), EXPIRES_MS, audience=Everybody())
            self.successResultOf(begun(self.cache.keep([keep])))
            position = 100 + len(self.cache.entries)
            self.cache.entries[-1].position = position
            self.placed(message_id, Place(position, (), self.logged))
            self.logged = position

    def placed(self, message_id: int, place: Place) -> None:
        """Where a message is."""
        self.places = {**getattr(self, "places", {}), message_id: place}

    def broadcast(self, message_id: int, *, has_payload: bool = True) -> int:
        """It arrives, and goes to all."""
        payload = b"%d" % message_id if has_payload else None
        done = begun(self.connector.broadcast(message_id, payload, True, self.places[message_id]))
        for _ in range(5):
            self.clock.advance(0)
        return int(self.successResultOf(done))

    def deliver(self, message_id: int, *tokens: str) -> list[tuple[str, Outcome]]:
        """It arrives for these; for none: all whom it is for have it."""
        at = self.places[message_id]
        place = Place(at.position, (0,) * len(tokens), at.logged)
        delivery = Delivery(message_id, b"%d" % message_id if tokens else None, tokens, True, True, place)
        report = self.successResultOf(begun(self.connector.deliver([delivery])))
        return list(report.missed.get(0, ()))

    def got(self) -> list[list[int]]:
        """What came to each since."""
        for _ in range(5):
            self.clock.advance(0)
        return [[int(body[ID.size * client.protocol.acks :]) for body in client.pushes()] for client in self.clients]

    def test_what_continues_the_log_is_pushed_without_a_pull(self) -> None:
        self.log(7, 3, 9)
        self.assertEqual([self.broadcast(each) for each in (7, 3, 9)], [3, 3, 3])
        self.assertEqual(self.got(), [[7, 3, 9]] * 3)
        self.assertEqual(self.cache.pulls, self.pulls)

    def test_several_in_one_pass_continue_one_another(self) -> None:
        self.log(7, 3)
        for each in (7, 3):
            begun(self.connector.broadcast(each, b"%d" % each, True, self.places[each]))
        self.assertEqual(self.got(), [[7, 3]] * 3)
        self.assertEqual(self.cache.pulls, self.pulls)

    def test_what_overtakes_is_pulled_behind_what_it_overtook_and_nothing_comes_twice(self) -> None:
        self.log(7, 3)
        self.assertEqual(self.broadcast(3), 3)
        self.assertEqual(self.got(), [[7, 3]] * 3)
        self.assertEqual(self.cache.pulls, self.pulls + 3)
        self.assertEqual(self.broadcast(7), 3)  # late
        self.assertEqual(self.got(), [[], [], []])
        self.log(8)
        self.broadcast(8)
        self.assertEqual(self.got(), [[8]] * 3)
        self.assertEqual(self.cache.pulls, self.pulls + 3)

    def test_what_has_no_room_on_the_way_is_pulled_and_the_next_is_pushed(self) -> None:
        self.log(7)
        self.broadcast(7, has_payload=False)
        self.assertEqual(self.got(), [[7]] * 3)
        self.log(3)
        self.broadcast(3)
        self.assertEqual(self.got(), [[3]] * 3)
        self.assertEqual(self.cache.pulls, self.pulls + 3)

    def test_session_that_is_newer_than_the_log_here_is_given_what_continues_what_it_pulled(self) -> None:
        connector, _, _ = make_connector(self.clock, self.cache)
        client = Client(connector, self.clock)
        client.send(Signal.SUB, b'{"token":"new","ack":true}')
        self.log(7)
        self.clients = [client]
        self.assertEqual(self.got(), [[1, 7]])
        self.log(8)
        pulls = self.cache.pulls
        begun(connector.broadcast(8, b"8", True, self.places[8]))
        self.assertEqual(self.got(), [[8]])
        self.assertEqual(self.cache.pulls, pulls)

    def test_message_to_some_leaves_no_gap_for_the_others_once_all_whom_it_is_for_have_it(self) -> None:
        self.log(7, 8, 9)
        self.assertEqual(self.deliver(7, "a"), [])
        self.deliver(7)
        self.broadcast(8)
        self.assertEqual(self.deliver(9, "plain", "b"), [])
        self.assertEqual(self.got(), [[7, 8], [8, 9], [8, 9]])
        self.assertEqual(self.cache.pulls, self.pulls)

    def test_before_it_is_said_that_all_have_it_others_look_into_the_cache(self) -> None:
        self.log(7, 8)
        self.deliver(7, "a")
        self.broadcast(8)
        got = self.got()
        self.assertEqual(got[0], [7, 8])
        self.assertEqual(self.cache.pulls, self.pulls + 2)
        self.deliver(7)  # late

    def test_that_all_have_them_may_be_said_in_another_order(self) -> None:
        self.log(7, 8, 9)
        self.deliver(8)
        self.deliver(7)
        self.broadcast(9)
        self.assertEqual(self.got(), [[9]] * 3)
        self.assertEqual(self.cache.pulls, self.pulls)

    def test_no_more_than_so_many_are_remembered_that_came_too_early(self) -> None:
        self.log(*range(7, 7 + 300))
        for each in range(8, 7 + 300):
            self.deliver(each)
        self.assertLessEqual(len(self.connector._delivering._passed_by), 256)

    def test_the_first_that_was_not_for_all_makes_known_where_the_sessions_are(self) -> None:
        connector, _, _ = make_connector(self.clock, self.cache)
        self.connector, self.clients = connector, []
        for token in ("x", "y"):
            client = Client(connector, self.clock)
            client.send(Signal.SUB, json.dumps({"token": token, "ack": True}).encode())
            self.clients.append(client)
        self.got()
        self.log(7)
        self.deliver(7)
        self.got()
        self.log(8)
        pulls = self.cache.pulls
        self.assertEqual(self.deliver(8, "y"), [])
        self.assertEqual(self.got(), [[], [8]])
        self.assertEqual(self.cache.pulls, pulls)

    def test_what_is_kept_for_a_token_follows_a_broadcast_without_a_pull_and_waits_for_one_that_is_missing(
        self,
    ) -> None:
        self.log(7)
        self.broadcast(7)
        keeping = self.successResultOf(begun(self.cache.keep([Keep(10, b"10", ("a",), EXPIRES_MS)])))
        at = keeping.places[0].position
        self.deliver_kept(10, Place(at, (0,), self.logged))
        self.assertEqual(self.got(), [[7, 10], [7], [7]])
        acknowledgement = b"".join(map(ID.pack, (1, 7, 10)))  # the window is small here
        self.clients[0].send(Signal.PUB_ACK, acknowledgement, subsignal=SubSignal.MN)
        self.assertEqual(self.cache.pulls, self.pulls)
        self.log(8)
        self.successResultOf(begun(self.cache.keep([Keep(11, b"11", ("a",), EXPIRES_MS)])))
        self.deliver_kept(11, Place(1_000, (at,), self.logged))
        self.assertEqual(self.got(), [[8, 11], [], []])

    def deliver_kept(self, message_id: int, place: Place) -> None:
        """A message that is kept for `a` arrives."""
        delivery = Delivery(message_id, b"%d" % message_id, ("a",), True, place=place)
        self.successResultOf(begun(self.connector.deliver([delivery])))


class OvertakenTests(SynchronousTestCase):
    """Answers to SUBs that come late."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connector, self.subscribe, _ = make_connector(self.clock)
        self.answers: list[tuple[Any, Registration]] = []
        self.epoch = 0

        async def slow_open(request: Any, connector: str) -> Registration:
            from twisted.internet.defer import Deferred

            self.epoch += 1
            answer: Deferred[Registration] = Deferred()
            self.answers.append((answer, Registration(request.token, None, connector, self.epoch)))
            return await answer

        self.patch(self.subscribe, "open", slow_open)

    def begin(self) -> Client:
        """A client asks for the session of `t`."""
        client = Client(self.connector, self.clock)
        client.send(Signal.SUB, json.dumps({"token": "t"}).encode())
        return client

    def answer(self, number: int) -> None:
        """One is answered."""
        answer, registration = self.answers[number]
        answer.callback(registration)
        self.clock.advance(0)

    def test_session_replaced_elsewhere_before_its_answer_came_is_closed_at_once(self) -> None:
        client = self.begin()
        self.successResultOf(begun(self.connector.replaced([Registration("t", None, ADDRESS, 1)])))
        self.answer(0)
        self.assertEqual(client.goodbye()["code"], 3500)
        self.assertTrue(client.is_ended)
        self.assertEqual(self.connector.connections.sessions, 0)

    def test_session_newer_than_the_one_that_was_replaced_is_opened(self) -> None:
        first = self.begin()
        client = self.begin()
        self.successResultOf(begun(self.connector.replaced([Registration("t", None, ADDRESS, 1)])))
        self.answer(1)
        self.answer(0)
        self.assertEqual(client.goodbye(), {})
        self.assertEqual(first.goodbye()["code"], 3500)

    def test_older_of_two_answers_that_come_the_wrong_way_round_undoes_nothing(self) -> None:
        older, newer = self.begin(), self.begin()
        self.answer(1)
        self.answer(0)
        self.assertEqual(older.goodbye()["code"], 3500)
        self.assertFalse(newer.is_ended)
        self.assertIs(self.connector.connections.by_token["t"], newer.protocol)
