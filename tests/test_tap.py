"""The command line, the service that comes of it, and how a start that fails is explained."""

import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from push import __version__, tap
from push.config import Config, option_name
from push.errors import StartError

reactor: Any = _reactor
ROOT = Path(__file__).resolve().parents[1]
API = ("--api=tcp:0:interface=127.0.0.1",)
LOCAL = ("--listen=framed=tcp:0:interface=127.0.0.1", *API)


def parsed(*arguments: str) -> Config:
    """The settings that come of a command line."""
    options = tap.Options()
    options.parseOptions(list(arguments))
    assert options.config is not None
    return options.config


class OptionsTests(SynchronousTestCase):
    """`twistd push`'s own options."""

    def setUp(self) -> None:
        for name in [name for name in os.environ if name.startswith("PUSH_")]:
            self.patch(os, "environ", {key: value for key, value in os.environ.items() if key != name})

    def test_every_setting_is_an_option_with_a_help_text(self) -> None:
        text = tap.Options().getUsage(width=200)
        for setting in fields(Config):
            self.assertIn(f"--{option_name(setting)}", text)
        self.assertNotIn("None", text)
        for line in text.splitlines():
            if line.startswith("      --"):
                self.assertRegex(line, r"  [A-Z].*[.\]]$|  [a-z]+ for .*|  [a-z:]+ .*", line)

    def test_flags_take_no_value_and_lists_are_collected(self) -> None:
        settings = parsed(
            "--allow-anonymous-clients",
            "--listen=framed=tcp:1",
            "--listen",
            "framed=tcp:2",
            "--role=api",
            "--role=subscribe,cache,connector,router",
        )
        self.assertIs(settings.allow_anonymous_clients, True)
        self.assertEqual(settings.listen, ("framed=tcp:1", "framed=tcp:2"))
        self.assertEqual(settings.roles, ("subscribe", "cache", "connector", "router", "api"))

    def test_the_environment_and_the_file_are_read_too(self) -> None:
        path = self.mktemp()
        Path(path).write_text("node_id = 1\nack_window = 2\nmax_tokens = 3")
        self.patch(os, "environ", os.environ | {"PUSH_CONFIG": path, "PUSH_NODE_ID": "4", "PUSH_ACK_WINDOW": "5"})
        settings = parsed("--node-id=6")
        self.assertEqual((settings.node_id, settings.ack_window, settings.max_tokens), (6, 5, 3))

    def test_what_is_wrong_is_one_sentence(self) -> None:
        cases = {
            ("--bogus",): "option --bogus not recognized",
            ("--listen",): "option --listen requires argument",
            ("--allow-anonymous-clients=maybe",): "must not have an argument",
            ("extra",): "argument",
            ("--node-id=x",): "--node-id: must be a whole number",
            ("--config=/nowhere.toml",): "cannot read /nowhere.toml",
            ("--role=group",): "must run in the same process",
        }
        for arguments, part in cases.items():
            sentence = str(self.assertRaises(SystemExit, parsed, *arguments).code)
            self.assertTrue(sentence.startswith("push: "), sentence)
            self.assertIn(part, sentence)
            self.assertNotIn("\n", sentence)

    def test_the_version_is_printed(self) -> None:
        output = io.StringIO()
        with redirect_stdout(output):
            self.assertEqual(self.assertRaises(SystemExit, parsed, "--version").code, 0)
        self.assertEqual(output.getvalue(), f"push {__version__}\n")


class MakeServiceTests(SynchronousTestCase):
    """`makeService`."""

    def make(self, *arguments: str, **twistd: Any) -> MultiService:
        """The service of a command line."""
        options = tap.Options()
        options.parseOptions(list(arguments))
        if twistd:
            options.parent = twistd  # type: ignore[assignment]
        self.patch(reactor, "seconds", reactor.seconds)  # put back after the test
        return tap.makeService(options)

    def test_timers_go_by_a_clock_that_nobody_sets(self) -> None:
        self.make(f"--data-dir={self.mktemp()}", *LOCAL)
        before_s = time.monotonic()
        call = reactor.callLater(60, lambda: None)
        call.cancel()
        self.assertTrue(before_s + 60 <= call.getTime() <= time.monotonic() + 60)

    def test_the_roles_are_its_children_in_the_order_of_their_start(self) -> None:
        service = self.make(f"--data-dir={self.mktemp()}", *LOCAL)
        self.assertIsInstance(service, MultiService)
        names = [child.name for child in service]
        self.assertEqual(
            [name for name in names if name != "lag"], ["subscribe", "cache", "connector", "router", "group", "api"]
        )
        for child in service:
            self.assertTrue(IService.providedBy(child))

    def test_making_it_touches_neither_disk_nor_network(self) -> None:
        path = self.mktemp()
        self.make(f"--data-dir={path}", *LOCAL)
        self.assertFalse(os.path.exists(path))

    def test_settings_that_turn_out_to_be_unusable_are_one_sentence(self) -> None:
        short = self.mktemp()
        Path(short).write_text("too short")
        empty = self.mktemp()
        Path(empty).write_text("")
        cases = {
            "--listen=mqtt=tcp:1:interface=127.0.0.1": "no protocol is called 'mqtt': there are framed",
            "--listen=framed=tcp:x:interface=127.0.0.1": "is no endpoint that can be listened on",
            "--api=tcp:x:interface=127.0.0.1": "is no endpoint that can be listened on",
            "--listen=framed=unix:/tmp/x": "set --advertise",
            f"--client-jwt-key-file={short}": "at least 32",
            f"--client-jwt-key-file={empty}": "at least 32",
            "--client-jwt-key-file=/nowhere/key": "cannot read /nowhere/key: No such file",
            f"--max-connections={tap.raise_file_limit()}": "need more open files",
        }
        for argument, part in cases.items():
            sentence = str(self.assertRaises(SystemExit, self.make, argument).code)
            self.assertTrue(
                sentence.startswith(f"push: {argument.partition('=')[0]}") or "--advertise" in part, sentence
            )
            self.assertIn(part, sentence)
            self.assertNotIn("too short", sentence)

    def test_the_file_with_the_secret_of_the_webhook_is_named(self) -> None:
        url = "--webhook-url=https://example.org/"
        for arguments, start in (
            ([url, "--webhook-secret-file=/nowhere/key"], "push: --webhook-secret-file: cannot read /nowhere/key"),
            ([url], "push: --webhook-url: its requests must be signed"),
        ):
            sentence = str(self.assertRaises(SystemExit, self.make, *arguments).code)
            self.assertTrue(sentence.startswith(start), sentence)

    def test_the_secret_of_the_cluster_is_asked_for(self) -> None:
        node = [
            "--redis=redis://127.0.0.1",
            "--advertise=127.0.0.1:6789",
            "--peer=tcp:7460:interface=127.0.0.1",
            *LOCAL,
        ]
        short = self.mktemp()
        Path(short).write_text("hunter2")
        for arguments, start in (
            (
                [],
                "push: --peer-secret-file: nodes of a cluster know one another by a secret: set this, or PUSH_PEER_SE",
            ),
            (["--peer-secret-file=/nowhere/key"], "push: --peer-secret-file: cannot read /nowhere/key: No such file"),
            ([f"--peer-secret-file={short}"], f"push: --peer-secret-file: {short}: a secret has at least 32 bytes"),
        ):
            sentence = str(self.assertRaises(SystemExit, self.make, *node, *arguments).code)
            self.assertTrue(sentence.startswith(start), sentence)
            self.assertNotIn("hunter2", sentence)

    def test_as_many_files_may_be_opened_as_the_system_allows(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        self.assertEqual(tap.raise_file_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.assertGreater(tap.raise_file_limit(), 256 if hard > 256 or hard < 0 else 0)

    def test_an_infinite_limit_on_files_is_not_taken_for_none(self) -> None:
        asked: list[tuple[int, int]] = []
        infinite = resource.RLIM_INFINITY
        self.patch(resource, "getrlimit", lambda which: (256, infinite))
        self.patch(resource, "setrlimit", lambda which, limits: asked.append(limits))
        self.assertEqual(tap.raise_file_limit(), 1_048_576)
        self.assertEqual(asked, [(1_048_576, infinite)])

        def refuse(which: int, limits: tuple[int, int]) -> None:
            raise ValueError("not allowed to raise maximum limit")

        self.patch(resource, "setrlimit", refuse)
        self.assertEqual(tap.raise_file_limit(), 256)


class ExplainerTests(SynchronousTestCase):
    """A start that fails."""

    def fail_to_start(self, twistd: dict[str, Any], name: str) -> tuple[object, bytes]:
        """Fail while starting.

        Returns:
            The exit code, and what was written to stderr.
        """
        service = tap.PushService(Config(), twistd=twistd, reactor=_Reactor())
        reader, writer = os.pipe()
        kept = os.dup(2)
        os.dup2(writer, 2)
        try:
            service.setServiceParent(MultiService())
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(writer)
        _Refusing().setServiceParent(service)
        start: Callable[[], None] = getattr(service, name)
        code = self.assertRaises(SystemExit, start).code
        written = os.read(reader, 10_000)
        os.close(reader)
        return code, written

    def test_it_is_said_on_the_stderr_that_there_was_at_first(self) -> None:
        for name in ("privilegedStartService", "startService"):
            code, written = self.fail_to_start({"nodaemon": True, "logger": "x"}, name)
            self.assertEqual((code, written), (1, b"push: the port is taken; choose another\n"))

    def test_what_twistd_has_left_is_tidied_up(self) -> None:
        pidfile = self.mktemp()
        Path(pidfile).write_text("1")
        reader, writer = os.pipe()
        self.fail_to_start({"pidfile": pidfile, "statusPipe": writer, "logger": "x"}, "startService")
        self.assertFalse(os.path.exists(pidfile))
        self.assertTrue(os.read(reader, 100).startswith(b"1 "))
        os.close(reader)
        os.close(writer)


class _Reactor(Clock):
    """As much of a reactor as the root service needs before it runs."""

    def callFromThread(self, call: Callable[[], None]) -> None:
        call()


class _Refusing(MultiService):
    """Cannot start."""

    def privilegedStartService(self) -> None:
        raise StartError("the port is taken; choose another")

    def startService(self) -> None:
        raise StartError("the port is taken; choose another")


class CommandTests(SynchronousTestCase):
    """As processes."""

    def run_twistd(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run twistd to its end."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PUSH_")}
        variables["PYTHONPATH"] = str(ROOT)
        return subprocess.run(
            [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=variables,
            cwd=self.directory,
        )

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def test_twistd_lists_it(self) -> None:
        self.assertRegex(self.run_twistd("--help").stdout, r"\n +push +A push and messaging server\.")

    def test_an_unknown_option_is_one_line_and_leaves_nothing_behind(self) -> None:
        ended = self.run_twistd("-n", "push", "--bogus")
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr, "push: option --bogus not recognized; see twistd push --help\n")
        self.assertEqual(ended.stdout, "")
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_daemon_with_a_wrong_setting_does_not_go_to_the_background(self) -> None:
        ended = self.run_twistd("push", "--api=tcp:8080")
        self.assertEqual(ended.returncode, 1)
        self.assertTrue(ended.stderr.startswith("push: --api: tcp:8080 can be reached from other machines"))
        self.assertEqual(os.listdir(self.directory), [])
