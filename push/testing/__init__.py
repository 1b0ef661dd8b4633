"""For tests of others: a real server for the length of a test, and the rules that a wire protocol of theirs must keep.

docs/testing.md, docs/protocol-plugins.md.
"""

from push.testing.server import PushServer

__all__ = ["PushServer"]
