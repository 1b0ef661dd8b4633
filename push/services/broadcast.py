"""Fan-out to every session of a connector: encoded once, in slices, several broadcasts in one pass.

While a pass is under way further broadcasts queue up, and the next pass brings them all to each connection
in one write. Whoever delivers something else meanwhile first calls catch_up(), which keeps the order.
Must not import adapters, stores or web.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from zope.interface import implementer

from push.errors import Unavailable
from push.ipush import NONE_KEPT, IConnection, IPushForm, IPushRun
from push.services.tasks import Tasks
from push.services.turns import Flusher, Slices

# How many connections are served between two looks at the clock.
_STRIDE = 32


@dataclass(slots=True, eq=False)
class _Broadcast:
    message_id: int
    payload: bytes | None
    # Where it is in the log of broadcasts, and up to where a session must have that to be given it; -1 for not at all.
    place: int
    after: int
    done: "Deferred[int]"
    sent: int = 0
    forms: dict[IPushForm, bytes] = field(default_factory=dict)

    def frame(self, form: IPushForm) -> bytes | None:
        frame = self.forms.get(form)
        if frame is None and self.payload is not None:
            frame = self.forms[form] = form.encode_push(self.message_id, self.payload)
        return frame


@implementer(IPushRun)
class _Run:
    """The broadcasts that one connection lacks; the same for nearly all connections."""

    __slots__ = (
        "_broadcasts",
        "_joined",
        "_whole",
        "after",
        "all_after",
        "first_place",
        "last_place",
        "message_ids",
        "places",
    )

    def __init__(self, broadcasts: Sequence[_Broadcast]) -> None:
        self._broadcasts = broadcasts
        self._joined: dict[IPushForm, bytes] = {}
        self._whole = 0
        self.message_ids = tuple(broadcast.message_id for broadcast in broadcasts)
        self.places = tuple(broadcast.place for broadcast in broadcasts)
        self.after = tuple(broadcast.after for broadcast in broadcasts)
        self.first_place = min((place for place in self.places if place >= 0), default=NONE_KEPT)
        self.last_place = max(self.places)
        # Who is given the first has what the next comes after.
        self.all_after = had = -1
        for place, after in zip(self.places, self.after, strict=True):
            if after > had:
                self.all_after = max(self.all_after, after)
            had = max(had, place)
        if any(broadcast.payload is None for broadcast in broadcasts):
            self.first_place = -1

    def joined(self, form: IPushForm) -> bytes:
        data = self._joined.get(form)
        if data is None:
            data = self._joined[form] = b"".join(frame for frame in self.frames(form) if frame is not None)
        return data

    def frames(self, form: IPushForm) -> Sequence[bytes | None]:
        return [broadcast.frame(form) for broadcast in self._broadcasts]

    def count(self, sent: int) -> None:
        """Note that a connection took the first `sent` of them."""
        if sent == len(self._broadcasts):
            self._whole += 1
        else:
            for broadcast in self._broadcasts[:sent]:
                broadcast.sent += 1

    def settle(self) -> None:
        """Add what was noted to each broadcast: once a run, not once a connection."""
        for broadcast in self._broadcasts:
            broadcast.sent += self._whole


class Broadcaster:
    """The broadcasts of one connector, numbered from 1 in the order of acceptance.

    Args:
        connections: gives a snapshot of those that have a session.
        flusher: writes what was queued, after each slice.
        slices: when to leave off.
        tasks: runs the passes.
        max_waiting_bytes: payloads that may wait for a pass; over that, publish refuses.

    Attributes:
        latest: number of the last broadcast accepted.
    """

    def __init__(
        self,
        *,
        connections: Callable[[], Sequence[IConnection]],
        flusher: Flusher,
        slices: Slices,
        tasks: Tasks,
        max_waiting_bytes: int,
    ) -> None:
        self._connections = connections
        self._flusher = flusher
        self._slices = slices
        self._tasks = tasks
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting_bytes = 0
        self._waiting: list[_Broadcast] = []
        self._runs: dict[tuple[int, int], _Run] = {}
        self._is_running = False
        self.latest = 0

    def publish(self, message_id: int, payload: bytes | None, place: int = -1, after: int = -1) -> "Deferred[int]":
        """Accept a broadcast: every session open now gets it, or is closed, or (if it is logged) pulls it.

        Args:
            message_id: its id.
            payload: what clients get; None: they pull it.
            place: in the log of broadcasts, -1 for none: where too much waits already, what is there is pulled.
            after: up to where a session must have the log; one that lacks any of that pulls.

        Returns:
            Fires with how many connections it was handed to, when the pass is over.

        Raises:
            Unavailable: too much waits already.
        """
        if payload and self._waiting_bytes + len(payload) > self._max_waiting_bytes and self._waiting:
            if place < 0:
                raise Unavailable("too many broadcasts are waiting on this connector", retry_after_s=1.0)
            payload = None  # refused, it would be taken to have come, with the next one
        self._waiting_bytes += len(payload or b"")
        broadcast = _Broadcast(message_id, payload, place, after, Deferred())
        self._waiting.append(broadcast)
        self.latest += 1
        if not self._is_running:
            self._is_running = True
            self._tasks.spawn("broadcast", self._pass_until_done())
        return broadcast.done

    def catch_up(self, connection: IConnection) -> None:
        """Queue to a connection all broadcasts that it lacks."""
        had = connection.broadcast_number
        latest = self.latest
        if had >= latest:
            return
        connection.broadcast_number = latest
        if not self._waiting:  # a probe: no client, so that no pass comes by it
            return
        run = self._runs.get((had, latest))
        if run is None:
            run = self._runs[had, latest] = _Run(self._waiting[had - latest :])
        run.count(connection.push_run(run))

    async def _pass_until_done(self) -> None:
        # Leaves the turn first, so that broadcasts accepted together travel together.
        await self._slices.turn()
        try:
            while self._waiting:
                goal = self.latest
                await self._pass(goal)
                # What came during the pass stays for the next one, unless every connection had it already.
                count = len(self._waiting) - (self.latest - goal)
                finished, self._waiting = self._waiting[:count], self._waiting[count:]
                for run in self._runs.values():
                    run.settle()
                self._runs.clear()
                for broadcast in finished:
                    self._waiting_bytes -= len(broadcast.payload or b"")
                    broadcast.done.callback(broadcast.sent)
        finally:
            self._is_running = False

    async def _pass(self, goal: int) -> None:
        end_s = self._slices.start()
        for position, connection in enumerate(self._connections()):
            if connection.registration is not None and connection.broadcast_number < goal:
                self.catch_up(connection)
            if position % _STRIDE == _STRIDE - 1 and self._slices.is_over(end_s):
                self._flusher.flush()
                await self._slices.turn()
                end_s = self._slices.start()
        self._flusher.flush()
