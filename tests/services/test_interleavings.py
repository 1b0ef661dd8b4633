"""Every order in which accepting, connecting, acknowledging, disconnecting, expiring, writing and a crash can come.

A sender, a client, a disk and fate have a few steps each, in their order; these are put together in every way there is,
once so that the reactor is idle after each step and once so that it has turned but once: then tokens are still looked
up, and sessions not yet open, when the next step comes. Router, cache and connector are the real ones. With
PUSH_INTERLEAVINGS=all, fate also has both a crash and expiry, which are four times as many ways.
test_delivery_walk.py goes further, but by chance.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model import PushRequest, PushResult, ToTokens
from push.model_cache import CacheLimits
from push.model_subscribe import TokenInfo
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from push.services.cache.cache import Cache
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.ids import MessageIds
from push.services.nodes import LocalNodes
from push.services.router import Router
from push.services.subscribe import Subscribe
from tests.fakes_cache import MemoryReceipts
from tests.fakes_store import MemoryCacheStore, MemoryTokenStore
from tests.services.clients import ADDRESS, LIMITS, Client
from tests.services.test_delivery_walk import Life

START_S = 1_800_000_000.0
TOKEN = "t"
TTL_S = 10

SENDER = ("accept", "accept")
CLIENT = ("connect", "acknowledge", "disconnect")
DISKS = (("write",), ("fail",))
FATES: tuple[tuple[str, ...], ...] = (("crash",), ("expire",))
if os.environ.get("PUSH_INTERLEAVINGS") == "all":
    FATES = (*FATES, ("crash", "expire"), ("expire", "crash"))


def interleavings(programs: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """All ways to put programs together, each in its own order."""
    if not any(programs):
        yield ()
    for at, program in enumerate(programs):
        if program:
            rest = [*programs[:at], program[1:], *programs[at + 1 :]]
            yield from (((program[0], *others)) for others in interleavings(rest))


class SlowTokens(MemoryTokenStore):
    """Tokens on a disk: answers come in the next turn."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def known(self, tokens: Sequence[str]) -> "Deferred[frozenset[str]]":
        """Which of these are registered."""
        return self._later(super().known(tokens))

    def register(self, *args: Any, **options: Any) -> "Deferred[TokenInfo]":
        """Create a token or update it."""
        return self._later(super().register(*args, **options))

    def _later(self, answer: "Deferred[Any]") -> "Deferred[Any]":
        later: Deferred[Any] = Deferred()
        self._clock.callLater(0, answer.chainDeferred, later)
        return later


class World:
    """One token, and everything between a sender and its client."""

    def __init__(self, test: SynchronousTestCase, *, acks: bool, is_idle: bool) -> None:
        self.test = test
        self.acks = acks
        self.is_idle = is_idle
        self.clock = Clock()
        self.clock.advance(START_S)
        self.disk = MemoryCacheStore()
        self.tokens = SlowTokens(self.clock)
        self.client: Client | None = None
        self.results: dict[int, object] = {}
        self.sent = self.floor_ms = 0
        self.due_to_expire: set[int] = set()
        self.got: list[int] = []
        self.in_session: list[int] = []
        self.unacknowledged: list[bytes] = []
        self.has_crashed = False
        self.start()
        self.connect()  # so that the token is registered
        self.settle()
        self.disconnect()
        self.settle()
        self.disk.is_held = True

    def now_ms(self) -> int:
        """The time of day."""
        return round(self.clock.seconds() * 1000)

    def start(self) -> None:
        """A process begins, on what is on disk."""
        subscribe = Subscribe(store=self.tokens, authenticator=OpenDoor(), now_ms=self.now_ms)
        self.life = Life(self.disk)
        receipts = MemoryReceipts()
        store: Any = self.life
        self.cache = Cache(
            store=store,
            receipts=receipts,
            subscribe=subscribe,
            clock=self.clock,
            now_ms=self.now_ms,
            limits=CacheLimits(),
        )
        self.cache.startService()
        self.connector = Connector(
            address=ADDRESS,
            limits=LIMITS,
            subscribe=subscribe,
            cache=self.cache,
            clock=self.clock,
            now_ms=self.now_ms,
            version="test",
        )
        self.ids = MessageIds(node=0, now_ms=self.now_ms)
        self.ids.raise_floor(self.floor_ms)
        self.ids.is_ready = True
        nodes = LocalNodes(self.connector)
        self.router = Router(subscribe=subscribe, nodes=nodes, cache=self.cache, receipts=receipts, ids=self.ids)

    def settle(self) -> None:
        """Until nothing happens any more that needs neither time nor the disk."""
        for _ in range(12):
            self.clock.advance(0)

    # Steps

    def do(self, step: str) -> None:
        """One of them, and what the reactor makes of it."""
        getattr(self, step)()
        if self.is_idle:
            self.settle()
        else:
            self.clock.advance(0)

    def accept(self) -> None:
        """A message is sent."""
        number = self.sent
        self.sent += 1
        work = Deferred.fromCoroutine(self.router.push([PushRequest(ToTokens((TOKEN,)), b"%d" % number, TTL_S)]))
        work.addCallbacks(partial(self.answered, number), lambda failure: None)

    def answered(self, number: int, results: Sequence[object]) -> None:
        """Its sender is told what became of it."""
        (self.results[number],) = results

    def connect(self) -> None:
        """The client opens a session."""
        self.client = Client(self.connector, self.clock)
        self.in_session = []
        self.client.send(Signal.SUB, b'{"token":"%s"%s}' % (TOKEN.encode(), b',"ack":true' if self.acks else b""))

    def read(self) -> None:
        """It looks at what came: in order, and nothing twice in a session."""
        for frame in self.client.frames() if self.client is not None else ():
            if frame.signal == Signal.PUSH:
                number = int(frame.body[ID.size :] if self.acks else frame.body)
                self.test.assertTrue(all(number > earlier for earlier in self.in_session), (number, self.in_session))
                self.test.assertTrue(self.acks or self.has_crashed or number not in self.got, (number, self.got))
                self.in_session.append(number)
                self.got.append(number)
                if self.acks:
                    self.unacknowledged.append(frame.body[: ID.size])

    def acknowledge(self) -> None:
        """It acknowledges the oldest that it has."""
        self.read()
        if self.client is not None and self.unacknowledged:
            self.client.send(Signal.PUB_ACK, self.unacknowledged.pop(0), subsignal=SubSignal.MN)

    def disconnect(self) -> None:
        """The connection breaks."""
        self.read()
        client, self.client, self.unacknowledged = self.client, None, []
        if client is not None:
            client.hang_up()

    def write(self) -> None:
        """The disk has written a transaction."""
        self.disk.release(1)

    def fail(self) -> None:
        """It could not."""
        self.disk.failure = Unavailable("the disk is full")
        self.disk.release(1)
        self.disk.failure = None

    def expire(self) -> None:
        """What was sent before this is over."""
        self.read()
        self.due_to_expire.update(range(self.sent))
        self.clock.advance(TTL_S + 3)

    def crash(self) -> None:
        """The process is killed; who waits for an answer gets none."""
        self.read()
        self.has_crashed = True
        self.floor_ms = self.ids.last_ms + 10_000
        self.life.end()
        # Kept, as what is collected while it waits would run its last clauses.
        self.dead = (self.cache, self.connector, self.router, self.disk.cut_power())
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.client, self.unacknowledged = None, []
        self.disk.is_held = True
        self.start()

    # What was promised

    def check(self) -> None:
        """All is well again, the client comes back, reads and acknowledges: then look."""
        self.disk.is_held = False
        self.disk.release()
        self.settle()
        if self.client is None:
            self.connect()
        for _ in range(4):
            self.settle()
            self.read()
            while self.unacknowledged:
                self.acknowledge()
            self.clock.advance(1)
        equal = self.test.assertEqual
        accepted = {number for number, result in self.results.items() if isinstance(result, PushResult)}
        equal(accepted - self.due_to_expire - set(self.got), set(), "accepted, and lost")
        first_times = list(dict.fromkeys(self.got))
        equal(first_times, sorted(first_times), "order")
        if not self.has_crashed:
            equal(len(self.results), self.sent, "somebody was never answered")
        samples = {sample.name: sample.value for sample in self.cache.samples()}
        equal((samples["push_cache_messages"], samples["push_cache_bytes"]), (0, 0), "left in the cache")
        self.settle()
        equal((self.disk._messages, self.disk._done), ({}, set()), "left on disk")


class InterleavingTests(SynchronousTestCase):
    """All of them."""

    def test_there_are_as_many_as_there_can_be(self) -> None:
        self.assertEqual(list(interleavings(("ab", "c"))), [("a", "b", "c"), ("a", "c", "b"), ("c", "a", "b")])
        ways = list(interleavings((SENDER, CLIENT, DISKS[0], FATES[0])))
        # 7! / (2! 3!), of which those that differ only in which message is which are the same.
        self.assertEqual((len(ways), len(set(ways))), (420, 420))

    def go_through(self, *, acks: bool, is_idle: bool) -> None:
        """Each from an empty server."""
        for disk in DISKS:
            for fate in FATES:
                for steps in interleavings((SENDER, CLIENT, disk, fate)):
                    world = World(self, acks=acks, is_idle=is_idle)
                    try:
                        for step in steps:
                            world.do(step)
                        world.check()
                    except BaseException as error:
                        raise self.failureException(f"{' '.join(steps)}: {error}") from error

    def test_with_acknowledgements_and_an_idle_reactor(self) -> None:
        self.go_through(acks=True, is_idle=True)

    def test_with_acknowledgements_and_a_busy_reactor(self) -> None:
        self.go_through(acks=True, is_idle=False)

    def test_without_acknowledgements_and_an_idle_reactor(self) -> None:
        self.go_through(acks=False, is_idle=True)

    def test_without_acknowledgements_and_a_busy_reactor(self) -> None:
        self.go_through(acks=False, is_idle=False)
