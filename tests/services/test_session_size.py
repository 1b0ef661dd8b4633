"""How many bytes of Python's an idle session is. Whoever adds a member to what each session has will be told here."""

import gc
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from push.ipush import IConnection
from push.protocols.framed import FramedFactory
from push.protocols.wire.frames import encode
from push.protocols.wire.signals import Signal
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.group.whereabouts import SessionTable
from push.services.subscribe import Subscribe
from push.testing.connections import LIMITS
from push.transports.lean_connection import LeanConnection
from tests.fakes_cache import MemoryCache
from tests.fakes_store import MemoryTokenStore

# The connection 176, its transport 80, the session 96, its registration 64, the token's text 96, two numbers of 32:
# CPython 3.11 on 64 bits, measured 2026-11-23. Beside these there are two places in dicts (20 to 40 bytes each),
# one in the list of descriptors, and the token in SQLite's pages. Issue 3 allows 1,024 bytes with all that.
MOST_BYTES = 576
# pymalloc gives out multiples of this.
ALIGNED_BYTES = 16


class Nobody:
    """What a lean connection needs of its port."""

    family = socket.AF_INET
    read_into = [memoryview(bytearray(4096))]  # noqa: RUF012

    def watch(self, descriptor: int, interest: int) -> None:
        """Nothing is polled."""

    def bury(self, connection: LeanConnection, descriptor: int, reason: Failure) -> None:
        """Nothing is closed."""


def parts(thing: Any) -> Iterable[Any]:
    """What an object holds, slots included; the struct that the collector does not know of, too."""
    yield from gc.get_referents(thing)
    for name in getattr(type(thing), "__struct_fields__", ()):
        yield getattr(thing, name)


def reached(thing: Any, borders: Iterable[Any]) -> dict[int, Any]:
    """All objects that can be reached from one, by id, without passing through some."""
    found: dict[int, Any] = {}
    beyond = {id(each) for each in borders}
    left = [thing]
    while left:
        each = left.pop()
        if id(each) in found or id(each) in beyond or isinstance(each, type) or callable(each):
            continue
        found[id(each)] = each
        left += parts(each)
    return found


def rounded(size_bytes: int) -> int:
    """What the allocator takes for it."""
    return -(-size_bytes // ALIGNED_BYTES) * ALIGNED_BYTES


class SessionSize(SynchronousTestCase):
    """Of the framed protocol over the lean transport, as nearly all clients have it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000.1)
        self.table = SessionTable()
        self.subscribe = Subscribe(
            store=MemoryTokenStore(),
            authenticator=OpenDoor(),
            now_ms=lambda: 1_800_000_000_000 + round(self.clock.seconds() * 1000),
            watcher=self.table,
        )
        self.connector = Connector(
            address="127.0.0.1:6789",
            limits=LIMITS,
            subscribe=self.subscribe,
            cache=MemoryCache(),
            clock=self.clock,
            now_ms=lambda: 0,
            version="test",
        )
        self.port = Nobody()
        self.factory = FramedFactory(self.connector)

    def online(self, body: bytes) -> IConnection:
        """A session over a real socket, after its first heartbeat, when nothing waits any more."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        descriptor = os.dup(ours.fileno())
        self.addCleanup(os.close, descriptor)
        ours.close()
        # Numbers as large as a server of many clients has them: up to 256 there is one object for all.
        port = 40_000 + descriptor
        transport = LeanConnection(self.port, descriptor, "127.0.0.1", port)
        protocol = self.factory.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(encode(Signal.SUB, body))
        self.clock.advance(0.01)
        protocol.dataReceived(encode(Signal.PING, message_id=7))
        self.clock.advance(0.01)
        self.assertIsNotNone(protocol.registration)
        return protocol

    def test_an_idle_session_stays_small(self) -> None:
        """Counted is what one session holds and another, opened in the same way, does not."""
        for body in (b"", b"{}", b'{"interval":60000}'):
            one, other = self.online(body), self.online(body)
            borders = (self.connector, self.subscribe, self.port, sys.modules)
            shared = reached(other, borders)
            own = {name: each for name, each in reached(one, borders).items() if name not in shared}
            sizes = sorted((rounded(sys.getsizeof(each)), type(each).__name__) for each in own.values())
            self.assertGreater(len(sizes), 5)
            self.assertLessEqual(sum(size for size, _ in sizes), MOST_BYTES, sizes)

    def test_a_session_is_in_two_tables(self) -> None:
        """Its connection in the connector's, its registration in the subscribe role's: a place is 20 to 40 bytes."""
        connection = self.online(b"")
        registration = connection.registration
        assert registration is not None
        owners = (self.connector, self.connector.connections, self.subscribe, self.table)
        tables = {
            id(table): name
            for owner in owners
            for name, table in vars(owner).items()
            if isinstance(table, dict | list | set) and {registration.token, connection} & set(table)
        }
        self.assertEqual(sorted(tables.values()), ["_online", "by_token"])
