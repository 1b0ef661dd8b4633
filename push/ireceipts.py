"""The seams of what became of messages: who tells it, who is told, who asks. The rules of push.ipush hold here.

Imports only the values.
"""

from collections.abc import Awaitable, Sequence

from zope.interface import Attribute, Interface

from push.model_receipts import Event, Receipt, StoredLives


class IReceipts(Interface):
    """The lives of the latest messages. Bounded: the oldest are forgotten first. Never blocks, never raises.

    All calls are made in the reactor's thread, by the router and by the cache of the same process. At one token, what
    comes after DELIVERED, EXPIRED, CANCELLED, REPLACED, DROPPED or REJECTED changes nothing. The router tells
    SENT and REJECTED, the cache everything else, each once; in any order. Of a message that is kept for anybody (it
    has an `expires_ms`), SENT told by `happened` waits for an acknowledgement; told by `handed`, it is the end.
    """

    def lone_each(event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """Messages, each for one token, were accepted, and this became of all of them at once; None for nothing yet.

        Args:
            event: what became of them.
            messages: message id, token, and until when it is kept; None where it is not.
        """

    def sent_each(messages: Sequence[tuple[int, str]]) -> None:
        """Messages, each for one token, were accepted, SENT at once, and are not kept: (message id, token).

        Told of nearly every message.
        """

    def accepted(
        message_id: int,
        *,
        targets: int,
        tokens: Sequence[str] | None,
        expires_ms: int | None,
        due_ms: int | None,
        is_logged: bool,
    ) -> None:
        """A message was accepted.

        Args:
            message_id: its id, which says when.
            targets: how many it is addressed to; more may come, by calling again.
            tokens: which; None where they are not known one by one. Those that were told before are not counted again.
            expires_ms: until when it is kept; None where it is not.
            due_ms: when it is to be sent; None for now.
            is_logged: kept once for an audience.
        """

    def happened(event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """Something happened to a message for these tokens. Unknown messages are taken in."""

    def happened_each(event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """The same happened to many messages, each for one token: (message id, token)."""

    def handed(message_id: int, tokens: Sequence[str]) -> None:
        """SENT to clients that do not acknowledge, out of the cache or at once: nothing more will be known of it."""

    def counted(event: Event, message_id: int, count: int) -> None:
        """Something happened to a message for so many tokens that are not known one by one."""

    def find(message_id: int) -> Awaitable[Receipt | None]:
        """The life of a message; None where it is unknown or forgotten."""

    def delivered(message_id: int, timeout_s: float) -> Awaitable[Receipt]:
        """Wait until a message is delivered to all its targets, or will not be; at most so long.

        Returns:
            Its life then; at once where too many wait already. One without targets where it is unknown.
        """


class IReceiptObserver(Interface):
    """Something that wants to hear what happens to messages. Must not block nor raise."""

    events: frozenset[Event] = Attribute("Of what it is told.")

    def happened(event: Event, message_id: int, tokens: Sequence[str], at_ms: int) -> None:
        """Something happened to a message for these tokens, milliseconds since 1970."""

    def counted(event: Event, message_id: int, count: int, at_ms: int) -> None:
        """Something happened to a message for so many tokens that are not known one by one."""


class IReceiptStore(Interface):
    """Receipts on disk: a log of chunks, each with what changed in a short time."""

    def append(chunk: StoredLives) -> Awaitable[None]:
        """Write a chunk behind all earlier ones.

        Raises:
            Unavailable: nothing was stored.
        """

    def newest(message_id: int, before: int | None) -> Awaitable[tuple[int, bytes] | None]:
        """The newest chunk in which a message is.

        Args:
            message_id: whose.
            before: only older ones than the one with this number; None: all.

        Returns:
            Its number and its lives; None where there is none.
        """

    def prune(max_weight: int, before_ms: int) -> Awaitable[None]:
        """Delete the oldest chunks: those written before this time, and what is over this weight together."""


class IMessages(Interface):
    """What senders may ask of messages that were accepted."""

    def receipt(message_id: int) -> Awaitable[Receipt]:
        """The life of a message.

        Raises:
            NotFound: it was never accepted, or is forgotten.
        """

    def cancel(message_id: int) -> Awaitable[int]:
        """Take back what is undelivered. Returns for how many tokens.

        Raises:
            NotFound: as above.
        """

    def forget(token: str) -> Awaitable[None]:
        """A token is revoked: take back what waits for it.

        Raises:
            Unavailable: that is not on disk yet.
        """

    def explain(message_id: int, token: str) -> Awaitable[Sequence[str]]:
        """Why a message has or has not arrived at a token, in sentences, the most telling first."""
