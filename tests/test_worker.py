"""The process of a worker before it runs: what it is told, and how it refuses to be started by hand."""

import os
import subprocess
import sys

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from push.config import Config
from push.worker import MAX_TASK_BYTES, install_reactor, read_task
from push.worker_roles import Task
from tests.integration.server import ROOT, environment

TASK = Task("127.0.0.1:6789#1", "secret", "/srv/run/peer.sock", "twisted.internet.epollreactor", Config(workers=2))


class TaskTests(SynchronousTestCase):
    """The line on standard input."""

    def read(self, *parts: bytes) -> Task:
        """Read a task from a pipe that ends after these."""
        reading, writing = os.pipe()
        try:
            for part in parts:
                os.write(writing, part)
            os.close(writing)
            return read_task(reading)
        finally:
            os.close(reading)

    def test_it_says_all_that_the_parent_knows(self) -> None:
        line = msgspec.json.encode(TASK)
        self.assertEqual(self.read(line[:10], line[10:] + b"\n"), TASK)

    def test_what_is_no_task_is_refused_without_repeating_it(self) -> None:
        for data in (b"", b"secret", b"secret\n", b'{"secret": 1}\n', b"[]\n"):
            error = self.assertRaises(ValueError, self.read, data)
            self.assertNotIn("secret", str(error))

    def test_a_line_without_end_is_given_up(self) -> None:
        with open(os.devnull.replace("null", "zero"), "rb", buffering=0) as zeros:
            self.assertRaises(ValueError, read_task, zeros.fileno())
            self.assertLessEqual(MAX_TASK_BYTES, 1 << 20)

    def test_only_twisteds_reactors_are_installed(self) -> None:
        for module in ("os", "twisted.python.log", "evil.twisted.internet.epollreactor"):
            self.assertRaises(ValueError, install_reactor, module)

    def test_started_by_hand_it_says_how_workers_are_started(self) -> None:
        command = [sys.executable, "-P", "-m", "push.worker"]
        run = subprocess.run(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        self.assertEqual(run.returncode, 1)
        self.assertIn("workers are started by their server, with --workers", run.stderr)
        self.assertNotIn("Traceback", run.stderr)
