"""Roles in processes of their own, on a real Redis."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import WireClient
from tests.integration.cluster import Cluster, Node
from tests.integration.waiting import wait_until

_SHOWN = 40


class ClusterTests(SynchronousTestCase):
    """One cluster a test."""

    @contextmanager
    def running(self, *options: str) -> Iterator[Cluster]:
        """A cluster that does not outlive this; what it wrote is shown if it was a failure."""
        cluster = Cluster(Path(self.mktemp()), options)
        try:
            yield cluster
        except BaseException:
            for node in cluster.nodes:
                print(f"\n--- {node.name} ---", *node.output().splitlines()[-_SHOWN:], sep="\n", file=sys.stderr)
            raise
        finally:
            cluster.destroy()

    def test_a_message_reaches_a_client_of_either_connector(self) -> None:
        with self.running() as cluster:
            core = cluster.node("core", "api", "router", "subscribe", "cache")
            places = [cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
            cluster.start()
            self.check_delivery(core, places)

    def test_every_role_in_a_process_of_its_own(self) -> None:
        with self.running() as cluster:
            places = [cluster.node(f"connector-{number}", "connector") for number in (1, 2)]
            api = cluster.node("api", "api")
            for role in ("router", "subscribe", "cache"):
                cluster.node(role, role)
            cluster.start()
            self.check_delivery(api, places)

    def check_delivery(self, api: Node, places: list[Node]) -> None:
        """To one, to all, to one who is away, and from one place to another."""
        clients = [WireClient(place.port).open(uid=f"user-{at}") for at, place in enumerate(places)]
        for at, client in enumerate(clients):
            result = api.api.send({"token": client.token}, f"one {at}")
            self.assertEqual(result["sent"], 1)
            self.assertEqual(client.message(), b"one %d" % at)
        result = api.api.send({"all": True}, "everybody")
        self.assertGreaterEqual(result["sent"], len(clients))
        for client in clients:
            self.assertEqual(client.message(), b"everybody")
        first = clients[0]
        token = first.token
        first.close()
        wait_until("the token is offline", lambda: not (api.api.token(token) or {}).get("online", True))
        for number in range(3):
            self.assertEqual(api.api.send({"token": token}, f"kept {number}")["sent"], 0)
        back = WireClient(places[1].port).open(token=token)
        self.assertEqual(back.messages(3), [b"kept 0", b"kept 1", b"kept 2"])
        # The same token elsewhere: the old session is closed there, and messages find the new one.
        again = WireClient(places[0].port).open(token=token)
        self.assertEqual(int(back.until_closed()[1].code), 3500)  # type: ignore[union-attr]
        wait_until("it is found there", lambda: api.api.send({"token": token}, "moved")["sent"] == 1)
        again.message()
        for client in (clients[1], back, again):
            client.close()
