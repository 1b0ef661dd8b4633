"""Where to connect next: home, or where home sent us. Pure.

After a failure the other nodes that a redirect named are tried, then home again: home knows the cluster as it
is now. A chain of redirects is bounded, so that servers that point at one another cannot keep a client running.
"""

from collections import deque
from collections.abc import Sequence

from aio_sdk.address import Address
from push.protocols.wire.answers import NodeAddress


class Route:
    """The next address of one client.

    Args:
        home: where it begins and comes back to.
        max_hops: how many redirects to follow before a session has lasted.
    """

    def __init__(self, home: Address, max_hops: int) -> None:
        self._home = home
        self._max_hops = max_hops
        self._hops = 0
        self._nodes: deque[NodeAddress] = deque()

    @property
    def current(self) -> Address:
        """Where to connect now."""
        if not self._nodes:
            return self._home
        # A redirect changes the host, never whether the line is encrypted.
        return Address(self._nodes[0].host, self._nodes[0].port, self._home.tls)

    def redirected(self, nodes: Sequence[NodeAddress]) -> bool:
        """Go where a server says.

        Returns:
            False where that is one redirect too many: the way begins at home again, after a pause.
        """
        self._hops += 1
        self._nodes.clear()
        if self._hops > self._max_hops:
            self._hops = 0
            return False
        self._nodes.extend(nodes)
        return True

    def failed(self) -> None:
        """The current address is of no use now: on to the next."""
        if self._nodes:
            self._nodes.popleft()

    def settled(self) -> None:
        """A session has lasted: count redirects anew."""
        self._hops = 0
