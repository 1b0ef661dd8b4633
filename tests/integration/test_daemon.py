"""twistd's own way of running: in the background, with a pid file and a log file."""

import json
import os
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.server import HOST, Server, marked, running
from tests.integration.waiting import wait_until

DAEMON = ("--pidfile=push.pid", "--logfile=push.log")


class DaemonTests(SynchronousTestCase):
    """`twistd` without -n."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.pid_file = self.directory / "push.pid"
        self.log = self.directory / "push.log"

    def test_it_runs_in_the_background_until_it_is_told_to_stop(self) -> None:
        server = Server(self.directory, twistd=DAEMON)
        with running(server):
            server.spawn()
            self.assertEqual(server.ended(), 0, server.output())
            server.wait_ready()
            pid = int(self.pid_file.read_text())
            self.assertNotEqual(os.getsid(pid), os.getsid(0))
            self._stop(server, pid)
            self.assertEqual(server.output(), "")
            log = self.log.read_text()
            self.assertIn("Server Shut Down", log)
            self.assertNotIn("Traceback", log)
            self.assertEqual(
                sorted(path.name for path in self.directory.iterdir() if not path.name.startswith("output")),
                ["data", "push.log"],
            )

    def test_it_starts_again_where_it_stopped(self) -> None:
        server = Server(self.directory, twistd=DAEMON)
        with running(server):
            for _ in range(2):
                server.spawn()
                self.assertEqual(server.ended(), 0, server.output())
                server.wait_ready()
                self._stop(server, int(self.pid_file.read_text()))

    def test_its_log_is_json_where_that_is_asked_for_and_rotates_at_sigusr1(self) -> None:
        server = Server(self.directory, ["--log-format=json"], twistd=DAEMON)
        with running(server):
            server.spawn()
            self.assertEqual(server.ended(), 0, server.output())
            server.wait_ready()
            pid = int(self.pid_file.read_text())
            os.kill(pid, signal.SIGUSR1)
            rotated = self.directory / "push.log.1"
            wait_until("the log is rotated", rotated.exists)
            self._stop(server, pid)
        for path in (rotated, self.log):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            self.assertTrue(lines)
            for line in lines:
                self.assertEqual(set(line), {"time", "level", "system", "message"})
        self.assertIn("starting up", rotated.read_text())
        self.assertIn("Server Shut Down", self.log.read_text())

    def test_what_keeps_it_from_starting_is_said_by_the_command(self) -> None:
        server = Server(self.directory, twistd=DAEMON)
        with socket.socket() as taken, running(server):
            taken.bind((HOST, 0))
            taken.listen()
            server.api.port = taken.getsockname()[1]
            server.spawn()
            self.assertEqual(server.ended(), 1)
            sentence = (
                f"--api: cannot listen on tcp:{server.api.port}:interface={HOST}:backlog=1024: "
                "Address already in use; choose another port or address"
            )
            self.assertEqual(server.output().splitlines()[0], f"push: {sentence}")
            wait_until("the daemon is gone", lambda: not self._alive(server))
            self.assertFalse(self.pid_file.exists())
            log = self.log.read_text()
            self.assertIn(sentence, log)
            self.assertNotIn("Traceback", log)

    def test_a_second_one_with_the_same_pid_file_is_refused(self) -> None:
        server = Server(self.directory, twistd=DAEMON)
        second = Server(self.directory, twistd=DAEMON)
        with running(server, second):
            server.spawn()
            self.assertEqual(server.ended(), 0)
            server.wait_ready()
            second.spawn()
            self.assertEqual(second.ended(), 1)
            self.assertIn("Another twistd server is running", second.output())
            self._stop(server, int(self.pid_file.read_text()))

    def _stop(self, server: Server, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        wait_until("the daemon is gone", lambda: not self._alive(server))
        self.assertFalse(self.pid_file.exists())

    @staticmethod
    def _alive(server: Server) -> list[int]:
        return marked(server.mark)
