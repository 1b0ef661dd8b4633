"""A lane: one thread, and batches of what waits for it."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from push.errors import Unavailable
from push.stores.sqlite.lanes import Lane
from tests.stores.threads import HeldThreads


class Turns:
    """The reactor's callFromThread, turned by hand."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], object]] = deque()

    def call(self, func: Callable[..., object], *args: Any) -> None:
        """Call in the next turn."""
        self.calls.append(lambda: func(*args))

    def turn(self) -> None:
        """One turn: what has been asked for before it."""
        for _ in range(len(self.calls)):
            self.calls.popleft()()


class LaneTests(SynchronousTestCase):
    """What goes together, and when."""

    def setUp(self) -> None:
        self.threads = HeldThreads()
        self.turns = Turns()
        self.batches: list[list[str]] = []
        self.lane: Lane[str] = Lane(self.threads, self.turns.call, self.run_batch, max_waiting=5, max_batch=3)

    def run_batch(self, jobs: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(jobs))
        return [job.upper() for job in jobs]

    def work(self) -> None:
        """Let everything happen."""
        while self.turns.calls or self.threads.held:
            self.turns.turn()
            self.threads.drain()

    def test_what_is_submitted_in_one_turn_goes_together(self) -> None:
        outcomes = [self.lane.submit(job) for job in "ab"]
        self.assertEqual(len(self.threads.held), 0)
        self.turns.turn()
        self.assertEqual(len(self.threads.held), 1)
        self.work()
        self.assertEqual(self.batches, [["a", "b"]])
        self.assertEqual([self.successResultOf(outcome) for outcome in outcomes], ["A", "B"])

    def test_what_comes_while_the_thread_is_busy_goes_together_next(self) -> None:
        self.lane.submit("a")
        self.turns.turn()
        for job in "bcde":
            self.lane.submit(job)
        self.turns.turn()
        self.assertEqual(len(self.threads.held), 1)
        self.work()
        self.assertEqual(self.batches, [["a"], ["b", "c", "d"], ["e"]])

    def test_what_an_outcome_brings_about_waits_for_the_turn_too(self) -> None:
        self.lane.submit("a").addCallback(lambda _: (self.lane.submit("b"), None)[1])
        self.turns.turn()
        self.threads.drain()
        self.turns.turn()
        self.lane.submit("c")
        self.work()
        self.assertEqual(self.batches, [["a"], ["b", "c"]])

    def test_too_many_are_refused_and_those_before_are_done(self) -> None:
        outcomes = [self.lane.submit(job) for job in "abcdef"]
        self.failureResultOf(outcomes[5], Unavailable)
        self.work()
        self.assertEqual(self.batches, [["a", "b", "c"], ["d", "e"]])

    def test_the_end_comes_after_what_was_submitted_in_the_same_turn(self) -> None:
        outcome = self.lane.submit("a")
        ended = self.lane.finish(lambda: self.batches.append(["the end"]))
        self.work()
        self.successResultOf(outcome)
        self.successResultOf(ended)
        self.assertEqual(self.batches, [["a"], ["the end"]])
