"""What another node may call on a connector: Perspective Broker in front of IConnector.

Must not import services, stores or web.
"""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from push import errors
from push.errors import PushError, Unavailable
from push.ihealth import IMeasured, IProbe
from push.ipush import IConnector
from push.model import Delivery, DeliveryReport, Outcome, Place
from push.protocols.peer.asking import Asking
from push.protocols.peer.envelopes import (
    MINOR,
    MINOR_SIZES,
    Drain,
    Kick,
    Notify,
    Passed,
    Reader,
    Refill,
    Replaced,
    encode,
)
from push.protocols.peer.errors import CallMalformed, trouble_of
from push.protocols.peer.link import answering, as_bytes
from push.protocols.wire.batch_reports import FAILED, AllSent, Missed, write_reports
from push.protocols.wire.batches import BatchReader, ToEverybody, TooLarge
from push.protocols.wire.messages import Disconnect

T = TypeVar("T")

_Delivering = tuple[Sequence[Delivery], "Deferred[DeliveryReport]"]

_log = Logger()

_KICK: Reader[Kick] = Reader(Kick)
_REPLACED: Reader[Replaced] = Reader(Replaced)
_REFILL: Reader[Refill] = Reader(Refill)
_DRAIN: Reader[Drain] = Reader(Drain)
_NOTIFY: Reader[Notify] = Reader(Notify)


class Door(pb.Referenceable):
    """Any node as the one that it joined may use it.

    Args:
        asking: gets the answers to this node's questions.
        minor: the version that the node there speaks.
    """

    def __init__(self, asking: Asking, minor: int = MINOR) -> None:
        self._asking = asking
        self._minor = minor

    def remote_ping(self, data: object) -> bytes:
        """Say that it is there."""
        as_bytes(data)
        return b""

    def remote_told(self, data: object) -> bytes:
        """Take the answers to this node's questions; what they cause has begun when this returns."""
        self._asking.told(as_bytes(data))
        return b""


class ConnectorDoor(Door):
    """A connector as its peer may use it. One for each link, as it holds the state of a stream.

    Args:
        name: of the node.
        connector: does what is called for.
        probe: its client of itself.
        asking: gets the answers to this node's questions.
        measured: whose numbers are shown.
        max_payload_bytes: the largest message taken; larger ones are refused, each by itself.
        minor: the version that the node there speaks.
    """

    def __init__(
        self,
        *,
        name: str,
        connector: IConnector,
        probe: IProbe,
        asking: Asking,
        measured: Sequence[IMeasured],
        max_payload_bytes: int,
        minor: int = MINOR,
    ) -> None:
        super().__init__(asking, minor)
        self._name = name
        self._connector = connector
        self._probe = probe
        self._measured = measured
        self._max_payload_bytes = max_payload_bytes
        self._has_warned = False
        self._reader = BatchReader(max_payload_bytes, Delivery, Place)
        self._broadcasts = 0
        self._passed: list[Passed] = []
        self._whoever_waits: Deferred[None] | None = None

    def remote_deliver(self, data: object) -> "Deferred[bytes]":
        """Take a piece of the stream of messages; answer when those that ended in it have been delivered."""
        messages = self._reader.feed(as_bytes(data))
        batch: list[Delivery] = []
        delivering: list[_Delivering] = []

        def deliver() -> None:
            nonlocal batch
            if batch:
                delivering.append((batch, Deferred.fromCoroutine(_awaited(self._connector.deliver(batch)))))
                batch = []

        # Nothing is awaited between two calls: the connector keeps their order.
        for message in messages:
            if type(message) is Delivery:
                batch.append(message)
            elif isinstance(message, ToEverybody):
                deliver()
                self._broadcast(message)
            elif isinstance(message, TooLarge):
                spared = self._spared(message.message)
                if type(spared) is Delivery:
                    batch.append(spared)
                    continue
                deliver()
                if isinstance(spared, ToEverybody):
                    self._broadcast(spared)
                else:
                    self._refuse(message.message, delivering)
        deliver()
        if self._reader.error is not None:
            raise CallMalformed(f"the stream of messages is broken: {self._reader.error}")
        return answering(_reports(delivering))

    def remote_passed(self, data: object) -> "Deferred[bytes]":
        """Wait until a broadcast is through; answer with all that are and were not told of yet."""
        as_bytes(data)
        return answering(self._next_passed())

    def remote_kick(self, data: object) -> "Deferred[bytes]":
        """See IConnector.kick."""
        kick = _KICK.read(data)
        reason = Disconnect(kick.code, kick.reason, kick.retry, kick.retry_after_s)
        return answering(_encoded(self._connector.kick(kick.token, reason)))

    def remote_refill(self, data: object) -> "Deferred[bytes]":
        """See IConnector.refill."""
        return answering(_encoded(self._connector.refill(_REFILL.read(data).tokens)))

    def remote_notify(self, data: object) -> "Deferred[bytes]":
        """See IConnector.notify."""
        return answering(_encoded(self._connector.notify(_NOTIFY.read(data).notices)))

    def remote_replaced(self, data: object) -> "Deferred[bytes]":
        """See IConnector.replaced."""
        registrations = [session.at(self._name) for session in _REPLACED.read(data).sessions]
        return answering(_encoded(self._connector.replaced(registrations)))

    def remote_drain(self, data: object) -> "Deferred[bytes]":
        """See IConnector.drain."""
        return answering(_encoded(self._connector.drain(_DRAIN.read(data).sessions_per_s)))

    def remote_node(self, data: object) -> "Deferred[bytes]":
        """See IConnector.node."""
        as_bytes(data)
        return answering(_encoded(self._connector.node()))

    def remote_probe_open(self, data: object) -> "Deferred[bytes]":
        """See IProbe.open."""
        as_bytes(data)
        return answering(_encoded(self._probe.open()))

    def remote_probe_arrived(self, data: object) -> "Deferred[bytes]":
        """See IProbe.arrived."""
        return answering(_encoded(self._probe.arrived(as_bytes(data))))

    def remote_probe_hang_up(self, data: object) -> "Deferred[bytes]":
        """See IProbe.hang_up."""
        as_bytes(data)
        return answering(_encoded(self._probe.hang_up()))

    def remote_samples(self, data: object) -> bytes:
        """What this process has measured."""
        as_bytes(data)
        return encode([sample for each in self._measured for sample in each.samples()])

    def _spared(self, message: Delivery | ToEverybody) -> Delivery | ToEverybody | None:
        """What is too large as it can be taken: pulled from the cache, if that has it or will; else None."""
        if not self._has_warned:  # one of many, likely: nodes have different settings
            self._has_warned = True
            _log.warn(
                "a message of {size} bytes is not taken, nor are others over {limit}: max_body_bytes of this "
                "connector is less than that of a router",
                size=len(message.payload or b""),
                limit=self._max_payload_bytes,
            )
        if isinstance(message, ToEverybody):
            return message._replace(payload=None) if message.is_logged else None
        return msgspec.structs.replace(message, payload=None) if message.is_kept or message.is_keepable else None

    def _refuse(self, message: Delivery | ToEverybody, delivering: list[_Delivering]) -> None:
        """Refuse what is too large, in its place in the stream, and nothing else."""
        if isinstance(message, ToEverybody):
            self._broadcasts += 1
            error = errors.TooLarge(f"a connector takes messages of at most {self._max_payload_bytes} bytes")
            self._through(Passed(self._broadcasts, 0, trouble_of(error)))
            return
        outcome = Outcome.TOO_LARGE if self._minor >= MINOR_SIZES else Outcome.OFFLINE
        missed = {0: [(token, outcome) for token in message.tokens]}
        delivering.append(([message], succeed(DeliveryReport([0], missed))))

    def _broadcast(self, message: ToEverybody) -> None:
        self._broadcasts += 1
        number = self._broadcasts
        connector = self._connector
        if message.is_on_bus:
            begun = connector.bring(message.message_id)
        else:
            place = None if message.place is None else Place(message.place[0], (), message.place[1])
            begun = connector.broadcast(message.message_id, message.payload, message.is_logged, place)
        done = Deferred.fromCoroutine(_awaited(begun))
        done.addCallbacks(
            lambda sent: self._through(Passed(number, sent)),
            lambda failure: self._through(Passed(number, 0, trouble_of(self._expected(failure)))),
        )

    def _expected(self, failure: Failure) -> PushError:
        if isinstance(failure.value, PushError):
            return failure.value
        _log.failure("a broadcast failed", failure)
        return Unavailable("the broadcast failed on this connector", retry_after_s=5.0)

    def _through(self, passed: Passed) -> None:
        self._passed.append(passed)
        waiting, self._whoever_waits = self._whoever_waits, None
        if waiting is not None:
            waiting.callback(None)

    async def _next_passed(self) -> bytes:
        if not self._passed:
            if self._whoever_waits is not None:
                raise Unavailable("another call waits for broadcasts already")
            self._whoever_waits = Deferred()
            await self._whoever_waits
        passed, self._passed = self._passed, []
        return encode(passed)


async def _awaited(work: Awaitable[T]) -> T:
    return await work


async def _encoded(work: Awaitable[object]) -> bytes:
    return encode(await work)


async def _reports(delivering: Sequence[_Delivering]) -> bytes:
    """What became of the frames of a piece."""
    reports: list[AllSent | Missed] = []
    sent = 0
    for batch, delivered in delivering:
        done = 0
        for position, missed in await _missed(batch, delivered):
            sent += position - done
            done = position + 1
            if sent:
                reports.append(AllSent(sent))
                sent = 0
            reports.append(missed)
        sent += len(batch) - done
    if sent:
        reports.append(AllSent(sent))
    return write_reports(reports)


async def _missed(batch: Sequence[Delivery], delivered: "Deferred[DeliveryReport]") -> list[tuple[int, Missed]]:
    """Of those of a batch that were not sent to all of their tokens, the positions and what was missed, in order."""
    try:
        report = await delivered
    except Exception as error:
        if not isinstance(error, PushError):
            _log.failure("delivering failed")
        everything = [Missed(tuple((each, FAILED) for each in range(len(delivery.tokens)))) for delivery in batch]
        return list(enumerate(everything))
    return [
        (position, Missed(_positions(batch[position].tokens, missed)))
        for position, missed in sorted(report.missed.items())
    ]


def _positions(tokens: Sequence[str], missed: Sequence[tuple[str, Outcome]]) -> tuple[tuple[int, int], ...]:
    """Where among the tokens those that were missed are; they are in the same order."""
    found = []
    position = 0
    for token, outcome in missed:
        position = tokens.index(token, position)
        found.append((position, int(outcome)))
        position += 1
    return tuple(found)
