"""What is logged for many reaches the sessions of a cluster in few calls: pushed where they are up to date."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.model import PushRequest, PushResult, TagQuery, Target, ToAll, ToTags, ToTokens
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from tests.cluster.nodes import LEASE_S, LOOK_S, Cluster
from tests.services.clients import Client
from tests.services.holders import begun

TOKENS = tuple(f"t{number}" for number in range(12))
NEWS = TagQuery(any=("news",))
HOUR_S = 3_600


class LoggedTests(SynchronousTestCase):
    """Two routers, three connectors, and a client for each of twelve tokens, of which half have a tag."""

    def setUp(self) -> None:
        self.cluster = Cluster(1)
        self.world = self.cluster.world
        self.world.is_calm = True
        self.world.pass_time(3)
        self.clients: dict[str, Client] = {}
        nodes = list(self.cluster.connectors.values())
        for number, token in enumerate(TOKENS):
            client = self.clients[token] = Client(nodes[number % 3].connector, self.world.clock)
            tags = '"news"' if number % 2 else ""
            client.send(Signal.SUB, b'{"token":"%s","ack":true,"tags":[%s]}' % (token.encode(), tags.encode()))
        self.world.pass_time(4)
        self.pulls = 0
        self.came: dict[str, list[bytes]] = {token: [] for token in TOKENS}
        for holder in self.cluster.holders.values():
            self.patch(holder.holder.cache, "pull", self.counted(holder.holder.cache.pull))
        self.push(b"first", ToAll())
        self.got()
        self.pulls = 0

    def counted(self, pull: Any) -> Any:
        """A pull that is counted."""

        async def counting(*args: Any) -> Any:
            self.pulls += 1
            return await pull(*args)

        return counting

    def push(self, payload: bytes, target: Target, router: str = "router0") -> PushResult:
        """Somebody sends something to be kept."""
        answer = begun(self.cluster.routers[router].router.push([PushRequest(target, payload, HOUR_S)]))
        self.world.pass_time(0.5)
        (result,) = self.successResultOf(answer)
        assert isinstance(result, PushResult), result
        self.read()
        return result

    def got(self) -> dict[str, list[bytes]]:
        """What came since, by token."""
        self.read()
        found, self.came = self.came, {token: [] for token in TOKENS}
        return found

    def read(self) -> None:
        """Clients acknowledge what came: not much may be on its way here."""
        for token, client in self.clients.items():
            bodies = [frame.body for frame in client.frames() if frame.signal == Signal.PUSH]
            self.came[token] += [body[ID.size :] for body in bodies]
            if bodies:
                acks = b"".join(body[: ID.size] for body in bodies)
                client.send(Signal.PUB_ACK, acks, subsignal=SubSignal.MN)
        self.world.pass_time(0.5)

    def test_broadcasts_of_any_router_are_pushed_to_sessions_that_are_up_to_date(self) -> None:
        for number in range(10):
            result = self.push(b"%d" % number, ToAll(), f"router{number % 2}")
            self.assertEqual(result.sent, len(TOKENS))
        self.assertEqual(self.got(), {key: [b"%d" % number for number in range(10)] for key in TOKENS})
        self.assertEqual(self.pulls, 0)

    def test_messages_to_tags_between_them_cost_no_pulls_either(self) -> None:
        self.push(b"1", ToAll())
        self.assertEqual(self.push(b"2", ToTags(NEWS), "router1").sent, 6)
        self.push(b"3", ToAll())
        self.push(b"4", ToTags(NEWS))
        self.push(b"5", ToTags(NEWS), "router1")
        got = self.got()
        self.assertEqual(got["t0"], [b"1", b"3"])
        self.assertEqual(got["t1"], [b"1", b"2", b"3", b"4", b"5"])
        self.assertEqual(self.pulls, 0)

    def test_messages_to_tokens_between_them_cost_no_pulls_either(self) -> None:
        for number in range(4):
            self.push(b"all %d" % number, ToAll())
            self.push(b"one %d" % number, ToTokens(("t1",)))
        expected = [b"%s %d" % (what, number) for number in range(4) for what in (b"all", b"one")]
        self.assertEqual(self.got()["t1"], expected)
        self.assertEqual(self.pulls, 0)

    def test_connector_that_missed_one_pulls_once_and_is_up_to_date_then(self) -> None:
        router, node = self.cluster.routers["router0"], self.cluster.connectors["10.0.0.0:1"]
        link = router.link(node)
        link.is_blocked = True
        link.lose()
        missed = self.push(b"1", ToAll())
        self.assertTrue(missed.is_logged)
        link.unblock()
        self.world.pass_time(2)
        self.pulls = 0
        self.push(b"2", ToAll())
        self.push(b"3", ToAll())
        self.assertEqual(self.got(), {key: [b"1", b"2", b"3"] for key in TOKENS})
        self.assertEqual(self.pulls, 0)  # it pulled when the node with the cache told it

    def test_what_its_router_did_not_live_to_tell_of_is_found_by_the_next(self) -> None:
        cut: list[Any] = []

        async def die() -> None:
            node.kill()
            raise AssertionError("it is dead")

        node = self.cluster.routers["router0"]
        self.patch(node, "refresh", die)  # what is asked between logging it and telling of it
        begun(node.router.push([PushRequest(ToAll(), b"untold", HOUR_S)])).addErrback(cut.append)
        self.world.pass_time(1)
        self.push(b"next", ToAll(), "router1")
        self.push(b"later", ToAll(), "router1")
        self.assertEqual(self.got(), {key: [b"untold", b"next", b"later"] for key in TOKENS})
        self.assertEqual(self.pulls, len(TOKENS))


class EmptiedTests(SynchronousTestCase):
    """Redis loses everything while all nodes run."""

    def test_who_is_online_is_known_again_within_a_renewal_of_a_lease_and_a_moment(self) -> None:
        cluster = Cluster(2)
        world = cluster.world
        world.is_calm = True
        world.pass_time(3)
        clients = {}
        for number, token in enumerate(TOKENS):
            node = list(cluster.connectors.values())[number % 3]
            client = clients[token] = Client(node.connector, world.clock)
            client.send(Signal.SUB, b'{"token":"%s"}' % token.encode())
        world.pass_time(4)
        cluster.stores.empty()
        world.pass_time(LEASE_S / 4 + LOOK_S + 0.2)  # leases are renewed four times in their time; others look then
        for name, router in cluster.routers.items():
            requests = [PushRequest(ToTokens((token,), True), name.encode(), 0) for token in TOKENS]
            answer = begun(router.router.push(requests))
            world.pass_time(0.3)
            results = self.successResultOf(answer)
            self.assertEqual([getattr(each, "sent", each) for each in results], [1] * len(TOKENS))
        for client in clients.values():
            self.assertEqual(client.pushes(), [b"router0", b"router1"])
