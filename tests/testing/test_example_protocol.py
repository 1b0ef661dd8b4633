"""docs/examples/lines, as its user would have it: installed from its own package, by its own tests, over a socket."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from push.testing import PushServer
from push.testing.server import HOST
from tests.integration.server import ROOT, environment
from tests.integration.test_wheel import _ENOUGH_SETUPTOOLS
from tests.integration.waiting import DEADLINE_S

EXAMPLE = ROOT / "docs" / "examples" / "lines"
PAGE = ROOT / "docs" / "protocol-plugins.md"


@contextlib.contextmanager
def installed(scratch: Path) -> Iterator[Path]:
    """The package, in a directory that processes find modules in."""
    source, place = scratch / "source", scratch / "installed"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), str(source)]
    with contextlib.suppress(PackageNotFoundError):
        if int(version("setuptools").partition(".")[0]) >= _ENOUGH_SETUPTOOLS:  # nothing has to be downloaded
            command.insert(5, "--no-build-isolation")
    subprocess.run(command, check=True, capture_output=True, env=environment())
    with mock.patch.object(sys, "path", [*sys.path, str(place.resolve())]):
        yield place.resolve()


class ExampleTests(SynchronousTestCase):
    """Nothing of it is in the server."""

    def test_it_is_found_by_its_name_and_serves_clients(self) -> None:
        with (
            installed(Path(self.mktemp())),
            PushServer(protocols=["lines"]) as server,
            socket.create_connection((HOST, server.ports["lines"]), DEADLINE_S) as sock,
        ):
            lines = sock.makefile("rw", encoding="utf-8", newline="\n")
            lines.write('hello\n{"signal": "SUB", "content": {"uid": "alice", "ack": true}}\n')
            lines.flush()
            answer = json.loads(lines.readline())
            self.assertEqual((answer["signal"], answer["content"]["status"]), ("SUB", 200))
            sent = server.send({"uid": "alice"}, {"n": 1})
            push = json.loads(lines.readline())
            self.assertEqual((push["id"], push["content"]), (sent["id"], {"n": 1}))

    def test_without_the_package_there_is_no_such_protocol(self) -> None:
        with self.assertRaisesRegex(Exception, "no protocol is called 'lines': there are framed, websocket"):
            PushServer(protocols=["lines"]).start()

    def test_its_own_tests_are_the_rules_and_pass(self) -> None:
        with installed(Path(self.mktemp())) as place:
            path = os.pathsep.join([environment()["PYTHONPATH"], str(place)])
            done = subprocess.run(
                [sys.executable, "-m", "unittest", "push_lines.test_rules"],
                env=environment() | {"PYTHONPATH": path},
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE_S,
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"Ran [3-9]\d tests")

    def test_the_page_shows_the_plug_in_as_it_is(self) -> None:
        page = PAGE.read_text()
        plugin = (EXAMPLE / "twisted" / "plugins" / "push_lines_plugin.py").read_text()
        for line in plugin.splitlines()[1:]:
            self.assertIn(line, page)
        for shown in ("push_lines/protocol.py", "push_lines/test_rules.py", "twisted/plugins/push_lines_plugin.py"):
            self.assertIn(shown, page)
            self.assertTrue((EXAMPLE / shown).exists())
