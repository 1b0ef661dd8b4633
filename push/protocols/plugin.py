"""A wire protocol named in the plug-in file without importing it: twistd reads that file at every start.

Imports the interface only; the class is loaded when a listener asks for it.
"""

from importlib import import_module

from twisted.internet.interfaces import IProtocolFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

from push.ipush import IConnectionHost, IWireProtocol


@implementer(IPlugin, IWireProtocol)
class LazyWireProtocol:
    """Stands for an IWireProtocol class.

    Args:
        name: what `--listen NAME=ENDPOINT` calls it.
        path: "module:Class"; the class is built without arguments.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._path = path

    def factory(self, host: IConnectionHost) -> IProtocolFactory:
        """See IWireProtocol."""
        module, _, attribute = self._path.partition(":")
        protocol: IWireProtocol = getattr(import_module(module), attribute)()
        return protocol.factory(host)
