"""What a node of a cluster answers to another one: wishes, given to whichever of its services they are for.

Nothing is undone here when the link is lost: leases and the directory of sessions see to that. Must not import
services, stores or web.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from push.errors import PushError, Unavailable
from push.icache import ICache, IPulling
from push.igroup import GroupSide, IChat
from push.ipush import IRouter
from push.ireceipts import IMessages, IReceipts
from push.isubscribe import ISubscribe
from push.model import Registration
from push.model_cache import StoredDue
from push.protocols.peer import envelopes as e
from push.protocols.peer import wishes_cache as c
from push.protocols.peer import wishes_router as r
from push.protocols.peer.asks import Wish
from push.protocols.peer.delivery_frames import without_logged
from push.protocols.peer.errors import Trouble, trouble_of
from push.protocols.peer.remote_groups import answers_of
from push.protocols.peer.wishes_receipts import Events

_Handler = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a node has that others may ask.

    Attributes:
        subscribe: the tokens.
        cache: the cache, where it is held here or may come to be.
        receipts: likewise.
        router: takes messages.
        messages: what can be asked of them.
        chat: the groups, for clients.
        group: the groups, for applications.
    """

    subscribe: ISubscribe | None = None
    cache: ICache | None = None
    receipts: IReceipts | None = None
    router: IRouter | None = None
    messages: IMessages | None = None
    chat: IChat | None = None
    group: GroupSide | None = None


class Answers:
    """The answers to one node.

    Args:
        name: under which it has logged in; sessions that it opens are its own and nobody else's.
        parts: what this node has.
    """

    def __init__(self, name: str, parts: Parts) -> None:
        self._name = name
        self._is_over = False
        self._minor = e.MINOR
        self._handlers: dict[type, _Handler] = {}
        if parts.subscribe is not None:
            self._handlers.update(_of_tokens(parts.subscribe, name, parts.cache, lambda: self._is_over))
        if parts.cache is not None:
            self._handlers.update(_of_pulling(parts.cache, name))
            self._handlers.update(_of_cache(parts.cache, lambda: self._minor >= e.MINOR_PLACES))
        if parts.receipts is not None:
            self._handlers.update(_of_receipts(parts.receipts))
        if parts.router is not None:
            self._handlers[r.PushMany] = _pushing(parts.router)
        if parts.messages is not None:
            self._handlers.update(_of_messages(parts.messages))
        if parts.chat is not None:
            self._handlers[e.Chat] = _chatting(parts.chat, name)
        if parts.group is not None:
            self._handlers.update(answers_of(parts.group))

    def greeted(self, minor: int) -> None:
        """The node speaks this version."""
        self._minor = minor

    async def answer(self, wish: Wish) -> object:
        """Do what is wished for.

        Raises:
            PushError: as the service; Unavailable: this node has none for it.
        """
        handler = self._handlers.get(type(wish))
        if handler is None:
            raise Unavailable("this node does not have the role for that", retry_after_s=1.0)
        return await handler(wish)

    def lost(self, why: str) -> None:
        """The link is over; what the node had opened is not, for that. What it has not heard of, it does not have."""
        self._is_over = True


def _of_tokens(
    subscribe: ISubscribe, name: str, cache: IPulling | None, is_over: Callable[[], bool]
) -> Mapping[type, _Handler]:
    async def opened(opening: Awaitable[Registration]) -> e.Opened:
        session = await opening
        if is_over():  # asked before this node was frozen, perhaps: the client may be elsewhere by now
            await subscribe.closed([session])
            raise Unavailable("the link is lost")
        has_kept = True if cache is None else cache.has(session.token)
        return e.Opened.by(session, has_kept)

    return {
        e.Open: lambda wish: opened(subscribe.open(wish.request, name)),
        e.Lend: lambda wish: opened(subscribe.lend(name)),
        e.Reopened: lambda wish: subscribe.reopened([each.at(name) for each in wish.sessions]),
        e.Closed: lambda wish: subscribe.closed([each.at(name) for each in wish.sessions]),
        e.Locate: lambda wish: subscribe.locate(wish.tokens, wish.owners),
        e.Online: lambda wish: subscribe.online(wish.tokens),
        e.TokensOf: lambda wish: subscribe.tokens_of(wish.uids),
        e.Tagged: lambda wish: subscribe.tagged(wish.query, wish.after, wish.limit),
        e.Describe: lambda wish: subscribe.describe(wish.token),
        e.Revoke: lambda wish: subscribe.revoke(wish.token),
    }


def _of_pulling(cache: IPulling, name: str) -> Mapping[type, _Handler]:
    return {
        e.Pull: lambda wish: cache.pull(wish.session.at(name), wish.cursor, wish.max_messages, wish.max_bytes),
        e.Waiting: lambda wish: cache.waiting(wish.tokens),
        e.Acknowledged: lambda wish: cache.acknowledged(wish.batch),
        e.Handed: lambda wish: cache.handed(wish.batch),
        e.Moved: lambda wish: cache.moved(wish.positions),
    }


def _of_cache(cache: ICache, knows_places: Callable[[], bool]) -> Mapping[type, _Handler]:
    async def keep(wish: c.KeepMany) -> c.KeepingTold:
        keeping = await cache.keep([each.keep for each in wish.batch])
        refused = {position: tuple(tokens) for position, tokens in keeping.refused.items()}
        places = keeping.places if knows_places() else map(without_logged, keeping.places)
        return c.KeepingTold(keeping.ticket, refused, tuple(places))

    async def committed(wish: c.Committed) -> Trouble | None:
        error: PushError | None = await cache.committed(wish.ticket)
        return None if error is None else trouble_of(error)

    async def kept(wish: c.KeptOf) -> c.KeptOne | None:
        message = await cache.kept(wish.message_id)
        return None if message is None else c.KeptOne.of(message)

    async def answered(wish: c.Answered) -> None:
        cache.answered(wish.reply)

    return {
        c.KeepMany: keep,
        c.Committed: committed,
        c.KeptOf: kept,
        c.Answered: answered,
        c.Recall: lambda wish: cache.recall(wish.tokens, wish.connectors),
        c.Cancel: lambda wish: cache.cancel(wish.message_id),
        c.Forget: lambda wish: cache.forget(wish.token),
        c.Replies: lambda wish: cache.replies(wish.keys),
        c.Schedule: lambda wish: cache.schedule(StoredDue(wish.message_id, wish.due_ms, wish.request.request)),
        c.Unschedule: lambda wish: cache.unschedule(wish.message_id),
    }


def _of_receipts(receipts: IReceipts) -> Mapping[type, _Handler]:
    async def told(wish: Events) -> None:
        for event in wish.events:
            event.tell(receipts)

    return {
        Events: told,
        r.Find: lambda wish: receipts.find(wish.message_id),
        r.Delivered: lambda wish: receipts.delivered(wish.message_id, wish.timeout_s),
    }


def _pushing(router: IRouter) -> _Handler:
    async def push(wish: r.PushMany) -> tuple[r.Result, ...]:
        return tuple(map(r.Result.of, await router.push([each.request for each in wish.requests])))

    return push


def _chatting(chat: IChat, name: str) -> _Handler:
    return lambda wish: chat.ask(wish.session.at(name), wish.signal, wish.subsignal, wish.body)


def _of_messages(messages: IMessages) -> Mapping[type, _Handler]:
    return {
        r.ReceiptOf: lambda wish: messages.receipt(wish.message_id),
        r.TakeBack: lambda wish: messages.cancel(wish.message_id),
        r.ForgetToken: lambda wish: messages.forget(wish.token),
        r.Explain: lambda wish: messages.explain(wish.message_id, wish.token),
    }
