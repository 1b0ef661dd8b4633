"""Coroutines that nobody waits for."""

import gc
import weakref
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from push.unattended import run


class UnattendedTests(SynchronousTestCase):
    """From one Deferred to the next, until the end."""

    def setUp(self) -> None:
        self.notes: list[object] = []
        self.failures: list[Failure] = []

    def begin(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        run(work, self.failures.append)

    def test_it_goes_as_far_as_it_can_at_once(self) -> None:
        async def work() -> None:
            self.notes.append(await succeed(1))
            self.notes.append(await never)
            self.notes.append("end")

        never: Deferred[int] = Deferred()
        self.begin(work())
        self.assertEqual(self.notes, [1])
        never.callback(2)
        self.assertEqual((self.notes, self.failures), ([1, 2, "end"], []))

    def test_a_deferred_that_waits_for_another_is_waited_for(self) -> None:
        async def work() -> None:
            self.notes.append(await outer)

        outer: Deferred[int] = Deferred()
        inner: Deferred[int] = Deferred()
        outer.addCallback(lambda _: inner)
        outer.callback(0)
        self.begin(work())
        self.assertEqual(self.notes, [])
        inner.callback(3)
        self.assertEqual(self.notes, [3])

    def test_what_fails_is_raised_where_it_is_awaited(self) -> None:
        async def work() -> None:
            for awaited in (fail(KeyError("a")), later):
                try:
                    await awaited
                except KeyError as error:
                    self.notes.append(error.args)

        later: Deferred[None] = Deferred()
        self.begin(work())
        later.errback(KeyError("b"))
        self.assertEqual((self.notes, self.failures), ([("a",), ("b",)], []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_it_raises_is_told_once(self) -> None:
        async def work(awaited: Deferred[None]) -> None:
            await awaited
            raise KeyError

        later: Deferred[None] = Deferred()
        self.begin(work(succeed(None)))
        self.begin(work(later))
        self.assertEqual(len(self.failures), 1)
        later.callback(None)
        self.assertEqual([failure.type for failure in self.failures], [KeyError, KeyError])

    def test_a_failure_that_it_does_not_catch_is_told(self) -> None:
        async def work() -> None:
            await later

        later: Deferred[None] = Deferred()
        self.begin(work())
        later.errback(ValueError())
        self.assertEqual([failure.type for failure in self.failures], [ValueError])
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_thousands_of_results_that_are_there_need_no_stack(self) -> None:
        async def work() -> None:
            await later
            for number in range(10_000):
                self.notes.append(await succeed(number))

        later: Deferred[None] = Deferred()
        self.begin(work())
        later.callback(None)
        self.assertEqual((len(self.notes), self.failures), (10_000, []))

    def test_it_leaves_nothing_for_the_collector(self) -> None:
        class Held:
            """Something that the coroutine holds."""

        async def work(_: Held) -> None:
            await later

        held = Held()
        there = weakref.ref(held)
        later: Deferred[None] = Deferred()
        gc.disable()
        self.addCleanup(gc.enable)
        self.begin(work(held))
        del held
        self.assertIsNotNone(there())
        later.callback(None)
        self.assertIsNone(there())
