"""The group role as connectors see it: one question after another, each within its sender's rate.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable

import msgspec
from zope.interface import implementer

from push.errors import NotImplementedHere, PushError
from push.igroup import IChat
from push.ihealth import IMeasured
from push.model import Registration
from push.model_chat import party
from push.model_health import Sample
from push.protocols.wire.chat import SUCCESS
from push.protocols.wire.signals import Signal
from push.services.group.contact import Contacts
from push.services.group.limits import Rates
from push.services.group.publish import Publishes


class _Contacted(msgspec.Struct, frozen=True):
    """The answer to a CONTACT."""

    status: int
    id: str


@implementer(IChat, IMeasured)
class Chat:
    """Answers clients.

    Args:
        contacts: what clients of the old form say.
        publishes: what clients of the chat form ask.
        requests_per_s: how much one party may ask.
        now_s: seconds on a monotonic clock.
    """

    def __init__(
        self, *, contacts: Contacts, publishes: Publishes, requests_per_s: float, now_s: Callable[[], float]
    ) -> None:
        self._contacts = contacts
        self._publishes = publishes
        self._rates = Rates("requests of yours", requests_per_s, now_s)
        self._answered = {"done": 0, "refused": 0}

    async def ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """See IChat."""
        try:
            self._rates.take(party(registration.uid, registration.token))
            answer = await self._ask(registration, signal, subsignal, body)
        except PushError:
            self._answered["refused"] += 1
            raise
        self._answered["done"] += 1
        return answer

    async def _ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        if signal == Signal.CONTACT:
            message = await self._contacts.say(registration, body)
            return msgspec.json.encode(_Contacted(200, str(message.id)))
        if signal == Signal.PUBLISH:
            return SUCCESS + await self._publishes.ask(registration, subsignal, body)
        raise NotImplementedHere(f"signal {signal} has no meaning here")

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        for outcome, count in self._answered.items():
            labels = (("outcome", outcome),)
            yield Sample("push_chat_requests_total", "counter", "CONTACTs and PUBLISHs of clients.", count, labels)
