"""Lua scripts. Each does its work in one piece, as nothing else runs in Redis meanwhile; so each does little.

Instead of MULTI, which breaks with txredisapi 1.6, and which could not look before it writes.
"""

import hashlib


class Script:
    """One script.

    Args:
        source: in Lua 5.1, as Redis has it.

    Attributes:
        source: its text.
        sha: under which Redis keeps it: https://redis.io/docs/latest/commands/evalsha/
    """

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source.encode("ascii")
        self.sha = hashlib.sha1(self.source).hexdigest()  # noqa: S324 - it is Redis that wants SHA-1
