"""Seeing who has come or gone where nobody tells of sessions: by looking, at every party that somebody watches.

Must not import adapters, stores or web.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from push.errors import PushError
from push.igroup import IWhereabouts
from push.isubscribe import ISubscribe
from push.services.group.presence import Presences

# Parties, or sessions, in one question: what a message to as many members asks for at once.
_AT_ONCE = 1_000
# Where Redis has lost sessions, their connectors tell them again: half a minute later, if they have to find it out.
FORGET_S = 45.0


class Looking:
    """One look after another: two must agree before others are told, so that a phone that flaps is not told of.

    Args:
        presences: has those who are watched, and tells those who watch.
        whereabouts: knows the sessions of parties.
        subscribe: knows which sessions are open.
        clock: for how long a session may be unknown.
    """

    def __init__(
        self, *, presences: Presences, whereabouts: IWhereabouts, subscribe: ISubscribe, clock: IReactorTime
    ) -> None:
        self._presences = presences
        self._whereabouts = whereabouts
        self._subscribe = subscribe
        self._clock = clock
        # Tokens of sessions that watch and are unknown → since when.
        self._unknown: dict[str, float] = {}
        # How parties were at the last look.
        self._before: dict[str, bool] = {}
        self._is_looking = False

    async def look(self) -> None:
        """Look. Where a look takes longer than the pause between two, the next is left out."""
        if self._is_looking or not self._presences.watching():
            return
        self._is_looking = True
        try:
            await self._forget()
            await self._compare()
        except PushError:
            self._before = {}  # whoever knows is away: who has stayed as it is shows itself after that
        finally:
            self._is_looking = False

    async def _forget(self) -> None:
        """Sessions that are over watch nobody any more."""
        now_s = self._clock.seconds()
        unknown: dict[str, float] = {}
        watching = self._presences.watching()
        for start in range(0, len(watching), _AT_ONCE):
            part = watching[start : start + _AT_ONCE]
            online = await self._subscribe.online([each.token for each in part])
            for each in part:
                found = online.get(each.token)
                if found is None:
                    since_s = unknown[each.token] = self._unknown.get(each.token, now_s)
                    is_over = now_s - since_s >= FORGET_S
                else:
                    is_over = found.epoch != each.epoch
                if is_over:
                    self._presences.over(each)
        self._unknown = unknown

    async def _compare(self) -> None:
        now: dict[str, bool] = {}
        whos = self._presences.watched()
        for start in range(0, len(whos), _AT_ONCE):
            part: Sequence[str] = whos[start : start + _AT_ONCE]
            sessions = await self._whereabouts.sessions(part)
            now.update((who, who in sessions) for who in part)
            steady = [
                who for who in part if self._before.get(who) is now[who] and self._presences.is_news(who, now[who])
            ]
            if steady:
                await self._presences.tell(steady)
        self._before = now
