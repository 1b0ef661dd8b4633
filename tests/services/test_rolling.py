"""A rolling restart of three connectors under load, in simulated time: nothing is lost, late or cut off.

Router, cache, connectors, allocation and draining are the real ones. Clients do what docs/protocol.md says of 302.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from push.inodes import INodes
from push.ipush import IConnector
from push.model import PushRequest, PushResult, ToTokens
from push.model_cache import CacheLimits
from push.model_cluster import Node
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from push.services.allocation import PolledPlaces, address_of, draw
from push.services.cache.cache import Cache
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.draining import Draining
from push.services.ids import MessageIds
from push.services.router import Router
from push.services.subscribe import Subscribe
from tests.fakes_cache import MemoryReceipts
from tests.fakes_store import MemoryCacheStore, MemoryTokenStore
from tests.services.clients import LIMITS, Client

ADDRESSES = ("10.0.0.1:6789", "10.0.0.2:6789", "10.0.0.3:6789")
DEVICES = 60
STEP_S = 0.05


@implementer(INodes)
class Three:
    """The connectors that are up."""

    def __init__(self) -> None:
        self.up: dict[str, IConnector] = {}

    def connectors(self) -> Mapping[str, IConnector]:
        """See INodes."""
        return self.up


@dataclass(eq=False)
class Device:
    """One token: where it is, what it has got, and how its sessions ended."""

    token: str
    acks: bool
    client: Client | None = None
    address: str = ""
    moves_s: float = 0.0
    moves_to: str | None = None
    got: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    goodbyes: list[int] = field(default_factory=list)
    redirects: int = 0


class RollingTests(SynchronousTestCase):
    """One connector after the other is drained, stopped and started again."""

    def setUp(self) -> None:
        self.random = Random(7)
        self.clock = Clock()
        self.clock.advance(1_800_000_000.0)
        self.nodes = Three()
        self.subscribe = Subscribe(
            store=MemoryTokenStore(), authenticator=OpenDoor(), now_ms=self.now_ms, replaced=self.replaced
        )
        self.cache = Cache(
            store=MemoryCacheStore(),
            receipts=MemoryReceipts(),
            subscribe=self.subscribe,
            clock=self.clock,
            now_ms=self.now_ms,
            limits=CacheLimits(),
        )
        self.cache.startService()
        ids = MessageIds(node=0, now_ms=self.now_ms)
        ids.is_ready = True
        self.router = Router(
            subscribe=self.subscribe, nodes=self.nodes, cache=self.cache, receipts=MemoryReceipts(), ids=ids
        )
        self.places = PolledPlaces(self.nodes, clock=self.clock)
        self.draining = Draining(nodes=self.nodes, places=self.places, clock=self.clock)
        self.all: list[Connector] = []
        for address in ADDRESSES:
            self.start(address)
        self.places.startService()
        self.addCleanup(self.places.stopService)
        self.devices = [Device(f"t{number}", acks=number % 3 > 0) for number in range(DEVICES)]
        self.number = 0
        self.unaccepted: list[object] = []
        for device in self.devices:
            self.connect(device, self.random.choice(ADDRESSES))
        self.pass_time(1.0, load=False)

    def now_ms(self) -> int:
        """The time of day."""
        return round(self.clock.seconds() * 1000)

    def replaced(self, registration: Any) -> None:
        """A session has a newer one."""
        connector = self.nodes.up.get(registration.connector)
        if connector is not None:
            Deferred.fromCoroutine(connector.replaced([registration]))  # type: ignore[arg-type]

    def start(self, address: str) -> None:
        """A connector begins."""
        connector = Connector(
            address=address,
            limits=LIMITS,
            subscribe=self.subscribe,
            cache=self.cache,
            clock=self.clock,
            now_ms=self.now_ms,
            version="test",
            elsewhere=lambda protocol: draw(self.places.known(), self.random.random, besides=address),
            fraction=self.random.random,
        )
        self.nodes.up[address] = connector
        self.all.append(connector)

    def connect(self, device: Device, address: str) -> None:
        """A device goes to a connector, if it is up; else to any other."""
        connector = self.nodes.up.get(address)
        if not isinstance(connector, Connector):
            raise AssertionError(f"{device.token} is sent to {address}, where nobody is")
        device.moves_to = None
        device.address = address
        device.client = Client(connector, self.clock)
        device.client.send(Signal.SUB, json.dumps({"token": device.token, "ack": device.acks}).encode(), message_id=1)

    def look(self, device: Device) -> None:
        """A device reads what has come, and does what it is told."""
        if device.client is None:
            return
        for frame in device.client.frames():
            if frame.signal == Signal.PUSH:
                self.take(device, frame.body)
            elif frame.signal == Signal.SUB and json.loads(frame.body)["status"] == 302:
                said = json.loads(frame.body)
                device.redirects += 1
                device.moves_to = f"{said['host']}:{said['port']}"
                device.moves_s = self.clock.seconds() + said["retry_after"]
            elif frame.signal == Signal.DISCONNECT:
                device.goodbyes.append(json.loads(frame.body)["code"])
        if device.moves_to is not None and self.clock.seconds() >= device.moves_s:
            device.client.hang_up()
            self.connect(device, device.moves_to)

    def take(self, device: Device, body: bytes) -> None:
        """A message."""
        number = int(body[ID.size :] if device.acks else body)
        if number not in device.got:
            device.got.append(number)
        if device.acks and device.client is not None:
            device.client.send(Signal.PUB_ACK, body[: ID.size], subsignal=SubSignal.MN)

    def push(self) -> None:
        """Somebody sends a message to somebody."""
        device = self.random.choice(self.devices)
        self.number += 1
        device.sent.append(self.number)
        request = PushRequest(ToTokens((device.token,)), b"%d" % self.number)

        def accepted(results: Any) -> None:
            if not isinstance(results, list) or not isinstance(results[0], PushResult):
                self.unaccepted.append(results)

        Deferred.fromCoroutine(self.router.push([request])).addBoth(accepted)

    def pass_time(self, seconds: float, *, load: bool = True) -> None:
        """Time passes, in which messages are sent and devices look."""
        for _ in range(round(seconds / STEP_S)):
            for _ in range(4 if load else 0):
                self.push()
            self.clock.advance(STEP_S)
            for device in self.devices:
                self.look(device)

    def drain(self, address: str, sessions_per_s: float) -> Node:
        """Drain a connector."""
        drained = Deferred.fromCoroutine(self.draining.drain(address, sessions_per_s))
        self.clock.advance(0)
        (node,) = self.successResultOf(drained)
        return node

    def restart(self, address: str) -> float:
        """Drain, stop and start one; how long it took until it was empty, in seconds."""
        began_s = self.clock.seconds()
        connector = self.nodes.up[address]
        assert isinstance(connector, Connector)
        self.drain(address, 10.0)
        while connector.connections.sessions:
            self.pass_time(0.5)
            self.assertLess(self.clock.seconds() - began_s, 20.0)
        took_s = self.clock.seconds() - began_s
        connector.leave(self.clock.seconds())
        del self.nodes.up[address]
        self.pass_time(2.0)
        self.start(address)
        self.pass_time(2.0)
        return took_s

    def test_nothing_is_lost_and_nobody_is_cut_off(self) -> None:
        self.pass_time(2.0)
        for address in ADDRESSES:
            sessions = len([device for device in self.devices if device.address == address])
            self.assertGreater(sessions, 5)
            took_s = self.restart(address)
            self.assertGreater(took_s, sessions / 10.0 - 0.5)
            self.assertLess(took_s, sessions / 10.0 + 2.5)
        self.pass_time(2.0, load=False)
        self.assertEqual(self.unaccepted, [])
        self.assertGreater(self.number, 1_000)
        for device in self.devices:
            self.assertEqual(device.got, device.sent, device.token)
            self.assertEqual(device.goodbyes, [], device.token)
        self.assertGreaterEqual(sum(device.redirects for device in self.devices), DEVICES)
        self.assertEqual({device.address for device in self.devices} - set(ADDRESSES), set())

    def test_whoever_comes_while_one_is_drained_is_sent_where_it_is_let_in(self) -> None:
        self.drain(ADDRESSES[0], 0.01)
        self.pass_time(1.5)
        for number in range(20):
            device = Device(f"new{number}", acks=True)
            self.devices.append(device)
            self.connect(device, ADDRESSES[0])
        self.pass_time(1.0, load=False)
        for device in self.devices[DEVICES:]:
            self.assertEqual(device.redirects, 1)
            self.assertIn(address_of(device.address), [address_of(each) for each in ADDRESSES[1:]])

    def test_a_second_connector_that_drains_is_no_place_to_send_anybody(self) -> None:
        self.drain(ADDRESSES[0], 100.0)
        self.pass_time(1.5)
        self.drain(ADDRESSES[1], 100.0)
        self.pass_time(5.0)
        self.assertEqual({device.address for device in self.devices}, {ADDRESSES[2]})
