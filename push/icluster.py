"""The seams of what the nodes of a cluster share: where tokens are online, and a bus for broadcasts.

The rules of push.ipush hold here. Imports only the values.
"""

from collections.abc import Awaitable, Mapping, Sequence

from zope.interface import Attribute, Interface

from push.model import Registration
from push.model_cluster import BusPlace, Opening


class ISessionDirectory(Interface):
    """Where tokens are online, for all nodes of a cluster: for each token the session that was opened last.

    Everything raises Unavailable where it cannot be asked, or did not answer: then it may have been done. All of it may
    be lost; connectors then tell it their sessions again. What is submitted by one node is done in that order.
    """

    def open(token: str, uid: str | None, connector: str, *, acks: bool) -> Awaitable[Opening]:
        """Open a session, in the place of the one that the token may have.

        Returns:
            The session; its epoch is greater than that of every earlier session, of whatever token. And the one that
            it replaced: its connector must be told to close it.
        """

    def reopen(registrations: Sequence[Registration]) -> Awaitable[Sequence[Registration]]:
        """These sessions are open, whatever was known of their tokens.

        Returns:
            The sessions that lost: of two sessions of a token, the one with the lesser epoch, be it one of these or one
            that was known. They must be closed.
        """

    def close(registrations: Sequence[Registration]) -> Awaitable[None]:
        """Sessions are over. Where another one is known for the token, that stays."""

    def find(tokens: Sequence[str]) -> Awaitable[Mapping[str, Registration]]:
        """The sessions of those of these tokens that are online, also those on nodes that have died since."""

    def remove(token: str) -> Awaitable[Registration | None]:
        """The token is revoked: forget its session. Returns it."""

    def last_epoch() -> Awaitable[int]:
        """An epoch that is not less than that of any session opened until now."""

    def leave(connector: str, last_epoch: int, limit: int) -> Awaitable[int]:
        """A connector has died: forget its sessions up to this epoch, at most so many of them.

        To be sure that none is of a successor with the same name, ask for the epoch first, and only then whether the
        connector is dead.

        Returns:
            How many were forgotten: less than the limit when nothing is left.
        """

    def count() -> Awaitable[int]:
        """How many tokens are online."""


class IBusListener(Interface):
    """Gets what is published. Must not block nor raise."""

    def received(place: BusPlace, data: bytes | None) -> None:
        """Something was published, and this is its place; None: nothing was, and this is the place of the last."""

    def resumed() -> None:
        """From now on what is published comes in; of what was published before, any part may be missing."""

    def interrupted() -> None:
        """Nothing comes in until `resumed`."""


class IBroadcastBus(Interface):
    """Brings bytes to all nodes at once, each at most once: what is lost is lost, and for listeners to find out.

    Order: what one node publishes arrives in the order of its calls; at all nodes, everything in the same order, which
    is that of its places. The last few are kept in a log.
    """

    is_listening: bool = Attribute("Whether what is published comes in now, as far as is known.")

    def listen(listener: IBusListener) -> None:
        """Tell a listener, from its next `resumed` on: called before this returns, where things come in already."""

    def publish(data: bytes) -> Awaitable[int]:
        """Publish something.

        Returns:
            How many nodes it was sent to.

        Raises:
            Unavailable: it was not published, or that is not known.
        """

    def beat() -> Awaitable[None]:
        """Have all listeners told the place of what was published last: who hears nothing then is deaf.

        Raises:
            Unavailable: they may not be told.
        """

    def since(place: BusPlace) -> Awaitable[tuple[BusPlace, Sequence[bytes]]]:
        """What the log has that was published after this; all that it has, where that is not in its count.

        Returns:
            The place of what was published last, and the last of all that was, up to it, in order.

        Raises:
            Unavailable: it cannot be asked.
        """

    def renew() -> None:
        """This node is deaf, though it seems to listen: end its subscription, and make another."""
