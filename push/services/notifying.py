"""What others said, on its way to the clients of one connector: written once for each form, in slices, in order.

Must not import adapters, stores or web.
"""

from collections.abc import Mapping, Sequence

from twisted.internet.defer import DeferredLock

from push.ipush import IConnection, IPushForm
from push.model_chat import Notice, runs
from push.protocols.wire.signals import SubSignal
from push.services.turns import Flusher, Slices

# How many connections are told between two looks at the clock.
_STRIDE = 64
# What a connection gets with one write.
_TOGETHER = 64
_TOGETHER_BYTES = 16_384


class Notifying:
    """Tells connections.

    Args:
        by_token: token → the connection that has its session; looked at, never changed.
        flusher: writes what was queued, when work is divided.
        slices: when to divide it.
        max_bytes: what may wait for one connection.
    """

    def __init__(
        self, *, by_token: Mapping[str, IConnection], flusher: Flusher, slices: Slices, max_bytes: int
    ) -> None:
        self._by_token = by_token
        self._flusher = flusher
        self._slices = slices
        self._max_bytes = max_bytes
        # Held while notices go out over several turns, so that no later one overtakes them.
        self._order = DeferredLock()

    async def notify(self, notices: Sequence[Notice]) -> int:
        """Tell them behind all that was begun before. Returns how often that went to a connection."""
        order = self._order
        if order.locked:
            await order.acquire()
        else:
            order.acquire()
        try:
            sent = 0
            end_s = self._slices.start()
            for run in runs(notices, _TOGETHER, _TOGETHER_BYTES):
                done, end_s = await self._tell(run, end_s)
                sent += done
            return sent
        finally:
            order.release()

    async def _tell(self, run: Sequence[Notice], end_s: float) -> tuple[int, float]:
        """Notices for the same tokens: each connection gets all of them with one write."""
        written: dict[tuple[IPushForm, bool], _Written] = {}
        but = {notice.but for notice in run if notice.but}
        sent = 0
        for steps, token in enumerate(run[0].tokens, 1):
            connection = self._by_token.get(token)
            if connection is not None:
                form = (connection.form, connection.is_chat)
                some = written.get(form)
                if some is None:
                    some = written[form] = _written(connection, run, self._max_bytes)
                if token in but:
                    some = some.without(token)
                for data, count in some.parts:
                    if connection.notify(data, count):
                        sent += count
            if not steps % _STRIDE:
                # Writing takes most of the time, so it belongs to the slice.
                self._flusher.flush()
                if self._slices.is_over(end_s):
                    await self._slices.turn()
                    end_s = self._slices.start()
        return sent, end_s


class _Written:
    """Notices as connections of one form get them.

    Args:
        notices: who is not to be told, and what is written.
        max_bytes: with one write.

    Attributes:
        parts: what is written, and how many notices that is.
    """

    __slots__ = ("_max_bytes", "_notices", "parts")

    def __init__(self, notices: Sequence[tuple[str, bytes]], max_bytes: int) -> None:
        self._notices = notices
        self._max_bytes = max_bytes
        joined = b"".join([data for _, data in notices])
        self.parts = [(joined, len(notices))] if notices else []
        if len(joined) > max_bytes:
            self.parts = [(data, 1) for _, data in notices]

    def without(self, token: str) -> "_Written":
        """What is for this token, too."""
        return _Written([each for each in self._notices if each[0] != token], self._max_bytes)


def _written(connection: IConnection, run: Sequence[Notice], max_bytes: int) -> _Written:
    notices: list[tuple[str, bytes]] = []
    for notice in run:
        body = notice.chat if connection.is_chat else notice.contact
        if body:
            subsignal = notice.subsignal if connection.is_chat else SubSignal.NONE
            notices.append((notice.but, connection.write_notice(subsignal, body)))
    return _Written(notices, max_bytes)
