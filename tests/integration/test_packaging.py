"""What lies in packaging/: the systemd unit and the example of a configuration file."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from configparser import RawConfigParser
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from push import config, config_reading
from push.config import Config
from tests.integration.client import WireClient
from tests.integration.server import HOST, ROOT, Server, running

PACKAGING = ROOT / "packaging"
# What the script of that name does; PR_SET_PDEATHSIG as in server.py.
PUSH_SERVER = "import ctypes; ctypes.CDLL(None).prctl(1, 9); from {module} import {function}; {function}()"
SETTING = re.compile(r"^#(\w+ = .*)$", re.MULTILINE)


class ExampleTests(SynchronousTestCase):
    """packaging/push.toml."""

    def setUp(self) -> None:
        self.text = (PACKAGING / "push.toml").read_text()

    def load(self, text: str) -> Config:
        """The settings of a file with this text."""
        path = Path(self.mktemp())
        path.write_text(text)
        return config_reading.load({}, {}, str(path))

    def test_as_it_is_it_sets_nothing(self) -> None:
        self.assertEqual(self.load(self.text), Config())
        for line in self.text.splitlines():
            self.assertTrue(not line or line.startswith("#"), line)

    def test_it_shows_every_setting_once_with_its_default(self) -> None:
        shown = [setting.split(" = ")[0] for setting in SETTING.findall(self.text)]
        self.assertEqual(sorted(shown), sorted(setting.name for setting in fields(Config)))
        self.assertEqual(self.load(SETTING.sub(r"\1", self.text)), Config())

    def test_its_examples_are_good(self) -> None:
        examples = dict(re.findall(r"^# e\.g\..*?([\[\"].*)\n#(\w+) = ", self.text, re.MULTILINE))
        self.assertGreater(len(examples), 3)
        settings = self.load("\n".join(f"{name} = {value}" for value, name in examples.items()))
        for name in examples.values():
            self.assertNotEqual(getattr(settings, name), getattr(Config(), name), name)


class NodeTests(SynchronousTestCase):
    """packaging/push@.service and packaging/compose.yaml."""

    def unit(self, name: str) -> dict[str, list[str]]:
        """The directives of the service of a unit."""
        found: dict[str, list[str]] = {}
        for line in (PACKAGING / name).read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines():
            directive, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found.setdefault(directive, []).append(value)
        return found

    def test_a_node_is_as_confined_as_a_server_and_has_more_time_to_stop(self) -> None:
        server, node = self.unit("push.service"), self.unit("push@.service")
        other = {name for name in server | node if server.get(name) != node.get(name)}
        credentials = {"Environment", "LoadCredential"}
        self.assertEqual(other, {"ExecStart", "EnvironmentFile", "StateDirectory", "TimeoutStopSec"} | credentials)
        self.assertEqual(node["ExecStart"], [server["ExecStart"][0].replace("/push.toml", "/%i.toml")])
        settings = Config()
        needed_s = 60 + settings.stop_timeout_s + settings.close_timeout_s
        self.assertGreater(int(node["TimeoutStopSec"][0]), needed_s)

    def test_what_containers_are_told_are_settings(self) -> None:
        text = (PACKAGING / "compose.yaml").read_text()
        told = set(re.findall(r"^ +(PUSH_[A-Z_]+):", text, re.MULTILINE))
        self.assertGreater(len(told), 8)
        self.assertEqual(told - {config.environment_name(setting) for setting in fields(Config)}, set())


class ImageTests(SynchronousTestCase):
    """What packaging/compose.yaml makes an image of."""

    def test_it_gets_what_is_installed_and_neither_secrets_nor_what_can_be_made_again(self) -> None:
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        patterns = [line for line in lines if line and not line.startswith("#")]

        def is_left_out(name: str) -> bool:
            return any(fnmatch(name, pattern) for pattern in patterns)

        for name in ("push", "sdk", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            self.assertTrue((ROOT / name).exists(), name)
            self.assertFalse(is_left_out(name), name)
        for name in (".git", ".venv", "peer.secret", "client-jwt.key", "push-data", "push.egg-info", "build"):
            self.assertTrue(is_left_out(name) or is_left_out(f"**/{name}"), name)


class UnitServer(Server):
    """A server that is started as the unit says, with the unit's paths moved to here."""

    unit: RawConfigParser

    def command(self) -> list[str]:
        """ExecStart."""
        line = self.unit["Service"]["ExecStart"]
        for there, here in (("${STATE_DIRECTORY}", f"{self.directory}/state"), ("/etc/push/", f"{self.directory}/")):
            line = line.replace(there, here)
        program, *arguments = shlex.split(line)
        assert program == "/opt/push/bin/push-server", program
        project = RawConfigParser()
        project.read(ROOT / "setup.cfg")
        scripts = project["options.entry_points"]["console_scripts"]
        (script,) = re.findall(r"^push-server = (?P<module>[\w.]+):(?P<function>\w+)$", scripts, re.MULTILINE)
        module, function = script
        return [sys.executable, "-c", PUSH_SERVER.format(module=module, function=function), *arguments]


class UnitTests(SynchronousTestCase):
    """packaging/push.service."""

    def setUp(self) -> None:
        self.path = PACKAGING / "push.service"
        self.unit = RawConfigParser(comment_prefixes=("#",))
        self.unit.optionxform = str  # type: ignore[assignment,method-assign]
        self.unit.read_string(self.path.read_text())

    def test_what_it_starts_serves_and_ends_cleanly_at_its_kill_signal(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        shutil.copy(PACKAGING / "push.toml", directory)
        server = UnitServer(directory)
        server.unit = self.unit
        # As its EnvironmentFile would.
        server.variables["PUSH_LISTEN"] = f"framed=tcp:{server.port}:interface={HOST}"
        server.variables["PUSH_API"] = f"tcp:{server.api.port}:interface={HOST}"
        with running(server), WireClient(server.start().port) as client:
            client.open()
            server.api.send({"token": client.token}, "hello")
            self.assertEqual(client.message(), b"hello")
            self.assertTrue((directory / "state" / "push.sqlite3").exists())
            number = getattr(signal, self.unit["Service"]["KillSignal"])
            assert server.process is not None
            server.process.send_signal(number)
            self.assertEqual(client.disconnected().code, 3000)
            client.close()
            self.assertEqual(server.ended(), 0)

    def test_the_end_has_the_time_that_the_settings_allow_it(self) -> None:
        settings = Config()
        needed_s = settings.stop_timeout_s + settings.close_timeout_s
        self.assertGreater(int(self.unit["Service"]["TimeoutStopSec"]), needed_s)

    def test_systemd_finds_nothing_wrong_with_it(self) -> None:
        self.check("push.service", "push.service")

    def test_systemd_finds_nothing_wrong_with_that_of_nodes(self) -> None:
        self.check("push@.service", "push@connector.service")

    def check(self, name: str, instance: str) -> None:
        """Have systemd look at it."""
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            raise SkipTest("systemd-analyze is not installed here")
        copy = Path(self.mktemp()).resolve()
        copy.mkdir()
        unit = copy / instance
        unit.write_text((PACKAGING / name).read_text().replace("/opt/push/bin/push-server", sys.executable))
        checked = subprocess.run(
            [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
        )
        complaints = [line for line in checked.stderr.splitlines() if instance in line]
        self.assertEqual((checked.returncode, complaints), (0, []), checked.stderr)
