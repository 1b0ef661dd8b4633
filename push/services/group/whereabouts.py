"""Which sessions parties have open: told of each that opens and ends, or asked of the subscribe role each time.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from zope.interface import implementer

from push.igroup import ISessionWatcher, IWhereabouts
from push.ipush import ISubscribe
from push.model import Registration
from push.model_chat import token_of, uid_of


@implementer(IWhereabouts, ISessionWatcher)
class SessionTable:
    """Told of every session of a server whose tokens are kept in this process.

    Attributes:
        changed: called with a session that has come or gone, and how many its party has now.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.changed: Callable[[Registration, int], None] = lambda registration, sessions: None
        # A user → its session, or a table of them by token: most have one, of very many. And a token without a user →
        # its session. Under the texts that sessions have anyway: one made for it would be 82 bytes a session.
        self._users: dict[str, Registration | dict[str, Registration]] = {}
        self._alone: dict[str, Registration] = {}

    def __len__(self) -> int:
        """How many parties are there."""
        return len(self._users) + len(self._alone)

    def came(self, registration: Registration) -> None:
        """See ISessionWatcher."""
        uid, token = registration.uid, registration.token
        count = 1
        if uid is None:
            self._alone[token] = registration
        else:
            held = self._users.get(uid)
            if held is None or (isinstance(held, Registration) and held.token == token):
                self._users[uid] = registration
            else:
                table = held if isinstance(held, dict) else {held.token: held}
                table[token] = registration
                self._users[uid] = table
                count = len(table)
        self.generation += 1
        self.changed(registration, count)

    def left(self, registration: Registration) -> None:
        """See ISessionWatcher."""
        uid, token = registration.uid, registration.token
        table = self._alone.get(token) if uid is None else self._users.get(uid)
        held = table.get(token) if isinstance(table, dict) else table
        if held is None or (held.token, held.epoch) != (token, registration.epoch):
            return
        count = 0
        if uid is None:
            del self._alone[token]
        elif isinstance(table, dict):
            del table[token]
            count = len(table)
            if count == 1:
                (self._users[uid],) = table.values()
        else:
            del self._users[uid]
        self.generation += 1
        self.changed(registration, count)

    async def sessions(self, whos: Iterable[str]) -> Mapping[str, Sequence[Registration]]:
        """See IWhereabouts. Does not suspend."""
        found: dict[str, Sequence[Registration]] = {}
        for who in whos:
            held = self._users.get(who[1:]) if who[0] == "u" else self._alone.get(who[1:])
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
