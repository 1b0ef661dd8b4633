"""A real cluster for tests: processes of any roles on one Redis, all on loopback."""

import json
import secrets
import signal
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from tests.integration.server import HOST, TWISTD, Api, Server, free_port
from tests.integration.waiting import wait_until
from tests.redis_server import RedisServer
from tests.redis_watched import WatchedRedis


class Node(Server):
    """One process of a cluster.

    Args:
        cluster: of which.
        name: for people.
        roles: what it runs.
        options: besides those of the cluster.
        before: Python that it runs before anything else.
        host: where it listens.

    Attributes:
        roles: what it runs.
        peer_port: where other nodes reach it.
        peer_advertised: where they do, if something stands in between.
    """

    def __init__(
        self,
        cluster: "Cluster",
        name: str,
        *roles: str,
        options: Sequence[str] = (),
        before: str = "",
        host: str = HOST,
    ) -> None:
        super().__init__(cluster.directory, [*cluster.options, *options], variables=cluster.variables)
        self.interface = host
        self.peer_advertised = ""
        self.roles = roles
        self.name = name
        self.port, self.peer_port, self.health_port = (cluster.port() for _ in range(3))
        self.api = Api(self.health_port, host)
        self.log = self.directory / f"output-{name}"
        self._start_with = [sys.executable, "-c", before + TWISTD, "--nodaemon", "--pidfile=", "push"]

    @property
    def address(self) -> str:
        """Of its connector."""
        return f"{self.interface}:{self.port}"

    @property
    def node_name(self) -> str:
        """What other nodes know it by."""
        if "connector" in self.roles:
            return self.address
        return self.peer_advertised or f"{self.interface}:{self.peer_port}"

    def command(self) -> list[str]:
        """What is run: each role says only where it is."""
        places = [f"--role={','.join(self.roles)}", f"--data-dir={self.directory / self.name}"]
        if "connector" in self.roles:
            places.append(f"--listen=framed=tcp:{self.port}:interface={self.interface}")
        if "api" in self.roles:
            places.append(f"--api=tcp:{self.api.port}:interface={self.interface}")
        else:
            places.append(f"--health=tcp:{self.health_port}:interface={self.interface}")
        if self.roles != ("connector",):
            places.append(f"--peer=tcp:{self.peer_port}:interface={self.interface}")
        if self.peer_advertised:
            places.append(f"--peer-advertise={self.peer_advertised}")
        return [*self._start_with, *places, *self.options]

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it where it stands."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def readiness(self) -> dict[str, str]:
        """The checks that fail: name → why. Nothing when it is ready."""
        try:
            with urllib.request.urlopen(f"http://{self.interface}:{self.health_port}/readyz", timeout=20) as answer:
                said: Any = json.load(answer)
        except HTTPError as error:
            said = json.load(error)
        return {check["name"]: check["detail"] for check in said["checks"] if not check["ok"]}

    def why(self, name: str) -> str:
        """Why a check fails; nothing where it does not, or cannot be asked yet."""
        try:
            return self.readiness().get(name, "")
        except OSError:
            return ""

    def is_ready(self) -> bool:
        """Whether it can do its work now."""
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            raise AssertionError(f"{self.name} ended with exit code {code}:\n{self.output()}")
        try:
            return not self.readiness()
        except OSError:
            return False

    def wait_ready(self) -> None:
        """Wait until /readyz says yes."""
        last: dict[str, str] = {}

        def is_ready() -> bool:
            if self.is_ready():
                return True
            with suppress(OSError):
                last.clear()
                last.update(self.readiness())
            return False

        try:
            wait_until(f"{self.name} is ready", is_ready)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}") from None

    def wait_joined(self, other: "Node") -> None:
        """Wait until it has joined another one: it may be ready before, where its own role does not need that one."""
        shown = f'push_link_up{{node="{other.node_name}"}} 1'
        wait_until(f"{self.name} has joined {other.name}", lambda: shown in self.api.get("/metrics").body.decode())


class Cluster:
    """Nodes that share a Redis of their own.

    Args:
        directory: of all that they write.
        options: for each node.
        redis: what they share, and its address; None: a server of their own that keeps nothing.
    """

    def __init__(
        self, directory: Path, options: Sequence[str] = (), *, redis: RedisServer | WatchedRedis | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.redis = RedisServer() if redis is None else redis
        self.nodes: list[Node] = []
        self._ports: set[int] = set()
        self.variables = {"PUSH_PEER_SECRET": secrets.token_hex(32)}
        self.options = [f"--redis={self.redis.url}", "--lease-s=3", *options]

    def port(self) -> int:
        """A free one, that no other node of this cluster has: who is not running does not hold its own."""
        while (port := free_port()) in self._ports:
            pass
        self._ports.add(port)
        return port

    def node(self, name: str, *roles: str, options: Sequence[str] = (), before: str = "", host: str = HOST) -> Node:
        """A node that is not running yet."""
        node = Node(self, name, *roles, options=options, before=before, host=host)
        self.nodes.append(node)
        return node

    def is_held(self, lease: str) -> bool:
        """Whether somebody has a lease now, as Redis says."""
        return self.redis.command("EXISTS", f"push:{{leases}}:held:{lease}") == b":1\r\n"

    def counts(self, node: Node) -> bool:
        """Whether a node counts as alive."""
        return self.is_held(f"node:{node.node_name}")

    def cache_holder(self) -> Node | None:
        """Who holds the cache, if somebody does."""
        said = self.redis.command("GET", "push:{leases}:held:cache")
        return next((node for node in self.nodes if said.rstrip().endswith(b" " + node.node_name.encode())), None)

    def start(self) -> "Cluster":
        """Start all at once, and wait until all are ready."""
        for node in self.nodes:
            node.spawn()
        for node in reversed(self.nodes):  # those that others wait for are named last, and say best what is wrong
            node.wait_ready()
        return self

    def destroy(self) -> None:
        """Leave nothing behind."""
        for node in self.nodes:
            node.destroy()
        self.redis.remove()
