"""Keeps what others know of a connector's sessions true, where it is kept elsewhere and may be lost there.

While others may not know a session, messages for its token are cached, and nobody tells this connector: so it is held
behind until they know it again, and then gets what was cached before anything newer.

A session that is said to be replaced elsewhere is closed only if the other one is still there a moment later: its
client may have given up waiting for it, as whoever was to open it was dead or frozen; then the client is here, and must
not be told to stay away. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from push.errors import PushError
from push.icache import IPulling
from push.ipush import IConnection
from push.isubscribe import ISubscribe
from push.model import Registration
from push.services.connections import REPLACED
from push.services.connector import Connector
from push.services.periodic import Periodic
from push.services.tasks import Tasks
from push.services.turns import Slices

# Every session is looked up that often: a look-up among a thousand costs 2 µs (docs/redis.md), so 100,000 sessions take
# less than a hundredth of a core.
LOOK_S = 30.0
# A router that dies between keeping a message and bringing it leaves it there, unanswered. It comes with the next one,
# or after so long.
ASK_S = 60.0
RETRY_S = 1.0
_AT_ONCE = 1_000
# How long others may take to see that this connector is there: until then, they may not tell it of what is logged.
SETTLE_S = 3.0
# How long a connector may take to see that the client whose session it has just opened is gone, and to say so.
DOUBT_S = 0.5


class SessionKeeper(Service):
    """Of one connector.

    Args:
        connector: whose sessions.
        subscribe: where they are known.
        cache: has what waits for them.
        clock: for the intervals.
        look_s: how often it is looked whether others know all sessions, in seconds.
        ask_s: how often the cache is asked for what nobody told this connector of, in seconds.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        connector: Connector,
        subscribe: ISubscribe,
        cache: IPulling,
        clock: IReactorTime,
        look_s: float = LOOK_S,
        ask_s: float = ASK_S,
    ) -> None:
        self._connector = connector
        self._subscribe = subscribe
        self._cache = cache
        self._clock = clock
        self._slices = Slices(clock)
        self.tasks = Tasks()
        # Sessions that others may not know.
        self._held: dict[IConnection, None] = {}
        self._may_reopen = True
        self._times_lost = 0
        self._times_moved = 0
        self._seen: IDelayedCall | None = None
        # Sessions that are said to be over, and those that were made known again in spite of it.
        self._doubted: dict[IConnection, None] = {}
        self._restored: set[IConnection] = set()
        self._doubt: IDelayedCall | None = None
        self._busy: set[str] = set()
        self._looks = Periodic("looking at sessions", self._look, interval_s=look_s, clock=clock)
        self._asks = Periodic("asking for what is left", self.cache_joined, interval_s=ask_s, clock=clock)
        connector.unsure = self.unsure

    def startService(self) -> None:
        """Begin to look, now and then, whether all sessions are known."""
        super().startService()
        self._looks.startService()
        self._asks.startService()

    def stopService(self) -> "Deferred[None]":
        """End; fires when nothing is tried any more."""
        super().stopService()
        self._looks.stopService()
        self._asks.stopService()
        for call in (self._seen, self._doubt):
            if call is not None and call.active():
                call.cancel()
        return self.tasks.settled()

    @property
    def held(self) -> int:
        """How many sessions others may not know."""
        return len(self._held)

    def lost(self) -> None:
        """This connector may count as dead by now, and its sessions as offline; to be called before it is back."""
        self._may_reopen = False
        self._times_lost += 1
        self._hold(self._connector.connections.with_session())

    def back(self) -> None:
        """This connector counts as alive: its sessions are made known again, also those that were opened meanwhile."""
        self._may_reopen = True
        self._times_lost += 1
        self._hold(self._connector.connections.with_session())
        self._alone("making sessions known again", self._reopen)
        if self._seen is not None and self._seen.active():
            self._seen.cancel()
        self._seen = self._clock.callLater(SETTLE_S, self.cache_joined)

    def _hold(self, connections: Iterable[IConnection]) -> None:
        for connection in connections:
            self._held[connection] = None
            self._connector.replays.hold(connection)

    def unsure(self, connection: IConnection) -> None:
        """Its session is said to be over: see whether there is another one, or make it known again."""
        if connection in self._restored:
            connection.disconnect(REPLACED)
            return
        # What is kept for its token is another session's meanwhile: none of it may be handed over here and forgotten.
        self._connector.replays.hold(connection)
        self._doubted[connection] = None
        self._doubt_in(DOUBT_S)

    def cache_moved(self) -> None:
        """Another node has the cache: it is told again what it may not know; who has something there pulls it."""
        self._connector.reports.repeat()
        self.cache_joined()

    def cache_joined(self) -> None:
        """The cache was out of reach: who has something there, and was not told, pulls it."""
        self._times_moved += 1
        self._alone("asking the cache who has something there", self._ask_cache)

    def _look(self) -> None:
        if self._may_reopen:
            self._alone("looking at sessions", self._compare)

    def _alone(self, what: str, work: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        if what not in self._busy:
            self._busy.add(what)
            self.tasks.spawn(what, self._once(what, work))

    async def _once(self, what: str, work: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        try:
            await work()
        finally:
            self._busy.discard(what)

    async def _reopen(self) -> None:
        count = len(self._held)
        while self._held and self._may_reopen and self.running:
            some = [each for each, _ in zip(self._held, range(_AT_ONCE), strict=False)]
            times = self._times_lost
            sessions = self._registrations(some)
            try:
                await self._subscribe.reopened(sessions)
                known = await self._subscribe.online([each.token for each in sessions])
            except PushError:
                await self._slices.pause(RETRY_S)
                continue
            if times != self._times_lost:
                continue
            newer = {each.token for each in sessions if _is_newer(known.get(each.token), each)}
            for connection in some:
                del self._held[connection]
                registration = connection.registration
                if registration is not None and registration.token in newer:
                    self.unsure(connection)
                else:
                    self._connector.replays.let_go(connection)
        if count and not self._held:
            self._log.info("{count} sessions are known again", count=count)

    def _doubt_in(self, delay_s: float) -> None:
        if self._doubt is None or not self._doubt.active():
            self._doubt = self._clock.callLater(delay_s, self._alone, "looking at replaced sessions", self._look_again)

    async def _look_again(self) -> None:
        """Close those sessions that have a newer one elsewhere; the others are not over."""
        some = [each for each, _ in zip(self._doubted, range(_AT_ONCE), strict=False)]
        for connection in some:
            del self._doubted[connection]
        held = {each.token: each for each in self._registrations(some)}
        try:
            known = await self._subscribe.online(list(held))
            # Those of this connector that it does not have.
            strays = [
                each
                for each in known.values()
                if each.connector == self._connector.address and _is_newer(each, held[each.token])
            ]
            await self._subscribe.closed(strays)
        except PushError:
            self._doubted.update(dict.fromkeys(some))
            self._doubt_in(RETRY_S)
            return
        if self._doubted and self.running:
            self._doubt_in(DOUBT_S)
        for session in self._registrations(some):
            connection = self._connector.connections.by_token[session.token]
            there = known.get(session.token)
            if _is_newer(there, session) and there not in strays:
                connection.disconnect(REPLACED)
            elif _is_same(there, session) and connection not in self._held:
                self._connector.replays.let_go(connection)
            elif not _is_same(there, session):
                self._restored.add(connection)
                self._clock.callLater(SETTLE_S, self._restored.discard, connection)
                self._hold([connection])
        if self._held and self._may_reopen:
            self._alone("making sessions known again", self._reopen)

    async def _compare(self) -> None:
        """Look up all sessions. Who is not known as it is, may have missed something; epochs settle who is right."""
        connections = self._connector.connections.with_session()
        for start in range(0, len(connections), _AT_ONCE):
            some = connections[start : start + _AT_ONCE]
            try:
                known = await self._subscribe.online([each.token for each in self._registrations(some)])
            except PushError:
                return  # the next look finds it
            by_token = self._connector.connections.by_token
            sessions = self._registrations(some)
            wrong = [by_token[each.token] for each in sessions if not _is_same(known.get(each.token), each)]
            if wrong and self._may_reopen:
                self._hold(wrong)
                self._alone("making sessions known again", self._reopen)
            await self._slices.turn()

    async def _ask_cache(self) -> None:
        start = 0
        times = self._times_moved
        connections = self._connector.connections.with_session()
        while start < len(connections):
            by_token = {
                each.registration.token: each
                for each in connections[start : start + _AT_ONCE]
                if each.registration is not None
            }
            try:
                waiting: Iterable[str] = await self._cache.waiting(list(by_token))
            except PushError:
                await self._slices.pause(RETRY_S)
                if not self.running:
                    return
                continue
            for token in waiting:
                if token in by_token:  # from the beginning: what it told a former holder that it has may be lost
                    self._connector.replays.begin(by_token[token])
            start += _AT_ONCE
            if times != self._times_moved:
                times, start, connections = self._times_moved, 0, self._connector.connections.with_session()
            await self._slices.turn()

    def _registrations(self, connections: Sequence[IConnection]) -> list[Registration]:
        """Of those that still have their sessions."""
        by_token = self._connector.connections.by_token
        return [
            each.registration
            for each in connections
            if each.registration is not None and by_token.get(each.registration.token) is each
        ]


def _is_newer(known: Registration | None, session: Registration) -> bool:
    """Whether others know a newer session of the same token."""
    return known is not None and known.epoch > session.epoch


def _is_same(known: Registration | None, session: Registration) -> bool:
    """Whether others know this very session. When its credential is over they are not told."""
    return known is not None and (known.epoch, known.connector) == (session.epoch, session.connector)
