"""Redis as the stores have it, for tests without a reactor: a real server, asked over a socket that blocks.

Answers are there when a call returns. What only an answer that comes later can get wrong is tested in case.py's way.
"""

import itertools
import os
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlparse

import hiredis
from twisted.internet.defer import Deferred, fail, succeed

from push.errors import Unavailable
from push.stores.redis.scripts import Script
from tests.redis_server import shared_url

_TIMEOUT_S = 20.0
_numbers = itertools.count()


class RedisAtOnce:
    """What the stores of groups and conversations use of push.stores.redis.client.Redis.

    Attributes:
        reads: look-ups.
        writes: the same: there is one connection.
    """

    def __init__(self) -> None:
        place = urlparse(shared_url())
        self._socket = socket.create_connection((place.hostname or "127.0.0.1", place.port or 6379), _TIMEOUT_S)
        self._replies = hiredis.Reader()
        self._prefix = f"at-once-{os.getpid()}-{next(_numbers)}"
        self.reads = self.writes = self
        if place.password:
            self.call("AUTH", *([place.username] if place.username else []), place.password)

    def keys(self, family: str, *more: str) -> str:
        """See Redis."""
        return f"{self._prefix}:{{{':'.join((family, *more))}}}:"

    def call(self, *command: Any, is_patient: bool = False) -> "Deferred[Any]":
        """See Connection."""
        self._socket.sendall(hiredis.pack_command(command))
        while (reply := self._replies.gets()) is False:
            data = self._socket.recv(65_536)
            if not data:
                return fail(Unavailable("Redis has hung up"))
            self._replies.feed(data)
        return fail(Unavailable(str(reply))) if isinstance(reply, hiredis.ReplyError) else succeed(reply)

    def run(
        self, script: Script, keys: Sequence[Any], arguments: Sequence[Any] = (), *, is_patient: bool = False
    ) -> "Deferred[Any]":
        """See Connection."""
        return self.call("EVAL", script.source, len(keys), *keys, *arguments)

    def close(self) -> None:
        """Leave nothing behind."""
        emptied = []
        self.call("KEYS", f"{self._prefix}:*").addCallback(emptied.extend)
        if emptied:
            self.call("DEL", *emptied)
        self._socket.close()
