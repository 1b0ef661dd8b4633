"""The plug-in of the framed protocol: its factory, for whatever listens. Must not import services, stores or web."""

from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import implementer

from push.ipush import IConnectionHost, IWireProtocol
from push.protocols.tcp import FramedProtocol


@implementer(IProtocolFactory)
class FramedFactory:
    """Builds FramedProtocols for one host."""

    noisy = False

    def __init__(self, host: IConnectionHost) -> None:
        self._host = host

    def buildProtocol(self, addr: IAddress) -> FramedProtocol:
        """Build one; whether it is welcome is decided when it is connected."""
        return FramedProtocol(self._host)

    def doStart(self) -> None:
        """Nothing to prepare."""

    def doStop(self) -> None:
        """Nothing to release."""


@implementer(IWireProtocol)
class FramedWireProtocol:
    """The plug-in that `--listen framed=ENDPOINT` names."""

    name = "framed"

    def factory(self, host: IConnectionHost) -> FramedFactory:
        """See IWireProtocol."""
        return FramedFactory(host)
