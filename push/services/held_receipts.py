"""The receipts of a cluster, as they are called at the node that holds them, or might: beside the cache.

Must not import adapters, stores or web.
"""

from collections.abc import Callable, Sequence

from zope.interface import implementer

from push.errors import Unavailable
from push.ireceipts import IReceipts
from push.model_receipts import Event, Receipt
from push.services.ids import accepted_ms


@implementer(IReceipts)
class HeldReceipts:
    """The receipts while they are held here; what is told while they are not, is forgotten.

    Args:
        is_held: whether they are, in this moment.
    """

    def __init__(self, *, is_held: Callable[[], bool]) -> None:
        self._is_held = is_held
        self._current: IReceipts | None = None

    def begin(self, receipts: IReceipts) -> None:
        """A term begins."""
        self._current = receipts

    def end(self) -> None:
        """It is over."""
        self._current = None

    def lone_each(self, event: Event | None, messages: Sequence[tuple[int, str, int | None]]) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.lone_each(event, messages)

    def sent_each(self, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.sent_each(messages)

    def happened_each(self, event: Event, messages: Sequence[tuple[int, str]]) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.happened_each(event, messages)

    def accepted(
        self,
        message_id: int,
        *,
        targets: int,
        tokens: Sequence[str] | None,
        expires_ms: int | None,
        due_ms: int | None,
        is_logged: bool,
    ) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.accepted(
                message_id, targets=targets, tokens=tokens, expires_ms=expires_ms, due_ms=due_ms, is_logged=is_logged
            )

    def happened(self, event: Event, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.happened(event, message_id, tokens)

    def handed(self, message_id: int, tokens: Sequence[str]) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.handed(message_id, tokens)

    def counted(self, event: Event, message_id: int, count: int) -> None:
        """See IReceipts."""
        if self._current is not None:
            self._current.counted(event, message_id, count)

    async def find(self, message_id: int) -> Receipt | None:
        """See IReceipts.

        Raises:
            Unavailable: they are not here.
        """
        if self._current is None or not self._is_held():
            raise Unavailable("receipts are being taken over by another node", retry_after_s=1.0)
        return await self._current.find(message_id)

    async def delivered(self, message_id: int, timeout_s: float) -> Receipt:
        """See IReceipts. One without targets while they are not here: what was accepted stays so."""
        if self._current is None or not self._is_held():
            return Receipt(message_id, accepted_ms(message_id), None, None, 0, {}, ())
        return await self._current.delivered(message_id, timeout_s)
