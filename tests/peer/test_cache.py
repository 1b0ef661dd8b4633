"""The cache over a link: a connector elsewhere brings what was kept, and says what clients have."""

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from push.errors import Unavailable
from push.icache import IPulling
from push.model import Delivery, Registration
from push.model_cache import Cursor, Keep
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from tests.peer.linked import NAME, House, Worker
from tests.services.clients import Client


class CacheTests(SynchronousTestCase):
    """One worker, linked to a house with a cache."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.house = House(self.clock)
        self.worker = Worker(self.house).join()

    def run_work(self, work: Any) -> Any:
        """Await something that needs the link."""
        running = Deferred.fromCoroutine(_awaited(work))
        self.settle()
        return self.successResultOf(running)

    def settle(self) -> None:
        """Let the link come to rest, and what is told only now and then be told."""
        self.worker.settle()
        self.clock.advance(1)
        self.worker.settle()

    def keep(self, message_id: int, payload: bytes, *tokens: str) -> None:
        """Keep a message for tokens."""
        self.run_work(self.house.cache.keep([Keep(message_id, payload, tokens, 2_000_000_000_000)]))

    def come(self, **sub: Any) -> Client:
        """A client that opens a session; nothing of what it gets is read yet."""
        client = Client(self.worker.connector, self.clock)
        client.send(Signal.SUB, json.dumps(sub).encode())
        self.settle()
        return client

    def bodies(self, client: Client) -> list[bytes]:
        """The messages that a client got, in order, behind the answer to its SUB."""
        return [frame.body for frame in client.frames() if frame.signal == Signal.PUSH]

    def test_it_is_what_a_connector_needs_of_the_cache(self) -> None:
        verifyObject(IPulling, self.worker.cache)

    def test_what_was_kept_comes_when_the_client_comes_and_is_then_kept_no_more(self) -> None:
        self.keep(1, b"one", "t")
        self.keep(2, b"two", "t")
        client = self.come(token="t")
        self.assertEqual(self.bodies(client), [b"one", b"two"])
        self.assertEqual(self.house.cache.of("t"), [])

    def test_what_a_client_acknowledges_is_kept_no_more(self) -> None:
        self.keep(1, b"one", "t")
        client = self.come(token="t", ack=True)
        self.assertEqual(self.bodies(client), [ID.pack(1) + b"one"])
        self.assertEqual(self.house.cache.of("t"), [b"one"])
        client.send(Signal.PUB_ACK, ID.pack(1), subsignal=SubSignal.MN)
        self.settle()
        self.assertEqual(self.house.cache.of("t"), [])

    def test_more_acknowledgements_than_an_envelope_takes_are_told_before_what_is_asked_next(self) -> None:
        self.keep(1, b"one", "t")
        lone = ("a" * 32, range(2**62, 2**62 + 1_000_000))
        batch = [lone, *((f"{number:032}", range(2**62, 2**62 + 8_000)) for number in range(260))]
        pulled: list[Any] = []

        async def pull() -> None:
            page = await self.worker.cache.pull(Registration("t", None, NAME, 1, True), Cursor(), 9, 9)
            pulled.append(list(page.messages))

        told = Deferred.fromCoroutine(_awaited(self.worker.cache.acknowledged([*batch, ("t", (1,))])))
        asked = Deferred.fromCoroutine(pull())
        self.worker.settle(turns=1_000)
        for each in (told, asked):
            self.successResultOf(each)
        self.assertEqual(pulled, [[]])

    def test_the_cache_is_not_asked_for_a_session_without_anything_kept(self) -> None:
        self.come(token="t")
        self.assertEqual(self.house.cache.pulls, 0)
        self.keep(1, b"one", "t")
        self.come(token="t")
        self.assertGreater(self.house.cache.pulls, 0)

    def test_what_was_told_of_one_session_is_not_believed_of_another(self) -> None:
        cache = self.worker.cache
        cache.opened("a", False)
        self.assertTrue(cache.has("b"))
        cache.opened("a", False)
        self.assertEqual([cache.has("a"), cache.has("a")], [False, True])

    def test_a_refill_brings_what_was_kept_for_those_who_are_here(self) -> None:
        client = self.come(token="t")
        self.keep(1, b"one", "t", "elsewhere")
        self.assertEqual(client.pushes(), [])
        self.run_work(self.worker.remote.refill(["t", "elsewhere"]))
        self.assertEqual(self.bodies(client), [b"one"])
        self.assertEqual(self.house.cache.of("elsewhere"), [b"one"])

    def test_what_is_kept_says_so_on_its_way(self) -> None:
        got: list[Delivery] = []
        deliver = self.worker.connector.deliver

        async def note(batch: Any) -> Any:
            got.extend(batch)
            return await deliver(batch)

        self.worker.connector.deliver = note  # type: ignore[method-assign]
        sent = [
            Delivery(1, b"a", ("t",), True),
            Delivery(2, b"b", ("t",), False, True),
            Delivery(3, b"c", ("t", "u"), True, True),
            Delivery(4, None, ("t",), True),
            Delivery(5, None, ("t", "u"), True),
            Delivery(6, b"d", ("t",)),
        ]
        self.run_work(self.worker.remote.deliver(sent))
        self.assertEqual(got, sent)

    def test_a_cache_that_cannot_be_read_is_asked_again(self) -> None:
        self.keep(1, b"one", "t")
        self.house.cache.pull_error = Unavailable("not loaded yet", retry_after_s=1.0)
        client = self.come(token="t")
        self.assertEqual(self.bodies(client), [])
        self.house.cache.pull_error = None
        for _ in range(10):
            self.settle()
        self.assertEqual(self.bodies(client), [b"one"])

    def test_without_a_link_nothing_is_pulled_and_what_clients_have_is_to_be_told_again(self) -> None:
        assert self.worker.link is not None
        self.worker.link.lose("a test")
        registration = Registration("t", None, NAME, 1)
        pulling = Deferred.fromCoroutine(_awaited(self.worker.cache.pull(registration, Cursor(), 1, 1)))
        self.assertIsInstance(self.failureResultOf(pulling).value, Unavailable)
        for telling in (
            self.worker.cache.acknowledged([("t", [1])]),
            self.worker.cache.handed([("t", [1])]),
            self.worker.cache.waiting(["t"]),
        ):
            self.failureResultOf(Deferred.fromCoroutine(_awaited(telling)), Unavailable)
        self.successResultOf(Deferred.fromCoroutine(_awaited(self.worker.cache.moved([("t", 1)]))))


async def _awaited(work: Any) -> Any:
    return await work
