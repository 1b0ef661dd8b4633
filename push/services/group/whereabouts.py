"""Which sessions parties have open: told of each that opens and ends, or asked of the subscribe role each time.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from zope.interface import implementer

from push.igroup import ISessionWatcher, IWhereabouts
from push.ipush import ISubscribe
from push.model import Registration
from push.model_chat import party, token_of, uid_of


@implementer(IWhereabouts, ISessionWatcher)
class SessionTable:
    """Told of every session of a server whose tokens are kept in this process.

    Attributes:
        changed: called with a session that has come or gone, and how many its party has now.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.changed: Callable[[Registration, int], None] = lambda registration, sessions: None
        # Party → its session, or a table of them by token: most have one, of very many.
        self._sessions: dict[str, Registration | dict[str, Registration]] = {}

    def __len__(self) -> int:
        """How many parties are there."""
        return len(self._sessions)

    def came(self, registration: Registration) -> None:
        """See ISessionWatcher."""
        who = party(registration.uid, registration.token)
        held = self._sessions.get(who)
        count = 1
        if held is None or (isinstance(held, Registration) and held.token == registration.token):
            self._sessions[who] = registration
        else:
            table = held if isinstance(held, dict) else {held.token: held}
            table[registration.token] = registration
            self._sessions[who] = table
            count = len(table)
        self.generation += 1
        self.changed(registration, count)

    def left(self, registration: Registration) -> None:
        """See ISessionWatcher."""
        who = party(registration.uid, registration.token)
        table = self._sessions.get(who)
        count = 0
        if isinstance(table, dict):
            held = table.get(registration.token)
            if held is None or held.epoch != registration.epoch:
                return
            del table[registration.token]
            count = len(table)
            if count == 1:
                (self._sessions[who],) = table.values()
        elif table is None or (table.token, table.epoch) != (registration.token, registration.epoch):
            return
        else:
            del self._sessions[who]
        self.generation += 1
        self.changed(registration, count)

    async def sessions(self, whos: Iterable[str]) -> Mapping[str, Sequence[Registration]]:
        """See IWhereabouts. Does not suspend."""
        found: dict[str, Sequence[Registration]] = {}
        for who in whos:
            held = self._sessions.get(who)
            if held is not None:
                found[who] = tuple(held.values()) if isinstance(held, dict) else (held,)
        return found


@implementer(IWhereabouts)
class AskedSessions:
    """For a server whose tokens are kept by others: two questions for each look.

    Args:
        subscribe: is asked.
    """

    generation = -1

    def __init__(self, subscribe: ISubscribe) -> None:
        self._subscribe = subscribe

    async def sessions(self, whos: Iterable[str]) -> Mapping[str, Sequence[Registration]]:
        """See IWhereabouts."""
        parties = list(whos)
        uids = [uid for who in parties if (uid := uid_of(who)) is not None]
        tokens = [token for who in parties if (token := token_of(who)) is not None]
        of_uids = await self._subscribe.tokens_of(uids) if uids else {}
        online = await self._subscribe.online([*tokens, *(token for theirs in of_uids.values() for token in theirs)])
        found: dict[str, Sequence[Registration]] = {}
        for uid, theirs in of_uids.items():
            # A token may be another user's by now.
            here = tuple(online[token] for token in theirs if token in online and online[token].uid == uid)
            if here:
                found["u" + uid] = here
        for token in tokens:
            if token in online and online[token].uid is None:
                found["t" + token] = (online[token],)
        return found
