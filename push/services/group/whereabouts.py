"""Which sessions parties have open: told of each that opens and ends, or asked of the subscribe role each time.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from zope.interface import implementer

from push.igroup import ISessionWatcher, IWhereabouts
from push.isubscribe import ISubscribe
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
        # A user → its session, or a table of them by token: most have one, of very many. Under the texts that sessions
        # have anyway: one made for it would be 82 bytes a session. Who has no user is found where all tokens are.
        self._users: dict[str, Registration | dict[str, Registration]] = {}
        self._online: Mapping[str, Registration] = MappingProxyType({})

    def begin(self, online: Mapping[str, Registration]) -> None:
        """See ISessionWatcher."""
        self._online = online

    def came(self, registration: Registration) -> None:
        """See ISessionWatcher."""
        uid, token = registration.uid, registration.token
        count = 1
        if uid is not None:
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
        count = 0 if registration.uid is None else self._left_by(registration.uid, registration)
        if count is not None:
            self.generation += 1
            self.changed(registration, count)

    def _left_by(self, uid: str, registration: Registration) -> int | None:
        """How many sessions a user has left; None where it did not have this one."""
        token = registration.token
        table = self._users.get(uid)
        held = table.get(token) if isinstance(table, dict) else table
        if held is None or (held.token, held.epoch) != (token, registration.epoch):
            return None
        if not isinstance(table, dict):
            del self._users[uid]
            return 0
        del table[token]
        if len(table) == 1:
            (self._users[uid],) = table.values()
        return len(table)

    async def sessions(self, whos: Iterable[str]) -> Mapping[str, Sequence[Registration]]:
        """See IWhereabouts. Does not suspend."""
        found: dict[str, Sequence[Registration]] = {}
        for who in whos:
            if who[0] == "u":
                held = self._users.get(who[1:])
                if held is not None:
                    found[who] = tuple(held.values()) if isinstance(held, dict) else (held,)
            else:
                alone = self._online.get(who[1:])
                if alone is not None and alone.uid is None:  # else it is its user's
                    found[who] = (alone,)
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
