"""One connection to Redis, made again for as long as it is wanted. Nothing that is asked of it hangs.

What is asked while it is being made waits for it. Once an attempt has failed, Redis is known to be away, and what is
asked fails at once until it is back; so whoever pushes then gets an answer and not a queue. Once another connection of
the process has come up, Redis is known to be there: this one is tried without a pause, and what is asked waits for it.

A call that is not answered in time ends the connection, as everything behind it could not be answered either. One that
is idle is asked for a sign of life: a half-open connection is found before somebody needs it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis
import txredisapi
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from push.errors import PushError, Unavailable
from push.ihealth import IMeasured
from push.model_health import Sample
from push.stores.redis.calls import Call, CallMeasures, Calls
from push.stores.redis.connecting import Connecting, Greeting
from push.stores.redis.errors import RETRY_AFTER_S, AnswerLost, Away, Refused, ScriptUnknown, refusal
from push.stores.redis.protocol import Lost, PlainProtocol
from push.stores.redis.scripts import Script

TIMEOUT_S = 2.0
# What the time limit grows by for what is long: a slow network's, 80 Mbit/s.
BYTES_PER_S = 10_000_000
MAX_CALLS = 100_000
MAX_BYTES = 268_435_456
# An idle connection is asked whether it lives after so long.
PULSE_S = 2.0

Value = bytes | str | int


@implementer(IMeasured)
class Connection:
    """A connection that comes back.

    Calls reach Redis in the order in which they are made, and are answered in it.

    Args:
        name: in logs and metrics.
        endpoint: how to connect.
        greet: what is said first.
        clock: for limits and pauses.
        timeout_s: how long a call may take, and an attempt to connect.
        build: makes the protocol.
        came_up: called whenever it can be used (again), for the other connections of the process.

    Attributes:
        on_up: called whenever it can be used (again).
        on_down: called whenever it cannot any more.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        greet: Greeting,
        *,
        clock: IReactorTime,
        timeout_s: float = TIMEOUT_S,
        build: Callable[[Lost], PlainProtocol] = PlainProtocol,
        came_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._name = name
        self._came_up = came_up
        self._clock = clock
        self._timeout_s = timeout_s
        factory = Factory.forProtocol(lambda: build(self._lost))
        factory.noisy = False
        self._connecting = Connecting(
            endpoint,
            greet,
            factory,
            clock=clock,
            timeout_s=timeout_s,
            usable=self._usable,
            failed=self._failed,
        )
        self._calls = Calls()
        self._measures = CallMeasures(name)
        self._is_running = False
        self._trouble: str | None = None
        self._protocol: PlainProtocol | None = None
        self._timer: IDelayedCall | None = None
        self._pulse: IDelayedCall | None = None
        self._stopped: list[Deferred[None]] = []
        self.on_up: Callable[[], object] = lambda: None
        self.on_down: Callable[[], object] = lambda: None

    @property
    def is_up(self) -> bool:
        """Whether it can be used now."""
        return self._protocol is not None

    @property
    def times_connected(self) -> int:
        """How often it was made: another number is another connection, perhaps to another server."""
        return self._measures.connects

    @property
    def trouble(self) -> str | None:
        """Why it is known not to work; None while it works, or is being made."""
        return self._trouble

    def start(self) -> None:
        """Begin to connect. Does not wait."""
        if not self._is_running:
            self._is_running = True
            self._connecting.start()

    def stop(self) -> "Deferred[None]":
        """End it at once; what is not answered fails. Fires when the connection is closed; may be called twice."""
        self._is_running = False
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for call in self._calls.take_waiting():
            call.fail(Unavailable("the store is closed"))
        if self._protocol is not None:
            # Not loseConnection, which waits until a frozen peer has read everything.
            self._protocol.transport.abortConnection()
        else:
            self._connecting.stop().addCallback(lambda _: self._tell_stopped())
        return stopped

    def hurry(self) -> None:
        """Redis was just reached: make no pause. Nothing for one that is up, or stopped."""
        self._connecting.hurry()

    def renew(self) -> None:
        """End the connection, because it does not do what it should, and make another."""
        if self._protocol is not None:
            self._protocol.transport.abortConnection()

    def call(self, *command: Value, is_patient: bool = False) -> "Deferred[Any]":
        """Ask something.

        Args:
            command: its name and arguments.
            is_patient: wait, as long as the limit says, for a Redis that is known to be away.

        Returns:
            The reply: bytes, an int, None, or a list of such.

        Raises:
            AnswerLost: it may have been done.
            Unavailable: it was not done.
        """
        packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
        refused = self._refused(len(packed), is_patient=is_patient)
        if refused is not None:
            self._measures.failures += 1
            return fail(refused)
        now_s = self._clock.seconds()
        deadline_s = now_s + self._timeout_s + len(packed) / BYTES_PER_S
        call = Call(packed, now_s, deadline_s, is_patient=is_patient)
        self._calls.size_bytes += len(packed)
        if self._protocol is None:
            self._calls.waiting.append(call)
        else:
            self._send(self._protocol, call)
        if self._timer is None:
            self._arm()
        return call.answer

    def run(
        self, script: Script, keys: Sequence[Value], arguments: Sequence[Value] = (), *, is_patient: bool = False
    ) -> "Deferred[Any]":
        """Run a script: by its hash, and with its text where Redis does not have it. Then it comes behind later calls.

        Raises:
            AnswerLost, Unavailable: as `call`.
        """

        def load_it(failure: Failure) -> "Deferred[Any]":
            failure.trap(ScriptUnknown)
            return self.call("EVAL", script.source, len(keys), *keys, *arguments, is_patient=is_patient)

        return self.call("EVALSHA", script.sha, len(keys), *keys, *arguments, is_patient=is_patient).addErrback(load_it)

    def samples(self) -> Iterable[Sample]:
        """How calls went."""
        return self._measures.samples(is_up=self.is_up, unanswered=len(self._calls))

    def _refused(self, size_bytes: int, *, is_patient: bool) -> Unavailable | None:
        if not self._is_running:
            return Unavailable("the store is closed")
        if self._trouble is not None and not is_patient and not self._connecting.is_hurried:
            return Away(f"Redis is away: {self._trouble}", retry_after_s=RETRY_AFTER_S)
        if len(self._calls) >= MAX_CALLS or (self._calls and self._calls.size_bytes + size_bytes > MAX_BYTES):
            return Unavailable("too much waits for Redis", retry_after_s=RETRY_AFTER_S)
        return None

    def _send(self, protocol: PlainProtocol, call: Call) -> None:
        self._calls.sent.append(call)
        protocol.send(call.packed).addBoth(self._replied, call)

    def _replied(self, reply: Any, call: Call) -> None:
        self._calls.sent.popleft()
        self._calls.size_bytes -= len(call.packed)
        if not isinstance(reply, Failure):
            self._measures.answered(self._clock.seconds() - call.started_s)
            if not call.answer.called:
                call.answer.callback(reply)
            return
        self._measures.failures += 1
        error = self._meaning(reply)
        if isinstance(error, Refused) and error.is_wrong_server and self._protocol is not None:
            self._is_away(str(error))
            self._protocol.transport.abortConnection()
        call.fail(error)

    def _meaning(self, failure: Failure) -> PushError:
        error = failure.value
        if isinstance(error, txredisapi.ResponseError):
            return refusal(error)
        return AnswerLost("Redis was lost before it answered: it may have been done", retry_after_s=RETRY_AFTER_S)

    def _usable(self, protocol: PlainProtocol) -> None:
        self._protocol = protocol
        self._measures.connects += 1
        if self._measures.connects > 1 or self._trouble is not None:
            self._log.info("Redis is back ({connection})", connection=self._name)
        self._trouble = None
        self._pulse = self._clock.callLater(PULSE_S, self._beat)
        waiting, self._calls.waiting = self._calls.waiting, type(self._calls.waiting)()
        for call in waiting:
            self._send(protocol, call)
        self._came_up()
        self.on_up()

    def _failed(self, trouble: str) -> None:
        self._is_away(trouble)
        if self._connecting.is_hurried:
            return
        for call in self._calls.take_waiting(impatient_only=True):
            self._measures.failures += 1
            call.fail(Away(f"Redis is away: {trouble}", retry_after_s=RETRY_AFTER_S))

    def _is_away(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._log.warn("Redis is away ({connection}): {trouble}", connection=self._name, trouble=trouble)
        self._trouble = trouble

    def _lost(self, protocol: PlainProtocol) -> None:
        if protocol is not self._protocol:
            return
        self._protocol = None
        if self._pulse is not None and self._pulse.active():
            self._pulse.cancel()
        if self._is_running:
            # At once: it may have been a restart. Should that fail, it is away.
            self._connecting.start()
        self.on_down()
        if not self._is_running:
            self._tell_stopped()

    def _beat(self) -> None:
        self._pulse = self._clock.callLater(PULSE_S, self._beat)
        if not self._calls.sent:
            self.call("PING").addErrback(lambda failure: failure.trap(PushError))

    def _arm(self) -> None:
        deadline_s = self._calls.next_deadline_s()
        if deadline_s is not None:
            self._timer = self._clock.callLater(max(0.0, deadline_s - self._clock.seconds()), self._due)

    def _due(self) -> None:
        # One turn later: if it was this process that stood still, the answers are read before.
        self._timer = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self._clock.seconds()
        calls = self._calls
        while calls.waiting and calls.waiting[0].deadline_s <= now_s:
            call = calls.waiting.popleft()
            calls.size_bytes -= len(call.packed)
            self._measures.failures += 1
            call.fail(Away("Redis is away: it was waited for in vain", retry_after_s=RETRY_AFTER_S))
        if calls.sent and calls.sent[0].deadline_s <= now_s and self._protocol is not None:
            self._is_away(f"it did not answer in {self._timeout_s:g} s")
            self._protocol.transport.abortConnection()
        # What was sent fails with the connection, which is being closed: no need to look at it again.
        if (
            self._timer is None
            and self._is_running
            and (calls.waiting or (calls.sent and calls.sent[0].deadline_s > now_s))
        ):
            self._arm()

    def _tell_stopped(self) -> None:
        stopped, self._stopped = self._stopped, []
        for each in stopped:
            each.callback(None)
