"""The seams of the cache, with their promises: pulling, keeping, and the disk under it.

The rules of push.ipush hold here. Imports only the values and errors.
"""

from collections.abc import Awaitable, Mapping, Sequence

from zope.interface import Attribute, Interface

from push.errors import PushError
from push.model import Registration
from push.model_cache import CacheChanges, Cursor, Keep, Keeping, Page, StoredDue, StoredMessage, StoredReply


class IPulling(Interface):
    """What a connector needs of the cache."""

    is_shared: bool = Attribute("Whether routers of several processes keep messages there.")

    def pull(registration: Registration, cursor: Cursor, max_messages: int, max_bytes: int) -> Awaitable[Page]:
        """What a session is to get next; waits for what is_ahead and comes before.

        Args:
            registration: whose.
            cursor: where it is: Cursor() first, then what the last pull said.
            max_messages: at most so many.
            max_bytes: of payload, but at least one message.

        Raises:
            Unavailable: the store cannot be read now, or is not loaded yet: try again later.
        """

    def has(token: str) -> bool:
        """Whether `pull` might find anything for a session of this token that begins now."""

    def waiting(tokens: Sequence[str]) -> Awaitable[Sequence[str]]:
        """Those of these tokens for whose open sessions `pull` might find anything.

        Raises:
            Unavailable: not known now.
        """

    def acknowledged(batch: Sequence[tuple[str, Sequence[int]]]) -> Awaitable[None]:
        """Clients have messages: (token, message ids). What is not kept for that token is ignored.

        Raises:
            Unavailable: that may not be known: say it again.
        """

    def handed(batch: Sequence[tuple[str, Sequence[int]]]) -> Awaitable[None]:
        """Messages were handed to live connections of clients that do not acknowledge: as good as acknowledged.

        Raises:
            Unavailable: as above.
        """

    def moved(positions: Sequence[tuple[str, int]]) -> Awaitable[None]:
        """Tokens have all logged broadcasts up to these places. On disk soon: at the latest with the next commit.

        Raises:
            Unavailable: that may not be known: they may get some again.
        """


class ICache(IPulling):
    """Keeps messages until they are acknowledged (or handed over, where nobody acknowledges), expired or cancelled.

    A cache that is shared is elsewhere, or others keep messages in it, too: its answers come later, and those who are
    to get a message may have come, gone or got newer ones meanwhile. So it says of each message where its place is.

    What is kept is found by `pull` from the moment `keep` was called, not only from when it is on disk; what
    is_ahead, only from then. To one token, in the order of these calls; what is urgent before what is not. What is on
    disk survives a crash. What is acknowledged may come again after a crash, with the same id, but not else.
    """

    def keep(batch: Sequence[Keep]) -> Awaitable[Keeping]:
        """Take messages.

        Returns:
            At once, before they are on disk, a ticket and the tokens that have no room; and where the cache is shared,
            or something is logged, the places.

        Raises:
            Unavailable: the cache is not loaded yet, or full as a whole; nothing was taken.
        """

    def committed(ticket: int) -> Awaitable[PushError | None]:
        """Wait until all messages of a `keep` are on disk, or need not be as they are acknowledged already. Ask once.

        Returns:
            None; or why they are not: then those which nobody has acknowledged are forgotten.
        """

    def recall(tokens: Sequence[str], connectors: Sequence[str] = ()) -> Awaitable[None]:
        """Something is kept that could not be brought to where it is to go: have it pulled there.

        Args:
            tokens: for these, where they are online.
            connectors: something is logged: for all sessions of these.

        Raises:
            Unavailable: nobody will see to it.
        """

    def kept(message_id: int) -> Awaitable[StoredMessage | None]:
        """What is kept of a message: `tokens` are those that still need it. None where nothing is; without payload."""

    def cancel(message_id: int) -> Awaitable[int]:
        """Forget a message, for all tokens. Returns for how many it was kept (1 where it was logged); on disk."""

    def forget(token: str) -> Awaitable[None]:
        """A token is revoked: forget what is kept for it."""

    def replies(keys: Sequence[str]) -> Awaitable[Mapping[str, StoredReply]]:
        """What requests with these keys were answered, those under way included; unknown keys are left out."""

    def answered(reply: StoredReply) -> None:
        """The final answer to a request whose Keep had its key: remember it instead, soon on disk."""

    def schedule(due: StoredDue) -> Awaitable[None]:
        """Keep a request until it is due. On disk when this returns, and so is the answer if it has a key.

        Raises:
            RateLimited: there are as many as there may be.
            Unavailable: it is not on disk.
        """

    def scheduled() -> Sequence[StoredDue]:
        """What is to be sent later, in the order of time."""

    def unschedule(message_id: int) -> Awaitable[bool]:
        """It was sent, or is cancelled: on disk when this returns. Returns whether it was there."""


class ICacheStore(Interface):
    """The cache on disk: rows in, rows out, no opinion.

    Everything may raise Unavailable. What reads rows may raise StartError: one is damaged, or of a format that this
    version does not know.
    """

    def commit(changes: CacheChanges) -> Awaitable[None]:
        """Write everything in one transaction; returns when it is on disk. In the order of these calls.

        `changes` may be changed as soon as this has returned.

        Raises:
            Unavailable: the disk is full or fails: nothing was written. Or, in a store elsewhere, nothing that would
                still be there after the next commit.
        """

    def messages(after: int, limit: int) -> Awaitable[Sequence[StoredMessage]]:
        """The next rows by position, without payloads: at most `limit`, fewer if they are long, none at the end."""

    def done(after: tuple[int, str], limit: int) -> Awaitable[Sequence[tuple[int, str]]]:
        """The next (position, token) pairs of tokens that need a message of several no more; (0, "") to begin.

        As many as `messages` says.
        """

    def due() -> Awaitable[Sequence[StoredDue]]:
        """All that is to be sent later."""

    def payloads(positions: Sequence[int]) -> Awaitable[Mapping[int, bytes]]:
        """Payloads by position; those that are gone are left out."""

    def log_positions(tokens: Sequence[str]) -> Awaitable[Mapping[str, int]]:
        """Places in the log of broadcasts; tokens without one are left out."""

    def replies(keys: Sequence[str]) -> Awaitable[Mapping[str, StoredReply]]:
        """Answers by key; unknown keys are left out."""

    def prune(now_ms: int, log_position: int) -> Awaitable[None]:
        """Delete answers that have expired, and log positions before the oldest logged message there is."""
