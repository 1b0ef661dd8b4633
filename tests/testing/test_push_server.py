"""PushServer: real, alone, gone afterwards, and of use to every kind of tests; each example of docs/testing.md runs."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import skipUnless

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

import nio_sdk
from push.testing import PushServer
from push.testing.server import HOST, ServerFailed
from tests.integration.server import ROOT, environment
from tests.integration.waiting import DEADLINE_S, wait_until

PAGE = ROOT / "docs" / "testing.md"
BARE = """
import push.testing
try:
    push.testing.PushServer().start()
except push.testing.server.ServerFailed as error:
    print(error)
"""


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class ServerTests(SynchronousTestCase):
    """Without any loop."""

    def test_what_is_pushed_arrives_and_two_servers_know_nothing_of_each_other(self) -> None:
        with PushServer() as one, PushServer() as two:
            self.assertFalse(set(one.ports.values()) & set(two.ports.values()))
            with nio_sdk.PushClient(one.url, uid="alice") as client:
                client.wait_open(DEADLINE_S)
                self.assertEqual(one.send({"uid": "alice"}, "hello")["sent"], 1)
                self.assertEqual(next(iter(client)).text, "hello")
                self.assertEqual(two.send({"uid": "alice"}, "hello")["unknown"], ["alice"])

    def test_nothing_is_left(self) -> None:
        with PushServer() as server:
            ports = list(server.ports.values())
            directory = server._directory
            assert directory is not None
            self.assertTrue(all(map(is_listening, ports)))
        self.assertFalse(any(map(is_listening, ports)))
        self.assertFalse(directory.exists())
        server.stop()

    def test_it_keeps_what_it_has_over_a_restart_but_not_over_a_stop(self) -> None:
        server = PushServer()
        self.addCleanup(server.stop)
        server.start()
        with self.assertRaises(RuntimeError):
            server.start()
        with nio_sdk.PushClient(server.url, uid="alice") as client:
            client.wait_open(DEADLINE_S)
        self.assertEqual(server.send({"uid": "alice"}, "later")["cached"], 1)
        before = dict(server.ports)
        server.restart()
        self.assertEqual(server.ports, before)
        self.assertEqual(server.send({"uid": "alice"}, "later")["cached"], 1)
        server.stop()
        server.start()
        self.assertEqual(server.send({"uid": "alice"}, "gone")["unknown"], ["alice"])

    @skipUnless(sys.platform == "linux", "elsewhere a port cannot be kept so")
    def test_nobody_is_given_its_ports_while_it_is_down(self) -> None:
        server = PushServer()
        self.addCleanup(server.stop)
        server.start()
        before = dict(server.ports)
        server._end(keep=True)
        for port in before.values():
            self.assertFalse(is_listening(port))
            with socket.socket() as other, self.assertRaises(OSError):
                other.bind((HOST, port))
        server.start()
        self.assertEqual(server.ports, before)
        self.assertTrue(all(map(is_listening, before.values())))
        server.stop()
        for port in before.values():
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind((HOST, port))
                other.listen()

    def test_options_are_those_of_the_server_and_wrong_ones_are_explained(self) -> None:
        with PushServer("--api-key=backend:push+read:" + "0" * 64) as server:
            with self.assertRaises(ServerFailed) as caught:
                server.request("GET", "/v1/nodes")
            self.assertIn("401", str(caught.exception))
        for wrong in ("--ack-window=frog", "--no-such-option", "--client-jwt-key-file=/nowhere"):
            with self.assertRaises(ServerFailed) as caught:
                PushServer(wrong).start()
            self.assertIn(wrong.partition("=")[0].lstrip("-"), str(caught.exception))

    def test_what_is_sent_has_the_options_of_a_message(self) -> None:
        with PushServer() as server:
            with nio_sdk.PushClient(server.url, uid="alice") as client:
                client.wait_open(DEADLINE_S)
            self.assertEqual(server.send({"uid": "alice"}, "kept", ttl=60)["cached"], 1)
            self.assertEqual(server.send({"uid": "alice"}, "not kept", ttl=0)["cached"], 0)
            with self.assertRaisesRegex(ServerFailed, "no_such_option"):
                server.send({"uid": "alice"}, "x", no_such_option=1)

    def test_clients_that_cannot_hang_up_while_the_thread_waits_do_not_hold_up_its_end(self) -> None:
        with PushServer() as server, socket.create_connection((HOST, server.ports["framed"])) as client:
            client.sendall(bytes([0xF8, 2, 1, 0, 0, 0, 0, 0, 0, 0]))
            self.assertEqual(client.recv(1), b"\xf8")
            before_s = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - before_s, 7.0)  # without the option that says so: 10 s, and it is killed

    def test_settings_of_the_environment_are_not_its_business(self) -> None:
        os.environ["PUSH_ACK_WINDOW"] = "frog"
        self.addCleanup(os.environ.pop, "PUSH_ACK_WINDOW")
        with PushServer() as server:
            self.assertIn("the HTTP API listens", server.log)

    def test_it_does_not_outlive_tests_that_are_killed(self) -> None:
        program = (
            "import os, signal; from push.testing import PushServer; s = PushServer(); s.start();"
            "print(s.ports['api'], s._directory, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment(), capture_output=True, check=False, timeout=DEADLINE_S
        )
        port, directory = done.stdout.split()
        wait_until("the server is gone", lambda: not is_listening(int(port)))
        wait_until("its data is gone", lambda: not Path(directory.decode()).exists())


class InReactorTests(TestCase):
    """With a reactor that runs, which is not the server's."""

    def test_a_test_with_a_reactor_can_use_it_and_its_reactor_goes_on(self) -> "Deferred[None]":
        server = PushServer()
        server.start()
        self.addCleanup(server.stop)
        before_s = time.monotonic()

        def counted(answer: object) -> None:
            self.assertEqual(answer, [])
            self.assertLess(time.monotonic() - before_s, 30.0)

        asked = deferToThread(lambda: server.send({"all": True}, "x")["unknown"])
        return asked.addCallback(counted)


class InLoopTests(SynchronousTestCase):
    """Inside asyncio."""

    def test_a_coroutine_can_use_it(self) -> None:
        async def use() -> int:
            with PushServer() as server:
                reader, writer = await asyncio.open_connection(HOST, server.ports["framed"])
                writer.write(bytes([0xF8, 2, 1, 0, 0, 0, 0, 0, 0, 0]))
                first = await reader.readexactly(1)
                writer.close()
                return first[0]

        self.assertEqual(asyncio.run(use()), 0xF8)


class BareTests(SynchronousTestCase):
    """Where only the clients are installed."""

    def test_it_says_what_is_missing(self) -> None:
        # No site-packages, but the checkout: its folder `twisted`, with the plug-in, is no Twisted.
        program = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'sdk')!r}]\n" + BARE
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], capture_output=True, check=False, timeout=DEADLINE_S, text=True
        )
        self.assertEqual(done.stderr, "")
        self.assertIn('extra "server"', done.stdout)


class PageTests(SynchronousTestCase):
    """docs/testing.md, by its programs."""

    def test_each_example_passes_with_the_runner_that_it_is_for(self) -> None:
        sections = re.findall(r"^## (\w+)\n.*?^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        self.assertEqual([name for name, _ in sections], ["unittest", "pytest", "trial", "asyncio"])
        runners = {
            "unittest": ["-m", "unittest", "test_it"],
            "asyncio": ["-m", "unittest", "test_it"],
            "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
            "trial": ["-m", "twisted.trial", "test_it"],
        }
        for name, program in sections:
            directory = Path(self.mktemp())
            directory.mkdir(parents=True)
            (directory / "test_it.py").write_text(program)
            done = subprocess.run(
                [sys.executable, *runners[name]],
                cwd=directory,
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE_S,
            )
            said = done.stdout + done.stderr
            self.assertEqual(done.returncode, 0, said)
            self.assertRegex(said, r"Ran 1 test|1 passed")
