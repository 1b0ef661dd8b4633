"""Part of the composition root: the group role."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred

from push.config import Config
from push.igroup import GroupSide
from push.ipush import IMeasured, INodes, ISubscribe
from push.services.asking import ChatPlug
from push.services.group.acquaintances import Acquaintances
from push.services.group.chat import Chat
from push.services.group.contact import Contacts
from push.services.group.fanout import Fanout
from push.services.group.groups import Groups
from push.services.group.limits import Rates
from push.services.group.presence import Presences
from push.services.group.publish import Publishes
from push.services.group.rooms import Rooms
from push.services.group.talk import Talk, TalkLimits
from push.services.group.telling import Telling
from push.services.group.whereabouts import SessionTable
from push.services.ids import MessageIds
from push.services.ordered import OpenClose, OrderedServices
from push.services.periodic import Periodic
from push.services.steady_clock import SteadyClock
from push.services.tasks import Tasks
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
class GroupRole:
    """What the group role is.

    Attributes:
        side: for other roles.
        service: all of it.
        measured: whose numbers are shown.
    """

    side: GroupSide
    service: IService
    measured: Sequence[IMeasured]


def build_group(
    config: Config,
    *,
    seams: GroupSeams,
    database: Database,
    subscribe: ISubscribe,
    nodes: INodes,
    ids: MessageIds,
    reactor: Any,
    clock: SteadyClock,
) -> GroupRole:
    """Build the group role, in SQLite, and plug it in.

    Args:
        config: all settings.
        seams: what other roles were given of it.
        database: where all is kept.
        subscribe: knows tokens.
        nodes: knows connectors.
        ids: gives out message ids.
        reactor: time and turns.
        clock: milliseconds since 1970 that never run back.
    """
    tasks = Tasks()
    store = GroupStore(database)
    rooms = Rooms(store)
    fanout = Fanout(whereabouts=seams.sessions, connectors=nodes.connectors, tasks=tasks)
    telling = Telling(fanout)
    groups = Groups(
        store=store,
        rooms=rooms,
        telling=telling,
        now_ms=clock.now_ms,
        new_name=lambda: secrets.token_hex(8),
        max_members=config.max_group_members,
        max_groups=config.max_groups_per_user,
    )
    acquaintances = Acquaintances(subscribe)
    talk = Talk(
        groups=store,
        said=ConversationStore(database),
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
    presences = Presences(
        store=PresenceStore(database),
        whereabouts=seams.sessions,
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
        await presences.flush()

    services = OrderedServices()
    OpenClose(open_up, lambda: Deferred.fromCoroutine(close())).setServiceParent(services)
    Periodic(
        "forgetting old messages",
        lambda: tasks.spawn("forgetting old messages", talk.prune()),
        interval_s=_PRUNE_INTERVAL_S,
        clock=reactor,
    ).setServiceParent(services)
    return GroupRole(GroupSide(groups, talk, presences, acquaintances), services, [chat, fanout])
