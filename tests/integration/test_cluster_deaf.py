"""A connector whose subscription is connected and deaf: it says so, loses nothing, and hears again."""

import contextlib
import socket
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.client import WireClient
from tests.integration.cluster import Cluster
from tests.integration.server import HOST
from tests.integration.waiting import wait_until

PUBLISHED = b"$7\r\nmessage\r\n"


class DeafProxy:
    """Between one node and Redis, on threads of its own.

    Args:
        port: of Redis.

    Attributes:
        swallows: whether what is published does not come through, though all else does.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.swallows = False
        self._listener = socket.create_server((HOST, 0))
        self.url = f"redis://{HOST}:{self._listener.getsockname()[1]}/0"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it."""
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._port))
                self._open += [client, server]
                for source, target, is_server in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=(source, target, is_server), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not (is_server and self.swallows and PUBLISHED in data):
                    target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


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
