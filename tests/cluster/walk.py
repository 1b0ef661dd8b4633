"""Random walks through what can happen to a cluster, and whether it kept its promises: docs/delivery.md.

Nodes are killed, frozen, cut off from one another and from Redis; clients hop between connectors, read and acknowledge
when they like, and break off. Then all is well again, and a ledger is looked at: nothing accepted is lost, what was
answered before something else was sent comes before it, and no token has two sessions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.model import Options, PushRequest, PushResult, Store, TagQuery, ToAll, ToTags, ToTokens, ToUids
from push.protocols.wire.frames import ID
from push.protocols.wire.signals import Signal, SubSignal
from tests.cluster.nodes import Cluster, ConnectorNode
from tests.cluster.world import Link, Process
from tests.services.clients import Client
from tests.services.holders import begun

ACKS = ("ack0", "ack1", "ack2")
PLAIN = ("plain0", "plain1")
TOKENS = (*ACKS, *PLAIN)
NEWS = ("ack0", "ack1", "plain0")
HOUR_S = 3_600
# Longer than every lease and time limit.
CALM_S = 8.0


@dataclass(eq=False)
class Pushed:
    """One message, from the sender's side."""

    number: int
    targets: Sequence[str]
    is_kept: bool
    has_ttl: bool
    registered: Sequence[str]
    began_s: float
    ended_s: float | None = None
    result: object = None

    @property
    def known(self) -> int:
        """How many of the targets were known."""
        return len(self.targets) - len(self.result.unknown if isinstance(self.result, PushResult) else ())

    @property
    def is_accepted(self) -> bool:
        """Whether the sender was told so."""
        return isinstance(self.result, PushResult)

    def is_promised_to(self, token: str) -> bool:
        """Whether a token is to get it. One that nobody remembers, as Redis has lost it, is named in the answer."""
        result = self.result
        if not self.is_kept or token not in self.registered or not isinstance(result, PushResult):
            return False
        # For everybody, targets are sessions; else the tokens that were found.
        return result.is_logged or (token not in result.unknown and result.targets == self.known)


@dataclass(eq=False)
class Line:
    """One connection of a device."""

    client: Client
    node: ConnectorNode
    in_session: set[int] = field(default_factory=set)
    unacknowledged: list[int] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether both ends think so."""
        return self.node.is_alive and not self.client.is_ended and self.client.protocol.transport is not None

    @property
    def has_session(self) -> bool:
        """Whether it is open and its SUB was answered with 200."""
        return self.is_open and self.client.protocol.registration is not None

    @property
    def is_usable(self) -> bool:
        """Whether the connector looks at it now."""
        return self.is_open and not self.node.clock.is_frozen


@dataclass(eq=False)
class Device:
    """One token, from its user's side."""

    token: str
    lines: list[Line] = field(default_factory=list)
    got: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    @property
    def acks(self) -> bool:
        """Whether it acknowledges."""
        return self.token in ACKS


class Walk:
    """One walk.

    Args:
        seed: of all its choices.
        test: complains.
        steps: how many.
        empties: whether Redis may lose everything.
        has_faults: whether anything breaks, but for clients' connections.
    """

    def __init__(
        self,
        seed: int,
        test: SynchronousTestCase,
        *,
        steps: int = 50,
        empties: bool = False,
        has_faults: bool = True,
    ) -> None:
        self.cluster = Cluster(seed)
        self.world = self.cluster.world
        self.random = self.world.random
        self.test = test
        self.steps = steps
        self.empties = empties
        if empties:  # who registers anew by a clock that is ahead is younger than broadcasts of a moment later
            self.cluster.skews_ms.update(dict.fromkeys(self.cluster.skews_ms, 0))
        self.has_faults = has_faults
        self.pushed: list[Pushed] = []
        self.devices = {token: Device(token) for token in TOKENS}
        self.trace: list[str] = []
        self.has_failed_over = False
        self.world.is_calm = True
        self.world.pass_time(3)
        for token in TOKENS:  # so that all are registered
            self.connect(token)
            self.world.pass_time(0.2)
        self.world.is_calm = False

    # What can happen

    def push(self) -> None:
        """Somebody sends one message, or several in one call, through any router."""
        routers = [each for each in self.cluster.routers.values() if each.is_alive and not each.clock.is_frozen]
        if not routers:
            return
        router = self.random.choice(routers)
        requests, batch = [], []
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            number = len(self.pushed)
            target, targets = self.target()
            ttl_s = HOUR_S if isinstance(target, ToAll | ToTags) else self.random.choice((HOUR_S, HOUR_S, HOUR_S, 0))
            request = PushRequest(target, b"%d" % number, ttl_s)
            if self.random.random() < 0.15:
                request = PushRequest(target, b"%d" % number, ttl_s, options=Options(store=Store.ALWAYS))
            requests.append(request)
            pushed = Pushed(number, targets, ttl_s > 0, ttl_s > 0, self.registered(targets), self.world.clock.seconds())
            self.pushed.append(pushed)
            batch.append(pushed)

        def ended(results: Any) -> None:
            for at, pushed in enumerate(batch):
                pushed.ended_s = self.world.clock.seconds()
                pushed.result = results[at] if isinstance(results, list) else results
                if not isinstance(results, list):
                    error = results.value
                    self.test.assertEqual(getattr(error, "retry", "no"), "backoff", repr(error))

        self.note(f"push {batch[0].number}-{batch[-1].number} by {router.name}")
        begun(router.router.push(requests)).addBoth(ended)

    def target(self) -> tuple[Any, Sequence[str]]:
        """To whom."""
        choice = self.random.random()
        if choice < 0.75:
            token = self.random.choice(TOKENS)
            return ToTokens((token,)), (token,)
        if choice < 0.85:
            some = tuple(self.random.sample(TOKENS, 3))
            return ToTokens(some), some
        if choice < 0.92:
            return ToUids(("user",)), ("ack2", "plain1")
        if choice < 0.96 and not self.empties:  # what Redis has lost of tokens, their tags are not told again
            return ToTags(TagQuery(any=("news",))), NEWS
        return ToAll(), TOKENS

    def registered(self, tokens: Sequence[str]) -> Sequence[str]:
        """Those that Redis knows, which may have forgotten some."""
        known = self.test.successResultOf(self.cluster.stores.tokens.known(tokens))  # type: ignore[attr-defined]
        return [token for token in tokens if token in known]

    def connect(self, token: str | None = None) -> None:
        """A device opens a session somewhere; perhaps it has one already, of which it may know."""
        device = self.devices[token or self.random.choice(TOKENS)]
        nodes = [each for each in self.cluster.connectors.values() if each.is_alive and not each.clock.is_frozen]
        if not nodes:
            return
        if self.random.random() < 0.7:
            self.drop(device)
        node = self.random.choice(nodes)
        line = Line(Client(node.connector, self.world.clock), node)
        device.lines.append(line)
        acks = b',"ack":true' if device.acks else b""
        uid = b',"uid":"user"' if device.token in ("ack2", "plain1") else b""
        tags = b',"tags":["news"]' if device.token in NEWS else b""
        line.client.send(Signal.SUB, b'{"token":"%s"%s%s%s}' % (device.token.encode(), acks, uid, tags))
        self.note(f"{device.token} connects to {node.name}")

    def disconnect(self) -> None:
        """A connection breaks; what is in it unread is lost."""
        self.drop(self.devices[self.random.choice(TOKENS)])

    def drop(self, device: Device) -> None:
        """End a device's connections."""
        if self.random.random() < 0.5:
            self.read(device)
        for line in device.lines:
            if line.is_usable:
                line.client.hang_up()
            line.unacknowledged.clear()
        device.lines = []

    def read_some(self) -> None:
        """A device reads what has come."""
        self.read(self.devices[self.random.choice(TOKENS)])

    def read(self, device: Device) -> None:
        """Look at what came on all connections."""
        for line in device.lines:
            for frame in line.client.frames():
                if frame.signal != Signal.PUSH:
                    continue
                number = int(frame.body[ID.size :] if device.acks else frame.body)
                if not self.has_failed_over:
                    self.test.assertNotIn(number, line.in_session, f"{device.token} got {number} twice in a session")
                line.in_session.add(number)
                if device.acks:
                    line.unacknowledged.append(ID.unpack(frame.body[: ID.size])[0])
                if number not in device.seen:
                    device.seen.add(number)
                    device.got.append(number)

    def acknowledge(self) -> None:
        """A device acknowledges some of what it has."""
        self.acknowledge_some(self.devices[self.random.choice(ACKS)], self.random.randint(1, 4))

    def acknowledge_some(self, device: Device, count: int) -> None:
        """Send PUB_ACK, for the first ids of each connection or for any."""
        for line in device.lines:
            if not line.is_usable or not line.unacknowledged:
                continue
            if self.random.random() < 0.3:
                self.random.shuffle(line.unacknowledged)
            some, line.unacknowledged = line.unacknowledged[:count], line.unacknowledged[count:]
            line.client.send(Signal.PUB_ACK, b"".join(map(ID.pack, some)), subsignal=SubSignal.MN)

    def wait(self) -> None:
        """Time passes."""
        self.world.pass_time(self.random.choice((0.01, 0.1, 0.5, 2.0)))

    def kill(self) -> None:
        """A node dies; it comes back later."""
        node = self.random.choice(self.cluster.all())
        if node.is_alive:
            self.note(f"kill {node.name}")
            self.has_failed_over = True
            node.kill()

    def restart(self) -> None:
        """A dead node is started again."""
        dead = self.cluster.dead()
        if dead:
            name = self.random.choice(dead)
            self.note(f"restart {name}")
            self.cluster.start(name)

    def freeze(self) -> None:
        """A node stands still."""
        node = self.random.choice(self.cluster.all())
        if node.is_alive:
            self.note(f"freeze {node.name}")
            self.has_failed_over = True
            node.clock.is_frozen = True

    def thaw(self) -> None:
        """Those that stand still go on."""
        for node in self.cluster.all():
            if node.clock.is_frozen:
                self.note(f"thaw {node.name}")
                node.clock.thaw()

    def break_link(self) -> None:
        """A link breaks, and is made again soon."""
        self.a_link(lambda link: link.lose())

    def cut_link(self) -> None:
        """A link breaks for long."""

        def cut(link: Link) -> None:
            link.is_blocked = True
            link.lose()

        self.a_link(cut)

    def half_open(self) -> None:
        """A link swallows all that it is given."""

        def swallow(link: Link) -> None:
            link.swallows = link.is_blocked = True

        self.a_link(swallow)

    def a_link(self, change: Callable[[Link], None]) -> None:
        """Something happens to one."""
        link = self.random.choice(list(self.world.links.values()))
        self.note(f"{change} between {link.ends[0].name} and {link.ends[1].name}")
        self.has_failed_over = True
        change(link)

    def mend_links(self) -> None:
        """All can be made again."""
        for link in self.world.links.values():
            if link.is_blocked:
                link.unblock()

    def lose_redis(self) -> None:
        """Redis cannot be reached; or it stands still."""
        self.note("Redis is away")
        self.has_failed_over = True
        if self.random.random() < 0.5:
            self.world.redis_is_away = True
            self.world.redis_times_lost += 1
        else:
            self.world.redis_is_frozen = True

    def find_redis(self) -> None:
        """It is back; perhaps with nothing in it."""
        if not (self.world.redis_is_away or self.world.redis_is_frozen):
            return
        self.note("Redis is back")
        if self.empties and self.random.random() < 0.5:
            self.note("with nothing in it")
            self.cluster.stores.empty()
            for pushed in self.pushed:  # what was accepted is lost with it
                pushed.is_kept = False
        self.world.redis_is_away = self.world.redis_is_frozen = False

    def note(self, what: str) -> None:
        """For who looks why a seed fails."""
        self.trace.append(f"{self.world.clock.seconds() - 1_800_000_000:.3f} {what}")

    def run(self) -> None:
        """Walk."""
        moves = [
            (self.push, 30),
            (self.connect, 8),
            (self.disconnect, 3),
            (self.read_some, 10),
            (self.acknowledge, 10),
            (self.wait, 20),
            (self.kill, 2),
            (self.restart, 3),
            (self.freeze, 1),
            (self.thaw, 1),
            (self.break_link, 2),
            (self.cut_link, 2),
            (self.half_open, 1),
            (self.mend_links, 2),
            (self.lose_redis, 1),
            (self.find_redis, 3),
        ]
        if not self.has_faults:
            moves = moves[:6]
        for _ in range(self.steps):
            (move,) = self.random.choices([each for each, _ in moves], [weight for _, weight in moves])
            move()
            self.world.pass_time(self.random.choice((0.0, 0.001, 0.005, 0.02)))
        self.heal()
        self.check()

    def heal(self) -> None:
        """All is well, everybody comes, reads and acknowledges, until nothing comes any more."""
        self.note("all is well")
        world = self.world
        world.is_calm = True
        self.find_redis()
        self.thaw()
        self.mend_links()
        for name in self.cluster.dead():
            self.cluster.start(name)
        world.pass_time(CALM_S)
        for device in self.devices.values():
            self.read(device)
            if not any(line.has_session for line in device.lines):  # its SUB was refused, or was lost with its node
                self.connect(device.token)
        quiet = 0
        for _ in range(100):
            before = sum(len(device.seen) for device in self.devices.values())
            world.pass_time(1)
            for device in self.devices.values():
                self.read(device)
                self.acknowledge_some(device, 100)
            quiet = 0 if before != sum(len(device.seen) for device in self.devices.values()) else quiet + 1
            if quiet == 3:
                return
        self.test.fail("messages keep coming")

    # What was promised

    def check(self) -> None:
        """Look at all promises."""
        for device in self.devices.values():
            lines = [line for line in device.lines if line.has_session]
            self.test.assertEqual(len(lines), 1, f"{device.token} has so many sessions: {lines}")
            self.check_known(device, lines[0])
            if device.acks or not self.has_faults:
                self.check_order(device)
            if device.acks:
                lost = [
                    each.number
                    for each in self.pushed
                    if each.is_promised_to(device.token) and each.number not in device.seen
                ]
                self.test.assertEqual(lost, [], f"{device.token} never got what was accepted")
            strangers = [number for number in device.got if device.token not in self.pushed[number].targets]
            self.test.assertEqual(strangers, [], "what was meant for others")
        self.check_usable()
        left = self.cluster.stores.rows.cache._messages
        # What was never answered, as its router died, may wait for the next message.
        waiting = [row for row in left.values() if row.tokens and self.pushed[int(row.payload or b"")].is_accepted]
        self.test.assertEqual(waiting, [], "a message is left in the cache of connected clients")

    def check_known(self, device: Device, line: Line) -> None:
        """The directory knows where it is."""
        found = self.test.successResultOf(self.cluster.stores.directory.find([device.token]))  # type: ignore[attr-defined]
        registration = line.client.protocol.registration
        self.test.assertEqual(found.get(device.token), registration)

    def check_usable(self) -> None:
        """Everything works again, at every router."""
        for router in self.cluster.routers.values():
            for token in ACKS:
                number = len(self.pushed)
                self.pushed.append(Pushed(number, (token,), True, True, (token,), self.world.clock.seconds()))
                answer = begun(router.router.push([PushRequest(ToTokens((token,)), b"%d" % number, HOUR_S)]))
                self.world.pass_time(0.5)
                (result,) = self.test.successResultOf(answer)  # type: ignore[attr-defined]
                self.test.assertIsInstance(result, PushResult, f"{router.name} does not push: {result!r}")
                self.read(self.devices[token])
                self.test.assertIn(number, self.devices[token].seen, f"{token} gets nothing of {router.name}")
                self.acknowledge_some(self.devices[token], 100)
        self.world.pass_time(2)

    def check_order(self, device: Device) -> None:
        """What was answered before something else was sent came before it."""
        latest: Pushed | None = None
        for number in device.got:
            each = self.pushed[number]
            # What is never kept may come behind what is, while a session catches up.
            if (
                latest is not None
                and each.has_ttl
                and each.is_accepted
                and each.ended_s is not None
                and each.ended_s < latest.began_s
            ):
                self.test.fail(f"{device.token} got {each.number} after {latest.number}, which was sent later")
            if latest is None or each.began_s > latest.began_s:
                latest = each


def walk(seed: int, test: SynchronousTestCase, **how: Any) -> None:
    """One walk; a failure names its seed and what happened."""
    one: Walk | None = None
    try:
        one = Walk(seed, test, **how)
        one.run()
    except BaseException as error:
        trace = "\n".join(one.trace if one is not None else ())
        raise test.failureException(f"seed {seed}: {error}\n{trace}") from error


def processes(cluster: Cluster) -> Sequence[Process]:
    """All of a cluster's."""
    return cluster.all()
