"""A real cluster for tests: processes of any roles on one Redis, all on loopback."""

import json
import secrets
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


class Node(Server):
    """One process of a cluster.

    Args:
        cluster: of which.
        name: for people.
        roles: what it runs.
        options: besides those of the cluster.
        before: Python that it runs before anything else.

    Attributes:
        roles: what it runs.
        peer_port: where other nodes reach it.
    """

    def __init__(
        self, cluster: "Cluster", name: str, *roles: str, options: Sequence[str] = (), before: str = ""
    ) -> None:
        super().__init__(cluster.directory, [*cluster.options, *options], variables=cluster.variables)
        self.roles = roles
        self.name = name
        self.port, self.peer_port, self.health_port = (cluster.port() for _ in range(3))
        self.api = Api(self.health_port)
        self.log = self.directory / f"output-{name}"
        self._start_with = [sys.executable, "-c", before + TWISTD, "--nodaemon", "--pidfile=", "push"]

    @property
    def address(self) -> str:
        """Of its connector."""
        return f"{HOST}:{self.port}"

    def command(self) -> list[str]:
        """What is run: each role says only where it is."""
        places = [f"--role={','.join(self.roles)}", f"--data-dir={self.directory / self.name}"]
        if "connector" in self.roles:
            places.append(f"--listen=framed=tcp:{self.port}:interface={HOST}")
        if "api" in self.roles:
            places.append(f"--api=tcp:{self.api.port}:interface={HOST}")
        else:
            places.append(f"--health=tcp:{self.health_port}:interface={HOST}")
        if self.roles != ("connector",):
            places.append(f"--peer=tcp:{self.peer_port}:interface={HOST}")
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

    def readiness(self) -> dict[str, str]:
        """The checks that fail: name → why. Nothing when it is ready."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.health_port}/readyz", timeout=20) as answer:
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


class Cluster:
    """Nodes that share a Redis of their own.

    Args:
        directory: of all that they write.
        options: for each node.
    """

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.redis = RedisServer()
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

    def node(self, name: str, *roles: str, options: Sequence[str] = (), before: str = "") -> Node:
        """A node that is not running yet."""
        node = Node(self, name, *roles, options=options, before=before)
        self.nodes.append(node)
        return node

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
