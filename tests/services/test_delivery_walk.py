"""Random walks through everything that can happen between acceptance and delivery, on simulated time and disk.

Router, cache, connector and clients are the real ones; the disk may be slow, fail or lose what it was not told to
keep, connections break with unread messages in them, and the process dies. Then all is well again, and the
promises of docs/delivery.md are looked at: nothing accepted is lost, nothing overtakes, nothing comes twice.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.model import Options, PushRequest, PushResult, Store, TagQuery, ToAll, ToTags, ToTokens
from push.model_cache import CacheLimits
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from push.services.cache import in_turn, placing
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

WALKS = 120
STEPS = 150
START_S = 1_800_000_000.0
ACKS = ("ack0", "ack1", "ack2")
PLAIN = ("plain0", "plain1")
TOKENS = (*ACKS, *PLAIN)
TAGGED = ("ack0", "ack2", "plain1")
HOUR_S = 3_600


@dataclass(eq=False)
class Pushed:
    """One message, from the sender's side."""

    number: int
    targets: Sequence[str]
    is_kept: bool
    is_logged: bool
    began: int
    ended: int | None = None
    result: object = None

    @property
    def is_accepted(self) -> bool:
        """Whether the sender was told so."""
        return isinstance(self.result, PushResult)


@dataclass(eq=False)
class Device:
    """One token, from its user's side: what it has got over all of its connections."""

    token: str
    client: Client | None = None
    got: list[int] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)
    in_session: set[int] = field(default_factory=set)
    unacknowledged: list[int] = field(default_factory=list)

    @property
    def acks(self) -> bool:
        """Whether it acknowledges."""
        return self.token in ACKS


class Life:
    """The disk, as one process has it: when that is killed, nothing it does reaches the disk, nor any answer it."""

    def __init__(self, disk: MemoryCacheStore) -> None:
        self._disk = disk
        self._is_over = False

    def end(self) -> None:
        """The process is killed; what was on its way to the disk never happened."""
        self._is_over = True

    def __getattr__(self, name: str) -> Any:
        return self._never if self._is_over else getattr(self._disk, name)

    def _never(self, *args: object) -> "Deferred[Any]":
        return Deferred()


class Walk:
    """One walk.

    Args:
        seed: of all its choices.
        test: complains.
    """

    def __init__(self, seed: int, test: SynchronousTestCase) -> None:
        self.random = random.Random(seed)
        self.test = test
        self.clock = Clock()
        self.clock.advance(START_S)
        self.disk = MemoryCacheStore()
        self.tokens = MemoryTokenStore()
        self.pushed: list[Pushed] = []
        self.devices = {token: Device(token) for token in TOKENS}
        self.step = 0
        self.crashes = 0
        self.floor_ms = 0
        self.trace: list[str] = []
        self.dead: list[object] = []
        self.start()
        for token in TOKENS:  # so that all are registered
            self.connect(token)
        self.settle()

    def now_ms(self) -> int:
        """The time of day."""
        return round(self.clock.seconds() * 1000)

    def start(self) -> None:
        """A process begins, on what is on disk."""
        self.subscribe = Subscribe(store=self.tokens, authenticator=OpenDoor(), now_ms=self.now_ms)
        self.life = Life(self.disk)
        self.cache = Cache(
            store=self.life,
            receipts=MemoryReceipts(),
            subscribe=self.subscribe,
            clock=self.clock,
            now_ms=self.now_ms,
            limits=CacheLimits(),
        )
        self.cache.startService()
        self.connector = Connector(
            address=ADDRESS,
            limits=LIMITS,
            subscribe=self.subscribe,
            cache=self.cache,
            clock=self.clock,
            now_ms=self.now_ms,
            version="test",
        )
        ids = MessageIds(node=0, now_ms=self.now_ms)
        ids.raise_floor(self.floor_ms)
        ids.is_ready = True
        self.ids = ids
        self.router = Router(
            subscribe=self.subscribe,
            nodes=LocalNodes(self.connector),
            cache=self.cache,
            receipts=MemoryReceipts(),
            ids=ids,
        )

    # What can happen

    def push(self) -> None:
        """Somebody sends one message, or several in one call."""
        requests, batch = [], []
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            number = len(self.pushed)
            target, targets, is_logged = self.target()
            ttl_s = self.random.choice((HOUR_S, HOUR_S, HOUR_S, 0)) if not is_logged else HOUR_S
            store = self.random.choice((Store.IF_OFFLINE,) * 4 + (Store.ALWAYS,))
            options = Options(store=store) if store is Store.ALWAYS else Options()
            request = PushRequest(target, b"%d" % number, ttl_s)
            if store is Store.ALWAYS:
                request = PushRequest(target, b"%d" % number, ttl_s, options=options)
            requests.append(request)
            pushed = Pushed(number, targets, ttl_s > 0, is_logged, self.step)
            self.pushed.append(pushed)
            batch.append(pushed)
        work = Deferred.fromCoroutine(self.router.push(requests))
        crashes = self.crashes

        def ended(results: Any) -> None:
            if crashes == self.crashes:
                for at, pushed in enumerate(batch):
                    pushed.ended = self.step
                    pushed.result = results[at] if isinstance(results, list) else results

        work.addBoth(ended)

    def target(self) -> tuple[Any, Sequence[str], bool]:
        """To whom."""
        choice = self.random.random()
        if choice < 0.7:
            token = self.random.choice(TOKENS)
            return ToTokens((token,)), (token,), False
        if choice < 0.85:
            some = tuple(self.random.sample(TOKENS, 3))
            return ToTokens(some), some, False
        if choice < 0.93:
            return ToAll(), TOKENS, True
        return ToTags(TagQuery(any=("t",))), TAGGED, True

    def connect(self, token: str | None = None) -> None:
        """A device opens a session; perhaps it has one already, and that is replaced."""
        device = self.devices[token or self.random.choice(TOKENS)]
        self.drop(device, reads_first=self.random.random() < 0.5)
        client = device.client = Client(self.connector, self.clock)
        device.in_session = set()
        acks = b',"ack":true' if device.acks else b""
        tags = b',"tags":["t"]' if device.token in TAGGED else b""
        client.send(Signal.SUB, b'{"token":"%s"%s%s}' % (device.token.encode(), acks, tags))

    def disconnect(self) -> None:
        """A connection breaks; what is in it unread is lost."""
        self.drop(self.devices[self.random.choice(TOKENS)], reads_first=self.random.random() < 0.5)

    def drop(self, device: Device, *, reads_first: bool) -> None:
        """End a device's connection."""
        if reads_first:
            self.read(device)
        client, device.client = device.client, None
        device.unacknowledged = []
        if client is not None and client.protocol.transport is not None:
            client.hang_up()

    def read_some(self) -> None:
        """A device reads what has come."""
        self.read(self.devices[self.random.choice(TOKENS)])

    def read(self, device: Device) -> None:
        """Look at what came: nothing twice in a session, and to who does not acknowledge nothing twice at all."""
        if device.client is None:
            return
        for frame in device.client.frames():
            if frame.signal != Signal.PUSH:
                continue
            number = int(frame.body[ID.size :] if device.acks else frame.body)
            self.test.assertNotIn(number, device.in_session, f"{device.token} got {number} twice in a session")
            device.in_session.add(number)
            if device.acks:
                device.unacknowledged.append(ID.unpack(frame.body[: ID.size])[0])
            if number not in device.ids:
                device.ids.add(number)
                device.got.append(number)
            else:
                self.test.assertTrue(
                    device.acks or (self.pushed[number].is_kept and self.crashes),
                    f"{device.token} does not acknowledge, and got {number} twice",
                )

    def acknowledge(self) -> None:
        """A device acknowledges some of what it has."""
        device = self.devices[self.random.choice(ACKS)]
        self.acknowledge_some(device, self.random.randint(1, 4))

    def acknowledge_some(self, device: Device, count: int) -> None:
        """Send one PUB_ACK, for the first ids or for any."""
        if device.client is None or not device.unacknowledged:
            return
        if self.random.random() < 0.5:
            self.random.shuffle(device.unacknowledged)
        some, device.unacknowledged = device.unacknowledged[:count], device.unacknowledged[count:]
        device.client.send(Signal.PUB_ACK, b"".join(map(ID.pack, some)), subsignal=SubSignal.MN)

    def pause(self) -> None:
        """A device stops reading, or reads on."""
        client = self.devices[self.random.choice(TOKENS)].client
        if client is not None and client.protocol.transport is not None:
            self.random.choice((client.stop_reading, client.read_on))()

    def turn(self) -> None:
        """The reactor turns."""
        self.clock.advance(0)

    def wait(self) -> None:
        """Time passes."""
        self.clock.advance(self.random.choice((0.01, 0.3, 1.1)))

    def hold_disk(self) -> None:
        """The disk is slow from now on."""
        self.disk.is_held = True

    def release_disk(self) -> None:
        """The disk has written, and is quick."""
        self.disk.is_held = False
        self.disk.release()

    def release_one(self) -> None:
        """The disk has written one transaction."""
        self.disk.release(1)

    def break_disk(self) -> None:
        """The disk is full."""
        self.disk.failure = Unavailable("the disk is full")
        self.disk.release()

    def mend_disk(self) -> None:
        """There is room again."""
        self.disk.failure = None

    def look_at_places(self) -> None:
        """The connector tells the cache what sessions have."""
        self.connector.log_places.look()

    def crash(self) -> None:
        """The process is killed: what was not on disk is gone, and so are all connections."""
        self.crashes += 1
        self.floor_ms = self.ids.last_ms + 10_000
        self.life.end()
        # Kept, as what is collected while it waits would run its last clauses.
        self.dead.append((self.cache, self.connector, self.router, self.disk.cut_power()))
        self.disk.failure = None
        for call in self.clock.getDelayedCalls():
            call.cancel()
        for device in self.devices.values():
            reads = self.random.random() < 0.5
            if reads and device.client is not None:
                self.read(device)
            device.client, device.unacknowledged = None, []
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.start()

    def settle(self) -> None:
        """Until nothing happens any more that needs no time."""
        for _ in range(60):
            self.clock.advance(0)

    def run(self) -> None:
        """Walk."""
        moves = [
            (self.push, 30),
            (self.connect, 8),
            (self.disconnect, 6),
            (self.read_some, 12),
            (self.acknowledge, 12),
            (self.pause, 3),
            (self.turn, 15),
            (self.wait, 4),
            (self.hold_disk, 3),
            (self.release_disk, 3),
            (self.release_one, 4),
            (self.break_disk, 1),
            (self.mend_disk, 3),
            (self.look_at_places, 1),
            (self.crash, 1),
        ]
        for self.step in range(STEPS):
            (move,) = self.random.choices([each for each, _ in moves], [weight for _, weight in moves])
            self.trace.append(move.__name__)
            move()
        self.heal()
        self.check()

    def heal(self) -> None:
        """All is well, everybody comes, reads and acknowledges, until nothing comes any more."""
        self.mend_disk()
        self.release_disk()
        self.step += 1
        for token in TOKENS:
            self.settle()
            self.connect(token)
        quiet = 0
        for _ in range(400):
            before = sum(len(device.in_session) for device in self.devices.values())
            self.settle()
            self.clock.advance(1)
            for device in self.devices.values():
                self.read(device)
                self.acknowledge_some(device, 100)
            self.settle()
            quiet = 0 if before != sum(len(device.in_session) for device in self.devices.values()) else quiet + 1
            if quiet == 5:
                return
        self.test.fail("messages keep coming")

    # What was promised

    def check(self) -> None:
        """Look at all promises."""
        kept = next(s.value for s in self.cache.samples() if s.name == "push_cache_messages")
        self.test.assertEqual(kept, 0, "a message is left in the cache of a connected client")
        for device in self.devices.values():
            self.check_order(device)
            if device.acks:
                lost = [
                    each.number
                    for each in self.pushed
                    if each.is_accepted and each.is_kept and device.token in each.targets
                    if each.number not in device.ids
                ]
                self.test.assertEqual(lost, [], f"{device.token} never got what was accepted")
            strangers = [number for number in device.got if device.token not in self.pushed[number].targets]
            self.test.assertEqual(strangers, [], "what was meant for others")

    def check_order(self, device: Device) -> None:
        """What was answered before something else was sent came before it.

        Where nobody acknowledges, what was handed over and lost in a connection comes once more after a crash that
        took the note of it: too late, but better than never.
        """
        if self.crashes and not device.acks:
            return
        latest_began = -1
        latest: Pushed | None = None
        for number in device.got:
            each = self.pushed[number]
            if latest is not None and each.is_accepted and each.ended is not None and each.ended < latest_began:
                self.test.fail(f"{device.token} got {each.number} after {latest.number}, which was sent later")
            if each.began > latest_began:
                latest_began, latest = each.began, each


class DeliveryWalks(SynchronousTestCase):
    """Many walks, each from its own seed."""

    def walk(self, seed: int) -> None:
        """One of them; a failure names it."""
        walk = Walk(seed, self)
        try:
            walk.run()
        except BaseException as error:
            raise self.failureException(f"seed {seed}, step {walk.step}: {error}") from error

    def test_nothing_accepted_is_lost_overtaken_or_repeated(self) -> None:
        for seed in range(WALKS):
            self.walk(seed)

    def test_nor_where_what_is_for_several_tokens_is_kept_over_several_turns(self) -> None:
        for module in (in_turn, placing):
            self.patch(module, "PART", 1)
        self.patch(in_turn, "SLICE_S", 0.0)
        for seed in range(WALKS, WALKS + WALKS // 3):
            self.walk(seed)
