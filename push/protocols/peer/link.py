"""One link to another node: calls with a time limit, a pulse that notices when the peer is gone, and an end.

Must not import services, stores or web.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb

from push.errors import PushError
from push.model_health import Sample
from push.protocols.peer.errors import CallMalformed, LinkLost, as_call_failed, from_remote

CALL_LIMIT_S = 10.0
# Together they notice a peer that is frozen, or a line that is dead, within 7 s.
PULSE_INTERVAL_S = 2.0
PULSE_LIMIT_S = 5.0
# A limit that is over by more than this was not watched: it is this process that stood still, and not the peer.
_STALLED_S = 1.0

_LOST = "the link to {name} is lost"


class Link:
    """A peer that has been greeted.

    Args:
        reference: what can be called there.
        name: of the peer, for messages.
        clock: for the limits.
        pulse_interval_s: from one look whether the peer is there to the next, in seconds.
        pulse_limit_s: how long it may take to answer, in seconds.

    Attributes:
        is_lost: whether it is over; for ever.
        before_call: called before each call: what has to arrive there first.
        calls: how many were made, those of the pulse included.
        failures: how many of these failed.
        pulse_s: how long the peer took to answer the last look whether it is there, in seconds; 0 before the first.
    """

    _log = Logger()

    def __init__(
        self,
        reference: pb.RemoteReference,
        *,
        name: str,
        clock: IReactorTime,
        pulse_interval_s: float = PULSE_INTERVAL_S,
        pulse_limit_s: float = PULSE_LIMIT_S,
    ) -> None:
        self.name = name
        self.is_lost = False
        self.before_call: Callable[[], None] = _nothing
        self.calls = 0
        self.failures = 0
        self.pulse_s = 0.0
        self._unanswered = 0
        self._reference = reference
        self._clock = clock
        self._pulse_limit_s = pulse_limit_s
        self._when_lost: list[Callable[[str], None]] = []
        self._why = _LOST.format(name=name)
        self._pulse = LoopingCall(self._beat)
        self._pulse.clock = clock
        self._is_beating = False
        self._beaten_s = 0.0
        reference.broker.notifyOnDisconnect(self._disconnected)
        self._pulse.start(pulse_interval_s, now=False)

    def when_lost(self, call: Callable[[str], None]) -> None:
        """Have something called, with the reason, in the moment in which the link is lost; at once if it is."""
        if self.is_lost:
            call(self._why)
        else:
            self._when_lost.append(call)

    def call(self, method: str, data: bytes = b"", *, limit_s: float = CALL_LIMIT_S) -> "Deferred[bytes]":
        """Call the peer.

        Args:
            method: its name, without Perspective Broker's prefix.
            data: the one argument.
            limit_s: how long the answer may take, in seconds.

        Returns:
            Fires with the answer; fails with LinkLost or with what the peer raised, never with anything but PushError.
        """
        if not self.is_lost:
            self.before_call()
        return self.send(method, data, limit_s=limit_s)

    def send(self, method: str, data: bytes = b"", *, limit_s: float = CALL_LIMIT_S) -> "Deferred[bytes]":
        """As `call`, ahead of what has to arrive first."""
        if self.is_lost:
            return fail(LinkLost(self._why))
        try:
            called: Deferred[Any] = self._reference.callRemote(method, data)
        except pb.DeadReferenceError:
            return fail(LinkLost(self._why))
        self.calls += 1
        self._unanswered += 1
        called.addTimeout(limit_s, self._clock)
        called.addCallbacks(self._checked, self._translated, errbackArgs=(limit_s,))
        return called

    def samples(self, way: str = "in") -> Iterable[Sample]:
        """How it does, with the peer's name.

        Args:
            way: "in" where the peer has joined this node, "out" where it is the other way round.
        """
        labels = (("node", self.name), ("way", way))
        yield Sample("push_link_calls_total", "counter", "Calls over a link.", self.calls, labels)
        yield Sample("push_link_failures_total", "counter", "Calls over a link that failed.", self.failures, labels)
        yield Sample("push_link_unanswered", "gauge", "Calls not answered yet.", self._unanswered, labels)
        yield Sample(
            "push_link_pulse_seconds", "gauge", "How long the peer took to say it is there.", self.pulse_s, labels
        )

    def lose(self, why: str) -> None:
        """End it here and now."""
        if not self.is_lost:
            self._log.warn("the link to {name} is cut: {why}", name=self.name, why=why)
            self._end(f"{self._why}: {why}")
            self._reference.broker.transport.abortConnection()

    def close(self) -> None:
        """End it when what was written has left."""
        if not self.is_lost:
            self._end(self._why)
            self._reference.broker.transport.loseConnection()

    def broken(self, failure: Failure) -> None:
        """End it because a call failed that must not."""
        self.lose(failure.getErrorMessage())

    def _end(self, why: str) -> None:
        self.is_lost = True
        self._why = why
        if self._pulse.running:
            self._pulse.stop()
        calls, self._when_lost = self._when_lost, []
        for call in calls:
            try:
                call(why)
            except Exception:
                self._log.failure("what the end of a link causes failed")

    def _disconnected(self) -> None:
        if not self.is_lost:
            self._end(self._why)

    def _beat(self) -> None:
        if self._is_beating:
            return
        self._is_beating = True
        self._beaten_s = self._clock.seconds()
        self.send("ping", limit_s=self._pulse_limit_s).addCallbacks(self._beaten, self._missed)

    def _beaten(self, _: bytes) -> None:
        self.pulse_s = self._clock.seconds() - self._beaten_s
        self._is_beating = False

    def _missed(self, failure: Failure) -> None:
        self._is_beating = False
        if self._clock.seconds() - self._beaten_s > self._pulse_limit_s + _STALLED_S and not self.is_lost:
            self._beat()  # the answer may have come long ago, and only not been read
        else:
            self.lose(failure.getErrorMessage())

    def _checked(self, answer: object) -> bytes:
        self._unanswered -= 1
        if type(answer) is not bytes:
            raise PushError(f"{self.name} answered a call with something else than bytes")
        return answer

    def _translated(self, failure: Failure, limit_s: float) -> Failure:
        """What Perspective Broker and the time limit make of failures, as errors of ours."""
        self._unanswered -= 1
        self.failures += not failure.check(CancelledError)
        if isinstance(failure, pb.CopiedFailure):
            kind = failure.type
            name = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else str(kind)
            return Failure(from_remote(name, str(failure.value)))
        if failure.check(CancelledError):  # whoever asked does not want to know any more
            return failure
        if failure.check(TimeoutError):
            return Failure(LinkLost(f"{self.name} did not answer within {limit_s:g} s"))
        self._disconnected()  # Perspective Broker tells whoever waits before it tells us
        return Failure(LinkLost(self._why))


def _nothing() -> None:
    pass


def answering(work: Awaitable[bytes]) -> "Deferred[bytes]":
    """Answer a call of the peer: errors that are expected travel as pb.Error; others are logged by Twisted.

    Args:
        work: gives the answer.
    """
    return Deferred.fromCoroutine(_answered(work))


async def _answered(work: Awaitable[bytes]) -> bytes:
    try:
        return await work
    except PushError as error:
        raise as_call_failed(error) from None


def as_bytes(data: object) -> bytes:
    """A call's argument, where it has to be bytes.

    Raises:
        CallMalformed: it is not.
    """
    if type(data) is not bytes:
        raise CallMalformed("a call takes one bytes argument")
    return data
