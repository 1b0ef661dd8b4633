"""What others said, on its way to the clients of one connector: written once for each form, in slices, in order.

Must not import adapters, stores or web.
"""

from collections.abc import Mapping, Sequence

from twisted.internet.defer import DeferredLock

from push.ipush import IConnection, IPushForm
from push.model_chat import Notice
from push.protocols.wire.signals import SubSignal
from push.services.turns import Flusher, Slices

# How many connections are told between two looks at the clock.
_STRIDE = 64


class Notifying:
    """Tells connections.

    Args:
        by_token: token → the connection that has its session; looked at, never changed.
        flusher: writes what was queued, when work is divided.
        slices: when to divide it.
    """

    def __init__(self, *, by_token: Mapping[str, IConnection], flusher: Flusher, slices: Slices) -> None:
        self._by_token = by_token
        self._flusher = flusher
        self._slices = slices
        # Held while notices go out over several turns, so that no later one overtakes them.
        self._order = DeferredLock()

    async def notify(self, notices: Sequence[Notice]) -> int:
        """Tell them behind all that was begun before. Returns to how many connections that went."""
        order = self._order
        if order.locked:
            await order.acquire()
        else:
            order.acquire()
        try:
            sent = 0
            end_s = self._slices.start()
            for notice in notices:
                done, end_s = await self._notify(notice, end_s)
                sent += done
            return sent
        finally:
            order.release()

    async def _notify(self, notice: Notice, end_s: float) -> tuple[int, float]:
        written: dict[tuple[IPushForm, bool], bytes] = {}
        sent = 0
        for steps, token in enumerate(notice.tokens, 1):
            connection = self._by_token.get(token)
            if connection is None:
                continue
            is_chat = connection.is_chat
            body = notice.chat if is_chat else notice.contact
            if not body:
                continue
            form = (connection.form, is_chat)
            data = written.get(form)
            if data is None:
                subsignal = notice.subsignal if is_chat else SubSignal.NONE
                data = written[form] = connection.write_notice(subsignal, body)
            sent += connection.notify(data)
            if not steps % _STRIDE and self._slices.is_over(end_s):
                self._flusher.flush()
                await self._slices.turn()
                end_s = self._slices.start()
        return sent, end_s
