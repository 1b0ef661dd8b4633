"""Where to connect next: where an allocation or a redirect sent us, home, or where it was good last. Pure.

After a failure the other nodes that were named are tried, then home again: home knows the cluster as it is now. Where
home fails too, the node of the last good session gets a turn; where nodes are asked for, when nobody says. A chain of
redirects is bounded, so that servers that point at one another cannot keep a client running.
"""

from collections import deque
from collections.abc import Sequence

from push.protocols.wire.answers import NodeAddress
from push_client.address import Address


class Route:
    """The next address of one client.

    Args:
        home: where it begins and comes back to.
        max_hops: how many redirects to follow before a session has lasted.
        allocates: whether somebody is asked for nodes before home is tried.
    """

    def __init__(self, home: Address, max_hops: int, *, allocates: bool = False) -> None:
        self._home = home
        self._max_hops = max_hops
        self._allocates = allocates
        self._hops = 0
        self._nodes: deque[NodeAddress] = deque()
        self.good: NodeAddress | None = None

    @property
    def current(self) -> Address:
        """Where to connect now."""
        if not self._nodes:
            return self._home
        return self._home.at(self._nodes[0].host, self._nodes[0].port)

    @property
    def wants_allocation(self) -> bool:
        """Whether to ask for nodes before connecting: there is somebody to ask, and nowhere else is to be tried."""
        return self._allocates and not self._nodes

    def allocated(self, nodes: Sequence[NodeAddress]) -> None:
        """Go to these nodes, the best first; none: there is no answer, so to the last good one and then home."""
        home = NodeAddress(self._home.host, self._home.port)
        if nodes:
            self._nodes.extend(nodes)
        elif self.good is not None:
            self._nodes.append(self.good)
        # Home is a step of its own, as coming there without nodes would mean to ask again first.
        if home not in self._nodes:
            self._nodes.append(home)

    def redirected(self, nodes: Sequence[NodeAddress]) -> bool:
        """Go where a server says.

        Returns:
            False where that is one redirect too many: the way begins anew, after a pause.
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
        elif not self._allocates and self.good is not None:
            self._nodes.append(self.good)

    def opened(self) -> None:
        """A session was opened at the current address."""
        self.good = NodeAddress(self.current.host, self.current.port)

    def settled(self) -> None:
        """A session has lasted: count redirects anew, and ask anew when the node it was on fails."""
        self._hops = 0
        if self._allocates:
            self._nodes.clear()
