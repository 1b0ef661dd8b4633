"""The group role of a cluster as a connector has it that asks other nodes. Must not import adapters, stores or web."""

from collections.abc import Callable, Iterable, Mapping
from zlib import crc32

from zope.interface import implementer

from push.errors import Unavailable
from push.igroup import IChat
from push.model import Registration
from push.model_chat import party


@implementer(IChat)
class ChosenChat:
    """Any of several nodes that share groups and conversations: for each user always the same, while it is there.

    So what a client asks is done in its order, and what all devices of a user ask is counted in one place. What a node
    that is lost was asked may have been done.

    Args:
        there: name → what can be asked, of those nodes that can be asked now.
    """

    def __init__(self, there: Callable[[], Mapping[str, IChat]]) -> None:
        self._there = there

    async def ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """See IChat."""
        return await self.ask_node(self.choose(registration), registration, signal, subsignal, body)

    def choose(self, registration: Registration) -> str:
        """The node that is asked for a session.

        Raises:
            Unavailable: there is none.
        """
        there = self._there()
        if not there:
            raise _nobody()
        return chosen(there, party(registration.uid, registration.token))

    async def ask_node(self, name: str, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """Ask this one. As IChat.ask.

        Raises:
            Unavailable: it is not there.
        """
        node = self._there().get(name)
        if node is None:
            raise _nobody()
        return await node.ask(registration, signal, subsignal, body)


def chosen(names: Iterable[str], about: str) -> str:
    """Which of these nodes is asked about something: always the same, while it is there."""
    key = about.encode("utf-8", "surrogatepass")
    return max(names, key=lambda each: crc32(key, crc32(each.encode())))


def _nobody() -> Unavailable:
    return Unavailable("no node with the role group is there", retry_after_s=1.0)
