"""Time, processes, the network and Redis of a simulated cluster. All that happens follows from a seed.

A process has a clock of its own, which stands still with it when it is frozen and ends with it when it is killed. Links
keep the order of what they carry, like the connections that they stand for; they delay, are cut, or swallow all.
"""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from push.errors import Unavailable, Unreachable
from tests.services.holders import begun

START_S = 1_800_000_000.0
CALL_LIMIT_S = 5.0
REDIS_LIMIT_S = 2.0


@implementer(IReactorTime)
class QuickClock:
    """As twisted.internet.task.Clock, which sorts all calls with each new one: that was half of a walk's time."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self._count = 0

    def seconds(self) -> float:
        """See IReactorTime."""
        return self._now_s

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> DelayedCall:
        """See IReactorTime."""
        call = DelayedCall(self._now_s + delay, callable, args, kw, lambda _: None, self._push, self.seconds)
        self._push(call)
        return call

    def getDelayedCalls(self) -> Any:
        """See IReactorTime."""
        return [call for _, _, call in self._heap if call.active()]

    def _push(self, call: DelayedCall) -> None:
        self._count += 1
        heappush(self._heap, (call.getTime(), self._count, call))

    def advance(self, amount: float) -> None:
        """Let time pass, and do all that is due by then, in its order."""
        end_s = self._now_s + amount
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            at_s, _, call = heappop(heap)
            if not call.active() or call.getTime() > at_s:
                continue  # it was taken back, or put off
            self._now_s = max(self._now_s, at_s)
            call.called = 1
            call.func(*call.args, **call.kw)
        self._now_s = max(self._now_s, end_s)


@implementer(IDelayedCall)
class ProcessCall:
    """Something that a process is to do later; while it is frozen, that can still be taken back when it goes on.

    Args:
        main: the world's time.
        delay: seconds.
        clock: of the process.
        work: what is to be done.
    """

    def __init__(self, main: QuickClock, delay: float, clock: "ProcessClock", work: Callable[[], None]) -> None:
        self._work = work
        self._clock = clock
        self._is_over = False
        self._call = main.callLater(delay, self.run)

    def run(self) -> None:
        """It is time."""
        if self._clock.is_frozen:
            self._clock.missed.append(self)
        elif not self._is_over and not self._clock.is_dead:
            self._is_over = True
            self._clock.calls.discard(self)
            self._work()

    def cancel(self) -> None:
        """See IDelayedCall."""
        if self._is_over:
            raise AlreadyCalled
        self._is_over = True
        self._clock.calls.discard(self)
        if self._call.active():
            self._call.cancel()

    def active(self) -> bool:
        """See IDelayedCall."""
        return not self._is_over

    def getTime(self) -> float:
        """See IDelayedCall."""
        return float(self._call.getTime())

    def reset(self, seconds: float) -> None:
        """See IDelayedCall."""
        self._call.reset(seconds)

    def delay(self, seconds: float) -> None:
        """See IDelayedCall."""
        self._call.delay(seconds)


@implementer(IReactorTime)
class ProcessClock:
    """The time of one process.

    Args:
        main: that of the world.
    """

    def __init__(self, main: QuickClock) -> None:
        self._main = main
        self.missed: list[ProcessCall] = []
        self.calls: set[ProcessCall] = set()
        self.is_frozen = False
        self.is_dead = False

    def seconds(self) -> float:
        """It goes on while the process is frozen."""
        return float(self._main.seconds())

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> ProcessCall:
        """Call something, unless the process is dead by then; when it is thawed, if it is frozen."""
        call = ProcessCall(self._main, delay, self, lambda: callable(*args, **kw))
        if self.is_dead:
            call.cancel()
        else:
            self.calls.add(call)
        return call

    def getDelayedCalls(self) -> Any:
        """See IReactorTime."""
        return list(self.calls)

    def thaw(self) -> None:
        """Go on."""
        self.is_frozen = False
        missed, self.missed = self.missed, []
        for each in missed:
            self._main.callLater(0, each.run)

    def kill(self) -> None:
        """End it."""
        self.is_dead = True
        for call in self.getDelayedCalls():
            call.cancel()


class Process:
    """Something that can be killed and frozen.

    Args:
        world: where it runs.
        name: of it.
    """

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.clock = ProcessClock(world.clock)

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return not self.clock.is_dead

    def kill(self) -> None:
        """As kill -9."""
        self.clock.kill()
        for link in self.world.links_of(self):
            link.lose()


class Link:
    """Between two processes, made again by itself while nothing keeps it from that.

    Args:
        world: its time and chance.
        ends: the processes.
    """

    def __init__(self, world: "World", *ends: Process) -> None:
        self._world = world
        self.ends = ends
        self.is_up = True
        self.is_blocked = False
        self.swallows = False
        self._generation = 0
        self._arrival = {end.name: 0.0 for end in ends}
        self._pending: dict[Deferred[Any], Process] = {}
        self.when_up: list[Callable[[], None]] = []
        self.when_down: list[Callable[[], None]] = []

    @property
    def run(self) -> tuple["Link", int]:
        """It, from when it was made to when it breaks: another one where it was made again."""
        return (self, self._generation)

    def other(self, end: Process) -> Process:
        """The process at the other end."""
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def call(self, caller: Process, invoke: Callable[[], Any]) -> Deferred[Any]:
        """Have something called at the other end."""
        answer: Deferred[Any] = Deferred()
        if not self.is_up:
            answer.errback(Unreachable("there is no link"))
            return answer
        self._pending[answer] = caller
        limit = caller.clock.callLater(CALL_LIMIT_S, self.lose)
        answer.addBoth(self._done, limit)
        callee = self.other(caller)
        self._send(callee, lambda: self._invoke(caller, answer, invoke))
        return answer

    def lose(self) -> None:
        """It breaks: what is on its way is lost, and who waits is told."""
        self._generation += 1
        self.is_up = False
        for each in self.when_down:
            each()
        pending, self._pending = self._pending, {}
        for answer, caller in pending.items():
            caller.clock.callLater(0, self._fail, answer)
        if not self.is_blocked and all(end.is_alive for end in self.ends):
            self._world.clock.callLater(self._world.random.uniform(0.1, 1.5), self._again)

    def _again(self) -> None:
        if self.is_up or self.is_blocked or not all(end.is_alive for end in self.ends):
            return
        if any(end.clock.is_frozen for end in self.ends):
            self._world.clock.callLater(0.5, self._again)
            return
        self.is_up = True
        self._generation += 1
        for each in self.when_up:
            each()

    def unblock(self) -> None:
        """What kept it from being made again is over."""
        self.is_blocked = self.swallows = False
        self._again()

    def _send(self, to: Process, deliver: Callable[[], None]) -> None:
        if self.swallows:
            return
        now_s = self._world.clock.seconds()
        at_s = max(self._arrival[to.name], now_s + self._world.latency_s())
        self._arrival[to.name] = at_s
        to.clock.callLater(at_s - now_s, self._deliver, self._generation, deliver)

    def _deliver(self, generation: int, deliver: Callable[[], None]) -> None:
        if generation == self._generation and not self.swallows:
            deliver()

    def _invoke(self, caller: Process, answer: Deferred[Any], invoke: Callable[[], Any]) -> None:
        generation = self._generation

        def done(result: Any) -> None:
            if generation == self._generation:
                self._send(caller, lambda: None if answer.called else answer.callback(result))

        begun(_awaited(invoke)).addBoth(done)

    def _done(self, result: Any, limit: IDelayedCall) -> Any:
        if limit.active():
            limit.cancel()
        self._pending = {each: caller for each, caller in self._pending.items() if not each.called}
        return result

    @staticmethod
    def _fail(answer: Deferred[Any]) -> None:
        if not answer.called:
            answer.errback(Unavailable("the link was lost"))


class Remote:
    """Something at the other end of a link; its methods are called there.

    Args:
        link: to it.
        caller: who calls.
        target: finds it, in the process that is there then.
        attributes: what is known of it here.
    """

    def __init__(self, link: Link, caller: Process, target: Callable[[], Any], **attributes: Any) -> None:
        self._link = link
        self._caller = caller
        self._target = target
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kw: Any) -> Any:
            return self._link.call(self._caller, lambda: getattr(self._target(), name)(*args, **kw))

        return call


class RedisWire:
    """One process's connections to Redis.

    Args:
        process: whose.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._arrival = 0.0

    def proxy(self, target: Callable[[], Any], *, may_lose_answers: bool = False) -> Any:
        """A store, as this process calls it."""
        return _Store(self, target, may_lose_answers)

    def later(self, told: Callable[[], None]) -> Callable[[], None]:
        """What Redis says to this process."""
        return lambda: self._process.clock.callLater(0, told) and None

    def call(self, invoke: Callable[[], Any], *, may_lose_answers: bool) -> Deferred[Any]:
        """Have Redis do something."""
        world, clock = self._world, self._process.clock
        answer: Deferred[Any] = Deferred()
        if world.redis_is_away:
            answer.errback(Unavailable("Redis is away"))
            return answer
        limit = clock.callLater(REDIS_LIMIT_S, _give_up, answer)
        answer.addBoth(_cancelled, limit)
        now_s = clock.seconds()
        at_s = self._arrival = max(self._arrival, now_s + world.latency_s() / 4)
        # What was sent arrives though its sender dies meanwhile.
        world.clock.callLater(at_s - now_s, self._arrive, invoke, answer, world.redis_times_lost, may_lose_answers)
        return answer

    def _arrive(self, invoke: Callable[[], Any], answer: Deferred[Any], times: int, may_lose_answers: bool) -> None:
        world = self._world
        if answer.called or times != world.redis_times_lost or world.redis_is_away:
            self._process.clock.callLater(0, _give_up, answer)
            return
        if world.redis_is_frozen:
            world.clock.callLater(0.1, self._arrive, invoke, answer, times, may_lose_answers)
            return
        result = begun(_awaited(invoke))
        if may_lose_answers and world.loses_answers():
            return
        result.addBoth(lambda done: self._process.clock.callLater(world.latency_s() / 4, _answered, answer, done))


class _Store:
    def __init__(self, wire: RedisWire, target: Callable[[], Any], may_lose_answers: bool) -> None:
        self._wire = wire
        self._target = target
        self._may_lose_answers = may_lose_answers

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kw: Any) -> Any:
            if name == "open" and callable(args[-1]):  # it is told so in its own process, unless that is dead
                args = (*args[:-1], self._wire.later(args[-1]))
            return self._wire.call(
                lambda: getattr(self._target(), name)(*args, **kw), may_lose_answers=self._may_lose_answers
            )

        return call

    def count(self) -> int:
        """It is only shown."""
        return 0


class World:
    """All of it.

    Args:
        seed: of all chance.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock: Any = QuickClock()
        self.clock.advance(START_S)
        self.links: dict[frozenset[str], Link] = {}
        self.redis_is_away = False
        self.redis_is_frozen = False
        self.redis_times_lost = 0
        self.is_calm = False

    def latency_s(self) -> float:
        """Of one message on a link."""
        return 0.001 if self.is_calm else self.random.choice((0.0005, 0.002, 0.002, 0.01, 0.05))

    def loses_answers(self) -> bool:
        """Whether Redis does something and its answer is lost."""
        return not self.is_calm and self.random.random() < 0.01

    def connect(self, one: Process, other: Process) -> Link:
        """The link between two processes."""
        link = self.links[frozenset((one.name, other.name))] = Link(self, one, other)
        return link

    def links_of(self, process: Process) -> list[Link]:
        """All that end there."""
        return [link for link in self.links.values() if process in link.ends]

    def now_ms(self) -> int:
        """The time of day."""
        return round(self.clock.seconds() * 1000)

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens meanwhile, in its order."""
        self.clock.advance(seconds)


async def _awaited(invoke: Callable[[], Any]) -> Any:
    result = invoke()
    return await result if hasattr(result, "__await__") else result


def _give_up(answer: Deferred[Any]) -> None:
    if not answer.called:
        answer.errback(Unavailable("Redis did not answer"))


def _answered(answer: Deferred[Any], result: Any) -> None:
    if not answer.called:
        answer.callback(result)


def _cancelled(result: Any, limit: IDelayedCall) -> Any:
    if limit.active():
        limit.cancel()
    return result
