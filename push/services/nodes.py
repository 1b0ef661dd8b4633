"""Which connectors there are, on a server of one process: its own. Must not import adapters, stores or web."""

from collections.abc import Mapping

from zope.interface import implementer

from push.inodes import INodes
from push.ipush import IConnector


@implementer(INodes)
class LocalNodes:
    """The connector of this process, by its address.

    Args:
        connector: whose address may become known only when its listeners are up.
    """

    def __init__(self, connector: IConnector) -> None:
        self._connector = connector

    def connectors(self) -> Mapping[str, IConnector]:
        """See INodes."""
        return {self._connector.address: self._connector}
