"""Whose presence the clients of one connector watch: kept where the clients are, so that it outlives who tells of it.

A node with the group role has a watch for as long as the link over which it was asked lasts, and forgets it with that.
What was asked over a link that is no more is asked again, of the node that is chosen then, with what the client was
told last: so it is told of what has changed meanwhile, and of nothing twice. Must not import adapters, stores or web.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import RETRY_NO, PushError
from push.igroup import IChat
from push.ipush import IConnection
from push.model import Registration
from push.model_chat import Notice
from push.protocols.wire.chat import SUCCESS
from push.protocols.wire.signals import Signal, SubSignal
from push.services.chosen_chat import ChosenChat
from push.services.periodic import Periodic
from push.services.tasks import Tasks

# How often it is looked whether links are as they were: as often as it is looked which nodes there are.
LOOK_S = 1.0
# Watches that are asked again at once. Each costs the node up to 500 look-ups.
_AT_ONCE = 16
# As long as a node cannot take them; it may say that it is to be longer.
_MAX_PAUSE_S = 60.0
# How often watches of sessions that are over are thrown away.
_PURGE_S = 30.0


class _Wish(msgspec.Struct, frozen=True):
    """US, as far as it matters here: docs/chat.md."""

    watch: bool = True


class _Shown(msgspec.Struct, frozen=True):
    """Presence, as far as it matters here."""

    uid: str
    online: bool


class _Answer(msgspec.Struct, frozen=True):
    presence: list[_Shown]


class _Again(msgspec.Struct, frozen=True):
    """US, as it is said again."""

    uids: list[str]
    known: dict[str, bool]


_wishes = msgspec.json.Decoder(_Wish)
_answers = msgspec.json.Decoder(_Answer)
_notices = msgspec.json.Decoder(_Shown)
_NOBODY = msgspec.json.encode(_Again([], {}))


@dataclass(slots=True, eq=False)
class _Watch:
    """What one session watches.

    Attributes:
        registration: the session.
        told: uid → whether its client was told that this user is there.
        node: who tells.
        link: over which that node was asked.
    """

    registration: Registration
    told: dict[str, bool]
    node: str
    link: object


@implementer(IChat)
class Watches(Service):
    """Of one connector.

    Args:
        chat: the group role, of several nodes.
        links: name of such a node → the link to it, of those that can be asked now.
        by_token: token → the connection that has its session; looked at, never changed.
        clock: for the looks.
    """

    _log = Logger()

    def __init__(
        self,
        chat: ChosenChat,
        *,
        links: Callable[[], Mapping[str, object]],
        by_token: Mapping[str, IConnection],
        clock: IReactorTime,
    ) -> None:
        self._chat = chat
        self._links = links
        self._by_token = by_token
        self._clock = clock
        self._tasks = Tasks()
        self._watches: dict[str, _Watch] = {}
        # Token → held while a node is asked for it: of two questions, the later one counts, there and here.
        self._locks: dict[str, DeferredLock] = {}
        # The links at the last look, if all that was asked over others is asked again.
        self._settled: Mapping[str, object] = {}
        self._pause_until_s = 0.0
        self._is_asking = False
        self._looks = Periodic("looking who tells of presence", self._look, interval_s=LOOK_S, clock=clock)
        self._purges = Periodic("forgetting what nobody watches", self._purge, interval_s=_PURGE_S, clock=clock)

    def __len__(self) -> int:
        """How many sessions watch others."""
        return len(self._watches)

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._looks.startService()
        self._purges.startService()

    def stopService(self) -> "Deferred[None]":
        """End; fires when nobody is asked any more."""
        super().stopService()
        self._looks.stopService()
        self._purges.stopService()
        return self._tasks.settled()

    async def ask(self, registration: Registration, signal: int, subsignal: int, body: bytes) -> bytes:
        """See IChat."""
        if (signal, subsignal) != (Signal.PUBLISH, SubSignal.US):
            return await self._chat.ask(registration, signal, subsignal, body)
        lock = await self._locked(registration.token)
        try:
            return await self._watch(registration, body)
        finally:
            self._unlocked(registration.token, lock)

    def noticed(self, notices: Sequence[Notice]) -> None:
        """Clients are told this: remember what of it is presence."""
        if not self._watches:
            return
        for notice in notices:
            if notice.subsignal == SubSignal.US:
                try:
                    shown = _notices.decode(notice.chat)
                except msgspec.DecodeError:
                    continue  # from a node of another version: its clients make of it what they can
                for token in notice.tokens:
                    watch = self._watches.get(token)
                    if watch is not None and shown.uid in watch.told:
                        watch.told[shown.uid] = shown.online

    async def _watch(self, registration: Registration, body: bytes) -> bytes:
        """Ask as a client does, and note what comes of it."""
        node = self._chat.choose(registration)
        link = self._links().get(node)
        answer = await self._chat.ask_node(node, registration, Signal.PUBLISH, SubSignal.US, body)
        if not answer.startswith(SUCCESS) or not _wishes.decode(body or b"{}").watch:
            return answer
        told = {shown.uid: shown.online for shown in _answers.decode(answer[len(SUCCESS) :]).presence}
        before = self._watches.pop(registration.token, None)
        if before is not None and before.node != node and self._is_up(before):
            # It was chosen before others came: it would go on to tell of those that are watched no more.
            self._tasks.spawn("ending a watch", self._end(before))
        if told:
            self._watches[registration.token] = _Watch(registration, told, node, link)
            self._see(node, link)
        return answer

    def _see(self, node: str, link: object) -> None:
        """A watch depends on this link. It may be lost before the next look, which would miss that."""
        if self._settled.get(node) != link:
            self._settled = {}

    async def _end(self, watch: _Watch) -> None:
        try:
            await self._chat.ask_node(watch.node, watch.registration, Signal.PUBLISH, SubSignal.US, _NOBODY)
        except PushError as error:
            self._log.info("{node} may go on to tell of presence: {error}", node=watch.node, error=error)

    def _is_up(self, watch: _Watch) -> bool:
        """Whether the link over which this was asked is still there."""
        return self._links().get(watch.node) == watch.link

    def _is_open(self, watch: _Watch) -> bool:
        """Whether its session is still the one that its client has here."""
        connection = self._by_token.get(watch.registration.token)
        held = None if connection is None else connection.registration
        return held is not None and held.epoch == watch.registration.epoch

    def _look(self) -> None:
        links = self._links()
        if links and links != self._settled and not self._is_asking and self._clock.seconds() >= self._pause_until_s:
            self._is_asking = True
            self._settled = dict(links)
            self._tasks.spawn("watching again", self._watch_again())

    async def _watch_again(self) -> None:
        """Ask again what was asked over links that are no more."""
        try:
            self._purge()
            lost = [watch for watch in self._watches.values() if not self._is_up(watch)]
            pauses_s = [0.0]
            for start in range(0, len(lost), _AT_ONCE):
                if not self.running:
                    return
                asking = [Deferred.fromCoroutine(self._again(watch)) for watch in lost[start : start + _AT_ONCE]]
                pauses_s += [await each for each in asking]
            if max(pauses_s):
                self._pause_until_s = self._clock.seconds() + min(max(pauses_s), _MAX_PAUSE_S)
                self._settled = {}
            if lost:
                self._log.info("{count} sessions whose watches were lost watch again", count=pauses_s.count(0.0) - 1)
        finally:
            self._is_asking = False

    async def _again(self, watch: _Watch) -> float:
        """Ask one again. Returns 0, or after how many seconds it is to be tried again."""
        token = watch.registration.token
        lock = await self._locked(token)
        try:
            if self._watches.get(token) is not watch or self._is_up(watch) or not self._is_open(watch):
                return 0.0
            node = self._chat.choose(watch.registration)
            link = self._links().get(node)
            body = msgspec.json.encode(_Again(list(watch.told), watch.told))
            await self._chat.ask_node(node, watch.registration, Signal.PUBLISH, SubSignal.US, body)
            watch.node, watch.link = node, link
            self._see(node, link)
        except PushError as error:
            if error.retry == RETRY_NO:  # it will not be taken later either
                self._watches.pop(token, None)
                self._log.warn("a client's watch is lost: {error}", error=error)
                return 0.0
            return max(error.retry_after_s or 0.0, LOOK_S)
        finally:
            self._unlocked(token, lock)
        return 0.0

    def _purge(self) -> None:
        for token in [token for token, watch in self._watches.items() if not self._is_open(watch)]:
            del self._watches[token]

    async def _locked(self, token: str) -> DeferredLock:
        lock = self._locks.setdefault(token, DeferredLock())
        await lock.acquire()
        return lock

    def _unlocked(self, token: str, lock: DeferredLock) -> None:
        lock.release()
        if not lock.locked and not lock.waiting:
            self._locks.pop(token, None)
