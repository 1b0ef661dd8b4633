"""A real Redis that Sentinel watches: a master, a replica, three Sentinels, all on free ports."""

import time
from collections.abc import Callable

from tests.redis_server import DEADLINE_S, RedisServer

NAME = "main"
PASSWORD = "pw"
_OPTIONS = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
_REPLICATION = f"AUTH {PASSWORD}\r\nINFO"


class WatchedRedis:
    """Two servers and three Sentinels.

    Args:
        options: of both servers.
        wants: options of the address.
        down_after_ms: when Sentinels take a master that is silent for dead.

    Attributes:
        servers: the master of the beginning, and its replica.
        sentinels: three.
    """

    def __init__(self, *options: str, wants: str = "", down_after_ms: int = 500) -> None:
        self._wants = f"?{wants}" if wants else ""
        master = RedisServer(*_OPTIONS, *options)
        self.servers = [master]
        self.sentinels: list[RedisServer] = []
        try:
            replica = RedisServer(*_OPTIONS, "--replicaof", f"127.0.0.1 {master.port}", *options)
            self.servers.append(replica)
            _until("the replica follows", lambda: b"master_link_status:up" in _info(replica))
            self._watch(master, down_after_ms)
        except BaseException:
            self.remove()
            raise

    @property
    def url(self) -> str:
        """To connect with."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{NAME}{self._wants}"

    @property
    def master(self) -> RedisServer:
        """Whom the Sentinels that answer call the master."""
        for sentinel in self.sentinels:
            try:
                said = sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
            except OSError:
                continue
            for server in self.servers:
                if b"\r\n%d\r\n" % server.port in said:
                    return server
        raise AssertionError("no Sentinel knows a master")

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        return next(server for server in self.servers if server is not self.master)

    def has_replica(self) -> bool:
        """Whether the master has one that is up to date."""
        try:
            return b"state=online" in _info(self.master)
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Say something to the master; the first piece of its answer."""
        return self.master.command(f"AUTH {PASSWORD}\r\n{words[0]}", *words[1:], answers=2).partition(b"\r\n")[2]

    def remove(self) -> None:
        """End all of it."""
        for server in [*self.sentinels, *self.servers]:
            server.remove()

    def _watch(self, master: RedisServer, down_after_ms: int) -> None:
        for _ in range(3):
            options = (
                f"sentinel monitor {NAME} 127.0.0.1 {master.port} 2",
                f"sentinel auth-pass {NAME} {PASSWORD}",
                f"sentinel down-after-milliseconds {NAME} {down_after_ms}",
                f"sentinel failover-timeout {NAME} 3000",
            )
            self.sentinels.append(RedisServer(*options, is_sentinel=True))
        for sentinel in self.sentinels:
            for expected in (b"num-other-sentinels\r\n$1\r\n2", b"num-slaves\r\n$1\r\n1"):
                _until(
                    "Sentinels know one another", lambda s=sentinel, e=expected: e in s.command("SENTINEL", "MASTERS")
                )


def _info(server: RedisServer) -> bytes:
    return server.command(_REPLICATION, "replication", answers=2)


def _until(what: str, condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 2 * DEADLINE_S
    while not condition():
        if time.monotonic() > until_s:
            raise AssertionError(f"it is not so that {what}")
        time.sleep(0.02)
