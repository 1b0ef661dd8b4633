"""Who is there, who was when, and telling that to those who want to know: not more often than that can matter.

A phone that comes and goes is told of when it has stayed as it is for a while. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.chat_json import presence_entry
from push.errors import PushError, RateLimited
from push.igroup import IPresence, IWhereabouts
from push.ipush import IConnector
from push.model import Registration
from push.model_chat import Notice, Presence, party
from push.protocols.wire.signals import SubSignal
from push.services.group.sightings import Sightings
from push.services.tasks import Tasks

# How many parties all sessions together may watch; one may as many as it can name (bodies.Watch).
MAX_WATCHES = 1_000_000


@implementer(IPresence)
class Presences:
    """The presence of all parties.

    Args:
        sightings: remembers when they were last there.
        whereabouts: knows their sessions.
        connectors: address → connector, for all that are alive.
        clock: for the debouncing.
        now_ms: milliseconds since 1970.
        tasks: runs what nobody waits for.
        debounce_s: how long one must have been there, or away, before others are told.
    """

    def __init__(
        self,
        *,
        sightings: Sightings,
        whereabouts: IWhereabouts,
        connectors: Callable[[], Mapping[str, IConnector]],
        clock: IReactorTime,
        now_ms: Callable[[], int],
        tasks: Tasks,
        debounce_s: float,
    ) -> None:
        self._sightings = sightings
        self._whereabouts = whereabouts
        self._connectors = connectors
        self._clock = clock
        self._now_ms = now_ms
        self._tasks = tasks
        self._debounce_s = debounce_s
        # Party → token of who watches → whether that one was told that the party is there.
        self._watchers: dict[str, dict[str, bool]] = {}
        # Token → its session, and the parties that it watches.
        self._watched: dict[str, tuple[Registration, set[str]]] = {}
        self._watches = 0
        # When a party's state is to be told.
        self._settling: dict[str, float] = {}
        self._is_looking = False

    def changed(self, registration: Registration, sessions: int) -> None:
        """A session has come or gone: its party has so many now. It watches nobody, or nobody yet."""
        self._forget(registration.token)
        is_last = not sessions and registration.uid is not None
        if is_last or self._watchers:  # else nobody need know: no text is made of each of thousands that come at once
            who = party(registration.uid, registration.token)
            if is_last:
                self._sightings.saw(who)
            if who in self._watchers:
                self._settle(who)

    def watching(self) -> Sequence[Registration]:
        """The sessions that watch others."""
        return [session for session, _ in self._watched.values()]

    def watched(self) -> Sequence[str]:
        """The parties that somebody watches."""
        return list(self._watchers)

    def over(self, registration: Registration) -> None:
        """A session is over: it watches nobody any more."""
        held = self._watched.get(registration.token)
        if held is not None and held[0].epoch == registration.epoch:
            self._forget(registration.token)

    def is_news(self, who: str, is_there: bool) -> bool:
        """Whether somebody who watches this party was told otherwise."""
        return any(was_told is not is_there for was_told in self._watchers.get(who, {}).values())

    async def presence(self, whos: Sequence[str]) -> Sequence[Presence]:
        """See IPresence."""
        sessions = await self._whereabouts.sessions(whos)
        now_ms = self._now_ms()
        seen = {who: now_ms for who in whos if who in sessions}
        away = [who for who in whos if who not in sessions]
        if away:
            seen = {**await self._sightings.seen(away), **seen}
        return [Presence(who, len(sessions.get(who, ())), seen.get(who)) for who in whos]

    def gone(self, connector: str) -> None:
        """The link to a connector is lost: it asks again for its sessions, here or elsewhere."""
        for session in self.watching():
            if session.connector == connector:
                self._forget(session.token)

    async def watch(
        self, registration: Registration, whos: Sequence[str], known: Mapping[str, bool] = MappingProxyType({})
    ) -> Sequence[Presence]:
        """Tell a session from now on when these come and go, and no more of others.

        Args:
            registration: the session.
            whos: the parties.
            known: party → whether it was there when the session was last told; then it is told of what is otherwise by
                now as of a change.

        Returns:
            How they are now.

        Raises:
            RateLimited: too many watch already.
        """
        token = registration.token
        wanted = set(whos)
        _, before = self._watched.get(token, (registration, ()))
        if self._watches - len(before) + len(wanted) > MAX_WATCHES:
            raise RateLimited("too many watch others already", retry_after_s=60.0)
        self._forget(token)
        if not wanted:
            return await self.presence(whos)
        begun = self._watched[token] = (registration, set())
        found = await self.presence(whos)
        if self._watched.get(token) is begun:  # or the session has ended meanwhile, or watches others
            self._watched[token] = (registration, wanted)
            self._watches += len(wanted)
            for presence in found:
                self._begin(presence, token, known)
        return found

    def _begin(self, presence: Presence, token: str, known: Mapping[str, bool]) -> None:
        is_there = presence.sessions > 0
        was_told = known.get(presence.who, is_there)
        self._watchers.setdefault(presence.who, {})[token] = was_told
        if was_told is not is_there:
            self._settle(presence.who)

    def _settle(self, who: str) -> None:
        """See how a party is when it may have stayed so for a while."""
        self._settling[who] = self._clock.seconds() + self._debounce_s
        self._look_later()

    def _forget(self, token: str) -> None:
        watched = self._watched.pop(token, None)
        if watched is None:
            return
        _, whos = watched
        self._watches -= len(whos)
        for who in whos:
            watchers = self._watchers[who]
            watchers.pop(token, None)
            if not watchers:
                del self._watchers[who]
                self._settling.pop(who, None)

    def _look_later(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._clock.callLater(self._debounce_s, self._look)

    def _look(self) -> None:
        """Tell of those who have stayed as they are."""
        self._is_looking = False
        now_s = self._clock.seconds()
        settled = [who for who, at_s in self._settling.items() if at_s <= now_s]
        for who in settled:
            del self._settling[who]
        if settled:
            self._tasks.spawn("telling who is there", self.tell(settled))
        if self._settling:
            self._look_later()

    async def tell(self, whos: Sequence[str]) -> None:
        """Tell those who watch these parties how they are, unless they know it."""
        batches: dict[str, list[Notice]] = {}
        for presence in await self.presence(whos):
            self._tell_watchers(presence, batches)
        for address, notices in batches.items():
            connector = self._connectors().get(address)
            if connector is not None:
                try:
                    await connector.notify(notices)
                except PushError:
                    continue  # its sessions are over, and watch nobody any more

    def _tell_watchers(self, presence: Presence, batches: dict[str, list[Notice]]) -> None:
        is_there = presence.sessions > 0
        places: dict[str, list[str]] = {}
        watchers = self._watchers.get(presence.who, {})
        for token, was_told in watchers.items():
            if was_told != is_there:
                watchers[token] = is_there
                session, _ = self._watched[token]
                places.setdefault(session.connector, []).append(token)
        body = msgspec.json.encode(presence_entry(presence))
        for address, tokens in places.items():
            batches.setdefault(address, []).append(Notice(tokens, SubSignal.US, body))
