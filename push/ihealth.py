"""The seams by which a node says how it does: checks, a client of itself, numbers. The rules of push.ipush hold here.

Imports only the values.
"""

from collections.abc import Awaitable, Iterable, Sequence

from zope.interface import Interface

from push.model_health import Check, Sample


class IReadiness(Interface):
    """Whether this node can do its work now."""

    def check() -> Awaitable[Sequence[Check]]:
        """Try, within a time limit."""


class IProbe(Interface):
    """A connector's client of itself, for the one who looks whether messages arrive."""

    def open() -> Awaitable[str]:
        """Open its session, unless it is open. Returns its token.

        Raises:
            PushError: it cannot be opened.
        """

    def arrived(payload: bytes) -> Awaitable[None]:
        """Wait until a message with this payload comes; to be asked before it is pushed.

        Raises:
            PushError: it does not come in time.
        """

    def hang_up() -> Awaitable[None]:
        """Close its session, if one is open."""


class IMeasured(Interface):
    """Something with numbers to show."""

    def samples() -> Iterable[Sample]:
        """The numbers as they are now."""
