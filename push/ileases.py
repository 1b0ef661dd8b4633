"""The seams of what nobody else may have at the same time, or get again: names, stores, numbers.

The rules of push.ipush hold here. Imports only the values.
"""

from collections.abc import Awaitable, Callable, Sequence

from zope.interface import Interface

from push.model_cluster import Lease


class ILeases(Interface):
    """Names that are each held by one node at a time, until it lets go or does not renew in time.

    Time is that of the store. Whoever renews reckons from when it asked, not from when it was answered. Everything
    raises Unavailable where it cannot be asked, or did not answer: then it may have been done. All leases may be lost.
    """

    def acquire(name: str, details: bytes, ttl_s: float) -> Awaitable[Lease | None]:
        """Take a name, for so many seconds. None while somebody has it."""

    def renew(lease: Lease, details: bytes, ttl_s: float) -> Awaitable[bool]:
        """Keep it for so many seconds from now, with new details. False where it is lost: then it is to be acquired."""

    def release(lease: Lease) -> Awaitable[bool]:
        """Let go. Returns whether it was still held; a successor's lease stays as it is."""

    def held() -> Awaitable[Sequence[Lease]]:
        """All leases there are now, by name."""


class IFenced(Interface):
    """A store that several nodes could write to, but only one at a time may."""

    def open(fence: int, lost: Callable[[], None]) -> Awaitable[None]:
        """Take it over. What others wrote before is there; nothing that they write from now on is.

        Args:
            fence: the number of a lease: greater than that of everybody who opened it before.
            lost: called when something is refused because somebody else has opened it, or because it was emptied.

        Raises:
            Superseded: somebody has opened it with a greater number.
            Unavailable: it cannot be asked; it may have been opened.
        """


class IFloorStore(Interface):
    """Numbers on disk that may only grow, so that a restart never repeats what was given out before."""

    def floor(name: str) -> Awaitable[int]:
        """The number stored, 0 at first."""

    def raise_floor(name: str, value: int) -> Awaitable[None]:
        """Store a number, unless a greater one is stored."""
