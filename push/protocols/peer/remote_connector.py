"""IConnector over a link: for routers whose connectors are other nodes. Must not import services, stores or web.

Deliveries and broadcasts are one stream, so that they cannot overtake one another. What became of deliveries comes back
with the pieces of the stream; how far broadcasts got is asked for by one call that waits, for as long as any is on
its way, so that a broadcast to very many holds up nothing else.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import Unavailable
from push.ihealth import IProbe
from push.inodes import ILinkedConnector
from push.model import Delivery, DeliveryReport, Place, Registration
from push.model_chat import Notice, runs, without_but
from push.model_cluster import Node
from push.model_health import Sample
from push.protocols.peer.delivery_frames import frames_of, joined, result_of, without_log
from push.protocols.peer.envelopes import (
    MINOR,
    MINOR_BUT,
    MINOR_PLACES,
    Drain,
    Kick,
    Notify,
    Passed,
    Reader,
    Refill,
    Replaced,
    Session,
    encode,
)
from push.protocols.peer.errors import error_of
from push.protocols.peer.link import Link
from push.protocols.peer.pieces import PIECE_BYTES, Pieces
from push.protocols.peer.remote_probe import RemoteProbe
from push.protocols.wire.batch_reports import AllSent, read_reports
from push.protocols.wire.batches import LOGGED, MAX_TOKENS, ON_BUS, PULLED, write_to_everybody
from push.protocols.wire.messages import Disconnect

DELIVER_LIMIT_S = 30.0
# A pass over a million slow connections would not take so long.
PASS_LIMIT_S = 120.0
MAX_BROADCASTS = 10_000
# A token has 128 characters at most, so that these and two bodies are within what Perspective Broker takes.
_NOTIFIED_TOKENS = 1_500
_NOTIFIED_TOGETHER = 64

_PASSED: Reader[tuple[Passed, ...]] = Reader(tuple[Passed, ...])
_YES_NO: Reader[bool] = Reader(bool)
_COUNT: Reader[int] = Reader(int)
_NODE: Reader[Node] = Reader(Node)
_SAMPLES: Reader[tuple[Sample, ...]] = Reader(tuple[Sample, ...])


@dataclass(slots=True, eq=False)
class _Batch:
    """A deliver call whose frames are on their way.

    Attributes:
        deliveries: what it is about.
        frames: how many they are; one for each, but more for those to very many tokens.
        done: fires with what became of them.
        reported: of how many frames is known what became of them.
        missed: number of a frame → (position, outcome) of its tokens that did not get it.
    """

    deliveries: Sequence[Delivery]
    frames: int
    done: "Deferred[DeliveryReport]"
    reported: int = 0
    missed: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)


@implementer(ILinkedConnector)
class RemoteConnector:
    """A connector elsewhere, as long as the link to it lasts.

    Args:
        address: its unique name.
        link: to it.
        max_waiting_bytes: of messages that wait for the link; with more, calls fail with Unavailable.
        minor: the version that it speaks: an older one is told of what is logged as it knows it.

    Attributes:
        hears: see ILinkedConnector; whoever knows says so.
    """

    def __init__(self, address: str, link: Link, *, max_waiting_bytes: int, minor: int = MINOR) -> None:
        self.address = address
        self._link = link
        self._max_waiting_bytes = max_waiting_bytes
        self._knows_places = minor >= MINOR_PLACES
        self._knows_but = minor >= MINOR_BUT
        self._pieces = Pieces(self._send, answered=self._answered, broken=link.broken)
        self._batches: deque[_Batch] = deque()
        self._broadcasts: dict[int, Deferred[int]] = {}
        self._last_broadcast = 0
        self._is_asking = False
        self.hears = False
        self.probe: IProbe = RemoteProbe(link)
        link.when_lost(self._lost)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of messages that wait for the link."""
        return self._pieces.waiting_bytes

    async def deliver(self, batch: Sequence[Delivery]) -> DeliveryReport:
        """See IConnector. One that fails with Unavailable before it has begun has delivered nothing."""
        self._check_room()
        frames = frames_of(batch if self._knows_places else without_log(batch))
        if not frames:
            return DeliveryReport([0] * len(batch), {})
        done: Deferred[DeliveryReport] = Deferred()
        self._batches.append(_Batch(batch, len(frames), done))
        for some in joined(frames):
            self._pieces.put(some)
        return await done

    async def broadcast(
        self, message_id: int, payload: bytes | None, is_logged: bool = False, place: Place | None = None
    ) -> int:
        """See IConnector."""
        if place is not None and not self._knows_places:
            payload = place = None
        try:
            self._check_room()
            if len(self._broadcasts) >= MAX_BROADCASTS:
                raise Unavailable("too many broadcasts are on their way to this connector", retry_after_s=1.0)
        except Unavailable:
            if self._link.is_lost or not is_logged:
                raise
            payload = None
        flags = (LOGGED if is_logged else 0) | (PULLED if payload is None else 0)
        at = None if place is None else (place.position, place.logged)
        return await self._to_everybody(write_to_everybody(message_id, payload or b"", flags, place=at))

    async def bring(self, message_id: int) -> int:
        """See IConnector."""
        self._check_room()
        if len(self._broadcasts) >= MAX_BROADCASTS:
            raise Unavailable("too many broadcasts are on their way to this connector", retry_after_s=1.0)
        return await self._to_everybody(write_to_everybody(message_id, b"", ON_BUS))

    async def kick(self, token: str, reason: Disconnect) -> bool:
        """See IConnector."""
        envelope = Kick(token, int(reason.code), reason.reason, reason.retry, reason.retry_after_s)
        return _YES_NO.read(await self._link.call("kick", encode(envelope)))

    async def notify(self, notices: Sequence[Notice]) -> int:
        """See IConnector."""
        sent = 0
        if not self._knows_but:
            notices = [without_but(notice) for notice in notices]
        for some in notices_in_calls(notices):
            sent += _COUNT.read(await self._link.call("notify", encode(Notify(some)), limit_s=DELIVER_LIMIT_S))
        return sent

    async def refill(self, tokens: Sequence[str]) -> None:
        """See IConnector."""
        for start in range(0, len(tokens), MAX_TOKENS):
            await self._link.call("refill", encode(Refill(tuple(tokens[start : start + MAX_TOKENS]))))

    async def replaced(self, registrations: Sequence[Registration]) -> None:
        """See IConnector."""
        await self._link.call("replaced", encode(Replaced(tuple(map(Session.of, registrations)))))

    async def drain(self, sessions_per_s: float | None) -> None:
        """See IConnector."""
        await self._link.call("drain", encode(Drain(sessions_per_s)))

    async def node(self) -> Node:
        """See IConnector."""
        return _NODE.read(await self._link.call("node"))

    async def samples(self) -> Sequence[Sample]:
        """What the node has measured of itself."""
        return _SAMPLES.read(await self._link.call("samples"))

    def link_samples(self) -> Iterable[Sample]:
        """See ILinkedConnector."""
        label = (("node", self.address),)
        yield from self._link.samples()
        yield Sample("push_link_waiting_bytes", "gauge", "Bytes that wait for a link.", self.waiting_bytes, label)

    def _to_everybody(self, frame: bytes) -> "Deferred[int]":
        self._last_broadcast += 1
        done: Deferred[int] = Deferred()
        self._broadcasts[self._last_broadcast] = done
        self._pieces.put(frame)
        self._ask_passed()
        return done

    def _send(self, data: bytes) -> "Deferred[bytes]":
        return self._link.call("deliver", data, limit_s=DELIVER_LIMIT_S)

    def _check_room(self) -> None:
        if self._link.is_lost:
            raise Unavailable("the connector is gone", retry_after_s=1.0)
        if self._pieces.waiting_bytes > self._max_waiting_bytes:
            raise Unavailable("too much waits for this connector", retry_after_s=1.0)

    def _answered(self, data: bytes) -> None:
        """The reports of the frames that ended in the next piece."""
        try:
            for report in read_reports(data):
                if isinstance(report, AllSent):
                    self._reported(report.frames)
                else:
                    batch = self._batches[0]
                    batch.missed[batch.reported] = report.missed
                    self._reported(1)
        except (ValueError, IndexError) as error:
            self._link.lose(f"reports that cannot be right: {error}")

    def _reported(self, frames: int) -> None:
        """It is known what became of so many frames more."""
        batches = self._batches
        while frames:
            batch = batches[0]
            some = min(frames, batch.frames - batch.reported)
            frames -= some
            batch.reported += some
            if batch.reported == batch.frames:
                result = result_of(batch.deliveries, batch.missed)
                batches.popleft()
                if not batch.done.called:
                    batch.done.callback(result)

    def _ask_passed(self) -> None:
        if self._broadcasts and not self._is_asking and not self._link.is_lost:
            self._is_asking = True
            passed = self._link.call("passed", limit_s=PASS_LIMIT_S)
            passed.addCallback(self._passed)
            passed.addErrback(self._link.broken)

    def _passed(self, data: bytes) -> None:
        self._is_asking = False
        for each in _PASSED.read(data):
            done = self._broadcasts.pop(each.number, None)
            if done is None or done.called:
                continue
            if each.trouble is None:
                done.callback(each.sent)
            else:
                done.errback(error_of(each.trouble))
        self._ask_passed()

    def _lost(self, why: str) -> None:
        batches, self._batches = self._batches, deque()
        broadcasts, self._broadcasts = self._broadcasts, {}
        waiting: list[Deferred[Any]] = [*(batch.done for batch in batches), *broadcasts.values()]
        for done in waiting:
            if not done.called:
                done.errback(Failure(Unavailable(why, retry_after_s=1.0)))


def notices_in_calls(notices: Sequence[Notice]) -> Iterator[tuple[Notice, ...]]:
    """Notices in groups that each go into one call, those for very many tokens in parts."""
    waiting: list[Notice] = []
    size_bytes = 0
    for run in runs(notices, _NOTIFIED_TOGETHER, PIECE_BYTES):
        for start in range(0, len(run[0].tokens), _NOTIFIED_TOKENS):
            tokens = tuple(run[0].tokens[start : start + _NOTIFIED_TOKENS])
            tokens_bytes = sum(map(len, tokens)) + 2 * len(tokens)
            for notice in run:
                part_bytes = len(notice.chat) + len(notice.contact) + tokens_bytes
                if waiting and size_bytes + part_bytes > PIECE_BYTES:
                    yield tuple(waiting)
                    waiting, size_bytes = [], 0
                waiting.append(msgspec.structs.replace(notice, tokens=tokens))
                size_bytes += part_bytes
    if waiting:
        yield tuple(waiting)
