"""Brings what was said in a conversation to the connectors of those who are in it: looked up once, in order.

What comes while a conversation's notices are on their way goes out together with the next. Nothing is kept for who is
away or whose connector is lost: they find it by its sequence number. Must not import adapters, stores or web.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import PushError
from push.igroup import IWhereabouts
from push.ihealth import IMeasured
from push.ipush import IConnector
from push.model_chat import Notice
from push.model_health import Sample
from push.services.tasks import Tasks

# What waits for one conversation: who misses some of it sees a gap in the numbers, and asks.
MAX_WAITING = 1_000
# How many tokens' places are remembered, of all conversations together.
_MAX_PLACES = 200_000

Places = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Told:
    """One thing to tell: as in Notice, to everybody in `audience` but the session of the token `but`."""

    audience: tuple[str, ...]
    subsignal: int
    chat: bytes
    contact: bytes
    but: str


@implementer(IMeasured)
class Fanout:
    """All conversations' notices on their way.

    Args:
        whereabouts: knows the sessions of parties.
        connectors: address → connector, for all that are alive.
        tasks: runs the telling.
    """

    _log = Logger()

    def __init__(
        self, *, whereabouts: IWhereabouts, connectors: Callable[[], Mapping[str, IConnector]], tasks: Tasks
    ) -> None:
        self._whereabouts = whereabouts
        self._connectors = connectors
        self._tasks = tasks
        self._waiting: dict[str, list[Told]] = {}
        # Audience → where it was, at which generation. It is the same object for as long as a group is as it is.
        self._places: OrderedDict[int, tuple[tuple[str, ...], int, Places]] = OrderedDict()
        self._placed = 0
        self._told = 0

    def tell(
        self,
        conversation_id: str,
        audience: tuple[str, ...],
        *,
        subsignal: int,
        chat: bytes,
        contact: bytes = b"",
        but: str = "",
    ) -> None:
        """Tell everybody in an audience, behind all that was told in this conversation before."""
        telling = Told(audience, subsignal, chat, contact, but)
        waiting = self._waiting.get(conversation_id)
        if waiting is not None:
            if len(waiting) < MAX_WAITING:
                waiting.append(telling)
            return
        self._waiting[conversation_id] = [telling]
        self._tasks.spawn("telling what was said", self._tell(conversation_id))

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_chat_notices_total", "counter", "Notices of chat handed to connections.", self._told)
        yield Sample("push_chat_telling", "gauge", "Conversations with notices on their way.", len(self._waiting))

    async def _tell(self, conversation_id: str) -> None:
        try:
            while tellings := self._waiting[conversation_id]:
                self._waiting[conversation_id] = []
                batches: dict[str, list[Notice]] = {}
                # Looked up once for all that goes out together.
                places: dict[int, Places] = {}
                for telling in tellings:
                    found = places.get(id(telling.audience))
                    if found is None:
                        found = places[id(telling.audience)] = await self._find(telling.audience)
                    _place(telling, found, batches)
                calls = [Deferred.fromCoroutine(self._notify(*each)) for each in batches.items()]
                for call in calls:
                    await call
        finally:
            del self._waiting[conversation_id]

    async def _find(self, audience: tuple[str, ...]) -> Places:
        generation = self._whereabouts.generation
        held = self._places.get(id(audience))
        if held is not None and held[0] is audience and held[1] == generation >= 0:
            self._places.move_to_end(id(audience))
            return held[2]
        places: dict[str, list[str]] = {}
        for sessions in (await self._whereabouts.sessions(audience)).values():
            for session in sessions:
                places.setdefault(session.connector, []).append(session.token)
        if generation >= 0:
            self._remember(audience, generation, places)
        return places

    def _remember(self, audience: tuple[str, ...], generation: int, places: Places) -> None:
        if self._places.pop(id(audience), None) is not None:
            self._placed -= len(audience)
        self._places[id(audience)] = (audience, generation, places)
        self._placed += len(audience)
        while self._placed > _MAX_PLACES and len(self._places) > 1:
            _, (oldest, _, _) = self._places.popitem(last=False)
            self._placed -= len(oldest)

    async def _notify(self, address: str, notices: Sequence[Notice]) -> None:
        connector = self._connectors().get(address)
        if connector is None:
            return
        try:
            self._told += await connector.notify(notices)
        except PushError as error:
            self._log.info("{address} could not be told what was said: {error}", address=address, error=error)


def _place(telling: Told, places: Places, batches: dict[str, list[Notice]]) -> None:
    for connector, tokens in places.items():
        if tokens != [telling.but]:
            notice = Notice(tokens, telling.subsignal, telling.chat, telling.contact, telling.but)
            batches.setdefault(connector, []).append(notice)
