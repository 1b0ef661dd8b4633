"""IChat over a link: for a connector whose group role is another node's. Must not import services or stores."""

from zope.interface import implementer

from push.igroup import IChat
from push.model import Registration
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import Chat, Reader, Session

_BODY: Reader[bytes] = Reader(bytes)


@implementer(IChat)
class RemoteChat:
    """The group role, elsewhere.

    Args:
        asking: the questions of this node.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """See IChat."""
        return await self._asking.ask(Chat(Session.of(registration), signal, subsignal, body), _BODY)
