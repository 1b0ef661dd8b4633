"""Unattended work: logged when it fails, waited for at the end."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from push.services.tasks import Tasks


class TasksTests(SynchronousTestCase):
    """What runs, and when it has settled."""

    def setUp(self) -> None:
        self.tasks = Tasks()

    def spawn(self, what: str = "work") -> Deferred[None]:
        """Start work that ends when the answer fires."""
        gate: Deferred[None] = Deferred()

        async def work() -> None:
            await gate

        self.tasks.spawn(what, work())
        return gate

    def test_where_nothing_runs_all_is_settled(self) -> None:
        self.successResultOf(self.tasks.settled())

    def test_work_that_ends_at_once_leaves_nothing(self) -> None:
        async def work() -> None:
            pass

        self.tasks.spawn("work", work())
        self.successResultOf(self.tasks.settled())

    def test_what_runs_is_waited_for_and_what_comes_later_is_not(self) -> None:
        first, second = self.spawn(), self.spawn()
        settled = self.tasks.settled()
        later = self.spawn()
        with_later = self.tasks.settled()
        first.callback(None)
        self.assertNoResult(settled)
        second.callback(None)
        self.successResultOf(settled)
        self.assertNoResult(with_later)
        later.callback(None)
        self.successResultOf(with_later)

    def test_a_failure_is_logged_with_what_failed_and_settles_too(self) -> None:
        gate = self.spawn("the impossible")
        settled = self.tasks.settled()
        gate.errback(KeyError())
        self.successResultOf(settled)
        self.assertEqual([failure.type for failure in self.flushLoggedErrors(KeyError)], [KeyError])
