"""Two connectors, SQLite and the group role in one process, without waiting; clients that speak the wire protocol."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push.config import Config
from push.group_roles import ChatStores, GroupRole, GroupSeams, build_group
from push.protocols.wire.frames import Frame
from push.protocols.wire.signals import Signal, SubSignal
from push.services.client_auth import OpenDoor
from push.services.connector import Connector
from push.services.group.whereabouts import AskedSessions
from push.services.ids import MessageIds
from push.services.steady_clock import SteadyClock
from push.services.subscribe import Subscribe
from push.stores.redis.client import Redis
from push.stores.sqlite.tokens import TokenStore
from tests.fakes_cache import MemoryCache
from tests.services.clients import LIMITS, Client
from tests.stores.redis.at_once import RedisAtOnce
from tests.stores.test_tokens import make_database

BEGAN_MS = 1_790_000_000_000
# Faster than any test speaks, but for those that want to be refused; who joins and leaves is told where that is tested.
CONFIG = Config(
    chat_requests_per_s=10_000.0, chat_messages_per_s=10_000.0, presence_debounce_s=5.0, group_changes_s=0.0
)


class Nodes:
    """The connectors that there are."""

    def __init__(self, *connectors: Connector) -> None:
        self._connectors = {connector.address: connector for connector in connectors}

    def connectors(self) -> dict[str, Connector]:
        """By address."""
        return self._connectors


class Person(Client):
    """A client with a session.

    Args:
        world: where.
        connector: 0 or 1.
        fields: of its SUB; None: it opens with CONNECT, as this user.
    """

    def __init__(self, world: "World", connector: int = 0, *, connect: str = "", **fields: Any) -> None:
        super().__init__(world.connectors[connector], world.clock)
        self._number = 0
        if connect:
            self.send(Signal.CONNECT, json.dumps({"userName": connect}).encode(), message_id=1)
            (answer,) = self.frames()
            assert answer.subsignal == SubSignal.CONNECTION_ACCEPTED, answer
            self.token: str = json.loads(answer.body)["token"]
        else:
            self.token = self.sub(**fields)["token"]

    def publish(self, subsignal: int, **fields: Any) -> tuple[int, dict[str, Any]]:
        """Ask; the status byte and the JSON of the answer. What else came before it is lost."""
        self._number += 1
        self.send(Signal.PUBLISH, json.dumps(fields).encode(), subsignal=subsignal, message_id=self._number)
        return self.answer(subsignal)

    def answer(self, subsignal: int) -> tuple[int, dict[str, Any]]:
        """The answer to the last request."""
        answers = [frame for frame in self.frames() if frame.signal == Signal.PUB_ACK]
        assert [(frame.subsignal, frame.message_id) for frame in answers] == [(subsignal, self._number)], answers
        return answers[0].body[0], json.loads(answers[0].body[1:])

    def ask(self, subsignal: int, **fields: Any) -> dict[str, Any]:
        """Ask what must be done; the JSON of the answer."""
        status, answer = self.publish(subsignal, **fields)
        assert status == 0, answer
        return answer

    def refused(self, subsignal: int, **fields: Any) -> int:
        """Ask what must not be done; the status."""
        status, answer = self.publish(subsignal, **fields)
        assert status, answer
        assert answer["reason"]
        refusal: int = answer["status"]
        return refusal

    def contact(self, **fields: Any) -> dict[str, Any]:
        """Send a CONTACT; the answer."""
        self._number += 1
        body = json.dumps({"from": self.token, "messageType": 0, **fields}).encode()
        self.send(Signal.CONTACT, body, message_id=self._number)
        (answer,) = (frame for frame in self.frames() if frame.signal == Signal.PUB_ACK)
        assert (answer.subsignal, answer.message_id) == (0, self._number)
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def told(self, signal: int = Signal.PUBLISH) -> list[tuple[int, dict[str, Any]]]:
        """What others did since the last look: subsignal and JSON."""
        notices: list[Frame] = [frame for frame in self.frames() if frame.signal == signal]
        assert all(frame.message_id == 0 for frame in notices)
        return [(frame.subsignal, json.loads(frame.body)) for frame in notices]

    def heard(self) -> list[str]:
        """The texts that others said since the last look."""
        return [body["text"] for subsignal, body in self.told() if subsignal == SubSignal.MN]

    def heard_in_old_form(self) -> list[dict[str, Any]]:
        """The CONTACTs since the last look."""
        return [body for _, body in self.told(Signal.CONTACT)]


class World(SynchronousTestCase):
    """Everything but sockets."""

    # Whether the group role is told of sessions by nobody, and asks each time.
    asks = False
    # Where groups and conversations are: each test in one subclass with another answer.
    in_redis = False
    # Whether each connector asks a group role of its own; only with the two above.
    has_two_nodes = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000)
        self.make()

    def make(self, **settings: Any) -> None:
        """Make it all, on a new file; with other settings, once more."""
        self.path = Path(self.mktemp()) / "push.sqlite"
        if self.in_redis:
            self.redis = RedisAtOnce()
            self.addCleanup(self.redis.close)
        self.begin(**settings)

    def begin(self, **settings: Any) -> None:
        """Start it on the file."""
        config = replace(CONFIG, **settings)
        self.database = make_database(self.path)
        store = TokenStore(self.database)
        self.database.open()
        self.addCleanup(self.database.close)
        seams = [GroupSeams(), GroupSeams()]
        self.subscribe = Subscribe(
            store=store,
            authenticator=OpenDoor(),
            now_ms=self.now_ms,
            watcher=None if self.asks else seams[0].sessions,
        )
        self.connectors = [
            Connector(
                address=f"127.0.0.1:{port}",
                limits=LIMITS,
                subscribe=self.subscribe,
                cache=MemoryCache(),
                clock=self.clock,
                now_ms=self.now_ms,
                version="test",
                chat=seams[number if self.has_two_nodes else 0].chat,
            )
            for number, port in enumerate((6789, 6790))
        ]
        self.group = self.make_group(0, config, seams[0])
        self.other_group = self.make_group(1, config, seams[1]) if self.has_two_nodes else self.group

    def make_group(self, number: int, config: Config, seams: GroupSeams) -> GroupRole:
        """A group role, running."""
        ids = MessageIds(node=number, now_ms=self.now_ms)
        ids.is_ready = True
        group = build_group(
            config,
            seams=seams,
            stores=self.stores(),
            subscribe=self.subscribe,
            nodes=Nodes(*self.connectors),
            ids=ids,
            reactor=self.clock,
            clock=SteadyClock(wall_ms=self.now_ms, monotonic_s=self.clock.seconds),
            whereabouts=AskedSessions(self.subscribe) if self.asks else None,
        )
        group.service.startService()
        self.addCleanup(group.service.stopService)
        return group

    def stores(self) -> ChatStores:
        """Where groups and conversations are; each time as another process has it."""
        if self.in_redis:
            return ChatStores.in_redis(cast(Redis, self.redis))
        return ChatStores.in_sqlite(self.database)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return BEGAN_MS + int(self.clock.seconds() * 1000)

    def users(self, *uids: str) -> list[Person]:
        """Users that opened with CONNECT, on the two connectors by turns."""
        return [Person(self, at % 2, connect=uid) for at, uid in enumerate(uids)]

    def room(self, owner: Person, *uids: str, group: str = "room", **settings: Any) -> None:
        """A group; what its members are told of that is taken away."""
        owner.ask(SubSignal.GC, group=group, uids=list(uids), **settings)
