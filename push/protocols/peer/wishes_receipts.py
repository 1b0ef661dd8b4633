"""What a router tells the receipts elsewhere: everything of some turns of its reactor in one wish.

As in envelopes.py: typed, checked, fields only ever appended with defaults. Imports no Twisted.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from push.ireceipts import IReceipts
from push.model_receipts import Event
from push.protocols.peer.envelopes import MAX_TOKENS, Number, Token, Tokens

MAX_EVENTS = 100_000
Each = Annotated[tuple[tuple[Number, Token], ...], Meta(max_length=MAX_TOKENS)]


class LoneEach(msgspec.Struct, frozen=True, array_like=True, tag="lone_each", gc=False):
    """See IReceipts.lone_each."""

    event: Event | None
    messages: Annotated[tuple[tuple[Number, Token, Number | None], ...], Meta(max_length=MAX_TOKENS)]

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.lone_each(self.event, self.messages)


class SentEach(msgspec.Struct, frozen=True, array_like=True, tag="sent_each", gc=False):
    """See IReceipts.sent_each."""

    messages: Each

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.sent_each(self.messages)


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag="accepted", gc=False):
    """See IReceipts.accepted."""

    message_id: Number
    targets: Number
    tokens: Tokens | None
    expires_ms: Number | None
    due_ms: Number | None
    is_logged: bool

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.accepted(
            self.message_id,
            targets=self.targets,
            tokens=self.tokens,
            expires_ms=self.expires_ms,
            due_ms=self.due_ms,
            is_logged=self.is_logged,
        )


class Happened(msgspec.Struct, frozen=True, array_like=True, tag="happened", gc=False):
    """See IReceipts.happened."""

    event: Event
    message_id: Number
    tokens: Tokens

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.happened(self.event, self.message_id, self.tokens)


class HappenedEach(msgspec.Struct, frozen=True, array_like=True, tag="happened_each", gc=False):
    """See IReceipts.happened_each."""

    event: Event
    messages: Each

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.happened_each(self.event, self.messages)


class HandedTo(msgspec.Struct, frozen=True, array_like=True, tag="handed_to", gc=False):
    """See IReceipts.handed."""

    message_id: Number
    tokens: Tokens

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.handed(self.message_id, self.tokens)


class Counted(msgspec.Struct, frozen=True, array_like=True, tag="counted", gc=False):
    """See IReceipts.counted."""

    event: Event
    message_id: Number
    count: Number

    def tell(self, receipts: IReceipts) -> None:
        """Tell the receipts."""
        receipts.counted(self.event, self.message_id, self.count)


Told = LoneEach | SentEach | Accepted | Happened | HappenedEach | HandedTo | Counted


class Events(msgspec.Struct, frozen=True, array_like=True, tag="events", gc=False):
    """What happened, in order."""

    events: Annotated[tuple[Told, ...], Meta(max_length=MAX_EVENTS)]
