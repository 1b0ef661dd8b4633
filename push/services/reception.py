"""A connector's ear on the broadcast bus: notices what it has missed and fetches it, and notices when it is deaf.

Everything that is published has a number. Who hears one that is not the next has missed some, and takes them out of the
bus's log; what the log does not have any more, it does not get from there. Then all sessions look into the cache
for what is kept for them, and what is kept nowhere is counted as missed, unless it comes over a link. Must not import
adapters, stores or web.

A subscription may be connected and deaf. Whoever has heard nothing for a second has everybody told the latest number:
in a cluster of whatever size, about one such beat a second is published, and only where nothing else is. Who does not
hear it within two seconds is deaf, and makes its subscription anew. The numbers in beats show also that the last
one was missed.
"""

from collections.abc import Callable, Iterable, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from push.errors import PushError
from push.icluster import IBroadcastBus, IBusListener
from push.ihealth import IMeasured
from push.model_cluster import BusPlace
from push.model_health import Check, Sample
from push.protocols.wire.batches import BatchReader, ToEverybody, write_to_everybody
from push.services.heard import Heard
from push.services.periodic import Periodic
from push.services.tasks import Tasks

LOOK_INTERVAL_S = 0.5
# With half a second between two looks, a deaf subscription is found within 1 + 0.5 + 2 + 0.5 s.
SILENCE_S = 1.0
ANSWER_LIMIT_S = 2.0


def write_broadcast(message_id: int, payload: bytes) -> bytes:
    """A broadcast as it is published: a frame of the private protocol."""
    return write_to_everybody(message_id, payload)


def read_broadcast(data: bytes, max_payload_bytes: int) -> ToEverybody:
    """Read what write_broadcast wrote.

    Raises:
        ValueError: it is not that, or too long.
    """
    reader: BatchReader[object] = BatchReader(max_payload_bytes, lambda *fields: fields)
    messages = reader.feed(data)
    message = messages[0] if len(messages) == 1 else None
    if reader.error is not None or not isinstance(message, ToEverybody) or message.payload is None:
        raise ValueError("what was published is no broadcast")
    return message


@implementer(IBusListener, IMeasured)
class Reception(Service):
    """Listens for one connector.

    Args:
        bus: where to.
        heard: gets the broadcasts.
        resynchronise: has all sessions look into the cache.
        max_payload_bytes: the largest broadcast accepted.
        clock: for the limits.
        changed: called when `hears` has changed.

    Attributes:
        hears: whether what is published is known to come in.
    """

    _log = Logger()

    def __init__(
        self,
        bus: IBroadcastBus,
        *,
        heard: Heard,
        resynchronise: Callable[[], None],
        max_payload_bytes: int,
        clock: IReactorTime,
        changed: Callable[[bool], None] = lambda hears: None,
    ) -> None:
        self._bus = bus
        self._heard = heard
        self._resynchronise = resynchronise
        self._max_payload_bytes = max_payload_bytes
        self._clock = clock
        self._changed = changed
        self._tasks = Tasks()
        self._looks = Periodic("listening to the broadcast bus", self._look, interval_s=LOOK_INTERVAL_S, clock=clock)
        self._last: BusPlace | None = None
        self._heard_s = 0.0
        self._asked_s: float | None = None
        self._is_filling = False
        # While that lasts, the first and the last of what came without a gap.
        self._run: tuple[BusPlace, BusPlace] | None = None
        self.hears = False
        self.received_total = 0
        self.filled_total = 0
        self.missed_total = 0
        self.renewed_total = 0
        heard.missing = self._fill

    def startService(self) -> None:
        """Begin to listen."""
        super().startService()
        self._heard_s = self._clock.seconds()
        self._looks.startService()
        self._bus.listen(self)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        self._looks.stopService()

    # IBusListener

    def received(self, place: BusPlace, data: bytes | None) -> None:
        """See IBusListener."""
        self._heard_s = self._clock.seconds()
        self._asked_s = None
        self._set(True)
        if data is not None:
            self._take(data)
        last = self._last
        if last is None:
            self._last = place
        elif self._is_filling:
            self._note(place, is_new=data is not None)
        elif place.epoch == last.epoch and place.number == last.number + (data is not None):
            self._last = place
        elif place.epoch != last.epoch or place.number > last.number:
            self._note(place, is_new=data is not None)
            self._fill()
        # Else it was fetched before it came; or Redis went back to what it was a moment ago, and has counted it again.

    def resumed(self) -> None:
        """See IBusListener."""
        self._heard_s = self._clock.seconds()
        self._ask()
        if self._last is not None:
            self._fill()

    def interrupted(self) -> None:
        """See IBusListener."""
        self._asked_s = None
        self._set(False)

    # For who runs it

    def checks(self) -> Sequence[Check]:
        """Whether broadcasts come in."""
        why = "" if self.hears else ("nothing is heard" if self._bus.is_listening else "the subscription is away")
        return [Check("broadcasts", self.hears, why)]

    def samples(self) -> Iterable[Sample]:
        """See IMeasured."""
        yield Sample("push_bus_hears", "gauge", "1 while broadcasts come in over the bus.", float(self.hears))
        yield Sample("push_bus_received_total", "counter", "Broadcasts that came over the bus.", self.received_total)
        yield Sample("push_bus_filled_total", "counter", "Broadcasts taken out of its log.", self.filled_total)
        yield Sample("push_bus_missed_total", "counter", "Broadcasts its log had no more.", self.missed_total)
        yield Sample("push_bus_renewed_total", "counter", "Deaf subscriptions made anew.", self.renewed_total)
        yield Sample("push_bus_unheard_total", "counter", "Payloads that came over links.", self._heard.unheard)
        yield Sample("push_bus_unturned_total", "counter", "Broadcasts without a turn.", self._heard.unturned)

    # Inside

    def _set(self, hears: bool) -> None:
        if hears is not self.hears:
            self.hears = hears
            self._changed(hears)

    def _take(self, data: bytes) -> None:
        try:
            message = read_broadcast(data, self._max_payload_bytes)
        except ValueError as error:
            self._log.warn("something on the broadcast bus is left out: {error}", error=error)
            return
        self.received_total += 1
        self._heard.put(message.message_id, message.payload or b"")

    def _look(self) -> None:
        self._heard.sweep()
        if not self._bus.is_listening:
            return
        now_s = self._clock.seconds()
        if self._asked_s is not None and now_s - self._asked_s >= ANSWER_LIMIT_S:
            self._log.warn("nothing comes over the broadcast bus, though it is connected: subscribing anew")
            self._asked_s = None
            self.renewed_total += 1
            self._set(False)
            self._bus.renew()
        elif self._asked_s is None and now_s - self._heard_s >= SILENCE_S:
            self._ask()

    def _ask(self) -> None:
        self._asked_s = self._clock.seconds()
        self._tasks.spawn("publishing a beat", self._beat())

    async def _beat(self) -> None:
        try:
            await self._bus.beat()
        except PushError:
            self._asked_s = None  # nobody was told anything: that it was not heard says nothing

    def _note(self, place: BusPlace, *, is_new: bool) -> None:
        """Something came behind a gap."""
        run = self._run
        if run is None or place.epoch != run[1].epoch or place.number > run[1].number + is_new:
            # The place of something old is behind it.
            self._run = (place if is_new else BusPlace(place.epoch, place.number + 1), place)
        elif place.number > run[1].number:
            self._run = (run[0], place)

    def _fill(self) -> None:
        """Something may have been missed: look into the log of the bus."""
        if not self._is_filling and self._last is not None:
            self._is_filling = True
            self._tasks.spawn("fetching missed broadcasts", self._fetch(self._last))

    async def _fetch(self, last: BusPlace) -> None:
        try:
            newest, found = await self._bus.since(last)
        except PushError:
            return  # the next thing that comes, or the next beat, shows the gap again
        finally:
            self._is_filling = False
            run, self._run = self._run, None
        for data in found:
            self._take(data)
        self.filled_total += len(found)
        self._last = newest
        if newest.epoch != last.epoch:
            self._missed(newest.number - len(found))
        else:
            self._missed(newest.number - last.number - len(found))
        if run is not None and run[1].epoch == newest.epoch and run[1].number > newest.number:
            if run[0].number <= newest.number + 1:
                self._last = run[1]
            else:
                self._run = run
                self._fill()

    def _missed(self, count: int) -> None:
        if count > 0:
            self.missed_total += count
            self._log.warn("{count} broadcasts were missed, and are not in the bus's log any more", count=count)
            self._resynchronise()
