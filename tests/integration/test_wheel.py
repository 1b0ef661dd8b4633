"""The wheel: what is in it, and that it works in an environment that has never seen this checkout."""

import atexit
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.server import HOST, ROOT, Server, environment, running

# A wheel is built in seconds, except where its build tools have to be downloaded first.
_TIMEOUT_S = 300
# From this version on it makes wheels by itself, and it is new enough for setup.cfg.
_ENOUGH_SETUPTOOLS = 71
NO_CHECKOUT = {"PYTHONPATH": ""}
TWISTD = "from twisted.scripts.twistd import run; run()"


def execute(command: Sequence[str | Path], cwd: Path, **variables: str) -> str:
    """Run something to its good end, without the checkout on its path.

    Returns:
        Its standard output.
    """
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**NO_CHECKOUT, **variables),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout


@cache
def built() -> Path:
    """Build the wheel of a copy of the tree, as what lies about in a checkout must not matter."""
    directory = Path(tempfile.mkdtemp(prefix="push-build-")).resolve()
    atexit.register(shutil.rmtree, directory, True)
    copy = directory / "tree"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "*.cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(copy / "wheels"), "."]
    with contextlib.suppress(PackageNotFoundError):
        if int(version("setuptools").partition(".")[0]) >= _ENOUGH_SETUPTOOLS:  # nothing has to be downloaded
            command.insert(-1, "--no-build-isolation")
    execute(command, copy)
    (wheel,) = (copy / "wheels").glob("*.whl")
    return wheel


class Environment:
    """A virtual environment with the wheel in it."""

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        execute([sys.executable, "-m", "venv", "--without-pip", directory], directory.parent)
        self.python = self.bin / "python"
        # --no-index: where anything else were needed, this would fail.
        self.pip("install", "--quiet", "--no-index", str(wheel))

    def pip(self, *arguments: str) -> str:
        """Run the tests' pip on it."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        return execute([*pip, *arguments], self.directory)

    def borrow(self) -> None:
        """Let it import what the extra `server` would install from where the tests import it.

        Installing it once more would take a minute and a network. A .pth file inside a borrowed directory is
        not read, so the checkout, which is known to the tests' environment through one, is not borrowed.
        """
        theirs = "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        (self.site_packages / "borrowed.pth").write_text(f"{theirs}\n")

    @property
    def site_packages(self) -> Path:
        """Where the wheel is."""
        (found,) = self.directory.glob("lib/python*/site-packages")
        return found


class WheelTests(SynchronousTestCase):
    """The wheel is built once for all of them."""

    def setUp(self) -> None:
        if importlib.util.find_spec("pip") is None:
            raise SkipTest("pip is not installed here")
        self.wheel = built()
        # Out of the checkout, which would otherwise be found through the working directory.
        self.directory = Path(tempfile.mkdtemp(prefix="push-wheel-")).resolve()
        self.addCleanup(shutil.rmtree, self.directory, True)

    def test_it_holds_all_of_the_packages_and_nothing_else(self) -> None:
        with zipfile.ZipFile(self.wheel) as wheel:
            names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        expected = {"twisted/plugins/push_plugin.py"}
        tops = [("push", ROOT), *((sdk, ROOT / "sdk") for sdk in ("aio_sdk", "nio_sdk", "push_client"))]
        for top, home in tops:
            for path in (home / top).rglob("*"):
                is_shipped = path.suffix == ".py" or path.name == "py.typed" or path.parent.name == "static"
                if path.is_file() and is_shipped and "__pycache__" not in path.parts:
                    expected.add(str(path.relative_to(home)))
        self.assertEqual(names, expected)
        self.assertLessEqual(
            {"push/py.typed", "aio_sdk/py.typed", "nio_sdk/py.typed", "push/web/static/docs.html"}, names
        )

    def test_without_extras_it_is_the_clients_and_pulls_in_nothing(self) -> None:
        home = Environment(self.directory / "bare", self.wheel)
        installed = json.loads(home.pip("list", "--format=json"))
        self.assertEqual([each["name"] for each in installed], ["push-server"])
        for sdk in ("aio_sdk", "nio_sdk"):
            code = f"import {sdk}, sys; print({sdk}.__file__, 'twisted' in sys.modules)"
            where, has_twisted = execute([home.python, "-c", code], self.directory).split()
            self.assertTrue(Path(where).is_relative_to(home.site_packages))
            self.assertEqual(has_twisted, "False")
        # twisted/plugins/ of the wheel must not make an empty package of twisted that seems to be installed.
        code = "import importlib.util as u; assert u.find_spec('twisted.internet') is None"
        execute([home.python, "-c", code], self.directory)

    def test_with_the_server_extra_it_serves_from_any_folder(self) -> None:
        home = Environment(self.directory / "full", self.wheel)
        code = "import importlib.metadata as m; print('\\n'.join(m.requires('push-server')))"
        needed = execute([home.python, "-c", code], self.directory)
        self.assertRegex(needed, r"(?m)^twisted\[tls\]>=26\.4.* extra == .server.")
        home.borrow()
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        where = execute([home.python, "-c", "import push; print(push.__file__)"], elsewhere)
        self.assertTrue(Path(where).is_relative_to(home.site_packages))
        self.assertRegex(execute([home.python, "-c", TWISTD, "--help"], elsewhere), r"(?m)^ +push +A push")
        self.assertRegex(execute([home.bin / "push-server", "--version"], elsewhere), r"^push \d+\.\d+")
        self.assertIn("Usage", execute([home.bin / "pushctl", "--help"], elsewhere))
        for start_with in (
            [str(home.python), "-c", TWISTD, "-n", "--pidfile=", "push"],
            [str(home.bin / "push-server")],
        ):
            server = Server(elsewhere, start_with=start_with, variables=NO_CHECKOUT)
            with running(server):
                server.start()
                self.assertEqual(server.api.get("/docs").status, 200)
                send = (home.bin / "pushctl", "send", "--all", "hello")
                execute(send, elsewhere, PUSH_API_URL=f"http://{HOST}:{server.api.port}")
                self.assertEqual(server.stop(), 0)
