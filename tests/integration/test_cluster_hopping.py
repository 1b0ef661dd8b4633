"""Tokens that are nowhere for long, and nodes that disagree where they are: nothing is lost, all is in order."""

import contextlib
import time
from collections import deque

from push.ctl.ledger import Ledger
from push.protocols.wire.client import Closed, Received
from push.protocols.wire.signals import CloseCode
from tests.integration.client import WireClient
from tests.integration.cluster import Node
from tests.integration.faults import FAULTS, ClusterFaultCase, Faulty
from tests.integration.waiting import DEADLINE_S, wait_until

KINDS = {"connector": ("connector", 3), "core": ("router,subscribe,cache,api", 2)}
HOPS = 30 + 10 * FAULTS
HOPS_PER_S = 10.0
# Connections that a hopper leaves open behind it, as a phone does that changes networks.
LEFT_OPEN = 4


class Hopper:
    """A client with one token which goes from connector to connector, and does not say goodbye.

    Args:
        places: the connectors.
        ledger: is told of all that comes.

    Attributes:
        token: its own.
    """

    def __init__(self, places: list[Node], ledger: Ledger) -> None:
        self._places = places
        self._ledger = ledger
        self._seen: set[int] = set()
        self._at = 0
        self._left: deque[WireClient] = deque()
        self._client = self._connected(None)
        self.token = self._client.token

    def _connected(self, token: str | None) -> WireClient:
        place = self._places[self._at % len(self._places)]
        self._at += 1
        self._ledger.opened(0)
        return WireClient(place.port, host=place.interface).open(token=token, ack=True)

    def hop(self) -> None:
        """Go on to the next; what is still on its way to the old place is not read any more."""
        self._left.append(self._client)
        self._client = self._connected(self.token)
        if len(self._left) > LEFT_OPEN:
            self._left.popleft().close()

    def read(self, for_s: float) -> None:
        """Take what comes within some seconds, and acknowledge it."""
        until_s = time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._client.socket.settimeout(left_s)
            with contextlib.suppress(TimeoutError):
                event = self._client.next()
                if event is None or isinstance(event, Closed):
                    raise AssertionError(f"the newest session of the token was closed: {event!r}")
                if isinstance(event, Received):
                    self._got(event)

    def _got(self, message: Received) -> None:
        assert message.message_id is not None
        self._ledger.came(0, message.message_id, message.payload)
        if message.message_id not in self._seen:
            self._seen.add(message.message_id)
            self._ledger.deliver(0, message.message_id, message.payload)
        for frame in self._client.session.acknowledge([message.message_id]):
            self._client.send(frame)

    def close(self) -> None:
        """Hang up everywhere."""
        for client in [*self._left, self._client]:
            client.close()


class HoppingTests(ClusterFaultCase):
    """Sessions of one token on several connectors."""

    def test_the_newest_session_of_a_token_gets_everything_in_order_whatever_nodes_believe(self) -> None:
        with self.running(KINDS) as of:
            self.hop(of)
            self.disagree(of)
            self.give_up(of)

    def hop(self, of: Faulty) -> None:
        """A client hops ten times a second, while messages come."""
        ledger = Ledger("c0ffee", 1)
        with contextlib.closing(Hopper(of.of("connector"), ledger)) as hopper:
            for _ in range(HOPS):
                for _ in range(3):
                    self.send(of, ledger, hopper.token)
                    hopper.read(1 / HOPS_PER_S / 3)
                hopper.hop()
            deadline_s = time.monotonic() + DEADLINE_S
            while ledger.missing and time.monotonic() < deadline_s:
                hopper.read(0.2)
        report = ledger.report()
        self.assertTrue(report.ok, report)
        self.assertEqual((report.accepted, report.delivered), (3 * HOPS, 3 * HOPS))

    def send(self, of: Faulty, ledger: Ledger, token: str) -> None:
        """One message, which must be accepted."""
        number, text = ledger.attempt(0)
        reply = of.apis[number % 2].api.send({"token": token}, text.decode())
        ledger.accept(0, number, int(reply["id"]), time.monotonic())

    def disagree(self, of: Faulty) -> None:
        """A connector thaws that believes to have a token, which is elsewhere by now: its client is sent away."""
        first, second, _ = of.of("connector")
        api = of.apis[0].api
        with at(first) as old, at(second) as new:
            token = old.open(ack=True).token
            first.freeze()
            new.open(token=token, ack=True)
            wait_until("the frozen one counts as dead", lambda: not of.cluster.counts(first))
            api.send({"token": token}, "to the later one")
            self.assertEqual(new.message(), b"to the later one")
            first.thaw()
            payloads, said = old.until_closed()
            self.assertEqual((payloads, said and int(said.code)), ([], CloseCode.REPLACED))
            first.wait_ready()
            self.assertEqual(api.token(token)["connector"], second.address)
            api.send({"token": token}, "still")
            self.assertEqual(new.message(), b"still")

    def give_up(self, of: Faulty) -> None:
        """A session that was asked for at a frozen connector, and given up, does not end the one elsewhere."""
        first, second, _ = of.of("connector")
        api = of.apis[0].api
        with at(second) as live:
            token = live.open(ack=True).token
            first.freeze()
            with at(first) as given_up:
                given_up.ask_for_session(token=token, ack=True)
            first.thaw()
            first.wait_ready()
            for number in range(20):
                api.send({"token": token}, f"{number}")
            self.assertEqual(live.messages(20), [b"%d" % number for number in range(20)])
            wait_until("it is where its client is", lambda: api.token(token)["connector"] == second.address)
            self.assertEqual(api.send({"token": token}, "live")["sent"], 1)
            self.assertEqual(live.message(), b"live")


def at(place: Node) -> WireClient:
    """A connection to a connector."""
    return WireClient(place.port, host=place.interface)
