"""IProbe over a link. Must not import services, stores or web."""

from zope.interface import implementer

from push.ihealth import IProbe
from push.protocols.peer.envelopes import Reader
from push.protocols.peer.link import Link

_TOKEN: Reader[str] = Reader(str)


@implementer(IProbe)
class RemoteProbe:
    """A connector's client of itself, elsewhere.

    Args:
        link: to the connector.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def open(self) -> str:
        """See IProbe."""
        return _TOKEN.read(await self._link.call("probe_open"))

    async def arrived(self, payload: bytes) -> None:
        """See IProbe."""
        await self._link.call("probe_arrived", payload)

    async def hang_up(self) -> None:
        """See IProbe."""
        await self._link.call("probe_hang_up")
