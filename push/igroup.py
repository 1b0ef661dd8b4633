"""The seams of groups and chat, with their promises. The rules of push.ipush hold here."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from zope.interface import Attribute, Interface

from push.model import Registration
from push.model_chat import Change, ChatMessage, Conversation, Member, Presence, Role, Said, Standing


class IChat(Interface):
    """What connectors need of the group role."""

    def ask(registration: Registration, signal: int, subsignal: int, body: bytes) -> Awaitable[bytes]:
        """A client says or asks something.

        Args:
            registration: its session.
            signal: CONTACT or PUBLISH.
            subsignal: what a PUBLISH is about.
            body: as it came.

        Returns:
            The body of the PUB_ACK.

        Raises:
            PushError: why it was not done.
        """


class IGroupStore(Interface):
    """Who is in which conversation, on disk.

    Everything may raise Unavailable: where it changes something in a store elsewhere, that may have been done.
    """

    def load(conversation_id: str) -> Awaitable[Conversation | None]:
        """A conversation, also one that is gone; None where there never was one."""

    def members(conversation_id: str, after: str, limit: int) -> Awaitable[Sequence[Member]]:
        """The next members, in the order of `who`, greater than `after` ("" to begin)."""

    def change(change: Change) -> Awaitable[Conversation | None]:
        """Change a conversation, all of it or nothing; on disk when this returns.

        Returns:
            As it is now; None, and nothing is changed, where it is not any more as it was seen.
        """

    def standings(who: str, after: str, limit: int) -> Awaitable[Sequence[Standing]]:
        """The next conversations of a party, in the order of their ids, greater than `after` ("" to begin)."""

    def groups_of(who: str) -> Awaitable[int]:
        """In how many groups a party is."""


class IConversationStore(Interface):
    """What was said, on disk. Everything may raise Unavailable, as in IGroupStore."""

    def append(
        message: ChatMessage, version: int, *, recalls: int = 0, max_messages: int, from_id: int
    ) -> Awaitable[Said | None]:
        """Store a message, and move its sender's read position to it; on disk when this returns.

        In the order of these calls, of one process. A message of the same sender with the same client_id that is still
        kept is not stored again.

        Args:
            message: its seq is given by the store.
            version: of the conversation as it was seen when the sender was found to be allowed.
            recalls: sequence number of a message whose content is to be forgotten with this, 0 for none.
            max_messages: how many are kept of a conversation.
            from_id: those with lesser message ids need not be kept.

        Returns:
            As it is stored; None where the conversation is not any more as it was seen: nothing was stored.
        """

    def history(conversation_id: str, first_seq: int, last_seq: int, limit: int) -> Awaitable[Sequence[ChatMessage]]:
        """Messages with these sequence numbers and those between, in order.

        Args:
            conversation_id: whose.
            first_seq: from here on.
            last_seq: up to here.
            limit: how many at most, above 0: the first ones; below 0: the last ones.
        """

    def move_read(conversation_id: str, who: str, seq: int) -> Awaitable[int | None]:
        """Say that a member has read up to there, or to the newest message if that is less. It never moves back.

        Returns:
            The new position; None where it has not moved, or there is no such member.
        """

    def read_positions(conversation_id: str, whos: Sequence[str]) -> Awaitable[Mapping[str, int]]:
        """Up to where members have read; who is no member is left out."""

    def prune(before_id: int) -> Awaitable[None]:
        """Forget what has lesser message ids."""


class IPresenceStore(Interface):
    """When parties were last there, on disk."""

    def saw(seen: Mapping[str, int]) -> Awaitable[None]:
        """Store when parties were last seen, milliseconds since 1970."""

    def seen(whos: Sequence[str]) -> Awaitable[Mapping[str, int]]:
        """When they were; who never was is left out."""


class IWhereabouts(Interface):
    """Which sessions parties have open."""

    generation: int = Attribute("Grows where any answer may be another one than before; -1 where that is unknown.")

    def sessions(whos: Iterable[str]) -> Awaitable[Mapping[str, Sequence[Registration]]]:
        """The open sessions of these parties; who has none is left out."""


class ISessionWatcher(Interface):
    """Is told of sessions, by who knows them all. Must not block nor raise."""

    def begin(online: Mapping[str, Registration]) -> None:
        """Before all others: token → its open session, always as they are. To be read, not to be changed."""

    def came(registration: Registration) -> None:
        """A session is open: of its token, this is the one from now on."""

    def left(registration: Registration) -> None:
        """A session is over, unless another one of its token is open."""


class IGroups(Interface):
    """Groups, as clients and applications manage them.

    `actor` is who wants it; None is the application itself, which may do everything. Everything may raise
    NotFound (no such group, or none that the actor may know of), PermissionDenied, InvalidRequest, GroupConflict (it
    is so already, or cannot be so) and Unavailable. Of two at once, each is done wholly before or after the other.
    """

    def create(
        name: str | None, *, title: str, owner: str | None, members: Sequence[str], is_open: bool, tells_reads: bool
    ) -> Awaitable[Conversation]:
        """Make a group. Without a name, it gets one."""

    def get(name: str, actor: str | None) -> Awaitable[Conversation]:
        """How it is. Who is no member sees it only where it is open."""

    def modify(
        name: str, actor: str | None, *, title: str | None, is_open: bool | None, tells_reads: bool | None
    ) -> Awaitable[Conversation]:
        """Change what is not None. For admins."""

    def set_role(name: str, actor: str | None, who: str, role: Role) -> Awaitable[None]:
        """Give a member a role. For the owner, who becomes an admin where another one becomes the owner."""

    def dismiss(name: str, actor: str | None) -> Awaitable[None]:
        """End it, and forget what was said. For the owner."""

    def join(name: str, who: str, *, is_invited: bool = False) -> Awaitable[bool]:
        """Become a member. Returns False where one is it already. `is_invited`: though it is not open."""

    def quit(name: str, who: str) -> Awaitable[bool]:
        """Leave. Returns False for who is no member. An owner leaves last."""

    def add(name: str, actor: str | None, whos: Sequence[str]) -> Awaitable[Sequence[str]]:
        """Make others members. For admins. Returns those who were not yet."""

    def kick(name: str, actor: str | None, whos: Sequence[str]) -> Awaitable[Sequence[str]]:
        """Remove members of a lesser role. For admins. Returns those who were members."""

    def members(name: str, actor: str | None, after: str, limit: int) -> Awaitable[Sequence[Member]]:
        """A page of the members. For members."""

    def everybody(name: str) -> Awaitable[Sequence[str]]:
        """All members' parties, for who sends something to the group."""


class ITalk(Interface):
    """What is said in conversations. `who` is the party that speaks or asks; failures are those of IGroups."""

    def say(message: ChatMessage, *, to: str | None, contact: bytes = b"", sent_by: str = "") -> Awaitable[ChatMessage]:
        """Say something: store it, and tell it to everybody who is there.

        Args:
            message: without seq and id. `conversation` may be "" where `to` is given.
            to: the other party, where it is said to one alone.
            contact: the CONTACT that it came as, without what the server adds to it; b"" for none.
            sent_by: the token that has it already; "" for none.

        Returns:
            As it is stored.

        Raises:
            Conflict: the client_id belongs to another message.
            TooLarge: there is too much of it.
        """

    def recall(conversation_id: str, who: str | None, seq: int) -> Awaitable[ChatMessage]:
        """Take back a message: one's own within some time; an admin's right and an application's without limit."""

    def history(
        conversation_id: str, who: str | None, *, after: int, before: int | None, limit: int
    ) -> Awaitable[tuple[Conversation, Sequence[ChatMessage]]]:
        """Messages after a sequence number, the oldest first; or, where `before` is given, those next before that."""

    def read(conversation_id: str, who: str, seq: int, *, sent_by: str = "") -> Awaitable[int]:
        """One has read up to there, as the device with the token `sent_by` says. Returns the position now."""

    def standings(who: str, after: str, limit: int) -> Awaitable[Sequence[Standing]]:
        """One's conversations, by id."""

    def block(who: str, other: str, is_blocked: bool) -> Awaitable[None]:
        """Whether another party may write to one alone."""


class IPresence(Interface):
    """Who is there."""

    def presence(whos: Sequence[str]) -> Awaitable[Sequence[Presence]]:
        """Of each of these parties, in order."""


class IParties(Interface):
    """Whom there is."""

    def of_token(token: str) -> Awaitable[str]:
        """The party that a token stands for: its user, or itself where it belongs to none.

        Raises:
            Unregistered: it is not registered.
        """

    def check(who: str) -> Awaitable[None]:
        """Look whether there is such a party.

        Raises:
            NotFound: there is none.
        """


@dataclass(frozen=True, slots=True)
class GroupSide:
    """The group role, for who manages groups and speaks in them."""

    groups: IGroups
    talk: ITalk
    presence: IPresence
    parties: IParties
