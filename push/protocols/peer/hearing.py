"""A connector's word to every router that is linked to it: whether it hears what is published on the broadcast bus.

Must not import services, stores or web.
"""

from twisted.python.failure import Failure

from push.errors import PushError
from push.protocols.peer.link import Link


class Hearing:
    """Tells all links of one connector, whenever it changes and when a link is new.

    A router that is too old to want to know sends its broadcasts over the link, as it always did.
    """

    def __init__(self) -> None:
        self._links: set[Link] = set()
        self._hears = False

    def attach(self, link: Link) -> None:
        """A link to a router is there."""
        if not link.is_lost:
            self._links.add(link)
            link.when_lost(lambda why: self._links.discard(link))
            if self._hears:
                self._tell(link)

    def changed(self, hears: bool) -> None:
        """Whether it hears has changed."""
        self._hears = hears
        for link in list(self._links):
            self._tell(link)

    def _tell(self, link: Link) -> None:
        link.call("hears", b"1" if self._hears else b"").addErrback(_not_heard)


def _not_heard(failure: Failure) -> None:
    failure.trap(PushError)  # it is lost, or does not know this call: then it does not ask for the bus either
