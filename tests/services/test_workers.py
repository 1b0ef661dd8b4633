"""The supervisor of worker processes, over a reactor whose processes are pretended."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from push.ihealth import IMeasured
from push.services.workers import LOST_GRACE_S, START_LIMIT_S, STEADY_S, STOP_GRACE_S, Workers

STOP_TIMEOUT_S = 10.0


@implementer(IProcessTransport)
class FakeProcess:
    """A process as its parent sees it.

    Attributes:
        stdin: what was written to it.
        stdin_is_open: whether it may still read on.
        is_alive: whether it has not ended.
    """

    pid = 1
    status = None

    def __init__(self, protocol: Any, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.protocol = protocol
        self.arguments = arguments
        self.environment = environment
        self.stdin = b""
        self.stdin_is_open = True
        self.is_alive = True
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        """Into its standard input."""
        self.stdin += data

    def closeStdin(self) -> None:
        """End its standard input."""
        self.stdin_is_open = False

    def signalProcess(self, signal: str) -> None:
        """Only KILL is known, and takes effect at once."""
        if not self.is_alive:
            raise ProcessExitedAlready
        assert signal == "KILL"
        self.end(ProcessTerminated(signal=9))

    def end(self, how: Exception | None = None) -> None:
        """It ends."""
        self.is_alive = False
        self.protocol.processEnded(Failure(how or ProcessDone(0)))


class ProcessClock(Clock):
    """A clock that starts pretended processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: Any, childFDs: Any) -> FakeProcess:
        """Start one."""
        assert executable == args[0]
        assert childFDs == {0: "w", 1: "r", 2: "r"}
        process = FakeProcess(protocol, list(args), env)
        self.processes.append(process)
        return process


class WorkersTests(SynchronousTestCase):
    """Two workers, #1 and #2."""

    def setUp(self) -> None:
        self.clock = ProcessClock()
        self.void: list[str] = []
        self.fraction = 0.5
        self.tasks = 0
        self.workers = Workers(
            ["#1", "#2"],
            command=["python", "-m", "worker"],
            environment={"PATH": "/bin"},
            task=self.task,
            void=self.void.append,
            reactor=self.clock,  # type: ignore[arg-type]
            stop_timeout_s=STOP_TIMEOUT_S,
            fraction=lambda: self.fraction,
        )
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.workers.startService()
        self.first, self.second = self.clock.processes

    def task(self, name: str) -> bytes:
        """A new one each time."""
        self.tasks += 1
        return b"task %d of %s" % (self.tasks, name.encode())

    def log(self) -> list[str]:
        """What was logged as an error."""
        return [event["log_format"].format(**event) for event in self.events if event["log_level"] == LogLevel.error]

    def test_each_is_started_and_told_its_task(self) -> None:
        verifyObject(IMeasured, self.workers)
        self.assertEqual([process.stdin for process in self.clock.processes], [b"task 1 of #1\n", b"task 2 of #2\n"])
        self.assertEqual(self.first.arguments, ["python", "-m", "worker", "#1"])
        self.assertEqual(self.first.environment, {"PATH": "/bin"})
        self.assertNotIn("task", " ".join(self.first.arguments))
        self.assertEqual(self.workers.ready, [])
        self.workers.serves("#2")
        self.assertEqual(self.workers.ready, ["#2"])

    def test_one_that_ends_is_started_again_later_and_later_and_logged_once(self) -> None:
        self.fraction = 0.999
        self.workers.serves("#1")
        for number, bound_s in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0), 1):
            self.clock.processes[-1].end(ProcessTerminated(exitCode=1))
            self.assertEqual(len(self.log()), number)
            count = len(self.clock.processes)
            self.clock.advance(bound_s * 0.99)
            self.assertEqual(len(self.clock.processes), count)
            self.clock.advance(bound_s * 0.01)
            self.assertEqual(len(self.clock.processes), count + 1)
        self.assertIn("#2 ended with exit code 1", self.log()[0])
        self.assertEqual(set(self.void), {"#2"})
        self.assertTrue(self.first.is_alive)

    def test_one_that_was_steady_is_started_again_soon(self) -> None:
        self.fraction = 0.999
        self.workers.serves("#1")
        for _ in range(5):
            self.clock.processes[-1].end()
            self.clock.advance(30)
        self.workers.serves("#2")
        self.clock.advance(STEADY_S)
        self.clock.processes[-1].end()
        count = len(self.clock.processes)
        self.clock.advance(0.5)
        self.assertEqual(len(self.clock.processes), count + 1)

    def test_one_that_never_serves_is_killed_and_started_again(self) -> None:
        self.workers.serves("#1")
        self.clock.advance(START_LIMIT_S)
        self.assertTrue(self.first.is_alive)
        self.assertFalse(self.second.is_alive)
        self.assertIn("does not serve clients", self.log()[0])
        self.clock.advance(1)
        self.assertEqual(len(self.clock.processes), 3)

    def test_one_without_a_link_has_a_moment_to_leave(self) -> None:
        self.workers.serves("#1")
        self.workers.lost("#1")
        self.assertEqual(self.workers.ready, [])
        self.clock.advance(LOST_GRACE_S - 0.1)
        self.assertTrue(self.first.is_alive)
        self.clock.advance(0.2)
        self.assertFalse(self.first.is_alive)
        self.assertIn("was killed by signal 9", self.log()[0])

    def test_stopping_lets_all_leave_and_kills_who_does_not(self) -> None:
        self.workers.serves("#1")
        stopped: Deferred[None] = self.workers.stopService()
        self.assertEqual([process.stdin_is_open for process in self.clock.processes], [False, False])
        self.workers.lost("#1")
        self.first.end()
        self.assertNoResult(stopped)
        self.clock.advance(STOP_TIMEOUT_S + STOP_GRACE_S - 0.1)
        self.assertTrue(self.second.is_alive)
        self.clock.advance(0.2)
        self.successResultOf(stopped)
        self.assertEqual(self.log(), [])
        self.clock.advance(100)
        self.assertEqual(len(self.clock.processes), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_started_again_once_it_stops(self) -> None:
        self.first.end()
        self.second.end()
        self.successResultOf(self.workers.stopService())
        self.clock.advance(100)
        self.assertEqual(len(self.clock.processes), 2)

    def test_what_they_log_is_logged_here_under_their_names(self) -> None:
        protocol = self.first.protocol
        line = b'{"level": "warn", "system": "push.x", "message": "half {of it}"}\n'
        protocol.outReceived(line[:20])
        protocol.outReceived(line[20:] + b"no JSON\n")
        protocol.outReceived(b'{"level": "error", "system": "push.y", "message": "m", "traceback": "T"}')
        protocol.errReceived(b"x" * 100_000)
        self.first.end()
        said = [
            (event["log_namespace"], event["log_level"].name, event["log_format"].format(**event))
            for event in self.events
        ]
        self.assertIn(("push.x", "warn", "#1: half {of it}"), said)
        self.assertIn(("push.services.worker_process", "error", "#1: no JSON"), said)
        self.assertIn(("push.y", "error", "#1: m\nT"), said)
        long = [text for _, _, text in said if "xxx" in text]
        self.assertEqual(sum(text.count("x") for text in long), 100_000)
        self.assertLess(max(map(len, long)), 40_000, "a line without end is cut")
