"""The connectors of linked workers as routers see them, over links in memory; and the canary through each of them."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import NotFound
from push.ihealth import IMeasured, IProbe
from push.inodes import ILinkedConnector, INodes
from push.model import Delivery, PushRequest, ToAll, ToConnector, ToTokens
from push.model_health import Check
from push.protocols.wire.signals import CloseCode, Signal
from push.services.canary import Canary
from push.services.ids import MessageIds
from push.services.router import Router
from push.services.worker_nodes import PULL_INTERVAL_S, WorkerNodes
from tests.fakes_cache import MemoryReceipts
from tests.peer.linked import House, Worker
from tests.services.clients import Client

NAMES = ("127.0.0.1:6789#1", "127.0.0.1:6789#2")


class WorkerNodesTests(SynchronousTestCase):
    """Two workers, linked to a router."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.nodes = WorkerNodes(2, least=2, clock=self.clock)
        self.house = House(self.clock)
        self.house.subscribe._replaced = self.nodes.replaced
        self.workers = [Worker(self.house, name) for name in NAMES]
        ids = MessageIds(node=0, now_ms=lambda: 1_800_000_000_000)
        ids.is_ready = True
        self.router = Router(
            subscribe=self.house.subscribe,
            nodes=self.nodes,
            cache=self.house.cache,
            receipts=MemoryReceipts(),
            ids=ids,
        )
        self.canary = Canary(router=self.router, probes=self.nodes.probes, clock=self.clock)

    def join(self) -> None:
        """Both join and serve."""
        for worker in self.workers:
            worker.join()
            arrival = self.house.arrived[worker.name]
            self.nodes.arrived(arrival.connector)
            arrival.link.when_lost(lambda why, name=worker.name: self.nodes.lost(name))  # type: ignore[misc]
            self.nodes.serves(worker.name)
        self.settle()

    def settle(self) -> None:
        """Let both links come to rest."""
        for _ in range(3):
            for worker in self.workers:
                worker.settle()

    def run_work(self, work: Any) -> Any:
        """Await something that needs the links."""
        running = Deferred.fromCoroutine(work)
        self.settle()
        return self.successResultOf(running)

    def checks(self) -> list[Check]:
        """As readiness would ask."""
        return list(self.nodes.checks())

    def test_it_is_ready_when_all_serve(self) -> None:
        verifyObject(INodes, self.nodes)
        verifyObject(IMeasured, self.nodes)
        self.assertEqual(self.checks(), [Check("workers", False, "0 of 2 serve clients")])
        self.join()
        self.assertEqual(self.checks(), [Check("workers", True)])
        for connector in self.nodes.connectors().values():
            verifyObject(ILinkedConnector, connector)
            verifyObject(IProbe, connector.probe)  # type: ignore[attr-defined]
        self.house.arrived[NAMES[0]].link.lose("a test")
        self.assertEqual(self.checks(), [Check("workers", False, "1 of 2 serve clients")])
        self.assertEqual(list(self.nodes.connectors()), [NAMES[1]])

    def test_the_router_reaches_clients_on_both(self) -> None:
        self.join()
        clients = [worker.client() for worker in self.workers]
        tokens = tuple(answer["token"] for _, answer in clients)
        results = self.run_work(
            self.router.push([PushRequest(ToTokens(tokens), b"some"), PushRequest(ToAll(), b"all")])
        )
        self.assertEqual([result.sent for result in results], [2, 2])
        for client, _ in clients:
            self.assertEqual(client.pushes(), [b"some", b"all"])

    def test_a_connector_is_named_by_its_name_or_with_all_others_by_its_address(self) -> None:
        self.join()
        clients = [worker.client()[0] for worker in self.workers]
        for address, reached in ((NAMES[1], [0, 1]), ("127.0.0.1:6789", [1, 1]), ("127.0.0.1", [1, 1])):
            (result,) = self.run_work(self.router.push([PushRequest(ToConnector(address), b"x")]))
            self.assertEqual(result.sent, sum(reached))
            self.assertEqual([len(client.pushes()) for client in clients], reached)
        (error,) = self.run_work(self.router.push([PushRequest(ToConnector("127.0.0.1:6789#3"), b"x")]))
        self.assertIsInstance(error, NotFound)

    def test_a_session_opened_at_the_other_worker_closes_the_first(self) -> None:
        self.join()
        client, answer = self.workers[0].client()
        again, _ = self.workers[1].client(token=answer["token"])
        self.settle()
        self.assertEqual(client.goodbye()["code"], CloseCode.REPLACED)
        (result,) = self.run_work(self.router.push([PushRequest(ToTokens((answer["token"],)), b"x")]))
        self.assertEqual(result.sent, 1)
        self.assertEqual(again.pushes(), [b"x"])

    def test_a_client_that_hops_quickly_keeps_its_last_session(self) -> None:
        self.join()
        _, answer = self.workers[0].client()
        last = None
        for hop in range(1, 8):
            last, _ = self.workers[hop % 2].client(token=answer["token"])
        self.settle()
        (result,) = self.run_work(self.router.push([PushRequest(ToTokens((answer["token"],)), b"x")]))
        self.assertEqual(result.sent, 1)
        assert last is not None
        self.assertEqual(last.pushes(), [b"x"])
        self.assertEqual([worker.connector.connections.sessions for worker in self.workers], [0, 1])

    def test_messages_for_a_lost_worker_are_kept_and_come_at_another(self) -> None:
        self.join()
        _, answer = self.workers[0].client()
        self.house.arrived[NAMES[0]].link.lose("a test")
        (result,) = self.run_work(self.router.push([PushRequest(ToTokens((answer["token"],)), b"x")]))
        self.assertEqual((result.sent, result.cached), (0, 1))
        client = Client(self.workers[1].connector, self.clock)
        client.send(Signal.SUB, b'{"token":"%s"}' % answer["token"].encode())
        self.settle()
        self.assertEqual(client.pushes(), [b"x"])
        self.settle()
        self.assertEqual(self.house.cache.entries, [])

    def push(self, *tokens: str) -> "Deferred[Any]":
        """Push one message to each, in one call."""
        requests = [PushRequest(ToTokens((token,)), token.encode()) for token in tokens]
        return Deferred.fromCoroutine(self.router.push(requests))

    def test_a_token_that_moves_while_the_store_is_asked_for_another_gets_its_message_where_it_is(self) -> None:
        self.join()
        self.workers[0].client(token="t", ack=True)
        known = self.house.store.known
        held: Deferred[Any] = Deferred()
        self.house.store.known = lambda tokens: held  # type: ignore[method-assign]
        pushing = self.push("t", "offline")
        moved, _ = self.workers[1].client(token="t", ack=True)
        self.settle()
        self.house.store.known = known  # type: ignore[method-assign]
        held.callback(frozenset({"offline"}))
        self.settle()
        self.assertEqual([result.targets for result in self.successResultOf(pushing)], [1, 1])
        self.assertEqual([body[8:] for body in moved.pushes()], [b"t"])

    def test_what_was_on_its_way_to_a_worker_that_dies_is_pulled_where_its_client_is_by_then(self) -> None:
        self.join()
        self.workers[0].client(token="t", ack=True)
        pushing = self.push("t")  # written, but never read by the worker
        self.workers[0].cable.server_transport.stream.clear()
        moved = Client(self.workers[1].connector, self.clock)
        moved.send(Signal.SUB, b'{"token": "t", "ack": true}')
        self.settle()
        self.house.arrived[NAMES[0]].link.lose("a test")
        self.settle()
        (result,) = self.successResultOf(pushing)
        self.assertEqual((result.targets, result.cached), (1, 1))
        self.assertEqual([frame.body[8:] for frame in moved.frames() if frame.signal == Signal.PUSH], [b"t"])

    def test_what_is_kept_for_a_client_that_came_back_meanwhile_is_brought_to_it(self) -> None:
        """Located at a worker, kept, and missed there, as the client has a session at the other by then."""
        self.join()
        self.workers[0].client(token="t", ack=True)
        moved = Client(self.workers[1].connector, self.clock)
        keep = self.house.cache.keep

        async def move_first(batch: Any) -> Any:
            moved.send(Signal.SUB, b'{"token": "t", "ack": true}')
            self.workers[1].settle()
            self.house.cache.keep = keep  # type: ignore[method-assign]
            return await keep(batch)

        self.house.cache.keep = move_first  # type: ignore[method-assign]
        pushing = self.push("t")
        self.settle()
        self.assertEqual(len(self.successResultOf(pushing)), 1)
        self.assertEqual([frame.body[8:] for frame in moved.frames() if frame.signal == Signal.PUSH], [b"t"])

    def test_numbers_are_fetched_and_named(self) -> None:
        self.nodes.startService()
        self.addCleanup(self.nodes.stopService)
        self.join()
        self.workers[1].client()
        self.clock.advance(PULL_INTERVAL_S)
        self.settle()
        sessions = {sample.labels: sample.value for sample in self.nodes.samples() if sample.name == "push_sessions"}
        self.assertEqual(sessions, {(("node", NAMES[0]),): 0, (("node", NAMES[1]),): 1})
        self.house.arrived[NAMES[1]].link.lose("a test")
        self.assertEqual({dict(sample.labels)["node"] for sample in self.nodes.samples()}, {NAMES[0]})

    def test_the_canary_goes_through_every_worker(self) -> None:
        self.join()
        self.assertEqual(self.run_work(self.canary.check()), [Check("delivery", True)])

        async def lose(batch: list[Delivery]) -> Any:
            report = await deliver([])
            return type(report)([1] * len(batch), {})

        deliver = self.workers[1].connector.deliver
        patch = self.patch(self.workers[1].connector, "deliver", lose)
        checking = Deferred.fromCoroutine(self.canary.check())
        self.settle()
        self.clock.advance(2.5)
        self.settle()
        (check,) = self.successResultOf(checking)
        self.assertFalse(check.ok)
        self.assertIn(f"{NAMES[1]}: a message to itself did not arrive", check.detail)
        self.assertNotIn(NAMES[0], check.detail)
        patch.restore()
        self.assertEqual(self.run_work(self.canary.check()), [Check("delivery", True)])
