"""A connector whose subscription is connected and deaf: it says so, loses nothing, and hears again."""

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import WireClient
from tests.integration.cluster import Cluster
from tests.integration.relay import Relay
from tests.integration.server import HOST
from tests.integration.waiting import wait_until

PUBLISHED = b"$7\r\nmessage\r\n"


class DeafProxy(Relay):
    """Between one node and Redis.

    Args:
        port: of Redis.

    Attributes:
        swallows: whether what is published does not come through, though all else does.
    """

    def __init__(self, port: int) -> None:
        self.swallows = False
        super().__init__((HOST, port))
        self.url = f"redis://{HOST}:{self.port}/0"

    def passes(self, data: bytes, *, is_from_server: bool) -> bool:
        """All but what is published."""
        return not (is_from_server and self.swallows and PUBLISHED in data)


class DeafTests(SynchronousTestCase):
    """Two connectors, one of which hears nothing for a while."""

    def test_it_is_not_ready_and_loses_nothing(self) -> None:
        cluster = Cluster(Path(self.mktemp()))
        proxy = DeafProxy(cluster.redis.port)
        try:
            core = cluster.node("core", "router", "subscribe", "cache", "api")
            deaf = cluster.node("deaf", "connector", options=(f"--redis={proxy.url}",))
            other = cluster.node("other", "connector")
            cluster.start()
            with WireClient(deaf.port) as client, WireClient(other.port) as second:
                clients = [client.open(), second.open()]
                self.assertEqual(core.api.send({"all": True}, "heard")["sent"], 2)
                proxy.swallows = True
                began_s = time.monotonic()
                self.assertEqual(core.api.send({"all": True}, "missed")["sent"], 2)
                wait_until("it says so", lambda: "broadcasts" in deaf.readiness())
                self.assertLess(time.monotonic() - began_s, 6.0)
                self.assertNotIn("broadcasts", other.readiness())
                self.assertEqual(core.api.send({"all": True}, "by link")["sent"], 2)
                proxy.swallows = False
                wait_until("it hears again", lambda: not deaf.readiness())
                self.assertEqual(core.api.send({"all": True}, "heard again")["sent"], 2)
                for each in clients:
                    self.assertEqual(each.messages(4), [b"heard", b"missed", b"by link", b"heard again"])
        finally:
            cluster.destroy()
            proxy.close()
