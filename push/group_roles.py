"""Part of the composition root: the group role."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred

from push.config import Config
from push.igroup import GroupSide, IConversationStore, IGroupStore, IPresenceStore, IWhereabouts
from push.ihealth import IMeasured
from push.inodes import INodes
from push.isubscribe import ISubscribe
from push.model_chat import party
from push.services.asking import ChatPlug
from push.services.group.acquaintances import Acquaintances
from push.services.group.chat import Chat
from push.services.group.comings import Comings
from push.services.group.contact import Contacts
from push.services.group.fanout import Fanout
from push.services.group.groups import Groups
from push.services.group.limits import Rates
from push.services.group.looking import Looking
from push.services.group.presence import Presences
from push.services.group.publish import Publishes
from push.services.group.rooms import Rooms
from push.services.group.sightings import Sightings
from push.services.group.talk import Talk, TalkLimits
from push.services.group.telling import Telling
from push.services.group.whereabouts import SessionTable
from push.services.ids import MessageIds
from push.services.ordered import OpenClose, OrderedServices
from push.services.periodic import Periodic
from push.services.steady_clock import SteadyClock
from push.services.tasks import Tasks
from push.stores.redis.chats import ConversationStore as RedisConversationStore
from push.stores.redis.client import Redis
from push.stores.redis.groups import GroupStore as RedisGroupStore
from push.stores.redis.groups import PresenceStore as RedisPresenceStore
from push.stores.sqlite.chats import ConversationStore
from push.stores.sqlite.database import Database
from push.stores.sqlite.groups import GroupStore, PresenceStore

_PRUNE_INTERVAL_S = 600.0


@dataclass(frozen=True, slots=True)
class GroupSeams:
    """What other roles are given before the group role is there.

    Attributes:
        chat: for connectors: refuses until the group role is there.
        sessions: for the subscribe role: is told who comes and goes.
    """

    chat: ChatPlug = field(default_factory=ChatPlug)
    sessions: SessionTable = field(default_factory=SessionTable)


@dataclass(frozen=True, slots=True)
class ChatStores:
    """Where groups and conversations are kept."""

    groups: IGroupStore
    said: IConversationStore
    presence: IPresenceStore

    @classmethod
    def in_sqlite(cls, database: Database) -> "ChatStores":
        """Of one server."""
        return cls(GroupStore(database), ConversationStore(database), PresenceStore(database))

    @classmethod
    def in_redis(cls, redis: Redis) -> "ChatStores":
        """Of a cluster: any number of group roles may use it at once."""
        return cls(RedisGroupStore(redis), RedisConversationStore(redis), RedisPresenceStore(redis))


@dataclass(frozen=True, slots=True)
class GroupRole:
    """What the group role is.

    Attributes:
        side: for other roles.
        service: all of it.
        measured: whose numbers are shown.
        left: to be called with the address of a connector whose link is lost.
    """

    side: GroupSide
    service: IService
    measured: Sequence[IMeasured]
    left: Callable[[str], None]


def build_group(
    config: Config,
    *,
    seams: GroupSeams,
    stores: ChatStores,
    subscribe: ISubscribe,
    nodes: INodes,
    ids: MessageIds,
    reactor: Any,
    clock: SteadyClock,
    whereabouts: IWhereabouts | None = None,
) -> GroupRole:
    """Build the group role, and plug it in.

    Args:
        config: all settings.
        seams: what other roles were given of it.
        stores: where all is kept.
        subscribe: knows tokens.
        nodes: knows connectors.
        ids: gives out message ids.
        reactor: time and turns.
        clock: milliseconds since 1970 that never run back.
        whereabouts: knows where parties are; None: this process' own subscribe role tells.
    """
    tasks = Tasks()
    store = stores.groups
    rooms = Rooms(store)
    places = seams.sessions if whereabouts is None else whereabouts
    fanout = Fanout(whereabouts=places, connectors=nodes.connectors, tasks=tasks)
    telling = Telling(fanout)
    groups = Groups(
        store=store,
        rooms=rooms,
        telling=telling,
        comings=Comings(rooms=rooms, telling=telling, clock=reactor, tasks=tasks, every_s=config.group_changes_s),
        now_ms=clock.now_ms,
        new_name=lambda: secrets.token_hex(8),
        max_members=config.max_group_members,
        max_groups=config.max_groups_per_user,
    )
    acquaintances = Acquaintances(subscribe)
    talk = Talk(
        groups=store,
        said=stores.said,
        rooms=rooms,
        telling=telling,
        acquaintances=acquaintances,
        rates=Rates("messages in this conversation", config.chat_messages_per_s, reactor.seconds),
        ids=ids,
        now_ms=clock.now_ms,
        limits=TalkLimits(
            max_message_bytes=config.chat_max_message_bytes,
            history_messages=config.chat_history_messages,
            history_s=config.chat_history_s,
            recall_s=config.chat_recall_s,
        ),
    )
    sightings = Sightings(
        stores.presence, clock=reactor, now_ms=clock.now_ms, tasks=tasks, every_s=config.presence_debounce_s
    )
    presences = Presences(
        sightings=sightings,
        whereabouts=places,
        connectors=nodes.connectors,
        clock=reactor,
        now_ms=clock.now_ms,
        tasks=tasks,
        debounce_s=config.presence_debounce_s,
    )
    chat = Chat(
        contacts=Contacts(talk=talk, acquaintances=acquaintances),
        publishes=Publishes(groups=groups, talk=talk, presences=presences),
        requests_per_s=config.chat_requests_per_s,
        now_s=reactor.seconds,
    )

    def open_up() -> None:
        seams.sessions.changed = presences.changed
        seams.chat.chat = chat

    async def close() -> None:
        seams.chat.chat = None
        await tasks.settled()
        await sightings.flush()

    services = OrderedServices()
    OpenClose(open_up, lambda: Deferred.fromCoroutine(close())).setServiceParent(services)
    Periodic(
        "forgetting old messages",
        lambda: tasks.spawn("forgetting old messages", talk.prune()),
        interval_s=_PRUNE_INTERVAL_S,
        clock=reactor,
    ).setServiceParent(services)
    if whereabouts is not None:
        looking = Looking(presences=presences, whereabouts=places, subscribe=subscribe, clock=reactor)
        Periodic(
            "looking who is there",
            lambda: tasks.spawn("looking who is there", looking.look()),
            interval_s=config.presence_debounce_s,
            clock=reactor,
        ).setServiceParent(services)
    return GroupRole(GroupSide(groups, talk, presences, acquaintances), services, [chat, fanout], presences.gone)


def build_sightings(
    config: Config, stores: ChatStores, *, reactor: Any, now_ms: Callable[[], int]
) -> tuple[Callable[[str], None], IService]:
    """Build what remembers when users were last there, where sessions are opened apart from the group role.

    Returns:
        What is to be called with the uid of each session that opens or ends, and its service.
    """
    tasks = Tasks()
    sightings = Sightings(
        stores.presence, clock=reactor, now_ms=now_ms, tasks=tasks, every_s=config.presence_debounce_s
    )

    async def close() -> None:
        await tasks.settled()
        await sightings.flush()

    def saw(uid: str) -> None:
        sightings.saw(party(uid, ""))

    return saw, OpenClose(lambda: None, lambda: Deferred.fromCoroutine(close()))
