"""What nodes of a cluster share, in memory, for tests of what stands on it. It passes the contracts of tests/stores."""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from push.errors import PushError
from push.icluster import IBroadcastBus, IBusListener, ISessionDirectory
from push.ileases import ILeases
from push.model import Registration
from push.model_cluster import BusPlace, Lease, Opening


@implementer(ISessionDirectory)
class MemorySessionDirectory:
    """Sessions in a dict.

    Args:
        now_us: microseconds since 1970.

    Attributes:
        failure: what every call fails with, where a test sets it.
    """

    def __init__(self, now_us: Callable[[], int] = lambda: 1_800_000_000_000_000) -> None:
        self.failure: PushError | None = None
        self._now_us = now_us
        self._sessions: dict[str, Registration] = {}
        self._last_epoch = 0

    def open(self, token: str, uid: str | None, connector: str, *, acks: bool) -> Deferred[Opening]:
        """Open a session."""
        if self.failure is not None:
            return fail(self.failure)
        self._last_epoch = max(self._now_us(), self._last_epoch + 1)
        replaced = self._sessions.get(token)
        session = self._sessions[token] = Registration(token, uid, connector, self._last_epoch, acks)
        return succeed(Opening(session, replaced))

    def reopen(self, registrations: Sequence[Registration]) -> Deferred[Sequence[Registration]]:
        """These sessions are open."""
        if self.failure is not None:
            return fail(self.failure)
        losers = []
        for new in registrations:
            old = self._sessions.get(new.token)
            if old is not None and old.epoch >= new.epoch:
                if (old.epoch, old.connector) != (new.epoch, new.connector):
                    losers.append(new)
                continue
            if old is not None:
                losers.append(old)
            self._sessions[new.token] = new
            self._last_epoch = max(self._last_epoch, new.epoch)
        return succeed(losers)

    def close(self, registrations: Sequence[Registration]) -> Deferred[None]:
        """Sessions are over."""
        if self.failure is not None:
            return fail(self.failure)
        for one in registrations:
            known = self._sessions.get(one.token)
            if known is not None and (known.epoch, known.connector) == (one.epoch, one.connector):
                del self._sessions[one.token]
        return succeed(None)

    def find(self, tokens: Sequence[str]) -> Deferred[Mapping[str, Registration]]:
        """The sessions of these."""
        if self.failure is not None:
            return fail(self.failure)
        return succeed({token: self._sessions[token] for token in tokens if token in self._sessions})

    def remove(self, token: str) -> Deferred[Registration | None]:
        """Forget one."""
        return succeed(self._sessions.pop(token, None)) if self.failure is None else fail(self.failure)

    def last_epoch(self) -> Deferred[int]:
        """The greatest until now."""
        if self.failure is not None:
            return fail(self.failure)
        return succeed(max(self._now_us(), self._last_epoch))

    def leave(self, connector: str, last_epoch: int, limit: int) -> Deferred[int]:
        """Forget those of a connector."""
        if self.failure is not None:
            return fail(self.failure)
        gone = [s for s in self._sessions.values() if s.connector == connector and s.epoch <= last_epoch][:limit]
        for session in gone:
            del self._sessions[session.token]
        return succeed(len(gone))

    def count(self) -> Deferred[int]:
        """How many."""
        return succeed(len(self._sessions)) if self.failure is None else fail(self.failure)


@implementer(ILeases)
class MemoryLeases:
    """Leases in a dict.

    Args:
        clock: when they expire.

    Attributes:
        failure: what every call fails with, where a test sets it.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.failure: PushError | None = None
        self._clock = clock
        self._held: dict[str, tuple[Lease, float]] = {}
        self._number = 0

    def acquire(self, name: str, details: bytes, ttl_s: float) -> Deferred[Lease | None]:
        """Take a name."""
        if self.failure is not None:
            return fail(self.failure)
        if name in self._living():
            return succeed(None)
        self._number = max(self._number + 1, round(self._clock.seconds() * 1e6))
        lease = Lease(name, self._number, details)
        self._held[name] = (lease, self._clock.seconds() + ttl_s)
        return succeed(lease)

    def renew(self, lease: Lease, details: bytes, ttl_s: float) -> Deferred[bool]:
        """Keep it."""
        if self.failure is not None:
            return fail(self.failure)
        if not self._is_held(lease):
            return succeed(False)
        self._held[lease.name] = (Lease(lease.name, lease.number, details), self._clock.seconds() + ttl_s)
        return succeed(True)

    def release(self, lease: Lease) -> Deferred[bool]:
        """Let go."""
        if self.failure is not None:
            return fail(self.failure)
        was_held = self._is_held(lease)
        if was_held:
            del self._held[lease.name]
        return succeed(was_held)

    def held(self) -> Deferred[Sequence[Lease]]:
        """All there are."""
        if self.failure is not None:
            return fail(self.failure)
        return succeed([lease for _, lease in sorted(self._living().items())])

    def _living(self) -> dict[str, Lease]:
        return {name: lease for name, (lease, until_s) in self._held.items() if until_s > self._clock.seconds()}

    def _is_held(self, lease: Lease) -> bool:
        held = self._living().get(lease.name)
        return held is not None and held.number == lease.number


class MemoryChannel:
    """What the buses of several nodes have in common.

    Attributes:
        log: what was published in this epoch; a test may take from it what is forgotten.
    """

    def __init__(self) -> None:
        self.buses: list[MemoryBus] = []
        self.epoch = 1
        self.number = 0
        self.log: dict[int, bytes] = {}

    def lose(self) -> None:
        """Begin anew, with nothing."""
        self.epoch += 1
        self.number = 0
        self.log.clear()


@implementer(IBroadcastBus)
class MemoryBus:
    """One node's bus.

    Args:
        channel: shared with others.

    Attributes:
        failure: what every call fails with, where a test sets it.
        is_deaf: whether what is published is lost, though the bus seems to listen; until it is renewed.
        renewals: how often it was.
    """

    def __init__(self, channel: MemoryChannel) -> None:
        self.failure: PushError | None = None
        self.is_deaf = False
        self.is_listening = True
        self.renewals = 0
        self._listeners: list[IBusListener] = []
        self._channel = channel
        channel.buses.append(self)

    def listen(self, listener: IBusListener) -> None:
        """Tell a listener."""
        self._listeners.append(listener)
        if self.is_listening:
            listener.resumed()

    def publish(self, data: bytes) -> Deferred[int]:
        """Publish something."""
        if self.failure is not None:
            return fail(self.failure)
        channel = self._channel
        channel.number += 1
        channel.log[channel.number] = data
        return succeed(self._tell(data))

    def beat(self) -> Deferred[None]:
        """Have all listeners told the last place."""
        if self.failure is not None:
            return fail(self.failure)
        self._tell(None)
        return succeed(None)

    def since(self, place: BusPlace) -> Deferred[tuple[BusPlace, Sequence[bytes]]]:
        """What the log has after this."""
        if self.failure is not None:
            return fail(self.failure)
        epoch, number = self._channel.epoch, self._channel.number
        after = place.number if place.epoch == epoch and place.number <= number else 0
        found = [data for at, data in self._channel.log.items() if at > after]
        return succeed((BusPlace(epoch, number), found))

    def renew(self) -> None:
        """End the subscription, and make another."""
        self.renewals += 1
        if self.is_listening:
            self.interrupt()
            self.is_deaf = False
            self.resume()

    def interrupt(self) -> None:
        """Cut the subscription."""
        self.is_listening = False
        for listener in self._listeners:
            listener.interrupted()

    def resume(self) -> None:
        """Mend it."""
        self.is_listening = True
        for listener in self._listeners:
            listener.resumed()

    def _tell(self, data: bytes | None) -> int:
        connected = [bus for bus in self._channel.buses if bus.is_listening]
        for bus in connected:
            if not bus.is_deaf:
                for listener in bus._listeners:
                    listener.received(BusPlace(self._channel.epoch, self._channel.number), data)
        return len(connected)
